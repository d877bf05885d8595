//! Walking over the frames of all segments, and telling a torn tail from damage.
//!
//! A flush writes its frames with one write and is acknowledged after one `fdatasync`; the next flush begins
//! only then. So a crash can tear nothing but the last flush. Each frame names the first entry of its flush,
//! and this decides what a frame that does not verify means:
//!
//! - a whole frame of a *later* flush, or a later segment, stands behind it: it had been durable, so this is
//!   **damage**;
//! - nothing whole stands behind it but frames of its own flush: a **torn tail**.

use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use bailiwick_audit::merkle::{LeafHash, leaf_hash};
use bailiwick_base::Digest;

use crate::disk::Dir;
use crate::error::JournalError;
use crate::frame::{FRAME_HEAD, FRAME_MAGIC, FRAME_MAX, Frame, FrameHead, SEGMENT_HEAD, SegmentHead};
use crate::segment::{self, Window};

const PAGE: usize = 4096;

/// A place between two frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) ordinal: u64,
    pub(crate) offset: u64,
    /// Index of the entry that follows.
    pub(crate) next: u64,
    /// Sum of the frame before.
    pub(crate) before: Digest,
}

/// Places of every so many entries in order, so that one entry can be found without reading the log from its start.
/// Where the log begins is one of them.
#[derive(Debug, Default)]
pub(crate) struct Milestones(RwLock<Vec<Place>>);

/// Entries from one milestone to the next.
pub(crate) const MILESTONE_EVERY: u64 = 256;

impl Milestones {
    /// Notes the place in front of an entry, if it is the next milestone.
    pub(crate) fn pass(&self, place: Place) {
        let mut places = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let is_next = match places.last() {
            None => true,
            Some(last) => place.next.is_multiple_of(MILESTONE_EVERY) && place.next > last.next,
        };
        if is_next {
            places.push(place);
        }
    }

    /// The log begins at `start` from now on.
    pub(crate) fn begin_at(&self, start: Place) {
        let mut places = self.0.write().unwrap_or_else(PoisonError::into_inner);
        places.retain(|place| place.next > start.next);
        places.insert(0, start);
    }

    /// The last place noted that is not behind the entry, however far before it.
    pub(crate) fn nearest(&self, index: u64) -> Option<Place> {
        let places = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let behind = places.partition_point(|place| place.next <= index);
        places.get(behind.checked_sub(1)?).copied()
    }
}

/// What stands behind the last whole frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tail {
    pub(crate) place: Place,
    /// End of the bytes that are not zero, when there are any: a torn flush.
    pub(crate) torn_to: Option<u64>,
    /// A prepared segment that follows and is not in use, and where its bytes that are not zero end.
    pub(crate) spare: Option<(u64, Option<u64>)>,
}

/// Whether sums are computed. Only the publisher, which reads what this process has just flushed, does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sums {
    Trust,
    Verify,
}

#[derive(Debug, Clone, Copy)]
struct Current {
    offset: u64,
    len: usize,
    leaf_hash: LeafHash,
}

/// Walks over frames in order.
#[derive(Debug)]
pub(crate) struct Cursor {
    dir: Dir,
    path: PathBuf,
    window: Window,
    place: Place,
    sums: Sums,
    current: Option<Current>,
    tail: Option<Tail>,
}

enum Header {
    Cut,
    Damaged,
    Unused(Option<u64>),
    Used(SegmentHead),
}

impl Cursor {
    /// In front of the first entry, at `start`; `None` while the log has no segment in use.
    pub(crate) fn first(dir: &Dir, start: Place, sums: Sums) -> Result<Option<Self>, JournalError> {
        let mut cursor = Self::at(dir, start, sums)?;
        match cursor.header()? {
            Header::Used(head) if fits(&head, &start) => Ok(Some(cursor)),
            Header::Used(_) => Err(cursor.damaged(0, "the header is of another log or segment")),
            Header::Unused(_) => Ok(None),
            broken => Err(cursor.broken(&broken)),
        }
    }

