//! 2025-11-25: sessions that the gateway issues and binds to who opened them.

use std::sync::Arc;

use axum::response::Response;
use bailiwick_decide::Arguments;
use bailiwick_pep::{Outcome, Permit};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};

use super::{listen, modern, respond, tools};
use crate::answer;
use crate::bridge::results;
use crate::client::{self, TooLong, WORDS_MAX};
use crate::error::UpstreamError;
use crate::frame::{CallId, Frame, Shape};
use crate::gateway::{Caller, Gateway, Inbound};
use crate::method::{self, Era, Verb};
use crate::params::Params;
use crate::session::{AskRoute, Opening, Session, SessionLimits, SessionRefusal};
use crate::upstream::http::{PROTOCOL_VERSION, SESSION_ID};
use crate::upstream::{Link, Upstream};

pub(super) async fn post(
    gateway: &Arc<Gateway>,
    caller: Caller,
    parts: &Parts,
    frame: Frame,
    params: Params,
) -> Response {
    let Frame { body, shape } = frame;
    match shape {
        Shape::Call { id, method, .. } if method == "initialize" => {
            let verb = (id, method, Verb::Initialize);
            let inbound = inbound_of(&caller, parts, verb, params, body, None);
            initialize(gateway, inbound).await
        }
        shape => {
            let session = match session_of(gateway, &caller, &parts.headers) {
                Ok(session) => session,
                Err(refusal) => {
                    gateway.record_invalid(&caller, "").await;
                    return *refusal;
                }
            };
            match shape {
                Shape::Call { id, method, .. } => {
                    let Some(verb) = method::verb(Era::Legacy, &method) else {
                        gateway.record_invalid(&caller, &method).await;
                        let text = answer::error(Some(&id), answer::METHOD_NOT_FOUND, "no such method", None);
                        return respond::json(200, text);
                    };
                    let inbound = inbound_of(&caller, parts, (id, method, verb), params, body, Some(session));
                    call(gateway, inbound).await
                }
                Shape::Notice { method, .. } => {
                    notice(gateway, &caller, &session, &method, &params, body).await
                }
                Shape::Response { id } => response(gateway, &caller, &session, &id, body).await,
            }
        }
    }
}

/// The caller's own session. Without an id the message is refused; another's id is as unknown as none.
fn session_of(
    gateway: &Gateway,
    caller: &Caller,
    headers: &HeaderMap,
) -> Result<Arc<Session>, Box<Response>> {
    let Some(id) = super::session_id(headers)? else {
        let text = answer::error(
            None,
            answer::INVALID_REQUEST,
            "header `Mcp-Session-Id` is missing",
            None,
        );
        return Err(Box::new(respond::json(400, text)));
    };
    let unknown = || {
        let text = answer::error(None, answer::DENIED, "no such session: initialize again", None);
        Box::new(respond::json(404, text))
    };
    let session = gateway
        .sessions
        .lookup(id, caller, gateway.clock.monotonic())
        .ok_or_else(unknown)?;
    // An operator changed the server under the session.
    let current = modern::upstream_of(gateway, caller).ok();
    if !current.is_some_and(|upstream| Arc::ptr_eq(&upstream, &session.upstream)) {
        gateway.sessions.end(&session);
        return Err(unknown());
    }
    match super::single(headers, &PROTOCOL_VERSION)? {
        Some(version) if version != session.version => {
            let text = answer::error(
                None,
                answer::INVALID_REQUEST,
                "`MCP-Protocol-Version` is not the session's",
                None,
            );
            Err(Box::new(respond::json(400, text)))
        }
        _ => Ok(session),
    }
}

fn inbound_of(
    caller: &Caller,
    parts: &Parts,
    (id, method, verb): (CallId, String, Verb),
    params: Params,
    body: Bytes,
    session: Option<Arc<Session>>,
) -> Inbound {
    Inbound {
        caller: caller.clone(),
        era: Era::Legacy,
        id,
        method,
        verb,
        params,
        body,
        log_level: session.as_ref().and_then(|s| s.level()),
        param_headers: Vec::new(),
        session,
        accepts_events: super::accepts_events(&parts.headers),
    }
}

