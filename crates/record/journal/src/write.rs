//! The thread that writes: takes the whole queue, numbers it, writes it with one write, flushes once, and
//! then wakes everybody who waits.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bailiwick_audit::entry::{Leaf, TENANT_SEQ_FIRST};
use bailiwick_base::limits::LEAF_MAX;
use bailiwick_base::{Clock, NodeName};

use crate::cursor::{Milestones, Place};
use crate::disk::{Dir, DiskFile};
use crate::error::NotAppended;
use crate::frame::{NewFrame, SEGMENT_HEAD};
use crate::publish::Progress;
use crate::queue::{Queue, Queued};
use crate::replay::{Replayed, start_segment};
use crate::segment;

/// The next segment is prepared when this part of the present one is used.
const PREPARE_AT: u64 = 16;
/// Each segment is at most so many times as large as the one before, until the full size is reached: it must
/// be ready before this one is full.
const GROWTH: u64 = 2;
/// How long after a failure the next segment is not asked for again.
const RETRY_AFTER: Duration = Duration::from_millis(250);
/// Bytes of the frame buffer that are kept from one flush to the next.
const FRAMES_KEPT: usize = 4 << 20;

/// The next segment: not asked for, being prepared, or there.
enum Next {
    Asked(JoinHandle<io::Result<Box<dyn DiskFile>>>, Arc<AtomicBool>),
    None,
    Ready(Box<dyn DiskFile>),
}

/// Everything the thread owns.
pub(crate) struct Writer {
    dir: Dir,
    node: NodeName,
    clock: Arc<dyn Clock>,
    queue: Arc<Queue>,
    progress: Arc<Progress>,
    file: Box<dyn DiskFile>,
    place: Place,
    capacity: u64,
    first_bytes: u64,
    segment_bytes: u64,
    age_max: Option<Duration>,
    /// When the first entry of this segment was recorded, and the last one of all, microseconds.
    began: Option<u64>,
    last_at: u64,
    next: Next,
    /// Whether a thread of its own prepares the next segment.
    aside: bool,
    /// Why the last attempt to prepare a segment failed, and when the next one may follow.
    failed: Option<String>,
    retry_at: Duration,
    /// Last number of each tenant.
    tenant_seqs: BTreeMap<Arc<str>, u64>,
    milestones: Arc<Milestones>,
    frames: Vec<u8>,
    leaf: Vec<u8>,
}

/// Sizes and names the writer needs.
pub(crate) struct WriterConfig {
    pub(crate) dir: Dir,
    pub(crate) node: NodeName,
    pub(crate) first_bytes: u64,
    pub(crate) segment_bytes: u64,
    /// How old the first entry of a segment may be when another one is put behind it.
    pub(crate) age_max: Option<Duration>,
    /// Whether a thread of its own prepares the next segment; else it is prepared where it is asked for.
    pub(crate) aside: bool,
}

/// Why the rest of a batch cannot be written.
enum Failure {
    /// Nothing was written: space may come back.
    NoSegment(String),
    /// Something may have been written: the log must be opened again.
    Write(String),
}

impl Writer {
    pub(crate) fn new(
        config: WriterConfig,
        clock: Arc<dyn Clock>,
        queue: Arc<Queue>,
        progress: Arc<Progress>,
        replayed: Replayed,
    ) -> io::Result<Self> {
        let capacity = replayed.file.length()?;
        Ok(Self {
            dir: config.dir,
            node: config.node,
            clock,
            queue,
            progress,
            file: replayed.file,
            place: replayed.tail,
            capacity,
            first_bytes: config.first_bytes,
            segment_bytes: config.segment_bytes,
            age_max: config.age_max,
            began: replayed.began,
            last_at: 0,
            next: replayed.spare.map_or(Next::None, Next::Ready),
            aside: config.aside,
            failed: None,
            retry_at: Duration::ZERO,
            tenant_seqs: replayed.tenant_seqs,
            milestones: replayed.milestones,
            frames: Vec::new(),
            leaf: Vec::new(),
        })
    }

