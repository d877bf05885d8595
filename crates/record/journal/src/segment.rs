//! Segment files: named by ordinal, written full of zeros before use, then filled in place.
//!
//! Writing the zeros (not `fallocate`) is what makes a later flush cheap: the blocks exist and are
//! initialised, so `fdatasync` has no metadata to write. It also means that appending never needs space: a
//! full disk shows when the next segment is prepared, where nothing was promised yet.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::disk::{Dir, Disk, DiskFile, Open};
use crate::error::JournalError;

/// Folder of the segments inside a log's folder.
pub(crate) const FOLDER: &str = "segments";
const CHUNK: usize = 1 << 20;
/// Zeros written and flushed at a time: a flush of the log waits at most behind one such piece.
const PREPARED_AT_A_TIME: usize = 256 << 10;
const PAGE: u64 = 4096;

/// Path of segment `ordinal` in the log folder `dir`.
pub(crate) fn path(dir: &Path, ordinal: u64) -> PathBuf {
    dir.join(FOLDER).join(format!("{ordinal:016}.seg"))
}

/// Ordinals that are present, in order. Anything else in the folder is refused, leftovers of an interrupted
/// preparation are removed by [`prepare`].
pub(crate) fn list(dir: &Dir) -> Result<Vec<u64>, JournalError> {
    let folder = dir.path.join(FOLDER);
    let mut ordinals = Vec::new();
    let names = dir
        .disk
        .names(&folder)
        .map_err(JournalError::file("listing", &folder))?;
    for name in names {
        let Some(digits) = name.to_str().and_then(|name| name.strip_suffix(".seg")) else {
            continue;
        };
        let ordinal = Some(digits)
            .filter(|digits| digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|digits| digits.parse().ok());
        match ordinal {
            Some(ordinal) => ordinals.push(ordinal),
            None => {
                return Err(JournalError::Damaged {
                    path: folder.join(name),
                    offset: 0,
                    index: 0,
                    reason: "the name is not one of a segment",
                });
            }
        }
    }
    ordinals.sort_unstable();
    Ok(ordinals)
}

/// Makes segment `ordinal`: `bytes` zeros, durable under its name. While it is not `urgent`, the disk is left
/// to the flushes of the log in between.
///
/// # Errors
/// The I/O error; nothing is left under the name then.
pub(crate) fn prepare(
    dir: &Dir,
    ordinal: u64,
    bytes: u64,
    urgent: &AtomicBool,
) -> io::Result<Box<dyn DiskFile>> {
    let target = path(&dir.path, ordinal);
    let draft = target.with_extension("new");
    let made = write_zeros(&*dir.disk, &draft, bytes, urgent);
    let file = match made {
        Ok(file) => file,
        Err(error) => {
            // The space is needed by others; the draft has no meaning.
            dir.disk.remove_file(&draft).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(error),
            })?;
            return Err(error);
        }
    };
    dir.disk.rename(&draft, &target)?;
    dir.disk.sync_folder(&dir.path.join(FOLDER))?;
    Ok(file)
}

fn write_zeros(
    disk: &dyn Disk,
    draft: &Path,
    bytes: u64,
    urgent: &AtomicBool,
) -> io::Result<Box<dyn DiskFile>> {
    let file = disk.open(draft, Open::Empty)?;
    let zeros = vec![0_u8; PREPARED_AT_A_TIME];
    let mut offset = 0;
    while offset < bytes {
        let left = usize::try_from(bytes - offset)
            .unwrap_or(zeros.len())
            .min(zeros.len());
        file.write_all_at(zeros.get(..left).unwrap_or(&zeros), offset)?;
        offset += left as u64;
        // In pieces, so that a flush of the log never waits behind the whole segment.
        if !urgent.load(Ordering::Relaxed) {
            file.sync_data()?;
        }
    }
    file.sync_all()?;
    Ok(file)
}

/// Opens segment `ordinal` for reading and writing.
pub(crate) fn open(dir: &Dir, ordinal: u64) -> Result<Box<dyn DiskFile>, JournalError> {
    let path = path(&dir.path, ordinal);
    dir.disk
        .open(&path, Open::Write)
        .map_err(JournalError::file("opening", &path))
}

/// Pads `frames`, which will stand at `offset`, with zeros to the end of the last page. What follows is zero
/// anyway, and a page that is written whole need not be read first.
pub(crate) fn pad_to_page(frames: &mut Vec<u8>, offset: u64, segment: u64) {
    let end = offset + frames.len() as u64;
    let padded = end.next_multiple_of(PAGE).min(segment);
    let more = usize::try_from(padded.saturating_sub(end)).unwrap_or(0);
    frames.resize(frames.len() + more, 0);
}

/// A view of a file through a buffer, for reading frames one after the other.
#[derive(Debug)]
pub(crate) struct Window {
    file: Box<dyn DiskFile>,
    start: u64,
    buffer: Vec<u8>,
    /// The buffer reaches to the end of the file, whose length never changes.
    to_end: bool,
}

impl Window {
    pub(crate) fn new(file: Box<dyn DiskFile>) -> Self {
        Self {
            file,
            start: 0,
            buffer: Vec::new(),
            to_end: false,
        }
    }

    /// Length of the file in bytes.
    pub(crate) fn file_len(&self) -> io::Result<u64> {
        self.file.length()
    }

    /// Drops what was read, so that later writes are seen.
    pub(crate) fn forget(&mut self) {
        self.buffer.clear();
        self.to_end = false;
    }

    /// Up to `len` bytes at `offset`; fewer only at the end of the file.
    pub(crate) fn at(&mut self, offset: u64, len: usize) -> io::Result<&[u8]> {
        if self.inside(offset, len).is_none() {
            self.fill(offset, len.max(CHUNK))?;
        }
        let from = self.inside(offset, len).unwrap_or(self.buffer.len());
        let to = from.saturating_add(len).min(self.buffer.len());
        Ok(self.buffer.get(from..to).unwrap_or_default())
    }

    /// Where in the buffer `offset` is, if all of `len` bytes that the file has are there.
    fn inside(&self, offset: u64, len: usize) -> Option<usize> {
        let from = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        let enough = from.checked_add(len)? <= self.buffer.len();
        (enough || (self.to_end && from <= self.buffer.len())).then_some(from)
    }

    fn fill(&mut self, offset: u64, len: usize) -> io::Result<()> {
        if self.buffer.len() < len {
            self.buffer = vec![0; len];
        }
        self.start = offset;
        let mut have = 0;
        while let Some(rest) = self.buffer.get_mut(have..len).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset + have as u64) {
                Ok(0) => break,
                Ok(read) => have += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.forget();
                    return Err(error);
                }
            }
        }
        self.to_end = have < len;
        self.buffer.truncate(have);
        Ok(())
    }
}
