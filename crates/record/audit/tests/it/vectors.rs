//! Third-party and own vectors, each set whole.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use bailiwick_audit::checkpoint::{Checkpoint, Origin, SignedCheckpoint};
use bailiwick_audit::fsck::{Content, Fsck};
use bailiwick_audit::merkle::{
    ConsistencyProof, Hash, InclusionProof, LeafHash, ProofError, RootHash, Subtree, Tree, hash_from_slice,
    leaf_hash, verify_consistency, verify_inclusion, verify_subtree_consistency, verify_subtree_inclusion,
};
use bailiwick_audit::note::NoteVerifier;
use bailiwick_audit::tile::{Entries, Prover, TileId, TileKind, TileWriter};
use serde_json::Value;

use crate::fixture::{Files, readme_count};

fn base64(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).unwrap()
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path)
            } else {
                found.push(path)
            }
        }
    }
    found.sort();
    found
}

/// One case of `merkle-rfc6962`, its hashes still bytes.
struct Case {
    value: Value,
}

impl Case {
    fn number(&self, field: &str) -> u64 {
        self.value[field]
            .as_u64()
            .unwrap_or_else(|| panic!("`{field}` in {}", self.value))
    }

    fn bytes(&self, field: &str) -> Vec<u8> {
        base64(self.value[field].as_str().unwrap_or_default())
    }

    fn hash(&self, field: &str) -> Result<Hash, String> {
        hash_from_slice(&self.bytes(field)).map_err(|error| error.to_string())
    }

    fn proof(&self) -> Vec<Vec<u8>> {
        let hashes = self.value["proof"].as_array().cloned().unwrap_or_default();
        hashes.iter().map(|hash| base64(hash.as_str().unwrap())).collect()
    }

    /// Whether our verifiers accept, `folder` telling which one is asked.
    fn answer(&self, folder: &str) -> Result<(), String> {
        let text = |error: ProofError| error.to_string();
        let subtree = || Subtree {
            start: self.number("start"),
            end: self.number("end"),
        };
        match folder {
            "inclusion" => {
                let (index, size) = (self.number("leafIdx"), self.number("treeSize"));
                let proof = InclusionProof::from_slices(index, size, &self.proof()).map_err(text)?;
                let (leaf, root) = (LeafHash(self.hash("leafHash")?), RootHash(self.hash("root")?));
                verify_inclusion(&proof, &leaf, &root).map_err(text)
            }
            "consistency" => {
                let (old, new) = (self.number("size1"), self.number("size2"));
                let proof = ConsistencyProof::from_slices(old, new, &self.proof()).map_err(text)?;
                let (old, new) = (RootHash(self.hash("root1")?), RootHash(self.hash("root2")?));
                verify_consistency(&proof, &old, &new).map_err(text)
            }
            "subtreeinclusion" => {
                let index = self.number("leafIdx");
                let proof = InclusionProof::from_slices(index, u64::MAX, &self.proof()).map_err(text)?;
                let (leaf, root) = (LeafHash(self.hash("leafHash")?), RootHash(self.hash("root")?));
                verify_subtree_inclusion(index, subtree(), &proof.hashes, &leaf, &root).map_err(text)
            }
            "subtreeconsistency" => {
                let size = self.number("size");
                let proof = ConsistencyProof::from_slices(0, size, &self.proof()).map_err(text)?;
                let (old, new) = (RootHash(self.hash("root1")?), RootHash(self.hash("root2")?));
                verify_subtree_consistency(subtree(), size, &proof.hashes, &old, &new).map_err(text)
            }
            other => panic!("no verifier for `{other}`"),
        }
    }

    /// The same case with 32-byte stand-ins for what is not a hash: SHA-256 of it.
    fn with_hashes(&self) -> Self {
        let mut value = self.value.clone();
        for field in ["root1", "root2"] {
            let bytes = self.bytes(field);
            if bytes.len() != 32 {
                use base64::Engine as _;
                let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &bytes);
                let text = base64::engine::general_purpose::STANDARD.encode(hash.as_ref());
                value[field] = Value::String(text);
            }
        }
        Self { value }
    }
}

/// `[[refused]]` cases of a set in `conformance/tlog/expected-failures.toml`.
fn expected_refusals(set: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../conformance/tlog/expected-failures.toml");
    let list: toml::Table = fs::read_to_string(path).unwrap().parse().unwrap();
    assert_eq!(
        list.keys().collect::<Vec<_>>(),
        ["refused"],
        "only refusals may be expected"
    );
    let cases = list["refused"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|case| case["set"].as_str() == Some(set));
    cases
        .map(|case| {
            assert!(
                case["reason"].as_str().is_some_and(|reason| !reason.is_empty()),
                "{case} needs a reason"
            );
            case["case"].as_str().unwrap().to_owned()
        })
        .collect()
}

