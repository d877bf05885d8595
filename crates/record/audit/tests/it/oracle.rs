//! Foreign code must agree: `tlog_tiles` and `signed_note`, which share
//! nothing with this crate but the standards.

use std::cell::RefCell;

use bailiwick_audit::checkpoint::{CheckpointIssuer, SignedCheckpoint};
use bailiwick_audit::merkle::{Tree, leaf_hash};
use bailiwick_audit::note::{Note, NoteSignature, NoteVerifier};
use bailiwick_audit::tile::{Prover, TileId, TileKind, tiles_between};
use signed_note::{StandardVerifier, VerifierList};
use tlog_tiles::{
    Error, Hash, HashReader, Tile, TileHashReader, TileReader, check_record, check_tree, prove_record,
    prove_tree, record_hash, tree_hash,
};

use crate::fixture::{Files, Key, LARGE, leaf_bytes, log, origin};

/// Our files as the foreign crate reads them.
struct Foreign<'a> {
    files: &'a Files,
    asked: RefCell<usize>,
}

impl TileReader for Foreign<'_> {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, Error> {
        *self.asked.borrow_mut() += tiles.len();
        Ok(tiles
            .iter()
            .map(|tile| {
                let width = u16::try_from(tile.width()).unwrap();
                let id = TileId::new(TileKind::Hashes(tile.level()), tile.level_index(), width).unwrap();
                self.files
                    .0
                    .get(&id.path())
                    .unwrap_or_else(|| panic!("no {id}"))
                    .clone()
            })
            .collect())
    }

    fn save_tiles(&self, _tiles: &[Tile], _tile_bytes: &[Vec<u8>]) {}
}

#[test]
fn a_foreign_verifier_accepts_our_tiles_and_proofs() {
    let small = [1, 2, 255, 256, 257, 700].map(log);
    for log in small.iter().chain([&*LARGE]) {
        let size = log.writer.size();
        let root = Hash(log.writer.root().0);
        let foreign = Foreign {
            files: &log.files,
            asked: RefCell::new(0),
        };
        let reader = TileHashReader::new(size, root, &foreign);
        // The foreign reader authenticates every tile against the root.
        assert_eq!(tree_hash(size, &reader).unwrap(), root);
        let mut prover = Prover::new(&log.files, size, log.writer.root(), 8).unwrap();
        for index in [0, size / 3, size / 2, size - 1] {
            let theirs = prove_record(size, index, &reader).unwrap();
            let (leaf, ours) = prover.prove_inclusion(index).unwrap();
            assert_eq!(record_hash(&leaf_bytes(index)), Hash(leaf.0));
            assert_eq!(
                theirs,
                ours.hashes.iter().map(|hash| Hash(*hash)).collect::<Vec<_>>()
            );
            check_record(&theirs, size, root, index, Hash(leaf.0)).unwrap();
        }
        for old in [1, size / 3 + 1, size / 2 + 1, size] {
            let (old_root, ours) = prover.prove_consistency(old).unwrap();
            let ours: Vec<Hash> = ours.hashes.iter().map(|hash| Hash(*hash)).collect();
            assert_eq!(prove_tree(size, old, &reader).unwrap(), ours);
            check_tree(&ours, size, root, old, Hash(old_root.0)).unwrap();
        }
        assert!(*foreign.asked.borrow() > 0);
    }
}

/// Their nodes straight from our tree in memory.
struct FromTree<'a>(&'a Tree);

impl HashReader for FromTree<'_> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, Error> {
        use bailiwick_audit::merkle::NodeSource as _;
        let mut tree = self.0;
        let node = |index: &u64| {
            let (level, at) = tlog_tiles::split_stored_hash_index(*index);
            Hash(tree.node(level.into(), at).unwrap())
        };
        Ok(indexes.iter().map(node).collect())
    }
}

