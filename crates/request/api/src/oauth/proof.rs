//! What the sender of a token request proves to hold, and what its token is bound to for that (RFC 9449 §5,
//! RFC 8705 §3).

use bailiwick_base::{Digest, TenantId};
use bailiwick_credential::{ClientProof, Confirmation};
use bailiwick_pep::token::{Place, Presented, Proof, ProofError, ProofVerifier, VerifiedToken, caller};
use http::Method;
use http::request::Parts;

use super::error::{OauthError, bad};
use crate::Deps;

/// What a request shows beside its form.
pub(super) struct Shown {
    proof: Option<Proof>,
    certificate: Option<Digest>,
    /// Where it was asked.
    path: String,
}

impl From<ProofError> for OauthError {
    fn from(error: ProofError) -> Self {
        bad(error.oauth(), error.to_string())
    }
}

impl Shown {
    /// Verifies what is shown. Before the client is known: a proof that lacks its nonce costs no assertion.
    pub(super) fn read(deps: &Deps, parts: &Parts) -> Result<Self, OauthError> {
        let presented = Presented::of(parts);
        let now = deps.clock.now();
        let proof = ProofVerifier::of(presented.headers)?
            .map(|proof| deps.proofs.verify(proof, presented.place(), None, now))
            .transpose()?;
        Ok(Self {
            proof,
            certificate: presented.certificate,
            path: presented.path.to_owned(),
        })
    }

    /// The client certificate of the connection.
    pub(super) const fn certificate(&self) -> Option<Digest> {
        self.certificate
    }

    /// Whether it shows what a token is bound to.
    pub(super) fn holds(&self, bound: Confirmation) -> bool {
        match bound {
            Confirmation::Key(key) => self.proof.is_some_and(|proof| proof.key() == key),
            Confirmation::Certificate(certificate) => self.certificate == Some(certificate),
        }
    }

    /// Whether the holder of a bound token handed it on for this exchange: by a proof of its own, for this endpoint and
    /// with the token's hash. Our own parameter `subject_token_proof`; RFC 8693 has none.
    pub(super) fn require_handed_on(
        &self,
        deps: &Deps,
        token: &VerifiedToken,
        proof: &str,
    ) -> Result<(), ProofError> {
        let (now, place) = (
            deps.clock.now(),
            Place {
                method: &Method::POST,
                path: &self.path,
            },
        );
        let proof = deps
            .proofs
            .verify(proof.as_bytes(), place, Some(&token.token_hash), now)?;
        if token.claims.confirmation != Some(Confirmation::Key(proof.key())) {
            return Err(ProofError::Key);
        }
        deps.proofs
            .take(&proof, caller(&token.tenant, &token.claims.client), now)
    }

    /// What the token of this client will be bound to. Uses the proof up, on its account.
    pub(super) fn bind(
        &self,
        deps: &Deps,
        tenant: &TenantId,
        client: &str,
        (required, registered): (ClientProof, Option<Digest>),
    ) -> Result<Option<Confirmation>, OauthError> {
        if let Some(proof) = &self.proof {
            deps.proofs
                .take(proof, caller(tenant, client), deps.clock.now())?;
        }
        match (required, self.proof, self.certificate) {
            (ClientProof::Mtls, Some(_), _) => Err(bad(
                "invalid_request",
                "client is registered with proof `mtls`: its tokens are bound to its certificate, leave header `dpop` out",
            )),
            (ClientProof::Mtls, None, Some(shown)) if registered.is_some_and(|known| known != shown) => {
                Err(bad(
                    "invalid_request",
                    "client is registered with another certificate than this connection has",
                ))
            }
            (ClientProof::Mtls, None, Some(certificate)) => Ok(Some(Confirmation::Certificate(certificate))),
            (ClientProof::Mtls, None, None) => Err(bad(
                "invalid_request",
                "client is registered with proof `mtls`: ask over a connection with its client certificate",
            )),
            (_, Some(proof), _) => Ok(Some(Confirmation::Key(proof.key()))),
            (ClientProof::Dpop, None, _) => Err(bad(
                "invalid_dpop_proof",
                "client is registered with proof `dpop`: send header `dpop` with a proof for this request (RFC 9449)",
            )),
            (ClientProof::None, None, shown) => Ok(shown.map(Confirmation::Certificate)),
        }
    }
}
