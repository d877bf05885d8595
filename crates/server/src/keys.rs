//! Glue between the keyring and those who verify or sign: note keys for the logs, issuer keys for tokens.

use std::sync::Arc;

use anyhow::Context;
use bailiwick_audit::note::{NoteSigner, NoteVerifier, SignerError};
use bailiwick_base::TenantId;
use bailiwick_credential::signing_key::{SigningKey, SigningState};
use bailiwick_journal::NoteKey;
use bailiwick_keys::{KeyState, Keyring, LogSigner, Unseal};
use bailiwick_pep::token::KeySource;

use crate::config::Config;

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

/// What opens the root key, as configured; a key made at the first start where nothing is.
///
/// # Errors
/// When the configuration names a credential and no folder of credentials.
pub fn unseal(config: &Config) -> anyhow::Result<Unseal> {
    let keys = &config.keys;
    if let Some(file) = &keys.passphrase_file {
        return Ok(Unseal::PassphraseFile(file.clone()));
    }
    if let Some(name) = &keys.unseal_credential {
        let folder = keys.credentials_folder.as_ref().context(
            "config key `keys.unseal_credential`: there is no folder of credentials: start the service as a unit with \
             `LoadCredentialEncrypted=`, or set `keys.credentials_folder`",
        )?;
        return Ok(Unseal::Credential(folder.join(name)));
    }
    Ok(match &keys.unseal_file {
        Some(file) => Unseal::File(file.clone()),
        None => Unseal::FileOrNew(config.data.join("unseal.key")),
    })
}

/// Brings the keyring to what is recorded of the tenant's signing keys.
pub(crate) fn follow(keyring: &Keyring, tenant: &TenantId, recorded: &[SigningKey]) -> anyhow::Result<()> {
    let states = recorded.iter().filter_map(|key| {
        let state = match key.state() {
            SigningState::Active => KeyState::Active,
            SigningState::Next => KeyState::Next,
            SigningState::Retired => KeyState::Retired,
            SigningState::Removed => return None,
        };
        Some((key.kid.clone(), state))
    });
    let states: Vec<_> = states.collect();
    keyring
        .follow(tenant, &states)
        .with_context(|| format!("keys of tenant `{tenant}`"))
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
