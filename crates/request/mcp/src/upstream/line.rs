//! A standard-stream upstream server: one program, shared by many callers.
//!
//! Every call gets an id and a progress token of our own, so that no two callers can meet in the same number.
//! What the program sends without such a number belongs to nobody: changes of lists are announced to everyone,
//! resource updates to those who subscribed, everything else is dropped. The program is told that its client
//! can do nothing (no sampling, no elicitation, no roots), because a question from it names no call and could
//! only be put to the wrong caller.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bailiwick_base::Clock;
use bytes::{Bytes, BytesMut};
use serde_json::{Map, Value};
use tokio::sync::{broadcast, mpsc};

use super::bound::{Bound, Bounds};
use super::exchange::{Notice, Outgoing, Step, classify};
use super::peer::{self, Peer};
use crate::answer;
use crate::client::Client;
use crate::error::UpstreamError;
use crate::frame::{self, CallId, Foreign};
use crate::launcher::{self, Launcher, Output, Program};
use crate::method;
use crate::ports::Spawner;

/// Messages that wait for one caller.
const WAITING_MAX: usize = 1_024;
/// How long a program may take until it says what it is.
const GREETING: Duration = Duration::from_secs(20);
/// How long a program may be silent to a question that older servers do not know.
const PROBE: Duration = Duration::from_secs(3);
/// First and longest pause between two starts after a crash.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

/// A message of the program that belongs to no call.
#[derive(Debug, Clone)]
pub(crate) struct Announcement {
    pub(crate) method: String,
    /// `params.uri` of a resource update.
    pub(crate) uri: Option<String>,
    pub(crate) text: Bytes,
}

/// A program as configured; runs when it is needed.
pub(crate) struct LineServer {
    pub(crate) launcher: Launcher,
    pub(crate) program: Program,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) spawner: Arc<dyn Spawner>,
    pub(crate) reply_max: usize,
    pub(crate) bounds: Bounds,
    pub(crate) calls_max: usize,
    state: tokio::sync::Mutex<State>,
    announcements: broadcast::Sender<Announcement>,
}

#[derive(Default)]
struct State {
    running: Option<Arc<Running>>,
    failures: u32,
    not_before: Duration,
    last_words: String,
}

type Calls = Mutex<BTreeMap<i64, mpsc::Sender<Bytes>>>;

/// One life of the program.
struct Running {
    input: launcher::Input,
    calls: Calls,
    next_id: AtomicI64,
    ended: Mutex<Option<String>>,
    peer: Mutex<Option<Arc<Peer>>>,
}

/// What a server is made from.
pub(crate) struct LineParts {
    pub(crate) launcher: Launcher,
    pub(crate) program: Program,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) spawner: Arc<dyn Spawner>,
    pub(crate) reply_max: usize,
    pub(crate) bounds: Bounds,
    pub(crate) calls_max: usize,
}

impl LineServer {
    pub(crate) fn new(parts: LineParts) -> Arc<Self> {
        let LineParts {
            launcher,
            program,
            clock,
            spawner,
            reply_max,
            bounds,
            calls_max,
        } = parts;
        let state = tokio::sync::Mutex::default();
        let (announcements, _) = broadcast::channel(256);
        Arc::new(Self {
            launcher,
            program,
            clock,
            spawner,
            reply_max,
            bounds,
            calls_max,
            state,
            announcements,
        })
    }

    pub(crate) fn announcements(&self) -> broadcast::Receiver<Announcement> {
        self.announcements.subscribe()
    }

    pub(crate) async fn peer(self: &Arc<Self>) -> Result<Arc<Peer>, UpstreamError> {
        self.running().await?.known_peer().ok_or(UpstreamError::Closed)
    }

    fn bound(&self) -> Bound {
        Bound::begin(self.bounds, &self.clock)
    }

    /// Sends a call.
    pub(crate) async fn call(
        self: &Arc<Self>,
        out: impl FnOnce(&Peer, CallId) -> Outgoing + Send,
    ) -> Result<LineExchange, UpstreamError> {
        let running = self.running().await?;
        let peer = running.known_peer().ok_or(UpstreamError::Closed)?;
        let number = running.mint();
        let out = out(&peer, CallId::Integer(number));
        running.open(number, out, self.calls_max, self.bound())
    }

