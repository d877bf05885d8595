//! Pruning of this node's decision log: by command, and by schedule. The state log is never pruned.
//!
//! What something still needs stays, whatever was asked for: the hour that every kill looks back, the windows of open
//! rates, the hour before a stop whose receipt is open, and what a witness has not seen yet. A legal hold keeps all.

mod config;
mod settle;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bailiwick_base::{Epoch, Time};
use bailiwick_inventory::installation;
use bailiwick_journal::{Base, DecisionLog, JournalError, KeptBase, Plan, Why};
use bailiwick_store::{Actor, Context, Reach, StoreError, Tx};
use bailiwick_wire as wire;
use http::StatusCode;

pub use self::config::{LogConfig, LogConfigError};
pub use self::settle::PruneError;
use self::settle::{COMMAND, Ground};
use crate::Deps;
use crate::command::{CommandError, answer, store_error};
use crate::problem::RouteError;
use crate::rates;
use crate::receipts::reckon::LOOK_BACK;

/// How often what is due is looked for, and what was left of a pruning.
const EVERY: Duration = Duration::from_secs(3_600);
/// The same after a failure.
const AGAIN: Duration = Duration::from_secs(60);

/// What goes of this node's decision log, and when.
pub struct Pruning {
    log: Arc<DecisionLog>,
    keep: Option<Duration>,
    hold: Option<String>,
    /// When the next look is, monotonic; none while one is under way.
    next: Mutex<Option<Duration>>,
    /// What every witness of others has cosigned, where there are any.
    cosigned: OnceLock<Arc<AtomicU64>>,
}

/// Where the log is to begin.
pub(crate) struct Wanted {
    /// Whatever was recorded from here on stays.
    pub(crate) since: Time,
    /// Whatever has this index or a higher one stays.
    pub(crate) until: u64,
    pub(crate) reason: String,
}

/// What something still needs, and what that is.
struct Needed {
    since: Vec<(Time, String)>,
    until: Vec<(u64, String)>,
}

impl Pruning {
    /// As configured.
    #[must_use]
    pub fn new(log: &Arc<DecisionLog>, config: &LogConfig) -> Self {
        Self {
            log: Arc::clone(log),
            keep: config.keep(),
            hold: config.legal_hold.clone(),
            next: Mutex::new(Some(Duration::ZERO)),
            cosigned: OnceLock::new(),
        }
    }

    /// How many entries of the log each witness of others has cosigned at least: what they have not seen stays.
    pub fn wait_for(&self, cosigned: Option<Arc<AtomicU64>>) {
        if let Some(cosigned) = cosigned {
            let _first = self.cosigned.set(cosigned);
        }
    }

    /// Days of the schedule, and the hold.
    pub(crate) fn shown(&self) -> (Option<u64>, Option<String>) {
        (self.keep.map(|keep| keep.as_secs() / 86_400), self.hold.clone())
    }

    /// Takes the turn when it is time and nobody has it.
    pub(crate) fn is_due(&self, now: Duration) -> bool {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = next.is_some_and(|next| now >= next);
        if is_due {
            *next = None;
        }
        is_due
    }

    fn rest(&self, until: Duration) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
    }
}

/// The last pruning, for those who read the log.
pub(crate) fn told(kept: &KeptBase) -> wire::PrunedLog {
    wire::PrunedLog {
        at: kept.base.pruned_at().to_string(),
        by: kept.base.by.clone(),
        reason: kept.base.reason.clone(),
        entry: kept.entry,
        newest_at: kept.base.newest_at().to_string(),
        base: kept.base.digest().to_string(),
    }
}

/// One look: what was left of a pruning is finished, and what is too old goes.
pub(crate) async fn by_schedule(deps: Deps) {
    let done = look(&deps).await;
    let rest = match done {
        Ok(()) => EVERY,
        Err(error) => {
            metrics::counter!("bailiwick_log_prune_errors_total").increment(1);
            tracing::warn!(error = error.detail(), "the decision log was not pruned");
            AGAIN
        }
    };
    deps.pruning.rest(deps.clock.monotonic().saturating_add(rest));
}