async fn initialize(gateway: &Arc<Gateway>, inbound: Inbound) -> Response {
    let permit = match gateway.permit_inbound(&inbound).await {
        Ok(permit) => permit,
        Err(refused) => return respond::refused(gateway, &inbound.caller, Some(&inbound), &refused),
    };
    let member = |name: &str| inbound.params.value(name);
    let wrong = |text: &str| {
        respond::json(
            400,
            answer::error(Some(&inbound.id), answer::INVALID_PARAMS, text, None),
        )
    };
    let (Some(Value::String(asked)), Some(Value::Object(_)), Some(Value::Object(_))) = (
        member("protocolVersion"),
        member("capabilities"),
        member("clientInfo"),
    ) else {
        permit.finish(Outcome::Returned);
        return wrong("`params` needs `protocolVersion`, `capabilities` and `clientInfo`");
    };
    if let Err(TooLong) = client::require_short(member("clientInfo"), member("capabilities")) {
        permit.finish(Outcome::Returned);
        return wrong(&format!(
            "`clientInfo` and `capabilities` are longer than {WORDS_MAX} bytes together: say less about the client"
        ));
    }
    let version = method::LEGACY_SPOKEN
        .into_iter()
        .find(|v| v == asked)
        .unwrap_or(method::LEGACY);
    let opened = tokio::select! {
        biased;
        _ = permit.revoked() => Err(UpstreamError::Closed),
        opened = open(gateway, &inbound, version) => opened,
    };
    match opened {
        Ok(session) => {
            permit.finish(Outcome::Returned);
            let mut response =
                respond::json(200, results::initialization(&inbound.id, &session.peer, version));
            if let Ok(id) = HeaderValue::from_str(&session.id) {
                response.headers_mut().insert(SESSION_ID, id);
            }
            response
        }
        Err(e) => {
            permit.finish(Outcome::Failed);
            respond::failed(&inbound.id, &e)
        }
    }
}

async fn open(
    gateway: &Arc<Gateway>,
    inbound: &Inbound,
    version: &'static str,
) -> Result<Arc<Session>, UpstreamError> {
    let upstream = {
        let snapshot = gateway.cell.load();
        let server = Gateway::server(&snapshot, &inbound.caller);
        gateway.upstream(&server.ok_or_else(|| UpstreamError::Unreachable("it was removed".to_owned()))?)?
    };
    let client = gateway.clients.known(Arc::unwrap_or_clone(inbound.client()));
    let (link, peer) = upstream.session_link(&client).await?;
    let limits = SessionLimits {
        all: gateway.config.sessions_max,
        of_identity: gateway.config.sessions_per_identity_max,
        idle: gateway.config.session_idle,
    };
    let opening = Opening {
        version,
        client,
        upstream,
        link,
        peer,
    };
    let now = gateway.clock.monotonic();
    gateway
        .sessions
        .open(&inbound.caller, opening, limits, gateway.entropy.as_ref(), now)
        .map_err(|e| match e {
            SessionRefusal::NoEntropy | SessionRefusal::TooMany => UpstreamError::Busy,
        })
}

async fn call(gateway: &Arc<Gateway>, inbound: Inbound) -> Response {
    if let Some((member, _)) = method::item(inbound.verb)
        && inbound.params.text(member).is_none()
    {
        gateway.record_invalid(&inbound.caller, &inbound.method).await;
        let text = format!("`params` needs `{member}`");
        return respond::json(
            200,
            answer::error(Some(&inbound.id), answer::INVALID_PARAMS, &text, None),
        );
    }
    let permit = match gateway.permit_inbound(&inbound).await {
        Ok(permit) => permit,
        Err(refused) => return respond::refused(gateway, &inbound.caller, Some(&inbound), &refused),
    };
    let Some(session) = inbound.session.clone() else {
        return respond::accepted();
    };
    let Some(watched) = session.begin(&inbound.id) else {
        permit.finish(Outcome::Cancelled);
        let text = "this id is in flight already, or too many calls are";
        return respond::json(
            400,
            answer::error(Some(&inbound.id), answer::INVALID_REQUEST, text, None),
        );
    };
    let upstream = Arc::clone(&session.upstream);
    match inbound.verb {
        Verb::Call => tools::call(gateway, inbound, permit, upstream, Some(watched)).await,
        Verb::ToolList => tools::list(gateway, &inbound, permit, &upstream).await,
        Verb::Ping => nothing(&inbound, permit),
        _ if is_local(&inbound, &session) => local(gateway, inbound, permit, &session, upstream).await,
        _ => tools::carry(gateway, inbound, permit, upstream, Some(watched)).await,
    }
}

fn nothing(inbound: &Inbound, permit: Permit) -> Response {
    permit.finish(Outcome::Returned);
    respond::json(200, answer::result(&inbound.id, &json!({})))
}

/// What a stateless or a shared server cannot be told for one session is kept here.
fn is_local(inbound: &Inbound, session: &Session) -> bool {
    let own = matches!(session.link, Link::Session { .. });
    matches!(inbound.verb, Verb::SetLevel | Verb::Subscribe | Verb::Unsubscribe) && !own
}

