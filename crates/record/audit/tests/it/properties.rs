//! What holds for every tree, batch and proof.

use bailiwick_audit::checkpoint::Checkpoint;
use bailiwick_audit::merkle::{
    ConsistencyProof, EMPTY_ROOT, Frontier, Hash, InclusionProof, LeafHash, ProofError, RootHash, Subtree,
    Tree, leaf_hash, node_hash, verify_consistency, verify_inclusion, verify_subtree_consistency,
    verify_subtree_inclusion,
};
use bailiwick_audit::note::{Note, NoteVerifier};
use bailiwick_audit::proof::{Evidence, ProofFile};
use bailiwick_audit::tile::{Entries, Prover, TileId, TileWriter};
use proptest::prelude::*;

use crate::fixture::{Files, Key, leaf_bytes, log, origin};

fn leaf(index: u64) -> LeafHash {
    leaf_hash(&index.to_be_bytes())
}

fn tree(size: u64) -> Tree {
    let mut tree = Tree::new();
    for index in 0..size {
        assert_eq!(tree.append(leaf(index)).unwrap(), index);
    }
    tree
}

/// The definition (RFC 9162 §2.1.1), word for word.
fn root_by_definition(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => EMPTY_ROOT.0,
        [one] => *one,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            node_hash(&root_by_definition(left), &root_by_definition(right))
        }
    }
}

#[test]
fn roots_are_as_defined() {
    let leaves: Vec<Hash> = (0..130).map(|index| leaf(index).0).collect();
    let tree = tree(130);
    let mut frontier = Frontier::new();
    for size in 0..=130_usize {
        let expected = RootHash(root_by_definition(&leaves[..size]));
        assert_eq!(tree.root_at(u64::try_from(size).unwrap()).unwrap(), expected);
        assert_eq!(frontier.root(), expected);
        let stored = Frontier::from_peaks(frontier.size(), frontier.peaks().to_vec()).unwrap();
        assert_eq!(stored.root(), expected);
        frontier.append(leaf(frontier.size())).unwrap();
    }
    assert!(tree.root_at(131).is_err());
    assert!(Frontier::from_peaks(3, vec![[0; 32]]).is_err());
    assert!(Frontier::from_peaks(0, vec![[0; 32]]).is_err());
}

#[test]
fn all_proofs_of_small_trees_verify_and_only_there() {
    let tree = tree(40);
    for size in 1..=40 {
        let root = tree.root_at(size).unwrap();
        for index in 0..size {
            let proof = tree.prove_inclusion(index, size).unwrap();
            verify_inclusion(&proof, &leaf(index), &root).unwrap();
            for other in (0..=41).filter(|other| *other != index) {
                let moved = InclusionProof {
                    index: other,
                    ..proof.clone()
                };
                assert!(verify_inclusion(&moved, &leaf(index), &root).is_err());
            }
            let end = proof.hashes.len();
            let shorter = InclusionProof {
                hashes: proof.hashes[..end.saturating_sub(1)].to_vec(),
                ..proof.clone()
            };
            assert!(end == 0 || verify_inclusion(&shorter, &leaf(index), &root).is_err());
            let mut longer = proof;
            longer.hashes.push([0; 32]);
            assert_eq!(
                verify_inclusion(&longer, &leaf(index), &root),
                Err(ProofError::TooLong)
            );
        }
        for old in 1..=size {
            let proof = tree.prove_consistency(old, size).unwrap();
            verify_consistency(&proof, &tree.root_at(old).unwrap(), &root).unwrap();
            let mut longer = proof;
            longer.hashes.push([0; 32]);
            assert!(verify_consistency(&longer, &tree.root_at(old).unwrap(), &root).is_err());
        }
    }
}

/// Incremental consistency proofs are the ones made from the whole tree.
#[test]
fn the_frontier_proves_its_own_growth() {
    let tree = tree(100);
    for old in 0..=100 {
        let mut frontier = Frontier::new();
        for index in 0..old {
            frontier.append(leaf(index)).unwrap();
        }
        frontier.mark();
        for new in old..=100 {
            let proof = frontier.consistency_since_mark();
            let hashes = if old == 0 {
                Vec::new()
            } else {
                tree.prove_consistency(old, new).unwrap().hashes
            };
            assert_eq!(
                proof,
                ConsistencyProof {
                    old_size: old,
                    new_size: new,
                    hashes
                },
                "{old} to {new}"
            );
            frontier.append(leaf(new)).unwrap();
        }
    }
}

