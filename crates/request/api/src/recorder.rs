//! The pipeline's recorder, connected to the decision log.

use std::sync::Arc;

use bailiwick_audit::entry::Kind;
use bailiwick_base::TenantId;
use bailiwick_decide::{Call, Decision};
use bailiwick_journal::{DecisionLog, INSTALLATION_REF, NotAppended, Record, payload};
use bailiwick_pep::{NotRecorded, Outcome, RecordFuture, Recorder, Sequenced, SnapshotCell};

/// Writes decisions to a decision log; a record is there when it is durable.
pub struct JournalRecorder {
    log: Arc<DecisionLog>,
    cell: Arc<SnapshotCell>,
    installation: Arc<str>,
}

impl JournalRecorder {
    /// A recorder for `log`; `cell` says which tenants are known.
    #[must_use]
    pub fn new(log: Arc<DecisionLog>, cell: Arc<SnapshotCell>) -> Self {
        Self {
            log,
            cell,
            installation: Arc::from(INSTALLATION_REF),
        }
    }

    /// A tenant that nobody knows has no key: what is refused in its name is recorded as the installation's.
    fn owner(&self, call: &Call) -> (Option<TenantId>, Arc<str>) {
        let snapshot = self.cell.load();
        match snapshot.tenant(call.tenant()) {
            Some((tenant, _)) => (Some(tenant.id.clone()), Arc::from(tenant.reference.as_str())),
            None => (None, Arc::clone(&self.installation)),
        }
    }

    fn entry(&self, call: &Call, decision: &Decision) -> Record {
        let (tenant, tenant_ref) = self.owner(call);
        Record {
            kind: payload::kind(call, decision),
            tenant,
            tenant_ref,
            epoch: decision.epoch,
            state_pos: decision.state_pos,
            payload: payload::decision(call, decision),
        }
    }
}

fn refused(error: NotAppended) -> NotRecorded {
    match error {
        NotAppended::QueueFull { .. } => NotRecorded::QueueFull,
        other => NotRecorded::Unwritable(other.to_string()),
    }
}

impl Recorder for JournalRecorder {
    fn record<'a>(&'a self, call: &'a Call, decision: &'a Decision) -> RecordFuture<'a> {
        // Queued here and now, so that a batch waits once; the future only waits.
        let queued = self.log.append(self.entry(call, decision));
        Box::pin(async move {
            let index = queued.await.map_err(refused)?;
            Ok(Sequenced { index })
        })
    }

    fn record_outcome(&self, call: &Call, outcome: Outcome) {
        let word = match outcome {
            Outcome::Cancelled => "cancelled",
            Outcome::Failed => "failed",
            Outcome::Overtaken => "overtaken",
            Outcome::Returned => "returned",
        };
        let (tenant, tenant_ref) = self.owner(call);
        let snapshot = self.cell.load();
        let record = Record {
            kind: Kind::OUTCOME,
            tenant,
            tenant_ref,
            epoch: snapshot.epoch(),
            state_pos: snapshot.state_pos(),
            payload: payload::outcome(&call.id, word),
        };
        if let Err(error) = self.log.append_unwaited(record) {
            metrics::counter!("bailiwick_outcomes_lost_total").increment(1);
            tracing::warn!(%error, "an outcome was not recorded; its call stays without one");
        }
    }
}
