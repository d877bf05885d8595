//! `tools/list` as this credential may see it, `tools/call` as it was pinned, and the carrying of any call.

use std::sync::Arc;

use axum::response::Response;
use bailiwick_decide::DenyReason;
use bailiwick_pep::{Denial, Outcome, Permit};
use bytes::Bytes;
use tokio::sync::oneshot;

use super::respond;
use crate::answer;
use crate::bridge::rounds;
use crate::error::UpstreamError;
use crate::filter;
use crate::flow::{Flow, Sent};
use crate::frame;
use crate::gateway::{Gateway, Inbound};
use crate::method::{self, Era};
use crate::session::InFlight;
use crate::upstream::Upstream;
use crate::upstream::exchange::Exchange;

/// A call of a session that can be given up.
pub(super) type Watched = (InFlight, oneshot::Receiver<()>);

pub(super) async fn list(
    gateway: &Arc<Gateway>,
    inbound: &Inbound,
    permit: Permit,
    upstream: &Arc<Upstream>,
) -> Response {
    if inbound.params.member("cursor").is_some() {
        permit.finish(Outcome::Returned);
        // The list comes whole, so no cursor was ever given out.
        let text = answer::error(Some(&inbound.id), answer::INVALID_PARAMS, "unknown cursor", None);
        return respond::json(200, text);
    }
    let listed = tokio::select! {
        biased;
        reason = permit.revoked() => return stopped(inbound, permit, reason),
        listed = visible(gateway, inbound, &permit, upstream) => listed,
    };
    match listed {
        Ok(Some(result)) => {
            permit.finish(Outcome::Returned);
            let text = frame::write_response(&inbound.id, "result", &result);
            // A session gets the list in the form in which its server answers.
            let streamed = inbound.session.as_ref().is_some_and(|s| s.link.streams());
            if streamed && inbound.accepts_events {
                return respond::one_event(&text);
            }
            respond::json(200, text)
        }
        Ok(None) => {
            permit.finish(Outcome::Returned);
            let text = answer::error(
                Some(&inbound.id),
                answer::METHOD_NOT_FOUND,
                "the server has no tools",
                None,
            );
            respond::json(if inbound.era == Era::Modern { 404 } else { 200 }, text)
        }
        Err(e) => {
            permit.finish(Outcome::Failed);
            respond::failed(&inbound.id, &e)
        }
    }
}

