//! A log in a temporary folder with real keys.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use bailiwick_audit::entry::{Kind, commitment};
use bailiwick_audit::note::{NoteSigner, NoteVerifier, SignerError, key_id};
use bailiwick_base::{
    Clock, Digest, Epoch, ManualClock, NodeName, SealContext, SealError, Sealer, StatePos, TenantId, Time,
};
use bailiwick_journal::{
    Appending, DecisionLog, Deps, JournalError, LogConfig, LogReader, NoteKey, OsDisk, Record, Recovery,
};
use tempfile::TempDir;

pub(crate) const ORIGIN: &str = "test.invalid/decisions/node-1";
pub(crate) const HEAD: usize = 96;

/// AES-256-GCM with the context as associated data, nonce from the commitment of the plaintext.
pub(crate) struct TestSealer {
    pub(crate) erased: Option<TenantId>,
}

impl TestSealer {
    fn key(&self, tenant: Option<&TenantId>) -> Result<[u8; 32], SealError> {
        if self.erased.is_some() && self.erased.as_ref() == tenant {
            return Err(SealError::NoKey(
                tenant.map(ToString::to_string).unwrap_or_default(),
            ));
        }
        Ok(tenant.map_or([7; 32], Self::log_key))
    }

    pub(crate) fn log_key(tenant: &TenantId) -> [u8; 32] {
        bailiwick_base::Digest::of(tenant.as_str().as_bytes()).0
    }
}

fn aad(context: &SealContext<'_>) -> Vec<u8> {
    [context.table.as_bytes(), context.row, context.column.as_bytes()].join(&0)
}

impl Sealer for TestSealer {
    fn seal(&self, context: &SealContext<'_>, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let key = self.key(context.tenant)?;
        let nonce: [u8; 12] = commitment(&key, plain)[..12].try_into().unwrap();
        let aead = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap());
        let mut sealed = plain.to_vec();
        aead.seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(aad(context)),
            &mut sealed,
        )
        .unwrap();
        sealed.splice(0..0, nonce);
        Ok(sealed)
    }

    fn open(&self, context: &SealContext<'_>, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let aead = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &self.key(context.tenant)?).unwrap());
        let does_not_open = || SealError::DoesNotOpen {
            table: context.table,
            column: context.column,
        };
        let (nonce, rest) = sealed.split_first_chunk::<12>().ok_or_else(does_not_open)?;
        let mut bytes = rest.to_vec();
        let plain = aead
            .open_in_place(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(aad(context)),
                &mut bytes,
            )
            .map_err(|_| does_not_open())?;
        Ok(plain.to_vec())
    }

    fn commit(&self, tenant: Option<&TenantId>, payload: &[u8]) -> Result<[u8; 32], SealError> {
        Ok(commitment(&self.key(tenant)?, payload))
    }

    fn vouch(&self, purpose: &'static str, _: &[u8]) -> Result<Digest, SealError> {
        Err(SealError::NoKey(purpose.to_owned()))
    }
}

pub(crate) struct TestSigner {
    name: String,
    key: Ed25519KeyPair,
}

impl NoteSigner for TestSigner {
    fn name(&self) -> &str {
        &self.name
    }
    fn key_id(&self) -> u32 {
        key_id(&self.name, self.key.public_key().as_ref().try_into().unwrap())
    }
    fn sign(&self, text: &[u8]) -> Result<[u8; 64], SignerError> {
        Ok(self.key.sign(text).as_ref().try_into().unwrap())
    }
}

pub(crate) fn note_key(origin: &str, seed: u8) -> NoteKey {
    let key = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
    let public: [u8; 32] = key.public_key().as_ref().try_into().unwrap();
    let signer = Arc::new(TestSigner {
        name: origin.to_owned(),
        key,
    });
    NoteKey {
        signer,
        verifier: NoteVerifier::new(origin, public).unwrap(),
    }
}

/// A clock at which the log's writing thread can be held: it reads the span of each flush there.
#[derive(Default)]
pub(crate) struct Gate {
    closed: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    pub(crate) fn set(&self, closed: bool) {
        *self.closed.lock().unwrap() = closed;
        self.changed.notify_all();
    }
}

impl Clock for Gate {
    fn now(&self) -> Time {
        Time::from_secs(1_763_750_000)
    }
    fn monotonic(&self) -> Duration {
        let _open = self
            .changed
            .wait_while(self.closed.lock().unwrap(), |closed| *closed)
            .unwrap();
        Duration::ZERO
    }
}

