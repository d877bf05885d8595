//! Sessions of 2025-11-25: issued by the gateway, bound to who opened them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bailiwick_base::{Entropy, IdentityId, ServerName, TaskId, TenantId};
use bailiwick_decide::Bearer;
use bytes::Bytes;
use data_encoding::BASE32_NOPAD;
use tokio::sync::{Notify, oneshot};

use crate::client::Client;
use crate::frame::CallId;
use crate::gateway::Caller;
use crate::upstream::peer::Peer;
use crate::upstream::{Link, Upstream};

/// Questions that wait for an answer of one session.
const ASKS_MAX: usize = 64;
/// Calls of one session in flight.
const CALLS_MAX: usize = 256;

/// Where the answer to a question goes.
pub(crate) enum AskRoute {
    /// To the call of ours that asked.
    Local(oneshot::Sender<Bytes>),
    /// To the session at the upstream server, as it is.
    Upstream,
}

/// One session.
pub(crate) struct Session {
    pub(crate) id: String,
    tenant: TenantId,
    server: ServerName,
    identity: IdentityId,
    task: TaskId,
    pub(crate) version: &'static str,
    pub(crate) client: Arc<Client>,
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) link: Link,
    pub(crate) peer: Arc<Peer>,
    state: Mutex<State>,
    /// Wakes the open stream when its subscriptions changed or the session ended.
    pub(crate) changed: Notify,
    next_ask: AtomicI64,
    used_at_ms: AtomicU64,
    ended: AtomicBool,
    streaming: AtomicBool,
}

struct State {
    /// The token the session was last used with.
    bearer: Bearer,
    calls: Vec<(CallId, oneshot::Sender<()>)>,
    asks: Vec<(CallId, AskRoute)>,
    level: Option<String>,
    subscriptions: BTreeSet<String>,
}

/// What a session is opened with.
pub(crate) struct Opening {
    pub(crate) version: &'static str,
    pub(crate) client: Arc<Client>,
    pub(crate) upstream: Arc<Upstream>,
    pub(crate) link: Link,
    pub(crate) peer: Arc<Peer>,
}

/// A call of a session in flight; dropped when it ends.
pub(crate) struct InFlight {
    session: Arc<Session>,
    id: CallId,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut state = self.session.state();
        drop(taken(&mut state.calls, &self.id));
    }
}

/// The one open stream of a session.
pub(crate) struct Streaming(Arc<Session>);

impl Streaming {
    pub(crate) fn session(&self) -> &Arc<Session> {
        &self.0
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        self.0.streaming.store(false, Ordering::Release);
    }
}

impl Session {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the session was opened by this caller, for this server.
    pub(crate) fn belongs_to(&self, caller: &Caller) -> bool {
        self.tenant == caller.tenant
            && self.server == caller.server
            && self.identity == *caller.identity()
            && self.task == *caller.task()
    }

    /// Takes note of a call; `None` when its id is in flight already, or there are too many.
    pub(crate) fn begin(self: &Arc<Self>, id: &CallId) -> Option<(InFlight, oneshot::Receiver<()>)> {
        let (give_up, told) = oneshot::channel();
        let mut state = self.state();
        if state.calls.len() >= CALLS_MAX || state.calls.iter().any(|(known, _)| known == id) {
            return None;
        }
        state.calls.push((id.clone(), give_up));
        Some((
            InFlight {
                session: Arc::clone(self),
                id: id.clone(),
            },
            told,
        ))
    }

    /// Tells a call of this session that its caller gave up; whether there was one.
    pub(crate) fn give_up(&self, id: &CallId) -> bool {
        let told = taken(&mut self.state().calls, id);
        // The call may end at the same moment.
        told.is_some_and(|told| told.send(()).is_ok())
    }

    /// Remembers a question under the server's own id.
    pub(crate) fn expect_upstream(&self, id: &CallId) -> bool {
        let mut state = self.state();
        if state.asks.len() >= ASKS_MAX {
            return false;
        }
        if state.asks.iter().any(|(known, _)| known == id) {
            return false;
        }
        state.asks.push((id.clone(), AskRoute::Upstream));
        true
    }

    /// Remembers a question of our own; its id and where the answer arrives.
    pub(crate) fn expect_local(&self) -> Option<(CallId, oneshot::Receiver<Bytes>)> {
        let id = CallId::Integer(self.next_ask.fetch_add(1, Ordering::Relaxed));
        let (to, answer) = oneshot::channel();
        let mut state = self.state();
        if state.asks.len() >= ASKS_MAX {
            return None;
        }
        state.asks.push((id.clone(), AskRoute::Local(to)));
        Some((id, answer))
    }

    /// Takes the question that an answer belongs to.
    pub(crate) fn answered(&self, id: &CallId) -> Option<AskRoute> {
        taken(&mut self.state().asks, id)
    }

    pub(crate) fn set_level(&self, level: &str) {
        self.state().level = Some(level.to_owned());
    }

    pub(crate) fn level(&self) -> Option<String> {
        self.state().level.clone()
    }

