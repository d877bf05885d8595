//! What the decision log costs, beside what the disk and the hash allow, in one run:
//!
//! ```text
//! cargo run --release -p bailiwick-journal --example bench_log -- [FOLDER] [SECONDS] [PART]
//! ```
//!
//! Prints `name value` lines. Floors and log are measured in turns, five rounds in the same folder; a figure
//! is the median of the rounds, a ratio the median of the ratios within a round.

#![expect(clippy::disallowed_methods, reason = "measures with the real clock")]

use std::error::Error;
use std::fs::{self, File};
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bailiwick_audit::checkpoint::Origin;
use bailiwick_audit::entry::Kind;
use bailiwick_audit::fsck::{Content, Order, fsck_log};
use bailiwick_audit::merkle::{Tree, leaf_hash};
use bailiwick_base::{
    Clock, Digest, Epoch, Id, IdentityId, NodeName, Sealer, Secret, ServerName, SigningAlgorithm, StatePos,
    TenantId, Time,
};
use bailiwick_credential::{Claims, ScopeSet};
use bailiwick_decide::{
    Arguments, Bearer, Call, Decision, Door, Effect, ItemKind, MarkEffect, MarkScope, Principal, Reasons,
    Target,
};
use bailiwick_journal::{
    DecisionLog, Deps, KillEntry, KillJournal, KillMark, LogConfig, LogReader, NoteKey, OsDisk, Record,
    TileFolder, payload,
};
use bailiwick_keys::{Keyring, SystemEntropy, Unseal};
use uuid::Uuid;

/// The allocator of the product.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type Outcome<T> = Result<T, Box<dyn Error>>;

const ROUNDS: usize = 5;
const ORIGIN: &str = "bench.invalid/decisions/node-1";
/// Bytes of an event's payload.
const EVENT: usize = 512;

struct Machine(Instant);

impl Clock for Machine {
    fn now(&self) -> Time {
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Time::from_micros(i64::try_from(since.as_micros()).unwrap_or(0))
    }
    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

struct Bench {
    folder: PathBuf,
    span: Duration,
    keys: Arc<Keyring>,
    tenant: TenantId,
    /// Instead of the usual checkpoints: how far apart they are.
    checkpoint_every: Option<Duration>,
}

/// Rates and delays of one measurement.
struct Measured {
    per_s: f64,
    delays: Vec<f64>,
}

impl Measured {
    fn quantile(&mut self, part: f64) -> f64 {
        self.delays.sort_by(f64::total_cmp);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a position in a list"
        )]
        let place = (part * count(self.delays.len().saturating_sub(1))) as usize;
        self.delays.get(place).copied().unwrap_or(f64::NAN)
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a benchmark are far below 2^52"
)]
fn count(n: usize) -> f64 {
    n as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn print(name: &str, value: f64) {
    println!("{name} {value:.3}");
}

fn micros(span: Duration) -> f64 {
    span.as_secs_f64() * 1e6
}

impl Bench {
    fn deps(&self) -> Outcome<Deps> {
        let key = NoteKey::from_log_signer(self.keys.log_signer(ORIGIN)?)?;
        let sealer: Arc<dyn Sealer> = self.keys.clone();
        Ok(Deps {
            clock: Arc::new(Machine(Instant::now())),
            sealer,
            key,
            disk: Arc::new(OsDisk),
        })
    }

    fn open(&self, dir: &Path) -> Outcome<DecisionLog> {
        let mut config = LogConfig::new(NodeName::parse("node-1")?, ORIGIN);
        if let Some(every) = self.checkpoint_every {
            config.checkpoint_every = every;
            config.checkpoint_entries = u64::MAX;
            config.first_segment_bytes = 256 << 20;
            config.segment_bytes = 256 << 20;
        }
        Ok(DecisionLog::open(dir, config, self.deps()?)?.0)
    }

    fn record(&self, tenant_ref: &Arc<str>) -> Record {
        Record {
            kind: Kind::DECISION,
            tenant: Some(self.tenant.clone()),
            tenant_ref: tenant_ref.clone(),
            epoch: Epoch(7),
            state_pos: StatePos(41),
            payload: vec![b'x'; EVENT],
        }
    }

    /// Write + fdatasync of `bytes` into a file that was written full of zeros before.
    fn raw(&self, bytes: usize) -> Outcome<Measured> {
        const CAPACITY: usize = 64 << 20;
        let path = self.folder.join("raw");
        let file = File::create(&path)?;
        file.write_all_at(&vec![0; CAPACITY], 0)?;
        file.sync_all()?;
        let buffer = vec![0x5a; bytes];
        let (mut delays, mut offset) = (Vec::new(), 0);
        let began = Instant::now();
        while began.elapsed() < self.span {
            if offset + bytes > CAPACITY {
                offset = 0;
            }
            let start = Instant::now();
            file.write_all_at(&buffer, offset as u64)?;
            file.sync_data()?;
            delays.push(micros(start.elapsed()));
            offset += bytes;
        }
        let per_s = count(delays.len()) / began.elapsed().as_secs_f64();
        fs::remove_file(path)?;
        Ok(Measured { per_s, delays })
    }

    /// Events a second from `writers` tasks, each waiting for its own record; and the bytes of a flush.
    fn writers(&self, writers: usize, dir: &Path) -> Outcome<(Measured, f64, f64)> {
        let log = Arc::new(self.open(dir)?);
        let tenant_ref: Arc<str> = Arc::from("0123456789abcdef");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .build()?;
        let (began, before) = (Instant::now(), log.size());
        let span = self.span;
        let delays = runtime.block_on(async {
            let mut tasks = tokio::task::JoinSet::new();
            for _ in 0..writers {
                let (log, record) = (log.clone(), self.record(&tenant_ref));
                tasks.spawn(async move {
                    let mut delays = Vec::new();
                    while began.elapsed() < span {
                        let start = Instant::now();
                        log.append(record.clone()).await.map(drop)?;
                        delays.push(micros(start.elapsed()));
                    }
                    Ok::<_, bailiwick_journal::NotAppended>(delays)
                });
            }
            tasks.join_all().await
        });
        let sequenced = began.elapsed();
        let events = log.size() - before;
        log.integrate()?;
        let integrated = began.elapsed();
        let delays = delays
            .into_iter()
            .collect::<Result<Vec<_>, _>>()?
            .into_iter()
            .flatten()
            .collect();
        #[expect(
            clippy::cast_precision_loss,
            reason = "counts of a benchmark are far below 2^52"
        )]
        let events = events as f64;
        let flushes = count(flushes(dir)?);
        let measured = Measured {
            per_s: events / sequenced.as_secs_f64(),
            delays,
        };
        Ok((measured, events / flushes, events / integrated.as_secs_f64()))
    }

    /// Hashes and tree alone, as `merkle` of the shared programs does: events a second on one core.
    fn hashes(&self) -> Outcome<f64> {
        let leaf = vec![0x42; EVENT];
        let mut tree = Tree::new();
        let began = Instant::now();
        for _ in 0..500_000 {
            tree.append(leaf_hash(black_box(&leaf)))?;
        }
        Ok(500_000.0 / began.elapsed().as_secs_f64())
    }
}

