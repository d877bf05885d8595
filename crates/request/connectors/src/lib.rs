//! Systems of others: one module for each, with what is done there and what is seen there.
//!
//! Invariants
//! - A module does one deed when it is told to; it plans nothing and records nothing.
//! - Every deed may be repeated: a driver that died does it again.
//! - A deed ends within its time, and names what refused it.
//! - No word of a system leaves here with a secret in it that this system was shown.
//!
//! This crate does not know the store, keys, HTTP doors or when a rotation is due.

#![warn(missing_docs)]

mod aws;
mod driver;
mod github;
mod http;
mod postgres;
mod words;

pub use self::http::{DocumentError, HttpDocument};
pub use driver::{Back, Driver, Ended, Lent, Made, Probed, Reachable, TargetError};
pub use postgres::server_place;