    /// Adds or removes a subscription; whether anything changed.
    pub(crate) fn subscribe(&self, uri: &str, on: bool) -> bool {
        let mut state = self.state();
        let changed = if on {
            state.subscriptions.len() < ASKS_MAX && state.subscriptions.insert(uri.to_owned())
        } else {
            state.subscriptions.remove(uri)
        };
        drop(state);
        if changed {
            self.changed.notify_one();
        }
        changed
    }

    pub(crate) fn subscriptions(&self) -> BTreeSet<String> {
        self.state().subscriptions.clone()
    }

    /// Claims the one stream of the session.
    pub(crate) fn stream(self: &Arc<Self>) -> Option<Streaming> {
        let free = self
            .streaming
            .compare_exchange(false, true, Ordering::AcqRel, Ordering::Acquire);
        free.is_ok().then(|| Streaming(Arc::clone(self)))
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    fn end(&self) {
        self.ended.store(true, Ordering::Release);
        let mut state = self.state();
        for (_, told) in std::mem::take(&mut state.calls) {
            // The call may end at the same moment.
            let _ = told.send(());
        }
        state.asks.clear();
        drop(state);
        self.changed.notify_one();
    }
}

/// All sessions of this node.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<BTreeMap<String, Arc<Session>>>);

/// No session can be opened now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionRefusal {
    NoEntropy,
    TooMany,
}

/// How many sessions there may be, and how long unused.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SessionLimits {
    pub(crate) all: usize,
    pub(crate) of_identity: usize,
    pub(crate) idle: Duration,
}

impl Sessions {
    fn all(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<Session>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn len(&self) -> usize {
        self.all().len()
    }

    pub(crate) fn open(
        &self,
        caller: &Caller,
        opening: Opening,
        limits: SessionLimits,
        entropy: &dyn Entropy,
        now: Duration,
    ) -> Result<Arc<Session>, SessionRefusal> {
        let mut random = [0_u8; 20];
        entropy.fill(&mut random).map_err(|_| SessionRefusal::NoEntropy)?;
        let id = BASE32_NOPAD.encode(&random).to_ascii_lowercase();
        let Opening {
            version,
            client,
            upstream,
            link,
            peer,
        } = opening;
        let session = Arc::new(Session {
            id: id.clone(),
            tenant: caller.tenant.clone(),
            server: caller.server.clone(),
            identity: caller.identity().clone(),
            task: caller.task().clone(),
            version,
            client,
            upstream,
            link,
            peer,
            state: Mutex::new(State {
                bearer: caller.bearer.clone(),
                calls: Vec::new(),
                asks: Vec::new(),
                level: None,
                subscriptions: BTreeSet::new(),
            }),
            changed: Notify::new(),
            next_ask: AtomicI64::new(1),
            used_at_ms: AtomicU64::new(millis(now)),
            ended: AtomicBool::new(false),
            streaming: AtomicBool::new(false),
        });
        let mut all = self.all();
        let near_full = all.len() >= limits.all;
        let own = || all.values().filter(|s| s.identity == session.identity).count();
        if near_full || (all.len() >= limits.of_identity && own() >= limits.of_identity) {
            drop_idle(&mut all, now, limits.idle);
        }
        let own = all.len() >= limits.of_identity
            && all.values().filter(|s| s.identity == session.identity).count() >= limits.of_identity;
        if own || all.len() >= limits.all {
            return Err(SessionRefusal::TooMany);
        }
        all.insert(id, Arc::clone(&session));
        Ok(session)
    }

    /// The session of this caller. Another's is as unknown as none.
    pub(crate) fn lookup(&self, id: &str, caller: &Caller, now: Duration) -> Option<Arc<Session>> {
        let session = self.all().get(id).map(Arc::clone)?;
        if !session.belongs_to(caller) || session.has_ended() {
            return None;
        }
        session.used_at_ms.store(millis(now), Ordering::Relaxed);
        session.state().bearer = caller.bearer.clone();
        Some(session)
    }

    pub(crate) fn end(&self, session: &Session) {
        self.all().remove(&session.id);
        session.end();
    }

    pub(crate) fn sweep(
        &self,
        now: Duration,
        idle: Duration,
        is_dead: &dyn Fn(&Bearer, &ServerName) -> bool,
    ) {
        let open: Vec<Arc<Session>> = {
            let mut all = self.all();
            drop_idle(&mut all, now, idle);
            all.values().map(Arc::clone).collect()
        };
        for session in open {
            let bearer = session.state().bearer.clone();
            if is_dead(&bearer, &session.server) {
                self.end(&session);
            }
        }
    }
}

/// Takes the entry of `id` out. An empty list gives its memory back: most sessions are idle most of the time.
fn taken<T>(list: &mut Vec<(CallId, T)>, id: &CallId) -> Option<T> {
    let at = list.iter().position(|(known, _)| known == id)?;
    let (_, found) = list.swap_remove(at);
    if list.is_empty() {
        *list = Vec::new();
    }
    Some(found)
}

fn drop_idle(all: &mut BTreeMap<String, Arc<Session>>, now: Duration, idle: Duration) {
    all.retain(|_, session| {
        let used_at = Duration::from_millis(session.used_at_ms.load(Ordering::Relaxed));
        let in_use = session.streaming.load(Ordering::Acquire) || !session.state().calls.is_empty();
        let keep = in_use || now.saturating_sub(used_at) < idle;
        if !keep {
            session.end();
        }
        keep
    });
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
