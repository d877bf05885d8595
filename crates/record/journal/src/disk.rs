//! What the journal asks of a disk, so that a test can stand between it and the real one: every operation that
//! a disk can refuse goes through here.

use std::ffi::OsString;
use std::fmt::Debug;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is opened, and whether it may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// A new, empty file in place of whatever has the name; readable and writable, mode 0600.
    Empty,
    /// What is there, else an empty file; writable.
    Keep,
    /// What is there, for reading.
    Read,
    /// What is there, for reading and writing.
    Write,
}

/// Files and folders by path. The methods are those of `std::fs`; a folder is made durable by
/// [`Disk::sync_folder`].
pub trait Disk: Debug + Send + Sync {
    /// Makes a folder and those above it.
    ///
    /// # Errors
    /// What the disk says.
    fn create_folders(&self, path: &Path) -> io::Result<()>;

    /// Whether something has this name.
    ///
    /// # Errors
    /// What the disk says.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Names in a folder, in no order.
    ///
    /// # Errors
    /// What the disk says.
    fn names(&self, folder: &Path) -> io::Result<Vec<OsString>>;

    /// Opens a file.
    ///
    /// # Errors
    /// What the disk says.
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the disk says.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes a folder with everything in it.
    ///
    /// # Errors
    /// What the disk says.
    fn remove_folder(&self, path: &Path) -> io::Result<()>;

    /// Gives a file another name, in place of what has it.
    ///
    /// # Errors
    /// What the disk says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// What the disk says.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
}

/// An open file.
pub trait DiskFile: Debug + Send + Sync {
    /// Length in bytes.
    ///
    /// # Errors
    /// What the disk says.
    fn length(&self) -> io::Result<u64>;

    /// Reads into `buffer` at `offset` and returns how many bytes; 0 only at the end of the file.
    ///
    /// # Errors
    /// What the disk says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Makes the content durable.
    ///
    /// # Errors
    /// What the disk says; afterwards nobody knows what is durable.
    fn sync_data(&self) -> io::Result<()>;

    /// Makes the content and what is known about the file durable.
    ///
    /// # Errors
    /// As [`DiskFile::sync_data`].
    fn sync_all(&self) -> io::Result<()>;

    /// Takes the file for this process until it is closed.
    ///
    /// # Errors
    /// [`TryLockError::WouldBlock`] when another one has it.
    fn try_lock(&self) -> Result<(), TryLockError>;

    /// Writes at `offset` and returns how many bytes, which may be fewer than asked for.
    ///
    /// # Errors
    /// What the disk says.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
}

impl dyn DiskFile + '_ {
    /// Writes all of `bytes` at `offset`, in as many writes as the disk wants.
    ///
    /// # Errors
    /// What the disk says; a part may be written.
    pub(crate) fn write_all_at(&self, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write_at(bytes, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    bytes = bytes.get(written..).unwrap_or_default();
                    offset += written as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The whole content.
    fn read_all(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.length()?).unwrap_or(usize::MAX)];
        let mut have = 0;
        while let Some(rest) = bytes.get_mut(have..).filter(|rest| !rest.is_empty()) {
            match self.read_at(rest, have as u64) {
                Ok(0) => break,
                Ok(read) => have += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(have);
        Ok(bytes)
    }
}

impl dyn Disk + '_ {
    /// What a file holds.
    ///
    /// # Errors
    /// What the disk says.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.open(path, Open::Read)?.read_all()
    }

    /// Puts a file with these bytes in place of what has the name. Whoever reads sees all of the old one or all of
    /// this one, which is durable when this returns.
    ///
    /// # Errors
    /// What the disk says; a draft may stay behind.
    pub fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut draft = path.as_os_str().to_owned();
        draft.push(".new");
        let draft = PathBuf::from(draft);
        let file = self.open(&draft, Open::Empty)?;
        file.write_all_at(bytes, 0)?;
        file.sync_all()?;
        self.rename(&draft, path)?;
        let above = path.parent().filter(|above| !above.as_os_str().is_empty());
        self.sync_folder(above.unwrap_or(Path::new(".")))
    }
}

/// The disk of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsDisk;

impl Disk for OsDisk {
    fn create_folders(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        fs::read_dir(folder)?
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect()
    }

    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        match how {
            Open::Empty => options
                .read(true)
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600),
            Open::Keep => options.write(true).create(true).truncate(false),
            Open::Read => options.read(true),
            Open::Write => options.read(true).write(true),
        };
        Ok(Box::new(OsFile(options.open(path)?)))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }
}

#[derive(Debug)]
struct OsFile(File);

impl DiskFile for OsFile {
    fn length(&self) -> io::Result<u64> {
        self.0.metadata().map(|meta| meta.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn try_lock(&self) -> Result<(), TryLockError> {
        self.0.try_lock()
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(bytes, offset)
    }
}

/// A folder on a disk.
#[derive(Debug, Clone)]
pub(crate) struct Dir {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) path: PathBuf,
}

impl Dir {
    pub(crate) fn new(disk: Arc<dyn Disk>, path: &Path) -> Self {
        Self {
            disk,
            path: path.to_owned(),
        }
    }

    /// On the disk of this machine.
    pub(crate) fn of_machine(path: &Path) -> Self {
        Self::new(Arc::new(OsDisk), path)
    }

    /// Makes this folder, and its name durable. With `first` in it, which is put there behind that, it is both.
    pub(crate) fn make(&self, first: &Path) -> io::Result<()> {
        if self.disk.exists(&self.path.join(first))? {
            return Ok(());
        }
        make(&*self.disk, &self.path)
    }

    /// Length of a file in this folder or below, in bytes.
    pub(crate) fn length(&self, path: &Path) -> io::Result<u64> {
        self.disk.open(path, Open::Read)?.length()
    }

    /// What a file in this folder or below holds.
    pub(crate) fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        read(&*self.disk, path)
    }
}

/// Makes a folder and those above it that are missing, and their names durable. The name of one that is there is
/// made durable too: who made it may have ended before.
fn make(disk: &dyn Disk, folder: &Path) -> io::Result<()> {
    let above = folder.parent().filter(|above| !above.as_os_str().is_empty());
    if let Some(above) = above
        && !disk.exists(above)?
    {
        make(disk, above)?;
    }
    disk.create_folders(folder)?;
    above.map_or(Ok(()), |above| disk.sync_folder(above))
}

/// What a file holds.
pub(crate) fn read(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    disk.read(path)
}