#[test]
fn subtree_proofs_are_found_by_search() {
    // Every subtree of a tree of 13 is consistent with it by the right proof.
    let leaves: Vec<Hash> = (0..13).map(|index| leaf(index).0).collect();
    let root = RootHash(root_by_definition(&leaves));
    let whole = Subtree { start: 8, end: 13 };
    let part = RootHash(root_by_definition(&leaves[8..13]));
    let left = root_by_definition(&leaves[..8]);
    verify_subtree_consistency(whole, 13, &[left], &part, &root).unwrap();
    assert!(verify_subtree_consistency(whole, 13, &[], &part, &root).is_err());
    assert!(verify_subtree_consistency(whole, 12, &[left], &part, &root).is_err());
    let inner = Subtree { start: 8, end: 12 };
    let inner_root = RootHash(root_by_definition(&leaves[8..12]));
    verify_subtree_consistency(inner, 13, &[leaves[12], left], &inner_root, &root).unwrap();
    let path = [leaves[8], node_hash(&leaves[10], &leaves[11])];
    verify_subtree_inclusion(9, inner, &path, &leaf(9), &inner_root).unwrap();
    assert!(verify_subtree_inclusion(1, inner, &path, &leaf(9), &inner_root).is_err());
    for (start, end) in [(1, 3), (2, 5), (4, 9), (13, 8), (u64::MAX, 0), (1, u64::MAX)] {
        let refused = verify_subtree_inclusion(start, Subtree { start, end }, &path, &leaf(9), &inner_root);
        assert_eq!(refused, Err(ProofError::SubtreeInvalid { start, end }));
    }
}

/// Verification answers for every index and size, without panic or long walk.
#[test]
fn the_ends_of_u64_have_answers() {
    let ends = [
        0,
        1,
        2,
        3,
        (1 << 32) - 1,
        1 << 32,
        (1 << 63) - 1,
        1 << 63,
        (1 << 63) + 1,
        u64::MAX - 1,
        u64::MAX,
    ];
    let hash = [7; 32];
    for a in ends {
        for b in ends {
            for length in [0, 1, 2, 31, 63, 64, 65, 200] {
                let hashes = vec![hash; length];
                let proof = InclusionProof {
                    index: a,
                    size: b,
                    hashes: hashes.clone(),
                };
                let answer = verify_inclusion(&proof, &LeafHash(hash), &RootHash(hash));
                assert_eq!(
                    answer.is_ok(),
                    (a, b, length) == (0, 1, 0),
                    "inclusion {a} {b} {length}"
                );
                let proof = ConsistencyProof {
                    old_size: a,
                    new_size: b,
                    hashes: hashes.clone(),
                };
                let answer = verify_consistency(&proof, &RootHash(hash), &RootHash(hash));
                assert_eq!(
                    answer.is_ok(),
                    a == b && a > 0 && length == 0,
                    "consistency {a} {b} {length}"
                );
                for size in ends {
                    let subtree = Subtree { start: a, end: b };
                    let hash = RootHash(hash);
                    let answer = verify_subtree_consistency(subtree, size, &hashes, &hash, &hash);
                    assert!(
                        answer.is_err() || (length == 0 && b - a > 0 && b <= size),
                        "{a} {b} {size}"
                    );
                }
            }
        }
    }
    let short: Vec<&[u8]> = vec![&[0; 31]];
    assert!(matches!(
        InclusionProof::from_slices(0, 2, &short),
        Err(ProofError::HashLength { position: 0, .. })
    ));
}

#[test]
fn a_frontier_near_the_end_of_u64_stays_right() {
    let full = u64::MAX;
    let mut frontier = Frontier::from_peaks(full - 1, vec![[1; 32]; 63]).unwrap();
    let old = frontier.root();
    frontier.append(leaf(0)).unwrap();
    assert_eq!((frontier.size(), frontier.peaks().len()), (full, 64));
    let proof = frontier.consistency_since_mark();
    verify_consistency(&proof, &old, &frontier.root()).unwrap();
    let before = frontier.clone();
    frontier.append(leaf(0)).unwrap_err();
    assert_eq!(frontier, before);
    // One append that merges 63 times.
    let mut frontier = Frontier::from_peaks(full >> 1, vec![[1; 32]; 63]).unwrap();
    let old = frontier.root();
    frontier.append(leaf(0)).unwrap();
    assert_eq!(frontier.peaks().len(), 1);
    verify_consistency(&frontier.consistency_since_mark(), &old, &frontier.root()).unwrap();
}

fn flip(hash: &Hash, bit: usize) -> Hash {
    let mut hash = *hash;
    hash[bit / 8] ^= 1 << (bit % 8);
    hash
}

