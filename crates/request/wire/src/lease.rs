//! Leases, and the ledger of a task.

use serde::{Deserialize, Serialize};

use crate::task::Task;

/// `POST /v1/tenants/{tenant}/tasks/{id}/leases`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewLease {
    /// The credential to lease from, by id or name.
    pub credential: String,
    /// Seconds.
    #[serde(rename = "for")]
    pub for_secs: u64,
    /// Why the task needs it; recorded.
    pub reason: String,
    /// Although the task's grant does not say so; only an operator may, and it is a finding.
    #[serde(default)]
    pub beyond_scope: bool,
}

/// `POST /v1/tenants/{tenant}/leases/{id}/return`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReturnLease {
    /// Why; recorded.
    pub reason: String,
}

/// A lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// Id.
    pub id: String,
    /// The task that holds it.
    pub task: String,
    /// The credential it is made from.
    pub credential: String,
    /// How the system names it: a login, the name of a session.
    pub handle: String,
    /// Why.
    pub reason: String,
    /// Who asked.
    pub requested_by: String,
    /// Since when.
    pub created_at: String,
    /// Until when.
    pub expires_at: String,
    /// `making`, `held`, `returning`, `barred` or `returned`.
    pub state: String,
    /// The task's grant does not say that it may.
    pub beyond_scope: bool,
    /// Keyed fingerprint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// Why it is being taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub returning_because: Option<String>,
    /// What went wrong while taking it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// The code with which it was refused afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// Index of the entry that it is back, in the state log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<u64>,
}

/// A lease with its secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LentSecret {
    /// The lease.
    pub lease: Lease,
    /// The secret, base64: a password, or the document of a session.
    pub secret: String,
}

/// Something that a task holds and should not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerFinding {
    /// `ledger.beyond-scope`, `ledger.accumulated`, `ledger.outlived`, `ledger.overdue`, `ledger.not-returned`.
    pub code: String,
    /// Which lease.
    pub lease: String,
    /// In words.
    pub text: String,
}

/// `GET /v1/tenants/{tenant}/tasks/{id}`: what a task may, what it holds now and held before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskLedger {
    /// The task, with what its grant says.
    pub task: Task,
    /// What it holds now.
    pub holds: Vec<Lease>,
    /// What it gave back, the newest first.
    pub returned: Vec<Lease>,
    /// What is wrong with it.
    pub findings: Vec<LedgerFinding>,
}
