//! What may be started.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Component, Path};

use bailiwick_base::limits::shown;
use bailiwick_base::{Digest, Sha256};
use serde::{Deserialize, Serialize};

/// A program with its arguments, and the digests that must hold before it is started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Absolute path; never looked up, never given to a shell.
    pub path: String,
    /// Arguments, each passed as it is.
    pub args: Vec<String>,
    /// Files and the SHA-256 (64 hexadecimal digits) each must have; the program itself is among them.
    pub digests: Vec<(String, String)>,
}

/// Why a program is not started.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProgramError {
    /// An argument that no program can be given.
    #[error("argument {0} has a NUL character or is longer than 4096 bytes")]
    Argument(usize),
    /// Another digest than the given one.
    #[error("file `{0}` changed: its SHA-256 is not the one it was added with")]
    Changed(String),
    /// Not 64 hexadecimal digits.
    #[error("digest of `{0}` is not 64 hexadecimal digits")]
    Digest(String),
    /// The program has no digest.
    #[error("program `{0}` has no digest: add it with `--digest FILE=SHA256`")]
    NoDigest(String),
    /// Not an absolute, plain path.
    #[error("path `{0}` is not absolute and plain: no `.`, `..`, `//` or control characters")]
    Path(String),
    /// The file cannot be read.
    #[error("file `{0}` cannot be read: {1}")]
    Unreadable(String, String),
    /// Others may write the file, or it is no regular file.
    #[error("file `{0}` is not a regular file that only its owner may write")]
    Writable(String),
}

impl Program {
    /// Checks the form: what can be judged without the file system.
    ///
    /// # Errors
    /// [`ProgramError`] naming the part.
    pub fn require_form(&self) -> Result<(), ProgramError> {
        require_plain(&self.path)?;
        for (at, arg) in self.args.iter().enumerate() {
            if arg.contains('\0') || arg.len() > 4_096 {
                return Err(ProgramError::Argument(at));
            }
        }
        for (file, digest) in &self.digests {
            require_plain(file)?;
            Digest::from_hex(digest).ok_or_else(|| ProgramError::Digest(shown(file)))?;
        }
        if !self.digests.iter().any(|(file, _)| *file == self.path) {
            return Err(ProgramError::NoDigest(shown(&self.path)));
        }
        Ok(())
    }

    /// Checks the form, then reads every named file and compares its digest. Blocks.
    ///
    /// # Errors
    /// [`ProgramError`] naming the file.
    pub fn require_digests(&self) -> Result<(), ProgramError> {
        self.require_form()?;
        for (file, digest) in &self.digests {
            let wanted = Digest::from_hex(digest).ok_or_else(|| ProgramError::Digest(shown(file)))?;
            if digest_of_file(file)? != wanted {
                return Err(ProgramError::Changed(shown(file)));
            }
        }
        Ok(())
    }
}

fn require_plain(path: &str) -> Result<(), ProgramError> {
    let plain = path.starts_with('/')
        && path.len() <= 4_096
        && !path.ends_with('/')
        && !path.contains("//")
        && !path.chars().any(char::is_control)
        && !path.split('/').any(|s| s == "." || s == "..")
        && Path::new(path)
            .components()
            .all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
    if plain {
        Ok(())
    } else {
        Err(ProgramError::Path(shown(path)))
    }
}

fn digest_of_file(path: &str) -> Result<Digest, ProgramError> {
    let unreadable = |e: std::io::Error| ProgramError::Unreadable(shown(path), e.kind().to_string());
    let mut file = File::open(path).map_err(unreadable)?;
    require_safe(path, &file.metadata().map_err(unreadable)?)?;
    let mut sha = Sha256::new();
    let mut buffer = vec![0_u8; 256 * 1024];
    loop {
        let count = file.read(&mut buffer).map_err(unreadable)?;
        if count == 0 {
            return Ok(sha.finish());
        }
        sha.update(buffer.get(..count).unwrap_or_default());
    }
}

fn require_safe(path: &str, file: &Metadata) -> Result<(), ProgramError> {
    let mode = file.permissions().mode();
    let group_writes = mode & 0o020 != 0 && file.gid() != 0;
    if !file.is_file() || mode & 0o002 != 0 || group_writes {
        return Err(ProgramError::Writable(shown(path)));
    }
    Ok(())
}
