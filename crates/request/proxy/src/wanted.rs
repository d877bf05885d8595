//! One request as it was read: where it goes and what it is held to. Whatever two readers could read in two ways is
//! refused here.

use bailiwick_base::Digest;
use bailiwick_base::limits::shown;
use bailiwick_decide::Arguments;
use bailiwick_outbound::Endpoint;
use http::uri::Scheme;
use http::{HeaderMap, Method, Uri, header};
use serde_json::{Map, Value};

use crate::answer::Refused;

/// Parameters of a query that are looked at.
const PARAMETERS_MAX: usize = 256;

/// A request whose place is clear.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) method: Method,
    pub(crate) endpoint: Endpoint,
}

impl Wanted {
    /// A request in absolute form, as a proxy gets it for plain HTTP.
    pub(crate) fn absolute(method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<Self, Refused> {
        if uri.scheme() != Some(&Scheme::HTTP) || uri.authority().is_none() {
            return Err(Refused::malformed(
                "proxy.form",
                "this is a proxy: ask for `http://host/path`, and for https with CONNECT",
            ));
        }
        let endpoint = endpoint(&uri.to_string())?;
        require_host(headers, &endpoint)?;
        Ok(Self {
            method: method.clone(),
            endpoint,
        })
    }

    /// The place a `CONNECT` names: `host:port`.
    pub(crate) fn connect(uri: &Uri, headers: &HeaderMap) -> Result<Self, Refused> {
        let authority = uri.authority().map(|a| a.as_str()).unwrap_or_default();
        let has_port = authority
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        if !has_port {
            return Err(Refused::malformed("proxy.form", "CONNECT names host and port"));
        }
        let endpoint = endpoint(&format!("https://{authority}"))?;
        // Some clients leave the port out of `Host` here; the connection goes where CONNECT says.
        let bare = headers
            .get(header::HOST)
            .is_some_and(|host| host.as_bytes().eq_ignore_ascii_case(endpoint.host.as_bytes()));
        if headers.contains_key(header::HOST) && !bare {
            require_host(headers, &endpoint)?;
        }
        Ok(Self {
            method: Method::CONNECT,
            endpoint,
        })
    }

    /// A request inside the TLS of `at`.
    pub(crate) fn inside(
        at: &Endpoint,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Self, Refused> {
        if uri.scheme().is_some() || uri.authority().is_some() || method == Method::CONNECT {
            return Err(Refused::malformed(
                "proxy.form",
                "inside a connection to a destination a request names its path alone",
            ));
        }
        let path = uri.path_and_query().map_or("/", |p| p.as_str());
        let endpoint = endpoint(&format!("{}://{}{path}", scheme(at), at.authority))?;
        require_host(headers, at)?;
        Ok(Self {
            method: method.clone(),
            endpoint,
        })
    }

    /// `host[:port]/path`, without the query.
    pub(crate) fn place(&self) -> String {
        let path = self.path();
        let path = if self.method == Method::CONNECT { "" } else { path };
        format!("{}{path}", self.endpoint.authority)
    }

    fn path(&self) -> &str {
        let path = &self.endpoint.path;
        path.split_once('?').map_or(path, |(path, _)| path)
    }

    /// What scopes and policies see: host, path without escapes, query. The digest is that of the request line as it
    /// is sent on.
    pub(crate) fn arguments(&self) -> Result<Arguments, Refused> {
        let mut values = Map::new();
        values.insert("host".to_owned(), Value::from(self.endpoint.host.clone()));
        if self.method != Method::CONNECT {
            values.insert("path".to_owned(), Value::from(plain_path(self.path())?));
            if let Some((_, query)) = self.endpoint.path.split_once('?') {
                values.insert("query".to_owned(), Value::Object(parameters(query)?));
            }
        }
        let line = format!(
            "{} {}://{}{}",
            self.method,
            scheme(&self.endpoint),
            self.endpoint.authority,
            self.endpoint.path
        );
        Ok(Arguments {
            values,
            digest: Some(Digest::of(line.as_bytes())),
        })
    }
}

const fn scheme(at: &Endpoint) -> &'static str {
    if at.tls { "https" } else { "http" }
}

fn endpoint(url: &str) -> Result<Endpoint, Refused> {
    Endpoint::parse(url, true).map_err(|e| Refused::malformed("proxy.url", e.to_string()))
}

/// Exactly one `Host`, and it names the place the request goes to: two names would be two readings.
fn require_host(headers: &HeaderMap, at: &Endpoint) -> Result<(), Refused> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let scheme = scheme(at);
    let named = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok(),
        _ => None,
    };
    let same = named
        .and_then(|host| Endpoint::parse(&format!("{scheme}://{host}"), true).ok())
        .is_some_and(|named| named.host == at.host && named.port == at.port && named.path == "/");
    if same {
        return Ok(());
    }
    Err(Refused::malformed(
        "proxy.host-mismatch",
        format!("`Host` does not name `{}`, where the request goes", at.authority),
    ))
}

