//! The decision log of one node.

use std::fs::TryLockError;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use bailiwick_audit::checkpoint::{Origin, SignedCheckpoint};
use bailiwick_audit::entry::{Kind, Opening};
use bailiwick_audit::merkle::{ConsistencyProof, InclusionProof, LeafHash};
use bailiwick_audit::note::{NoteSigner, NoteVerifier, SignerError};
use bailiwick_audit::proof::ProofFile;
use bailiwick_base::{Clock, Digest, Epoch, NodeName, SealContext, Sealer, StatePos, TenantId, Time};
use bailiwick_keys::LogSigner;
use tokio::sync::oneshot;

use crate::base::{self, KeptBase};
use crate::cursor::{Cursor, Milestones, Sums};
use crate::disk::{Dir, Disk, DiskFile, Open};
use crate::error::{JournalError, NotAppended};
use crate::folder::CHECKPOINT;
use crate::frame::{FRAME_MAX, SEGMENT_HEAD};
use crate::publish::{Progress, Proofs, Publisher, Tiles};
use crate::queue::{Queue, Queued};
use crate::reader::LogEntry;
use crate::replay::{Recovery, replay};
use crate::segment;
use crate::write::{Writer, WriterConfig};

/// Longest payload in bytes, before sealing.
pub const PAYLOAD_MAX: usize = 64 * 1024;

/// `tenant_ref` of records that belong to the installation and not to a tenant.
pub const INSTALLATION_REF: &str = "installation";

const MIB: u64 = 1 << 20;
/// Entries between two looks while the start of a span is searched.
const RECALL_STEP: u64 = 4096;
/// Smallest segment: takes the longest frame.
const SEGMENT_MIN: u64 = 256 << 10;

/// How a decision log is kept.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// This node; part of every leaf.
    pub node: NodeName,
    /// Name of the log and of its key (C2SP tlog-checkpoint `origin`), such as `example.com/decisions/node-1`.
    pub origin: String,
    /// Bytes of the first segment; small, because a new folder waits for it.
    pub first_segment_bytes: u64,
    /// Bytes of a segment once the log has grown.
    pub segment_bytes: u64,
    /// How old the first entry of a segment may be when another one is put behind it: whole segments are pruned, so a
    /// quiet log keeps its entries that much longer. By size alone without.
    pub segment_age_max: Option<Duration>,
    /// Records that may wait for the disk.
    pub queue_records_max: usize,
    /// Bytes of sealed payload that may wait for the disk.
    pub queue_bytes_max: usize,
    /// How old an entry may become before a checkpoint covers it.
    pub checkpoint_every: Duration,
    /// So many new entries get a checkpoint at once.
    pub checkpoint_entries: u64,
}

impl LogConfig {
    /// The usual sizes: segments of 4 MiB growing to 64 MiB, 16,384 waiting records, a checkpoint at least
    /// every 100 ms or 10,000 entries.
    #[must_use]
    pub fn new(node: NodeName, origin: impl Into<String>) -> Self {
        Self {
            node,
            origin: origin.into(),
            first_segment_bytes: 4 * MIB,
            segment_bytes: 64 * MIB,
            segment_age_max: None,
            queue_records_max: 16_384,
            queue_bytes_max: 64 << 20,
            checkpoint_every: Duration::from_millis(100),
            checkpoint_entries: 10_000,
        }
    }

    fn require_valid(&self) -> Result<Origin, JournalError> {
        const { assert!(SEGMENT_MIN >= SEGMENT_HEAD + FRAME_MAX as u64) };
        for (setting, found) in [
            ("first_segment_bytes", self.first_segment_bytes),
            ("segment_bytes", self.segment_bytes),
        ] {
            if found < SEGMENT_MIN {
                let expected = "at least 262144 bytes";
                return Err(JournalError::Setting {
                    setting,
                    found: found.to_string(),
                    expected,
                });
            }
        }
        for (setting, found) in [
            ("queue_records_max", self.queue_records_max as u64),
            ("checkpoint_entries", self.checkpoint_entries),
        ] {
            if found == 0 {
                return Err(JournalError::Setting {
                    setting,
                    found: "0".to_owned(),
                    expected: "1 or more",
                });
            }
        }
        Origin::parse(&self.origin).map_err(|_| JournalError::Setting {
            setting: "origin",
            found: bailiwick_base::limits::shown(&self.origin),
            expected: "1 to 255 bytes without spaces or `+`",
        })
    }
}

