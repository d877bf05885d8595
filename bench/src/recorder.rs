//! The recorder that exists only here: it hands every record to the decision log's queue, as the product's
//! does, and answers at once instead of waiting for the flush. Figures taken with it are called *queued*.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bailiwick_decide::{Call, Decision};
use bailiwick_journal::{DecisionLog, INSTALLATION_REF, NotAppended, Record, payload};
use bailiwick_pep::{NotRecorded, Outcome, RecordFuture, Recorder, Sequenced, SnapshotCell};

/// How long to wait when the disk is behind, so that every record is kept.
const BEHIND: Duration = Duration::from_micros(200);

pub(crate) struct Queued {
    log: Arc<DecisionLog>,
    cell: Arc<SnapshotCell>,
    next: AtomicU64,
    /// Times that the queue was full.
    full: AtomicU64,
}

impl Queued {
    pub(crate) fn new(log: Arc<DecisionLog>, cell: Arc<SnapshotCell>) -> Self {
        Self {
            log,
            cell,
            next: AtomicU64::new(0),
            full: AtomicU64::new(0),
        }
    }

    pub(crate) fn waits(&self) -> u64 {
        self.full.load(Ordering::Relaxed)
    }

    fn append(&self, mut make: impl FnMut() -> Record) -> Result<(), NotAppended> {
        loop {
            match self.log.append_unwaited(make()) {
                Err(NotAppended::QueueFull { .. }) => {
                    self.full.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(BEHIND);
                }
                other => return other,
            }
        }
    }

    fn owner(&self, call: &Call) -> (Option<bailiwick_base::TenantId>, Arc<str>) {
        let snapshot = self.cell.load();
        match snapshot.tenant(call.tenant()) {
            Some((tenant, _)) => (Some(tenant.id.clone()), Arc::from(tenant.reference.as_str())),
            None => (None, Arc::from(INSTALLATION_REF)),
        }
    }
}

impl Recorder for Queued {
    fn record<'a>(&'a self, call: &'a Call, decision: &'a Decision) -> RecordFuture<'a> {
        let appended = self.append(|| {
            let (tenant, tenant_ref) = self.owner(call);
            Record {
                kind: payload::kind(call, decision),
                tenant,
                tenant_ref,
                epoch: decision.epoch,
                state_pos: decision.state_pos,
                payload: payload::decision(call, decision),
            }
        });
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        Box::pin(async move {
            appended
                .map(|()| Sequenced { index })
                .map_err(|error| NotRecorded::Unwritable(error.to_string()))
        })
    }

    fn record_outcome(&self, call: &Call, outcome: Outcome) {
        let word = match outcome {
            Outcome::Cancelled => "cancelled",
            Outcome::Failed => "failed",
            Outcome::Overtaken => "overtaken",
            Outcome::Returned => "returned",
        };
        let appended = self.append(|| {
            let (tenant, tenant_ref) = self.owner(call);
            let snapshot = self.cell.load();
            Record {
                kind: bailiwick_audit::entry::Kind::OUTCOME,
                tenant,
                tenant_ref,
                epoch: snapshot.epoch(),
                state_pos: snapshot.state_pos(),
                payload: payload::outcome(&call.id, word),
            }
        });
        if let Err(error) = appended {
            eprintln!("an outcome was not recorded: {error}");
        }
    }
}
