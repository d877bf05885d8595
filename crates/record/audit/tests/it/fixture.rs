//! Keys, logs in memory and the shared vectors.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::LazyLock;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use bailiwick_audit::checkpoint::{CheckpointIssuer, Origin, SignedCheckpoint};
use bailiwick_audit::entry::{Kind, Leaf, commitment};
use bailiwick_audit::note::{NoteSigner, NoteVerifier, SignerError, key_id};
use bailiwick_audit::tile::{TileSource, TileWriter};

pub(crate) const ORIGIN: &str = "log.example/decisions/node-1";

pub(crate) struct Key {
    name: String,
    pair: Ed25519KeyPair,
}

impl Key {
    pub(crate) fn new(name: &str, seed: u8) -> Self {
        Self {
            name: name.to_owned(),
            pair: Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap(),
        }
    }

    pub(crate) fn log() -> Self {
        Self::new(ORIGIN, 7)
    }

    pub(crate) fn public(&self) -> [u8; 32] {
        self.pair.public_key().as_ref().try_into().unwrap()
    }

    pub(crate) fn verifier(&self) -> NoteVerifier {
        NoteVerifier::new(&self.name, self.public()).unwrap()
    }

    pub(crate) fn sign_bytes(&self, text: &[u8]) -> [u8; 64] {
        self.pair.sign(text).as_ref().try_into().unwrap()
    }
}

impl NoteSigner for Key {
    fn name(&self) -> &str {
        &self.name
    }

    fn key_id(&self) -> u32 {
        key_id(&self.name, &self.public())
    }

    fn sign(&self, text: &[u8]) -> Result<[u8; 64], SignerError> {
        Ok(self.sign_bytes(text))
    }
}

pub(crate) fn origin() -> Origin {
    Origin::parse(ORIGIN).unwrap()
}

/// Tile files in memory.
#[derive(Clone, Default)]
pub(crate) struct Files(pub(crate) BTreeMap<String, Vec<u8>>);

impl TileSource for Files {
    type Error = Infallible;

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Infallible> {
        Ok(self.0.get(path).cloned())
    }
}

impl Files {
    pub(crate) fn store(&mut self, writer: &mut TileWriter) {
        for file in writer.take_files() {
            self.0.insert(file.id.path(), file.bytes);
        }
    }

    pub(crate) fn bytes_mut(&mut self, path: &str) -> &mut Vec<u8> {
        self.0.get_mut(path).unwrap_or_else(|| panic!("no file `{path}`"))
    }
}

pub(crate) const TENANTS: u64 = 5;
pub(crate) const TENANT_KEY: [u8; 32] = [0x5a; 32];

pub(crate) fn payload(index: u64) -> Vec<u8> {
    format!("{{\"decision\":\"dec_{index:08}\",\"effect\":\"permit\"}}").into_bytes()
}

/// Entry `index` of the test log: five tenants in turn, rising members.
pub(crate) fn leaf_bytes(index: u64) -> Vec<u8> {
    let tenant_ref = format!("tnt_{:04}", index % TENANTS);
    let leaf = Leaf {
        at: 1_763_750_000_000_000 + index * 3,
        commitment: commitment(&TENANT_KEY, &payload(index)),
        epoch: index / 1000,
        kind: if index.is_multiple_of(7) {
            Kind::OUTCOME
        } else {
            Kind::DECISION
        },
        node: "node-1",
        state_pos: index / 10,
        tenant_ref: &tenant_ref,
        tenant_seq: 1 + index / TENANTS,
    };
    leaf.encode().unwrap()
}

pub(crate) struct Log {
    pub(crate) files: Files,
    pub(crate) checkpoint: SignedCheckpoint,
    pub(crate) writer: TileWriter,
}

/// Two full bundles and one of 188 entries.
pub(crate) static MIDDLE: LazyLock<Log> = LazyLock::new(|| log(700));

/// 66,100 = 258 × 256 + 52 entries: tiles on three levels, two chunks of fsck.
pub(crate) static LARGE: LazyLock<Log> = LazyLock::new(|| log(66_100));

/// A log of `size` test entries with a signed checkpoint.
pub(crate) fn log(size: u64) -> Log {
    log_of((0..size).map(leaf_bytes))
}

pub(crate) fn log_of(entries: impl IntoIterator<Item = Vec<u8>>) -> Log {
    let mut writer = TileWriter::new();
    for entry in entries {
        writer.append(&entry).unwrap();
    }
    let mut files = Files::default();
    files.store(&mut writer);
    let mut issuer = CheckpointIssuer::new_log(origin());
    let proof = writer.consistency_since_mark();
    let checkpoint = issuer
        .issue(writer.size(), writer.root(), &proof, &Key::log())
        .unwrap();
    files.0.insert("checkpoint".to_owned(), checkpoint.to_bytes());
    Log {
        files,
        checkpoint,
        writer,
    }
}

/// The `Count:` of a set's README.
pub(crate) fn readme_count(folder: &std::path::Path) -> usize {
    let text = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("Count: "))
        .expect("a Count line");
    line.trim().parse().unwrap()
}