/// The Ed25519 key of a log: the part that signs and the part that everybody may have.
#[derive(Clone)]
pub struct NoteKey {
    /// Signs checkpoints; its name is the origin of the log.
    pub signer: Arc<dyn NoteSigner + Send + Sync>,
    /// Verifies them.
    pub verifier: NoteVerifier,
}

impl NoteKey {
    /// The key that the keyring holds for the log of this origin.
    ///
    /// # Errors
    /// [`JournalError::Key`] when the key is not fit for notes.
    pub fn from_log_signer(signer: Arc<LogSigner>) -> Result<Self, JournalError> {
        let verifier = NoteVerifier::new(signer.origin(), *signer.public_key()).map_err(JournalError::Key)?;
        Ok(Self {
            signer: Arc::new(Held {
                signer,
                key_id: verifier.key_id(),
            }),
            verifier,
        })
    }
}

/// A key of the keyring as `audit` asks for it.
struct Held {
    signer: Arc<LogSigner>,
    key_id: u32,
}

impl NoteSigner for Held {
    fn name(&self) -> &str {
        self.signer.origin()
    }

    fn key_id(&self) -> u32 {
        self.key_id
    }

    fn sign(&self, text: &[u8]) -> Result<[u8; 64], SignerError> {
        self.signer
            .sign(text)
            .map_err(|error| SignerError(Box::new(error)))
    }
}

impl std::fmt::Debug for NoteKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "NoteKey({})", self.verifier.vkey())
    }
}

/// What a log needs from outside.
#[derive(Clone)]
pub struct Deps {
    /// Time of entries, and spans for metrics.
    pub clock: Arc<dyn Clock>,
    /// Seals payloads and commits to them.
    pub sealer: Arc<dyn Sealer>,
    /// Signs checkpoints.
    pub key: NoteKey,
    /// Where the files are.
    pub disk: Arc<dyn Disk>,
}

/// What a caller wants kept.
#[derive(Debug, Clone)]
pub struct Record {
    /// What it records.
    pub kind: Kind<'static>,
    /// Whose payload it is; `None` is the installation's.
    pub tenant: Option<TenantId>,
    /// The tenant's pseudonym in the leaf, or [`INSTALLATION_REF`].
    pub tenant_ref: Arc<str>,
    /// Revocation epoch it was taken at.
    pub epoch: Epoch,
    /// Position of the state log it was taken at.
    pub state_pos: StatePos,
    /// Canonical payload ([`crate::payload`]), at most [`PAYLOAD_MAX`] bytes.
    pub payload: Vec<u8>,
}

/// The decision log. Dropping it writes what waits, publishes it, and ends its threads.
pub struct DecisionLog {
    pub(crate) dir: Dir,
    pub(crate) origin: String,
    /// Where it begins, once it was pruned.
    pub(crate) base: Mutex<Option<Arc<KeptBase>>>,
    /// Held by whoever prunes it.
    pub(crate) pruning: tokio::sync::Mutex<()>,
    clock: Arc<dyn Clock>,
    sealer: Arc<dyn Sealer>,
    queue: Arc<Queue>,
    progress: Arc<Progress>,
    proofs: Arc<Proofs>,
    pub(crate) milestones: Arc<Milestones>,
    threads: Vec<JoinHandle<()>>,
    queue_records_max: usize,
    /// Held as long as the log is open.
    _lock: Box<dyn DiskFile>,
}

/// A log that is open, and what works it.
pub(crate) struct Parts {
    pub(crate) log: DecisionLog,
    pub(crate) writer: Writer,
    pub(crate) publisher: Publisher,
    pub(crate) recovery: Recovery,
}

impl DecisionLog {
    /// Opens the log in `dir`, making it if there is none: reads every entry, cuts a torn tail, refuses
    /// damage, starts the writing and the publishing thread.
    ///
    /// # Errors
    /// [`JournalError`]; nothing of a damaged log is changed.
    pub fn open(dir: &Path, config: LogConfig, deps: Deps) -> Result<(Self, Recovery), JournalError> {
        let parts = Self::assemble(dir, config, deps, true)?;
        let (mut log, writer, publisher) = (parts.log, parts.writer, parts.publisher);
        // Threads of their own, not tasks: both block on the disk by design.
        log.start("log-publish", move || publisher.run())?;
        log.start("log-write", move || writer.run())?;
        Ok((log, parts.recovery))
    }