/// How many flushes wrote the log: frames whose flush begins with themselves.
fn flushes(dir: &Path) -> Outcome<usize> {
    let mut flushes = 0;
    for segment in fs::read_dir(dir.join("segments"))? {
        let path = segment?.path();
        if path.extension().is_none_or(|form| form != "seg") {
            continue;
        }
        let bytes = fs::read(path)?;
        let number = |at: usize, len: usize| {
            let digits = bytes.get(at..at + len).unwrap_or_default();
            digits
                .iter()
                .fold(0_usize, |value, byte| (value << 8) | usize::from(*byte))
        };
        let mut at = 4096;
        while bytes.get(at..at + 4) == Some(b"BwF1") {
            flushes += usize::from(number(at + 16, 8) == number(at + 24, 8));
            at += 96 + number(at + 4, 4) + number(at + 8, 4);
        }
    }
    Ok(flushes)
}

fn append_and_flush(bench: &Bench) -> Outcome<()> {
    let (mut floor, mut one, mut ratio, mut p99) = (vec![], vec![], vec![], vec![]);
    for round in 0..ROUNDS {
        let mut raw = bench.raw(4096)?;
        let dir = bench.folder.join(format!("one-{round}"));
        let (mut log, ..) = bench.writers(1, &dir)?;
        floor.push(raw.quantile(0.5));
        one.push(log.quantile(0.5));
        p99.push(log.quantile(0.99));
        ratio.push(log.quantile(0.5) / raw.quantile(0.5));
        fs::remove_dir_all(dir)?;
    }
    print("raw_4k_p50_us", median(floor));
    print("one_writer_p50_us", median(one));
    print("one_writer_p99_us", median(p99));
    print("one_writer_over_raw_4k", median(ratio));
    Ok(())
}

