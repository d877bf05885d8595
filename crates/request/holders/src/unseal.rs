//! The unseal key, sealed by the holder: the data folder alone opens nothing.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use bailiwick_base::{Entropy, Secret};
use bailiwick_keys::{Holder, HolderError};
use zeroize::Zeroizing;

use crate::config::HolderConfigError;

fn at(path: &Path, error: &std::io::Error) -> HolderConfigError {
    HolderConfigError::Key {
        key: "seals",
        rule: format!("`{}`: {}", path.display(), error.kind()),
    }
}

/// The unseal key from `path`, where it lies sealed by `holder`; made when `is_first` and nothing is there.
///
/// # Errors
/// [`HolderConfigError`]; a file that is not there is not made anew when there are keys it should open.
pub(crate) fn by_holder(
    path: &Path,
    is_first: bool,
    holder: &dyn Holder,
    entropy: &dyn Entropy,
) -> Result<Secret<[u8; 32]>, HolderConfigError> {
    let sealed = match std::fs::read(path) {
        Ok(sealed) => sealed,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && is_first => {
            let mut key = Zeroizing::new([0; 32]);
            let none = |_| HolderError::Refused("no randomness".to_owned());
            entropy.fill(key.as_mut_slice()).map_err(none)?;
            let sealed = holder.seal(key.as_slice())?;
            let mut open = OpenOptions::new();
            let written = open
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)
                .and_then(|mut file| file.write_all(&sealed).and_then(|()| file.sync_all()));
            written.map_err(|e| at(path, &e))?;
            sealed
        }
        Err(error) => return Err(at(path, &error)),
    };
    let opened = holder.open(&sealed)?;
    let key: [u8; 32] = opened.as_slice().try_into().map_err(|_| {
        HolderConfigError::from(HolderError::Refused("what it opened is no unseal key".to_owned()))
    })?;
    Ok(Secret::new(key))
}