    /// The log and what works it. `aside`: the next segment is prepared by a thread of its own.
    pub(crate) fn assemble(
        dir: &Path,
        config: LogConfig,
        deps: Deps,
        aside: bool,
    ) -> Result<Parts, JournalError> {
        let origin = config.require_valid()?;
        let dir = Dir::new(deps.disk, dir);
        dir.make(Path::new(CHECKPOINT))
            .map_err(JournalError::file("creating", &dir.path))?;
        let lock = lock(&dir)?;
        require_checkpoint_with_segments(&dir)?;
        let kept = base::read(&dir, origin.as_str())?;
        let begins = kept.as_ref().map(|kept| &kept.base);
        let tiles = Tiles::open(&dir, &origin, deps.key, begins)?;
        let checkpoint = tiles.checkpoint();
        let bytes = config.first_segment_bytes;
        let replayed = replay(&dir, origin.as_str(), bytes, &checkpoint, begins)?;
        let recovery = replayed.recovery.clone();
        let queue = Arc::new(Queue::new(config.queue_records_max, config.queue_bytes_max));
        let progress = Arc::new(Progress::new(
            recovery.entries,
            checkpoint.size,
            config.checkpoint_entries,
        ));
        let proofs = tiles.proofs();
        let milestones = replayed.milestones.clone();
        let publisher = Publisher {
            dir: dir.clone(),
            tiles,
            progress: progress.clone(),
            from: replayed.unpublished,
            every: config.checkpoint_every,
            entries_max: config.checkpoint_entries,
        };
        let sizes = WriterConfig {
            dir: dir.clone(),
            node: config.node,
            first_bytes: config.first_segment_bytes,
            segment_bytes: config.segment_bytes,
            age_max: config.segment_age_max,
            aside,
        };
        let writer = Writer::new(
            sizes,
            deps.clock.clone(),
            queue.clone(),
            progress.clone(),
            replayed,
        )
        .map_err(JournalError::file("reading", &dir.path))?;
        let log = Self {
            dir,
            origin: origin.to_string(),
            base: Mutex::new(kept.map(Arc::new)),
            pruning: tokio::sync::Mutex::default(),
            clock: deps.clock,
            sealer: deps.sealer,
            queue,
            progress,
            proofs,
            milestones,
            threads: Vec::new(),
            queue_records_max: config.queue_records_max,
            _lock: lock,
        };
        Ok(Parts {
            log,
            writer,
            publisher,
            recovery,
        })
    }

    /// Nobody publishes by himself: [`DecisionLog::integrate`] fails instead of waiting.
    pub(crate) fn end_publishing(&self) {
        self.progress.end();
    }

    fn start(&mut self, name: &'static str, run: impl FnOnce() + Send + 'static) -> Result<(), JournalError> {
        let started = std::thread::Builder::new().name(name.to_owned()).spawn(run);
        match started {
            Ok(thread) => {
                self.threads.push(thread);
                Ok(())
            }
            Err(_) => {
                // Without a writer nobody would say that no more entries come.
                self.progress.close();
                Err(JournalError::Thread { name })
            }
        }
    }

    /// Queues a record and resolves with its index once it is durable (sequenced). The record is sealed and
    /// queued before this returns; dropping the future does not take it back.
    pub fn append(&self, record: Record) -> Appending {
        let (sender, receiver) = oneshot::channel();
        Appending(match self.enqueue(record, Some(sender)) {
            Ok(()) => AppendingState::Waiting(receiver),
            Err(refused) => AppendingState::Refused(Some(refused)),
        })
    }

    /// Queues a record that nobody waits for. It is written by one of the next flushes.
    ///
    /// # Errors
    /// [`NotAppended`] when it is refused at once. A later write error is not told here.
    pub fn append_unwaited(&self, record: Record) -> Result<(), NotAppended> {
        self.enqueue(record, None)
    }

    fn enqueue(&self, record: Record, waiter: Option<crate::queue::Waiter>) -> Result<(), NotAppended> {
        let Record {
            kind,
            tenant,
            tenant_ref,
            epoch,
            state_pos,
            payload,
        } = record;
        if payload.len() > PAYLOAD_MAX {
            return Err(NotAppended::TooLong {
                part: "payload",
                found: payload.len(),
                max: PAYLOAD_MAX,
            });
        }
        let commitment = self
            .sealer
            .commit(tenant.as_ref(), &payload)
            .map_err(NotAppended::Seal)?;
        let sealed = self
            .sealer
            .seal(&payload_context(tenant.as_ref(), &commitment), &payload)
            .map_err(NotAppended::Seal)?;
        if sealed.len() > crate::frame::SEALED_MAX {
            let (found, max) = (sealed.len(), crate::frame::SEALED_MAX);
            return Err(NotAppended::TooLong {
                part: "payload",
                found,
                max,
            });
        }
        self.queue.push(Queued {
            at: u64::try_from(self.clock.now().micros()).unwrap_or(0),
            commitment,
            epoch: epoch.0,
            kind,
            state_pos: state_pos.0,
            tenant_ref,
            sealed_digest: Digest::of(&sealed),
            sealed,
            waiter,
        })
    }

