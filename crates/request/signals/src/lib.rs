//! What is told to others, and what others tell, in the words of their standards: OpenID SSF 1.0 and CAEP 1.0,
//! SETs (RFC 8417) by push (RFC 8935) and poll (RFC 8936), Standard Webhooks, Token Status List.
//!
//! Invariants
//! - What is told is worked out from entries of the state log and from nothing else: the same entry gives the same
//!   signal with the same `jti`, whenever and however often it is asked for.
//! - A SET says one event about one `sub_id`; it has neither `sub` nor `exp`.
//! - A subscription is told of its own tenant, and of what was done to all tenants at once.
//! - What others tell stops; it permits nothing.
//!
//! This crate does not know storage, keys, connections or routes.

#![warn(missing_docs)]

mod caep;
mod poll;
mod push;
mod set;
mod status_list;
mod stream;
mod told;
mod webhook;

pub use caep::{Record, Signal, is_told, signals};
pub use poll::{Asked, Window, window};
pub use push::{Heard, heard_push, heard_webhook, wait_for};
pub use set::{SECURITY_EVENT, claims, jti};
pub use status_list::{PLACES, Place, STATUS_LIST, Standing, place, reference, status_list};
pub use stream::{StreamError, StreamRequest, VERIFICATION_MIN, configuration, metadata, subject};
pub use told::{Consequence, Person, consequences};
pub use webhook::{Secrets, WebhookError, message, secret_text};
