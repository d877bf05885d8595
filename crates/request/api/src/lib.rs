//! Administration, token endpoint, AuthZEN evaluation, metadata.