    /// Name of the log and of its key.
    #[must_use]
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir.path
    }

    /// Entries that are durable.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.progress.durable_size()
    }

    /// Records that may wait before [`NotAppended::QueueFull`].
    #[must_use]
    pub fn queue_records_max(&self) -> usize {
        self.queue_records_max
    }

    /// Why nothing is taken any more, if so: a write or flush failed.
    #[must_use]
    pub fn refusing(&self) -> Option<String> {
        self.queue.refusing()
    }

    /// The checkpoint that is shown.
    #[must_use]
    pub fn checkpoint(&self) -> Arc<SignedCheckpoint> {
        self.proofs.checkpoint()
    }

    /// Blocks until a checkpoint covers every entry that is durable now, and returns its size. Not for async
    /// threads.
    ///
    /// # Errors
    /// The reason why checkpoints are not published.
    pub fn integrate(&self) -> Result<u64, String> {
        self.progress.wait_integrated()
    }

    /// Proof that entry `index` is under the checkpoint that is shown, with the entry's hash.
    ///
    /// # Errors
    /// [`JournalError::NotIntegrated`], [`JournalError::Pruned`], [`JournalError::Prove`].
    pub fn prove_inclusion(
        &self,
        index: u64,
    ) -> Result<(LeafHash, InclusionProof, Arc<SignedCheckpoint>), JournalError> {
        self.require_kept(index)?;
        self.proofs.prove_inclusion(index)
    }

    /// Proof that the checkpoint that is shown extends the log's first `old` entries.
    ///
    /// # Errors
    /// [`JournalError::Prove`]; [`JournalError::Pruned`] where the hashes for it are gone.
    pub fn prove_consistency(
        &self,
        old: u64,
    ) -> Result<(ConsistencyProof, Arc<SignedCheckpoint>), JournalError> {
        let proof = self.proofs.prove_consistency(old);
        proof.map_err(|error| self.require_kept(old).err().unwrap_or(error))
    }

    /// The `.tlog-proof` file of entry `index`, with the leaf in it.
    ///
    /// # Errors
    /// [`JournalError::NotIntegrated`], [`JournalError::Pruned`], [`JournalError::Prove`].
    pub fn prove(&self, index: u64) -> Result<ProofFile, JournalError> {
        self.require_kept(index)?;
        self.proofs.prove(index)
    }

    /// Entry `index` as it is stored, `None` when it is not durable yet. Reads at most 256 entries.
    ///
    /// # Errors
    /// [`JournalError::File`], [`JournalError::Damaged`], [`JournalError::Pruned`].
    pub fn entry(&self, index: u64) -> Result<Option<LogEntry>, JournalError> {
        self.require_kept(index)?;
        let Some(place) = self.milestones.nearest(index).filter(|_| index < self.size()) else {
            return Ok(None);
        };
        let mut cursor = Cursor::at(&self.dir, place, Sums::Verify)?;
        while cursor.place().next <= index {
            if !cursor.advance()? {
                return Err(cursor.damaged(cursor.place().offset, "an entry that was durable is gone"));
            }
        }
        Ok(cursor.frame()?.map(|(frame, _)| LogEntry::from_frame(&frame)))
    }

    /// When the newest entry was recorded.
    ///
    /// # Errors
    /// As [`DecisionLog::entry`].
    pub fn last_at(&self) -> Result<Option<Time>, JournalError> {
        let last = self.size().checked_sub(1).filter(|last| *last >= self.minimum());
        let entry = last.map(|last| self.entry(last)).transpose()?.flatten();
        let at = entry.map(|entry| entry.leaf().map(|leaf| leaf.at)).transpose()?;
        Ok(at.map(|at| Time::from_micros(i64::try_from(at).unwrap_or(i64::MAX))))
    }

    /// Hands `each` the newest entries in order: every one from `since` on and a few before it, of the last
    /// `entries_max` at most. `true` when entries since then were left out.
    ///
    /// # Errors
    /// [`JournalError::File`], [`JournalError::Damaged`], [`JournalError::Leaf`], and what `each` returns.
    pub fn recall<E: From<JournalError>>(
        &self,
        since: Time,
        entries_max: u64,
        mut each: impl FnMut(&LogEntry) -> Result<(), E>,
    ) -> Result<bool, E> {
        let size = self.size();
        let kept = self.base();
        let minimum = kept.as_ref().map_or(0, |kept| kept.base.minimum);
        let floor = size.saturating_sub(entries_max).max(minimum);
        let since = u64::try_from(since.micros()).unwrap_or(0);
        // What was pruned ended before this: it is not missed by whoever asks for later ones.
        let gone_before = kept.map_or(0, |kept| {
            u64::try_from(kept.base.newest_at).unwrap_or(0).saturating_add(1)
        });
        let (mut from, mut reached) = (size, size == minimum);
        while !reached && from > floor {
            from = from.saturating_sub(RECALL_STEP).max(floor);
            reached = match self.entry(from)? {
                Some(entry) => {
                    from == 0 || entry.leaf()?.at < since || (from == minimum && gone_before <= since)
                }
                None => false,
            };
        }
        let Some(place) = self.milestones.nearest(from).filter(|_| size > 0) else {
            return Ok(!reached);
        };
        let mut cursor = Cursor::at(&self.dir, place, Sums::Verify)?;
        while cursor.place().next < size {
            if !cursor.advance()? {
                return Err(cursor
                    .damaged(cursor.place().offset, "an entry that was durable is gone")
                    .into());
            }
            if let Some((frame, _)) = cursor.frame()? {
                each(&LogEntry::from_frame(&frame))?;
            }
        }
        Ok(!reached)
    }

    /// The `.tlog-proof` file of entry `index` with its payload and the key that opens its commitment, for a
    /// receiver who may read it. `tenant` is whose entry it is.
    ///
    /// # Errors
    /// [`JournalError::NotIntegrated`], [`JournalError::Seal`], [`JournalError::Disclose`].
    pub fn disclose(
        &self,
        index: u64,
        tenant: Option<&TenantId>,
        opening_key: [u8; 32],
    ) -> Result<ProofFile, JournalError> {
        let size = self.size();
        let entry = self
            .entry(index)?
            .ok_or(JournalError::NotIntegrated { index, size })?;
        let payload = entry.open(&*self.sealer, tenant)?;
        let opening = Opening {
            leaf_index: index,
            key: opening_key,
            payload,
        };
        self.proofs.disclose(entry.leaf, opening)
    }
}

