//! What it takes to know a caller by a proof of his own, or by the word of his platform.

use std::sync::Arc;

use anyhow::Context;
use bailiwick_api::Federation;
use bailiwick_attest::{Attester, StsAttester};
use bailiwick_base::{Clock, Entropy};
use bailiwick_outbound::{Dialer, FetchConfig, Fetcher, LaneConfig, SendConfig, Sender};
use bailiwick_pep::token::{ProofConfig, ProofVerifier, TurnNonces};

/// Verification of proofs, under a key that nobody else has and that ends with this process.
pub(crate) fn proofs(base_url: &str, entropy: &dyn Entropy) -> anyhow::Result<Arc<ProofVerifier>> {
    let mut secret = [0_u8; 32];
    entropy.fill(&mut secret)?;
    let nonces = TurnNonces::new(secret);
    Ok(Arc::new(ProofVerifier::new(
        ProofConfig::default(),
        base_url,
        nonces,
    )))
}

/// Verification of workloads, with keys through the guarded way out.
pub(crate) fn federation(dialer: &Dialer, clock: &Arc<dyn Clock>) -> anyhow::Result<Arc<Federation>> {
    let fetcher = Fetcher::new(dialer.clone(), Arc::clone(clock), FetchConfig::default());
    let attester = Attester::new(Arc::new(fetcher))?;
    let documents = Fetcher::new(
        dialer.clone(),
        Arc::clone(clock),
        bailiwick_api::document_fetching(),
    );
    let aws = attester
        .attestor(bailiwick_credential::trust::Method::Aws)
        .cloned()
        .context("content of AWS is missing")?;
    let sender = Sender::new(dialer.clone(), SendConfig::default());
    let sts = StsAttester::new(sender, Arc::new(aws), LaneConfig::default());
    let federation = Federation::new(attester, documents, clock.now());
    Ok(Arc::new(federation.with_sts(sts)))
}
