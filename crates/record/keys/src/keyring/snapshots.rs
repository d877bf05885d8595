//! The key that snapshots for sidecars are signed with: the same on every node, and made of what nodes share already.

use super::Keyring;
use crate::error::KeysError;
use crate::log::LogSigner;

/// The name of the key, as in a signed note.
const NAME: &str = "bailiwick-snapshot";
/// What the seed is derived for; nothing else is derived with this text.
const PURPOSE: &[u8] = b"bailiwick\0snapshot signing key 1";

impl Keyring {
    /// The Ed25519 key of snapshots. Its seed is HMAC-SHA256 under a key of the installation that is disclosed to
    /// nobody and is not changed by a rotation.
    ///
    /// # Errors
    /// [`KeysError::Generate`].
    pub fn snapshot_signer(&self) -> Result<LogSigner, KeysError> {
        let seed = zeroize::Zeroizing::new(self.installation.sealing.fingerprint(PURPOSE));
        LogSigner::from_seed(NAME, &seed)
    }
}
