use std::fs;

use bailiwick_audit::entry::Leaf;
use bailiwick_base::TenantId;
use bailiwick_journal::{JournalError, OPENINGS, Openings, export};
use serde_json::Value;

use crate::publish::fsck;
use crate::rig::{ORIGIN, TestSealer, append_each, folder, note_key, open, record, tenant, wait};

#[test]
fn an_export_verifies_alone_and_discloses_only_what_it_may() {
    let dir = folder();
    let log = open(dir.path());
    for n in 0..300 {
        let name = if n % 3 == 0 { "beta" } else { "acme" };
        wait(log.append(record(name, format!("{{\"n\":{n}}}")))).unwrap();
    }
    log.integrate().unwrap();
    append_each(&log, &["acme"]);
    // Beside the running log, with one tenant's payloads; the last entry is not under the checkpoint.
    let out = folder();
    let to = out.path().join("export");
    let tenant_of = |reference: &str| (reference == "ref-acme").then(|| Some(tenant("acme")));
    let sealer = TestSealer { erased: None };
    let openings = Openings {
        sealer: &sealer,
        tenant: &tenant_of,
    };
    let key = note_key(ORIGIN, 1).verifier;
    let exported = export(dir.path(), ORIGIN, &key, &to, Some(&openings)).unwrap();
    assert_eq!(
        (exported.checkpoint.size, exported.openings, exported.erased),
        (300, 200, 0)
    );
    assert_eq!(fsck(&to), 300);
    assert!(!to.join("segments").exists());
    let text = fs::read_to_string(to.join(OPENINGS)).unwrap();
    for line in text.lines() {
        let value: Value = serde_json::from_str(line).unwrap();
        assert_eq!(
            bailiwick_base::canonical::to_vec(&value).unwrap(),
            line.as_bytes()
        );
        let index = value["index"].as_u64().unwrap();
        assert_ne!(index % 3, 0);
        assert_eq!(value["payload"]["n"].as_u64(), Some(index));
        let leaf = Leaf::decode(value["leaf"].as_str().unwrap().as_bytes()).unwrap();
        assert_eq!(leaf.tenant_ref, "ref-acme");
    }
    assert_eq!(text.lines().count(), 200);
    assert!(matches!(
        export(dir.path(), ORIGIN, &key, &to, None),
        Err(JournalError::File { .. })
    ));
}

#[test]
fn an_erased_tenant_keeps_its_leaves_and_loses_its_payloads() {
    let dir = folder();
    append_each(&open(dir.path()), &["acme", "beta", "beta"]);
    let out = folder();
    let to = out.path().join("export");
    let sealer = TestSealer {
        erased: Some(tenant("beta")),
    };
    let all = |reference: &str| {
        Some(
            reference
                .strip_prefix("ref-")
                .map(|name| TenantId::parse(name).unwrap()),
        )
    };
    let openings = Openings {
        sealer: &sealer,
        tenant: &all,
    };
    let exported = export(
        dir.path(),
        ORIGIN,
        &note_key(ORIGIN, 1).verifier,
        &to,
        Some(&openings),
    )
    .unwrap();
    assert_eq!((exported.openings, exported.erased), (1, 2));
    assert_eq!(fsck(&to), 3);
}

#[test]
fn a_partial_tile_that_became_full_is_exported_at_its_width() {
    let dir = folder();
    let log = open(dir.path());
    append_each(&log, &["acme"; 5]);
    log.integrate().unwrap();
    let old = fs::read(dir.path().join("checkpoint")).unwrap();
    append_each(&log, &["acme"; 300]);
    log.integrate().unwrap();
    drop(log);
    fs::write(dir.path().join("checkpoint"), old).unwrap();
    let out = folder();
    let to = out.path().join("export");
    let exported = export(dir.path(), ORIGIN, &note_key(ORIGIN, 1).verifier, &to, None).unwrap();
    assert_eq!((exported.checkpoint.size, exported.tiles), (5, 2));
    assert!(to.join("tile/0/000.p/5").exists() && to.join("tile/entries/000.p/5").exists());
    assert_eq!(fsck(&to), 5);
}

#[test]
fn a_foreign_checkpoint_is_not_exported() {
    let dir = folder();
    append_each(&open(dir.path()), &["acme"]);
    let out = folder();
    let to = out.path().join("export");
    let refused = export(dir.path(), ORIGIN, &note_key(ORIGIN, 5).verifier, &to, None);
    assert!(matches!(refused, Err(JournalError::Checkpoint { .. })));
    assert!(!to.exists());
}
