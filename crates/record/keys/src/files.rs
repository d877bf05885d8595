//! Files that hold secrets: 0600 in a 0700 folder, written whole or not at all.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::error::KeysError;

/// Bytes of a key file before anything is parsed.
const FILE_MAX: u64 = 1024 * 1024;
/// Permission bits of the group and of everybody.
const OTHERS: u32 = 0o077;
/// Permission bit of the group that reads.
const GROUP_READS: u32 = 0o040;

pub(crate) fn failed<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> KeysError + 'a {
    move |source| KeysError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

/// Makes the folder for its owner alone, or refuses one that others may enter.
pub(crate) fn ensure_folder(path: &Path) -> Result<(), KeysError> {
    match DirBuilder::new().recursive(true).mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed("make folder", path)(error)),
    }
    let mode = fs::metadata(path)
        .map_err(failed("read", path))?
        .permissions()
        .mode()
        & 0o7777;
    if mode & OTHERS != 0 {
        return Err(KeysError::FolderOpen {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(())
}

/// Reads a secret file; `None` when it is not there. A pipe (a descriptor passed by the starter as
/// `/dev/fd/N`) has no permission bits that mean anything; a file with bits for others is refused.
pub(crate) fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, KeysError> {
    read_unless(OTHERS, path)
}

/// The same for a file that its group may read, and nobody else.
pub(crate) fn read_shared(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, KeysError> {
    read_unless(OTHERS & !GROUP_READS, path)
}

fn read_unless(refused: u32, path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, KeysError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("open", path)(error)),
    };
    let about = file.metadata().map_err(failed("read", path))?;
    let mode = about.permissions().mode() & 0o7777;
    if !about.file_type().is_fifo() && mode & refused != 0 {
        return Err(KeysError::Readable {
            path: path.to_owned(),
            mode,
        });
    }
    // One allocation of the right size: growing would leave copies behind.
    let capacity = usize::try_from(about.len().min(FILE_MAX)).unwrap_or(0).max(64);
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    file.take(FILE_MAX)
        .read_to_end(&mut bytes)
        .map_err(failed("read", path))?;
    Ok(Some(bytes))
}

/// The folder a file is in; the present one for a bare name.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Writes a file that appears under its name only when it is whole and flushed.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), KeysError> {
    let folder = folder_of(path);
    let name = path.file_name().unwrap_or_default();
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".new");
    let new = folder.join(hidden);
    match fs::remove_file(&new) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed("remove the remains of", &new)(error)),
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)
        .map_err(failed("make", &new))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(failed("write", &new))?;
    fs::rename(&new, path).map_err(failed("rename to", path))?;
    flush_folder(folder)
}

/// Removes a file and makes that durable. Its bytes are overwritten first; on a copy-on-write file system that
/// is no promise, which is why the keys in it are sealed as well.
pub(crate) fn remove(path: &Path) -> Result<(), KeysError> {
    match OpenOptions::new().write(true).open(path) {
        Ok(mut file) => {
            let len = file.metadata().map_err(failed("read", path))?.len();
            let zeros = vec![0; usize::try_from(len.min(FILE_MAX)).unwrap_or(0)];
            file.write_all(&zeros)
                .and_then(|()| file.sync_all())
                .map_err(failed("overwrite", path))?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("open", path)(error)),
    }
    fs::remove_file(path).map_err(failed("remove", path))?;
    flush_folder(folder_of(path))
}

fn flush_folder(folder: &Path) -> Result<(), KeysError> {
    File::open(folder)
        .and_then(|f| f.sync_all())
        .map_err(failed("flush folder", folder))
}

/// What others than the owner may enter, read or write of a keyring's folder, in order; nothing where there is none.
#[must_use]
pub fn open_to_others(folder: &Path) -> Vec<PathBuf> {
    let mut open = Vec::new();
    let mut places = vec![folder.to_owned()];
    while let Some(place) = places.pop() {
        let Ok(about) = fs::metadata(&place) else {
            continue;
        };
        if about.is_dir() && !place.is_symlink() {
            let inside = fs::read_dir(&place).into_iter().flatten();
            places.extend(inside.filter_map(|entry| Some(entry.ok()?.path())));
        }
        if about.permissions().mode() & OTHERS != 0 {
            open.push(place);
        }
    }
    open.sort();
    open
}

/// Whether the folder has anything in it.
pub(crate) fn holds_any(folder: &Path) -> Result<bool, KeysError> {
    let mut entries = std::fs::read_dir(folder).map_err(failed("list", folder))?;
    Ok(entries.next().is_some())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::folder_of;

    #[test]
    fn a_bare_name_is_in_the_present_folder() {
        assert_eq!(folder_of(Path::new("unseal.key")), Path::new("."));
        assert_eq!(folder_of(Path::new("a/unseal.key")), Path::new("a"));
        assert_eq!(folder_of(Path::new("/unseal.key")), Path::new("/"));
    }
}
