//! The signed snapshot that a sidecar decides by: facts to canonical text and back, and what is signed.
//!
//! Invariants
//! - What is read is what was written, fact by fact; a member, a word or a version that is not known is refused by name.
//! - A body holds facts of its own tenants only, and marks of the installation.
//! - A body holds nothing secret: of keys the public half alone.
//! - Nothing is read before its signature is verified.
//!
//! This crate does not know who asks, who signs, or when a snapshot is too old.

#![warn(missing_docs)]

mod body;
mod error;
mod form;
mod signature;

pub use body::{BODY_MAX, Body, Heading, PublishedKey, VERSION, body_of, read_body};
pub use error::BodyError;
pub use signature::{Told, signed_snapshot, signed_told, verify_snapshot, verify_told};
