use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use bailiwick_base::{SealContext, SealError, Sealer as _, Secret, SeededEntropy, SigningAlgorithm};
use bailiwick_keys::{Keyring, KeysError, Unseal, create_unseal_file};

use crate::{open, tenant, unseal};

fn context<'a>(of: &'a bailiwick_base::TenantId, row: &'a [u8]) -> SealContext<'a> {
    SealContext {
        tenant: Some(of),
        table: "credential",
        row,
        column: "secret",
    }
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn a_second_start_finds_every_key() {
    let folder = tempfile::tempdir().unwrap();
    let acme = tenant("acme");
    let (sealed, installed, kid, vkey, print, commitment) = {
        let keys = open(folder.path(), unseal(1)).unwrap();
        keys.create_tenant(&acme, SigningAlgorithm::Es256).unwrap();
        let installation = SealContext {
            tenant: None,
            table: "operator",
            row: b"1",
            column: "key",
        };
        (
            keys.seal(&context(&acme, b"1"), b"upstream secret").unwrap(),
            keys.seal(&installation, b"of all").unwrap(),
            keys.signer(&acme).unwrap().kid().to_owned(),
            keys.log_signer("bailiwick.example/state").unwrap().vkey(),
            keys.fingerprint(&acme, b"upstream secret").unwrap(),
            keys.commit(Some(&acme), b"payload").unwrap(),
        )
    };
    let keys = open(folder.path(), unseal(1)).unwrap();
    let installation = SealContext {
        tenant: None,
        table: "operator",
        row: b"1",
        column: "key",
    };
    assert_eq!(keys.tenants(), std::slice::from_ref(&acme));
    assert_eq!(
        keys.open(&context(&acme, b"1"), &sealed).unwrap(),
        b"upstream secret"
    );
    assert_eq!(keys.open(&installation, &installed).unwrap(), b"of all");
    assert_eq!(keys.signer(&acme).unwrap().kid(), kid);
    assert_eq!(keys.log_signer("bailiwick.example/state").unwrap().vkey(), vkey);
    assert_eq!(keys.fingerprint(&acme, b"upstream secret").unwrap(), print);
    assert_eq!(keys.commit(Some(&acme), b"payload").unwrap(), commitment);
    assert_ne!(keys.commit(None, b"payload").unwrap(), commitment);
}

#[test]
fn the_wrong_unseal_key_opens_nothing() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path(), unseal(1)).unwrap());
    assert!(matches!(
        open(folder.path(), unseal(2)),
        Err(KeysError::DoesNotOpen { .. })
    ));
    let passphrase = Unseal::Passphrase(Secret::new(b"correct horse battery staple".to_vec()));
    assert!(matches!(
        open(folder.path(), passphrase),
        Err(KeysError::DoesNotOpen { .. })
    ));
    assert!(open(folder.path(), unseal(1)).is_ok());
}

#[test]
fn a_passphrase_opens_and_a_short_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let phrase = |text: &str| Unseal::Passphrase(Secret::new(text.as_bytes().to_vec()));
    assert!(matches!(
        open(folder.path(), phrase("hunter2")),
        Err(KeysError::PassphraseShort { min: 15 })
    ));
    let keys = open(folder.path(), phrase("correct horse battery staple")).unwrap();
    keys.create_tenant(&tenant("acme"), SigningAlgorithm::EdDsa)
        .unwrap();
    drop(keys);
    assert!(matches!(
        open(folder.path(), phrase("correct horse battery stapler")),
        Err(KeysError::DoesNotOpen { .. })
    ));
    let keys = open(folder.path(), phrase("correct horse battery staple")).unwrap();
    keys.reseal(&unseal(9)).unwrap();
    drop(keys);
    assert_eq!(
        open(folder.path(), unseal(9)).unwrap().tenants(),
        [tenant("acme")]
    );
}

#[test]
fn the_unseal_file_is_made_once_and_never_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("unseal.key");
    let file = || Unseal::File(path.clone());
    assert!(matches!(
        open(folder.path(), file()),
        Err(KeysError::UnsealMissing { .. })
    ));
    drop(open(folder.path(), Unseal::FileOrNew(path.clone())).unwrap());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    drop(open(folder.path(), file()).unwrap());
    assert!(
        create_unseal_file(&path, &SeededEntropy::new(1)).is_err(),
        "an existing key is never overwritten"
    );

    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    let error = open(folder.path(), file()).err().unwrap();
    assert!(matches!(error, KeysError::Readable { mode: 0o640, .. }));
    assert!(error.to_string().contains("chmod 600"), "{error}");
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();

    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..31]).unwrap();
    assert!(matches!(
        open(folder.path(), file()),
        Err(KeysError::UnsealLength { len: 31, .. })
    ));
    fs::remove_file(&path).unwrap();
    let lost = open(folder.path(), Unseal::FileOrNew(path.clone()));
    assert!(
        matches!(lost, Err(KeysError::UnsealMissing { .. })),
        "a lost key is not replaced by a new one"
    );
    assert!(!path.exists());
}

