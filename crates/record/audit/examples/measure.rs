//! Measures this crate beside the bare hash rate of the machine, in one run:
//!
//! ```text
//! cargo run --release -p bailiwick-audit --example measure -- [ENTRIES]
//! ```
//!
//! Prints nanoseconds per operation (best of five rounds) and ratios. The
//! floor is what `merkle` in the shared bench folder does: one leaf hash and
//! the amortised node hash per entry, all nodes kept in memory, no log.

#![expect(clippy::disallowed_methods, reason = "measures with the real clock")]

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::error::Error;
use std::hint::black_box;
use std::time::Instant;

use bailiwick_audit::checkpoint::{Checkpoint, Origin};
use bailiwick_audit::entry::{CommitmentKey, Kind, Leaf};
use bailiwick_audit::fsck::{Content, Fsck, Order};
use bailiwick_audit::merkle::{Tree, leaf_hash, node_hash};
use bailiwick_audit::tile::{Entries, Prover, TileSource, TileWriter};

struct Files(BTreeMap<String, Vec<u8>>);

impl TileSource for Files {
    type Error = Infallible;

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.0.get(path).cloned())
    }
}

/// Best nanoseconds per step of five rounds.
fn best(name: &str, steps: u32, mut round: impl FnMut()) -> f64 {
    let mut least = f64::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        round();
        least = least.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(steps));
    }
    println!("{name:<58} {least:>9.1} ns");
    least
}

fn leaf(index: u64, tenant_ref: &str) -> Leaf<'_> {
    Leaf {
        at: 1_763_750_000_000_000 + index,
        commitment: [0x5a; 32],
        epoch: 7,
        kind: Kind::DECISION,
        node: "node-1",
        state_pos: index / 1000,
        tenant_ref,
        tenant_seq: 1 + index / 64,
    }
}

fn steps() -> Result<(), Box<dyn Error>> {
    let tenant = "tnt_01k9z3v7q8e4r2b5n6m7c8x9y0";
    let mut buffer = Vec::with_capacity(1024);
    best("leaf: encode", 100_000, || {
        for index in 0..100_000 {
            buffer.clear();
            black_box(leaf(index, tenant).encode_into(&mut buffer)).ok();
        }
    });
    println!("{:<58} {:>9} bytes", "leaf: length", buffer.len());
    best("leaf: decode", 100_000, || {
        for _ in 0..100_000 {
            black_box(Leaf::decode(black_box(&buffer))).ok();
        }
    });
    let key = CommitmentKey::new(&[1; 32]);
    let payload = [0x42; 512];
    best("commitment of a 512-byte payload", 100_000, || {
        for _ in 0..100_000 {
            black_box(key.commitment(black_box(&payload)));
        }
    });
    best("leaf hash of that leaf", 100_000, || {
        for _ in 0..100_000 {
            black_box(leaf_hash(black_box(&buffer)));
        }
    });
    best("leaf hash of 512 bytes", 100_000, || {
        for _ in 0..100_000 {
            black_box(leaf_hash(black_box(&payload)));
        }
    });
    let (left, right) = ([1; 32], [2; 32]);
    best("node hash", 100_000, || {
        for _ in 0..100_000 {
            black_box(node_hash(black_box(&left), black_box(&right)));
        }
    });
    Ok(())
}

fn proofs(tree: &Tree, files: &Files) -> Result<(), Box<dyn Error>> {
    let size = tree.size();
    let mut index = 1;
    let mut step = || {
        index = (index * 7919 + 13) % size;
        index
    };
    best("inclusion proof, tree in memory", 20_000, || {
        for _ in 0..20_000 {
            black_box(tree.prove_inclusion(step(), size)).ok();
        }
    });
    best("consistency proof, tree in memory", 20_000, || {
        for _ in 0..20_000 {
            black_box(tree.prove_consistency(step() + 1, size)).ok();
        }
    });
    let mut prover = Prover::new(files, size, tree.root(), 8192)?;
    best("inclusion proof from kept tiles, verified", 20_000, || {
        for _ in 0..20_000 {
            black_box(prover.prove_inclusion(step())).ok();
        }
    });
    Ok(())
}

/// Every other chunk on a second thread; joining is on this one.
fn on_two_threads(fsck: &Fsck<'_, Files>) -> bool {
    let scan = |first: u64| {
        let chunks = (first..fsck.chunks()).step_by(2);
        chunks
            .map(|chunk| Some((chunk, fsck.scan(chunk).ok()?)))
            .collect::<Option<BTreeMap<_, _>>>()
    };
    let (even, odd) = std::thread::scope(|scope| {
        let odd = scope.spawn(|| scan(1));
        (scan(0), odd.join().ok().flatten())
    });
    let (Some(mut all), Some(mut odd)) = (even, odd) else {
        return false;
    };
    all.append(&mut odd);
    fsck.finish(all.into_values().collect())
        .is_ok_and(|report| report.is_clean())
}

/// Leaves of 64 tenants in turn.
fn log_entries(count: u32) -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
    let tenants: Vec<String> = (0..64)
        .map(|tenant| format!("tnt_01k9z3v7q8e4r2b5n6m7c8x{tenant:03}"))
        .collect();
    let mut all = Vec::new();
    for (index, tenant) in (0..u64::from(count)).zip(tenants.iter().cycle()) {
        all.push(leaf(index, tenant).encode()?);
    }
    Ok(all)
}

fn main() -> Result<(), Box<dyn Error>> {
    let entries: u32 = std::env::args()
        .nth(1)
        .map_or(Ok(1_000_003), |count| count.parse())?;
    steps()?;
    let all = log_entries(entries)?;
    let mut tree = Tree::new();
    let floor = best("floor: leaf hash and tree in memory, per entry", entries, || {
        tree = Tree::new();
        for entry in &all {
            tree.append(leaf_hash(entry)).ok();
        }
    });
    let mut files = Files(BTreeMap::new());
    let mut root = tree.root();
    let write = best("append to tiles and bundles, per entry", entries, || {
        let mut writer = TileWriter::new();
        files.0.clear();
        for entry in &all {
            writer.append(entry).ok();
            if writer.has_full_files() {
                for file in writer.take_files() {
                    files.0.insert(file.id.path(), file.bytes);
                }
            }
        }
        for file in writer.take_files() {
            files.0.insert(file.id.path(), file.bytes);
        }
        root = writer.root();
    });
    let size = tree.size();
    proofs(&tree, &files)?;
    let decode = best(
        "bundles read and leaves decoded alone, per entry",
        entries,
        || {
            for (path, bytes) in &files.0 {
                if path.starts_with("tile/entries/") {
                    for entry in Entries::new(bytes).flatten() {
                        black_box(Leaf::decode(entry)).ok();
                    }
                }
            }
        },
    );
    let origin = Origin::parse("log.example/measure")?;
    let fsck = Fsck::new(
        &files,
        Checkpoint { origin, size, root },
        Content::Leaves(Order::ALL),
    );
    let mut clean = true;
    let check = best("fsck, one thread, per entry", entries, || {
        clean &= fsck.run().is_ok_and(|report| report.is_clean());
    });
    let both = best("fsck, two threads, per entry", entries, || {
        clean &= on_two_threads(&fsck);
    });
    assert!(clean, "the measured log is sound");
    println!("fsck on two threads {:.2} x one", check / both);
    println!(
        "append {:.2} x, fsck {:.2} x the floor rate; decoding {decode:.0} ns of it",
        floor / write,
        floor / check
    );
    Ok(())
}
