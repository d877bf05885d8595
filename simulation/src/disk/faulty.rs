//! A disk that fails at one chosen call.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::TryLockError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bailiwick_journal::{Disk, DiskFile, Open};

use super::memory::{MemoryDisk, SECTOR};

/// What a disk is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is the method of its name")]
pub enum Verb {
    CreateFolders,
    Exists,
    Len,
    Lock,
    Names,
    OpenEmpty,
    OpenKeep,
    OpenRead,
    OpenWrite,
    Read,
    RemoveFile,
    RemoveFolder,
    Rename,
    SyncAll,
    SyncData,
    SyncFolder,
    Write,
}

/// One call, by what is asked of which file and the how manyth time: the same in every run of the same work,
/// whichever threads do it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Step {
    /// The file or folder; of a renaming the new name.
    pub path: PathBuf,
    /// What is asked.
    pub verb: Verb,
    /// From 0.
    pub nth: u64,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {} of {}", self.verb, self.nth, self.path.display())
    }
}

/// How a call goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// An I/O error, once; a write leaves the first half of its sectors.
    Eio,
    /// The disk is full from here on: whatever needs new space fails, what is there can be written over.
    Full,
    /// An I/O error here and at every call after it.
    Gone,
    /// Fewer bytes than asked for, no error.
    Short,
    /// Late, otherwise right.
    Slow,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Eio, Self::Full, Self::Gone, Self::Short, Self::Slow];

    /// Whether a call can go wrong in this way.
    #[must_use]
    pub fn fits(self, verb: Verb) -> bool {
        match self {
            Self::Eio | Self::Gone | Self::Slow => true,
            Self::Full => needs_space(verb),
            Self::Short => matches!(verb, Verb::Read | Verb::Write),
        }
    }
}

fn needs_space(verb: Verb) -> bool {
    matches!(
        verb,
        Verb::CreateFolders | Verb::OpenEmpty | Verb::OpenKeep | Verb::Rename | Verb::Write
    )
}

/// How late a slow call is.
const LATE: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
struct Plan {
    armed: Option<(Step, Fault)>,
    seen: BTreeMap<(PathBuf, Verb), u64>,
    steps: Vec<Step>,
    /// What goes on after the chosen call.
    lasting: Option<Fault>,
    has_fired: bool,
}

#[derive(Debug, Default)]
struct Shared {
    plan: Mutex<Plan>,
    never: Condvar,
}

impl Shared {
    /// Every change under the lock is one assignment.
    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What happens at this call. `grows` says of a write that it needs space.
    fn meet(&self, path: &Path, verb: Verb, grows: bool) -> Option<Fault> {
        let mut plan = self.plan();
        let count = plan.seen.entry((path.to_owned(), verb)).or_default();
        let nth = *count;
        *count += 1;
        let path = path.to_owned();
        let step = Step { path, verb, nth };
        let chosen = plan
            .armed
            .as_ref()
            .filter(|(at, _)| *at == step)
            .map(|(_, fault)| *fault);
        plan.steps.push(step);
        if let Some(fault) = chosen {
            plan.has_fired = true;
            plan.lasting = Some(fault).filter(|fault| matches!(fault, Fault::Full | Fault::Gone));
        }
        let lasting = match plan.lasting {
            Some(Fault::Full) => (needs_space(verb) && grows).then_some(Fault::Full),
            other => other,
        };
        let fault = chosen.filter(|fault| *fault != Fault::Full).or(lasting);
        if fault == Some(Fault::Slow) {
            let waited = self.never.wait_timeout(plan, LATE);
            drop(waited);
        }
        fault
    }

    fn check(&self, path: &Path, verb: Verb) -> io::Result<()> {
        match self.meet(path, verb, true) {
            Some(Fault::Eio | Fault::Gone) => Err(failed()),
            Some(Fault::Full) => Err(full()),
            _ => Ok(()),
        }
    }
}

fn failed() -> io::Error {
    io::Error::from_raw_os_error(5)
}

fn full() -> io::Error {
    io::Error::from_raw_os_error(28)
}

/// Another disk, failing at one chosen call.
#[derive(Debug, Clone)]
pub struct FaultyDisk {
    inner: Arc<dyn Disk>,
    /// The same disk, when it is one in memory: it is told of failed flushes.
    memory: Option<MemoryDisk>,
    shared: Arc<Shared>,
}

impl FaultyDisk {
    /// Over `inner`, without a fault so far.
    #[must_use]
    pub fn over(inner: Arc<dyn Disk>) -> Self {
        Self {
            inner,
            memory: None,
            shared: Arc::default(),
        }
    }

    /// Over a disk in memory: what a failed flush leaves is never durable.
    #[must_use]
    pub fn over_memory(memory: &MemoryDisk) -> Self {
        Self {
            memory: Some(memory.clone()),
            ..Self::over(Arc::new(memory.clone()))
        }
    }

