//! The egress proxy: one enforcement point in front of the HTTP services of others.
//!
//! An agent reaches *destinations* through it, and nothing else. Every request becomes a
//! [`Call`](bailiwick_decide::Call), is decided and recorded, and is then forwarded by the guarded way out. The secret
//! that opens a destination is put in here; the agent holds a placeholder, or nothing.
//!
//! Invariants
//! - Nothing leaves on behalf of a caller without a [`Permit`](bailiwick_pep::Permit).
//! - What was decided is what is forwarded: one host, one path, one reading of both.
//! - A caller's token never goes to a destination, a destination's secret never comes back: not in a header, not in a
//!   body, in any of the spellings that are looked for.
//! - What is not looked into goes through only where a task was granted `CONNECT`, and never with a secret.
//! - The key of the egress CA is not here; it is asked for signatures.
//!
//! This crate does not know SQL, routes of our own, or where keys are.

#![warn(missing_docs)]

mod answer;
mod authority;
mod coding;
mod config;
mod connection;
mod destination;
mod detour;
mod forward;
mod listener;
mod mask;
mod opened;
mod patience;
mod places;
mod reply;
mod tunnel;
mod wanted;

pub use authority::{CaError, CaKey};
pub use config::ProxyConfig;
pub use listener::{Proxy, ProxyDeps, ProxyError};
pub use patience::Patient;
