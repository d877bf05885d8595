//! Sidecars that hear at this node: what each holds, what it is told, and when a stop holds for them. Which answers may
//! be given and who is waited for is decided by the machine of `bailiwick-node`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use bailiwick_base::{Digest, Epoch, NodeName, TenantId, Time};
use bailiwick_node::{Attachments, Bounds, Seat, Sidecar, SidecarEnd, SidecarSaid};
use bailiwick_snapshot::{Heading, PublishedKey, Told, body_of, signed_snapshot, signed_told};
use bailiwick_store::{SidecarRow, StoreError};
use bailiwick_wire as wire;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::sync::watch;

use crate::Deps;
use crate::command::store_error;
use crate::problem::RouteError;

/// How often the rows of all sidecars are read again.
const ROWS_EVERY: Duration = Duration::from_secs(1);
/// Words of one sidecar within the life of what it signs.
const WORDS_MAX: usize = 4_096;
/// For so long after its last word a sidecar that was removed may have been answered.
const REMOVED: Duration = Duration::from_secs(60);

/// What this node knows of the sidecars.
pub(crate) struct Sidecars {
    bounds: Bounds,
    state: Mutex<State>,
    /// Every sidecar of the installation, as the rows said it last.
    rows: ArcSwap<Vec<SidecarRow>>,
    /// Whether those who heard at the process before this one are known.
    is_loaded: AtomicBool,
    /// Rises with every word, and whenever this node heard its store.
    turns: watch::Sender<u64>,
}

struct State {
    machine: Attachments,
    /// What each said last here.
    said: BTreeMap<NodeName, SidecarSaid>,
    /// What of that its row does not say yet.
    unsaid: BTreeSet<NodeName>,
    /// Positions that a sidecar holds, and up to where nothing behind them concerns it.
    clear: BTreeMap<NodeName, (u64, u64)>,
    /// What was signed for words that were taken, until it ends.
    used: BTreeMap<NodeName, BTreeMap<String, Time>>,
    /// Size and root of the newest checkpoint that was shown.
    logs: BTreeMap<NodeName, (u64, [u8; 32])>,
    /// When a decision log was anchored last.
    anchored: BTreeMap<NodeName, (Duration, u64)>,
    read_at: Option<Duration>,
}

