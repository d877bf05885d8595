//! What a door needs that decides and changes nothing: the same doors stand at a node and at a sidecar.

use std::sync::Arc;

use axum::Router;
use axum::routing::post;
use bailiwick_base::Clock;
use bailiwick_pep::token::{ProofVerifier, Verifier};
use bailiwick_pep::{Pep, SnapshotCell};

use crate::Deps;

/// A place where calls are decided.
pub trait DecisionPoint: Clone + Send + Sync + 'static {
    /// The present snapshot.
    fn cell(&self) -> &Arc<SnapshotCell>;
    /// Time.
    fn clock(&self) -> &Arc<dyn Clock>;
    /// The pipeline.
    fn pep(&self) -> &Arc<Pep>;
    /// Proofs of possession.
    fn proofs(&self) -> &Arc<ProofVerifier>;
    /// Access tokens.
    fn verifier(&self) -> &Arc<Verifier>;
}

impl DecisionPoint for Deps {
    fn cell(&self) -> &Arc<SnapshotCell> {
        &self.cell
    }

    fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    fn pep(&self) -> &Arc<Pep> {
        &self.pep
    }

    fn proofs(&self) -> &Arc<ProofVerifier> {
        &self.proofs
    }

    fn verifier(&self) -> &Arc<Verifier> {
        &self.verifier
    }
}

/// The doors of a sidecar: AuthZEN evaluations, and introspection for whoever shows a token with `token:introspect`
/// (RFC 7662 §2.1): assertions of clients are used up once at the nodes, which a sidecar cannot know.
pub fn decision_router<P: DecisionPoint>(point: P) -> Router {
    use crate::authzen::{evaluation, evaluations};
    use crate::oauth::introspect;
    Router::new()
        .route("/access/v1/evaluation", post(evaluation::handler::<P>))
        .route("/access/v1/evaluations", post(evaluations::handler::<P>))
        .route(
            "/t/{tenant}/access/v1/evaluation",
            post(evaluation::in_tenant::<P>),
        )
        .route(
            "/t/{tenant}/access/v1/evaluations",
            post(evaluations::in_tenant::<P>),
        )
        .route("/t/{tenant}/introspect", post(introspect::by_bearer::<P>))
        .with_state(point)
}
