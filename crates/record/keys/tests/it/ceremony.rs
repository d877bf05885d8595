//! The root of an installation, made off line, and what opens it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use bailiwick_base::Secret;
use bailiwick_keys::ceremony::{Ceremony, Held, Sealed, hold, is_unused, mark_used};
use bailiwick_keys::{Keyring, KeysError, SystemEntropy, Unseal};

use crate::tenant;

fn plan<'a>(data: &'a Path, sealed: Sealed, tenants: &[&str]) -> Ceremony<'a> {
    Ceremony {
        data,
        sealed,
        tenants: tenants.iter().map(|&slug| slug.to_owned()).collect(),
        algorithm: "ES256".to_owned(),
    }
}

fn open(data: &Path, unseal: Unseal) -> Result<Keyring, KeysError> {
    Keyring::open(&data.join("keys"), unseal, Arc::new(SystemEntropy))
}

fn narrow(folder: &Path) {
    fs::set_permissions(folder, Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn a_ceremony_makes_one_root_and_one_bundle_for_each_tenant() {
    let place = tempfile::tempdir().unwrap();
    let (data, file) = (place.path().join("data"), place.path().join("unseal.key"));
    let held: Held = hold(plan(&data, Sealed::File(file.clone()), &["acme", "umbrella"])).unwrap();
    assert_eq!(held.tenants.len(), 2);
    assert_eq!(held.root.len(), 64);
    assert!(held.steps.len() > 3);
    // What opens it lies beside it, for nobody else, and not inside.
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let keys = open(&data, Unseal::File(file.clone())).unwrap();
    for (slug, kid) in &held.tenants {
        assert_eq!(keys.signer(&tenant(slug)).unwrap().kid(), kid);
        assert_eq!(keys.jwks(&tenant(slug)).unwrap().len(), 2);
    }
    // A root is made once, and its key never over another one.
    let again = hold(plan(&data, Sealed::File(place.path().join("other.key")), &[]));
    assert!(matches!(again, Err(KeysError::Ceremony(why)) if why.contains("has keys already")));
    assert!(!place.path().join("other.key").exists());
    let over = hold(plan(&place.path().join("second"), Sealed::File(file), &[]));
    assert!(matches!(over, Err(KeysError::Io { .. })));
}

#[test]
fn only_what_a_ceremony_left_counts_as_unused() {
    let place = tempfile::tempdir().unwrap();
    let (data, file) = (place.path().join("data"), place.path().join("unseal.key"));
    assert!(!is_unused(&data).unwrap(), "nothing is there");
    hold(plan(&data, Sealed::File(file), &["acme"])).unwrap();
    assert!(is_unused(&data).unwrap());
    let root = data.join("keys/root.key");
    let (whole, mut other) = (fs::read(&root).unwrap(), fs::read(&root).unwrap());
    other[0] ^= 1;
    fs::write(&root, &other).unwrap();
    assert!(!is_unused(&data).unwrap(), "another root");
    fs::remove_file(&root).unwrap();
    assert!(!is_unused(&data).unwrap(), "no root");
    fs::write(&root, &whole).unwrap();
    fs::set_permissions(&root, Permissions::from_mode(0o600)).unwrap();
    assert!(is_unused(&data).unwrap());
    mark_used(&data).unwrap();
    mark_used(&data).unwrap();
    assert!(!is_unused(&data).unwrap(), "a service began");
}

#[test]
fn the_lock_is_not_kept_with_the_key() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    fs::create_dir(&data).unwrap();
    narrow(&data);
    let inside = hold(plan(&data, Sealed::File(data.join("unseal.key")), &[]));
    assert!(matches!(inside, Err(KeysError::Ceremony(why)) if why.contains("inside the data folder")));
    assert!(fs::read_dir(&data).unwrap().next().is_none());
}

#[test]
fn a_passphrase_opens_what_it_sealed_and_another_does_not() {
    let place = tempfile::tempdir().unwrap();
    let data = place.path().join("data");
    let words = "correct horse battery staple";
    hold(plan(
        &data,
        Sealed::Passphrase(format!("{words}\n").into_bytes()),
        &["acme"],
    ))
    .unwrap();
    let file = place.path().join("passphrase");
    fs::write(&file, format!("{words}\n")).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    assert!(open(&data, Unseal::PassphraseFile(file.clone())).is_ok());
    assert!(open(&data, Unseal::Passphrase(Secret::new(words.as_bytes().to_vec()))).is_ok());
    fs::write(&file, "incorrect horse battery staple").unwrap();
    assert!(matches!(
        open(&data, Unseal::PassphraseFile(file)),
        Err(KeysError::DoesNotOpen { .. })
    ));
}

#[test]
fn a_credential_of_systemd_opens_and_one_for_everybody_does_not() {
    let place = tempfile::tempdir().unwrap();
    let (data, file) = (place.path().join("data"), place.path().join("bailiwick-unseal"));
    hold(plan(&data, Sealed::File(file.clone()), &[])).unwrap();
    // As systemd hands it over: the group bits show an access list of the one user.
    fs::set_permissions(&file, Permissions::from_mode(0o440)).unwrap();
    assert!(open(&data, Unseal::Credential(file.clone())).is_ok());
    assert!(matches!(
        open(&data, Unseal::File(file.clone())),
        Err(KeysError::Readable { .. })
    ));
    fs::set_permissions(&file, Permissions::from_mode(0o444)).unwrap();
    assert!(matches!(
        open(&data, Unseal::Credential(file)),
        Err(KeysError::Readable { .. })
    ));
}