impl Drop for DecisionLog {
    fn drop(&mut self) {
        self.queue.close();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread of the decision log ended in a panic");
            }
        }
    }
}

impl std::fmt::Debug for DecisionLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DecisionLog({})", self.dir.path.display())
    }
}

/// Where a payload is sealed to: its commitment is in the leaf, so it opens beside no other leaf.
pub(crate) fn payload_context<'a>(tenant: Option<&'a TenantId>, commitment: &'a [u8]) -> SealContext<'a> {
    SealContext {
        tenant,
        table: "decision_log",
        row: commitment,
        column: "payload",
    }
}

fn lock(dir: &Dir) -> Result<Box<dyn DiskFile>, JournalError> {
    let path = &dir.path.join("lock");
    let file = dir
        .disk
        .open(path, Open::Keep)
        .map_err(JournalError::file("opening", path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(JournalError::Locked {
            path: path.to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(JournalError::file("locking", path)(source)),
    }
}

/// The first checkpoint is durable before the first segment: segments without one lost it.
fn require_checkpoint_with_segments(dir: &Dir) -> Result<(), JournalError> {
    let exists = |name| {
        let path = dir.path.join(name);
        dir.disk
            .exists(&path)
            .map_err(JournalError::file("opening", &path))
    };
    if !exists(CHECKPOINT)? && exists(segment::FOLDER)? {
        let reason = "segments are there, but no checkpoint: restore the checkpoint file";
        return Err(JournalError::Damaged {
            path: dir.path.join(CHECKPOINT),
            offset: 0,
            index: 0,
            reason,
        });
    }
    Ok(())
}

/// A record on its way. Resolves with its index once it is durable.
#[derive(Debug)]
pub struct Appending(AppendingState);

#[derive(Debug)]
enum AppendingState {
    Refused(Option<NotAppended>),
    Waiting(oneshot::Receiver<Result<u64, NotAppended>>),
}

impl Future for Appending {
    type Output = Result<u64, NotAppended>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let ended = || NotAppended::Unwritable("the log's writing thread has ended".to_owned());
        match &mut self.0 {
            AppendingState::Refused(refused) => Poll::Ready(Err(refused.take().unwrap_or_else(ended))),
            AppendingState::Waiting(answer) => Pin::new(answer)
                .poll(context)
                .map(|answer| answer.unwrap_or_else(|_| Err(ended()))),
        }
    }
}
