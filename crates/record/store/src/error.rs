//! What can go wrong below the rules: each with the place and the fix.

use std::path::PathBuf;
use std::sync::Arc;

use bailiwick_base::SealError;

/// An error of the store. Cheap to clone: one failed commit answers every waiting transaction.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Somebody else holds what is needed, or too many wait.
    #[error("the store is busy ({what}): repeat the command with the same idempotency key")]
    Busy {
        /// What is held.
        what: &'static str,
    },
    /// The row is no longer what the transition started from.
    #[error(
        "`{table}` `{row}` was changed meanwhile or does not exist: read it again and repeat the command"
    )]
    Conflict {
        /// Table.
        table: &'static str,
        /// Which row.
        row: String,
    },
    /// It refers to something that is not there.
    #[error("it refers to something that does not exist in this tenant: make that first")]
    Dangling,
    /// No room for the write; nothing was changed.
    #[error(
        "no space left for the database: free some at `{place}` or move the data folder; nothing was changed"
    )]
    DiskFull {
        /// Where.
        place: String,
    },
    /// Something with this name or id exists.
    #[error(
        "{} with this `{field}` exists already: choose another `{field}`",
        thing(.table)
    )]
    Duplicate {
        /// Table.
        table: &'static str,
        /// Which field must differ.
        field: &'static str,
    },
    /// A statement failed in a way that has no name here: a bug or a damaged database.
    #[error("a statement on the store failed: keep the log of the server and the database, and report it")]
    Engine(#[source] Arc<sqlx::Error>),
    /// An entry was appended and nothing changed.
    #[error("the transaction appended an entry and changed nothing: nothing was committed")]
    EntryWithoutChange,
    /// The database file is not one, or is damaged.
    #[error("the database is damaged ({detail}): stop, keep the files, and restore the last backup")]
    FileCorrupt {
        /// What the engine says.
        detail: String,
    },
    /// An operator fenced this node, or a newer process runs under its name: the fence of its row is not its own.
    #[error(
        "node `{node}` is fenced: an operator fenced it (`bailiwick node readmit {node}` on another node lets it in, then start \
         it again), or it was started again elsewhere (stop one of the two)"
    )]
    Fenced {
        /// Node.
        node: String,
    },
    /// The same idempotency key with another request.
    #[error("idempotency key was used for another request: take a fresh key")]
    IdempotencyReused,
    /// A limit of the store.
    #[error("`{what}` is {found}, more than the {max} allowed")]
    Limit {
        /// What.
        what: &'static str,
        /// Asked for.
        found: u64,
        /// Allowed.
        max: u64,
    },
    /// A log leaf cannot be written.
    #[error("the log entry cannot be written")]
    Leaf(#[source] bailiwick_audit::entry::LeafError),
    /// The log and the rows do not agree.
    #[error("entry {index} of the state log does not fit what is before it: {what}")]
    LogCorrupt {
        /// Index.
        index: u64,
        /// What does not fit.
        what: &'static str,
    },
    /// Another process serves under the name of this node.
    #[error(
        "another process serves as node `{node}` on this store: stop it, or give this one a place of its own with `bailiwick node invite`"
    )]
    NodeRuns {
        /// Node.
        node: String,
    },
    /// The node was fenced by an operator, or was invited and did not join.
    #[error(
        "node `{node}` may not start: an operator fenced it, or it has not joined; `bailiwick node ls` on another node tells"
    )]
    NotAdmitted {
        /// Node.
        node: String,
    },
    /// Another node leads.
    #[error("another node leads: this duty is its own now")]
    NotLeading,
    /// A position behind the end of the log.
    #[error("the state log has {size} entries: position {at} does not exist yet")]
    NoSuchPosition {
        /// Asked for.
        at: u64,
        /// There are.
        size: u64,
    },
    /// The database was written by a newer version.
    #[error("the database has schema {found}, this version knows {known}: start the newer version again")]
    NewerSchema {
        /// In the database.
        found: i64,
        /// The newest known here.
        known: i64,
    },
    /// The store is behind what was signed of its own log.
    #[error(
        "the store has {stored} entries, but {signed} of the state log are published and signed: this store is older than its log; put back the newest `state.db`, or the whole data folder of one backup"
    )]
    OlderThanLog {
        /// Entries in the store.
        stored: u64,
        /// Entries under the signed checkpoint.
        signed: u64,
    },
    /// The store's entries are not those that were signed.
    #[error(
        "the first {size} entries of the store are not those that the state log's checkpoint was signed over: the store or the log was rewritten; put back the whole data folder of one backup"
    )]
    OtherThanSigned {
        /// Entries under the signed checkpoint.
        size: u64,
    },
    /// An id of another tenant inside a transaction.
    #[error("an id of tenant `{found}` was used in a transaction of `{expected}`")]
    OtherTenant {
        /// Tenant of the transaction.
        expected: String,
        /// Tenant of the id.
        found: String,
    },
    /// A job inside the writer failed unexpectedly.
    #[error("a command stopped inside the store ({what}): nothing was changed; keep the log of the server")]
    Panicked {
        /// Where.
        what: &'static str,
    },
    /// The connection is not encrypted and verified.
    #[error(
        "the connection to `{host}` is not verified: add `sslmode=verify-full` (and `sslrootcert`) to its URL"
    )]
    Plaintext {
        /// Host.
        host: String,
    },
    /// The place cannot be written.
    #[error("`{}` cannot be written ({detail}): make the data folder writable for this user, mode 0700", path.display())]
    ReadOnly {
        /// Where.
        path: PathBuf,
        /// What the system says.
        detail: String,
    },
    /// The role could pass by row security.
    #[error(
        "database role `{role}` has {right}, which passes by row security: use a role created with NOSUPERUSER NOBYPASSRLS"
    )]
    RoleTooStrong {
        /// Role.
        role: String,
        /// Which right.
        right: &'static str,
    },
    /// A stored value is not what was written. Alerts.
    #[error(
        "row `{row}` of `{table}` is corrupt in `{column}`: stop, keep the database, and restore the last backup"
    )]
    RowCorrupt {
        /// Table.
        table: &'static str,
        /// Column.
        column: &'static str,
        /// Key of the row.
        row: String,
    },
    /// The state log tells of a row that is not there, or not as it was written.
    #[error(
        "`{table}` `{row}` of `{tenant}`, recorded by entry {index} of the state log, is missing from the store or altered: put back the newest `state.db`, or the whole data folder of one backup"
    )]
    RowMissing {
        /// Table.
        table: &'static str,
        /// Its name in the record.
        row: String,
        /// Tenant.
        tenant: String,
        /// Index of the entry.
        index: u64,
    },
    /// A row that no entry of the state log tells of.
    #[error(
        "a row of `{table}` of `{tenant}` (digest `{digest}`) stands in no entry of the state log: put back the newest `state.db`, or the whole data folder of one backup"
    )]
    RowUnrecorded {
        /// Table.
        table: &'static str,
        /// Tenant.
        tenant: String,
        /// Digest in the row.
        digest: String,
    },
    /// Sealing or opening failed.
    #[error("a sealed value could not be written or read")]
    Seal(#[source] SealError),
    /// State was changed and nothing was appended.
    #[error("the transaction changed state and appended no entry: nothing was committed")]
    StateWithoutEntry,
    /// The store was closed.
    #[error("the store is closed")]
    Stopped,
    /// No such tenant.
    #[error("tenant `{0}` does not exist: add it first")]
    TenantUnknown(String),
    /// A transition that leaves everything as it was.
    #[error("`{table}` `{row}` stays as it was: nothing to do")]
    Unchanged {
        /// Table.
        table: &'static str,
        /// Which row.
        row: String,
    },
    /// The connection broke while a commit was under way.
    #[error(
        "the connection broke during the commit: repeat with the same idempotency key to learn what happened"
    )]
    Uncertain,
    /// No connection.
    #[error("the database does not answer ({detail}): start it, or mend its address")]
    Unavailable {
        /// What the driver says; never the URL.
        detail: String,
    },
    /// The place cannot be read.
    #[error("`{}` cannot be opened ({detail}): give a data folder that exists and belongs to this user", path.display())]
    Unreadable {
        /// Where.
        path: PathBuf,
        /// What the system says.
        detail: String,
    },
    /// A write in a context that may not write.
    #[error("this context reads all tenants and writes none: open a transaction of one tenant")]
    WriteAcrossTenants,
}

