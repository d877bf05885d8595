//! Tests of `holders` that need no holder; with a token and a key service, see `tests/interop/test_holders.py`.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use bailiwick_base::{ManualClock, Time};
use bailiwick_holders::{AwsKms, HolderConfig, HolderConfigError, Pkcs11Token};

fn opened(config: &HolderConfig) -> Result<AwsKms, HolderConfigError> {
    AwsKms::open(config, Arc::new(ManualClock::at(Time::from_secs(0))))
}

#[test]
fn what_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("access");
    let mut config = HolderConfig {
        kind: "aws-kms".to_owned(),
        ..HolderConfig::default()
    };
    let refused = |config: &HolderConfig| opened(config).err().unwrap().to_string();
    assert!(refused(&config).contains("keys.holder.region"));
    config.region = Some("eu-west-1/../x".to_owned());
    assert!(refused(&config).contains("is no region"));
    config.region = Some("eu-west-1".to_owned());
    assert!(refused(&config).contains("keys.holder.access_key_file"));
    config.access_key_file = Some(file.clone());
    std::fs::write(&file, "AKIDEXAMPLE\nverysecret\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let told = refused(&config);
    assert!(
        told.contains("chmod 600") && !told.contains("verysecret"),
        "{told}"
    );
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert!(opened(&config).is_ok());
    // Another place than AWS needs leave for its addresses, and for plain HTTP.
    config.danger_endpoint_override = Some("http://127.0.0.1:5000/".to_owned());
    assert!(refused(&config).contains("keys.holder.danger_endpoint_override"));
    config.allow_addresses = vec!["127.0.0.1/32".to_owned()];
    assert!(opened(&config).is_ok());
    let token = Pkcs11Token::open(&config).err().unwrap().to_string();
    assert!(token.contains("keys.holder.module"), "{token}");
}
