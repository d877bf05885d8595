//! Glue between the keyring and those who verify or sign: note keys for the logs, issuer keys for tokens.

use std::sync::Arc;

use anyhow::Context;
use bailiwick_audit::note::{NoteSigner, NoteVerifier, SignerError};
use bailiwick_base::TenantId;
use bailiwick_journal::NoteKey;
use bailiwick_keys::{Keyring, LogSigner};
use bailiwick_pep::token::KeySource;

/// A log's key in the words of the log.
struct Note(Arc<LogSigner>);

impl NoteSigner for Note {
    fn name(&self) -> &str {
        self.0.origin()
    }

    fn key_id(&self) -> u32 {
        u32::from_be_bytes(self.0.key_hash())
    }

    fn sign(&self, text: &[u8]) -> Result<[u8; 64], SignerError> {
        self.0.sign(text).map_err(|error| SignerError(Box::new(error)))
    }
}

/// The key of the log of `origin`.
pub(crate) fn note_key(keyring: &Keyring, origin: &str) -> anyhow::Result<NoteKey> {
    let signer = keyring
        .log_signer(origin)
        .with_context(|| format!("key of log `{origin}`"))?;
    let verifier =
        NoteVerifier::new(origin, *signer.public_key()).with_context(|| format!("key of log `{origin}`"))?;
    Ok(NoteKey {
        signer: Arc::new(Note(signer)),
        verifier,
    })
}

/// Publishes the verification keys of a tenant's issuer.
pub(crate) fn publish_issuer(
    keys: &KeySource,
    keyring: &Keyring,
    base_url: &str,
    tenant: &TenantId,
) -> anyhow::Result<()> {
    let public = keyring
        .jwks(tenant)
        .with_context(|| format!("keys of tenant `{tenant}`"))?;
    let issuer = format!("{base_url}/t/{tenant}");
    let by_kid = public
        .iter()
        .map(|jwk| (jwk.kid().to_owned(), Arc::clone(jwk.key())));
    keys.publish(&issuer, tenant, &format!("{issuer}/mcp"), by_kid);
    Ok(())
}
