//! The only SQL. One [`Store`] over two engines; a transaction is state plus its audit entry.
//!
//! ```text
//! store.transact(ctx, async move |tx| {
//!     let identity = tx.identity().lookup(&id).await?.ok_or(NotFound)?;
//!     let suspended = inventory::suspend(identity, "lost laptop", tx.now())?;
//!     tx.identity().apply(suspended).await?;
//!     Ok(answer)
//! }).await? -> Receipt { pos, epoch, facts, entries, answer }
//! ```
//!
//! Invariants
//! - A transaction that changed state and appended no entry does not commit, nor the other way round.
//! - The index of an entry is assigned inside its transaction; indexes and each tenant's sequence have no gap.
//! - Every statement names its tenant; an id of another tenant is refused before any SQL. On the engine with
//!   several nodes row security says it a second time.
//! - A row that is not what was written is [`StoreError::RowCorrupt`], never a guess.
//! - A count at a position equals a recount from the log up to that position.
//! - No decision is taken here, and no state of the model is branched on beyond writing and reading it.
//!
//! This crate does not know HTTP, tokens, keys, files of the log or what a command means.

#![warn(missing_docs)]

mod changes;
mod client;
mod compare;
mod composition;
mod consent;
mod context;
mod copy;
mod count;
mod credential;
mod engine;
mod error;
mod facts;
mod idempotency;
mod identity;
mod kill_receipt;
mod lease;
mod log;
mod mark;
mod migrate;
mod node;
mod once;
mod operator;
mod page;
mod policy;
mod public_client;
mod row;
mod seat;
mod server;
mod sidecar;
mod signing_key;
mod store;
mod stored;
mod subscription;
mod task;
mod tenant;
#[cfg(test)]
mod tests;
mod third_party;
mod transmitter;
mod trust;
mod tx;
mod vouch;
mod writer;

pub use changes::Changes;
pub use client::Clients;
pub use compare::{Compared, Inspection, Signed};
pub use consent::Consents;
pub use context::{Actor, Context, Lane, Reach, RequestId};
pub use copy::copy_to;
pub use count::{At, Counted, Recount};
pub use credential::Credentials;
pub use engine::StoreConfig;
pub use error::StoreError;
pub use identity::{Identities, IdentityFilter};
pub use kill_receipt::{KeptReceipt, KillReceipts, ReceiptState};
pub use lease::{Leases, OpenLease};
pub use log::Opening;
pub use mark::{MarkOrder, Marks, SetMark};
pub use node::{Hints, NodeRow, Nodes, standing_word};
pub use once::{Once, OnceKind};
pub use operator::Operators;
pub use page::Page;
pub use policy::{Policies, PolicySet};
pub use public_client::PublicClients;
pub use server::Servers;
pub use sidecar::{SidecarRow, Sidecars};
pub use signing_key::SigningKeys;
pub use store::{Store, StoreDeps};
pub use subscription::{Progress, Subscriptions, WithSecret};
pub use task::{TaskFilter, Tasks};
pub use tenant::Tenants;
pub use third_party::{DueCredential, Sealing, ThirdParties};
pub use transmitter::Transmitters;
pub use trust::Trusts;
pub use tx::{Entry, Reader, Receipt, Tx, View};
pub use writer::Observer;