async fn look(deps: &Deps) -> Result<(), RouteError> {
    if deps.pruning.hold.is_some() {
        return Ok(());
    }
    let Some(keep) = deps.pruning.keep else {
        let _alone = deps.pruning.log.prune_alone().await;
        return ground(deps).settle().await.map_err(|e| failed(&e));
    };
    let wanted = Wanted {
        since: deps.clock.now().before(keep),
        until: u64::MAX,
        reason: format!("log.keep_decisions_days = {}", keep.as_secs() / 86_400),
    };
    let context = ground(deps)
        .context(Reach::Installation, Actor::System("retention"))
        .map_err(|e| failed(&e))?;
    let done = prune(deps, (context, Actor::System("retention")), &wanted, false).await?;
    if done.entries > 0 {
        tracing::info!(
            entries = done.entries,
            begins = done.begins,
            "the decision log was pruned"
        );
    }
    Ok(())
}

fn ground(deps: &Deps) -> Ground<'_> {
    Ground {
        log: &deps.pruning.log,
        store: &deps.store,
        ids: &deps.ids,
        snapshot: deps.cell.load(),
    }
}

fn failed(error: &PruneError) -> RouteError {
    match error {
        PruneError::Store(error) => store_error(error),
        error => RouteError::broken("the decision log was not pruned", error),
    }
}

/// Removes what is in front of what is wanted and needed by nobody, or only says what that would be.
pub(crate) async fn prune(
    deps: &Deps,
    (context, actor): (Context, Actor),
    wanted: &Wanted,
    dry_run: bool,
) -> Result<wire::LogPruning, RouteError> {
    let log = &deps.pruning.log;
    let _alone = log.prune_alone().await;
    if !dry_run {
        require_no_hold(deps)?;
        ground(deps).settle().await.map_err(|e| failed(&e))?;
    }
    let needed = needed(deps).await?;
    let (since, until) = (needed.since(wanted.since), needed.until(wanted.until));
    let planned = tokio::task::block_in_place(|| log.plan_prune(since, until));
    let planned = planned.map_err(|e| failed(&PruneError::from(e)))?;
    let mut shown = show(log, planned.as_ref(), dry_run);
    shown.needed = needed.beyond(wanted);
    let Some(plan) = planned.filter(|_| !dry_run) else {
        return Ok(shown);
    };
    let base = carry_out(deps, (context, actor), (&plan, wanted), &shown).await?;
    shown.base = Some(base.digest().to_string());
    metrics::counter!("bailiwick_log_pruned_entries_total").increment(shown.entries);
    Ok(shown)
}

fn require_no_hold(deps: &Deps) -> Result<(), RouteError> {
    let Some(hold) = &deps.pruning.hold else {
        return Ok(());
    };
    let detail = format!("the log is held as it is: `{hold}`");
    Err(RouteError::new(StatusCode::CONFLICT, "log.held", detail)
        .hint("take `log.legal_hold` out of the configuration when the hold is over, and start again"))
}

fn show(log: &DecisionLog, plan: Option<&Plan>, dry_run: bool) -> wire::LogPruning {
    let from = log.minimum();
    wire::LogPruning {
        log: "decisions".to_owned(),
        origin: log.origin().to_owned(),
        dry_run,
        from,
        begins: plan.map_or(from, |plan| plan.base().minimum),
        entries: plan.map_or(0, Plan::entries),
        segments: plan.map_or(0, |plan| plan.segments),
        bytes: plan.map_or(0, |plan| plan.bytes),
        newest_at: plan.map(|plan| plan.base().newest_at().to_string()),
        needed: Vec::new(),
        base: None,
    }
}