/// The path with its escapes undone, for the comparison with scopes. What could mean another path once a server undid
/// escapes is refused.
fn plain_path(path: &str) -> Result<String, Refused> {
    let refused = || {
        Refused::malformed(
            "proxy.path-ambiguous",
            format!(
                "path `{}` could be read in two ways: leave out escaped / \\ . % and control characters",
                shown(path)
            ),
        )
    };
    let decoded = String::from_utf8(unescaped(path.as_bytes(), false)).map_err(|_| refused())?;
    let hidden = decoded.matches('/').count() != path.matches('/').count();
    let dots = decoded
        .split('/')
        .any(|segment| segment == "." || segment == "..");
    // A parameter of a segment (`;`) is cut off by some servers before they compare, and not by others.
    let doubtful = decoded
        .chars()
        .any(|c| c.is_control() || matches!(c, '\\' | '%' | ';'));
    if hidden || dots || doubtful {
        return Err(refused());
    }
    Ok(decoded)
}

/// The parameters by name: text, or a list where a name stands twice.
fn parameters(query: &str) -> Result<Map<String, Value>, Refused> {
    let mut out = Map::new();
    for (n, pair) in query.split('&').filter(|p| !p.is_empty()).enumerate() {
        if n >= PARAMETERS_MAX {
            return Err(Refused::malformed(
                "proxy.query",
                format!("more than {PARAMETERS_MAX} parameters"),
            ));
        }
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let text = |part: &str| {
            String::from_utf8(unescaped(part.as_bytes(), true))
                .map_err(|_| Refused::malformed("proxy.query", "a parameter is not UTF-8"))
        };
        let value = Value::from(text(value)?);
        match out.entry(text(name)?) {
            serde_json::map::Entry::Vacant(free) => {
                free.insert(value);
            }
            serde_json::map::Entry::Occupied(mut taken) => match taken.get_mut() {
                Value::Array(list) => list.push(value),
                one => *one = Value::Array(vec![one.take(), value]),
            },
        }
    }
    Ok(out)
}

/// One layer of percent-encoding undone; in a query `+` is a blank.
fn unescaped(text: &[u8], query: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        let pair = rest.as_slice().get(..2).filter(|_| *byte == b'%');
        let decoded = pair
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match decoded {
            Some(decoded) => {
                out.push(decoded);
                let _taken = rest.nth(1);
            }
            None if query && *byte == b'+' => out.push(b' '),
            None => out.push(*byte),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use serde_json::json;

    use super::*;

    fn inside(target: &str, host: &str) -> Result<Wanted, Refused> {
        let at = Endpoint::parse("https://api.example.com", false).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
        Wanted::inside(&at, &Method::GET, &target.parse().unwrap(), &headers)
    }

    #[test]
    fn scopes_see_host_path_and_query_without_escapes() {
        let wanted = inside("/v1/a%20b?q=x+y&tag=1&tag=%C3%A9&flag", "api.example.com").unwrap();
        let arguments = wanted.arguments().unwrap();
        assert_eq!(
            Value::Object(arguments.values),
            json!({"host": "api.example.com", "path": "/v1/a b",
                   "query": {"q": "x y", "tag": ["1", "é"], "flag": ""}})
        );
        let line = "GET https://api.example.com/v1/a%20b?q=x+y&tag=1&tag=%C3%A9&flag";
        assert_eq!(arguments.digest, Some(Digest::of(line.as_bytes())));
        assert_eq!(wanted.place(), "api.example.com/v1/a%20b");
    }

    #[test]
    fn a_path_with_two_readings_is_refused() {
        for path in [
            "/v1/../admin",
            "/v1/%2e%2e/admin",
            "/v1/.%2E/admin",
            "/v1/..%2fadmin",
            "/v1/%2Fadmin",
            "/v1//admin",
            "/v1/%5cadmin",
            "/v1/%252e%252e/admin",
            "/v1/%00",
            "/v1/..;/admin",
            "/v1/%ff",
            "/v1/%0d%0aHost:%20b",
        ] {
            let judged = inside(path, "api.example.com").and_then(|w| w.arguments().map(drop));
            assert!(judged.is_err(), "{path}");
        }
        assert!(
            inside("/v1/.well-known/a.b..c", "api.example.com")
                .unwrap()
                .arguments()
                .is_ok()
        );
    }

    #[test]
    fn one_host_and_it_is_the_destination() {
        for host in ["API.example.com", "api.example.com:443"] {
            assert!(inside("/", host).is_ok(), "{host}");
        }
        for host in [
            "evil.example.com",
            "api.example.com:8443",
            "api.example.com/x",
            "",
            "u@api.example.com",
        ] {
            assert_eq!(
                inside("/", host).unwrap_err().code,
                "proxy.host-mismatch",
                "{host}"
            );
        }
        for (host, same) in [
            ("api.example.com:8443", true),
            ("api.example.com", true),
            ("evil.example.com:8443", false),
            ("api.example.com:443", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
            let connect = Wanted::connect(&"api.example.com:8443".parse().unwrap(), &headers);
            assert_eq!(connect.is_ok(), same, "{host}");
        }
        let uri: Uri = "http://api.example.com/x".parse().unwrap();
        let mut headers = HeaderMap::new();
        headers.append(header::HOST, HeaderValue::from_static("api.example.com"));
        assert!(Wanted::absolute(&Method::GET, &uri, &headers).is_ok());
        headers.append(header::HOST, HeaderValue::from_static("api.example.com"));
        assert_eq!(
            Wanted::absolute(&Method::GET, &uri, &headers).unwrap_err().code,
            "proxy.host-mismatch"
        );
        assert_eq!(
            Wanted::absolute(&Method::GET, &uri, &HeaderMap::new())
                .unwrap_err()
                .code,
            "proxy.host-mismatch"
        );
    }
}
