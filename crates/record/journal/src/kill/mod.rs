//! The kill journal: one prewritten file into which a kill is written before anything else happens, so that
//! a crash at any later step comes back denied (decisions page, section 4).
//!
//! ```text
//! page 0    "BwKill1\n" and the number of pages; written once
//!         512  4  magic "BwKf" once something was flushed
//!         516  8  number of the last entry that was flushed, written after its flush
//!         524 32  SHA-256 of bytes 512..524
//! page n    0  4  magic "BwK1"
//!           4  4  length of the entry
//!           8  8  number of the entry, from 1
//!          16 32  SHA-256 of bytes 0..16, the page's number and the entry
//!          48  …  the entry, canonical JSON
//!        4048  4  magic "BwKs" once the state log has the entry
//!        4052  8  number of the entry again
//!        4060 32  SHA-256 of bytes 4048..4060 and the page's number
//! ```
//!
//! Writing needs no space and no metadata. A write that reached the page cache outlives the process; only
//! loss of power before [`KillJournal::flush`] can lose it, and then nobody was told `committed`.
//!
//! A page that does not verify is taken for such a torn write only when its number is above the last flushed
//! one and every flushed number is there; any other damage stops the start. A torn page becomes a settled one
//! without an entry, so that numbers have no gap.

mod entry;

use std::collections::BTreeSet;
use std::fs::TryLockError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bailiwick_base::{Digest, Sha256};

pub use entry::{KillEntry, KillMark};

use crate::disk::{Disk, DiskFile, Open, read};

const PAGE: usize = 4096;
const PAGES: u64 = 256;
const HEAD: usize = 48;
const SETTLED_AT: usize = 4048;
const SETTLED_LEN: usize = 44;
/// Longest entry in bytes.
const ENTRY_MAX: usize = SETTLED_AT - HEAD;

const FILE_MAGIC: [u8; 8] = *b"BwKill1\n";
const ENTRY_MAGIC: [u8; 4] = *b"BwK1";
const SETTLED_MAGIC: [u8; 4] = *b"BwKs";
const FLUSHED_MAGIC: [u8; 4] = *b"BwKf";
const FLUSHED_AT: usize = 512;
const FLUSHED_LEN: usize = 44;

/// Where an entry stands, for [`KillJournal::settle`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    page: u64,
    number: u64,
}