    /// Lets `step` go wrong.
    pub fn arm(&self, step: Step, fault: Fault) {
        self.shared.plan().armed = Some((step, fault));
    }

    /// Every disk is full from now on.
    pub fn fill(&self) {
        self.shared.plan().lasting = Some(Fault::Full);
    }

    /// Whether the chosen call was made.
    #[must_use]
    pub fn has_fired(&self) -> bool {
        self.shared.plan().has_fired
    }

    /// All calls so far.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        self.shared.plan().steps.clone()
    }
}

impl Disk for FaultyDisk {
    fn create_folders(&self, path: &Path) -> io::Result<()> {
        // A folder that is there needs nothing.
        let grows = !self.inner.exists(path)?;
        match self.shared.meet(path, Verb::CreateFolders, grows) {
            Some(Fault::Eio | Fault::Gone) => Err(failed()),
            Some(Fault::Full) => Err(full()),
            _ => self.inner.create_folders(path),
        }
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.shared.check(path, Verb::Exists)?;
        self.inner.exists(path)
    }

    fn names(&self, folder: &Path) -> io::Result<Vec<OsString>> {
        self.shared.check(folder, Verb::Names)?;
        self.inner.names(folder)
    }

    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn DiskFile>> {
        let (verb, grows) = match how {
            Open::Empty => (Verb::OpenEmpty, !self.inner.exists(path)?),
            Open::Keep => (Verb::OpenKeep, !self.inner.exists(path)?),
            Open::Read => (Verb::OpenRead, false),
            Open::Write => (Verb::OpenWrite, false),
        };
        match self.shared.meet(path, verb, grows) {
            Some(Fault::Eio | Fault::Gone) => return Err(failed()),
            Some(Fault::Full) => return Err(full()),
            _ => {}
        }
        Ok(Box::new(FaultyFile {
            inner: self.inner.open(path, how)?,
            memory: self.memory.clone(),
            path: path.to_owned(),
            shared: Arc::clone(&self.shared),
        }))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.shared.check(path, Verb::RemoveFile)?;
        self.inner.remove_file(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.shared.check(path, Verb::RemoveFolder)?;
        self.inner.remove_folder(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        // The name is in the folder's page already, or a longer one takes its place.
        let grows = !self.inner.exists(to)?;
        match self.shared.meet(to, Verb::Rename, grows) {
            Some(Fault::Eio | Fault::Gone) => Err(failed()),
            Some(Fault::Full) => Err(full()),
            _ => self.inner.rename(from, to),
        }
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        self.shared.check(path, Verb::SyncFolder)?;
        self.inner.sync_folder(path)
    }
}

#[derive(Debug)]
struct FaultyFile {
    inner: Box<dyn DiskFile>,
    memory: Option<MemoryDisk>,
    path: PathBuf,
    shared: Arc<Shared>,
}

impl FaultyFile {
    fn check_flush(&self, verb: Verb) -> io::Result<()> {
        let checked = self.shared.check(&self.path, verb);
        if checked.is_err()
            && let Some(memory) = &self.memory
        {
            memory.drop_unflushed(&self.path);
        }
        checked
    }
}

impl DiskFile for FaultyFile {
    fn length(&self) -> io::Result<u64> {
        self.shared.check(&self.path, Verb::Len)?;
        self.inner.length()
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self.shared.meet(&self.path, Verb::Read, false) {
            Some(Fault::Eio | Fault::Gone) => Err(failed()),
            Some(Fault::Short) => {
                let half = buffer.len().div_ceil(2);
                self.inner
                    .read_at(buffer.get_mut(..half).unwrap_or_default(), offset)
            }
            _ => self.inner.read_at(buffer, offset),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check_flush(Verb::SyncData)?;
        self.inner.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.check_flush(Verb::SyncAll)?;
        self.inner.sync_all()
    }

    fn try_lock(&self) -> Result<(), TryLockError> {
        self.shared
            .check(&self.path, Verb::Lock)
            .map_err(TryLockError::Error)?;
        self.inner.try_lock()
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let grows = offset + bytes.len() as u64 > self.inner.length()?;
        let half = bytes.get(..bytes.len().div_ceil(2)).unwrap_or_default();
        match self.shared.meet(&self.path, Verb::Write, grows) {
            Some(Fault::Eio) => {
                let whole = half.len() - half.len() % SECTOR;
                self.inner
                    .write_at(bytes.get(..whole).unwrap_or_default(), offset)?;
                Err(failed())
            }
            Some(Fault::Full) => Err(full()),
            Some(Fault::Gone) => Err(failed()),
            Some(Fault::Short) => self.inner.write_at(half, offset),
            Some(Fault::Slow) | None => self.inner.write_at(bytes, offset),
        }
    }
}