    /// Runs until the queue is closed and empty.
    pub(crate) fn run(mut self) {
        let mut batch = Vec::new();
        let mut is_alone = false;
        while let Some(mut taken) = self.queue.take(batch, is_alone) {
            is_alone = taken.iter().filter(|record| record.waiter.is_some()).count() == 1;
            metrics::histogram!("bailiwick_decision_log_batch_records").record(as_f64(taken.len()));
            self.work_off(&mut taken);
            batch = taken;
        }
    }

    /// Writes what waits now, for a log without threads.
    pub(crate) fn step(&mut self) {
        let mut taken = self.queue.take_now();
        self.work_off(&mut taken);
    }

    fn work_off(&mut self, batch: &mut Vec<Queued>) {
        if let Err(failure) = self.write_batch(batch) {
            self.fail(failure, batch);
        }
    }

    /// Writes and acknowledges the records of `batch`, removing them.
    fn write_batch(&mut self, batch: &mut Vec<Queued>) -> Result<(), Failure> {
        while !batch.is_empty() {
            self.turn_over(batch)?;
            let flush = self.encode(batch);
            if flush.records > 0 {
                self.commit(batch, &flush)?;
            }
            self.prepare_next();
            if !batch.is_empty() {
                self.enter_next_segment()?;
            }
        }
        Ok(())
    }

    /// Encodes as many records as the segment takes. A record that cannot be an entry is refused by itself.
    fn encode(&mut self, batch: &mut Vec<Queued>) -> Flush {
        self.frames.clear();
        self.frames.shrink_to(FRAMES_KEPT);
        let first = self.place.next;
        let mut flush = Flush {
            records: 0,
            place: self.place,
        };
        let mut position = 0;
        while let Some(record) = batch.get(position) {
            match self.encode_one(record, first, &mut flush) {
                Ok(true) => position += 1,
                Ok(false) => break,
                Err(refused) => batch.remove(position).answer(Err(refused)),
            }
        }
        flush.place.offset = self.place.offset + self.frames.len() as u64;
        flush
    }

    /// Appends one frame; `false` when the segment is full.
    fn encode_one(&mut self, record: &Queued, first: u64, flush: &mut Flush) -> Result<bool, NotAppended> {
        let last = self.tenant_seqs.get(&*record.tenant_ref).copied();
        let tenant_seq = last.map_or(TENANT_SEQ_FIRST, |last| last.saturating_add(1));
        self.leaf.clear();
        let leaf = Leaf {
            at: record.at,
            commitment: record.commitment,
            epoch: record.epoch,
            kind: record.kind,
            node: self.node.as_str(),
            state_pos: record.state_pos,
            tenant_ref: &record.tenant_ref,
            tenant_seq,
        };
        leaf.encode_into(&mut self.leaf)
            .map_err(|error| NotAppended::Unwritable(error.to_string()))?;
        if self.leaf.len() > LEAF_MAX {
            return Err(NotAppended::TooLong {
                part: "leaf",
                found: self.leaf.len(),
                max: LEAF_MAX,
            });
        }
        let end = self.frames.len() + NewFrame::len(self.leaf.len(), record.sealed.len());
        if self.place.offset + end as u64 > self.capacity {
            return Ok(false);
        }
        let offset = self.place.offset + self.frames.len() as u64;
        self.began.get_or_insert(record.at);
        self.last_at = record.at;
        self.milestones.pass(Place {
            offset,
            ..flush.place
        });
        let frame = NewFrame {
            index: flush.place.next,
            flush: first,
            before: flush.place.before,
            leaf: &self.leaf,
            sealed: &record.sealed,
            sealed_digest: record.sealed_digest,
        };
        flush.place.before = frame.write(&mut self.frames);
        flush.place.next += 1;
        flush.records += 1;
        match self.tenant_seqs.get_mut(&*record.tenant_ref) {
            Some(last) => *last = tenant_seq,
            None => {
                self.tenant_seqs.insert(record.tenant_ref.clone(), tenant_seq);
            }
        }
        Ok(true)
    }