fn group_commit(bench: &Bench, prefix: &str, writers: usize) -> Outcome<()> {
    let (mut rate, mut integrated, mut batch, mut p50, mut p99) = (vec![], vec![], vec![], vec![], vec![]);
    let (mut disk, mut hash, mut ratio, mut used) = (vec![], vec![], vec![], vec![]);
    for round in 0..ROUNDS {
        let dir = bench.folder.join(format!("many-{writers}-{round}"));
        let (mut log, events_per_flush, with_tree) = bench.writers(writers, &dir)?;
        used.push(dir);
        // The disk rate at the batch that was used, if the file held nothing but 512-byte events.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "bytes of one write"
        )]
        let bytes = (events_per_flush * count(EVENT)).max(512.0) as usize;
        let disk_rate = bench.raw(bytes.next_multiple_of(4096))?.per_s * events_per_flush;
        let hash_rate = bench.hashes()?;
        ratio.push(log.per_s / disk_rate.min(hash_rate));
        rate.push(log.per_s);
        integrated.push(with_tree);
        batch.push(events_per_flush);
        p50.push(log.quantile(0.5));
        p99.push(log.quantile(0.99));
        disk.push(disk_rate);
        hash.push(hash_rate);
    }
    let name = format!("{prefix}writers_{writers}");
    print(&format!("{name}_events_per_s"), median(rate));
    print(&format!("{name}_integrated_per_s"), median(integrated));
    print(&format!("{name}_events_per_flush"), median(batch));
    print(&format!("{name}_p50_us"), median(p50));
    print(&format!("{name}_p99_us"), median(p99));
    print(&format!("{name}_disk_events_per_s"), median(disk));
    print(&format!("{name}_hash_events_per_s"), median(hash));
    print(&format!("{name}_over_floor"), median(ratio));
    // Not between the rounds: a file system is slow to give out what was just given back.
    used.iter().try_for_each(fs::remove_dir_all)?;
    Ok(())
}

/// A log of 200,000 entries: proofs, reopening, full verification.
fn proofs_and_verification(bench: &Bench) -> Outcome<()> {
    const ENTRIES: u32 = 200_000;
    let dir = bench.folder.join("long");
    let tenant_ref: Arc<str> = Arc::from("0123456789abcdef");
    let log = bench.open(&dir)?;
    for _ in 0..ENTRIES {
        while log.append_unwaited(bench.record(&tenant_ref)).is_err() {
            log.integrate()?;
        }
    }
    log.integrate()?;
    drop(log);
    let start = Instant::now();
    let log = bench.open(&dir)?;
    print(
        "reopen_entries_per_s",
        f64::from(ENTRIES) / start.elapsed().as_secs_f64(),
    );
    let mut proof = Vec::new();
    for round in 0..3 {
        let start = Instant::now();
        for n in 0..ENTRIES / 4 {
            black_box(log.prove_inclusion(u64::from(n.wrapping_mul(2_654_435_761) % (ENTRIES / 2)))?);
        }
        if round > 0 {
            proof.push(micros(start.elapsed()) / f64::from(ENTRIES / 4));
        }
    }
    print("proof_inclusion_us", median(proof));
    let start = Instant::now();
    for n in 0..2_000_u64 {
        black_box(log.prove(n * 97)?);
    }
    print("proof_file_us", micros(start.elapsed()) / 2_000.0);
    drop(log);
    let origin = Origin::parse(ORIGIN)?;
    let key = bench.deps()?.key.verifier;
    let (mut tiles, mut ratio) = (vec![], vec![]);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let folder = TileFolder::new(&dir);
        let report = fsck_log(
            &folder,
            &origin,
            std::slice::from_ref(&key),
            Content::Leaves(Order::default()),
        )?;
        if !report.findings.is_empty() {
            return Err("the log does not verify".into());
        }
        let rate = f64::from(ENTRIES) / start.elapsed().as_secs_f64();
        ratio.push(rate / bench.hashes()?);
        tiles.push(rate);
    }
    print("verify_tiles_entries_per_s", median(tiles));
    print("verify_tiles_over_hash", median(ratio));
    let start = Instant::now();
    let read = LogReader::open(&dir, ORIGIN)?.try_fold(0, |read, entry| entry.map(|_| read + 1))?;
    print(
        "read_segments_entries_per_s",
        f64::from(read) / start.elapsed().as_secs_f64(),
    );
    Ok(())
}

