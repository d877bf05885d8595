//! The key of a log, in the words of the log.

use std::sync::Arc;

use bailiwick_audit::note::{NoteSigner, NoteVerifier, SignerError};
use bailiwick_journal::NoteKey;
use bailiwick_keys::{Keyring, LogSigner};

struct Held(Arc<LogSigner>);

impl NoteSigner for Held {
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

pub(crate) fn key(keyring: &Keyring, origin: &str) -> anyhow::Result<NoteKey> {
    let signer = keyring.log_signer(origin)?;
    let verifier = NoteVerifier::new(origin, *signer.public_key())?;
    Ok(NoteKey {
        signer: Arc::new(Held(signer)),
        verifier,
    })
}
