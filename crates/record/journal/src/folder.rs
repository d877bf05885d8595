//! Tiles and the checkpoint as files (C2SP tlog-tiles layout).

use std::collections::BTreeSet;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use bailiwick_audit::tile::{TileFile, TileSource};

use crate::disk::{Dir, Disk, DiskFile, Open, OsDisk, read};

/// Name of the checkpoint file.
pub(crate) const CHECKPOINT: &str = "checkpoint";
/// Name of the file with the newest checkpoint that witnesses of others cosigned.
pub const WITNESSED: &str = "checkpoint.witnessed";
/// Files that are open at a time while tiles are written.
const OPEN_MAX: usize = 64;

/// A log's folder, read as tile files.
#[derive(Debug, Clone)]
pub struct TileFolder {
    disk: Arc<dyn Disk>,
    root: PathBuf,
}

impl TileFolder {
    /// The folder that holds `checkpoint` and `tile/`.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            disk: Arc::new(OsDisk),
            root: root.into(),
        }
    }

    /// The same on another disk than this machine's.
    #[must_use]
    pub fn on(disk: &Arc<dyn Disk>, root: impl Into<PathBuf>) -> Self {
        Self {
            disk: Arc::clone(disk),
            root: root.into(),
        }
    }

    pub(crate) fn of(dir: &Dir) -> Self {
        Self::on(&dir.disk, dir.path.clone())
    }

    /// The folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }
}

impl TileSource for TileFolder {
    type Error = io::Error;

    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        let relative = Path::new(path);
        if !relative
            .components()
            .all(|part| matches!(part, Component::Normal(_)))
        {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the path leaves the log's folder",
            ));
        }
        match read(&*self.disk, &self.root.join(relative)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Writes tiles and checkpoints durably.
#[derive(Debug)]
pub(crate) struct FolderWriter {
    disk: Arc<dyn Disk>,
    root: PathBuf,
    /// Folders whose names are durable for certain.
    known: BTreeSet<PathBuf>,
    /// The last attempt failed: what it wrote may look flushed and not be.
    has_failed: bool,
}

impl FolderWriter {
    pub(crate) fn new(dir: &Dir) -> Self {
        Self {
            disk: Arc::clone(&dir.disk),
            root: dir.path.clone(),
            known: BTreeSet::new(),
            has_failed: false,
        }
    }

    /// Writes tiles in place and returns once they and their names are durable. No checkpoint covers them
    /// yet, so nobody reads them meanwhile.
    pub(crate) fn write_tiles(&mut self, files: &[TileFile]) -> io::Result<()> {
        let written = self.try_write(files);
        self.has_failed = written.is_err();
        if self.has_failed {
            self.known.clear();
        }
        written
    }

    fn try_write(&mut self, files: &[TileFile]) -> io::Result<()> {
        let mut touched = BTreeSet::new();
        for files in files.chunks(OPEN_MAX) {
            let mut open = Vec::with_capacity(files.len());
            for file in files {
                let path = self.root.join(file.id.path());
                if let Some(folder) = path.parent() {
                    self.make_folder(folder, &mut touched)?;
                }
                open.push(self.place(&path, &file.bytes)?);
            }
            for file in open {
                file.sync_data()?;
            }
        }
        touched
            .iter()
            .try_for_each(|folder| self.disk.sync_folder(folder))
    }

    /// Makes `folder` and notes which folders got a new name in them.
    fn make_folder(&mut self, folder: &Path, touched: &mut BTreeSet<PathBuf>) -> io::Result<()> {
        touched.insert(folder.to_owned());
        let mut missing = folder;
        while missing != self.root && !self.known.contains(missing) {
            self.known.insert(missing.to_owned());
            let Some(parent) = missing.parent() else { break };
            touched.insert(parent.to_owned());
            missing = parent;
        }
        self.disk.create_folders(folder)
    }

    /// A tile at its path, not flushed yet. The path of a tile fixes its content, so one that is there whole may
    /// be under a checkpoint that is shown: it is never opened for writing again, or a crash would leave it empty.
    /// One that differs was never shown: it is what an interrupted publication left. After a failed flush the
    /// system may call pages clean that never reached the disk, so everything is written anew, beside what is
    /// there.
    fn place(&self, path: &Path, bytes: &[u8]) -> io::Result<Box<dyn DiskFile>> {
        if self.has_failed {
            let mut draft = path.as_os_str().to_owned();
            draft.push(".new");
            let draft = PathBuf::from(draft);
            let file = self.disk.open(&draft, Open::Empty)?;
            file.write_all_at(bytes, 0)?;
            file.sync_all()?;
            self.disk.rename(&draft, path)?;
            return Ok(file);
        }
        if read(&*self.disk, path).is_ok_and(|there| there == bytes) {
            return self.disk.open(path, Open::Read);
        }
        let file = self.disk.open(path, Open::Empty)?;
        file.write_all_at(bytes, 0)?;
        Ok(file)
    }

    /// Replaces the checkpoint; whoever reads sees the old one or the new one.
    pub(crate) fn write_checkpoint(&self, bytes: &[u8]) -> io::Result<()> {
        let draft = self.root.join("checkpoint.new");
        let file = self.disk.open(&draft, Open::Empty)?;
        file.write_all_at(bytes, 0)?;
        file.sync_all()?;
        self.disk.rename(&draft, &self.root.join(CHECKPOINT))?;
        self.disk.sync_folder(&self.root)
    }

    /// Removes the partial forms of tiles that are full now. Readers of an older checkpoint find the full one.
    pub(crate) fn remove_partials(&mut self, files: &[TileFile]) {
        for file in files.iter().filter(|file| file.id.is_full()) {
            let mut folder = self.root.join(file.id.path()).into_os_string();
            folder.push(".p");
            let folder = PathBuf::from(folder);
            self.known.remove(&folder);
            match self.disk.remove_folder(&folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(path = %folder.display(), %error, "a partial tile stays behind");
                }
                _ => {}
            }
        }
    }
}
