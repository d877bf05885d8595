//! A disk in memory whose power can be cut: what was not flushed is there, gone or torn, as chance wants.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::TryLockError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bailiwick_journal::{Disk, DiskFile, Open};

use crate::chance::Chance;

/// What a disk writes as one.
pub(crate) const SECTOR: usize = 512;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    File(usize),
    Folder,
}

/// A file as its readers see it, and as it is without power.
#[derive(Debug, Clone, Default)]
struct Content {
    seen: Vec<u8>,
    flushed: Vec<u8>,
    /// Sectors that may differ between the two, other than those a failed flush left: a flush costs what was
    /// written and not the whole file.
    touched: BTreeSet<usize>,
    /// Sectors that a failed flush has left: the system takes them for flushed, and they are not. Linux does so
    /// (Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020).
    dropped: BTreeSet<usize>,
    is_locked: bool,
}

impl Content {
    fn longer(&self) -> usize {
        self.seen.len().max(self.flushed.len())
    }
}

/// A disk in memory. Clones are the same disk.
///
/// What a flush covers is what POSIX promises and no more: [`DiskFile::sync_data`] and [`DiskFile::sync_all`]
/// the bytes of the file, [`Disk::sync_folder`] the names in that folder and not those above or below it.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Clone, Default)]
struct State {
    files: Vec<Content>,
    names: BTreeMap<PathBuf, Named>,
    flushed_names: BTreeMap<PathBuf, Named>,
}