impl Sidecars {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            state: Mutex::new(State {
                machine: Attachments::new(bounds.refuse()),
                said: BTreeMap::new(),
                unsaid: BTreeSet::new(),
                clear: BTreeMap::new(),
                used: BTreeMap::new(),
                logs: BTreeMap::new(),
                anchored: BTreeMap::new(),
                read_at: None,
            }),
            rows: ArcSwap::default(),
            is_loaded: AtomicBool::new(false),
            turns: watch::Sender::new(0),
        }
    }

    pub(crate) fn bounds(&self) -> Bounds {
        self.bounds
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every sidecar, as its row said it a moment ago.
    pub(crate) fn rows(&self) -> Arc<Vec<SidecarRow>> {
        self.rows.load_full()
    }

    pub(crate) fn turn(&self) {
        self.turns.send_modify(|turn| *turn = turn.wrapping_add(1));
    }

    pub(crate) fn turns(&self) -> watch::Receiver<u64> {
        self.turns.subscribe()
    }

    /// The epoch this node may say it holds: what its memory holds, unless somebody who hears here may be fresh on less.
    pub(crate) fn lowest(&self, memory: Epoch, now: Duration) -> Epoch {
        // Who was answered by the process before this one is not known yet.
        if !self.is_loaded.load(Ordering::Acquire) {
            return Epoch(0);
        }
        let lowest = self.state().machine.lowest(now);
        lowest.map_or(memory, |lowest| lowest.min(memory))
    }

    /// What a sidecar holds now. `false` where its number does not rise. Others, where there are any, read it from the row.
    pub(crate) fn word(
        &self,
        row: &SidecarRow,
        process: Digest,
        (said, are_others): (SidecarSaid, bool),
        now: Duration,
    ) -> bool {
        let name = &row.sidecar.name;
        {
            let mut state = self.state();
            let before = state.said.get(name).unwrap_or(&row.said);
            if said.beat <= before.beat {
                return false;
            }
            let differs = before.epoch != said.epoch || before.left != said.left || before.node != said.node;
            let since = said.heard_at.zip(row.said.heard_at);
            let is_old = since.is_none_or(|(now, then)| now.since(then) >= ROWS_EVERY);
            if differs || are_others && is_old {
                state.unsaid.insert(name.clone());
            }
            let held = (said.epoch, said.left);
            state.machine.word(&row.sidecar, process, held, now);
            state.said.insert(name.clone(), said);
        }
        self.turn();
        true
    }

    /// Whether it was heard here since this process began.
    pub(crate) fn is_known(&self, name: &NodeName) -> bool {
        self.state().said.contains_key(name)
    }

    /// Takes what was signed for one word; `false` when it was used, or there are too many.
    pub(crate) fn take_once(&self, name: &NodeName, (jti, expires): (&str, Time), now: Time) -> bool {
        let mut state = self.state();
        let used = state.used.entry(name.clone()).or_default();
        used.retain(|_, until| *until > now);
        used.len() < WORDS_MAX && used.insert(jti.to_owned(), expires).is_none()
    }

    /// It is about to be told that `epoch` is current.
    fn answer(&self, name: &NodeName, epoch: Epoch, now: Duration) {
        self.state().machine.answer(name, epoch, now);
    }

    /// From where on entries have to be looked at for somebody who holds `position`.
    fn clear_from(&self, name: &NodeName, position: u64) -> u64 {
        let found = self.state().clear.get(name).copied();
        found.map_or(
            position,
            |(held, upto)| if held == position { upto } else { position },
        )
    }

    fn note_clear(&self, name: &NodeName, clear: (u64, u64)) {
        self.state().clear.insert(name.clone(), clear);
    }

    /// Whether a larger log is to be anchored now: each once a second.
    pub(crate) fn takes_anchor(&self, name: &NodeName, size: u64, now: Duration) -> bool {
        let mut state = self.state();
        let due = state
            .anchored
            .get(name)
            .is_none_or(|(at, last)| *last < size && now >= *at + Duration::from_secs(1));
        if due {
            state.anchored.insert(name.clone(), (now, size));
        }
        due
    }

    /// The newest checkpoint that was shown here.
    pub(crate) fn last_log(&self, name: &NodeName) -> Option<(u64, [u8; 32])> {
        self.state().logs.get(name).copied()
    }

    pub(crate) fn note_log(&self, name: &NodeName, log: (u64, [u8; 32])) {
        self.state().logs.insert(name.clone(), log);
    }

    /// Parts in a stop of those that decide for `tenant`; of all where none is named.
    pub(crate) fn ends(&self, stop: (Epoch, Option<&TenantId>), now: Duration) -> Vec<SidecarEnd> {
        self.state().machine.ends(stop, now)
    }

    pub(crate) fn said(&self, name: &NodeName) -> Option<SidecarSaid> {
        self.state().said.get(name).cloned()
    }

    pub(crate) fn is_heard(&self, name: &NodeName, now: Duration) -> bool {
        self.state().machine.is_heard(name, now)
    }

    fn next_lapse(&self) -> Option<Duration> {
        self.state().machine.next_lapse()
    }
}

impl Deps {
    /// Whether this node heard its store behind `since`: only then is what it holds current as of then. Alone on its
    /// store, nothing is committed that it does not hold.
    fn has_heard(&self, since: Duration) -> bool {
        let now = self.clock.monotonic();
        if !self.cell.is_fresh(now) {
            return false;
        }
        let asked = self.cell.age(now).map(|age| now.saturating_sub(age));
        !self.store.is_shared() || asked.is_some_and(|asked| asked > since)
    }