#[test]
fn merkle_rfc6962() {
    let Some(folder) = bailiwick_vectors::folder("merkle-rfc6962") else {
        return;
    };
    let mut refusals = expected_refusals("merkle-rfc6962");
    let listed = refusals.len();
    let (mut run, mut accepted) = (0, 0);
    for kind in [
        "inclusion",
        "consistency",
        "subtreeinclusion",
        "subtreeconsistency",
    ] {
        for path in files_below(&folder.join(kind)) {
            let name = path.strip_prefix(&folder).unwrap().to_str().unwrap().to_owned();
            let case = Case {
                value: serde_json::from_slice(&fs::read(&path).unwrap()).unwrap(),
            };
            let wanted = !case.value["wantErr"].as_bool().unwrap();
            let answer = case.answer(kind);
            run += 1;
            accepted += usize::from(answer.is_ok());
            if refusals.remove(&name) {
                assert!(
                    wanted && answer.is_err(),
                    "{name}: stale exception, the answer is as the set says"
                );
                case.with_hashes()
                    .answer(kind)
                    .unwrap_or_else(|error| panic!("{name} with hashes: {error}"));
            } else {
                assert_eq!(answer.is_ok(), wanted, "{name}: {answer:?}");
            }
        }
    }
    assert!(
        refusals.is_empty(),
        "exceptions for cases that do not exist: {refusals:?}"
    );
    println!("merkle-rfc6962: {run}/{}", readme_count(&folder));
    println!(
        "merkle-rfc6962: {accepted} accepted, {listed} refused by conformance/tlog/expected-failures.toml"
    );
    assert_eq!(run, readme_count(&folder));
    assert_eq!((accepted, listed), (13, 2));
}

#[test]
fn merkle_own() {
    let Some(folder) = bailiwick_vectors::folder("merkle-own") else {
        return;
    };
    let set: Value = serde_json::from_slice(&fs::read(folder.join("vectors.json")).unwrap()).unwrap();
    let leaves: Vec<Vec<u8>> = set["leaves_base64"]
        .as_array()
        .unwrap()
        .iter()
        .map(|leaf| base64(leaf.as_str().unwrap()))
        .collect();
    let mut tree = Tree::new();
    for leaf in &leaves {
        tree.append(leaf_hash(leaf)).unwrap();
    }
    let hashes = |case: &Value| -> Vec<Hash> {
        let proof = case["proof"].as_array().unwrap();
        proof
            .iter()
            .map(|hash| hash_from_slice(&base64(hash.as_str().unwrap())).unwrap())
            .collect()
    };
    let mut run = 0;
    let mut roots = BTreeMap::new();
    for (size, root) in set["roots"].as_object().unwrap() {
        let size: u64 = size.parse().unwrap();
        let expected = RootHash(hash_from_slice(&base64(root.as_str().unwrap())).unwrap());
        assert_eq!(tree.root_at(size).unwrap(), expected, "root of {size}");
        roots.insert(size, expected);
        // The same from files, cut and resumed in the middle.
        for cut in [0, size / 3, size / 2, size] {
            assert_eq!(
                written_root(&leaves, cut, size),
                expected,
                "root of {size} resumed at {cut}"
            );
        }
        run += 1;
    }
    for case in set["inclusion"].as_array().unwrap() {
        let (index, size) = (
            case["leaf_index"].as_u64().unwrap(),
            case["tree_size"].as_u64().unwrap(),
        );
        let proof = tree.prove_inclusion(index, size).unwrap();
        assert_eq!(proof.hashes, hashes(case), "inclusion of {index} in {size}");
        let leaf = leaf_hash(&leaves[usize::try_from(index).unwrap()]);
        verify_inclusion(&proof, &leaf, &tree.root_at(size).unwrap()).unwrap();
        run += 1;
    }
    for case in set["consistency"].as_array().unwrap() {
        let (old, new) = (case["size1"].as_u64().unwrap(), case["size2"].as_u64().unwrap());
        let proof = tree.prove_consistency(old, new).unwrap();
        assert_eq!(proof.hashes, hashes(case), "consistency of {old} and {new}");
        verify_consistency(&proof, &tree.root_at(old).unwrap(), &tree.root_at(new).unwrap()).unwrap();
        run += 1;
    }
    println!("merkle-own: {run}/{}", readme_count(&folder));
    assert_eq!(run, readme_count(&folder));
}

