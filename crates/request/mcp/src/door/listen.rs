//! Streams of messages that belong to no call: `GET` of a session, and `subscriptions/listen`.

use std::collections::{BTreeSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bailiwick_base::Time;
use bailiwick_decide::DenyReason;
use bailiwick_pep::{Denial, Outcome, Permit};
use bytes::Bytes;
use futures_util::stream;
use serde_json::{Map, Value, json};
use tokio::sync::broadcast;

use super::carry::carried;
use super::{respond, tools};
use crate::answer;
use crate::bridge;
use crate::bridge::ask::require_askable;
use crate::client::Client;
use crate::error::UpstreamError;
use crate::frame::{self, CallId};
use crate::gateway::{Gateway, Inbound};
use crate::method::{self, Era};
use crate::session::Streaming;
use crate::sse;
use crate::upstream::exchange::{Ask, Outgoing, Step};
use crate::upstream::http::{HttpExchange, HttpServer, HttpSession};
use crate::upstream::line::Announcement;
use crate::upstream::{Link, Upstream, peer};

/// What a stateless caller wants to hear of.
#[derive(Debug, Default, Clone)]
struct Wanted {
    tools: bool,
    prompts: bool,
    resources: bool,
    uris: BTreeSet<String>,
}

impl Wanted {
    fn parse(value: Option<&Value>) -> Option<Self> {
        let asked = value?.as_object()?;
        let flag = |name: &str| asked.get(name).and_then(Value::as_bool).unwrap_or(false);
        let uris = asked.get("resourceSubscriptions").and_then(Value::as_array);
        let uris = uris
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .take(64)
            .collect();
        let (tools, prompts) = (flag("toolsListChanged"), flag("promptsListChanged"));
        Some(Self {
            tools,
            prompts,
            resources: flag("resourcesListChanged"),
            uris,
        })
    }

    fn hears(&self, method: &str, uri: Option<&str>) -> bool {
        match method {
            "notifications/tools/list_changed" => self.tools,
            "notifications/prompts/list_changed" => self.prompts,
            "notifications/resources/list_changed" => self.resources,
            "notifications/resources/updated" => uri.is_some_and(|uri| self.uris.contains(uri)),
            _ => false,
        }
    }

    fn to_value(&self) -> Value {
        let mut out = Map::new();
        let flags = [
            ("toolsListChanged", self.tools),
            ("promptsListChanged", self.prompts),
            ("resourcesListChanged", self.resources),
        ];
        for (name, on) in flags {
            if on {
                out.insert(name.to_owned(), true.into());
            }
        }
        if !self.uris.is_empty() {
            out.insert("resourceSubscriptions".to_owned(), json!(self.uris));
        }
        Value::Object(out)
    }
}

enum Listener {
    Session(Streaming),
    Stateless { id: CallId, wanted: Wanted },
}

enum Source {
    Line(broadcast::Receiver<Announcement>),
    /// A legacy session; the stream is opened lazily, because its head may come with the first message only.
    Session(Arc<HttpSession>, Option<Box<HttpExchange>>),
    /// A stateless server, asked to listen on behalf of a session.
    Modern(Arc<HttpServer>, Option<Box<HttpExchange>>),
    /// Nothing comes.
    Quiet,
}

struct Listening {
    gateway: Arc<Gateway>,
    /// When the token ends with which the stream was opened.
    expires_at: Time,
    listener: Listener,
    upstream: Arc<Upstream>,
    permit: Option<Permit>,
    source: Source,
    outbox: VecDeque<Bytes>,
}

enum ListenStep {
    End,
    Message(Bytes),
}

/// What woke the stream.
enum Woken {
    Announced(Announcement),
    Changed,
    Expired,
    Nothing,
    Sent(Step),
    SourceEnded,
    Stopped(DenyReason),
}

/// `GET` of a session.
pub(super) fn legacy(
    gateway: &Arc<Gateway>,
    streaming: Streaming,
    permit: Permit,
    expires_at: Time,
) -> Response {
    let session = streaming.session();
    let source = match &session.link {
        Link::Line(line) => Source::Line(line.announcements()),
        Link::Modern(server) => Source::Modern(Arc::clone(server), None),
        Link::Session { session, .. } => Source::Session(Arc::clone(session), None),
    };
    let upstream = Arc::clone(&session.upstream);
    let listening = Listening {
        gateway: Arc::clone(gateway),
        expires_at,
        listener: Listener::Session(streaming),
        upstream,
        permit: Some(permit),
        source,
        outbox: VecDeque::new(),
    };
    respond::events(body_of(gateway, listening))
}

/// `subscriptions/listen`.
pub(super) async fn modern(
    gateway: &Arc<Gateway>,
    inbound: Inbound,
    permit: Permit,
    upstream: Arc<Upstream>,
) -> Response {
    let Some(wanted) = Wanted::parse(inbound.params.member("notifications").map(|m| &m.value)) else {
        permit.finish(Outcome::Returned);
        let text = "`params` needs `notifications`";
        return respond::json(
            200,
            answer::error(Some(&inbound.id), answer::INVALID_PARAMS, text, None),
        );
    };
    match source_of(&inbound, &upstream, &wanted).await {
        // A server of the same era answers for itself.
        Ok(None) => tools::carry(gateway, inbound, permit, upstream, None).await,
        Ok(Some(source)) => {
            let params = json!({
                "notifications": wanted.to_value(),
                "_meta": {method::META_SUBSCRIPTION: inbound.id},
            });
            let first = frame::write(
                None,
                "notifications/subscriptions/acknowledged",
                Some(params.to_string().as_bytes()),
            );
            let listener = Listener::Stateless {
                id: inbound.id,
                wanted,
            };
            let outbox = VecDeque::from([first]);
            let listening = Listening {
                gateway: Arc::clone(gateway),
                expires_at: inbound.caller.bearer.claims.expires_at,
                listener,
                upstream,
                permit: Some(permit),
                source,
                outbox,
            };
            respond::events(body_of(gateway, listening))
        }
        Err(e) => {
            permit.finish(Outcome::Failed);
            respond::failed(&inbound.id, &e)
        }
    }
}

async fn source_of(
    inbound: &Inbound,
    upstream: &Arc<Upstream>,
    wanted: &Wanted,
) -> Result<Option<Source>, UpstreamError> {
    if upstream.peer().await?.era == Era::Modern {
        return Ok(None);
    }
    match upstream.own_link().await? {
        Link::Modern(_) => Ok(None),
        Link::Line(line) => {
            let source = Source::Line(line.announcements());
            for uri in &wanted.uris {
                let params = Bytes::from(json!({"uri": uri}).to_string());
                let mut asked = line
                    .call(|_, id| own_call("resources/subscribe", id, params))
                    .await?;
                asked.next().await?;
            }
            Ok(Some(source))
        }
        Link::Session { .. } => {
            let session = upstream
                .separate_session(&inbound.client().able_to_nothing())
                .await?;
            for uri in &wanted.uris {
                let params = Bytes::from(json!({"uri": uri}).to_string());
                session
                    .call(own_call("resources/subscribe", session.mint(), params))
                    .await?
                    .reply()
                    .await?;
            }
            Ok(Some(Source::Session(session, None)))
        }
    }
}

fn own_call(method: &str, id: CallId, params: Bytes) -> Outgoing {
    Outgoing {
        id: id.clone(),
        method: method.to_owned(),
        wire_id: id,
        params: Some(params),
        verbatim: None,
        token: None,
        name: None,
        param_headers: Vec::new(),
    }
}

type Advance = Pin<Box<dyn Future<Output = (ListenStep, Listening)> + Send>>;

fn body_of(gateway: &Arc<Gateway>, listening: Listening) -> Body {
    let keep_alive = gateway.config.keep_alive;
    let Some(watch) = listening.permit.as_ref().map(Permit::watch) else {
        return Body::empty();
    };
    let first: Advance = Box::pin(listening.advance());
    // The head goes out with the first bytes, so there are some at once.
    let hello = stream::iter([sse::KEEP_ALIVE]);
    let events = stream::unfold(Some(first), move |advance| async move {
        let mut advance = advance?;
        match tokio::time::timeout(keep_alive, advance.as_mut()).await {
            Err(_) => Some((sse::KEEP_ALIVE, Some(advance))),
            Ok((ListenStep::Message(text), listening)) => {
                let next: Advance = Box::pin(listening.advance());
                Some((sse::event(&text), Some(next)))
            }
            Ok((ListenStep::End, _)) => None,
        }
    });
    carried(gateway, watch, stream::StreamExt::chain(hello, events))
}

impl Listening {
    async fn advance(mut self) -> (ListenStep, Self) {
        loop {
            if let Some(text) = self.outbox.pop_front() {
                return (ListenStep::Message(text), self);
            }
            if self.permit.is_none() {
                return (ListenStep::End, self);
            }
            match self.woken().await {
                Woken::Announced(a) => self.pass(&a.method, a.uri.as_deref(), &a.text),
                Woken::Changed => self.session_changed(),
                Woken::Expired => self.stopped(DenyReason::TokenExpired),
                Woken::Nothing => {}
                Woken::Sent(step) => self.sent(step).await,
                Woken::SourceEnded => self.finish(Outcome::Returned),
                Woken::Stopped(reason) => self.stopped(reason),
            }
        }
    }

    fn finish(&mut self, outcome: Outcome) {
        if let Some(permit) = self.permit.take() {
            permit.finish(outcome);
        }
    }

    fn stopped(&mut self, reason: DenyReason) {
        if let (Listener::Stateless { id, .. }, Some(permit)) = (&self.listener, &self.permit) {
            let text = "the subscription was stopped".to_owned();
            let denial = Denial {
                reason,
                text,
                decision: permit.decision().id.clone(),
            };
            self.outbox.push_back(answer::denied(id, &denial));
        }
        self.finish(Outcome::Cancelled);
    }

    async fn woken(&mut self) -> Woken {
        let Self {
            gateway,
            expires_at,
            listener,
            permit,
            source,
            ..
        } = self;
        let listener: &Listener = listener;
        let stopped = async {
            match permit.as_ref() {
                Some(permit) => permit.revoked().await,
                None => std::future::pending().await,
            }
        };
        let changed = async {
            match listener {
                Listener::Session(streaming) => streaming.session().changed.notified().await,
                Listener::Stateless { .. } => std::future::pending().await,
            }
        };
        // A stream lives no longer than the token that opened it; the caller opens the next with a new one.
        let left = expires_at.since(gateway.clock.now());
        tokio::select! {
            biased;
            reason = stopped => Woken::Stopped(reason),
            () = changed => Woken::Changed,
            _ = tokio::time::timeout(left, std::future::pending::<()>()) => Woken::Expired,
            woken = from(source, listener) => woken,
        }
    }

    fn session_changed(&mut self) {
        let Listener::Session(streaming) = &self.listener else {
            return;
        };
        if streaming.session().has_ended() {
            return self.finish(Outcome::Returned);
        }
        // Other subscriptions: listen anew.
        if let Source::Modern(_, exchange) = &mut self.source {
            *exchange = None;
        }
    }

    async fn sent(&mut self, step: Step) {
        match step {
            Step::Notice(notice) => {
                let params: Value = serde_json::from_slice(&notice.params).unwrap_or_default();
                let uri = params.get("uri").and_then(Value::as_str).map(str::to_owned);
                self.pass(&notice.method, uri.as_deref(), &notice.text);
            }
            Step::Ask(ask) => self.ask(ask).await,
            Step::Done(_) => {}
        }
    }

    /// Passes a notification on, if this listener is to hear it, in the listener's words.
    fn pass(&mut self, method: &str, uri: Option<&str>, text: &Bytes) {
        if method == "notifications/tools/list_changed" {
            self.upstream.forget_catalog();
        }
        match &self.listener {
            Listener::Stateless { id, wanted } => {
                if !wanted.hears(method, uri) {
                    return;
                }
                let message = frame::Foreign::parse(text);
                let params = message
                    .and_then(|m| m.params)
                    .map(|p| p.get().as_bytes())
                    .unwrap_or(b"{}");
                let id = serde_json::to_value(id).unwrap_or_default();
                let params = bridge::with_notice_meta(params, |meta| {
                    meta.insert(method::META_SUBSCRIPTION.to_owned(), id);
                });
                self.outbox.push_back(frame::write(None, method, Some(&params)));
            }
            Listener::Session(streaming) => match &self.source {
                Source::Line(_) => {
                    let updated = method == "notifications/resources/updated";
                    let subscribed = || uri.is_some_and(|u| streaming.session().subscriptions().contains(u));
                    if !updated || subscribed() {
                        self.outbox.push_back(text.clone());
                    }
                }
                Source::Modern(..) => {
                    if method == "notifications/subscriptions/acknowledged" {
                        return;
                    }
                    let message = frame::Foreign::parse(text);
                    let params = message
                        .and_then(|m| m.params)
                        .map(|p| p.get().as_bytes())
                        .unwrap_or(b"{}");
                    let params = bridge::with_notice_meta(params, |meta| {
                        meta.remove(method::META_SUBSCRIPTION);
                    });
                    self.outbox.push_back(frame::write(None, method, Some(&params)));
                }
                Source::Session(..) | Source::Quiet => self.outbox.push_back(text.clone()),
            },
        }
    }

    /// A legacy server asks outside of any call.
    async fn ask(&mut self, ask: Ask) {
        let Source::Session(at_server, _) = &self.source else {
            return;
        };
        let answer = if ask.method == "ping" {
            answer::result(&ask.id, &json!({}))
        } else {
            let params: Value = serde_json::from_slice(&ask.params).unwrap_or_default();
            let asked = match &self.listener {
                Listener::Session(streaming) => {
                    let session = streaming.session();
                    let judged = require_askable(
                        &ask.method,
                        &params,
                        &session.client.capabilities,
                        self.upstream.host(),
                    );
                    judged.map(|()| session.expect_upstream(&ask.id)).unwrap_or(false)
                }
                Listener::Stateless { .. } => false,
            };
            if asked {
                self.outbox
                    .push_back(frame::write(Some(&ask.id), &ask.method, Some(&ask.params)));
                return;
            }
            answer::error(
                Some(&ask.id),
                answer::METHOD_NOT_FOUND,
                "this client offers no such method",
                None,
            )
        };
        if let Err(e) = at_server.send(answer).await {
            tracing::debug!(error = %e, "an answer did not reach the upstream server");
        }
    }
}

/// The next thing from the server.
async fn from(source: &mut Source, listener: &Listener) -> Woken {
    match source {
        Source::Quiet => std::future::pending().await,
        Source::Line(announcements) => match announcements.recv().await {
            Ok(announcement) => Woken::Announced(announcement),
            Err(broadcast::error::RecvError::Lagged(_)) => Woken::Nothing,
            Err(broadcast::error::RecvError::Closed) => Woken::SourceEnded,
        },
        Source::Session(session, exchange) => {
            if exchange.is_none() {
                match session.listen().await {
                    Ok(opened) => *exchange = Some(Box::new(opened)),
                    Err(e) => {
                        // Many servers have no such stream; the caller's stays open all the same.
                        tracing::debug!(error = %e, "the upstream server has no stream of messages");
                        *source = Source::Quiet;
                        return Woken::Nothing;
                    }
                }
            }
            next_of(exchange).await
        }
        Source::Modern(server, exchange) => {
            if exchange.is_none() {
                match server.call_modern(listen_call(listener)).await {
                    Ok(opened) => *exchange = Some(Box::new(opened)),
                    Err(e) => {
                        tracing::debug!(error = %e, "the upstream server does not listen");
                        *source = Source::Quiet;
                        return Woken::Nothing;
                    }
                }
            }
            next_of(exchange).await
        }
    }
}

async fn next_of(exchange: &mut Option<Box<HttpExchange>>) -> Woken {
    let Some(open) = exchange else {
        return Woken::SourceEnded;
    };
    match open.next_of_stream().await {
        Ok(step) => Woken::Sent(step),
        Err(_) => Woken::SourceEnded,
    }
}

/// `subscriptions/listen` on behalf of a session: all lists, and the resources it subscribed to.
fn listen_call(listener: &Listener) -> Outgoing {
    let (uris, client) = match listener {
        Listener::Session(streaming) => {
            let session = streaming.session();
            (session.subscriptions(), Arc::clone(&session.client))
        }
        Listener::Stateless { wanted, .. } => (wanted.uris.clone(), Arc::new(Client::own())),
    };
    let wanted = Wanted {
        tools: true,
        prompts: true,
        resources: true,
        uris,
    };
    let meta = peer::envelope(&client);
    let params = json!({"notifications": wanted.to_value(), "_meta": meta});
    own_call(
        "subscriptions/listen",
        CallId::Text("bailiwick-listen".into()),
        Bytes::from(params.to_string()),
    )
}