    /// Reads who heard at the process before this one, writes down what sidecars said, and looks again who there is.
    pub(crate) async fn tend_sidecars(&self) -> Result<(), StoreError> {
        let sidecars = &self.nodes.sidecars;
        let now = self.clock.monotonic();
        let said: Vec<(NodeName, SidecarSaid)> = {
            let mut state = sidecars.state();
            let unsaid = std::mem::take(&mut state.unsaid);
            let said = |name: NodeName| state.said.get(&name).cloned().map(|said| (name, said));
            unsaid.into_iter().filter_map(said).collect()
        };
        if let Err(error) = self.store.note_sidecars(&said).await {
            let names = said.into_iter().map(|(name, _)| name);
            sidecars.state().unsaid.extend(names);
            return Err(error);
        }
        let is_loaded = sidecars.is_loaded.load(Ordering::Acquire);
        let read_at = sidecars.state().read_at;
        let is_due = read_at.is_none_or(|at| now >= at + ROWS_EVERY);
        if is_loaded && !is_due {
            return Ok(());
        }
        let rows = self.store.sidecars().await?;
        let here: Vec<&SidecarRow> = rows.iter().filter(|row| self.may_hear_here(row)).collect();
        {
            let mut state = sidecars.state();
            state.read_at = Some(now);
            if !is_loaded {
                for row in here {
                    state.machine.begin(&row.sidecar, &row.said, now);
                }
            }
            // Whoever was removed, or hears elsewhere by now, is waited for as long as its lease lasts.
            for row in &rows {
                let elsewhere = row.said.node.as_ref() != Some(&self.nodes.node);
                let since = state.said.get(&row.sidecar.name).and_then(|said| said.heard_at);
                if row.sidecar.seat == Seat::Removed || elsewhere && row.said.heard_at > since {
                    state.machine.drop_lapsed(&row.sidecar.name, now);
                }
            }
        }
        sidecars.rows.store(Arc::new(rows));
        sidecars.is_loaded.store(true, Ordering::Release);
        sidecars.turn();
        let (live, silent) = self.count_sidecars(now);
        let shown = |count: u64| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
        metrics::gauge!("bailiwick_sidecars_live").set(shown(live));
        metrics::gauge!("bailiwick_sidecars_silent").set(shown(silent));
        Ok(())
    }

    /// Whether a sidecar may have been answered by the process before this one.
    fn may_hear_here(&self, row: &SidecarRow) -> bool {
        let is_ours = row.said.node.as_ref() == Some(&self.nodes.node);
        let recent = || {
            let heard = row.said.heard_at;
            heard.is_some_and(|at| self.clock.now().since(at) < REMOVED)
        };
        is_ours && (row.sidecar.seat == Seat::Joined || recent())
    }

    /// Sidecars that hear at this node; and those of the installation that nobody heard within their lease.
    pub(crate) fn count_sidecars(&self, now: Duration) -> (u64, u64) {
        let sidecars = &self.nodes.sidecars;
        let live = sidecars.state().machine.counts(now).0;
        let rows = sidecars.rows();
        let silent = rows.iter().filter(|row| self.standing(row, now) == "silent");
        (live, silent.count() as u64)
    }

