//! The form that an OAuth endpoint is asked with.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;

use super::error::{OauthError, bad};

/// Bytes of a form: an assertion, and a few short parameters beside it.
const FORM_MAX: usize = 64 * 1024;
/// Parameters of a form.
const PARAMETERS_MAX: usize = 64;

/// Parameters that may be there several times (RFC 8707 §2, RFC 8693 §2.1).
const REPEATED: [&str; 2] = ["audience", "resource"];

/// The form's parameters; a parameter twice is refused (RFC 6749 §3.2).
pub(super) struct Form(Vec<(String, String)>);

impl Form {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, OauthError> {
        // Counted before anything is unpacked: nobody has been authenticated yet.
        if bytes.iter().filter(|b| **b == b'&').count() >= PARAMETERS_MAX {
            return Err(bad(
                "invalid_request",
                format!("more than {PARAMETERS_MAX} parameters"),
            ));
        }
        let pairs: Vec<(String, String)> = serde_urlencoded::from_bytes(bytes)
            .map_err(|_| bad("invalid_request", "body is not application/x-www-form-urlencoded"))?;
        let mut seen = BTreeSet::new();
        for (name, _) in &pairs {
            if !seen.insert(name) && !REPEATED.contains(&name.as_str()) {
                let shown = bailiwick_base::limits::shown(name);
                return Err(bad(
                    "invalid_request",
                    format!("parameter `{shown}` is there twice"),
                ));
            }
        }
        Ok(Self(pairs))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
            .filter(|v| !v.is_empty())
    }

    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }
}

/// The form of a request, read whole.
pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<Form, Response> {
    if !crate::body::is_kind(headers, "application/x-www-form-urlencoded") {
        let kind = "content-type must be application/x-www-form-urlencoded";
        return Err(bad("invalid_request", kind).into_response());
    }
    let bytes = crate::body::read(body, FORM_MAX)
        .await
        .map_err(IntoResponse::into_response)?;
    Form::parse(&bytes).map_err(IntoResponse::into_response)
}
