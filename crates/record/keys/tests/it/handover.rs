use std::path::Path;

use bailiwick_base::{SealContext, Sealer as _, SigningAlgorithm};
use bailiwick_keys::{Joining, Keyring, Unseal, ceremony};

use crate::{open, tenant, unseal};

const ORIGIN: &str = "bailiwick.example/state";
const TOKEN: &str = "bwnode_one-time";

/// A running node with a tenant, and a folder for a new one.
fn bed() -> (tempfile::TempDir, Keyring, tempfile::TempDir) {
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let keys = open(here.path(), unseal(1)).unwrap();
    keys.create_tenant(&tenant("acme"), SigningAlgorithm::Es256)
        .unwrap();
    keys.log_signer(ORIGIN).unwrap();
    (here, keys, there)
}

fn own_unseal(data: &Path) -> Unseal {
    Unseal::FileOrNew(data.join("unseal.key"))
}

#[test]
fn a_new_node_opens_what_the_installation_sealed_and_signs_its_state_log() {
    let (_here, keys, there) = bed();
    let data = there.path().join("data");
    let of_all = SealContext {
        tenant: None,
        table: "operator",
        row: b"1",
        column: "key",
    };
    let sealed = keys.seal(&of_all, b"of all").unwrap();
    let joining = Joining::begin().unwrap();
    let answer = keys.hand_over(&joining.public, TOKEN, ORIGIN).unwrap();
    std::fs::create_dir(&data).unwrap();
    std::fs::set_permissions(&data, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    joining
        .finish(&answer, (TOKEN, ORIGIN), &data, &own_unseal(&data))
        .unwrap();
    assert!(ceremony::is_unused(&data).unwrap(), "no service began on them");
    let joined = open(&data, own_unseal(&data)).unwrap();
    assert_eq!(joined.open(&of_all, &sealed).unwrap(), b"of all");
    assert_eq!(
        joined.log_signer(ORIGIN).unwrap().vkey(),
        keys.log_signer(ORIGIN).unwrap().vkey()
    );
    let own = "bailiwick.example/decisions/node-b";
    assert_ne!(
        joined.log_signer(own).unwrap().vkey(),
        keys.log_signer(own).unwrap().vkey()
    );
    assert_eq!(joined.tenants(), [], "those come from the shared store");
    assert_eq!(
        std::fs::read_to_string(data.join("log/state/origin")).unwrap(),
        format!("{ORIGIN}\n")
    );
}

#[test]
fn another_token_another_key_or_one_bit_opens_nothing_and_leaves_nothing() {
    let (_here, keys, there) = bed();
    let data = there.path().join("data");
    let refused = |answer: &[u8], joining: Joining, token: &str| {
        let error = joining
            .finish(answer, (token, ORIGIN), &data, &own_unseal(&data))
            .unwrap_err();
        assert!(
            error.to_string().contains("does not open with this token"),
            "{error}"
        );
        assert!(!data.join("keys").exists());
    };
    let joining = Joining::begin().unwrap();
    let answer = keys.hand_over(&joining.public, TOKEN, ORIGIN).unwrap();
    refused(&answer, joining, "bwnode_another");
    refused(&answer, Joining::begin().unwrap(), TOKEN);
    let joining = Joining::begin().unwrap();
    let mut answer = keys.hand_over(&joining.public, TOKEN, ORIGIN).unwrap();
    let last = answer.len() - 1;
    answer[last] ^= 1;
    refused(&answer, joining, TOKEN);
    refused(b"short", Joining::begin().unwrap(), TOKEN);
    assert!(keys.hand_over(&[0; 31], TOKEN, ORIGIN).is_err());
    // The point of low order leads everybody to the same secret.
    assert!(keys.hand_over(&[0; 32], TOKEN, ORIGIN).is_err());
}

#[test]
fn a_folder_in_which_something_began_is_refused() {
    let (here, keys, _there) = bed();
    let joining = Joining::begin().unwrap();
    let answer = keys.hand_over(&joining.public, TOKEN, ORIGIN).unwrap();
    let error = joining.finish(&answer, (TOKEN, ORIGIN), here.path(), &own_unseal(here.path()));
    assert!(error.unwrap_err().to_string().contains("joins once"));
}