async fn visible(
    gateway: &Gateway,
    inbound: &Inbound,
    permit: &Permit,
    upstream: &Arc<Upstream>,
) -> Result<Option<Vec<u8>>, UpstreamError> {
    if !upstream.peer().await?.offers("tools") {
        return Ok(None);
    }
    let catalog = gateway.catalog(permit, upstream).await?;
    let tools = filter::visible_tools(gateway, &inbound.caller, &catalog).await;
    let mut result = Vec::with_capacity(tools.len() + 96);
    result.push(b'{');
    if inbound.era == Era::Modern {
        let ttl = gateway.config.answer_ttl_max.as_millis();
        result.extend_from_slice(
            format!(r#""resultType":"complete","ttlMs":{ttl},"cacheScope":"private","#).as_bytes(),
        );
    }
    result.extend_from_slice(br#""tools":"#);
    result.extend_from_slice(&tools);
    result.push(b'}');
    Ok(Some(result))
}

fn stopped(inbound: &Inbound, permit: Permit, reason: DenyReason) -> Response {
    let decision = permit.decision().id.clone();
    permit.finish(Outcome::Cancelled);
    let text = "the call was stopped while it ran".to_owned();
    respond::withheld(
        &inbound.id,
        &Denial {
            reason,
            text,
            decision,
        },
    )
}

/// Resolves when the session's caller gave the call up, or the session ended.
pub(super) async fn given_up(watched: &mut Option<Watched>) {
    match watched {
        Some((_, told)) => drop(told.await),
        None => std::future::pending().await,
    }
}

/// A call that was given up has no answer.
fn silent(permit: Permit) -> Response {
    permit.finish(Outcome::Cancelled);
    respond::events(axum::body::Body::empty())
}

/// Calls a tool, if its definition is still the pinned one.
pub(super) async fn call(
    gateway: &Arc<Gateway>,
    inbound: Inbound,
    permit: Permit,
    upstream: Arc<Upstream>,
    mut watched: Option<Watched>,
) -> Response {
    let name = inbound.params.text("name").unwrap_or_default();
    let catalog = match upstream.known_catalog(gateway.config.catalog_ttl) {
        Some(known) => Ok(known),
        None => tokio::select! {
            biased;
            reason = permit.revoked() => return stopped(&inbound, permit, reason),
            () = given_up(&mut watched) => return silent(permit),
            catalog = gateway.catalog(&permit, &upstream) => catalog,
        },
    };
    let catalog = match catalog {
        Ok(catalog) => catalog,
        Err(e) => {
            permit.finish(Outcome::Failed);
            return respond::failed(&inbound.id, &e);
        }
    };
    let snapshot = gateway.cell.load();
    let caller = &inbound.caller;
    let pin = snapshot.pin(&caller.tenant, &caller.server, name);
    let is_as_pinned = pin.is_some_and(|pin| catalog.is_as_pinned(pin));
    drop(snapshot);
    if is_as_pinned {
        return carry(gateway, inbound, permit, upstream, watched).await;
    }
    drifted(gateway, &inbound, permit).await
}

/// The definition changed since the snapshot was taken: decide again, now that the change is reported. If even that
/// would permit, the call is refused all the same.
async fn drifted(gateway: &Gateway, inbound: &Inbound, permit: Permit) -> Response {
    let decision = permit.decision().id.clone();
    permit.finish(Outcome::Cancelled);
    match gateway.permit_inbound(inbound).await {
        Err(refused) => respond::refused(gateway, &inbound.caller, Some(inbound), &refused),
        Ok(again) => {
            again.finish(Outcome::Cancelled);
            let text =
                "the tool is not offered as it was pinned: pin it again after a look at its definition";
            let reason = DenyReason::ToolDrifted;
            respond::withheld(
                &inbound.id,
                &Denial {
                    reason,
                    text: text.to_owned(),
                    decision,
                },
            )
        }
    }
}

/// Sends a permitted call on, or lets a waiting one go on, and carries the answer back.
pub(super) async fn carry(
    gateway: &Arc<Gateway>,
    inbound: Inbound,
    permit: Permit,
    upstream: Arc<Upstream>,
    mut watched: Option<Watched>,
) -> Response {
    let sent = tokio::select! {
        biased;
        reason = permit.revoked() => return stopped(&inbound, permit, reason),
        () = given_up(&mut watched) => return silent(permit),
        sent = send(gateway, &inbound, &permit, &upstream) => sent,
    };
    match sent {
        Ok(Some(sent)) => {
            let mut flow = Flow::new(Arc::clone(gateway), inbound, upstream, permit, sent);
            if let Some((in_flight, told)) = watched {
                flow = flow.ending_with(in_flight, told);
            }
            respond::flow(gateway, flow).await
        }
        Ok(None) => {
            permit.finish(Outcome::Cancelled);
            let message = "`requestState` is unknown, used, too old, or belongs to another call";
            respond::json(
                200,
                answer::error(Some(&inbound.id), answer::INVALID_PARAMS, message, None),
            )
        }
        Err(e) => {
            permit.finish(Outcome::Failed);
            if matches!(e, UpstreamError::NotMcp(_) | UpstreamError::Unsupported) {
                upstream.forget_peer();
            }
            if let (UpstreamError::SessionLost, Some(session)) = (&e, &inbound.session) {
                // The caller opens a new one, and with it a new one at the server.
                gateway.sessions.end(session);
                return respond::json(404, answer::failed(&inbound.id, &e));
            }
            respond::failed(&inbound.id, &e)
        }
    }
}

/// Sends the call and waits for what comes first. A session inside that the server has forgotten is opened once
/// more: such a server took nothing of the call. `None`: the call names a waiting one that is not there.
async fn send(
    gateway: &Gateway,
    inbound: &Inbound,
    permit: &Permit,
    upstream: &Arc<Upstream>,
) -> Result<Option<Sent>, UpstreamError> {
    let mut once_more = inbound.session.is_none();
    loop {
        let first = match send_once(gateway, inbound, permit, upstream).await {
            Ok(None) => return Ok(None),
            Ok(Some((mut exchange, era))) => match exchange.next().await {
                Err(UpstreamError::SessionLost) => Err(UpstreamError::SessionLost),
                first => return Ok(Some(Sent { exchange, era, first })),
            },
            Err(e) => Err(e),
        };
        match first {
            Err(UpstreamError::SessionLost) if once_more => once_more = false,
            Err(e) => return Err(e),
            Ok(sent) => return Ok(sent),
        }
    }
}

async fn send_once(
    gateway: &Gateway,
    inbound: &Inbound,
    permit: &Permit,
    upstream: &Arc<Upstream>,
) -> Result<Option<(Exchange, Era)>, UpstreamError> {
    let state = inbound
        .params
        .text("requestState")
        .filter(|_| inbound.era == Era::Modern);
    if let Some(state) = state.filter(|_| method::may_ask(inbound.verb))
        && upstream.peer().await?.era == Era::Legacy
    {
        return resume(gateway, inbound, state).await;
    }
    gateway.forward(permit, upstream, inbound).await.map(Some)
}

async fn resume(
    gateway: &Gateway,
    inbound: &Inbound,
    state: &str,
) -> Result<Option<(Exchange, Era)>, UpstreamError> {
    let responses = inbound.params.member("inputResponses").map(|m| &m.value);
    let Some(response) = responses
        .and_then(|r| r.get(rounds::QUESTION))
        .filter(|r| r.is_object())
    else {
        return Ok(None);
    };
    let Some(parked) = gateway.rounds.resume(state, inbound).await else {
        return Ok(None);
    };
    let mut exchange = parked.exchange;
    exchange.adopt(&inbound.id, inbound.params.progress_token());
    let text: Bytes = frame::write_response(&parked.ask.id, "result", response.to_string().as_bytes());
    exchange.answer(text).await?;
    Ok(Some((exchange, Era::Legacy)))
}