async fn local(
    gateway: &Arc<Gateway>,
    inbound: Inbound,
    permit: Permit,
    session: &Arc<Session>,
    upstream: Arc<Upstream>,
) -> Response {
    match inbound.verb {
        Verb::SetLevel => {
            if let Some(level) = inbound.params.text("level") {
                session.set_level(level);
            }
            nothing(&inbound, permit)
        }
        Verb::Subscribe | Verb::Unsubscribe => {
            let on = inbound.verb == Verb::Subscribe;
            let uri = inbound.params.text("uri").unwrap_or_default();
            let changed = session.subscribe(uri, on);
            let tell = on && changed && session.peer.era == Era::Legacy;
            if tell {
                // The program is told once more for each session; it sends to everybody, and here it is sorted.
                return tools::carry(gateway, inbound, permit, upstream, None).await;
            }
            nothing(&inbound, permit)
        }
        _ => nothing(&inbound, permit),
    }
}

/// A notification of the caller. Giving up one's own call needs no leave; everything is recorded.
async fn notice(
    gateway: &Arc<Gateway>,
    caller: &Caller,
    session: &Arc<Session>,
    method: &str,
    params: &Params,
    body: Bytes,
) -> Response {
    if method == "notifications/cancelled" {
        let id = params
            .member("requestId")
            .and_then(|m| serde_json::from_slice::<CallId>(&m.raw).ok());
        let found = id.is_some_and(|id| session.give_up(&id));
        tracing::debug!(found, "a caller gave a call up");
    }
    let permit = match gateway.permit(caller, method, None, Arguments::default()).await {
        Ok(permit) => permit,
        Err(_) => return respond::accepted(),
    };
    let passes =
        method == "notifications/roots/list_changed" && session.client.capabilities.contains_key("roots");
    let outcome = match &session.link {
        Link::Session {
            session: at_server,
            own: true,
        } if passes => match at_server.send(body).await {
            Ok(()) => Outcome::Returned,
            Err(_) => Outcome::Failed,
        },
        _ => Outcome::Returned,
    };
    permit.finish(outcome);
    respond::accepted()
}

/// The answer to a question that was put to this session; any other answers nothing and goes nowhere.
async fn response(
    gateway: &Arc<Gateway>,
    caller: &Caller,
    session: &Arc<Session>,
    id: &CallId,
    body: Bytes,
) -> Response {
    let permit = match gateway
        .permit(caller, "response", None, Arguments::default())
        .await
    {
        Ok(permit) => permit,
        Err(refused) => return respond::refused(gateway, caller, None, &refused),
    };
    let outcome = match (session.answered(id), &session.link) {
        // The call that asked may be over.
        (Some(AskRoute::Local(to)), _) => to.send(body).map_or(Outcome::Cancelled, |()| Outcome::Returned),
        (
            Some(AskRoute::Upstream),
            Link::Session {
                session: at_server,
                own: true,
            },
        ) => at_server
            .send(body)
            .await
            .map_or(Outcome::Failed, |()| Outcome::Returned),
        _ => Outcome::Cancelled,
    };
    permit.finish(outcome);
    respond::accepted()
}

/// `GET`: the stream of messages that belong to no call.
pub(super) async fn stream(gateway: &Arc<Gateway>, caller: Caller, parts: &Parts) -> Response {
    let modern = super::single(&parts.headers, &PROTOCOL_VERSION);
    if matches!(modern, Ok(Some(version)) if version == method::MODERN) {
        return respond::method_not_allowed();
    }
    if !super::accepts_events(&parts.headers) {
        return respond::plain(
            StatusCode::NOT_ACCEPTABLE,
            "http.accept",
            "accept text/event-stream",
        );
    }
    let session = match session_of(gateway, &caller, &parts.headers) {
        Ok(session) => session,
        Err(refusal) => return *refusal,
    };
    let permit = match gateway
        .permit(&caller, "session/stream", None, Arguments::default())
        .await
    {
        Ok(permit) => permit,
        Err(refused) => return respond::refused(gateway, &caller, None, &refused),
    };
    match session.stream() {
        Some(streaming) => listen::legacy(gateway, streaming, permit, caller.bearer.claims.expires_at),
        None => {
            permit.finish(Outcome::Cancelled);
            respond::plain(
                StatusCode::CONFLICT,
                "session.streaming",
                "the session has an open stream already",
            )
        }
    }
}

/// `DELETE`: ends the session.
pub(super) async fn end(gateway: &Arc<Gateway>, caller: &Caller, parts: &Parts) -> Response {
    let modern = super::single(&parts.headers, &PROTOCOL_VERSION);
    if matches!(modern, Ok(Some(version)) if version == method::MODERN) {
        return respond::method_not_allowed();
    }
    let session = match session_of(gateway, caller, &parts.headers) {
        Ok(session) => session,
        Err(refusal) => return *refusal,
    };
    // Ending one's own session only takes rights away; it needs no leave, but it is recorded.
    gateway.sessions.end(&session);
    if let Ok(permit) = gateway
        .permit(caller, "session/end", None, Arguments::default())
        .await
    {
        permit.finish(Outcome::Returned);
    }
    respond::json(200, Bytes::from_static(b"{}"))
}
