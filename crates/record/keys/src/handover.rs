//! How a new node gets the root key: sealed to a key pair of its own and to the single-use token it was invited with.
//! Whoever stands between the two sees neither, and cannot give it another root.

use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use aws_lc_rs::hkdf;
use aws_lc_rs::rand::SystemRandom;
use bailiwick_base::Digest;
use zeroize::Zeroizing;

use crate::aead::{Cipher, KEY_LEN};
use crate::codec::{Reader, Writer};
use crate::entropy::SystemEntropy;
use crate::error::KeysError;
use crate::files;
use crate::keyring::Keyring;
use crate::keyring::shelf::is_shareable;
use crate::unseal::Unseal;

const PURPOSE: &[u8] = b"bailiwick node join 1";
/// Bytes of an X25519 public key.
const PUBLIC_LEN: usize = 32;

/// The new node's side, until the answer is there.
pub struct Joining {
    private: EphemeralPrivateKey,
    /// Sent to the node that invited.
    pub public: Vec<u8>,
}

impl Joining {
    /// A fresh key pair.
    ///
    /// # Errors
    /// [`KeysError::Generate`].
    pub fn begin() -> Result<Self, KeysError> {
        let (private, public) = pair()?;
        Ok(Self { private, public })
    }

    /// Opens the answer and makes the folder of keys, sealed under this machine's unseal key. Nothing is there
    /// before, and the first start takes everything else from the shared store.
    ///
    /// # Errors
    /// [`KeysError::Ceremony`] when there are keys already or the answer does not open with this token.
    pub fn finish(
        self,
        answer: &[u8],
        (token, state_origin): (&str, &str),
        data: &Path,
        unseal: &Unseal,
    ) -> Result<(), KeysError> {
        require_empty(data)?;
        let folder = data.join("keys");
        let refused = || {
            KeysError::Ceremony(
                "the answer does not open with this token: ask for a new invitation".to_owned(),
            )
        };
        let (theirs, sealed) = answer.split_at_checked(PUBLIC_LEN).ok_or_else(refused)?;
        let cipher = shared(self.private, theirs, (&self.public, theirs), token)?;
        let plain = cipher.open(PURPOSE, sealed).map_err(|_| refused())?;
        let mut reader = Reader::new(&plain);
        let root = reader.field().and_then(|f| <[u8; KEY_LEN]>::try_from(f).ok());
        let root = Zeroizing::new(root.ok_or_else(refused)?);
        files::ensure_folder(data)?;
        files::ensure_folder(&folder)?;
        crate::keyring::write_new_root(&folder, &root, unseal, &SystemEntropy)?;
        while let (Some(name), Some(bytes)) = (reader.field(), reader.field()) {
            let name = std::str::from_utf8(name).ok().filter(|name| is_shareable(name));
            let name = name.ok_or_else(refused)?;
            let path = folder.join(name);
            files::ensure_folder(files::folder_of(&path))?;
            files::write(&path, bytes)?;
        }
        // It opens, or the start would fail later with less to say.
        drop(Keyring::open(
            &folder,
            reopened(unseal)?,
            Arc::new(SystemEntropy),
        )?);
        let log = data.join("log");
        let state = log.join("state");
        for place in [&log, &state] {
            files::ensure_folder(place)?;
        }
        files::write(&state.join("origin"), format!("{state_origin}\n").as_bytes())?;
        crate::ceremony::mark_unused(data)
    }
}

/// A node joins once, with a data folder in which nothing has begun.
///
/// # Errors
/// [`KeysError::Ceremony`] naming what is there.
pub fn require_empty(data: &Path) -> Result<(), KeysError> {
    let begun = ["keys", "log", "kill.journal"]
        .into_iter()
        .map(|part| data.join(part));
    match begun.into_iter().find(|path| path.exists()) {
        Some(path) => Err(KeysError::Ceremony(format!(
            "`{}` is there already: a node joins once, with an empty data folder",
            path.display()
        ))),
        None => Ok(()),
    }
}

/// The same way to the unseal key once more.
fn reopened(unseal: &Unseal) -> Result<Unseal, KeysError> {
    Ok(match unseal {
        Unseal::Credential(path) => Unseal::Credential(path.clone()),
        Unseal::File(path) => Unseal::File(path.clone()),
        Unseal::FileOrNew(path) => Unseal::FileOrNew(path.clone()),
        Unseal::PassphraseFile(path) => Unseal::PassphraseFile(path.clone()),
        Unseal::Bytes(_) | Unseal::Passphrase(_) => {
            return Err(KeysError::Ceremony(
                "a node joins with an unseal key in a file".to_owned(),
            ));
        }
    })
}

fn pair() -> Result<(EphemeralPrivateKey, Vec<u8>), KeysError> {
    let private =
        EphemeralPrivateKey::generate(&X25519, &SystemRandom::new()).map_err(|_| KeysError::Generate)?;
    let public = private.compute_public_key().map_err(|_| KeysError::Generate)?;
    Ok((private, public.as_ref().to_vec()))
}

/// The key both sides and the token lead to (RFC 7748, RFC 5869).
fn shared(
    private: EphemeralPrivateKey,
    theirs: &[u8],
    (joining, inviting): (&[u8], &[u8]),
    token: &str,
) -> Result<Cipher, KeysError> {
    let mut info = Writer::with_capacity(128);
    info.field(PURPOSE).field(joining).field(inviting);
    let salt = Digest::of(token.as_bytes());
    let mut key = Zeroizing::new([0; KEY_LEN]);
    agree_ephemeral(
        private,
        UnparsedPublicKey::new(&X25519, theirs),
        KeysError::Generate,
        |secret| {
            hkdf::Salt::new(hkdf::HKDF_SHA256, &salt.0)
                .extract(secret)
                .expand(&[info.as_slice()], hkdf::HKDF_SHA256)
                .and_then(|okm| okm.fill(key.as_mut_slice()))
                .map_err(|_| KeysError::Generate)
        },
    )?;
    Cipher::new(&key).map_err(|_| KeysError::Generate)
}

impl Keyring {
    /// The root key and the keys of the installation and of the log `origin`, for a node that shows `public` and was
    /// invited with `token`.
    ///
    /// # Errors
    /// [`KeysError`] when the public key is none.
    pub fn hand_over(&self, public: &[u8], token: &str, origin: &str) -> Result<Vec<u8>, KeysError> {
        let (private, own) = pair()?;
        let cipher = shared(private, public, (public, &own), token)?;
        let mut plain = Writer::with_capacity(512);
        self.write_handover(&mut plain, origin)?;
        let mut out = own;
        let mut sealed = Vec::new();
        cipher
            .seal(PURPOSE, plain.as_slice(), &mut sealed)
            .map_err(|_| KeysError::Generate)?;
        out.extend_from_slice(&sealed);
        Ok(out)
    }
}
