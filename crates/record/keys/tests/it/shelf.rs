use bailiwick_base::{KeyShelf as _, SealContext, Sealer as _, SharedKey, SigningAlgorithm};
use bailiwick_keys::{KeyState, Keyring};

use crate::{open, tenant, unseal};

const ORIGIN: &str = "bailiwick.example/state";

/// Two nodes with one root, as a handover leaves them.
fn two() -> (tempfile::TempDir, Keyring, Keyring) {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    drop(open(&a, unseal(1)).unwrap());
    for part in ["keys", "keys/logs", "keys/tenants", "keys/authorities"] {
        let made = b.join(part);
        std::fs::create_dir_all(&made).unwrap();
        for dir in [&b, &made] {
            std::fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        }
    }
    for file in ["keys/root.key", "keys/installation.key"] {
        std::fs::copy(a.join(file), b.join(file)).unwrap();
    }
    let (a, b) = (open(&a, unseal(1)).unwrap(), open(&b, unseal(1)).unwrap());
    (folder, a, b)
}

/// What the store does in one transaction: places what waits.
fn place(keys: &Keyring) -> Vec<SharedKey> {
    let mut placed = keys.waiting();
    for key in &mut placed {
        key.version += 1;
    }
    keys.placed(&placed);
    placed
}

fn names(keys: &[SharedKey]) -> Vec<String> {
    let mut names: Vec<String> = keys.iter().map(|key| key.name.clone()).collect();
    names.sort();
    names
}

#[test]
fn alone_nothing_is_offered() {
    let (_folder, a, _b) = two();
    a.create_tenant(&tenant("acme"), SigningAlgorithm::Es256).unwrap();
    assert_eq!(a.waiting(), []);
}

#[test]
fn a_tenant_that_one_node_made_opens_and_signs_on_the_other() {
    let (_folder, a, b) = two();
    let acme = tenant("acme");
    a.log_signer(ORIGIN).unwrap();
    a.log_signer("bailiwick.example/decisions/a").unwrap();
    a.share(ORIGIN, &[], false).unwrap();
    let first = place(&a);
    assert_eq!(
        first.len(),
        2,
        "the installation's and the state log's, not the decision log's: {:?}",
        names(&first)
    );
    b.share(ORIGIN, &first, false).unwrap();
    assert_eq!(b.waiting(), []);
    a.create_tenant(&acme, SigningAlgorithm::Es256).unwrap();
    let made = place(&a);
    assert_eq!(names(&made), ["tenants/acme.key"]);
    assert_eq!(made[0].tenant.as_ref(), Some(&acme));
    let context = SealContext {
        tenant: Some(&acme),
        table: "credential",
        row: b"1",
        column: "secret",
    };
    let sealed = a.seal(&context, b"upstream").unwrap();
    assert!(b.open(&context, &sealed).is_err());
    b.adopt(&made[0]).unwrap();
    assert_eq!(b.open(&context, &sealed).unwrap(), b"upstream");
    assert_eq!(b.signer(&acme).unwrap().kid(), a.signer(&acme).unwrap().kid());
    assert_eq!(b.waiting(), [], "what came from another is not offered again");
    // An older version changes nothing any more.
    let next = a.add_signing_key(&acme, SigningAlgorithm::Es256).unwrap();
    b.adopt(&place(&a)[0]).unwrap();
    b.adopt(&made[0]).unwrap();
    assert!(
        b.signing_keys(&acme)
            .unwrap()
            .iter()
            .any(|key| key.kid == next && key.state == KeyState::Next)
    );
}

#[test]
fn of_two_changes_at_once_the_first_placed_stands_on_both() {
    let (_folder, a, b) = two();
    let acme = tenant("acme");
    a.share(ORIGIN, &[], false).unwrap();
    a.create_tenant(&acme, SigningAlgorithm::Es256).unwrap();
    b.share(ORIGIN, &place(&a), false).unwrap();
    let theirs = a.add_signing_key(&acme, SigningAlgorithm::Es256).unwrap();
    let lost = b.add_signing_key(&acme, SigningAlgorithm::Es256).unwrap();
    let first = place(&a);
    assert_eq!(
        b.waiting()[0].version + 1,
        first[0].version,
        "made from the same version: the store takes one"
    );
    b.adopt(&first[0]).unwrap();
    assert_eq!(b.waiting(), []);
    let kids: Vec<String> = b
        .signing_keys(&acme)
        .unwrap()
        .into_iter()
        .map(|key| key.kid)
        .collect();
    assert!(kids.contains(&theirs) && !kids.contains(&lost));
}

