//! 2026-07-28: every message stands for itself.

use std::sync::Arc;

use axum::response::Response;
use bytes::Bytes;
use http::HeaderMap;
use http::request::Parts;
use serde_json::{Value, json};

use super::{listen, respond, single, tools};
use crate::answer;
use crate::bridge::results;
use crate::client::{self, TooLong, WORDS_MAX};
use crate::frame::{CallId, Frame, Shape};
use crate::gateway::{Caller, Gateway, Inbound};
use crate::method::{self, Era, Verb};
use crate::param_headers;
use crate::params::Params;
use crate::upstream::Upstream;
use crate::upstream::http::{METHOD, NAME, PROTOCOL_VERSION};

/// A message that is refused with a JSON-RPC error.
struct Refusal {
    status: u16,
    code: i64,
    text: String,
    data: Option<Value>,
}

impl Refusal {
    fn new(status: u16, code: i64, text: impl Into<String>) -> Self {
        Self {
            status,
            code,
            text: text.into(),
            data: None,
        }
    }

    fn mismatch(text: impl Into<String>) -> Self {
        Self::new(400, answer::HEADER_MISMATCH, text)
    }
}

pub(super) async fn post(
    gateway: &Arc<Gateway>,
    caller: Caller,
    parts: &Parts,
    frame: Frame,
    params: Params,
) -> Response {
    let Frame { body, shape } = frame;
    match shape {
        Shape::Call { id, method, .. } => {
            let message = Message {
                id,
                method,
                params,
                body,
            };
            call(gateway, caller, parts, message).await
        }
        // The stateless revision has no notifications over HTTP; one that comes is noted and goes nowhere.
        Shape::Notice { method, .. } => {
            gateway.record_invalid(&caller, &method).await;
            respond::accepted()
        }
        Shape::Response { id } => {
            gateway.record_invalid(&caller, "").await;
            let text = "a response answers nothing here";
            respond::json(400, answer::error(Some(&id), answer::INVALID_REQUEST, text, None))
        }
    }
}

struct Message {
    id: CallId,
    method: String,
    params: Params,
    body: Bytes,
}

async fn call(gateway: &Arc<Gateway>, caller: Caller, parts: &Parts, message: Message) -> Response {
    let id = message.id.clone();
    let method = message.method.clone();
    let inbound = match read(gateway, &caller, parts, message) {
        Ok(inbound) => inbound,
        Err(refusal) => {
            gateway.record_invalid(&caller, &method).await;
            let text = answer::error(Some(&id), refusal.code, &refusal.text, refusal.data);
            return respond::json(refusal.status, text);
        }
    };
    let permit = match gateway.permit_inbound(&inbound).await {
        Ok(permit) => permit,
        Err(refused) => return respond::refused(gateway, &caller, Some(&inbound), &refused),
    };
    let upstream = match upstream_of(gateway, &caller) {
        Ok(upstream) => upstream,
        Err(response) => {
            permit.finish(bailiwick_pep::Outcome::Failed);
            return response(&id);
        }
    };
    match inbound.verb {
        Verb::Call => tools::call(gateway, inbound, permit, upstream, None).await,
        Verb::Discover => {
            let peer = upstream.fresh_peer().await;
            permit.finish(match peer {
                Ok(_) => bailiwick_pep::Outcome::Returned,
                Err(_) => bailiwick_pep::Outcome::Failed,
            });
            match peer {
                Ok(peer) => respond::json(200, results::discovery(&id, &peer)),
                Err(e) => respond::failed(&id, &e),
            }
        }
        Verb::Listen => listen::modern(gateway, inbound, permit, upstream).await,
        Verb::ToolList => tools::list(gateway, &inbound, permit, &upstream).await,
        _ => forward(gateway, inbound, permit, upstream).await,
    }
}

type Failure = Box<dyn FnOnce(&CallId) -> Response + Send>;

/// The upstream of the caller's server.
pub(super) fn upstream_of(gateway: &Gateway, caller: &Caller) -> Result<Arc<Upstream>, Failure> {
    let snapshot = gateway.cell.load();
    let Some(server) = Gateway::server(&snapshot, caller) else {
        return Err(Box::new(|id| {
            respond::json(
                404,
                answer::error(
                    Some(id),
                    answer::DENIED,
                    "no such server",
                    Some(json!({"code": "server.unknown"})),
                ),
            )
        }));
    };
    gateway
        .upstream(&server)
        .map_err(|e| -> Failure { Box::new(move |id| respond::failed(id, &e)) })
}