    /// At a place that was reached before.
    pub(crate) fn at(dir: &Dir, place: Place, sums: Sums) -> Result<Self, JournalError> {
        let window = Window::new(segment::open(dir, place.ordinal)?);
        let path = segment::path(&dir.path, place.ordinal);
        Ok(Self {
            dir: dir.clone(),
            path,
            window,
            place,
            sums,
            current: None,
            tail: None,
        })
    }

    /// Where the walk stands: behind the current frame.
    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// What the walk ended at, once [`Cursor::advance`] has said that there is no more.
    pub(crate) fn tail(&self) -> Option<Tail> {
        self.tail
    }

    /// Drops what was read ahead, so that later writes are seen.
    pub(crate) fn refresh(&mut self) {
        self.window.forget();
        self.tail = None;
    }

    /// Goes to the next frame; `false` behind the last one.
    pub(crate) fn advance(&mut self) -> Result<bool, JournalError> {
        loop {
            if let Some((current, sum)) = self.read_frame()? {
                self.place.offset = current.offset + current.len as u64;
                self.place.next += 1;
                self.place.before = sum;
                self.current = Some(current);
                return Ok(true);
            }
            self.current = None;
            if !self.enter_next_segment()? {
                return Ok(false);
            }
        }
    }

    /// The frame the walk stands behind.
    pub(crate) fn frame(&mut self) -> Result<Option<(Frame<'_>, LeafHash)>, JournalError> {
        let Some(current) = self.current else {
            return Ok(None);
        };
        let path = &self.path;
        let bytes = self
            .window
            .at(current.offset, current.len)
            .map_err(|source| read_error(path, source))?;
        Ok(Frame::parse(bytes).map(|frame| (frame, current.leaf_hash)))
    }

    fn read_frame(&mut self) -> Result<Option<(Current, Digest)>, JournalError> {
        let (offset, path) = (self.place.offset, &self.path);
        let head = self
            .window
            .at(offset, FRAME_HEAD)
            .map_err(|source| read_error(path, source))?;
        let Some(head) = FrameHead::parse(head) else {
            return Ok(None);
        };
        if head.index != self.place.next || head.before != self.place.before {
            return Ok(None);
        }
        let bytes = self
            .window
            .at(offset, head.len())
            .map_err(|source| read_error(path, source))?;
        let frame = match self.sums {
            Sums::Trust => Frame::parse(bytes).map(|frame| (frame, leaf_hash(frame.leaf))),
            Sums::Verify => Frame::verify(bytes),
        };
        let Some((_, leaf_hash)) = frame else {
            return Ok(None);
        };
        let current = Current {
            offset,
            len: head.len(),
            leaf_hash,
        };
        Ok(Some((current, head.sum)))
    }

    /// Where no frame follows: the next segment, or the tail.
    fn enter_next_segment(&mut self) -> Result<bool, JournalError> {
        let torn_to = self.rest()?;
        let ordinal = self.place.ordinal + 1;
        let next = segment::path(&self.dir.path, ordinal);
        let follows = self.dir.disk.exists(&next);
        if !follows.map_err(JournalError::file("opening", &next))? {
            self.tail = Some(Tail {
                place: self.place,
                torn_to,
                spare: None,
            });
            return Ok(false);
        }
        let start = Place {
            ordinal,
            offset: SEGMENT_HEAD,
            ..self.place
        };
        let mut following = Self::at(&self.dir, start, self.sums)?;
        match following.header()? {
            Header::Used(_) if torn_to.is_some() => Err(self.damaged(
                self.place.offset,
                "a later segment follows, but no whole entry is here",
            )),
            Header::Used(head) if fits(&head, &start) => {
                *self = following;
                Ok(true)
            }
            Header::Used(_) => {
                Err(self.damaged(self.place.offset, "entries are missing before the next segment"))
            }
            Header::Unused(not_zero_to) => {
                let spare = Some((ordinal, not_zero_to));
                self.tail = Some(Tail {
                    place: self.place,
                    torn_to,
                    spare,
                });
                Ok(false)
            }
            broken => Err(following.broken(&broken)),
        }
    }