#[test]
fn files_are_for_the_owner_alone_and_hold_no_plain_key() {
    let folder = tempfile::tempdir().unwrap();
    let keys = open(folder.path(), unseal(1)).unwrap();
    for (name, algorithm) in [("aa", SigningAlgorithm::Es256), ("bb", SigningAlgorithm::EdDsa)] {
        keys.create_tenant(&tenant(name), algorithm).unwrap();
    }
    keys.log_signer("bailiwick.example/node").unwrap();
    let all = files(&folder.path().join("keys"));
    assert_eq!(all.len(), 5, "{all:?}");
    for path in &all {
        assert_eq!(
            fs::metadata(path).unwrap().permissions().mode() & 0o777,
            0o600,
            "{}",
            path.display()
        );
        let bytes = fs::read(path).unwrap();
        // PKCS #8 names the algorithm of a key in the clear; a sealed file holds no such name.
        for oid in [
            &[0x2b, 0x65, 0x70][..],
            &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01][..],
        ] {
            assert!(
                !bytes.windows(oid.len()).any(|window| window == oid),
                "{}",
                path.display()
            );
        }
    }
    drop(keys);
    fs::set_permissions(&all[0], Permissions::from_mode(0o604)).unwrap();
    assert!(matches!(
        open(folder.path(), unseal(1)),
        Err(KeysError::Readable { mode: 0o604, .. })
    ));
    fs::set_permissions(&all[0], Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(folder.path().join("keys"), Permissions::from_mode(0o750)).unwrap();
    let error = open(folder.path(), unseal(1)).err().unwrap();
    assert!(error.to_string().contains("chmod 700"), "{error}");
}

#[test]
fn a_flipped_byte_or_a_moved_file_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let keys = open(folder.path(), unseal(1)).unwrap();
    for name in ["aa", "bb"] {
        keys.create_tenant(&tenant(name), SigningAlgorithm::EdDsa)
            .unwrap();
    }
    drop(keys);
    for path in files(&folder.path().join("keys")) {
        let whole = fs::read(&path).unwrap();
        for at in [0, whole.len() / 2, whole.len() - 1] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            assert!(
                open(folder.path(), unseal(1)).is_err(),
                "{} byte {at}",
                path.display()
            );
        }
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert!(open(folder.path(), unseal(1)).is_err(), "{} cut", path.display());
        fs::write(&path, &whole).unwrap();
    }
    let tenants = folder.path().join("keys/tenants");
    fs::copy(tenants.join("aa.key"), tenants.join("bb.key")).unwrap();
    assert!(matches!(
        open(folder.path(), unseal(1)),
        Err(KeysError::Damaged { .. })
    ));
}

#[test]
fn an_erased_tenant_opens_nothing_and_never_returns() {
    let folder = tempfile::tempdir().unwrap();
    let (acme, other) = (tenant("acme"), tenant("other"));
    let keys = open(folder.path(), unseal(1)).unwrap();
    for of in [&acme, &other] {
        keys.create_tenant(of, SigningAlgorithm::EdDsa).unwrap();
    }
    let sealed = keys.seal(&context(&acme, b"1"), b"payload").unwrap();
    let backup = fs::read(folder.path().join("keys/tenants/acme.key")).unwrap();
    keys.erase_tenant(&acme).unwrap();
    let gone = |keys: &Keyring| {
        assert_eq!(
            keys.open(&context(&acme, b"1"), &sealed),
            Err(SealError::NoKey("acme".to_owned()))
        );
        assert!(matches!(keys.signer(&acme), Err(KeysError::TenantUnknown(_))));
        assert!(keys.jwks(&acme).is_err());
        let again = keys.create_tenant(&acme, SigningAlgorithm::EdDsa);
        assert!(matches!(again, Err(KeysError::TenantErased(_))));
        assert!(keys.signer(&other).is_ok());
    };
    gone(&keys);
    drop(keys);
    gone(&open(folder.path(), unseal(1)).unwrap());
    // The key file comes back from a backup, or the erasure was cut short: the tombstone finishes it.
    fs::write(folder.path().join("keys/tenants/acme.key"), backup).unwrap();
    gone(&open(folder.path(), unseal(1)).unwrap());
    assert!(!folder.path().join("keys/tenants/acme.key").exists());
}

#[test]
fn remains_of_an_interrupted_write_do_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let keys = open(folder.path(), unseal(1)).unwrap();
    fs::write(folder.path().join("keys/tenants/.acme.key.new"), b"half").unwrap();
    keys.create_tenant(&tenant("acme"), SigningAlgorithm::EdDsa)
        .unwrap();
    drop(keys);
    fs::write(folder.path().join("keys/tenants/.acme.key.new"), b"half").unwrap();
    assert_eq!(
        open(folder.path(), unseal(1)).unwrap().tenants(),
        [tenant("acme")]
    );
}

#[test]
fn errors_name_no_secret() {
    let folder = tempfile::tempdir().unwrap();
    let secret = "correct horse battery staple";
    drop(
        open(
            folder.path(),
            Unseal::Passphrase(Secret::new(secret.as_bytes().to_vec())),
        )
        .unwrap(),
    );
    let wrong = Unseal::Passphrase(Secret::new(b"another passphrase entirely".to_vec()));
    let error = open(folder.path(), wrong).err().unwrap();
    assert!(!error.to_string().contains("passphrase entirely") && !format!("{error:?}").contains("entirely"));
}
