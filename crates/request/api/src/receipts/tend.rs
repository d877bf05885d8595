//! Looks at open receipts again, and says how many are open and for how long.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bailiwick_base::{Epoch, Time};
use bailiwick_inventory::installation;
use bailiwick_store::{KeptReceipt, Reach, ReceiptState};

use super::to_body;
use crate::Deps;
use crate::command::store_error;
use crate::problem::RouteError;
use crate::stop::Pressed;

/// How often open receipts are looked at.
const EVERY: Duration = Duration::from_secs(5);
/// The same after something was stopped, maybe at another node.
const SOON: Duration = Duration::from_secs(1);
/// Receipts of one statement.
const RECEIPTS_MAX: u32 = 100;
/// Receipts of one tenant in one look.
const OPEN_MAX: usize = 1_000;
/// How often an alarm is said again.
const ALARM: Duration = Duration::from_secs(60);
/// For so long a receipt is left to those who pressed it.
const FRESH: Duration = Duration::from_secs(10);

/// When receipts were looked at last.
#[derive(Debug, Default)]
pub(crate) struct Tending(Mutex<Turn>);

#[derive(Debug, Default)]
struct Turn {
    last: Option<Duration>,
    epoch: Epoch,
    is_taken: bool,
    alarmed: Option<Duration>,
    /// When this process looked first: what was pressed before, nobody here completes.
    began: Option<Time>,
}

impl Tending {
    fn turn(&self) -> MutexGuard<'_, Turn> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the next turn, if it is time and nobody has one: sooner where something was stopped meanwhile.
    pub(crate) fn is_due(&self, (wall, now): (Time, Duration), epoch: Epoch) -> bool {
        let mut turn = self.turn();
        turn.began.get_or_insert(wall);
        let every = if turn.epoch == epoch { EVERY } else { SOON };
        let due = !turn.is_taken && turn.last.is_none_or(|last| now.saturating_sub(last) >= every);
        if due {
            (turn.last, turn.epoch, turn.is_taken) = (Some(now), epoch, true);
        }
        due
    }

    /// Whether the alarm is to be said now.
    fn alarms(&self, now: Duration) -> bool {
        let mut turn = self.turn();
        let due = turn.alarmed.is_none_or(|last| now.saturating_sub(last) >= ALARM);
        if due {
            turn.alarmed = Some(now);
        }
        due
    }
}

/// One look at everything that is open.
pub(crate) async fn tend(deps: Deps, tending: Arc<Tending>) {
    look_at_all(&deps, &tending).await;
    tending.turn().is_taken = false;
}

/// Looks where stops that were committed just now hold.
pub(crate) async fn complete(deps: Deps, pressed: Vec<Pressed>) {
    for stop in pressed {
        let epoch = stop.epoch;
        if let Err(error) = deps.contain(stop.reach.clone(), epoch, Some(&stop)).await {
            tracing::warn!(
                error = error.detail(),
                receipt = epoch.0,
                "a receipt is not complete yet"
            );
        }
    }
}

async fn look_at_all(deps: &Deps, tending: &Tending) {
    // Asked once for all: a thousand tenants of whom nothing is open cost nothing.
    let open_of = match deps.store.open_receipts_of().await {
        Ok(open_of) => open_of,
        Err(error) => return tracing::warn!(%error, "receipts could not be read"),
    };
    let reaches = open_of.iter().map(|tenant| match *tenant == installation() {
        true => Reach::Installation,
        false => Reach::from(tenant),
    });
    let (mut open, mut oldest, mut late) = (0_u64, Duration::ZERO, 0_u64);
    for reach in reaches {
        let unclosed = match unclosed(deps, reach.clone()).await {
            Ok(unclosed) => unclosed,
            Err(error) => {
                tracing::warn!(error = error.detail(), "receipts could not be read");
                continue;
            }
        };
        for kept in unclosed {
            if let Err(error) = look(deps, tending, reach.clone(), &kept).await {
                tracing::warn!(
                    error = error.detail(),
                    receipt = kept.epoch.0,
                    "a receipt stays as it is"
                );
            }
            for since in open_since(&kept) {
                let age = deps.clock.now().since(since);
                open += 1;
                oldest = oldest.max(age);
                late += u64::from(age >= deps.drills.late);
            }
        }
    }
    let shown = f64::from(u32::try_from(open).unwrap_or(u32::MAX));
    metrics::gauge!("bailiwick_kill_residue_open").set(shown);
    metrics::gauge!("bailiwick_kill_residue_oldest_seconds").set(oldest.as_secs_f64());
    if late > 0 && tending.alarms(deps.clock.monotonic()) {
        tracing::error!(
            late,
            oldest_secs = oldest.as_secs(),
            "kills are not confirmed everywhere: see `bailiwick kill residue`"
        );
    }
}

/// All that are open, page by page, so that what stays open for long keeps nobody else waiting.
async fn unclosed(deps: &Deps, reach: Reach) -> Result<Vec<KeptReceipt>, RouteError> {
    let mut reader = deps.store.reader(reach).await.map_err(|e| store_error(&e))?;
    let mut out: Vec<KeptReceipt> = Vec::new();
    while out.len() < OPEN_MAX {
        let after = out.last().map_or(Epoch(0), |last| last.epoch);
        let page = reader.kill_receipt().unclosed(after, RECEIPTS_MAX).await;
        let page = page.map_err(|e| store_error(&e))?;
        if page.is_empty() {
            break;
        }
        out.extend(page);
    }
    Ok(out)
}

async fn look(deps: &Deps, tending: &Tending, reach: Reach, kept: &KeptReceipt) -> Result<(), RouteError> {
    if deps.unsettled.is_own(kept.epoch) {
        return Ok(());
    }
    // Whoever pressed it looks first, and knows how long it took; another node looks at its own points at once.
    let is_ours = is_of(deps, kept) && tending.turn().began.is_some_and(|began| kept.at >= began);
    if is_ours && kept.state == ReceiptState::Committed && deps.clock.now().since(kept.at) < FRESH {
        return Ok(());
    }
    // Pressed at another node, and not in memory here yet.
    if deps.cell.load().epoch() < kept.epoch {
        return Ok(());
    }
    // A freeze that was lifted stands for no kill any more.
    if kept.state == ReceiptState::Pending {
        let body = to_body(kept)?;
        if body.contained_at.is_some() {
            if !deps.stands(kept).await? {
                deps.advance(kept, ReceiptState::Closed, &body, "kill.withdraw")
                    .await?;
            }
            return Ok(());
        }
    }
    deps.contain(reach, kept.epoch, None).await
}

/// Whether this node has lines in it.
fn is_of(deps: &Deps, kept: &KeptReceipt) -> bool {
    let node = deps.node();
    to_body(kept).is_ok_and(|body| body.points.iter().any(|line| line.node == node))
}

/// Since when each thing of a receipt is open.
fn open_since(kept: &KeptReceipt) -> Vec<Time> {
    let Ok(body) = to_body(kept) else {
        return vec![kept.at];
    };
    let open = body.residue.iter().filter(|item| item.closed_at.is_none());
    open.map(|item| Time::parse(&item.since).unwrap_or(kept.at))
        .collect()
}