/// Sends a permitted call on and carries its answer back.
pub(super) async fn forward(
    gateway: &Arc<Gateway>,
    inbound: Inbound,
    permit: bailiwick_pep::Permit,
    upstream: Arc<Upstream>,
) -> Response {
    tools::carry(gateway, inbound, permit, upstream, None).await
}

/// Reads and checks a call: headers against body first, then the body by itself.
fn read(gateway: &Gateway, caller: &Caller, parts: &Parts, message: Message) -> Result<Inbound, Refusal> {
    let Message {
        id,
        method,
        params,
        body,
    } = message;
    let headers = &parts.headers;
    require_envelope(headers, &params)?;
    if text_of(headers, &METHOD)? != Some(method.as_str()) {
        return Err(Refusal::mismatch(
            "header `Mcp-Method` is missing or differs from `method`",
        ));
    }
    let verb = method::verb(Era::Modern, &method)
        .ok_or_else(|| Refusal::new(404, answer::METHOD_NOT_FOUND, "no such method"))?;
    require_name(headers, verb, &params)?;
    let param_headers = mirrored(gateway, caller, verb, &params, headers)?;
    Ok(Inbound {
        caller: caller.clone(),
        era: Era::Modern,
        id,
        method,
        verb,
        log_level: params.meta_text(method::META_LOG_LEVEL).map(str::to_owned),
        params,
        body,
        param_headers,
        session: None,
        accepts_events: super::accepts_events(headers),
    })
}

/// The envelope: version in header and body, the same, and one we speak; then what the client can do.
fn require_envelope(headers: &HeaderMap, params: &Params) -> Result<(), Refusal> {
    let missing = |key: &str| Refusal::new(400, answer::INVALID_PARAMS, format!("`_meta` needs `{key}`"));
    let body = params
        .meta_text(method::META_VERSION)
        .ok_or_else(|| missing(method::META_VERSION))?;
    let header = text_of(headers, &PROTOCOL_VERSION)?;
    if header != Some(body) {
        return Err(Refusal::mismatch(
            "header `MCP-Protocol-Version` is missing or differs from `_meta`",
        ));
    }
    if body != method::MODERN {
        let mut refusal = Refusal::new(400, answer::UNSUPPORTED_VERSION, "unsupported protocol version");
        refusal.data = Some(json!({"supported": [method::MODERN], "requested": body}));
        return Err(refusal);
    }
    let capabilities = params.meta_value(method::META_CAPABILITIES);
    if !capabilities.is_some_and(Value::is_object) {
        return Err(missing(method::META_CAPABILITIES));
    }
    client::require_short(params.meta_value(method::META_CLIENT), capabilities).map_err(|TooLong| {
        let (info, capabilities) = (method::META_CLIENT, method::META_CAPABILITIES);
        let text = format!(
            "`{info}` and `{capabilities}` are longer than {WORDS_MAX} bytes together: say less about the client"
        );
        Refusal::new(400, answer::INVALID_PARAMS, text)
    })
}

fn require_name(headers: &HeaderMap, verb: Verb, params: &Params) -> Result<(), Refusal> {
    let Some((member, _)) = method::item(verb) else {
        return Ok(());
    };
    let body = params
        .text(member)
        .ok_or_else(|| Refusal::new(400, answer::INVALID_PARAMS, format!("`params` needs `{member}`")))?;
    let mut sent = headers.get_all(&NAME).iter();
    let header = sent.next().and_then(param_headers::decode);
    if header.as_deref() != Some(body) || sent.next().is_some() {
        return Err(Refusal::mismatch(format!(
            "header `Mcp-Name` is missing or differs from `params.{member}`"
        )));
    }
    Ok(())
}

/// `Mcp-Param-*` of the tool as it is pinned.
fn mirrored(
    gateway: &Gateway,
    caller: &Caller,
    verb: Verb,
    params: &Params,
    headers: &HeaderMap,
) -> Result<Vec<(http::HeaderName, http::HeaderValue)>, Refusal> {
    let Some(name) = params.text("name").filter(|_| verb == Verb::Call) else {
        return Ok(Vec::new());
    };
    let annotated = gateway.annotated(caller, name);
    if annotated.is_empty() {
        return Ok(Vec::new());
    }
    let arguments = params.member("arguments").and_then(|m| m.value.as_object());
    param_headers::require_mirrored(&annotated, arguments, headers).map_err(Refusal::mismatch)
}

fn text_of<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> Result<Option<&'a str>, Refusal> {
    single(headers, name)
        .map_err(|_| Refusal::mismatch(format!("header `{name}` stands twice or is not visible ASCII")))
}