/// Encoding the payload of a usual decision.
fn payloads(bench: &Bench) -> Outcome<()> {
    let id = |n: u128| IdentityId::from_parts(bench.tenant.clone(), Uuid::from_u128(n));
    let claims = Claims {
        issuer: "https://bailiwick.invalid/t/acme".to_owned(),
        subject: id(1).to_string(),
        audience: "https://bailiwick.invalid/t/acme/mcp".to_owned(),
        client: "cli_aaaaaaaaaaaaaaaaaaaaaaaaaa".to_owned(),
        issued_at: Time::from_secs(1_763_750_000),
        expires_at: Time::from_secs(1_763_750_300),
        token: Id::from_parts(bench.tenant.clone(), Uuid::from_u128(2)),
        tenant: bench.tenant.clone(),
        nhi: id(1),
        task: Id::from_parts(bench.tenant.clone(), Uuid::from_u128(3)),
        epoch: Epoch(7),
        scopes: ScopeSet::parse("filesystem:read_text_file"),
        act: smallvec::SmallVec::new(),
        may_act: Vec::new(),
        lineage: Vec::new(),
        confirmation: None,
        composition: None,
    };
    let principal = Principal::Bearer(Bearer {
        claims: Arc::new(claims),
        token_hash: Digest::of(b"token"),
    });
    let call = Call {
        id: Id::from_parts(bench.tenant.clone(), Uuid::from_u128(4)),
        door: Door::Gateway,
        principal,
        target: Target::Mcp {
            server: ServerName::parse("filesystem")?,
            method: "tools/call".to_owned(),
            item: Some((ItemKind::Tool, "read_text_file".to_owned())),
        },
        arguments: Arguments {
            values: serde_json::Map::new(),
            digest: Some(Digest::of(b"{}")),
        },
        rates: smallvec::SmallVec::new(),
    };
    let decision = Decision {
        id: call.id.clone(),
        effect: Effect::Permit,
        reasons: Reasons {
            policies: ["grant-1".to_owned()].into_iter().collect(),
            text: String::new(),
        },
        obligations: smallvec::SmallVec::new(),
        epoch: Epoch(7),
        state_pos: StatePos(41),
        age_ms: 0,
    };
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..100_000 {
            black_box(payload::decision(black_box(&call), black_box(&decision)));
        }
        rounds.push(micros(start.elapsed()) / 100_000.0);
    }
    print("payload_decision_us", median(rounds));
    print(
        "payload_decision_bytes",
        count(payload::decision(&call, &decision).len()),
    );
    Ok(())
}

fn kills(bench: &Bench) -> Outcome<()> {
    let (journal, _) = KillJournal::open(&OsDisk, &bench.folder.join("kill.journal"))?;
    let entry = KillEntry {
        at: Time::from_secs(1_763_750_000),
        actor: "opr_alice".to_owned(),
        marks: vec![KillMark {
            scope: MarkScope::Tenant(bench.tenant.clone()),
            effect: MarkEffect::Kill,
        }],
        provisional_epoch: Epoch(8),
        request: "req-1".to_owned(),
        idempotency: None,
    };
    let (mut writes, mut flushes) = (vec![], vec![]);
    for _ in 0..1_000 {
        let start = Instant::now();
        let slot = journal.write(&entry)?;
        writes.push(micros(start.elapsed()));
        journal.flush()?;
        flushes.push(micros(start.elapsed()));
        journal.settle(slot)?;
    }
    print("kill_write_p50_us", median(writes));
    print("kill_write_and_flush_p50_us", median(flushes));
    Ok(())
}

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let parent = arguments.next().map_or_else(|| PathBuf::from("."), PathBuf::from);
    let seconds = arguments.next().map_or(Ok(1.0), |text| text.parse::<f64>())?;
    let folder = tempfile::tempdir_in(parent)?;
    let unseal = Unseal::Bytes(Secret::new([7; 32]));
    let keys = Arc::new(Keyring::open(
        &folder.path().join("keys"),
        unseal,
        Arc::new(SystemEntropy),
    )?);
    let tenant = TenantId::parse("acme")?;
    keys.create_tenant(&tenant, SigningAlgorithm::EdDsa)?;
    let span = Duration::from_secs_f64(seconds);
    let mut bench = Bench {
        folder: folder.path().to_owned(),
        span,
        keys,
        tenant,
        checkpoint_every: None,
    };
    let part = arguments.next();
    let wanted = |name: &str| part.as_deref().is_none_or(|part| part == name);
    if wanted("one") {
        append_and_flush(&bench)?;
    }
    if wanted("many") {
        group_commit(&bench, "", 64)?;
        group_commit(&bench, "", 1024)?;
    }
    if wanted("quiet") {
        // What the same writers reach while nothing is published: the price of tiles and checkpoints.
        bench.checkpoint_every = Some(Duration::from_secs(3_600));
        group_commit(&bench, "sequenced_only_", 64)?;
        bench.checkpoint_every = None;
    }
    if wanted("long") {
        proofs_and_verification(&bench)?;
    }
    if wanted("payload") {
        payloads(&bench)?;
    }
    if wanted("kill") {
        kills(&bench)?;
    }
    Ok(())
}
