//! `[witness]`

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use bailiwick_base::Epoch;
use bailiwick_journal::Disk;
use serde::{Deserialize, Serialize};

use crate::error::{Refused, WitnessError};
use crate::word::Word;

/// What the default file is called beside the data folder.
const ENDING: &str = ".witness";

/// A witness of others that is asked for cosignatures (C2SP tlog-witness), one of `witness.cosigners`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CosignerPlace {
    /// Its URL, before `/add-checkpoint`.
    pub url: String,
    /// Its key, as `name+hash+base64`.
    pub vkey: String,
    /// Address ranges beyond the public ones where it may be.
    #[serde(default)]
    pub allow_addresses: Vec<String>,
    /// Over plain HTTP: nothing secret is sent, and an answer has to verify.
    #[serde(default)]
    pub danger_plaintext: bool,
}

/// `[witness]`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WitnessConfig {
    /// File outside the data folder that keeps epoch and checkpoints; the data folder's name with `.witness` when absent. Put it on another disk.
    pub file: Option<PathBuf>,
    /// Witnesses that are asked to cosign the checkpoints of both logs: tables with `url`, `vkey`, and where needed `allow_addresses` and `danger_plaintext` (at most 16).
    pub cosigners: Vec<CosignerPlace>,
    /// There is none: the data is in a temporary folder that nobody restores.
    #[serde(skip)]
    exempt: bool,
    /// Why an operator goes on although the witness refuses.
    #[serde(skip)]
    accepted: Option<String>,
}

impl WitnessConfig {
    /// Without a witness, for data that ends with the process.
    #[must_use]
    pub fn exempt() -> Self {
        Self {
            exempt: true,
            ..Self::default()
        }
    }

    /// The same with an operator's acceptance of what the witness refuses, and why.
    #[must_use]
    pub fn accepting(mut self, reason: String) -> Self {
        self.accepted = Some(reason);
        self
    }

    /// Why an operator goes on, if one does.
    #[must_use]
    pub fn accepted(&self) -> Option<&str> {
        self.accepted.as_deref()
    }

    /// The file; none for an installation without a witness.
    ///
    /// # Errors
    /// [`Refused::Inside`].
    pub fn place(&self, data: &Path) -> Result<Option<PathBuf>, WitnessError> {
        if self.exempt {
            return Ok(None);
        }
        let path = self.file.clone().unwrap_or_else(|| beside(data));
        // By what the names lead to, so that a link does not hide it.
        let folder = path.parent().filter(|above| !above.as_os_str().is_empty());
        let folder = whole(folder.unwrap_or(Path::new(".")));
        if folder.starts_with(whole(data)) {
            let data = data.to_owned();
            return Err(Refused::Inside { path, data }.into());
        }
        Ok(Some(path))
    }
}

/// Makes the witness of a node that joins an installation: it has seen nothing of logs that this node will keep. The
/// epoch of one that is there already, from when the node was here before, stays. Blocks on the disk.
///
/// # Errors
/// [`Refused::Inside`], [`Refused::Unreadable`], [`Refused::Damaged`], [`Refused::Unwritable`].
pub fn begin_joined(config: &WitnessConfig, data: &Path, disk: &dyn Disk) -> Result<(), WitnessError> {
    let Some(path) = config.place(data)? else {
        return Ok(());
    };
    let before = Word::read(disk, &path)?;
    let word = Word {
        epoch: before.map_or(Epoch(0), |word| word.epoch),
        checkpoints: Vec::new(),
    };
    Ok(word.write(disk, &path)?)
}

/// The path without links, as far as it is there.
fn whole(path: &Path) -> PathBuf {
    std::fs::canonicalize(path)
        .or_else(|_| std::path::absolute(path))
        .unwrap_or_else(|_| path.to_owned())
}

fn beside(data: &Path) -> PathBuf {
    let data = match data.file_name() {
        Some(_) => data.to_owned(),
        // `.` and `/` have no name.
        None => whole(data),
    };
    let mut name = data
        .file_name()
        .map_or_else(|| OsString::from("bailiwick"), OsString::from);
    name.push(ENDING);
    data.with_file_name(name)
}
