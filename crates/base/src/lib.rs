//! The ground every room stands on: ids that carry their tenant, time and randomness as parameters,
//! limits, secrets, strict JSON in and canonical JSON out.
//!
//! Invariants
//! - No I/O, no async, no ambient clock, randomness or environment.
//! - An id cannot exist without its [`TenantId`].
//! - A [`Secret`] has no `Debug`, `Display`, `Clone` or `Serialize`.
//! - Text becomes a value through one strict parser ([`json::parse`]) that refuses duplicate members.
//!
//! This crate does not know what an identity, a credential or a decision is.

#![warn(missing_docs)]

pub mod canonical;
mod compact;
mod composition;
mod digest;
mod entropy;
mod epoch;
mod id;
pub mod json;
pub mod limits;
mod name;
mod nearest;
mod public_key;
mod sealer;
mod secret;
mod steady;
mod tenant;
mod time;
mod transition;

pub use compact::{Compact, CompactError, Header};
pub use composition::{Composition, CompositionError};
pub use digest::{Digest, Sha256};
pub use entropy::{Entropy, EntropyError, Ids, SeededEntropy};
pub use epoch::{Epoch, StatePos};
pub use id::{
    ApprovalId, ClientId, ConsentId, CredentialId, DecisionId, GrantId, Id, IdError, IdKind, IdentityId,
    LeaseId, OperatorId, SubscriptionId, TaskId, TokenId, TransmitterId, TrustId,
};
pub use name::{AgentLabel, NameError, NodeName, ServerName, ToolName};
pub use nearest::nearest;
pub use public_key::{PublicKey, PublicKeyError, SignatureError};
pub use sealer::{KeyShelf, SealContext, SealError, Sealer, SharedKey};
pub use secret::Secret;
pub use steady::{Reading, SteadyTime};
pub use tenant::{TenantError, TenantId};
pub use time::{Clock, ManualClock, Time, TimeError};
pub use transition::Transition;
mod algorithm;
pub use algorithm::SigningAlgorithm;
