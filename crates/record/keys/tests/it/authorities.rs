use std::time::Duration;

use bailiwick_base::{SigningAlgorithm, Time};
use bailiwick_keys::KeysError;

use crate::{open, tenant, unseal};

const DOMAIN: &str = "agents.example";
const ID: &str = "spiffe://agents.example/t/acme/idn_1";

#[test]
fn an_authority_is_made_once_for_each_tenant_and_goes_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let (acme, other) = (tenant("acme"), tenant("other"));
    let now = Time::from_secs(1_800_000_000);
    let keys = open(folder.path(), unseal(1)).unwrap();
    for name in [&acme, &other] {
        keys.create_tenant(name, SigningAlgorithm::EdDsa).unwrap();
    }
    let first = keys.x509_authority(&acme, DOMAIN, now).unwrap();
    assert_ne!(first, keys.x509_authority(&other, DOMAIN, now).unwrap());
    let until = now.after(Duration::from_secs(300));
    let issued = keys.issue_x509(&acme, DOMAIN, ID, (now, until)).unwrap();
    let again = keys.issue_x509(&acme, DOMAIN, ID, (now, until)).unwrap();
    assert_eq!(issued.authority, first.1);
    assert!(issued.certificate != again.certificate && *issued.key != *again.key);
    drop(keys);

    let keys = open(folder.path(), unseal(1)).unwrap();
    assert_eq!(keys.x509_authority(&acme, DOMAIN, now).unwrap(), first);
    // Another trust domain, or one that is half over, is another authority.
    assert_ne!(keys.x509_authority(&acme, "else.example", now).unwrap(), first);
    let later = now.after(Duration::from_secs(6 * 366 * 86_400));
    let second = keys.x509_authority(&acme, DOMAIN, later).unwrap();
    assert_ne!(second, first);

    let file = folder.path().join("keys/authorities/acme.key");
    assert!(file.exists());
    keys.erase_tenant(&acme).unwrap();
    assert!(!file.exists());
    let gone = keys.x509_authority(&acme, DOMAIN, later).unwrap_err();
    assert!(matches!(
        gone,
        KeysError::TenantUnknown(_) | KeysError::TenantErased(_)
    ));
}