    /// Writes, flushes, and only then answers. The order is the promise of this crate; the test that traces
    /// system calls is itself tested with a build where it is broken (`ack-before-flush`).
    fn commit(&mut self, batch: &mut Vec<Queued>, flush: &Flush) -> Result<(), Failure> {
        #[cfg(bailiwick_planted = "ack-before-flush")]
        answer(batch, flush);
        let (offset, capacity) = (self.place.offset, self.capacity);
        segment::pad_to_page(&mut self.frames, offset, capacity);
        self.file
            .write_all_at(&self.frames, offset)
            .map_err(|error| self.write_failure("write", &error))?;
        let began = self.clock.monotonic();
        self.file
            .sync_data()
            .map_err(|error| self.write_failure("flush", &error))?;
        let took = self.clock.monotonic().saturating_sub(began);
        self.place = flush.place;
        self.progress.durable(flush.place.next);
        #[cfg(not(bailiwick_planted = "ack-before-flush"))]
        answer(batch, flush);
        metrics::histogram!("bailiwick_decision_log_flush_seconds").record(took.as_secs_f64());
        metrics::counter!("bailiwick_decision_log_entries_total").increment(flush.records);
        Ok(())
    }

    /// Goes on in the next segment when this one is old enough and the next one is there: nobody waits for it.
    fn turn_over(&mut self, batch: &[Queued]) -> Result<(), Failure> {
        let (Some(age_max), Some(began), Some(first)) = (self.age_max, self.began, batch.first()) else {
            return Ok(());
        };
        if u128::from(first.at.saturating_sub(began)) < age_max.as_micros() {
            return Ok(());
        }
        self.take_prepared();
        if matches!(self.next, Next::None) && self.may_try() {
            self.ask();
        }
        match self.next {
            Next::Ready(_) => self.enter_next_segment(),
            Next::Asked(..) | Next::None => Ok(()),
        }
    }

    /// A log that fills less than a segment in half the time it has needs no larger ones.
    fn is_quiet(&self) -> bool {
        let old = self.began.map_or(0, |began| self.last_at.saturating_sub(began));
        self.age_max
            .is_some_and(|age_max| u128::from(old) >= age_max.as_micros() / 2)
    }

    fn take_prepared(&mut self) {
        if matches!(&self.next, Next::Asked(preparing, _) if preparing.is_finished()) {
            self.next = self.prepared().map_or(Next::None, Next::Ready);
        }
    }

    /// Starts preparing the next segment in the background, in time.
    fn prepare_next(&mut self) {
        self.take_prepared();
        let is_due = self.place.offset >= self.capacity / PREPARE_AT;
        if matches!(self.next, Next::None) && is_due && self.may_try() {
            self.ask();
        }
    }

    /// Not again right after a failure: each attempt costs the disk something.
    fn may_try(&self) -> bool {
        self.failed.is_none() || self.clock.monotonic() >= self.retry_at
    }

    fn ask(&mut self) {
        let grown = self
            .capacity
            .saturating_mul(GROWTH)
            .clamp(self.first_bytes, self.segment_bytes);
        // Where the usual size could not be had, a small one is enough to go on.
        let bytes = if self.failed.is_some() {
            self.first_bytes
        } else if self.is_quiet() {
            self.capacity
        } else {
            grown
        };
        let (dir, ordinal) = (self.dir.clone(), self.place.ordinal + 1);
        if !self.aside {
            match segment::prepare(&dir, ordinal, bytes, &AtomicBool::new(true)) {
                Ok(file) => {
                    self.failed = None;
                    self.next = Next::Ready(file);
                }
                Err(error) => self.note_failure(&error),
            }
            return;
        }
        let urgent = Arc::new(AtomicBool::new(false));
        let hurry = urgent.clone();
        // A thread of its own: writing 64 MiB of zeros must hold up neither a flush nor a checkpoint.
        let spawned = std::thread::Builder::new()
            .name("log-prepare".to_owned())
            .spawn(move || segment::prepare(&dir, ordinal, bytes, &hurry));
        match spawned {
            Ok(preparing) => self.next = Next::Asked(preparing, urgent),
            Err(error) => self.note_failure(&error),
        }
    }

