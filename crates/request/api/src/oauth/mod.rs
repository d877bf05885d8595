//! The authorization server of each tenant: metadata, keys, token endpoint.

pub(crate) mod metadata;
pub(crate) mod token;
