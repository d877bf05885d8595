//! The authorization server of each tenant: metadata, keys, token endpoint.

pub(crate) mod authorize;
mod client;
pub(crate) mod documents;
mod error;
pub(crate) mod federation;
mod form;
pub(crate) mod introspect;
pub(crate) mod metadata;
mod once;
mod proof;
mod public;
pub(crate) mod revoke;
mod secret;
pub(crate) mod status_list;
mod strangers;
pub(crate) mod token;
mod turns;