/// The kill journal cannot be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum KillJournalError {
    /// Bytes of an entry that was durable are not what was written.
    #[error(
        "page {page} of `{path}` is damaged, and a kill that was answered may stand in it: put the file back from the backup of the whole data folder"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The page, from 0.
        page: u64,
    },
    /// An entry that verifies does not read as one.
    #[error("entry `{number}` of `{path}` cannot be read: {reason}")]
    Entry {
        /// The file.
        path: PathBuf,
        /// Number of the entry.
        number: u64,
        /// Why.
        reason: String,
    },
    /// The entry is longer than a page.
    #[error("a kill of `{marks}` marks has `{found}` bytes, more than the `{max}` of one entry: split it")]
    EntryTooLong {
        /// Marks in the entry.
        marks: usize,
        /// Bytes it has.
        found: usize,
        /// Bytes it may have.
        max: usize,
    },
    /// A file operation failed.
    #[error("`{path}`: {action} failed: {source}")]
    File {
        /// What was attempted.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A flush failed before; nobody knows what is on the disk.
    #[error("`{path}` could not be flushed: look at the disk, then start again")]
    FlushFailed {
        /// The file.
        path: PathBuf,
    },
    /// No page is free: the state log has none of the entries yet.
    #[error(
        "the kill journal is full of `{entries}` kills the state log does not have: make the store writable"
    )]
    Full {
        /// Entries that are not settled.
        entries: usize,
    },
    /// Another process has it open.
    #[error("`{path}` is in use by another process: stop it first")]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// The file is not a kill journal, or was cut.
    #[error("`{path}` is not a whole kill journal: put it back from the backup of the whole data folder")]
    NotWhole {
        /// The file.
        path: PathBuf,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Page {
    Free,
    Settled(u64),
    Unsettled(u64),
}

#[derive(Debug)]
struct Pages {
    /// State of page `n + 1`.
    states: Vec<Page>,
    next_number: u64,
    /// Number of the last entry that the file says is flushed.
    flushed: u64,
}

/// The kill journal of this node.
#[derive(Debug)]
pub struct KillJournal {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    pages: Mutex<Pages>,
    flush_failed: AtomicBool,
    torn: usize,
}

impl KillJournal {
    /// Opens the journal, making it if there is none, and returns the entries the state log may not have, in
    /// the order in which they were written.
    ///
    /// # Errors
    /// [`KillJournalError`]; a file that is there and is not a whole journal is never replaced.
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<(Self, Vec<(Slot, KillEntry)>), KillJournalError> {
        let failed = |action| {
            move |source| KillJournalError::File {
                action,
                path: path.to_owned(),
                source,
            }
        };
        if !disk.exists(path).map_err(failed("opening"))? {
            make(disk, path).map_err(failed("making"))?;
        }
        let file = disk.open(path, Open::Write).map_err(failed("opening"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(KillJournalError::Locked {
                    path: path.to_owned(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed("locking")(source)),
        }
        let bytes = read(disk, path).map_err(failed("reading"))?;
        let (pages, _) = bytes.as_chunks::<PAGE>();
        let flushed = pages.first().and_then(read_first);
        let (true, Some(flushed)) = (bytes.len() == PAGES as usize * PAGE, flushed) else {
            return Err(KillJournalError::NotWhole {
                path: path.to_owned(),
            });
        };
        let mut journal = Self {
            path: path.to_owned(),
            file,
            pages: Mutex::new(Pages {
                states: Vec::new(),
                next_number: 1,
                flushed,
            }),
            flush_failed: AtomicBool::new(false),
            torn: 0,
        };
        let unsettled = journal.read_pages(pages, flushed)?;
        // What a killed process left in the page cache is made durable before it is acted on.
        journal.flush()?;
        Ok((journal, unsettled))
    }

    fn read_pages(
        &mut self,
        pages: &[[u8; PAGE]],
        flushed: u64,
    ) -> Result<Vec<(Slot, KillEntry)>, KillJournalError> {
        let (mut unsettled, mut states, mut torn, mut numbers) =
            (Vec::new(), Vec::new(), Vec::new(), BTreeSet::new());
        for (page, bytes) in (0..).zip(pages).skip(1) {
            let Some((number, entry)) = read_entry(page, bytes) else {
                if *bytes != [0; PAGE] {
                    torn.push((page, raw_number(bytes)));
                }
                states.push(Page::Free);
                continue;
            };
            numbers.insert(number);
            if is_settled(page, number, bytes) {
                states.push(Page::Settled(number));
                continue;
            }
            let entry = KillEntry::decode(entry).map_err(|reason| {
                let path = self.path.clone();
                KillJournalError::Entry { path, number, reason }
            })?;
            states.push(Page::Unsettled(number));
            unsettled.push((Slot { page, number }, entry));
        }
        unsettled.sort_by_key(|(slot, _)| slot.number);
        let free = (1..)
            .zip(pages.iter().skip(1))
            .filter(|(_, bytes)| **bytes == [0; PAGE]);
        let free: Vec<u64> = free.map(|(page, _)| page).collect();
        self.torn = torn.len();
        let lost = self.lost_numbers(&torn, &free, &numbers, flushed)?;
        let places = torn.iter().map(|(page, _)| *page).chain(free);
        for (number, page) in lost.iter().zip(places) {
            self.write_blank(page, *number)?;
            let place = usize::try_from(page - 1).unwrap_or(usize::MAX);
            if let Some(state) = states.get_mut(place) {
                *state = Page::Settled(*number);
            }
        }
        let last = lost.into_iter().chain(numbers).max().unwrap_or(0);
        self.pages = Mutex::new(Pages {
            states,
            next_number: last.saturating_add(1),
            flushed,
        });
        Ok(unsettled)
    }

    /// The numbers that torn writes took and never gave to an entry. Every number up to `flushed` has its entry
    /// as long as no page was used twice, and a page that was cannot be mistaken for an older one.
    fn lost_numbers(
        &self,
        torn: &[(u64, Option<u64>)],
        free: &[u64],
        numbers: &BTreeSet<u64>,
        flushed: u64,
    ) -> Result<Vec<u64>, KillJournalError> {
        let damaged = |page| KillJournalError::Damaged {
            path: self.path.clone(),
            page,
        };
        if free.is_empty() {
            // Pages were used again, or none is left: only a number that can be read says that it is new.
            let new = |n: &u64| *n > flushed && !numbers.contains(n);
            return torn
                .iter()
                .map(|(page, number)| number.filter(new).ok_or_else(|| damaged(*page)))
                .collect();
        }
        let last = numbers.last().copied().unwrap_or(0);
        let missing: Vec<u64> = (1..=last.max(flushed)).filter(|n| !numbers.contains(n)).collect();
        if missing.first().is_some_and(|first| *first <= flushed) {
            let page = torn.first().map(|(page, _)| *page).or(free.first().copied());
            return Err(damaged(page.unwrap_or(0)));
        }
        let beyond = last.saturating_add(1)..;
        let wanted = missing.len().max(torn.len());
        Ok(missing.into_iter().chain(beyond).take(wanted).collect())
    }

    /// A settled page without an entry.
    fn write_blank(&self, page: u64, number: u64) -> Result<(), KillJournalError> {
        let mut bytes = entry_page(page, number, b"");
        fill(&mut bytes, SETTLED_AT, &settled_bytes(page, number));
        self.write_at(&bytes, page * PAGE as u64)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), KillJournalError> {
        self.file
            .write_all_at(bytes, offset)
            .map_err(|source| KillJournalError::File {
                action: "writing",
                path: self.path.clone(),
                source,
            })
    }

    /// Every change under the lock is one assignment, made after the write.
    fn lock(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pages that held bytes, but no whole entry, when the journal was opened: each a write that a loss of
    /// power tore, and of which nobody was told that it is durable.
    #[must_use]
    pub fn torn(&self) -> usize {
        self.torn
    }

    /// Hands the entry to the operating system, without flush: it outlives this process from here on.
    ///
    /// # Errors
    /// [`KillJournalError::EntryTooLong`], [`KillJournalError::Full`], [`KillJournalError::File`].
    pub fn write(&self, entry: &KillEntry) -> Result<Slot, KillJournalError> {
        let encoded = entry.encode();
        if encoded.len() > ENTRY_MAX {
            let (marks, found) = (entry.marks.len(), encoded.len());
            return Err(KillJournalError::EntryTooLong {
                marks,
                found,
                max: ENTRY_MAX,
            });
        }
        let mut pages = self.lock();
        let number = pages.next_number;
        let place = free_place(&pages.states).ok_or(KillJournalError::Full {
            entries: pages.states.len(),
        })?;
        let page = place as u64 + 1;
        let bytes = entry_page(page, number, &encoded);
        self.write_at(&bytes, page * PAGE as u64)?;
        if let Some(state) = pages.states.get_mut(place) {
            *state = Page::Unsettled(number);
        }
        pages.next_number = number.saturating_add(1);
        Ok(Slot { page, number })
    }

    /// Makes everything written so far durable. Blocks on the disk.
    ///
    /// # Errors
    /// [`KillJournalError::File`], and from then on [`KillJournalError::FlushFailed`].
    pub fn flush(&self) -> Result<(), KillJournalError> {
        if self.flush_failed.load(Ordering::Acquire) {
            return Err(KillJournalError::FlushFailed {
                path: self.path.clone(),
            });
        }
        let written = self.lock().next_number.saturating_sub(1);
        self.file.sync_data().map_err(|source| {
            self.flush_failed.store(true, Ordering::Release);
            KillJournalError::File {
                action: "flushing",
                path: self.path.clone(),
                source,
            }
        })?;
        let mut pages = self.lock();
        if pages.flushed < written {
            self.write_at(&flushed_bytes(written), FLUSHED_AT as u64)?;
            pages.flushed = written;
        }
        Ok(())
    }

    /// Frees the page of an entry that the state log has. Not flushed: if this is lost, the entry comes back
    /// at the next start, and applying it again changes nothing.
    ///
    /// # Errors
    /// [`KillJournalError::File`]. A slot that is settled already, or used again, is left as it is.
    pub fn settle(&self, slot: Slot) -> Result<(), KillJournalError> {
        let mut pages = self.lock();
        let place = usize::try_from(slot.page)
            .ok()
            .and_then(|page| page.checked_sub(1));
        let Some(state) = place.and_then(|place| pages.states.get_mut(place)) else {
            return Ok(());
        };
        if *state != Page::Unsettled(slot.number) {
            return Ok(());
        }
        let offset = slot.page * PAGE as u64 + SETTLED_AT as u64;
        self.write_at(&settled_bytes(slot.page, slot.number), offset)?;
        *state = Page::Settled(slot.number);
        Ok(())
    }

    /// Entries that are not settled.
    #[must_use]
    pub fn unsettled(&self) -> usize {
        self.lock()
            .states
            .iter()
            .filter(|state| matches!(state, Page::Unsettled(_)))
            .count()
    }
}

/// A free page, else the one that was settled longest ago.
fn free_place(states: &[Page]) -> Option<usize> {
    let settled = |state: &Page| match state {
        Page::Free => Some(0),
        Page::Settled(number) => Some(*number),
        Page::Unsettled(_) => None,
    };
    let places = states
        .iter()
        .enumerate()
        .filter_map(|(place, state)| Some((settled(state)?, place)));
    places.min().map(|(_, place)| place)
}

fn make(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    let draft = path.with_extension("new");
    let folder = path.parent().unwrap_or(Path::new("."));
    disk.create_folders(folder)?;
    let file = disk.open(&draft, Open::Empty)?;
    let mut pages = first_page().to_vec();
    pages.resize(PAGES as usize * PAGE, 0);
    file.write_all_at(&pages, 0)?;
    file.sync_all()?;
    disk.rename(&draft, path)?;
    disk.sync_folder(folder)
}

fn first_page() -> [u8; PAGE] {
    let mut page = [0; PAGE];
    fill(&mut page, 0, &FILE_MAGIC);
    fill(&mut page, FILE_MAGIC.len(), &PAGES.to_be_bytes());
    page
}

/// The number of the last flushed entry, 0 before the first; `None` when it is no first page.
fn read_first(page: &[u8; PAGE]) -> Option<u64> {
    let end = FLUSHED_AT + FLUSHED_LEN;
    let mut rest = *page;
    fill(&mut rest, FLUSHED_AT, &[0; FLUSHED_LEN]);
    let said = page.get(FLUSHED_AT..end).filter(|_| rest == first_page())?;
    if said == [0; FLUSHED_LEN] {
        return Some(0);
    }
    let number = u64::from_be_bytes(said.get(4..12)?.try_into().ok()?);
    (said == flushed_bytes(number)).then_some(number)
}

fn flushed_bytes(number: u64) -> [u8; FLUSHED_LEN] {
    let mut bytes = [0; FLUSHED_LEN];
    fill(&mut bytes, 0, &FLUSHED_MAGIC);
    fill(&mut bytes, 4, &number.to_be_bytes());
    let mut sha = Sha256::new();
    sha.update(bytes.get(..12).unwrap_or_default());
    fill(&mut bytes, 12, &sha.finish().0);
    bytes
}

/// The number of a page whose beginning at least looks like an entry.
fn raw_number(page: &[u8; PAGE]) -> Option<u64> {
    let number = page.get(8..16)?.try_into().ok().map(u64::from_be_bytes)?;
    (page.get(..4)? == ENTRY_MAGIC).then_some(number)
}

fn fill(page: &mut [u8], at: usize, bytes: &[u8]) {
    for (to, from) in page.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}

fn entry_page(page: u64, number: u64, entry: &[u8]) -> [u8; PAGE] {
    let mut bytes = [0; PAGE];
    fill(&mut bytes, 0, &ENTRY_MAGIC);
    fill(
        &mut bytes,
        4,
        &u32::try_from(entry.len()).unwrap_or(u32::MAX).to_be_bytes(),
    );
    fill(&mut bytes, 8, &number.to_be_bytes());
    let sum = entry_sum(bytes.get(..16).unwrap_or_default(), page, entry);
    fill(&mut bytes, 16, &sum.0);
    fill(&mut bytes, HEAD, entry);
    bytes
}

fn entry_sum(head: &[u8], page: u64, entry: &[u8]) -> Digest {
    let mut sha = Sha256::new();
    sha.update(head);
    sha.update(&page.to_be_bytes());
    sha.update(entry);
    sha.finish()
}

fn read_entry(page: u64, bytes: &[u8; PAGE]) -> Option<(u64, &[u8])> {
    let (magic, rest) = bytes.split_first_chunk::<4>()?;
    let (len, rest) = rest.split_first_chunk::<4>()?;
    let (number, rest) = rest.split_first_chunk::<8>()?;
    let (sum, rest) = rest.split_first_chunk::<32>()?;
    let len = usize::try_from(u32::from_be_bytes(*len))
        .ok()
        .filter(|len| *len <= ENTRY_MAX)?;
    let entry = rest.get(..len)?;
    let whole = *magic == ENTRY_MAGIC && entry_sum(bytes.get(..16)?, page, entry).0 == *sum;
    whole.then_some((u64::from_be_bytes(*number), entry))
}

fn settled_bytes(page: u64, number: u64) -> [u8; SETTLED_LEN] {
    let mut bytes = [0; SETTLED_LEN];
    fill(&mut bytes, 0, &SETTLED_MAGIC);
    fill(&mut bytes, 4, &number.to_be_bytes());
    let mut sha = Sha256::new();
    sha.update(bytes.get(..12).unwrap_or_default());
    sha.update(&page.to_be_bytes());
    fill(&mut bytes, 12, &sha.finish().0);
    bytes
}

fn is_settled(page: u64, number: u64, bytes: &[u8; PAGE]) -> bool {
    bytes.get(SETTLED_AT..SETTLED_AT + SETTLED_LEN) == Some(settled_bytes(page, number).as_slice())
}
