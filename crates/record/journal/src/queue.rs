//! The bounded queue between callers and the thread that writes.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bailiwick_audit::entry::Kind;
use bailiwick_base::Digest;
use tokio::sync::oneshot;

use crate::error::NotAppended;

/// A record with everything that could be done on the caller's side: only its numbers are missing.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(crate) at: u64,
    pub(crate) commitment: [u8; 32],
    pub(crate) epoch: u64,
    pub(crate) kind: Kind<'static>,
    pub(crate) state_pos: u64,
    pub(crate) tenant_ref: Arc<str>,
    pub(crate) sealed: Vec<u8>,
    pub(crate) sealed_digest: Digest,
    /// `None`: nobody waits.
    pub(crate) waiter: Option<Waiter>,
}

pub(crate) type Waiter = oneshot::Sender<Result<u64, NotAppended>>;

impl Queued {
    /// Tells the caller.
    pub(crate) fn answer(self, answer: Result<u64, NotAppended>) {
        if let Some(waiter) = self.waiter {
            // A caller that went away does not need to know; its record stands.
            let _gone = waiter.send(answer);
        }
    }
}

#[derive(Debug, Default)]
struct Inside {
    pending: Vec<Queued>,
    /// They are to be written now: somebody waits for one of them, or they take too much room.
    due: bool,
    bytes: usize,
    closed: bool,
    /// The writer waits: the next record must wake it.
    idle: bool,
    /// Why nothing is taken any more.
    refusing: Option<String>,
}

/// Records that wait for the next flush.
#[derive(Debug)]
pub(crate) struct Queue {
    inside: Mutex<Inside>,
    arrived: Condvar,
    records_max: usize,
    bytes_max: usize,
    /// Somebody waits; read without the lock.
    waiting: AtomicBool,
    /// How many flushes to come are not followed by looking out for a record. The writer's alone.
    rests: AtomicU32,
}

/// How often the writer looks again before it sleeps: about 20 µs, what waking it would cost.
const SPINS: u32 = 1_200;
/// How often the writer does not look out after it did in vain: callers come back at their own pace, and on a
/// busy processor looking out takes the time that they need.
const RESTS: u32 = 16;
/// How long records that nobody waits for (outcomes) wait for one that somebody does: they share its flush, so that
/// a call costs one flush, and the next caller does not find the disk busy with an outcome.
const LINGER: Duration = Duration::from_millis(20);

impl Queue {
    pub(crate) fn new(records_max: usize, bytes_max: usize) -> Self {
        Self {
            inside: Mutex::default(),
            arrived: Condvar::new(),
            records_max,
            bytes_max,
            waiting: AtomicBool::new(false),
            rests: AtomicU32::new(0),
        }
    }

    /// The fields stay whole if a holder panics: every change is a single assignment or push.
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits a moment for the next record without sleeping: a caller that was just answered often comes back
    /// sooner than a sleeping thread could be woken.
    fn look_out(&self) {
        let rests = self.rests.load(Ordering::Relaxed);
        if rests > 0 {
            self.rests.store(rests - 1, Ordering::Relaxed);
            return;
        }
        for _ in 0..SPINS {
            if self.waiting.load(Ordering::Acquire) {
                return;
            }
            std::hint::spin_loop();
        }
        self.rests.store(RESTS, Ordering::Relaxed);
    }

