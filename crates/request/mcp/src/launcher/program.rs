//! What may be started.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Component, Path};

use bailiwick_base::limits::shown;
use bailiwick_base::{Digest, Sha256};
use rustix::fs::{CWD, Mode, OFlags};
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
    /// An argument names a file that nobody vouched for.
    #[error("argument `{0}` names a file without a digest: add `--digest {0}`")]
    ArgumentNoDigest(String),
    /// Another digest than the given one.
    #[error(
        "file `{0}` has another SHA-256 than was given for it: compare `sha256sum {0}`, and give the digest of the file you mean"
    )]
    Changed(String),
    /// Not 64 hexadecimal digits.
    #[error("digest of `{0}` is not 64 hexadecimal digits")]
    Digest(String),
    /// The path leads over a symbolic link, which could be turned elsewhere.
    #[error("path `{0}` leads over a symbolic link: name the file itself, `{1}`")]
    Link(String, String),
    /// The program has no digest.
    #[error("program `{0}` has no digest: add `--digest {0}`")]
    NoDigest(String),
    /// Not an absolute, plain path.
    #[error("path `{0}` is not absolute and plain: no `.`, `..`, `//` or control characters")]
    Path(String),
    /// A text that an interpreter would read again after it was verified.
    #[error(
        "program `{0}` is a script: give its interpreter as the program and the script as an argument with a digest"
    )]
    Script(String),
    /// The file cannot be read.
    #[error("file `{0}` cannot be read: {1}")]
    Unreadable(String, String),
    /// Others may write the file, or it is no regular file.
    #[error("file `{0}` is not a regular file that only its owner may write")]
    Writable(String),
    /// Others may put another file into its place.
    #[error(
        "folder `{0}` lets others replace what is in it: only root and the user of this service may write it"
    )]
    WritableFolder(String),
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

    /// Checks the form, then that every argument that names a file has a digest. For the moment a program is
    /// added: a file that a program makes later (a data base, a log) cannot have one. Blocks.
    ///
    /// # Errors
    /// [`ProgramError`] naming the argument.
    pub fn require_files_named(&self) -> Result<(), ProgramError> {
        self.require_form()?;
        let named = |arg: &&String| {
            // `--config=/etc/x.json` names a file as well; programs are started in `/`.
            let parts = std::iter::once(arg.as_str()).chain(arg.split_once('=').map(|(_, value)| value));
            parts
                .filter(|part| !part.is_empty() && !self.digests.iter().any(|(file, _)| file == part))
                .any(|part| Path::new("/").join(part).is_file())
        };
        match self.args.iter().find(named) {
            Some(arg) => Err(ProgramError::ArgumentNoDigest(shown(arg))),
            None => Ok(()),
        }
    }

    /// Checks the form, then opens every named file and compares its digest. Gives the program as it was opened
    /// and digested: whoever starts that descriptor starts no other file. Blocks.
    ///
    /// # Errors
    /// [`ProgramError`] naming the file.
    pub fn open_verified(&self) -> Result<File, ProgramError> {
        self.require_form()?;
        let mut program = None;
        for (path, digest) in &self.digests {
            let wanted = Digest::from_hex(digest).ok_or_else(|| ProgramError::Digest(shown(path)))?;
            let mut file = open(path)?;
            if digest_of(path, &mut file)? != wanted {
                return Err(ProgramError::Changed(shown(path)));
            }
            if *path == self.path {
                program = Some(file);
            }
        }
        let program = program.ok_or_else(|| ProgramError::NoDigest(shown(&self.path)))?;
        let mut start = [0; 2];
        let script = program.read_exact_at(&mut start, 0).is_ok() && start == *b"#!";
        if script {
            return Err(ProgramError::Script(shown(&self.path)));
        }
        Ok(program)
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

/// Opens a file folder by folder, over no symbolic link and through no folder in which others may replace things.
fn open(path: &str) -> Result<File, ProgramError> {
    let unreadable = |e: rustix::io::Errno| {
        ProgramError::Unreadable(shown(path), std::io::Error::from(e).kind().to_string())
    };
    let linked = |e: rustix::io::Errno| match std::fs::canonicalize(path) {
        Ok(target) if target != Path::new(path) => {
            ProgramError::Link(shown(path), shown(&target.display().to_string()))
        }
        _ => unreadable(e),
    };
    let folder_flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut folder: OwnedFd =
        rustix::fs::openat(CWD, "/", folder_flags, Mode::empty()).map_err(unreadable)?;
    let mut place = String::from("/");
    let (parents, name) = path
        .trim_start_matches('/')
        .rsplit_once('/')
        .unwrap_or(("", path));
    for part in parents.split('/').filter(|part| !part.is_empty()) {
        require_safe_folder(&place, &rustix::fs::fstat(&folder).map_err(unreadable)?)?;
        folder = rustix::fs::openat(&folder, part, folder_flags, Mode::empty()).map_err(linked)?;
        place.push_str(part);
        place.push('/');
    }
    require_safe_folder(&place, &rustix::fs::fstat(&folder).map_err(unreadable)?)?;
    // Not blocking, so that a pipe in place of the file does not hold the launcher.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let name = name.trim_start_matches('/');
    let file = rustix::fs::openat(&folder, name, flags, Mode::empty()).map_err(linked)?;
    let file = File::from(file);
    let about = file
        .metadata()
        .map_err(|e| ProgramError::Unreadable(shown(path), e.kind().to_string()))?;
    require_safe(path, &about)?;
    Ok(file)
}

fn digest_of(path: &str, file: &mut File) -> Result<Digest, ProgramError> {
    let unreadable = |e: std::io::Error| ProgramError::Unreadable(shown(path), e.kind().to_string());
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
    if !file.is_file() || others_write(mode, file.uid(), file.gid()) {
        return Err(ProgramError::Writable(shown(path)));
    }
    Ok(())
}

/// In a folder with the sticky bit others may put things beside, not in place of, those of somebody else.
fn require_safe_folder(place: &str, folder: &rustix::fs::Stat) -> Result<(), ProgramError> {
    const STICKY: u32 = 0o1000;
    let mode = folder.st_mode
        & if folder.st_mode & STICKY == 0 {
            0o777
        } else {
            0o700
        };
    if others_write(mode, folder.st_uid, folder.st_gid) {
        return Err(ProgramError::WritableFolder(shown(place)));
    }
    Ok(())
}

/// Whether somebody besides root and this process's own user may write what has this mode and owner.
fn others_write(mode: u32, owner: u32, group: u32) -> bool {
    let foreign = owner != 0 && owner != rustix::process::geteuid().as_raw();
    foreign || mode & 0o002 != 0 || (mode & 0o020 != 0 && group != 0)
}
