use std::sync::OnceLock;

use aws_lc_rs::hmac;
use bailiwick_base::{SealContext, SealError, Sealer as _, SigningAlgorithm};
use bailiwick_keys::Keyring;
use proptest::prelude::*;

use crate::{open, tenant, unseal};

fn keyring() -> &'static Keyring {
    static KEYRING: OnceLock<Keyring> = OnceLock::new();
    KEYRING.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let keys = open(folder.path(), unseal(3)).unwrap();
        for name in ["acme", "globex"] {
            keys.create_tenant(&tenant(name), SigningAlgorithm::EdDsa)
                .unwrap();
        }
        keys
    })
}

const TABLES: [&str; 3] = ["credential", "payload", "a"];
const COLUMNS: [&str; 3] = ["secret", "body", "b"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_sealed_opens_in_its_own_place_only(
        plain in proptest::collection::vec(any::<u8>(), 0..600),
        row in proptest::collection::vec(any::<u8>(), 0..24),
        other_row in proptest::collection::vec(any::<u8>(), 0..24),
        (table, other_table, column, other_column) in (0_usize..3, 0_usize..3, 0_usize..3, 0_usize..3),
        (owner, other_owner) in (0_usize..3, 0_usize..3),
        flip in any::<prop::sample::Index>(),
        bit in 0_u8..8,
    ) {
        let keys = keyring();
        let owners = [None, Some(tenant("acme")), Some(tenant("globex"))];
        let place = SealContext { tenant: owners[owner].as_ref(), table: TABLES[table], row: &row, column: COLUMNS[column] };
        let sealed = keys.seal(&place, &plain).unwrap();
        prop_assert_eq!(keys.open(&place, &sealed).unwrap(), plain.clone());
        prop_assert_ne!(&keys.seal(&place, &plain).unwrap(), &sealed, "every sealing has its own nonce");

        let moved = SealContext {
            tenant: owners[other_owner].as_ref(),
            table: TABLES[other_table],
            row: &other_row,
            column: COLUMNS[other_column],
        };
        let is_same = (owner, table, column, &row) == (other_owner, other_table, other_column, &other_row);
        prop_assert_eq!(keys.open(&moved, &sealed).is_ok(), is_same);

        let mut altered = sealed.clone();
        altered[flip.index(sealed.len())] ^= 1 << bit;
        let refused = SealError::DoesNotOpen { table: TABLES[table], column: COLUMNS[column] };
        prop_assert_eq!(keys.open(&place, &altered), Err(refused.clone()));
        prop_assert_eq!(keys.open(&place, &sealed[..flip.index(sealed.len())]), Err(refused));
    }
}

#[test]
fn fields_cannot_run_into_each_other() {
    let keys = keyring();
    let acme = tenant("acme");
    let place = |table, row, column| SealContext {
        tenant: Some(&acme),
        table,
        row,
        column,
    };
    let sealed = keys.seal(&place("a", b"bc", "d"), b"x").unwrap();
    for (table, row, column) in [
        ("ab", b"c".as_slice(), "d"),
        ("a", b"b", "cd"),
        ("abc", b"", "d"),
        ("a", b"bcd", ""),
    ] {
        assert!(
            keys.open(&place(table, row, column), &sealed).is_err(),
            "{table} {column}"
        );
    }
}

#[test]
fn a_new_sealing_key_seals_and_the_old_ones_open() {
    let folder = tempfile::tempdir().unwrap();
    let acme = tenant("acme");
    let place = SealContext {
        tenant: Some(&acme),
        table: "t",
        row: b"1",
        column: "c",
    };
    let keys = open(folder.path(), unseal(1)).unwrap();
    keys.create_tenant(&acme, SigningAlgorithm::Es256).unwrap();
    let (kid, commitment) = (
        keys.signer(&acme).unwrap().kid().to_owned(),
        keys.commit(Some(&acme), b"p").unwrap(),
    );
    let before = keys.seal(&place, b"before").unwrap();
    keys.rotate_sealing_key(&acme).unwrap();
    let after = keys.seal(&place, b"after").unwrap();
    assert_ne!(before[..5], after[..5], "the version of the key is in front");
    for keys in [keys, open(folder.path(), unseal(1)).unwrap()] {
        assert_eq!(keys.open(&place, &before).unwrap(), b"before");
        assert_eq!(keys.open(&place, &after).unwrap(), b"after");
        assert_eq!(
            keys.signer(&acme).unwrap().kid(),
            kid,
            "rotation leaves the signing key alone"
        );
        assert_eq!(
            keys.commit(Some(&acme), b"p").unwrap(),
            commitment,
            "and the commitments"
        );
    }
    let mut claimed = before.clone();
    claimed[..5].copy_from_slice(&after[..5]);
    assert!(
        open(folder.path(), unseal(1))
            .unwrap()
            .open(&place, &claimed)
            .is_err()
    );
}

#[test]
fn commitments_are_hmac_sha256_under_the_key_of_the_tenant() {
    let keys = keyring();
    let (acme, globex) = (tenant("acme"), tenant("globex"));
    assert_ne!(
        keys.commit(Some(&acme), b"p").unwrap(),
        keys.commit(Some(&globex), b"p").unwrap()
    );
    assert_ne!(
        keys.fingerprint(&acme, b"p").unwrap(),
        keys.fingerprint(&globex, b"p").unwrap()
    );
    assert_eq!(keys.fingerprint(&acme, b"p").unwrap().len(), 32);
    assert_eq!(
        keys.commit(Some(&tenant("nobody")), b"p"),
        Err(SealError::NoKey("nobody".to_owned()))
    );
}

#[test]
fn whoever_opens_commitments_vouches_for_nothing() {
    let keys = keyring();
    let opening = keys.danger_opening_key(None).unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &opening[..]);
    let sign = |text: &[u8]| hmac::sign(&key, text).as_ref().to_vec();
    let said = b"node-1\x001\x002\x003";
    assert_eq!(
        keys.commit(None, said).unwrap().to_vec(),
        sign(said),
        "the key opens"
    );
    let vouched = keys.vouch("node word", said).unwrap();
    let purposed: &[u8] = b"bailiwick\x00node word\x00node-1\x001\x002\x003";
    for text in [said, purposed] {
        assert_ne!(vouched.0.to_vec(), sign(text));
        assert_ne!(vouched.0.to_vec(), keys.commit(None, text).unwrap());
    }
    assert_ne!(vouched, keys.vouch("node invitation", said).unwrap());
    assert_eq!(vouched, keys.vouch("node word", said).unwrap());
}