#[test]
fn every_flipped_bit_fails() {
    let tree = tree(21);
    let (old, new) = (tree.root_at(11).unwrap(), tree.root());
    let inclusion = tree.prove_inclusion(9, 21).unwrap();
    let consistency = tree.prove_consistency(11, 21).unwrap();
    for bit in 0..256 {
        for place in 0..inclusion.hashes.len() {
            let mut bent = inclusion.clone();
            bent.hashes[place] = flip(&bent.hashes[place], bit);
            assert_eq!(
                verify_inclusion(&bent, &leaf(9), &new),
                Err(ProofError::RootMismatch)
            );
        }
        assert!(verify_inclusion(&inclusion, &LeafHash(flip(&leaf(9).0, bit)), &new).is_err());
        assert!(verify_inclusion(&inclusion, &leaf(9), &RootHash(flip(&new.0, bit))).is_err());
        for place in 0..consistency.hashes.len() {
            let mut bent = consistency.clone();
            bent.hashes[place] = flip(&bent.hashes[place], bit);
            assert_eq!(
                verify_consistency(&bent, &old, &new),
                Err(ProofError::RootMismatch)
            );
        }
        assert!(verify_consistency(&consistency, &RootHash(flip(&old.0, bit)), &new).is_err());
        assert!(verify_consistency(&consistency, &old, &RootHash(flip(&new.0, bit))).is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Any split of the same appends into batches, with or without a restart
    /// in between, gives the same roots and the same files.
    #[test]
    fn batches_do_not_show(batches in prop::collection::vec((0_u64..400, any::<bool>()), 1..8)) {
        let mut writer = TileWriter::new();
        let mut files = Files::default();
        for (batch, restart) in batches {
            for _ in 0..batch {
                let index = writer.size();
                writer.append(&index.to_be_bytes()).unwrap();
            }
            files.store(&mut writer);
            if restart {
                writer = TileWriter::resume(&files, writer.size(), writer.root()).unwrap();
            }
        }
        let mut whole = TileWriter::new();
        for index in 0..writer.size() {
            whole.append(&index.to_be_bytes()).unwrap();
        }
        prop_assert_eq!(whole.root(), writer.root());
        prop_assert_eq!(whole.root(), tree(writer.size()).root());
        for file in whole.take_files() {
            prop_assert_eq!(files.0.get(&file.id.path()), Some(&file.bytes), "{}", file.id);
        }
    }

    #[test]
    fn any_proof_verifies_and_no_bent_one(
        size in 1_u64..2000, a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>(), bit in 0_usize..256,
    ) {
        let tree = tree(size);
        let size_as_len = usize::try_from(size).unwrap();
        let index = u64::try_from(a.index(size_as_len)).unwrap();
        let old = 1 + u64::try_from(b.index(size_as_len)).unwrap();
        let inclusion = tree.prove_inclusion(index, size).unwrap();
        verify_inclusion(&inclusion, &leaf(index), &tree.root()).unwrap();
        for place in 0..inclusion.hashes.len() {
            let mut bent = inclusion.clone();
            bent.hashes[place] = flip(&bent.hashes[place], bit);
            prop_assert!(verify_inclusion(&bent, &leaf(index), &tree.root()).is_err());
        }
        let consistency = tree.prove_consistency(old, size).unwrap();
        let old_root = tree.root_at(old).unwrap();
        verify_consistency(&consistency, &old_root, &tree.root()).unwrap();
        for place in 0..consistency.hashes.len() {
            let mut bent = consistency.clone();
            bent.hashes[place] = flip(&bent.hashes[place], bit);
            prop_assert!(verify_consistency(&bent, &old_root, &tree.root()).is_err());
        }
    }

    #[test]
    fn random_proofs_are_refused(
        index in any::<u64>(), size in any::<u64>(), hashes in prop::collection::vec(any::<[u8; 32]>(), 0..70),
    ) {
        let root = RootHash([1; 32]);
        let proof = InclusionProof { index, size, hashes: hashes.clone() };
        prop_assert!(verify_inclusion(&proof, &LeafHash([2; 32]), &root).is_err());
        let proof = ConsistencyProof { old_size: index, new_size: size, hashes };
        prop_assert!(verify_consistency(&proof, &RootHash([2; 32]), &root).is_err());
    }

    /// Parsers answer for any bytes, and what they accept they write back as it was.
    #[test]
    fn parsers_are_total(bytes in prop::collection::vec(any::<u8>(), 0..300), path in "[a-z0-9x/.]{0,40}") {
        let _ = (Note::parse(&bytes).is_ok(), ProofFile::parse(&bytes).is_ok(), Evidence::decode(&bytes, 0).is_ok());
        prop_assert!(Entries::new(&bytes).count() <= 1 + bytes.len() / 2);
        if let Ok(id) = TileId::parse(&path) {
            prop_assert_eq!(id.path(), path);
        }
        if let Ok(text) = std::str::from_utf8(&bytes) {
            let _ = (NoteVerifier::parse(text).is_ok(), Checkpoint::parse_body(text).is_ok());
        }
    }

    /// Bytes that are nearly a proof file: cut, doubled or replaced pieces.
    #[test]
    fn bent_proof_files_never_prove(
        at in any::<prop::sample::Index>(), length in 0_usize..40, piece in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let log = log(9);
        let mut prover = Prover::new(&log.files, 9, log.writer.root(), 8).unwrap();
        let (_, proof) = prover.prove_inclusion(4).unwrap();
        let evidence = Evidence { leaf: leaf_bytes(4), opening: None };
        let good = ProofFile::new(&log.checkpoint, &proof, &evidence).unwrap().to_bytes();
        let start = at.index(good.len());
        let end = good.len().min(start + length);
        let mut bent = good.clone();
        bent.splice(start..end, piece);
        let accepted = ProofFile::parse(&bent).and_then(|file| file.verify(&origin(), &[Key::log().verifier()]));
        prop_assert!(bent == good || accepted.is_err());
    }
}
