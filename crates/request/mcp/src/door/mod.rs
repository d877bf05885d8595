//! The side that faces callers: one endpoint for both eras.

mod auth;
mod carry;
mod legacy;
mod listen;
mod modern;
mod origin;
mod respond;
mod tools;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::body::HttpBody as _;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::any;
use bailiwick_base::{ServerName, TenantId};
use bailiwick_pep::token::Presented;
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::answer;
use crate::frame::{self, Shape};
use crate::gateway::{Caller, Gateway};
use crate::method;
use crate::params::Params;
use crate::upstream::http::{PROTOCOL_VERSION, SESSION_ID, content_type};

/// How long a message may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) fn router(gateway: Arc<Gateway>) -> Router {
    Router::new()
        .route("/t/{tenant}/mcp/{server}", any(handler))
        .with_state(gateway)
}

/// Everything that arrives, in the order in which it is refused: where it came from, what it is, who sent it, how
/// long it is, and only then what it says.
async fn handler(
    State(gateway): State<Arc<Gateway>>,
    Path((tenant, server)): Path<(String, String)>,
    message: http::Request<Body>,
) -> Response {
    let (parts, body) = message.into_parts();
    let proving = Presented::of(&parts).is_proving();
    let response = match admit(&gateway, &tenant, &server, &parts) {
        Err(refusal) => *refusal,
        Ok(caller) if parts.method == Method::POST => post(&gateway, caller, &parts, body).await,
        Ok(caller) if parts.method == Method::GET => legacy::stream(&gateway, caller, &parts).await,
        Ok(caller) if parts.method == Method::DELETE => legacy::end(&gateway, &caller, &parts).await,
        Ok(_) => respond::method_not_allowed(),
    };
    auth::with_nonce(&gateway, proving, response)
}

fn admit(gateway: &Gateway, tenant: &str, server: &str, parts: &Parts) -> Result<Caller, Box<Response>> {
    origin::require(&gateway.config, tenant, parts)?;
    let (Ok(tenant), Ok(server)) = (TenantId::parse(tenant), ServerName::parse(server)) else {
        return Err(plain(StatusCode::NOT_FOUND, "server.unknown", "no such server"));
    };
    if parts.method == Method::POST {
        require_json(&parts.headers)?;
    }
    let bearer = auth::require(gateway, &tenant, &Presented::of(parts))?;
    Ok(Caller {
        tenant,
        server,
        bearer,
    })
}

fn require_json(headers: &HeaderMap) -> Result<(), Box<Response>> {
    let unsupported = |text| {
        Err(plain(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "http.content-type",
            text,
        ))
    };
    if headers.get_all(CONTENT_TYPE).iter().count() != 1
        || content_type(headers).as_deref() != Some("application/json")
    {
        return unsupported("send the message as content-type application/json");
    }
    if headers.contains_key(CONTENT_ENCODING) {
        return unsupported("send the message without content-encoding");
    }
    Ok(())
}

async fn post(gateway: &Arc<Gateway>, caller: Caller, parts: &Parts, body: Body) -> Response {
    let body = match read(body, gateway.config.body_max).await {
        Ok(body) => body,
        Err(refusal) => return *refusal,
    };
    let frame = match frame::parse(body) {
        Ok(frame) => frame,
        Err(e) => {
            gateway.record_invalid(&caller, "").await;
            return respond::json(400, answer::error(e.id.as_ref(), e.code, &e.text, None));
        }
    };
    let params = match &frame.shape {
        Shape::Call { params, .. } | Shape::Notice { params, .. } => Params::parse(params.clone()),
        Shape::Response { .. } => Ok(Params::default()),
    };
    let params = match params {
        Ok(params) => params,
        Err(text) => {
            gateway.record_invalid(&caller, "").await;
            let id = if let Shape::Call { id, .. } = &frame.shape {
                Some(id)
            } else {
                None
            };
            return respond::json(400, answer::error(id, answer::INVALID_PARAMS, &text, None));
        }
    };
    if is_modern(&parts.headers, &params) {
        modern::post(gateway, caller, parts, frame, params).await
    } else {
        legacy::post(gateway, caller, parts, frame, params).await
    }
}

/// The body names the era: a call with the envelope is stateless. Without it, a header that names the stateless
/// revision is taken at its word, so that a missing envelope is refused and never read as a session.
fn is_modern(headers: &HeaderMap, params: &Params) -> bool {
    params
        .meta()
        .is_some_and(|meta| meta.contains_key(method::META_VERSION))
        || headers
            .get_all(PROTOCOL_VERSION)
            .iter()
            .any(|v| v.as_bytes().trim_ascii() == method::MODERN.as_bytes())
}

async fn read(body: Body, max: usize) -> Result<Bytes, Box<Response>> {
    let too_long = || {
        plain(
            StatusCode::PAYLOAD_TOO_LARGE,
            "http.too-long",
            "the message is too long",
        )
    };
    // What is announced is believed: nobody waits for a body that will be refused.
    if body.size_hint().lower() > max as u64 {
        return Err(too_long());
    }
    match tokio::time::timeout(BODY_TIMEOUT, Limited::new(body, max).collect()).await {
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
        Ok(Err(e)) if e.is::<LengthLimitError>() => Err(too_long()),
        Ok(Err(_)) => Err(plain(
            StatusCode::BAD_REQUEST,
            "http.unreadable",
            "the body cannot be read",
        )),
        Err(_) => Err(plain(
            StatusCode::REQUEST_TIMEOUT,
            "http.too-slow",
            "the body did not arrive in time",
        )),
    }
}

fn plain(status: StatusCode, code: &'static str, text: &str) -> Box<Response> {
    Box::new(respond::plain(status, code, text))
}

/// Whether the caller can read an event stream.
fn accepts_events(headers: &HeaderMap) -> bool {
    accepts(headers, "text/event-stream")
}

fn accepts(headers: &HeaderMap, kind: &str) -> bool {
    let mut values = headers.get_all(ACCEPT).iter().peekable();
    if values.peek().is_none() {
        return false;
    }
    let kinds = values.filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(','));
    kinds
        .map(|k| k.split(';').next().unwrap_or(k).trim())
        .any(|k| k.eq_ignore_ascii_case(kind) || k == "*/*")
}

/// The one value of a header; a second one refuses the message.
fn single<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> Result<Option<&'a str>, Box<Response>> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(plain(
            StatusCode::BAD_REQUEST,
            "http.header-twice",
            "a header stands twice",
        ));
    }
    match first.map(|v| v.to_str()) {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(text.trim_matches([' ', '\t']))),
        Some(Err(_)) => Err(plain(
            StatusCode::BAD_REQUEST,
            "http.header",
            "a header is not visible ASCII",
        )),
    }
}

/// The session id of a message.
fn session_id(headers: &HeaderMap) -> Result<Option<&str>, Box<Response>> {
    single(headers, &SESSION_ID)
}
