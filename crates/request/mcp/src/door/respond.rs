//! HTTP responses.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bailiwick_decide::DenyReason;
use bailiwick_pep::Denial;
use bytes::Bytes;
use futures_util::{Stream, stream};
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::json;

use super::auth;
use super::carry::carried;
use crate::answer;
use crate::bridge;
use crate::error::UpstreamError;
use crate::flow::{Flow, FlowStep};
use crate::frame::CallId;
use crate::gateway::{Caller, Gateway, Inbound, Refused};
use crate::sse;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const NO_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// A JSON body.
pub(super) fn body(status: StatusCode, text: Bytes) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
    response
}

/// A JSON-RPC message with an HTTP status.
pub(super) fn json(status: u16, text: Bytes) -> Response {
    body(StatusCode::from_u16(status).unwrap_or(StatusCode::OK), text)
}

/// A refusal before there is a call.
pub(super) fn plain(status: StatusCode, code: &'static str, text: &str) -> Response {
    body(status, problem(code, text))
}

pub(super) fn problem(code: &str, text: &str) -> Bytes {
    Bytes::from(json!({"code": code, "title": text}).to_string())
}

/// HTTP 202: taken, and nothing to say.
pub(super) fn accepted() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}

pub(super) fn method_not_allowed() -> Response {
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "http.method", "use POST");
    response
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static("POST, GET, DELETE"));
    response
}

/// The refusal of a call (decisions page, section 6).
pub(super) fn refused(
    gateway: &Gateway,
    caller: &Caller,
    inbound: Option<&Inbound>,
    refused: &Refused,
) -> Response {
    let denial = match refused {
        Refused::Denied(denial) => denial,
        Refused::NoEntropy => {
            return plain(
                StatusCode::SERVICE_UNAVAILABLE,
                "record.unavailable",
                "try again later",
            );
        }
    };
    let text = match inbound {
        Some(inbound) => answer::denied(&inbound.id, denial),
        None => auth::denial_problem(denial),
    };
    if denial.reason.kills_credential() {
        return auth::dead(gateway, &caller.tenant, denial, text);
    }
    match denial.reason {
        DenyReason::ScopeMissing => {
            let item = inbound.map_or_else(|| "*".to_owned(), bridge::scope_name);
            auth::insufficient(
                gateway,
                &caller.tenant,
                &format!("{}:{item}", caller.server),
                text,
            )
        }
        DenyReason::ServerUnknown => body(StatusCode::NOT_FOUND, text),
        _ if inbound.is_none() => body(StatusCode::FORBIDDEN, text),
        _ => body(StatusCode::OK, text),
    }
}

/// A refusal by the gateway itself after a recorded permit, in the form of a denial.
pub(super) fn withheld(id: &CallId, denial: &Denial) -> Response {
    body(StatusCode::OK, answer::denied(id, denial))
}

/// The upstream server failed.
pub(super) fn failed(id: &CallId, failure: &UpstreamError) -> Response {
    metrics::counter!("bailiwick_upstream_failures_total", "code" => failure.code()).increment(1);
    body(StatusCode::OK, answer::failed(id, failure))
}

/// Carries a call to its end: one JSON body when nothing precedes the answer, else a stream.
pub(super) async fn flow(gateway: &Arc<Gateway>, mut flow: Flow) -> Response {
    loop {
        let (step, rest) = flow.advance().await;
        match step {
            FlowStep::End(reply) if reply.streamed && rest.accepts_events() => return one_event(&reply.text),
            FlowStep::End(reply) => return json(reply.status, reply.text),
            FlowStep::Silent => return events(Body::empty()),
            FlowStep::Message(text) if rest.accepts_events() => {
                return events(match rest.watch() {
                    Some(watch) => carried(gateway, watch, stream_of(rest, text, gateway.config.keep_alive)),
                    // It ended while it spoke.
                    None => Body::empty(),
                });
            }
            // The caller cannot read a stream: it gets the answer alone.
            FlowStep::Message(_) => flow = rest,
        }
    }
}

/// An answer as the only event of a stream.
pub(super) fn one_event(text: &[u8]) -> Response {
    events(Body::from(sse::event(text)))
}

/// An event stream around a body.
pub(super) fn events(body: Body) -> Response {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, EVENTS);
    headers.insert(
        CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-transform, no-store"),
    );
    headers.insert(NO_BUFFERING, HeaderValue::from_static("no"));
    response
}

type Advance = Pin<Box<dyn Future<Output = (FlowStep, Flow)> + Send>>;

enum Position {
    First(Box<Flow>, Bytes),
    Later(Advance),
    Over,
}

fn stream_of(flow: Flow, first: Bytes, keep_alive: Duration) -> impl Stream<Item = Bytes> {
    stream::unfold(
        Position::First(Box::new(flow), first),
        move |position| async move {
            let mut advance: Advance = match position {
                Position::First(flow, text) => {
                    return Some((sse::event(&text), Position::Later(Box::pin(flow.advance()))));
                }
                Position::Later(advance) => advance,
                Position::Over => return None,
            };
            match tokio::time::timeout(keep_alive, advance.as_mut()).await {
                Err(_) => Some((sse::KEEP_ALIVE, Position::Later(advance))),
                Ok((FlowStep::Message(text), flow)) => {
                    Some((sse::event(&text), Position::Later(Box::pin(flow.advance()))))
                }
                Ok((FlowStep::End(reply), _)) => Some((sse::event(&reply.text), Position::Over)),
                Ok((FlowStep::Silent, _)) => None,
            }
        },
    )
}
