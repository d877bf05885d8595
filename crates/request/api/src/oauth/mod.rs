//! The authorization server of each tenant: metadata, keys, token endpoint.

mod client;
mod error;
pub(crate) mod federation;
mod form;
pub(crate) mod introspect;
pub(crate) mod metadata;
mod proof;
pub(crate) mod revoke;
pub(crate) mod token;
