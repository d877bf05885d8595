//! What is signed, and what is not.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use bailiwick_base::PublicKey;
use bailiwick_snapshot::{BodyError, Told, signed_snapshot, signed_told, verify_snapshot, verify_told};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

fn pair(seed: u8) -> (Ed25519KeyPair, PublicKey) {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
    let public = PublicKey::ed25519(pair.public_key().as_ref().try_into().unwrap()).unwrap();
    (pair, public)
}

fn sign(pair: &Ed25519KeyPair, message: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(pair.sign(message).as_ref())
}

const TOLD: Told<'_> = Told {
    sidecar: "shop-1",
    beat: 7,
    epoch: 3,
    position: 40,
    body: Some("{}"),
};

#[test]
fn a_signature_is_for_one_context_one_text_and_one_key() {
    let (pair_1, key_1) = pair(1);
    let signature = sign(&pair_1, &signed_snapshot("{}"));
    assert_eq!(verify_snapshot("{}", &signature, &key_1), Ok(()));
    let refused = Err(BodyError::Signature);
    assert_eq!(verify_snapshot("{ }", &signature, &key_1), refused);
    assert_eq!(verify_snapshot("{}", &signature, &pair(2).1), refused);
    assert_eq!(verify_snapshot("{}", &sign(&pair_1, b"{}"), &key_1), refused);
    assert_eq!(verify_snapshot("{}", "", &key_1), refused);
    assert_eq!(verify_told(&TOLD, &signature, &key_1), refused);
}

#[test]
fn an_answer_is_signed_for_one_sidecar_one_question_and_one_body() {
    let (pair, key) = pair(1);
    let signature = sign(&pair, &signed_told(&TOLD));
    assert_eq!(verify_told(&TOLD, &signature, &key), Ok(()));
    for other in [
        Told {
            sidecar: "shop-2",
            ..TOLD
        },
        Told { beat: 8, ..TOLD },
        Told { epoch: 4, ..TOLD },
        Told { position: 41, ..TOLD },
        Told { body: None, ..TOLD },
        Told {
            body: Some("{\"a\":1}"),
            ..TOLD
        },
    ] {
        assert_eq!(verify_told(&other, &signature, &key), Err(BodyError::Signature));
    }
}
