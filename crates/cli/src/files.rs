//! Reading what a person names and writing what only they may read.

use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::output::Failure;

/// A file's bytes, or standard input for `-`.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    if path.as_os_str() == "-" {
        let mut bytes = Vec::new();
        std::io::stdin()
            .lock()
            .read_to_end(&mut bytes)
            .map_err(|error| Failure::io("read", path, &error))?;
        return Ok(bytes);
    }
    std::fs::read(path).map_err(|error| Failure::io("read", path, &error))
}

/// The same as text.
pub(crate) fn read_text(path: &Path) -> Result<String, Failure> {
    String::from_utf8(read(path)?)
        .map_err(|_| Failure::usage(format!("`{}` is not UTF-8 text", path.display())))
}

/// A file that did not exist, readable by its owner only. It is taken before the command that fills it, so that
/// nothing is issued that cannot be written; unless it is filled it goes away again.
pub(crate) struct NewFile {
    path: PathBuf,
    file: std::fs::File,
    filled: bool,
}

impl NewFile {
    pub(crate) fn take(path: &Path) -> Result<Self, Failure> {
        make_folder(path)?;
        let opened = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path);
        match opened {
            Ok(file) => Ok(Self {
                path: path.to_owned(),
                file,
                filled: false,
            }),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(exists(path)),
            Err(error) => Err(Failure::io("write", path, &error)),
        }
    }

    pub(crate) fn fill(mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.file
            .write_all(bytes)
            .and_then(|()| self.file.sync_all())
            .map_err(|error| Failure::io("write", &self.path, &error))?;
        self.filled = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.filled {
            // It is empty and ours; that it stays is told by the next command that wants the name.
            let _gone = std::fs::remove_file(&self.path);
        }
    }
}

fn exists(path: &Path) -> Failure {
    Failure::new(
        crate::output::exit::USAGE,
        "cli.file-exists",
        format!("`{}` exists and is not overwritten", path.display()),
    )
    .hint("give another name, or --replace where the command has it, or remove the file if nothing needs it any more")
}

fn make_folder(path: &Path) -> Result<(), Failure> {
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        std::fs::create_dir_all(parent).map_err(|error| Failure::io("make", parent, &error))?;
    }
    Ok(())
}

/// Replaces a file that only its owner may read, whole or not at all.
pub(crate) fn replace_private(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::io("write", path, &error);
    make_folder(path)?;
    let mut staged = path.as_os_str().to_owned();
    staged.push(".new");
    let staged = PathBuf::from(staged);
    // What an interrupted run left behind may be readable by others.
    if staged.exists() {
        std::fs::remove_file(&staged).map_err(failed)?;
    }
    NewFile::take(&staged)?.fill(bytes)?;
    std::fs::rename(&staged, path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::{NewFile, replace_private};

    #[test]
    fn a_file_that_exists_is_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        std::fs::write(&path, "precious").unwrap();
        let refused = NewFile::take(&path).err().unwrap();
        assert_eq!(refused.code, "cli.file-exists");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn a_file_that_is_not_filled_does_not_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/token");
        drop(NewFile::take(&path).unwrap());
        assert!(!path.exists());
        NewFile::take(&path).unwrap().fill(b"token").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "token");
    }

    #[test]
    fn a_replaced_file_is_whole_and_private() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "old").unwrap();
        replace_private(&path, b"new").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
}