fn written_root(leaves: &[Vec<u8>], cut: u64, size: u64) -> RootHash {
    let mut files = Files::default();
    let mut writer = TileWriter::new();
    let (cut, size) = (usize::try_from(cut).unwrap(), usize::try_from(size).unwrap());
    for leaf in &leaves[..cut] {
        writer.append(leaf).unwrap();
    }
    files.store(&mut writer);
    let mut writer = TileWriter::resume(&files, writer.size(), writer.root()).unwrap();
    for leaf in &leaves[cut..size] {
        writer.append(leaf).unwrap();
    }
    writer.root()
}

#[test]
fn tlog_tiles() {
    let Some(folder) = bailiwick_vectors::folder("tlog-tiles") else {
        return;
    };
    let vkey = fs::read_to_string(folder.join("log.vkey")).unwrap();
    let keys = [NoteVerifier::parse(vkey.trim_end()).unwrap()];
    let origin = Origin::parse(keys[0].name()).unwrap();
    let mut files = Files::default();
    let mut checkpoints: Vec<(String, Checkpoint)> = Vec::new();
    let mut run = 0;
    for path in files_below(&folder) {
        let name = path.strip_prefix(&folder).unwrap().to_str().unwrap().to_owned();
        let bytes = fs::read(&path).unwrap();
        if name.starts_with("checkpoint") {
            let signed = SignedCheckpoint::verify(&bytes, &origin, &keys).unwrap();
            assert_eq!(signed.to_bytes(), bytes, "{name} is written as it was read");
            checkpoints.push((name.clone(), signed.checkpoint().clone()));
        } else if name.starts_with("tile/") {
            let id = TileId::parse(&name).unwrap();
            assert_eq!(id.path(), name);
            match id.kind() {
                TileKind::Entries => {
                    let entries: Vec<_> = Entries::new(&bytes).collect::<Result<_, _>>().unwrap();
                    assert_eq!(entries.len(), usize::from(id.width()), "{name}");
                }
                TileKind::Hashes(_) => assert_eq!(bytes.len(), usize::from(id.width()) * 32, "{name}"),
            }
        } else if !["LICENSE", "README.md", "log.vkey"].contains(&name.as_str()) {
            panic!("unknown file {name}");
        }
        run += usize::from(name.starts_with("checkpoint") || name.starts_with("tile/"));
        files.0.insert(name, bytes);
    }
    let newest = checkpoints
        .iter()
        .find(|(name, _)| name == "checkpoint")
        .unwrap()
        .1
        .clone();
    for (name, checkpoint) in &checkpoints {
        verify_foreign_checkpoint(&files, name, checkpoint, &newest);
    }
    for index in 0..newest.size {
        let mut prover = Prover::new(&files, newest.size, newest.root, 8).unwrap();
        let (leaf, proof) = prover.prove_inclusion(index).unwrap();
        verify_inclusion(&proof, &leaf, &newest.root).unwrap();
    }
    println!("tlog-tiles: {run}/{}", readme_count(&folder));
    assert_eq!(run, readme_count(&folder));
    assert_eq!(checkpoints.len(), 9);
}

fn verify_foreign_checkpoint(files: &Files, name: &str, checkpoint: &Checkpoint, newest: &Checkpoint) {
    let size = checkpoint.size;
    // Its root from its own tiles and entries …
    let report = Fsck::new(files, checkpoint.clone(), Content::Opaque)
        .run()
        .unwrap();
    assert!(report.is_clean() && report.entries == size, "{name}: {report:?}");
    // … by writing the entries again …
    let mut writer = TileWriter::resume(files, size, checkpoint.root).unwrap();
    assert_eq!(
        writer
            .take_files()
            .iter()
            .filter(|file| files.0[&file.id.path()] != file.bytes)
            .count(),
        0
    );
    // … and consistent with the newest.
    let mut prover = Prover::new(files, newest.size, newest.root, 8).unwrap();
    let proof = if size == 0 {
        ConsistencyProof {
            old_size: 0,
            new_size: newest.size,
            hashes: Vec::new(),
        }
    } else {
        let (root, proof) = prover.prove_consistency(size).unwrap();
        assert_eq!(root, checkpoint.root, "{name}");
        proof
    };
    newest.require_extends(checkpoint, &proof).unwrap();
}