    /// The running program; started when there is none and the pause after the last crash is over.
    async fn running(self: &Arc<Self>) -> Result<Arc<Running>, UpstreamError> {
        let mut state = self.state.lock().await;
        if let Some(running) = &state.running {
            match running.why_ended() {
                None => return Ok(Arc::clone(running)),
                Some(why) => {
                    state.running = None;
                    self.count_failure(&mut state, why);
                }
            }
        }
        if self.clock.monotonic() < state.not_before {
            return Err(UpstreamError::Exited(state.last_words.clone()));
        }
        match tokio::time::timeout(GREETING, self.start())
            .await
            .unwrap_or(Err(UpstreamError::TimedOut))
        {
            Ok(running) => {
                state.running = Some(Arc::clone(&running));
                state.failures = 0;
                Ok(running)
            }
            Err(e) => {
                let why = if let UpstreamError::Exited(why) = &e {
                    why.clone()
                } else {
                    e.to_string()
                };
                self.count_failure(&mut state, why);
                Err(e)
            }
        }
    }

    fn count_failure(&self, state: &mut State, why: String) {
        let pause = PAUSE.0.saturating_mul(1 << state.failures.min(10)).min(PAUSE.1);
        state.failures = state.failures.saturating_add(1);
        state.not_before = self.clock.monotonic().saturating_add(pause);
        tracing::warn!(program = %self.program.path, reason = %why, "the program of an upstream server ended");
        state.last_words = why;
    }

    async fn start(self: &Arc<Self>) -> Result<Arc<Running>, UpstreamError> {
        let mut process = self.launcher.start(&self.program);
        match process.outputs.recv().await {
            Some(Output::Started) => {}
            Some(Output::Ended(why)) => return Err(UpstreamError::Exited(why)),
            _ => return Err(UpstreamError::Exited("the launcher is not running".to_owned())),
        }
        let running = Arc::new(Running {
            input: process.input,
            calls: Mutex::default(),
            next_id: AtomicI64::new(1),
            ended: Mutex::new(None),
            peer: Mutex::new(None),
        });
        let reader = ReaderTask {
            running: Arc::downgrade(&running),
            announcements: self.announcements.clone(),
            reply_max: self.reply_max,
        };
        self.spawner.spawn(Box::pin(reader.run(process.outputs)));
        let peer = running.greet(|| self.bound()).await?;
        *running.peer.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(peer));
        Ok(running)
    }
}

