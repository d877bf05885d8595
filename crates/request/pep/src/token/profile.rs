//! What a token has to say beyond RFC 9068.

use std::sync::Arc;

use bailiwick_credential::Claims;
use serde_json::{Map, Value};

use super::claims::Registered;
use super::error::TokenError;

/// A second reading of claims that passed the first ([`Registered`]).
pub trait Profile: Send + Sync + 'static {
    /// What it gives.
    type Claims: Clone + Send + Sync + 'static;

    /// Reads the members of a verified token.
    ///
    /// # Errors
    /// [`TokenError`] when something this profile demands is missing or of another form.
    fn admit(registered: &Registered, members: &Map<String, Value>) -> Result<Self::Claims, TokenError>;
}

/// Our access tokens: RFC 9068, the tenant, and `nhi`, `task`, `epoch`. The product accepts no others.
#[derive(Debug, Clone, Copy)]
pub enum TaskToken {}

impl Profile for TaskToken {
    type Claims = Arc<Claims>;

    fn admit(_: &Registered, members: &Map<String, Value>) -> Result<Self::Claims, TokenError> {
        Ok(Arc::new(Claims::from_json(members)?))
    }
}

/// RFC 9068 with a tenant and nothing else: what public vectors are made for.
#[derive(Debug, Clone, Copy)]
pub enum Rfc9068 {}

impl Profile for Rfc9068 {
    type Claims = Arc<Registered>;

    fn admit(registered: &Registered, _: &Map<String, Value>) -> Result<Self::Claims, TokenError> {
        Ok(Arc::new(registered.clone()))
    }
}
