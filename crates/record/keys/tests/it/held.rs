use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bailiwick_base::SigningAlgorithm;
use bailiwick_keys::{HeldKey, Holder, HolderError, KeyState, Keyring, KeysError, jws};
use zeroize::Zeroizing;

use crate::{open, tenant, unseal};

/// A second keyring that holds keys for the first: each is the key of a tenant there.
struct Elsewhere {
    keys: Keyring,
    made: AtomicUsize,
    /// Signs with the first key whatever is asked for.
    mistakes: bool,
}

impl Elsewhere {
    fn beside(folder: &std::path::Path, mistakes: bool) -> Arc<Self> {
        Arc::new(Self {
            keys: open(&folder.join("elsewhere"), unseal(9)).unwrap(),
            made: AtomicUsize::new(0),
            mistakes,
        })
    }
}

impl Holder for Elsewhere {
    fn name(&self) -> &'static str {
        "pkcs11"
    }

    fn generate(&self, _: &str, algorithm: SigningAlgorithm) -> Result<HeldKey, HolderError> {
        let locator = format!("key-{}", self.made.fetch_add(1, Ordering::Relaxed));
        self.keys.create_tenant(&tenant(&locator), algorithm).unwrap();
        let signer = self.keys.signer(&tenant(&locator)).unwrap();
        Ok(HeldKey {
            locator,
            public: (**signer.public_key()).clone(),
        })
    }

    fn sign(&self, locator: &str, _: SigningAlgorithm, message: &[u8]) -> Result<Vec<u8>, HolderError> {
        let locator = if self.mistakes { "key-0" } else { locator };
        Ok(self.keys.signer(&tenant(locator)).unwrap().sign(message).unwrap())
    }

    fn seal(&self, _: &[u8]) -> Result<Vec<u8>, HolderError> {
        Err(HolderError::Unsupported("it signs"))
    }

    fn open(&self, _: &[u8]) -> Result<Zeroizing<Vec<u8>>, HolderError> {
        Err(HolderError::Unsupported("it signs"))
    }
}

/// Without its holder a key is still published, and signs nothing.
#[test]
fn a_key_that_is_held_elsewhere_is_published_without_its_holder() {
    let folder = tempfile::tempdir().unwrap();
    let acme = tenant("acme");
    for algorithm in SigningAlgorithm::ALL {
        let folder = folder.path().join(algorithm.as_str());
        let holder = Elsewhere::beside(&folder, false);
        let keys = open(&folder, unseal(1)).unwrap().with_holder(holder.clone());
        keys.create_tenant(&acme, algorithm).unwrap();
        let signer = keys.signer(&acme).unwrap();
        assert!(signer.is_held());
        let token = jws::encode(&signer, jws::ACCESS_TOKEN, b"{}").unwrap();
        let compact = bailiwick_base::Compact::parse(token.as_bytes()).unwrap();
        let kid = signer.kid().to_owned();
        drop((signer, keys));

        let alone = open(&folder, unseal(1)).unwrap();
        let published = alone.jwks(&acme).unwrap();
        assert_eq!(published[0].kid(), kid);
        assert!(compact.verify(published[0].key()).is_ok());
        let known = alone.signing_keys(&acme).unwrap();
        assert_eq!(
            (known[0].state, known[0].holder.as_str()),
            (KeyState::Active, "pkcs11")
        );
        let refused = alone.signer(&acme).unwrap().sign(b"x").unwrap_err();
        assert!(matches!(refused, KeysError::HolderMissing(ref who) if who == "pkcs11"));
        // What is made from now on is made here: the way back is a rotation.
        alone.add_signing_key(&acme, algorithm).unwrap();
        let next = alone.signing_keys(&acme).unwrap();
        assert!(
            next.iter()
                .any(|key| key.holder == "file" && key.state == KeyState::Next)
        );

        let back = open(&folder, unseal(1)).unwrap().with_holder(holder);
        assert_eq!(back.signer(&acme).unwrap().kid(), kid);
        assert!(back.signer(&acme).unwrap().sign(b"x").is_ok());
    }
}

#[test]
fn a_signature_of_another_key_is_not_given_out() {
    for algorithm in SigningAlgorithm::ALL {
        let folder = tempfile::tempdir().unwrap();
        let holder = Elsewhere::beside(folder.path(), true);
        let keys = open(folder.path(), unseal(1)).unwrap().with_holder(holder);
        keys.create_tenant(&tenant("first"), algorithm).unwrap();
        keys.create_tenant(&tenant("second"), algorithm).unwrap();
        assert!(keys.signer(&tenant("first")).unwrap().sign(b"x").is_ok());
        let refused = keys.signer(&tenant("second")).unwrap().sign(b"x").unwrap_err();
        assert_eq!(refused.code(), "keys.holder");
        assert!(refused.to_string().contains("does not verify"), "{refused}");
    }
}
