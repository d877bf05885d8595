//! Types of our own HTTP API, shared by server and command line. One file per noun.
//!
//! Every request type refuses unknown members. Times are RFC 3339 text, ids are their wire form, spans are
//! whole seconds. Problems are RFC 9457 ([`Problem`]).

#![warn(missing_docs)]

mod check;
mod consent;
mod count;
mod credential;
mod egress;
mod identity;
mod keys;
mod kill;
mod lease;
mod log;
mod node;
mod operator;
mod page;
mod policy;
mod problem;
mod receipt;
mod server;
mod sidecar;
mod signal;
mod task;
mod tenant;
mod trust;

pub use check::{CheckAnswer, CheckRequest};
pub use consent::{
    AllowConsent, AllowedConsent, Consent, Consents, NewPublicClient, PublicClient, RefuseConsent,
    RemovePublicClient, WaitingConsent,
};
pub use count::{Count, CountExplained, KindCount, StateCount, TenantCount};
pub use credential::{
    AwsTarget, ConfirmMoved, CorrectCredential, Credential, EndpointOverride, FetchSecret, FetchedSecret,
    GithubAppTarget, HttpTarget, LastRotation, NewCredential, ReplaceSecret, Revoked, Rotation,
    RotationRequest, RotationTarget, TakenBack,
};
pub use egress::Egress;
pub use identity::{Activation, Composed, Composition, Identity, Labels, NewIdentity, Owner, StateChange};
pub use keys::{KeyRotation, KeyStatus, RotateKey, SigningKey};
pub use kill::{DryRun, KillReceipt, KillRequest, Level, Mark, PointReading, SecondOperator, SelectorKind};
pub use lease::{Lease, LedgerFinding, LentSecret, NewLease, ReturnLease, TaskLedger};
pub use log::{LogEntry, LogPruning, NamedLog, NodeHealth, PruneLog, PrunedLog};
pub use node::{InviteNode, JoinNode, JoinedNode, Node, NodeEnd, NodeInvitation, StandNode};
pub use operator::{ClaimRequest, Operator};
pub use page::Page;
pub use policy::{PolicyText, PolicyWritten};
pub use problem::Problem;
pub use receipt::{
    Drill, DrillRequest, Drills, Known, LogPlace, PendingKill, PointHistogram, Receipt, ReceiptBody,
    ReceiptPoint, ResidueItem, SignRequest,
};
pub use server::{NewServer, PinRequest, ReadsRequest, ReplaceServerCredential, Server, Tool};
pub use sidecar::{
    InviteSidecar, JoinSidecar, JoinedSidecar, RemoveSidecar, Sidecar, SidecarInvitation, SidecarSnapshot,
    SidecarTold, SidecarWord,
};
pub use signal::{
    NewTransmitter, NewWebhook, RemoveSubscription, RemoveTransmitter, RotateWebhook, SetStatus,
    Subscription, Transmitter, WebhookSecret,
};
pub use task::{
    Client, CloseTask, NewClient, NewTask, OpenedTask, RemoveClient, Task, TaskHeartbeat, Token, TokenBatch,
    TokenBatchRequest,
};
pub use tenant::{NewTenant, Tenant};
pub use trust::{NewTrust, RemoveTrust, Trust, TrustFinding};