    /// Queues a record, or refuses it at once.
    pub(crate) fn push(&self, record: Queued) -> Result<(), NotAppended> {
        let mut inside = self.lock();
        if let Some(reason) = &inside.refusing {
            return Err(NotAppended::Unwritable(reason.clone()));
        }
        if inside.pending.len() >= self.records_max || inside.bytes + record.sealed.len() > self.bytes_max {
            return Err(NotAppended::QueueFull {
                max: self.records_max,
            });
        }
        inside.bytes += record.sealed.len();
        let waited = record.waiter.is_some();
        inside.pending.push(record);
        if waited {
            self.waiting.store(true, Ordering::Release);
        }
        let is_half_full = inside.pending.len() >= self.records_max / 2 || inside.bytes >= self.bytes_max / 2;
        inside.due |= waited || is_half_full;
        // The first that nobody waits for starts the writer's patience.
        let wakes = inside.due || inside.pending.len() == 1;
        if wakes && std::mem::take(&mut inside.idle) {
            drop(inside);
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Takes everything that waits, waiting for the first if need be, and a little longer while nobody waits for
    /// any of it. `None` once the queue is closed and empty. `into` is an empty vector whose memory is used again.
    /// `is_alone` says that the last flush had one caller: then it is worth looking out for the next one before
    /// going to sleep.
    pub(crate) fn take(&self, mut into: Vec<Queued>, is_alone: bool) -> Option<Vec<Queued>> {
        if is_alone {
            self.look_out();
        }
        let mut inside = self.lock();
        while !inside.due {
            if inside.closed && inside.pending.is_empty() {
                return None;
            }
            inside.idle = true;
            if inside.pending.is_empty() {
                inside = self.arrived.wait(inside).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let woken = self.arrived.wait_timeout(inside, LINGER);
            let timeout;
            (inside, timeout) = woken.unwrap_or_else(PoisonError::into_inner);
            inside.due |= timeout.timed_out() || inside.closed;
        }
        inside.idle = false;
        inside.due = false;
        inside.bytes = 0;
        self.waiting.store(false, Ordering::Relaxed);
        std::mem::swap(&mut inside.pending, &mut into);
        Some(into)
    }

    /// Takes what waits now, and waits for nothing.
    pub(crate) fn take_now(&self) -> Vec<Queued> {
        let mut inside = self.lock();
        inside.bytes = 0;
        inside.due = false;
        self.waiting.store(false, Ordering::Relaxed);
        std::mem::take(&mut inside.pending)
    }

    /// Refuses from now on, and everything that waits.
    pub(crate) fn refuse(&self, reason: &str) {
        let waiting = {
            let mut inside = self.lock();
            inside.refusing.get_or_insert_with(|| reason.to_owned());
            inside.bytes = 0;
            inside.due = false;
            std::mem::take(&mut inside.pending)
        };
        for record in waiting {
            record.answer(Err(NotAppended::Unwritable(reason.to_owned())));
        }
    }

    /// Why nothing is taken any more, if so.
    pub(crate) fn refusing(&self) -> Option<String> {
        self.lock().refusing.clone()
    }

    /// Ends the writer once it has written what waits.
    pub(crate) fn close(&self) {
        let mut inside = self.lock();
        inside.closed = true;
        inside.due |= !inside.pending.is_empty();
        inside
            .refusing
            .get_or_insert_with(|| "the log is closed".to_owned());
        drop(inside);
        self.arrived.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(waiter: Option<Waiter>) -> Queued {
        Queued {
            at: 0,
            commitment: [0; 32],
            epoch: 0,
            kind: Kind::OUTCOME,
            state_pos: 0,
            tenant_ref: Arc::from("t"),
            sealed: vec![0; 8],
            sealed_digest: Digest::default(),
            waiter,
        }
    }

    #[test]
    fn what_nobody_waits_for_shares_the_flush_of_what_somebody_does() {
        let queue = Queue::new(64, 1 << 20);
        queue.push(record(None)).expect("room");
        queue.push(record(Some(oneshot::channel().0))).expect("room");
        let taken = queue.take(Vec::new(), false).expect("open");
        assert_eq!(taken.len(), 2);
    }

    #[test]
    fn what_nobody_waits_for_is_written_all_the_same() {
        let queue = Queue::new(64, 1 << 20);
        queue.push(record(None)).expect("room");
        assert_eq!(queue.take(Vec::new(), false).expect("open").len(), 1);
        queue.push(record(None)).expect("room");
        queue.close();
        assert_eq!(queue.take(Vec::new(), false).expect("what waits").len(), 1);
        assert!(queue.take(Vec::new(), false).is_none());
    }

    #[test]
    fn a_half_full_queue_does_not_wait_for_anybody() {
        let queue = Queue::new(4, 1 << 20);
        queue.push(record(None)).expect("room");
        assert!(!queue.lock().due);
        queue.push(record(None)).expect("room");
        assert!(queue.lock().due);
    }
}