impl Running {
    fn mint(&self) -> i64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    fn known_peer(&self) -> Option<Arc<Peer>> {
        self.peer.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn why_ended(&self) -> Option<String> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn send(&self, text: Bytes) -> Result<(), UpstreamError> {
        let mut line = BytesMut::with_capacity(text.len() + 1);
        // A line ends at a line break; outside of strings JSON may have them, inside never raw ones.
        line.extend(
            text.iter()
                .map(|b| if matches!(b, b'\n' | b'\r') { b' ' } else { *b }),
        );
        line.extend_from_slice(b"\n");
        if self.input.send(&line.freeze()) {
            return Ok(());
        }
        Err(UpstreamError::Exited("the launcher is not running".to_owned()))
    }

    fn open(
        self: &Arc<Self>,
        number: i64,
        mut out: Outgoing,
        calls_max: usize,
        bound: Bound,
    ) -> Result<LineExchange, UpstreamError> {
        let (sender, messages) = mpsc::channel(WAITING_MAX);
        {
            let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
            if calls.len() >= calls_max {
                return Err(UpstreamError::Busy);
            }
            calls.insert(number, sender);
        }
        let text = out.take_text();
        let exchange = LineExchange {
            running: Arc::clone(self),
            number,
            out,
            messages,
            open: true,
            bound,
        };
        if let Some(why) = self.why_ended() {
            return Err(UpstreamError::Exited(why));
        }
        self.send(text)?;
        Ok(exchange)
    }

    /// Learns what the program speaks: the current revision first, then the one with a handshake.
    async fn greet(self: &Arc<Self>, bound: impl Fn() -> Bound + Send) -> Result<Peer, UpstreamError> {
        let own = |method: &str, params: Value, id: i64| Outgoing {
            id: CallId::Integer(id),
            method: method.to_owned(),
            wire_id: CallId::Integer(id),
            params: Some(Bytes::from(params.to_string())),
            verbatim: None,
            token: None,
            name: None,
            param_headers: Vec::new(),
        };
        let envelope = peer::envelope(&Client::own());
        let params = Value::Object(Map::from_iter([("_meta".to_owned(), Value::Object(envelope))]));
        let id = self.mint();
        let mut asked = self.open(id, own("server/discover", params, id), usize::MAX, bound())?;
        match tokio::time::timeout(PROBE, asked.next()).await {
            Ok(Ok(Step::Done(reply))) => {
                let result = reply
                    .result
                    .and_then(|r| bailiwick_base::json::parse(&r, r.len()).ok());
                if let Some(peer) = result.as_ref().and_then(Peer::from_discovery) {
                    return Ok(peer);
                }
            }
            Ok(Err(e @ (UpstreamError::Exited(_) | UpstreamError::TooLong(_)))) => return Err(e),
            _ => {}
        }
        asked.open = false;
        drop(asked);
        let id = self.mint();
        let params = peer::initialize_params(&Client::own());
        let mut asked = self.open(id, own("initialize", params, id), usize::MAX, bound())?;
        let reply = loop {
            if let Step::Done(reply) = asked.next().await? {
                break reply;
            }
        };
        let result = reply.result.ok_or(UpstreamError::Unsupported)?;
        let result = bailiwick_base::json::parse(&result, result.len())
            .map_err(|_| UpstreamError::NotMcp("the result of initialize is not strict JSON"))?;
        let peer = Peer::from_initialize(&result).ok_or(UpstreamError::Unsupported)?;
        self.send(frame::write(None, "notifications/initialized", None))?;
        Ok(peer)
    }
}

/// One call over standard streams. Dropped before its answer, it tells the program that the call is over.
pub(crate) struct LineExchange {
    running: Arc<Running>,
    number: i64,
    out: Outgoing,
    messages: mpsc::Receiver<Bytes>,
    open: bool,
    bound: Bound,
}

impl LineExchange {
    pub(crate) async fn next(&mut self) -> Result<Step, UpstreamError> {
        loop {
            let received = if self.out.method == "subscriptions/listen" {
                self.messages.recv().await
            } else {
                self.bound.wait(self.messages.recv()).await?
            };
            let text = match received {
                Some(text) => text,
                None => {
                    self.open = false;
                    let why = self.running.why_ended();
                    return Err(why.map_or(UpstreamError::Busy, UpstreamError::Exited));
                }
            };
            match classify(&self.out, 200, &text)? {
                Some(Step::Notice(notice)) => {
                    if let Some(notice) = restore_numbers(&self.out, notice) {
                        return Ok(Step::Notice(notice));
                    }
                }
                Some(step) => {
                    self.open = false;
                    return Ok(step);
                }
                None => {}
            }
        }
    }

    pub(crate) fn outgoing(&mut self) -> &mut Outgoing {
        &mut self.out
    }

    pub(crate) fn answer(&self, text: Bytes) -> Result<(), UpstreamError> {
        self.running.send(text)
    }
}

/// Gives a notification the caller's own numbers back: the progress token, or the id of the subscription.
/// `None` when it is about another call.
pub(crate) fn restore_numbers(out: &Outgoing, notice: Notice) -> Option<Notice> {
    let mut params: Map<String, Value> = serde_json::from_slice(&notice.params).ok()?;
    let wire = serde_json::to_value(&out.wire_id).ok()?;
    if notice.method == "notifications/progress" {
        if params.get("progressToken") != Some(&wire) {
            return None;
        }
        params.insert("progressToken".to_owned(), out.token.clone()?);
    } else if let Some(meta) = params.get_mut("_meta").and_then(Value::as_object_mut)
        && meta.get(method::META_SUBSCRIPTION) == Some(&wire)
    {
        meta.insert(
            method::META_SUBSCRIPTION.to_owned(),
            serde_json::to_value(&out.id).ok()?,
        );
    } else {
        return Some(notice);
    }
    let params = Bytes::from(Value::Object(params).to_string());
    let text = frame::write(None, &notice.method, Some(&params));
    Some(Notice {
        method: notice.method,
        params,
        text,
    })
}

impl Drop for LineExchange {
    fn drop(&mut self) {
        self.running
            .calls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.number);
        if self.open && self.running.why_ended().is_none() {
            let params = serde_json::json!({"requestId": self.number, "reason": "cancelled by the gateway"});
            let text = frame::write(
                None,
                "notifications/cancelled",
                Some(params.to_string().as_bytes()),
            );
            // A program that does not run needs no cancellation.
            let _ = self.running.send(text);
        }
    }
}