#[test]
fn what_does_not_open_under_the_root_or_goes_elsewhere_is_refused() {
    let (_folder, a, b) = two();
    let (acme, globex) = (tenant("acme"), tenant("globex"));
    a.share(ORIGIN, &[], false).unwrap();
    a.create_tenant(&acme, SigningAlgorithm::Es256).unwrap();
    let key = place(&a)
        .into_iter()
        .find(|key| key.name == "tenants/acme.key")
        .unwrap();
    b.share(ORIGIN, &[], false).unwrap();
    let with = |change: fn(&mut SharedKey)| {
        let mut other = key.clone();
        change(&mut other);
        other
    };
    for wrong in [
        with(|key| key.sealed[20] ^= 1),
        with(|key| key.sealed.clear()),
        with(|key| key.name = "tenants/globex.key".to_owned()),
        with(|key| key.name = "tenants/../../root.key".to_owned()),
        with(|key| key.name = "root.key".to_owned()),
        with(|key| key.name = "/etc/passwd".to_owned()),
    ] {
        assert!(b.adopt(&wrong).is_err(), "{}", wrong.name);
    }
    assert!(b.signer(&acme).is_err() && b.signer(&globex).is_err());
    b.adopt(&key).unwrap();
    assert!(b.signer(&acme).is_ok());
}

#[test]
fn a_row_that_was_put_back_is_noticed_at_the_next_start_and_opens_as_no_other_version() {
    let (folder, a, b) = two();
    let acme = tenant("acme");
    a.share(ORIGIN, &[], false).unwrap();
    a.create_tenant(&acme, SigningAlgorithm::Es256).unwrap();
    let first = place(&a);
    b.share(ORIGIN, &first, false).unwrap();
    let next = a.add_signing_key(&acme, SigningAlgorithm::Es256).unwrap();
    let second = place(&a);
    b.adopt(&second[0]).unwrap();
    // What is old does not become new by another number.
    let mut renumbered = first
        .iter()
        .find(|key| key.name == second[0].name)
        .unwrap()
        .clone();
    renumbered.version = second[0].version + 1;
    b.adopt(&renumbered).unwrap_err();
    drop((a, b));

    let rows = |tenants: &SharedKey| {
        let others = first.iter().filter(|key| key.name != tenants.name).cloned();
        others.chain([tenants.clone()]).collect::<Vec<_>>()
    };
    let old = first.iter().find(|key| key.name == second[0].name).unwrap();
    for node in ["a", "b"] {
        let at = folder.path().join(node);
        let keys = open(&at, unseal(1)).unwrap();
        for placed in [rows(old), rows(&renumbered), first[..1].to_vec(), Vec::new()] {
            let refused = keys.share(ORIGIN, &placed, false).unwrap_err();
            assert!(
                ["keys.set-back", "keys.damaged"].contains(&refused.code()),
                "{refused}"
            );
        }
        let refused = keys.share(ORIGIN, &rows(old), false).unwrap_err();
        assert_eq!(refused.code(), "keys.set-back");
        keys.share(ORIGIN, &rows(&second[0]), false).unwrap();
        let has = |keys: &Keyring| {
            keys.signing_keys(&acme)
                .unwrap()
                .iter()
                .any(|key| key.kid == next)
        };
        assert!(has(&keys));
        // Somebody may accept an older store.
        keys.share(ORIGIN, &rows(old), true).unwrap();
        assert!(!has(&keys));
        drop(keys);
        open(&at, unseal(1))
            .unwrap()
            .share(ORIGIN, &rows(old), false)
            .unwrap();
        // What is remembered cannot be altered.
        let path = at.join("keys/shared.versions");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[20] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let refused = open(&at, unseal(1)).unwrap().share(ORIGIN, &rows(old), false);
        assert_eq!(refused.unwrap_err().code(), "keys.damaged");
    }
}
