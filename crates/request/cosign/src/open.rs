//! A witness on this machine's disk.

use std::path::Path;
use std::sync::Arc;

use bailiwick_audit::note::{NoteError, NoteVerifier};
use bailiwick_base::{Clock, Entropy};
use bailiwick_journal::OsDisk;
use bailiwick_witness::cosigner::{Cosigner, CosignerDeps, CosignerError};

/// A witness cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its folder or its key.
    #[error(transparent)]
    Cosigner(#[from] CosignerError),
    /// The key of a log.
    #[error("the key of a log")]
    Log(#[from] NoteError),
}

/// Opens the witness `name` in `folder` for the logs of these verifier keys.
///
/// # Errors
/// [`OpenError`].
pub fn open(
    name: &str,
    folder: &Path,
    logs: &[String],
    clock: Arc<dyn Clock>,
    entropy: &dyn Entropy,
) -> Result<Arc<Cosigner>, OpenError> {
    let logs = logs
        .iter()
        .map(|vkey| NoteVerifier::parse(vkey))
        .collect::<Result<_, _>>()?;
    let deps = CosignerDeps {
        clock,
        disk: Arc::new(OsDisk),
        entropy,
    };
    Ok(Arc::new(Cosigner::open(name, folder, logs, deps)?))
}