    /// The next segment, waiting for it if need be.
    fn prepared(&mut self) -> Option<Box<dyn DiskFile>> {
        let made = match std::mem::replace(&mut self.next, Next::None) {
            Next::Asked(preparing, urgent) => {
                urgent.store(true, Ordering::Relaxed);
                preparing
                    .join()
                    .unwrap_or_else(|_| Err(io::Error::other("the thread ended")))
            }
            Next::None => return None,
            Next::Ready(file) => Ok(file),
        };
        match made {
            Ok(file) => {
                self.failed = None;
                Some(file)
            }
            Err(error) => {
                self.note_failure(&error);
                None
            }
        }
    }

    fn note_failure(&mut self, error: &io::Error) {
        let path = segment::path(&self.dir.path, self.place.ordinal + 1);
        let text = format!(
            "preparing `{}` failed: {error}: {}",
            path.display(),
            remedy(error)
        );
        if self.failed.as_ref() != Some(&text) {
            tracing::error!(reason = %text, "the next segment of the decision log is missing");
        }
        self.failed = Some(text);
        self.retry_at = self.clock.monotonic().saturating_add(RETRY_AFTER);
    }

    /// Goes on in the next segment, waiting for it if need be.
    fn enter_next_segment(&mut self) -> Result<(), Failure> {
        if matches!(self.next, Next::None) && self.may_try() {
            self.ask();
        }
        let Some(file) = self.prepared() else {
            let why = self.failed.clone();
            return Err(Failure::NoSegment(
                why.unwrap_or_else(|| "the next segment is missing".to_owned()),
            ));
        };
        let ordinal = self.place.ordinal + 1;
        let capacity = start_segment(&*file, ordinal, self.place.next, self.place.before);
        self.capacity = capacity.map_err(|error| self.write_failure("header", &error))?;
        self.file = file;
        self.place.ordinal = ordinal;
        self.place.offset = SEGMENT_HEAD;
        self.began = None;
        Ok(())
    }

    fn write_failure(&self, step: &'static str, error: &io::Error) -> Failure {
        let path = segment::path(&self.dir.path, self.place.ordinal);
        Failure::Write(format!(
            "{step} of `{}` failed: {error}: {}, then start again",
            path.display(),
            remedy(error)
        ))
    }

    fn fail(&self, failure: Failure, batch: &mut Vec<Queued>) {
        let text = match failure {
            Failure::NoSegment(text) => text,
            Failure::Write(text) => {
                // After a failed flush nobody knows what is on the disk: the log stays closed.
                self.queue.refuse(&text);
                tracing::error!(reason = %text, "the decision log is closed until it is opened again");
                text
            }
        };
        metrics::counter!("bailiwick_decision_log_refused_total").increment(batch.len() as u64);
        for record in batch.drain(..) {
            record.answer(Err(NotAppended::Unwritable(text.clone())));
        }
    }
}

impl Drop for Writer {
    /// However the thread ends, nobody waits for it in vain.
    fn drop(&mut self) {
        self.queue.close();
        self.queue.refuse("the log's writing thread has ended");
        // A segment being prepared is finished, not torn.
        let _spare = self.prepared();
        self.progress.close();
    }
}

/// What one write will make durable: how many records, and where the log stands then.
struct Flush {
    records: u64,
    place: Place,
}

/// Tells the callers of a flush their indices, removing their records from the front of `batch`.
fn answer(batch: &mut Vec<Queued>, flush: &Flush) {
    let first = flush.place.next - flush.records;
    let records = usize::try_from(flush.records)
        .unwrap_or(usize::MAX)
        .min(batch.len());
    for (record, index) in batch.drain(..records).zip(first..) {
        record.answer(Ok(index));
    }
}

/// What a person can do about an I/O error.
pub(crate) fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull => "free space on the volume of the data folder",
        io::ErrorKind::QuotaExceeded => "raise the quota of the data folder",
        io::ErrorKind::ReadOnlyFilesystem => "mount the volume of the data folder for writing",
        io::ErrorKind::PermissionDenied => "give the service's user the right to write there",
        io::ErrorKind::FileTooLarge => "raise the service's file size limit",
        _ => "look at the disk and its kernel messages",
    }
}

#[expect(clippy::cast_precision_loss, reason = "a metric; batches are far below 2^52")]
fn as_f64(count: usize) -> f64 {
    count as f64
}