/// A log whose writer is held in a flush of one record that carries `x`.
pub(crate) fn held(dir: &Path, config: LogConfig) -> (DecisionLog, Arc<Gate>, Appending) {
    let gate = Arc::new(Gate::default());
    let deps = Deps {
        clock: gate.clone(),
        ..deps()
    };
    let (log, _) = open_log(dir, config, deps).unwrap();
    gate.set(true);
    let first = log.append(record("acme", "x"));
    // Once its frame is in the file, the writer has taken it and waits at the gate.
    while frames(&fs::read(segment(dir, 0)).unwrap()).is_empty() {
        std::thread::yield_now();
    }
    (log, gate, first)
}

pub(crate) fn deps() -> Deps {
    Deps {
        clock: Arc::new(ManualClock::at(Time::from_secs(1_763_750_000))),
        sealer: Arc::new(TestSealer { erased: None }),
        key: note_key(ORIGIN, 1),
        disk: Arc::new(OsDisk),
    }
}

/// Small segments, and no checkpoint but the ones that are asked for.
pub(crate) fn config() -> LogConfig {
    LogConfig {
        first_segment_bytes: 256 << 10,
        segment_bytes: 256 << 10,
        checkpoint_every: Duration::from_secs(3600),
        ..LogConfig::new(NodeName::parse("node-1").unwrap(), ORIGIN)
    }
}

pub(crate) fn folder() -> TempDir {
    // Memory where there is some: what is tested is the order and the bytes, not the disk.
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        TempDir::new_in(memory).unwrap()
    } else {
        TempDir::new().unwrap()
    }
}

/// Opens a log. Another test may be starting a process at this moment: between fork and exec that process
/// holds every lock of this one, so a lock that was just let go may still be held.
pub(crate) fn open_log(
    dir: &Path,
    config: LogConfig,
    deps: Deps,
) -> Result<(DecisionLog, Recovery), JournalError> {
    unlocked(
        || DecisionLog::open(dir, config.clone(), deps.clone()),
        |e| matches!(e, JournalError::Locked { .. }),
    )
}

pub(crate) fn unlocked<T, E>(open: impl Fn() -> Result<T, E>, is_lock: impl Fn(&E) -> bool) -> Result<T, E> {
    let guard = Instant::now();
    loop {
        match open() {
            Err(error) if is_lock(&error) && guard.elapsed() < Duration::from_secs(5) => {
                std::thread::yield_now()
            }
            opened => return opened,
        }
    }
}

pub(crate) fn open(dir: &Path) -> DecisionLog {
    open_log(dir, config(), deps()).unwrap().0
}

pub(crate) fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

pub(crate) fn record(name: &str, payload: impl Into<Vec<u8>>) -> Record {
    Record {
        kind: Kind::DECISION,
        tenant: Some(tenant(name)),
        tenant_ref: Arc::from(format!("ref-{name}")),
        epoch: Epoch(3),
        state_pos: StatePos(7),
        payload: payload.into(),
    }
}

pub(crate) fn wait<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
        .block_on(async {
            tokio::time::timeout(Duration::from_secs(30), future)
                .await
                .expect("the log hangs")
        })
}

/// Appends one after the other, each in its own flush.
pub(crate) fn append_each(log: &DecisionLog, names: &[&str]) {
    for (n, name) in names.iter().enumerate() {
        let before = log.size();
        assert_eq!(
            wait(log.append(record(name, format!("{{\"n\":{n}}}")))),
            Ok(before)
        );
    }
}

/// `(index, tenant_ref, tenant_seq)` of every entry.
pub(crate) fn entries(dir: &Path) -> Vec<(u64, String, u64)> {
    LogReader::open(dir, ORIGIN)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let leaf = entry.leaf().unwrap();
            (entry.index, leaf.tenant_ref.to_owned(), leaf.tenant_seq)
        })
        .collect()
}

pub(crate) fn segment(dir: &Path, ordinal: u64) -> PathBuf {
    dir.join("segments").join(format!("{ordinal:016}.seg"))
}

/// A frame's place in its segment: start, end, first index of its flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) flush: u64,
}

/// The frames of a segment, read from the documented form.
pub(crate) fn frames(bytes: &[u8]) -> Vec<Place> {
    let number = |at: usize, len: usize| {
        bytes[at..at + len]
            .iter()
            .fold(0_u64, |value, byte| (value << 8) | u64::from(*byte))
    };
    let mut places = Vec::new();
    let mut start = 4096;
    while bytes.get(start..start + 4) == Some(b"BwF1") {
        let end = start + HEAD + usize::try_from(number(start + 4, 4) + number(start + 8, 4)).unwrap();
        places.push(Place {
            start,
            end,
            flush: number(start + 24, 8),
        });
        start = end;
    }
    places
}

/// The log's files as a crash would leave them: copied while it is open.
pub(crate) fn image(dir: &Path) -> TempDir {
    let copy = folder();
    copy_into(dir, copy.path());
    copy
}

fn copy_into(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_into(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