/// Intent, record, removal. Whatever fails in between, the next look or start goes on with it or drops it.
async fn carry_out(
    deps: &Deps,
    (context, actor): (Context, Actor),
    (plan, wanted): (&Plan, &Wanted),
    shown: &wire::LogPruning,
) -> Result<Base, RouteError> {
    let log = &deps.pruning.log;
    let why = Why {
        at: deps.clock.now(),
        by: actor.to_string(),
        reason: wanted.reason.clone(),
        state_size: deps.store.position().await.map_err(|e| store_error(&e))?.0.0,
    };
    let intended = tokio::task::block_in_place(|| log.intend_prune(plan, why));
    let base = intended.map_err(|e: JournalError| failed(&e.into()))?;
    let ground = ground(deps);
    let detail = ground.detail(&base);
    let mut told = shown.clone();
    told.base = Some(base.digest().to_string());
    let recorded = deps.store.transact(context, async move |tx: &mut Tx| {
        tx.note(COMMAND, detail.clone()).await?;
        answer(&told)
    });
    let receipt = match recorded.await {
        Ok(receipt) => receipt,
        Err(error) => {
            // Where nobody knows whether it was recorded, the next look finds out.
            if !matches!(error, CommandError::Store(StoreError::Uncertain)) {
                let _left = log.abandon_prune();
            }
            return Err(error.into());
        }
    };
    let entry = receipt.entries.first().map(|entry| entry.index);
    let entry = entry.ok_or_else(|| RouteError::unavailable("store.uncertain", "the record is not known"))?;
    ground.finish(base.clone(), entry).await.map_err(|e| failed(&e))?;
    Ok(base)
}

impl Needed {
    fn since(&self, wanted: Time) -> Time {
        let needed = self.since.iter().map(|(since, _)| *since);
        needed.fold(wanted, Time::min)
    }

    fn until(&self, wanted: u64) -> u64 {
        let needed = self.until.iter().map(|(until, _)| *until);
        needed.fold(wanted, u64::min)
    }

    /// Who keeps more than was wanted.
    fn beyond(self, wanted: &Wanted) -> Vec<String> {
        let since = self.since.into_iter().filter(|(since, _)| *since < wanted.since);
        let until = self.until.into_iter().filter(|(until, _)| *until < wanted.until);
        let since = since.map(|(since, what)| format!("{what}, from {since} on"));
        let until = until.map(|(until, what)| format!("{what}, from entry {until} on"));
        since.chain(until).collect()
    }
}

async fn needed(deps: &Deps) -> Result<Needed, RouteError> {
    let now = deps.clock.now();
    let mut needed = Needed {
        since: vec![(
            now.before(LOOK_BACK),
            "the hour that a kill looks back".to_owned(),
        )],
        until: Vec::new(),
    };
    if let Some(window) = rates::longest(&deps.cell.load()) {
        needed.since.push((
            now.before(window),
            "the window of a rate of an open task".to_owned(),
        ));
    }
    for tenant in deps.store.open_receipts_of().await.map_err(|e| store_error(&e))? {
        let reach = match tenant == installation() {
            true => Reach::Installation,
            false => Reach::from(&tenant),
        };
        let mut reader = deps.store.reader(reach).await.map_err(|e| store_error(&e))?;
        let oldest = reader.kill_receipt().unclosed(Epoch(0), 1).await;
        for kept in oldest.map_err(|e| store_error(&e))? {
            let what = format!("receipt {} of tenant {tenant} is open", kept.epoch.0);
            needed.since.push((kept.at.before(LOOK_BACK), what));
        }
    }
    if let Some(seen) = deps.witness.seen_decisions() {
        needed
            .until
            .push((seen, "the witness file has seen no more".to_owned()));
    }
    if let Some(cosigned) = deps.pruning.cosigned.get() {
        let what = "a witness of others has cosigned no more".to_owned();
        needed.until.push((cosigned.load(Ordering::SeqCst), what));
    }
    Ok(needed)
}
