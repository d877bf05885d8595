//! What opens the root key.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use aws_lc_rs::{hkdf, pbkdf2};
use bailiwick_base::{Entropy, Secret};
use zeroize::Zeroizing;

use crate::aead::{Cipher, KEY_LEN};
use crate::error::KeysError;
use crate::files;

/// Iterations of PBKDF2-HMAC-SHA-256 for a passphrase (RFC 8018 §5.2).
pub const PASSPHRASE_ITERATIONS: u32 = 600_000;
/// Characters a passphrase has at least.
const PASSPHRASE_MIN: usize = 15;
/// Bytes of salt of a passphrase.
pub(crate) const SALT_LEN: usize = 16;

/// Where the unseal key comes from. Never from an argument or the environment.
pub enum Unseal {
    /// The 32 bytes themselves, handed over by the caller.
    Bytes(Secret<[u8; 32]>),
    /// A systemd credential of exactly 32 random bytes: as `File`, but the group may read it, which is how systemd
    /// gives it to the user of the unit.
    Credential(PathBuf),
    /// A file of exactly 32 random bytes with mode 0600; `/dev/fd/N` for a descriptor; a systemd credential.
    File(PathBuf),
    /// As `File`; at the very first start, when nothing is sealed yet, the file is made.
    FileOrNew(PathBuf),
    /// A file with the passphrase (0600); a line end behind it is not part of it.
    PassphraseFile(PathBuf),
    /// A passphrase, stretched with PBKDF2-HMAC-SHA-256 ([`PASSPHRASE_ITERATIONS`]).
    Passphrase(Secret<Vec<u8>>),
}

/// How the root key is opened, as its file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stretch {
    /// The unseal key has full entropy.
    None,
    /// PBKDF2 with this salt and so many iterations.
    Passphrase {
        /// Salt.
        salt: [u8; SALT_LEN],
        /// Iterations.
        iterations: NonZeroU32,
    },
}

impl Unseal {
    /// The stretch a new root key gets.
    pub(crate) fn new_stretch(&self, entropy: &dyn Entropy) -> Result<Stretch, KeysError> {
        let (Self::Passphrase(_) | Self::PassphraseFile(_)) = self else {
            return Ok(Stretch::None);
        };
        let mut salt = [0; SALT_LEN];
        entropy.fill(&mut salt)?;
        let iterations = NonZeroU32::new(PASSPHRASE_ITERATIONS).unwrap_or(NonZeroU32::MIN);
        Ok(Stretch::Passphrase { salt, iterations })
    }

    /// The cipher that seals the root key. `is_first` is whether nothing is sealed yet.
    pub(crate) fn cipher(
        &self,
        stretch: Stretch,
        is_first: bool,
        entropy: &dyn Entropy,
    ) -> Result<Cipher, KeysError> {
        let mut material = Zeroizing::new([0; KEY_LEN]);
        match (self, stretch) {
            (Self::Bytes(bytes), Stretch::None) => material.copy_from_slice(bytes.reveal()),
            (Self::File(path), Stretch::None) => read_unseal_file(path, &mut material)?,
            (Self::Credential(path), Stretch::None) => {
                let read = files::read_shared(path)?;
                take_unseal_key(path, read, &mut material)?;
            }
            (Self::FileOrNew(path), Stretch::None) => {
                if is_first && !path.exists() {
                    create_unseal_file(path, entropy)?;
                }
                read_unseal_file(path, &mut material)?;
            }
            (Self::Passphrase(passphrase), Stretch::Passphrase { salt, iterations }) => {
                stretch_passphrase(passphrase.reveal(), &salt, iterations, &mut material)?;
            }
            (Self::PassphraseFile(path), Stretch::Passphrase { salt, iterations }) => {
                let bytes = files::read(path)?.ok_or_else(|| KeysError::UnsealMissing {
                    path: path.to_owned(),
                })?;
                let text = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
                stretch_passphrase(text, &salt, iterations, &mut material)?;
            }
            // A passphrase for keys sealed with a key file, or the reverse: it cannot open, and says so.
            _ => {}
        }
        wrapping_key(&material)
    }
}

/// Makes an unseal key: 32 random bytes in a new file with mode 0600. Never overwrites.
///
/// # Errors
/// [`KeysError::Io`], [`KeysError::Entropy`].
pub fn create_unseal_file(path: &Path, entropy: &dyn Entropy) -> Result<(), KeysError> {
    let mut key = Zeroizing::new([0; KEY_LEN]);
    entropy.fill(key.as_mut_slice())?;
    if path.exists() {
        let source = std::io::Error::from(std::io::ErrorKind::AlreadyExists);
        return Err(files::failed("make", path)(source));
    }
    files::write(path, key.as_slice())
}

fn stretch_passphrase(
    text: &[u8],
    salt: &[u8; SALT_LEN],
    iterations: NonZeroU32,
    into: &mut [u8; KEY_LEN],
) -> Result<(), KeysError> {
    if text.len() < PASSPHRASE_MIN {
        return Err(KeysError::PassphraseShort { min: PASSPHRASE_MIN });
    }
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, text, into);
    Ok(())
}

fn read_unseal_file(path: &Path, into: &mut [u8; KEY_LEN]) -> Result<(), KeysError> {
    let read = files::read(path)?;
    take_unseal_key(path, read, into)
}

fn take_unseal_key(
    path: &Path,
    read: Option<Zeroizing<Vec<u8>>>,
    into: &mut [u8; KEY_LEN],
) -> Result<(), KeysError> {
    let bytes = read.ok_or_else(|| KeysError::UnsealMissing {
        path: path.to_owned(),
    })?;
    let key: &[u8; KEY_LEN] = bytes.as_slice().try_into().map_err(|_| KeysError::UnsealLength {
        path: path.to_owned(),
        len: bytes.len(),
    })?;
    *into = *key;
    Ok(())
}

/// The unseal key is never used as a cipher key itself (RFC 5869).
fn wrapping_key(material: &[u8; KEY_LEN]) -> Result<Cipher, KeysError> {
    let mut key = Zeroizing::new([0; KEY_LEN]);
    hkdf::Salt::new(hkdf::HKDF_SHA256, b"bailiwick root key 1")
        .extract(material)
        .expand(&[b"wrap"], hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(key.as_mut_slice()))
        .map_err(|_| KeysError::Generate)?;
    Cipher::new(&key).map_err(|_| KeysError::Generate)
}
