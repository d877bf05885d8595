//! Writes a log as files, for verifiers in other languages:
//!
//! ```text
//! cargo run -p bailiwick-audit --example write_log -- DIR N
//! ```
//!
//! `DIR` then holds `checkpoint` (size N), `checkpoint.<size>` of some earlier
//! sizes, `log.vkey`, `tile/…`, and `proofs/<index>.tlog-proof` for some
//! entries. The key is made from a fixed seed and proves nothing.

use std::error::Error;
use std::fs;
use std::path::Path;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use bailiwick_audit::checkpoint::{CheckpointIssuer, Origin, SignedCheckpoint};
use bailiwick_audit::entry::{CommitmentKey, Kind, Leaf, Opening};
use bailiwick_audit::note::{NoteSigner, NoteVerifier, SignerError, key_id};
use bailiwick_audit::proof::{Evidence, ProofFile};
use bailiwick_audit::tile::{Prover, TileSource, TileWriter};

const ORIGIN: &str = "log.example/decisions/fixture";
const TENANT_LOG_KEY: [u8; 32] = [0x11; 32];

struct FixtureKey(Ed25519KeyPair);

impl FixtureKey {
    fn public(&self) -> Result<[u8; 32], Box<dyn Error>> {
        Ok(self.0.public_key().as_ref().try_into()?)
    }
}

impl NoteSigner for FixtureKey {
    fn name(&self) -> &str {
        ORIGIN
    }

    fn key_id(&self) -> u32 {
        self.public().map_or(0, |public| key_id(ORIGIN, &public))
    }

    fn sign(&self, text: &[u8]) -> Result<[u8; 64], SignerError> {
        self.0
            .sign(text)
            .as_ref()
            .try_into()
            .map_err(|error| SignerError(Box::new(error)))
    }
}

struct Folder<'a>(&'a Path);

impl TileSource for Folder<'_> {
    type Error = std::io::Error;

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Self::Error> {
        match fs::read(self.0.join(path)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Box<dyn Error>> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    Ok(fs::write(path, bytes)?)
}

fn payload(index: u64) -> Vec<u8> {
    format!("{{\"decision\":{index},\"effect\":\"permit\"}}").into_bytes()
}

fn leaf(index: u64, key: &CommitmentKey) -> Result<Vec<u8>, Box<dyn Error>> {
    let tenant_ref = format!("tnt_{:03}", index % 3);
    let leaf = Leaf {
        at: 1_763_750_000_000_000 + index,
        commitment: key.commitment(&payload(index)),
        epoch: index / 5000,
        kind: Kind::DECISION,
        node: "fixture",
        state_pos: index / 100,
        tenant_ref: &tenant_ref,
        tenant_seq: 1 + index / 3,
    };
    Ok(leaf.encode()?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(folder), Some(size)) = (args.next(), args.next()) else {
        return Err("usage: write_log DIR N".into());
    };
    let (folder, size) = (Path::new(&folder), size.parse::<u64>()?);
    let signer = FixtureKey(Ed25519KeyPair::from_seed_unchecked(&[0x22; 32])?);
    write(
        &folder.join("log.vkey"),
        NoteVerifier::new(ORIGIN, signer.public()?)?.vkey().as_bytes(),
    )?;

    let commitments = CommitmentKey::new(&TENANT_LOG_KEY);
    let mut issuer = CheckpointIssuer::new_log(Origin::parse(ORIGIN)?);
    let mut writer = TileWriter::new();
    let mut last: Option<SignedCheckpoint> = None;
    for stop in [1, size / 7, size / 2, size] {
        while writer.size() < stop.min(size) {
            writer.append(&leaf(writer.size(), &commitments)?)?;
        }
        for file in writer.take_files() {
            write(&folder.join(file.id.path()), &file.bytes)?;
        }
        let proof = writer.consistency_since_mark();
        let signed = issuer.issue(writer.size(), writer.root(), &proof, &signer)?;
        writer.mark();
        write(
            &folder.join(format!("checkpoint.{}", writer.size())),
            &signed.to_bytes(),
        )?;
        last = Some(signed);
    }
    let Some(checkpoint) = last else { return Ok(()) };
    write(&folder.join("checkpoint"), &checkpoint.to_bytes())?;
    write_proofs(folder, &checkpoint, &commitments)?;
    println!("{} entries in {}", checkpoint.checkpoint().size, folder.display());
    Ok(())
}

fn write_proofs(
    folder: &Path,
    checkpoint: &SignedCheckpoint,
    commitments: &CommitmentKey,
) -> Result<(), Box<dyn Error>> {
    let (size, root) = (checkpoint.checkpoint().size, checkpoint.checkpoint().root);
    let source = Folder(folder);
    let mut prover = Prover::new(&source, size, root, 64)?;
    for index in [0, 1, size / 3, size / 2, size.saturating_sub(1)] {
        if index >= size {
            continue;
        }
        let (_, proof) = prover.prove_inclusion(index)?;
        let opening = (index % 2 == 0).then(|| Opening {
            leaf_index: index,
            key: TENANT_LOG_KEY,
            payload: payload(index),
        });
        let evidence = Evidence {
            leaf: leaf(index, commitments)?,
            opening,
        };
        let file = ProofFile::new(checkpoint, &proof, &evidence)?;
        write(
            &folder.join(format!("proofs/{index}.tlog-proof")),
            &file.to_bytes(),
        )?;
    }
    Ok(())
}