impl MemoryDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The disk as a process finds it that starts after another one was killed: nothing is lost.
    #[must_use]
    pub fn after_kill(&self) -> Self {
        let mut state = self.lock().clone();
        for file in &mut state.files {
            file.is_locked = false;
        }
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// The disk after a loss of power: of every sector and name that was not flushed, chance says whether it is
    /// there.
    #[must_use]
    pub fn after_power_loss(&self, chance: &mut Chance) -> Self {
        let mut state = self.lock().clone();
        for file in &mut state.files {
            file.is_locked = false;
            file.flushed = survived(file, chance);
            file.seen = file.flushed.clone();
            file.touched.clear();
            file.dropped.clear();
        }
        for (path, named) in &state.names {
            if state.flushed_names.get(path) != Some(named) && chance.once_in(2) {
                state.flushed_names.insert(path.clone(), *named);
            }
        }
        let gone: Vec<PathBuf> = state
            .flushed_names
            .keys()
            .filter(|path| !state.names.contains_key(*path))
            .filter(|_| chance.once_in(2))
            .cloned()
            .collect();
        for path in gone {
            state.flushed_names.remove(&path);
        }
        state.names = reachable(&state.flushed_names);
        state.flushed_names = state.names.clone();
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// A flush of this file has failed.
    pub(crate) fn drop_unflushed(&self, path: &Path) {
        let mut state = self.lock();
        let Ok(file) = state.file(path) else { return };
        if let Some(content) = state.files.get_mut(file) {
            for sector in std::mem::take(&mut content.touched) {
                if sector_of(&content.seen, sector) != sector_of(&content.flushed, sector) {
                    content.dropped.insert(sector);
                }
            }
        }
    }

    /// Every change under the lock leaves a disk that can be read.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The bytes of a sector, fewer at the end of the file.
fn sector_of(bytes: &[u8], sector: usize) -> &[u8] {
    let at = sector.saturating_mul(SECTOR).min(bytes.len());
    let end = at.saturating_add(SECTOR).min(bytes.len());
    bytes.get(at..end).unwrap_or_default()
}

/// Copies as much of `from` as there is room for behind `at`.
fn copy(to: &mut [u8], at: usize, from: &[u8]) {
    let to = to.get_mut(at..).unwrap_or_default();
    let len = to.len().min(from.len());
    if let (Some(to), Some(from)) = (to.get_mut(..len), from.get(..len)) {
        to.copy_from_slice(from);
    }
}

/// What is in a file after a loss of power.
fn survived(file: &Content, chance: &mut Chance) -> Vec<u8> {
    let is_longer = file.seen.len() > file.flushed.len();
    let len = if is_longer && chance.once_in(2) || file.seen.len() < file.flushed.len() && chance.once_in(2) {
        file.seen.len()
    } else {
        file.flushed.len()
    };
    let mut bytes = file.flushed.clone();
    bytes.resize(len, 0);
    for sector in file.touched.union(&file.dropped) {
        let seen = sector_of(&file.seen, *sector);
        if seen != sector_of(&file.flushed, *sector) && chance.once_in(2) {
            copy(&mut bytes, sector * SECTOR, seen);
        }
    }
    bytes
}

/// The names whose folders are there too.
fn reachable(names: &BTreeMap<PathBuf, Named>) -> BTreeMap<PathBuf, Named> {
    let is_there = |path: &Path| {
        path.ancestors()
            .skip(1)
            .take_while(|above| above.parent().is_some())
            .all(|above| names.get(above) == Some(&Named::Folder))
    };
    names
        .iter()
        .filter(|(path, _)| is_there(path))
        .map(|(path, named)| (path.clone(), *named))
        .collect()
}

fn absent() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl State {
    fn require_folder_of(&self, path: &Path) -> io::Result<()> {
        match path.parent() {
            Some(above) if above.parent().is_some() => match self.names.get(above) {
                Some(Named::Folder) => Ok(()),
                Some(Named::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
                None => Err(absent()),
            },
            _ => Ok(()),
        }
    }

    fn file(&self, path: &Path) -> io::Result<usize> {
        match self.names.get(path) {
            Some(Named::File(file)) => Ok(*file),
            Some(Named::Folder) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(absent()),
        }
    }

    fn make(&mut self, path: &Path) -> io::Result<usize> {
        self.require_folder_of(path)?;
        self.files.push(Content::default());
        let file = self.files.len() - 1;
        self.names.insert(path.to_owned(), Named::File(file));
        Ok(file)
    }
}

impl Disk for MemoryDisk {
    fn create_folders(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let folders: Vec<&Path> = path
            .ancestors()
            .filter(|above| above.parent().is_some())
            .collect();
        for folder in folders.into_iter().rev() {
            match state.names.get(folder) {
                Some(Named::Folder) => {}
                Some(Named::File(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
                None => {
                    state.names.insert(folder.to_owned(), Named::Folder);
                }
            }
        }
        Ok(())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.lock().names.contains_key(path))
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        let state = self.lock();
        if state.names.get(folder) != Some(&Named::Folder) {
            return Err(absent());
        }
        let inside = state.names.keys().filter(|path| path.parent() == Some(folder));
        Ok(inside
            .filter_map(|path| path.file_name().map(OsString::from))
            .collect())
    }

    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.lock();
        let file = match (state.file(path), how) {
            (Err(error), Open::Empty | Open::Keep) if error.kind() == io::ErrorKind::NotFound => {
                state.make(path)?
            }
            (found, _) => found?,
        };
        if how == Open::Empty
            && let Some(content) = state.files.get_mut(file)
        {
            content.touched.extend(0..content.longer().div_ceil(SECTOR));
            content.seen.clear();
            content.dropped.clear();
        }
        drop(state);
        Ok(Box::new(MemoryFile {
            disk: self.clone(),
            file,
            has_lock: AtomicBool::new(false),
        }))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.file(path)?;
        state.names.remove(path);
        Ok(())
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        match state.names.get(path) {
            Some(Named::Folder) => state.names.retain(|name, _| !name.starts_with(path)),
            Some(Named::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
            None => return Err(absent()),
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let file = state.file(from)?;
        state.require_folder_of(to)?;
        state.names.remove(from);
        state.names.insert(to.to_owned(), Named::File(file));
        Ok(())
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        if path.parent().is_some() && state.names.get(path) != Some(&Named::Folder) {
            return Err(absent());
        }
        let State {
            names, flushed_names, ..
        } = &mut *state;
        flushed_names.retain(|name, _| name.parent() != Some(path) || names.contains_key(name));
        let inside = names.iter().filter(|(name, _)| name.parent() == Some(path));
        flushed_names.extend(inside.map(|(name, named)| (name.clone(), *named)));
        Ok(())
    }
}

#[derive(Debug)]
struct MemoryFile {
    disk: MemoryDisk,
    file: usize,
    has_lock: AtomicBool,
}

impl MemoryFile {
    fn with<T>(&self, act: impl FnOnce(&mut Content) -> T) -> io::Result<T> {
        self.disk
            .lock()
            .files
            .get_mut(self.file)
            .map(act)
            .ok_or_else(absent)
    }
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        if self.has_lock.load(Ordering::Relaxed) {
            // A file is never taken out of the list.
            let _there = self.with(|content| content.is_locked = false);
        }
    }
}

impl DiskFile for MemoryFile {
    fn length(&self) -> io::Result<u64> {
        self.with(|content| content.seen.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        self.with(|content| {
            let rest = content.seen.get(offset..).unwrap_or_default();
            let len = rest.len().min(buffer.len());
            copy(buffer, 0, rest);
            len
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(|content| {
            content.flushed.resize(content.seen.len(), 0);
            for sector in std::mem::take(&mut content.touched) {
                if !content.dropped.contains(&sector) {
                    let seen = sector_of(&content.seen, sector);
                    copy(&mut content.flushed, sector * SECTOR, seen);
                }
            }
        })
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn try_lock(&self) -> Result<(), TryLockError> {
        let was_locked = self
            .with(|content| std::mem::replace(&mut content.is_locked, true))
            .map_err(TryLockError::Error)?;
        if was_locked && !self.has_lock.load(Ordering::Relaxed) {
            return Err(TryLockError::WouldBlock);
        }
        self.has_lock.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let offset = usize::try_from(offset).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        self.with(|content| {
            let end = offset + bytes.len();
            // A gap behind the old end becomes zeros.
            let begin = offset.min(content.seen.len());
            if content.seen.len() < end {
                content.seen.resize(end, 0);
            }
            copy(&mut content.seen, offset, bytes);
            content.touched.extend(begin / SECTOR..end.div_ceil(SECTOR));
            for sector in offset / SECTOR..end.div_ceil(SECTOR) {
                content.dropped.remove(&sector);
            }
            bytes.len()
        })
    }
}
