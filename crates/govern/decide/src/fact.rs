//! What the snapshot is built from. The store gives facts after each commit and at the start; nothing else
//! changes what is decided, except a mark that a kill sets in memory first.

use std::sync::Arc;

use bailiwick_base::{Epoch, SigningAlgorithm, StatePos, TenantId};
use bailiwick_credential::consent::PublicClient;
use bailiwick_credential::signing_key::{SigningKey, key_floor};
use bailiwick_credential::trust::Trust;
use bailiwick_credential::{Client, Task, TaskState};
use bailiwick_grant::Grant;
use bailiwick_inventory::{Identity, State, Tenant, TenantState, UpstreamServer};

use crate::mark::{Mark, MarkScope};

/// One thing that is true from now on. Later facts about the same thing replace earlier ones.
#[derive(Debug, Clone)]
pub enum Fact {
    /// An OAuth client of an identity.
    Client(Arc<Client>),
    /// Tokens with an older epoch are dead (raised by every restore).
    EpochFloor(Epoch),
    /// An identity, in whatever state.
    Identity(Arc<Identity>),
    /// A mark holds.
    Mark(Mark),
    /// A suspension was lifted: the mark with effect suspend on this scope is gone.
    MarkLifted(MarkScope),
    /// The tenant's own policies, as Cedar text; they were validated when they were written.
    Policies(TenantId, Arc<str>),
    /// How far the state log is taken into account, and the epoch that holds there.
    Position(StatePos, Epoch),
    /// A client without a key, removed or not.
    PublicClient(Arc<PublicClient>),
    /// An upstream server with its pins.
    Server(Arc<UpstreamServer>),
    /// The signing keys of a tenant: those that are published, and those that were compromised.
    SigningKeys(TenantId, Arc<[SigningKey]>),
    /// A task and its grant.
    Task(Arc<Task>, Arc<Grant>),
    /// A tenant and the algorithm its issuer signs with.
    Tenant(Arc<Tenant>, SigningAlgorithm),
    /// A trust rule, removed or not.
    Trust(Arc<Trust>),
}

impl Fact {
    /// Whether something that was permitted before may be refused once this is true. Open calls and streams
    /// look again then, and only then.
    #[must_use]
    pub fn narrows(&self) -> bool {
        match self {
            Self::EpochFloor(_) | Self::Mark(_) | Self::Policies(..) | Self::Server(_) => true,
            Self::Identity(identity) => !matches!(identity.state, State::Active | State::Probation),
            Self::SigningKeys(_, keys) => key_floor(keys) > Epoch::default(),
            Self::Task(task, _) => !matches!(task.state, TaskState::Open),
            Self::Tenant(tenant, _) => tenant.state != TenantState::Active,
            Self::Client(_)
            | Self::MarkLifted(_)
            | Self::Position(..)
            | Self::PublicClient(_)
            | Self::Trust(_) => false,
        }
    }
}
