//! Answers of the proxy itself: what was refused, and why, in words an agent can act on.

use bailiwick_pep::Denial;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full};
use hyper::ext::ReasonPhrase;
use serde_json::json;

/// A body of an answer; it ends early when the call is stopped.
pub(crate) type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// Why there is no answer of a destination.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) text: String,
    /// The decision that says so, where one was taken.
    pub(crate) decision: Option<String>,
    /// Whether the connection ends with it.
    pub(crate) closes: bool,
}

impl Refused {
    pub(crate) fn new(status: StatusCode, code: &'static str, text: impl Into<String>) -> Self {
        Self {
            status,
            code,
            text: text.into(),
            decision: None,
            closes: false,
        }
    }

    pub(crate) fn closing(self) -> Self {
        Self { closes: true, ..self }
    }

    /// The proxy does not know the caller: the token is missing, dead, or not one of ours.
    pub(crate) fn unauthenticated(code: &'static str, text: impl Into<String>) -> Self {
        Self::new(StatusCode::PROXY_AUTHENTICATION_REQUIRED, code, text)
    }

    /// Not a request that can be decided on.
    pub(crate) fn malformed(code: &'static str, text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, text)
    }

    /// The destination did not do its part.
    pub(crate) fn gateway(code: &'static str, text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_GATEWAY, code, text)
    }

    pub(crate) fn denied(denial: Denial) -> Self {
        Self {
            status: StatusCode::FORBIDDEN,
            code: denial.reason.code(),
            text: denial.text,
            decision: Some(denial.decision.to_string()),
            closes: false,
        }
    }

    /// `application/problem+json` (RFC 9457), with the code in the reason phrase too: of a refused `CONNECT` most
    /// clients show nothing else.
    pub(crate) fn into_response(self) -> Response<Body> {
        let problem = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or_default(),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.text,
            "decision": self.decision,
        });
        let mut response = Response::new(whole(problem.to_string()));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if self.closes {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if self.status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            headers.insert(
                header::PROXY_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"bailiwick\""),
            );
        }
        let phrase = format!(
            "{} ({})",
            self.status.canonical_reason().unwrap_or_default(),
            self.code
        );
        if let Ok(phrase) = ReasonPhrase::try_from(phrase.into_bytes()) {
            response.extensions_mut().insert(phrase);
        }
        response
    }
}

pub(crate) fn whole(text: String) -> Body {
    Full::new(Bytes::from(text))
        .map_err(|never| match never {})
        .boxed_unsync()
}

pub(crate) fn empty() -> Body {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}
