//! The bounded queue between callers and the thread that writes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

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
    /// Something is pending; read without the lock.
    waiting: AtomicBool,
}

/// How often the writer looks again before it sleeps: about 20 µs, what waking it would cost.
const SPINS: u32 = 1_200;

impl Queue {
    pub(crate) fn new(records_max: usize, bytes_max: usize) -> Self {
        Self {
            inside: Mutex::default(),
            arrived: Condvar::new(),
            records_max,
            bytes_max,
            waiting: AtomicBool::new(false),
        }
    }

    /// The fields stay whole if a holder panics: every change is a single assignment or push.
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits a moment for the next record without sleeping: a caller that was just answered often comes back
    /// sooner than a sleeping thread could be woken.
    fn spin(&self) {
        for _ in 0..SPINS {
            if self.waiting.load(Ordering::Acquire) {
                return;
            }
            std::hint::spin_loop();
        }
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
        inside.pending.push(record);
        self.waiting.store(true, Ordering::Release);
        if std::mem::take(&mut inside.idle) {
            drop(inside);
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Takes everything that waits, waiting for the first if need be. `None` once the queue is closed and
    /// empty. `into` is an empty vector whose memory is used again. `is_alone` says that the last flush had
    /// one caller: then it is worth looking out for the next one before going to sleep.
    pub(crate) fn take(&self, mut into: Vec<Queued>, is_alone: bool) -> Option<Vec<Queued>> {
        if is_alone {
            self.spin();
        }
        let mut inside = self.lock();
        while inside.pending.is_empty() {
            if inside.closed {
                return None;
            }
            inside.idle = true;
            inside = self.arrived.wait(inside).unwrap_or_else(PoisonError::into_inner);
        }
        inside.idle = false;
        inside.bytes = 0;
        self.waiting.store(false, Ordering::Relaxed);
        std::mem::swap(&mut inside.pending, &mut into);
        Some(into)
    }

    /// Refuses from now on, and everything that waits.
    pub(crate) fn refuse(&self, reason: &str) {
        let waiting = {
            let mut inside = self.lock();
            inside.refusing.get_or_insert_with(|| reason.to_owned());
            inside.bytes = 0;
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
        inside
            .refusing
            .get_or_insert_with(|| "the log is closed".to_owned());
        drop(inside);
        self.arrived.notify_one();
    }
}
