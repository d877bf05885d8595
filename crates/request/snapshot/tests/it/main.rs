//! Facts to text and back.
#![expect(clippy::unwrap_used, reason = "a test that cannot make its input fails")]

mod bodies;
mod facts;
mod made;
mod signatures;

use bailiwick_base::{NodeName, TenantId, Time};
use bailiwick_decide::Fact;
use bailiwick_snapshot::{Body, BodyError, Heading, body_of, read_body};

pub(crate) fn tenant() -> TenantId {
    TenantId::parse("acme").unwrap()
}

pub(crate) fn heading() -> Heading {
    Heading {
        sidecar: NodeName::parse("shop-1").unwrap(),
        at: Time::from_secs(1_800_000_000),
        tenants: vec![tenant()],
    }
}

/// What comes out of what is written for these facts.
pub(crate) fn round(facts: &[Fact]) -> Result<Body, BodyError> {
    read_body(&body_of(&heading(), facts, &[])?)
}

/// Facts have no equality of their own; their debug text names every field.
pub(crate) fn shown(facts: &[Fact]) -> Vec<String> {
    facts.iter().map(|fact| format!("{fact:?}")).collect()
}
