//! Who is told what happens here (subscriptions: streams and webhooks), and who tells us what happens elsewhere
//! (transmitters).
//!
//! Invariants
//! - A subscription belongs to one tenant, and a stream to the one identity that made it.
//! - What was removed stays removed; nothing makes it usable again.
//! - Every list and text has a limit.
//!
//! This crate does not know protocols, keys, delivery or storage.

#![warn(missing_docs)]

mod limits;
mod model;
mod refusal;
mod subscription;
mod transmitter;

pub use limits::Limits;
pub use model::{Delivery, EventKind, Keys, Place, Status, Subscription, Transmitter};
pub use refusal::Refusal;
pub use subscription::{
    Change, NewSubscription, change, leave_out, renew_secret, set_status, subscribe, take_in, withdraw,
};
pub use transmitter::{NewTransmitter, add_transmitter, remove_transmitter};
