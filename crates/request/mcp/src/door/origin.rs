//! Where a message may come from: `Host` and `Origin` against a list that is always on, and no header that would
//! let a sender speak for somebody else.

use axum::response::Response;
use http::header::{FORWARDED, HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderName, StatusCode};

use crate::config::GatewayConfig;

const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const TENANT: HeaderName = HeaderName::from_static("x-tenant-id");

pub(super) fn require(config: &GatewayConfig, tenant: &str, parts: &Parts) -> Result<(), Box<Response>> {
    let headers = &parts.headers;
    let bad = |code, text| Err(super::plain(StatusCode::BAD_REQUEST, code, text));
    if parts.uri.query().is_some() {
        return bad(
            "http.query",
            "this endpoint takes no query; a token belongs in the Authorization header",
        );
    }
    if headers.keys().any(|name| name.as_str().contains('_')) {
        return bad("http.header", "a header name has an underscore");
    }
    for name in [&HOST, &ORIGIN, &FORWARDED, &FORWARDED_HOST, &TENANT] {
        super::single(headers, name)?;
    }
    let absolute = parts.uri.authority().map(http::uri::Authority::as_str);
    let host = super::single(headers, &HOST)?.or(absolute).unwrap_or_default();
    let forwarded_host = super::single(headers, &FORWARDED_HOST)?;
    let forwarded = super::single(headers, &FORWARDED)?;
    let named = forwarded.into_iter().flat_map(forwarded_hosts);
    let mut hosts = [Some(host), absolute, forwarded_host]
        .into_iter()
        .flatten()
        .chain(named);
    if !hosts.all(|host| config.hosts.contains(&host.to_ascii_lowercase())) {
        return Err(super::plain(
            StatusCode::FORBIDDEN,
            "http.host",
            "this host name is not served here",
        ));
    }
    if let Some(origin) = super::single(headers, &ORIGIN)?
        && !config.origins.contains(&origin.to_ascii_lowercase())
    {
        return Err(super::plain(
            StatusCode::FORBIDDEN,
            "http.origin",
            "this origin is not let in",
        ));
    }
    match super::single(headers, &TENANT)? {
        Some(other) if other != tenant => bad("http.tenant", "the path names the tenant, no header does"),
        _ => Ok(()),
    }
}

/// The hosts that a `Forwarded` header names (RFC 7239).
fn forwarded_hosts(value: &str) -> impl Iterator<Item = &str> {
    value.split([',', ';']).filter_map(|pair| {
        let (name, host) = pair.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("host")
            .then(|| host.trim().trim_matches('"'))
    })
}