#[test]
fn all_small_trees_agree() {
    let mut tree = Tree::new();
    for size in 1..=70 {
        tree.append(leaf_hash(&leaf_bytes(size - 1))).unwrap();
        assert_eq!(tree_hash(size, &FromTree(&tree)).unwrap(), Hash(tree.root().0));
        for at in 0..size {
            let ours = tree.prove_inclusion(at, size).unwrap().hashes;
            let theirs = prove_record(size, at, &FromTree(&tree)).unwrap();
            assert_eq!(theirs, ours.into_iter().map(Hash).collect::<Vec<_>>());
            let ours = tree.prove_consistency(at + 1, size).unwrap().hashes;
            let theirs = prove_tree(size, at + 1, &FromTree(&tree)).unwrap();
            assert_eq!(theirs, ours.into_iter().map(Hash).collect::<Vec<_>>());
        }
    }
}

#[test]
fn the_same_tiles_change() {
    for (old, new) in [
        (0, 1),
        (0, 256),
        (1, 257),
        (255, 70_000),
        (65_536, 65_537),
        (70_000, 70_255),
    ] {
        let mut theirs: Vec<(u8, u64, u32)> = Tile::new_tiles(8, old, new)
            .iter()
            .map(|tile| (tile.level(), tile.level_index(), tile.width()))
            .collect();
        let mut ours: Vec<(u8, u64, u32)> = tiles_between(old, new)
            .filter_map(|id| match id.kind() {
                TileKind::Entries => None,
                TileKind::Hashes(level) => Some((level, id.index(), id.width().into())),
            })
            .collect();
        theirs.sort_unstable();
        ours.sort_unstable();
        assert_eq!(ours, theirs, "{old} to {new}");
    }
}

#[test]
fn checkpoints_and_notes_pass_in_both_directions() {
    let log = log(700);
    let bytes = log.checkpoint.to_bytes();
    let vkey = Key::log().verifier().vkey();
    let known = VerifierList::new(vec![Box::new(StandardVerifier::new(&vkey).unwrap())]);

    let theirs = signed_note::Note::from_bytes(&bytes).unwrap();
    assert_eq!(theirs.verify(&known).unwrap().0.len(), 1);
    let checkpoint = tlog_tiles::Checkpoint::from_bytes(theirs.text()).unwrap();
    assert_eq!((checkpoint.origin(), checkpoint.size()), (origin().as_str(), 700));
    assert_eq!(checkpoint.hash(), &Hash(log.writer.root().0));
    assert_eq!(theirs.to_bytes(), bytes);

    // A note they sign, and one of ours they countersign.
    let their_key = Key::new("their.example/key", 11).verifier();
    let vkey = their_key.vkey();
    let seed = base64_of(&[&[1], [11; 32].as_slice()].concat());
    let skey = format!(
        "PRIVATE+KEY+{}+{:08x}+{seed}",
        their_key.name(),
        their_key.key_id()
    );
    let signer = signed_note::StandardSigner::new(&skey).unwrap();
    let mut note = theirs;
    note.add_sigs(&[&signer]).unwrap();
    let keys = [Key::log().verifier(), NoteVerifier::parse(&vkey).unwrap()];
    let ours = Note::parse(&note.to_bytes()).unwrap();
    assert_eq!(ours.verify(&keys).unwrap().len(), 2);
    SignedCheckpoint::verify(&note.to_bytes(), &origin(), &keys).unwrap();

    // One of theirs we countersign.
    let mut theirs = signed_note::Note::new(b"text of theirs\n", &[]).unwrap();
    theirs.add_sigs(&[&signer]).unwrap();
    let mut ours = Note::parse(&theirs.to_bytes()).unwrap();
    let signature = Key::log().sign_bytes(ours.text().as_bytes()).to_vec();
    let key = Key::log().verifier();
    ours.push(NoteSignature {
        name: key.name().into(),
        key_id: key.key_id(),
        bytes: signature,
    })
    .unwrap();
    let both = signed_note::Note::from_bytes(ours.to_string().as_bytes()).unwrap();
    assert_eq!(both.verify(&known).unwrap().0.len(), 1);
    assert_eq!(CheckpointIssuer::resume(&log.checkpoint).last().size, 700);
}

fn base64_of(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