impl StoreError {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Busy { .. } => "store.busy",
            Self::Conflict { .. } => "store.conflict",
            Self::Dangling => "store.dangling",
            Self::DiskFull { .. } => "store.disk-full",
            Self::Duplicate { .. } => "store.duplicate",
            Self::Engine(_) => "store.engine",
            Self::EntryWithoutChange => "store.entry-without-change",
            Self::FileCorrupt { .. } => "store.file-corrupt",
            Self::Fenced { .. } => "store.fenced",
            Self::NodeRuns { .. } => "store.node-runs",
            Self::NotAdmitted { .. } => "store.not-admitted",
            Self::NotLeading => "store.not-leading",
            Self::IdempotencyReused => "idempotency.reused",
            Self::Limit { .. } => "store.limit",
            Self::Leaf(_) => "store.leaf",
            Self::LogCorrupt { .. } => "store.log-corrupt",
            Self::NoSuchPosition { .. } => "log.no-such-position",
            Self::NewerSchema { .. } => "store.newer-schema",
            Self::OlderThanLog { .. } => "store.older-than-log",
            Self::OtherThanSigned { .. } => "store.other-than-signed",
            Self::OtherTenant { .. } => "store.other-tenant",
            Self::Panicked { .. } => "store.panicked",
            Self::Plaintext { .. } => "store.plaintext",
            Self::ReadOnly { .. } => "store.read-only",
            Self::RoleTooStrong { .. } => "store.role-too-strong",
            Self::RowCorrupt { .. } => "store.row-corrupt",
            Self::RowMissing { .. } => "store.row-missing",
            Self::RowUnrecorded { .. } => "store.row-unrecorded",
            Self::Seal(_) => "store.seal",
            Self::StateWithoutEntry => "store.state-without-entry",
            Self::Stopped => "store.stopped",
            Self::TenantUnknown(_) => "tenant.unknown",
            Self::Unchanged { .. } => "store.unchanged",
            Self::Uncertain => "store.uncertain",
            Self::Unavailable { .. } => "store.unavailable",
            Self::Unreadable { .. } => "store.unreadable",
            Self::WriteAcrossTenants => "store.write-across-tenants",
        }
    }
}

impl From<SealError> for StoreError {
    fn from(error: SealError) -> Self {
        Self::Seal(error)
    }
}

/// What a row of this table is called outside.
fn thing(table: &str) -> String {
    match table {
        "third_party" => "a credential".to_owned(),
        "credential" => "a token credential".to_owned(),
        "public_client" => "a client".to_owned(),
        "task_grant" => "a grant".to_owned(),
        "trust" => "a trust rule".to_owned(),
        "identity" | "operator" => format!("an {table}"),
        other => format!("a {}", other.replace('_', " ")),
    }
}
