//! A disk under a machine that stops in the middle of its work.

use std::ffi::OsString;
use std::fs::TryLockError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bailiwick_journal::{Disk, DiskFile, Open};

use super::memory::{MemoryDisk, SECTOR};

/// No call is chosen.
const NEVER: u64 = u64::MAX;

/// A disk in memory whose user stops at a chosen call: a write there leaves the first half of its sectors, and no
/// later call does anything. What the user believes afterwards is of no interest; look at the [`MemoryDisk`].
#[derive(Debug, Clone)]
pub struct FusedDisk {
    memory: MemoryDisk,
    /// Calls that are still made.
    left: Arc<AtomicU64>,
    /// Files whose data is never flushed, once they were made: those whose path contains one of these.
    unflushed: &'static [&'static str],
}

impl FusedDisk {
    /// Over `memory`; nothing stops.
    #[must_use]
    pub fn over(memory: &MemoryDisk) -> Self {
        Self {
            memory: memory.clone(),
            left: Arc::new(AtomicU64::new(NEVER)),
            unflushed: &[],
        }
    }

    /// The same with a defect: what is written into a file whose path contains one of `parts` is never flushed. The file
    /// itself is, as it was made: without that it is not lost entries that are found, but a file that is no log.
    #[must_use]
    pub fn without_flushes(self, parts: &'static [&'static str]) -> Self {
        Self {
            unflushed: parts,
            ..self
        }
    }

    /// So many calls are still made.
    pub fn stop_after(&self, calls: u64) {
        self.left.store(calls.min(NEVER - 1), Ordering::Relaxed);
    }

    /// Whether the chosen call was reached.
    #[must_use]
    pub fn has_stopped(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }

    /// Counts a call. The one that finds nothing left is not made.
    fn pass(&self) -> io::Result<()> {
        let counted = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| match left {
                NEVER => Some(NEVER),
                left => left.checked_sub(1),
            });
        match counted {
            // The last one that is left is the one at which the user stops.
            Ok(1) | Err(_) => Err(io::Error::from_raw_os_error(5)),
            Ok(_) => Ok(()),
        }
    }

    fn is_flushed(&self, path: &Path) -> bool {
        let path = path.to_string_lossy();
        !self.unflushed.iter().any(|part| path.contains(part))
    }
}

impl Disk for FusedDisk {
    fn create_folders(&self, path: &Path) -> io::Result<()> {
        self.pass()?;
        self.memory.create_folders(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.pass()?;
        self.memory.exists(path)
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        self.pass()?;
        self.memory.names(folder)
    }

    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        self.pass()?;
        Ok(Box::new(FusedFile {
            inner: self.memory.open(path, how)?,
            disk: self.clone(),
            path: path.to_owned(),
        }))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.pass()?;
        self.memory.remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.pass()?;
        self.memory.remove_folder(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.pass()?;
        self.memory.rename(from, to)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.pass()?;
        self.memory.sync_folder(path)
    }
}

#[derive(Debug)]
struct FusedFile {
    inner: Box<dyn DiskFile>,
    disk: FusedDisk,
    path: PathBuf,
}

impl DiskFile for FusedFile {
    fn length(&self) -> io::Result<u64> {
        self.disk.pass()?;
        self.inner.length()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.disk.pass()?;
        self.inner.read_at(buffer, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.pass()?;
        if self.disk.is_flushed(&self.path) {
            self.inner.sync_data()?;
        }
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.disk.pass()?;
        self.inner.sync_all()
    }

    fn try_lock(&self) -> Result<(), TryLockError> {
        self.disk.pass().map_err(TryLockError::Error)?;
        self.inner.try_lock()
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let had_stopped = self.disk.has_stopped();
        let passed = self.disk.pass();
        if passed.is_err() && !had_stopped {
            let half = bytes.len() / 2;
            let whole = bytes.get(..half - half % SECTOR).unwrap_or_default();
            self.inner.write_at(whole, offset)?;
        }
        passed?;
        self.inner.write_at(bytes, offset)
    }
}