    fn header(&mut self) -> Result<Header, JournalError> {
        let path = &self.path;
        let bytes = self
            .window
            .at(0, PAGE)
            .map_err(|source| read_error(path, source))?;
        if let Some(head) = SegmentHead::parse(bytes) {
            // The file had its full length before the header was written, and never changes it.
            let len = self
                .window
                .file_len()
                .map_err(|source| read_error(path, source))?;
            return Ok(if len == head.bytes {
                Header::Used(head)
            } else {
                Header::Cut
            });
        }
        if bytes.len() < PAGE {
            return Ok(Header::Cut);
        }
        // The header is durable before the first frame is written: a frame proves that it was there.
        let (not_zero_to, frame) = scan(&mut self.window, 0, |_, _| true).map_err(|e| read_error(path, e))?;
        let in_header = not_zero_to.is_none_or(|end| end <= SEGMENT_HEAD);
        let next = segment::path(&self.dir.path, self.place.ordinal + 1);
        let follows = self.dir.disk.exists(&next);
        let is_last = !follows.map_err(JournalError::file("opening", &next))?;
        Ok(if frame.is_none() && in_header && is_last {
            Header::Unused(not_zero_to)
        } else {
            Header::Damaged
        })
    }

    /// Looks behind a place where no frame stands. The end of what is not zero there, if anything is.
    fn rest(&mut self) -> Result<Option<u64>, JournalError> {
        let Place { offset, next, .. } = self.place;
        let out_of_place =
            |at: u64, head: &FrameHead| at == offset || head.flush > next || head.index <= next;
        let path = &self.path;
        let found =
            scan(&mut self.window, offset, out_of_place).map_err(|source| read_error(path, source))?;
        match found {
            (_, Some(at)) if at == offset => {
                Err(self.damaged(offset, "the entry here belongs to another place"))
            }
            (_, Some(_)) => Err(self.damaged(offset, "later entries follow, but no whole entry is here")),
            (torn_to, None) => Ok(torn_to),
        }
    }

    fn broken(&self, header: &Header) -> JournalError {
        self.damaged(
            0,
            match header {
                Header::Cut => "the file has another length than its header says",
                _ => "the header of the segment is not whole",
            },
        )
    }

    pub(crate) fn damaged(&self, offset: u64, reason: &'static str) -> JournalError {
        JournalError::Damaged {
            path: self.path.clone(),
            offset,
            index: self.place.next,
            reason,
        }
    }
}

fn read_error(path: &Path, source: std::io::Error) -> JournalError {
    JournalError::file("reading", path)(source)
}

fn fits(head: &SegmentHead, start: &Place) -> bool {
    head.ordinal == start.ordinal && head.first == start.next && head.before == start.before
}

/// Reads from `from` to the end of the file: where the bytes that are not zero end, and the first whole frame
/// that `counts`.
fn scan(
    window: &mut Window,
    from: u64,
    counts: impl Fn(u64, &FrameHead) -> bool,
) -> std::io::Result<(Option<u64>, Option<u64>)> {
    const ZEROS: [u8; PAGE] = [0; PAGE];
    let (mut offset, mut not_zero_to) = (from, None);
    loop {
        let page = window.at(offset, PAGE)?;
        let have = page.len();
        if have == 0 {
            return Ok((not_zero_to, None));
        }
        if ZEROS.get(..have) != Some(page) {
            let last = page.iter().rposition(|byte| *byte != 0).unwrap_or(0);
            not_zero_to = Some(offset + last as u64 + 1);
            // A head may begin on the last bytes of a page: look three bytes further.
            let wider = window.at(offset, have + FRAME_MAGIC.len() - 1)?;
            let places: Vec<u64> = wider
                .windows(FRAME_MAGIC.len())
                .enumerate()
                .filter(|(_, bytes)| *bytes == FRAME_MAGIC)
                .map(|(at, _)| offset + at as u64)
                .collect();
            for at in places {
                let frame = window.at(at, FRAME_MAX)?;
                if let Some((frame, _)) = Frame::verify(frame)
                    && counts(at, &frame.head)
                {
                    return Ok((not_zero_to, Some(at)));
                }
            }
        }
        offset += have as u64;
    }
}