    /// How a sidecar stands.
    pub(crate) fn standing(&self, row: &SidecarRow, now: Duration) -> &'static str {
        let name = &row.sidecar.name;
        let said = self.nodes.sidecars.said(name);
        let said = said.filter(|own| own.heard_at >= row.said.heard_at);
        let left = said.as_ref().map_or(row.said.left, |own| own.left);
        match row.sidecar.seat {
            Seat::Invited => "invited",
            Seat::Removed => "removed",
            Seat::Joined if left => "left",
            Seat::Joined if self.nodes.sidecars.is_heard(name, now) => "live",
            Seat::Joined if said.is_none() && self.is_heard_elsewhere(row) => "live",
            Seat::Joined => "silent",
        }
    }

    /// Whether another node wrote a word of it a moment ago. That is shown and decides nothing, so the clocks of the two
    /// may be compared.
    fn is_heard_elsewhere(&self, row: &SidecarRow) -> bool {
        let other = row
            .said
            .node
            .as_ref()
            .is_some_and(|node| *node != self.nodes.node);
        let lease = self.nodes.sidecars.bounds.refuse();
        let heard = row.said.heard_at;
        other && heard.is_some_and(|at| self.clock.now().since(at) < lease + ROWS_EVERY * 2)
    }

    /// Waits until no sidecar that hears here permits any more what a stop forbids, at most as long as a lease lasts;
    /// each one's part, and when it was done after `committed`. `None` when that could not be confirmed.
    pub(crate) async fn sidecars_contained(
        &self,
        stop: (Epoch, Option<&TenantId>),
        committed: Duration,
    ) -> Option<Vec<(SidecarEnd, Duration)>> {
        let sidecars = &self.nodes.sidecars;
        let lease = sidecars.bounds.refuse();
        let until = committed + lease + lease / 50 + Duration::from_secs(1);
        let mut turns = sidecars.turns();
        let mut done: BTreeMap<NodeName, (SidecarEnd, Duration)> = BTreeMap::new();
        loop {
            let now = self.clock.monotonic();
            let is_loaded = sidecars.is_loaded.load(Ordering::Acquire);
            let ends = sidecars.ends(stop, now);
            let all = is_loaded && ends.iter().all(|end| end.end.is_some());
            for end in ends.into_iter().filter(|end| end.end.is_some()) {
                let after = now.saturating_sub(committed);
                done.entry(end.sidecar.clone()).or_insert((end, after));
            }
            if all {
                return Some(done.into_values().collect());
            }
            if now >= until {
                return None;
            }
            let next = sidecars.next_lapse().map_or(until, |at| at.min(until));
            let wait = next.saturating_sub(now) + Duration::from_micros(1);
            let _woken = tokio::time::timeout(wait, turns.changed()).await;
        }
    }

    /// What is told to a sidecar that holds `held`, when there is something new or `until` is over.
    pub(crate) async fn tell_sidecar(
        &self,
        sidecar: &Sidecar,
        (beat, held): (u64, (Epoch, u64)),
        (arrived, until): (Duration, Duration),
    ) -> Result<wire::SidecarTold, RouteError> {
        let (mut moved, mut turns) = (self.cell.moved(), self.nodes.sidecars.turns());
        // What is not heard by then is not told: the sidecar grows stale as this node does.
        let last = arrived + self.nodes.bounds().refuse();
        loop {
            moved.mark_unchanged();
            turns.mark_unchanged();
            let now = self.clock.monotonic();
            // The order matters: what was heard first is in what is read then.
            let heard = self.has_heard(arrived);
            let snapshot = self.cell.load();
            let memory = (snapshot.epoch(), snapshot.state_pos().0);
            let is_behind = memory.0 < held.0 || memory.1 < held.1;
            let news = !is_behind && self.concerns(sidecar, held, memory).await?;
            if heard && !is_behind && (news || now >= until) {
                let told = self.told(sidecar, beat, (held, memory), news).await?;
                if let Some(told) = told {
                    return Ok(told);
                }
                continue;
            }
            if now >= last || now >= until && is_behind {
                return Err(self.untold(is_behind));
            }
            let next = if now >= until || news { last } else { until };
            let changed = async {
                tokio::select! {
                    _ = moved.changed() => {}
                    _ = turns.changed(), if news || now >= until => {}
                }
            };
            let _woken = tokio::time::timeout(next.saturating_sub(now), changed).await;
        }
    }

    fn untold(&self, is_behind: bool) -> RouteError {
        if is_behind {
            return RouteError::new(
                http::StatusCode::CONFLICT,
                "sidecar.ahead",
                "the sidecar holds more than this node: this node is behind, or the installation was set back",
            )
            .hint("ask again; where that stays so, somebody has to look at the store");
        }
        RouteError::unavailable(
            "sidecar.stale",
            "this node has not heard its store since the word came: it cannot say what is current",
        )
    }

    /// Whether a sidecar that holds `held` has to be told anything of what this node's memory holds.
    async fn concerns(
        &self,
        sidecar: &Sidecar,
        held: (Epoch, u64),
        memory: (Epoch, u64),
    ) -> Result<bool, RouteError> {
        if memory.0 > held.0 {
            return Ok(true);
        }
        let from = self.nodes.sidecars.clear_from(&sidecar.name, held.1);
        if from >= memory.1 {
            return Ok(false);
        }
        let concerns = self.store.concerns(&sidecar.tenants, (from, memory.1)).await;
        let concerns = concerns.map_err(|e| store_error(&e))?;
        if !concerns {
            let clear = (held.1, memory.1);
            self.nodes.sidecars.note_clear(&sidecar.name, clear);
        }
        Ok(concerns)
    }

    /// The answer, unless something newer came into memory meanwhile: then there is none.
    async fn told(
        &self,
        sidecar: &Sidecar,
        beat: u64,
        (held, memory): ((Epoch, u64), (Epoch, u64)),
        news: bool,
    ) -> Result<Option<wire::SidecarTold>, RouteError> {
        let (epoch, position, body) = if news {
            let (epoch, position, body) = self.snapshot_for(sidecar).await?;
            (epoch, position, Some(body))
        } else {
            (held.0, memory.1, None)
        };
        // An operator may have removed it while it waited.
        let row = self
            .store
            .sidecar(&sidecar.name)
            .await
            .map_err(|e| store_error(&e))?;
        if row.is_none_or(|row| row.sidecar != *sidecar) {
            return Err(removed());
        }
        let signer = self
            .keyring
            .snapshot_signer()
            .map_err(|e| RouteError::broken("keys are not available", &e))?;
        let sign = |message: &[u8]| match signer.sign(message) {
            Ok(signature) => Ok(URL_SAFE_NO_PAD.encode(signature)),
            Err(error) => Err(RouteError::broken("a snapshot could not be signed", &error)),
        };
        let told = signed_told(&Told {
            sidecar: sidecar.name.as_str(),
            beat,
            epoch: epoch.0,
            position,
            body: body.as_deref(),
        });
        let signature = sign(&told)?;
        let snapshot = match body {
            None => None,
            Some(body) => Some(wire::SidecarSnapshot {
                signature: sign(&signed_snapshot(&body))?,
                body,
            }),
        };
        let now = self.clock.monotonic();
        self.nodes.sidecars.answer(&sidecar.name, epoch, now);
        if self.cell.load().epoch() > epoch || !self.cell.is_fresh(now) {
            return Ok(None);
        }
        Ok(Some(wire::SidecarTold {
            epoch: epoch.0,
            position,
            snapshot,
            signature,
        }))
    }

    /// Everything a sidecar decides by, as the store holds it now, which is never less than what memory holds.
    async fn snapshot_for(&self, sidecar: &Sidecar) -> Result<(Epoch, u64, String), RouteError> {
        let facts = self.store.facts_of(&sidecar.tenants).await;
        let facts = facts.map_err(|e| store_error(&e))?;
        let Some(bailiwick_decide::Fact::Position(position, epoch)) = facts.last() else {
            return Err(RouteError::unavailable(
                "sidecar.stale",
                "the store tells no position",
            ));
        };
        let (position, epoch) = (position.0, *epoch);
        let mut keys = Vec::new();
        for tenant in &sidecar.tenants {
            keys.extend(self.published(tenant, &facts));
        }
        let heading = Heading {
            sidecar: sidecar.name.clone(),
            at: self.clock.now(),
            tenants: sidecar.tenants.clone(),
        };
        let body = body_of(&heading, &facts, &keys);
        let body = body.map_err(|e| RouteError::broken("a snapshot could not be written", &e))?;
        Ok((epoch, position, body))
    }

    /// Public keys of a tenant, as far as the facts name them.
    fn published(&self, tenant: &TenantId, facts: &[bailiwick_decide::Fact]) -> Vec<PublishedKey> {
        let named = facts.iter().find_map(|fact| match fact {
            bailiwick_decide::Fact::SigningKeys(of, keys) if of == tenant => Some(keys),
            _ => None,
        });
        let is_named = |kid: &str| {
            named.is_some_and(|keys| keys.iter().any(|key| key.kid == kid && key.removed_at.is_none()))
        };
        // A tenant whose keys were erased has none, and its facts are refused without them.
        let known = self.keyring.jwks(tenant).unwrap_or_default();
        let known = known.iter().filter(|key| is_named(key.kid()));
        known
            .map(|key| PublishedKey {
                tenant: tenant.clone(),
                key: (**key.key()).clone(),
            })
            .collect()
    }
}

/// 401 for whoever signed with the key of a sidecar that was removed: nobody else learns that it was.
pub(crate) fn removed() -> RouteError {
    RouteError::new(
        http::StatusCode::UNAUTHORIZED,
        "sidecar.removed",
        "this sidecar was removed: it is told nothing any more, and its name is not given again",
    )
    .hint("let one in under another name: `bailiwick sidecar invite`, and `sidecar join` into a new folder")
}

/// 401: the same for a name that never was, one that was removed, and a word that is not its own.
pub(crate) fn refused(why: &str) -> RouteError {
    RouteError::new(
        http::StatusCode::UNAUTHORIZED,
        "sidecar.word",
        format!("word of a sidecar refused: {why}"),
    )
}
