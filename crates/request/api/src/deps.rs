//! What the doors work with; `server` builds it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bailiwick_base::{Clock, Entropy, Id, IdKind, Ids, TenantId};
use bailiwick_inventory::{Limits, Operator, SeenTool, UpstreamServer};
use bailiwick_journal::KillJournal;
use bailiwick_keys::Keyring;
use bailiwick_outbound::Sender;
use bailiwick_pep::token::{AssertionVerifier, ProofVerifier, Verifier};
use bailiwick_pep::{Pep, SnapshotCell};
use bailiwick_store::Store;
use bailiwick_witness::Keeper;
use serde_json::{Value, json};

use crate::heartbeats::Heartbeats;
use crate::nodes::Nodes;
use crate::oauth::authorize::WaitingList;
use crate::oauth::federation::Federation;
use crate::problem::RouteError;
use crate::prune::Pruning;
use crate::receipts::Drills;
use crate::signals::Signals;
use crate::signing_keys::Signing;
use crate::stop::Unsettled;
use crate::svids_issued::IssuedSvids;
use crate::used::UsedSessions;

/// The doors' dependencies, cheap to clone.
#[derive(Clone)]
pub struct Deps(Arc<DepsInner>);

/// The parts of [`Deps`].
pub struct DepsInner {
    /// Base URL as clients see it, without a slash at the end.
    pub base_url: String,
    /// Trust domain of the SPIFFE IDs.
    pub trust_domain: String,
    /// Limits of the inventory.
    pub limits: Limits,
    /// Limits of tasks, tokens and clients.
    pub credential_limits: bailiwick_credential::Limits,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
    /// Ids.
    pub ids: Ids,
    /// State.
    pub store: Store,
    /// Keys.
    pub keyring: Arc<Keyring>,
    /// The present snapshot.
    pub cell: Arc<SnapshotCell>,
    /// The pipeline.
    pub pep: Arc<Pep>,
    /// Access tokens.
    pub verifier: Arc<Verifier>,
    /// Proofs of possession.
    pub proofs: Arc<ProofVerifier>,
    /// Whether connections may have client certificates.
    pub certificates: bool,
    /// Client assertions.
    pub assertions: Arc<AssertionVerifier>,
    /// Workloads of other issuers.
    pub federation: Arc<Federation>,
    /// Browsers that wait for an operator.
    pub waiting: WaitingList,
    /// When signing keys are made and changed, and by whom at the moment.
    pub signing: Signing,
    /// Where the egress proxy is, if there is one.
    pub egress: bailiwick_wire::Egress,
    /// Messages to systems of others.
    pub sender: Sender,
    /// Who is being told what happened.
    pub signals: Signals,
    /// Kills that the state log may not have yet.
    pub kill_journal: Arc<KillJournal>,
    /// This node among the others.
    pub nodes: Nodes,
    /// What is kept outside the data folder.
    pub witness: Arc<Keeper>,
    /// Stops that are in force and that the state log has not taken yet.
    pub unsettled: Unsettled,
    /// Drills of the kill switch.
    pub drills: Drills,
    /// Tasks that end unless somebody goes on saying that he is there.
    pub heartbeats: Heartbeats,
    /// SVIDs that others believe.
    pub svids: IssuedSvids,
    /// Operators' sessions that were used for a change.
    pub sessions: UsedSessions,
    /// Operators by key; follows the store.
    pub operators: ArcSwap<Vec<Operator>>,
    /// Looks at upstream servers.
    pub tools: Arc<dyn ToolLook>,
    /// Proofs and entries of both logs.
    pub logs: Arc<dyn LogDoor>,
    /// What goes of the decision log.
    pub pruning: Pruning,
}

impl std::ops::Deref for Deps {
    type Target = DepsInner;
    fn deref(&self) -> &DepsInner {
        &self.0
    }
}

impl From<DepsInner> for Deps {
    fn from(inner: DepsInner) -> Self {
        Self(Arc::new(inner))
    }
}

/// A boxed future, so that a port can be a trait object.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An upstream server could not be looked at.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("upstream server not reached: {0}")]
pub struct LookError(pub String);

/// A log could not be read as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Something is broken.
    #[error("{0}")]
    Failed(String),
    /// What was asked for was pruned; names where the log begins, since when and why.
    #[error("{0}")]
    Pruned(String),
}

/// Asks an upstream server for its tools; the gateway does it with its own client.
pub trait ToolLook: Send + Sync + 'static {
    /// The tools as the server shows them now, with the canonical digest of each definition. `secret` opens the
    /// server when its credential is not stored yet.
    fn look<'a>(
        &'a self,
        server: &'a UpstreamServer,
        secret: Option<&'a [u8]>,
    ) -> BoxFuture<'a, Result<Vec<SeenTool>, LookError>>;
}

/// Reading the logs of this node.
pub trait LogDoor: Send + Sync + 'static {
    /// Both logs with their keys and sizes.
    fn list(&self) -> Vec<bailiwick_wire::NamedLog>;
    /// A `.tlog-proof` for an index, with the payload and its opening where it is to be disclosed; `None` when
    /// there is no such entry.
    fn prove<'a>(
        &'a self,
        log: &'a str,
        index: u64,
        disclose: bool,
    ) -> BoxFuture<'a, Result<Option<Vec<u8>>, LogError>>;
    /// The index of the record of a decision.
    fn index_of<'a>(&'a self, decision: &'a str) -> BoxFuture<'a, Result<Option<u64>, LogError>>;
    /// Entries `from..from + max`, fewer where they are long, with the payloads of `of`, or of everybody.
    fn entries<'a>(
        &'a self,
        log: &'a str,
        from: u64,
        max: usize,
        of: Option<&'a TenantId>,
    ) -> BoxFuture<'a, Result<Vec<bailiwick_wire::LogEntry>, LogError>>;
    /// Every entry with its payload and its opening key, as JSON lines `{index, key, payload}` (base64).
    fn openings<'a>(
        &'a self,
        log: &'a str,
        from: u64,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<u8>, LogError>>;
}

/// `{base}/t/{tenant}`.
pub(crate) fn issuer_at(base_url: &str, tenant: &TenantId) -> String {
    format!("{base_url}/t/{tenant}")
}

impl Deps {
    /// A new id.
    pub(crate) fn mint<K: IdKind>(&self, tenant: &TenantId) -> Result<Id<K>, RouteError> {
        self.ids
            .mint(tenant)
            .map_err(|e| RouteError::broken("randomness failed", &e))
    }

    /// `{base}/t/{tenant}`.
    pub(crate) fn issuer(&self, tenant: &TenantId) -> String {
        issuer_at(&self.base_url, tenant)
    }

    /// `{base}/t/{tenant}/mcp`: the audience of every token of the tenant.
    pub(crate) fn audience(&self, tenant: &TenantId) -> String {
        format!("{}/t/{tenant}/mcp", self.base_url)
    }

    pub(crate) fn jwks(&self, tenant: &TenantId) -> Result<Value, RouteError> {
        let keys = self
            .keyring
            .jwks(tenant)
            .map_err(|e| RouteError::broken("keys are not available", &e))?;
        let keys: Vec<Value> = keys.iter().map(|key| Value::Object(key.to_json())).collect();
        Ok(json!({ "keys": keys }))
    }
}