/// Reads what the program writes and gives each line to the call it belongs to.
struct ReaderTask {
    running: Weak<Running>,
    announcements: broadcast::Sender<Announcement>,
    reply_max: usize,
}

impl ReaderTask {
    async fn run(self, mut outputs: mpsc::UnboundedReceiver<Output>) {
        let mut buffer = BytesMut::new();
        let mut searched = 0_usize;
        let why = loop {
            match outputs.recv().await {
                None => break "the launcher ended".to_owned(),
                Some(Output::Ended(why)) => break why,
                Some(Output::Started) => {}
                Some(Output::Bytes(bytes)) => {
                    buffer.extend_from_slice(&bytes);
                    if !self.lines(&mut buffer, &mut searched) {
                        break format!("it wrote a line longer than {} bytes", self.reply_max);
                    }
                }
            }
        };
        if let Some(running) = self.running.upgrade() {
            *running.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
            running
                .calls
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clear();
        }
    }

    fn lines(&self, buffer: &mut BytesMut, searched: &mut usize) -> bool {
        loop {
            let unsearched = buffer.get(*searched..).unwrap_or_default();
            let Some(at) = memchr::memchr(b'\n', unsearched) else {
                *searched = buffer.len();
                return *searched <= self.reply_max;
            };
            let line = buffer.split_to(*searched + at + 1).freeze();
            *searched = 0;
            self.line(&line.slice(..line.len().saturating_sub(1)));
        }
    }

    fn line(&self, line: &Bytes) {
        let Some(running) = self.running.upgrade() else {
            return;
        };
        // Some servers greet on standard output; what is not JSON-RPC is not for anybody.
        let Some(message) = Foreign::parse(line) else {
            return;
        };
        match (&message.method, message.id) {
            (None, _) => {
                if let Some(CallId::Integer(number)) = message.call_id() {
                    deliver(&running, number, line, true);
                }
            }
            (Some(method), Some(_)) => refuse(&running, &message, method),
            (Some(method), None) => self.notice(&running, method, &message, line),
        }
    }

    fn notice(&self, running: &Arc<Running>, method: &str, message: &Foreign<'_>, line: &Bytes) {
        let params: Map<String, Value> = message
            .params
            .and_then(|p| serde_json::from_str(p.get()).ok())
            .unwrap_or_default();
        match method {
            "notifications/progress" => {
                if let Some(number) = params.get("progressToken").and_then(Value::as_i64) {
                    deliver(running, number, line, false);
                }
            }
            "notifications/tools/list_changed"
            | "notifications/prompts/list_changed"
            | "notifications/resources/list_changed"
            | "notifications/resources/updated" => {
                if self.subscription(running, &params, line) {
                    return;
                }
                let uri = params.get("uri").and_then(Value::as_str).map(str::to_owned);
                // Nobody may be listening.
                let _ = self.announcements.send(Announcement {
                    method: method.to_owned(),
                    uri,
                    text: line.clone(),
                });
            }
            _ => {
                self.subscription(running, &params, line);
            }
        }
    }

    /// In the current revision a stream of notifications names the call that opened it.
    fn subscription(&self, running: &Arc<Running>, params: &Map<String, Value>, line: &Bytes) -> bool {
        let opened_by = params
            .get("_meta")
            .and_then(|m| m.get(method::META_SUBSCRIPTION))
            .and_then(Value::as_i64);
        if let Some(number) = opened_by {
            deliver(running, number, line, false);
        }
        opened_by.is_some()
    }
}

fn deliver(running: &Arc<Running>, number: i64, line: &Bytes, last: bool) {
    let mut calls = running.calls.lock().unwrap_or_else(PoisonError::into_inner);
    let full = calls
        .get(&number)
        .is_some_and(|to| to.try_send(line.clone()).is_err());
    if full || last {
        calls.remove(&number);
    }
}

/// A question of the program names no call, so it can be put to nobody; `ping` is answered here.
fn refuse(running: &Arc<Running>, message: &Foreign<'_>, method: &str) {
    let Some(id) = message.call_id() else { return };
    let text = if method == "ping" {
        answer::result(&id, &Value::Object(Map::new()))
    } else {
        answer::error(
            Some(&id),
            answer::METHOD_NOT_FOUND,
            "this client offers no such method",
            None,
        )
    };
    // The program may have ended meanwhile.
    let _ = running.send(text);
}
