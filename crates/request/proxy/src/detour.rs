//! Headers by which a service takes a request for another than the one that was decided.

use http::HeaderMap;

use crate::answer::Refused;

/// Frameworks and gateways read the path, the host or the method from these instead of the request line: Symfony,
/// Zend and IIS (`X-Original-URL`, `X-Rewrite-URL`), Rails, Express and Google APIs (`X-HTTP-Method-Override`), Envoy,
/// Spring and whoever trusts the proxy in front of it (`Forwarded`, `X-Forwarded-…`).
const DETOURS: [&str; 26] = [
    "forwarded",
    "x-envoy-original-host",
    "x-envoy-original-path",
    "x-forwarded-host",
    "x-forwarded-method",
    "x-forwarded-path",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-proto",
    "x-forwarded-protocol",
    "x-forwarded-scheme",
    "x-forwarded-server",
    "x-forwarded-ssl",
    "x-forwarded-uri",
    "x-host",
    "x-http-destinationurl",
    "x-http-host-override",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-host",
    "x-original-method",
    "x-original-uri",
    "x-original-url",
    "x-rewrite-uri",
    "x-rewrite-url",
];

/// Refuses a request that says in a header that it is another one. To many services `_` in a name is `-`.
pub(crate) fn require_none(headers: &HeaderMap) -> Result<(), Refused> {
    let found = headers.keys().find(|name| {
        let plain = name.as_str().replace('_', "-");
        DETOURS.contains(&plain.as_str())
    });
    match found {
        None => Ok(()),
        Some(name) => Err(Refused::malformed(
            "proxy.header-detour",
            format!(
                "`{name}` may turn the request into another one than the one that is decided: leave it out"
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn refused(name: &str) -> bool {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        require_none(&HeaderMap::from_iter([(
            name,
            HeaderValue::from_static("/admin"),
        )]))
        .is_err()
    }

    #[test]
    fn a_header_that_moves_the_request_is_refused_however_it_is_written() {
        for name in DETOURS {
            assert!(refused(name), "{name}");
            assert!(refused(&name.to_uppercase()), "{name}");
            assert!(refused(&name.replace('-', "_")), "{name}");
        }
        for name in [
            "x-forwarded-for",
            "x-request-id",
            "x-original-title",
            "x-http-method-hint",
        ] {
            assert!(!refused(name), "{name}");
        }
    }
}
