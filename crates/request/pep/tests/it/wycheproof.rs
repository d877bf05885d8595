//! Project Wycheproof, 24 files. Signatures run through the one verifier of the product, which knows RS256,
//! ES256 and EdDSA and refuses the rest even where a file calls it valid; ciphers, MACs and key derivations run
//! through the primitives the key store is built on.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::key_wrap::{self, KeyWrap as _, KeyWrapPadded as _};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use aws_lc_rs::{hkdf, hmac, pbkdf2};
use bailiwick_base::Compact;
use bailiwick_base::{PublicKey, PublicKeyError};
use bailiwick_vectors as vectors;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use crate::cookbook::public;

#[test]
fn wycheproof_runs_whole() {
    let Some(folder) = vectors::folder("wycheproof") else {
        return;
    };
    let (mut files, mut run) = (0, 0);
    let mut refused: BTreeMap<String, i64> = BTreeMap::new();
    for (name, document) in vectors::documents(&folder) {
        let judge = judge_of(&name);
        for group in document["testGroups"].as_array().unwrap() {
            for test in group["tests"].as_array().unwrap() {
                let outside =
                    judge(group, test).unwrap_or_else(|why| panic!("{name} {}: {why}", test["tcId"]));
                if let Some(why) = outside {
                    *refused.entry(why.to_owned()).or_default() += 1;
                }
                run += 1;
            }
        }
        files += 1;
    }
    assert_eq!(files, 24);
    assert_eq!(
        refused,
        expected_failures(),
        "what we refuse although a file calls it valid is listed, exactly"
    );
    vectors::report("wycheproof", run, 2_704);
}

/// Why a test that the file calls valid is refused on purpose.
type Outside = Option<&'static str>;
type Judge = fn(&Value, &Value) -> Result<Outside, String>;

const ALGORITHM: &str = "algorithm outside RS256, ES256, EdDSA";
const DER: &str = "ES256 signature in DER";
const ENCRYPTED: &str = "encrypted token";
const EXPONENT: &str = "RSA exponent below 65537";
const KEY_192: &str = "AES key of 192 bits for key wrap";
const NONCE: &str = "nonce of another length than 96 bits";

/// The committed list: reason and number of vectors.
fn expected_failures() -> BTreeMap<String, i64> {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../conformance/jwt/expected-failures.toml"
    );
    let document: toml::Table = std::fs::read_to_string(path).unwrap().parse().unwrap();
    let listed = document["wycheproof"].as_table().unwrap();
    listed
        .iter()
        .map(|(why, count)| (why.clone(), count.as_integer().unwrap()))
        .collect()
}

fn judge_of(name: &str) -> Judge {
    match name {
        "aes_gcm_test.json" => aes_gcm,
        "chacha20_poly1305_test.json" => chacha,
        "xchacha20_poly1305_test.json" => xchacha,
        "aes_kwp_test.json" => padded_wrap,
        "aes_wrap_test.json" => wrap,
        "ecdsa_secp256r1_sha256_p1363_test.json" => p256,
        "ecdsa_secp256r1_sha256_test.json" => p256_in_der,
        "ecdsa_secp384r1_sha384_p1363_test.json" | "ecdsa_secp521r1_sha512_p1363_test.json" => other_curve,
        "ed25519_test.json" => ed25519,
        "hkdf_sha256_test.json" => hkdf_sha256,
        "hmac_sha256_test.json" => hmac_sha256,
        "pbkdf2_hmacsha256_test.json" => pbkdf2_sha256,
        _ if name.starts_with("rsa_") => rsa,
        _ if name.starts_with("json_web_") => json_web,
        _ => panic!("no judge for {name}"),
    }
}

/// The answer has to be that of the file, or a refusal where the vector lies outside of what we speak.
fn agree(answer: bool, test: &Value, outside: Outside) -> Result<Outside, String> {
    let valid = test["result"] == "valid";
    if answer != (valid && outside.is_none()) {
        return Err(format!("answered {answer}"));
    }
    Ok(outside.filter(|_| valid))
}

fn verifies(key: Result<PublicKey, PublicKeyError>, test: &Value) -> bool {
    key.is_ok_and(|key| key.verify(&hex(&test["msg"]), &hex(&test["sig"])).is_ok())
}

/// The key as its owner would publish it, with the algorithm of the group.
fn rsa(group: &Value, test: &Value) -> Result<Outside, String> {
    let number = |name: &str| {
        let bytes = hex(&group["publicKey"][name]);
        URL_SAFE_NO_PAD.encode(bytes.strip_prefix(&[0]).unwrap_or(&bytes))
    };
    let family = if group["type"] == "RsassaPkcs1Verify" {
        "RS"
    } else {
        "PS"
    };
    let alg = group["sha"].as_str().unwrap().replace("SHA-", family);
    let outside = match (alg.as_str(), number("publicExponent").as_str()) {
        ("RS256", "AQAB") => None,
        ("RS256", _) => Some(EXPONENT),
        _ => Some(ALGORITHM),
    };
    let jwk = json!({"kty": "RSA", "n": number("modulus"), "e": number("publicExponent"), "alg": alg});
    agree(
        verifies(PublicKey::from_jwk(jwk.as_object().unwrap()), test),
        test,
        outside,
    )
}

fn p256_key(group: &Value) -> PublicKey {
    let point = hex(&group["publicKey"]["uncompressed"]);
    let (x, y) = point[1..].split_at(32);
    PublicKey::p256(x.try_into().unwrap(), y.try_into().unwrap()).unwrap()
}

fn p256(group: &Value, test: &Value) -> Result<Outside, String> {
    agree(verifies(Ok(p256_key(group)), test), test, None)
}

/// The DER form is not that of JOSE: the product refuses it; the curve below it agrees with the file.
fn p256_in_der(group: &Value, test: &Value) -> Result<Outside, String> {
    let below = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, hex(&group["publicKey"]["uncompressed"]));
    agree(
        below.verify(&hex(&test["msg"]), &hex(&test["sig"])).is_ok(),
        test,
        None,
    )?;
    agree(verifies(Ok(p256_key(group)), test), test, Some(DER))
}

/// No key object can be made for another curve, under its own name or under that of P-256.
fn other_curve(group: &Value, test: &Value) -> Result<Outside, String> {
    let point = hex(&group["publicKey"]["uncompressed"]);
    let (x, y) = point[1..].split_at((point.len() - 1) / 2);
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let answer = ["P-384", "P-521", "P-256"].iter().any(|curve| {
        let jwk = json!({"kty": "EC", "crv": curve, "x": text(x), "y": text(y)});
        verifies(PublicKey::from_jwk(jwk.as_object().unwrap()), test)
    });
    agree(answer, test, Some(ALGORITHM))
}

fn ed25519(group: &Value, test: &Value) -> Result<Outside, String> {
    agree(
        verifies(
            PublicKey::ed25519(hex(&group["publicKey"]["pk"]).try_into().unwrap()),
            test,
        ),
        test,
        None,
    )
}

/// The keys of a group: one, or a set; a key that is refused is not there.
fn keys_of(group: &Value) -> Vec<(Option<String>, PublicKey)> {
    let from = group.get("public").unwrap_or(&group["private"]);
    let all: Vec<&Value> = from["keys"]
        .as_array()
        .map_or_else(|| vec![from], |keys| keys.iter().collect());
    let read = |jwk: &&Value| {
        let members: Map<String, Value> = if group.get("public").is_some() {
            jwk.as_object().unwrap().clone()
        } else {
            public(jwk)
        };
        let kid = members.get("kid").and_then(Value::as_str).map(str::to_owned);
        PublicKey::from_jwk(&members).ok().map(|key| (kid, key))
    };
    all.iter().filter_map(read).collect()
}

fn json_web(group: &Value, test: &Value) -> Result<Outside, String> {
    // Some are in the JSON serialisation: an object where the compact form is text.
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    if let Some(jwe) = test.get("jwe") {
        return agree(
            Compact::parse(text(jwe).as_bytes()).is_ok(),
            test,
            Some(ENCRYPTED),
        );
    }
    let jws = text(&test["jws"]);
    let answer = Compact::parse(jws.as_bytes()).is_ok_and(|token| {
        keys_of(group)
            .iter()
            .filter(|(kid, _)| kid.as_deref() == token.header().kid.as_deref())
            .any(|(_, key)| token.verify(key).is_ok())
    });
    let from = group.get("public").unwrap_or(&group["private"]);
    let is_ours = ["RS256", "ES256", "EdDSA"]
        .iter()
        .any(|ours| from["alg"] == *ours);
    agree(answer, test, (!is_ours).then_some(ALGORITHM))
}

fn aes_gcm(group: &Value, test: &Value) -> Result<Outside, String> {
    let cipher = match group["keySize"].as_u64() {
        Some(128) => &aead::AES_128_GCM,
        Some(192) => &aead::AES_192_GCM,
        _ => &aead::AES_256_GCM,
    };
    aead(cipher, group, test)
}

fn chacha(group: &Value, test: &Value) -> Result<Outside, String> {
    aead(&aead::CHACHA20_POLY1305, group, test)
}

fn aead(cipher: &'static aead::Algorithm, group: &Value, test: &Value) -> Result<Outside, String> {
    let opens = opens_and_seals(cipher, &hex(&test["key"]), &hex(&test["iv"]), test);
    agree(opens, test, (group["ivSize"] != 96).then_some(NONCE))
}

/// Opens the ciphertext to the message, and seals the message to the ciphertext.
fn opens_and_seals(cipher: &'static aead::Algorithm, key: &[u8], nonce: &[u8], test: &Value) -> bool {
    let (Ok(key), Ok(opening)) = (
        UnboundKey::new(cipher, key),
        Nonce::try_assume_unique_for_key(nonce),
    ) else {
        return false;
    };
    let key = LessSafeKey::new(key);
    let (aad, message) = (hex(&test["aad"]), hex(&test["msg"]));
    let sealed = [hex(&test["ct"]), hex(&test["tag"])].concat();
    let mut opened = sealed.clone();
    if key
        .open_in_place(opening, Aad::from(&aad), &mut opened)
        .is_ok_and(|plain| *plain == *message)
    {
        let mut again = message;
        let sealing = Nonce::try_assume_unique_for_key(nonce).unwrap();
        key.seal_in_place_append_tag(sealing, Aad::from(&aad), &mut again)
            .unwrap();
        assert_eq!(again, sealed);
        return true;
    }
    false
}

/// XChaCha20-Poly1305 as its draft defines it: a key and a nonce derived with HChaCha20, then the cipher.
fn xchacha(_: &Value, test: &Value) -> Result<Outside, String> {
    let (key, nonce) = (hex(&test["key"]), hex(&test["iv"]));
    let answer = match (<[u8; 32]>::try_from(key), <[u8; 24]>::try_from(nonce)) {
        (Ok(key), Ok(nonce)) => {
            let (front, rest) = nonce.split_first_chunk::<16>().unwrap();
            let derived = hchacha20(&key, front);
            opens_and_seals(
                &aead::CHACHA20_POLY1305,
                &derived,
                &[&[0; 4], rest].concat(),
                test,
            )
        }
        _ => false,
    };
    agree(answer, test, None)
}

fn hchacha20(key: &[u8; 32], nonce: &[u8; 16]) -> Vec<u8> {
    let words = |bytes: &[u8]| -> Vec<u32> {
        bytes
            .chunks(4)
            .map(|word| u32::from_le_bytes(word.try_into().unwrap()))
            .collect()
    };
    let mut state = [words(b"expand 32-byte k"), words(key), words(nonce)].concat();
    let mut quarter = |a: usize, b: usize, c: usize, d: usize| {
        for (x, y, z, turn) in [(a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)] {
            state[x] = state[x].wrapping_add(state[y]);
            state[z] = (state[z] ^ state[x]).rotate_left(turn);
        }
    };
    for _ in 0..10 {
        for column in 0..4 {
            quarter(column, 4 + column, 8 + column, 12 + column);
        }
        for diagonal in 0..4 {
            quarter(
                diagonal,
                4 + (diagonal + 1) % 4,
                8 + (diagonal + 2) % 4,
                12 + (diagonal + 3) % 4,
            );
        }
    }
    state[..4]
        .iter()
        .chain(&state[12..])
        .flat_map(|word| word.to_le_bytes())
        .collect()
}

fn wrapping_key(test: &Value) -> Option<key_wrap::AesKek> {
    let key = hex(&test["key"]);
    let cipher = if key.len() == 16 {
        &key_wrap::AES_128
    } else {
        &key_wrap::AES_256
    };
    key_wrap::AesKek::new(cipher, &key).ok()
}

fn wrap(group: &Value, test: &Value) -> Result<Outside, String> {
    let (plain, wrapped) = (hex(&test["msg"]), hex(&test["ct"]));
    let mut out = vec![0; wrapped.len() + 8];
    let unwraps = wrapping_key(test).is_some_and(|key| {
        key.unwrap(&wrapped, &mut out)
            .is_ok_and(|opened| *opened == *plain)
    });
    let mut again = vec![0; plain.len() + 8];
    let wraps = wrapping_key(test).is_some_and(|key| {
        key.wrap(&plain, &mut again)
            .is_ok_and(|sealed| *sealed == *wrapped)
    });
    if test["result"] == "acceptable" {
        return Ok(None);
    }
    agree(
        unwraps && wraps,
        test,
        (group["keySize"] == 192).then_some(KEY_192),
    )
}

fn padded_wrap(group: &Value, test: &Value) -> Result<Outside, String> {
    let (plain, wrapped) = (hex(&test["msg"]), hex(&test["ct"]));
    let mut out = vec![0; wrapped.len() + 8];
    let unwraps = wrapping_key(test).is_some_and(|key| {
        key.unwrap_with_padding(&wrapped, &mut out)
            .is_ok_and(|opened| *opened == *plain)
    });
    let mut again = vec![0; plain.len() + 16];
    let wraps = wrapping_key(test).is_some_and(|key| {
        key.wrap_with_padding(&plain, &mut again)
            .is_ok_and(|sealed| *sealed == *wrapped)
    });
    agree(
        unwraps && wraps,
        test,
        (group["keySize"] == 192).then_some(KEY_192),
    )
}

fn hmac_sha256(_: &Value, test: &Value) -> Result<Outside, String> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &hex(&test["key"]));
    let (message, tag) = (hex(&test["msg"]), hex(&test["tag"]));
    let made = hmac::sign(&key, &message);
    if tag.len() == 32 {
        agree(hmac::verify(&key, &message, &tag).is_ok(), test, None)?;
    }
    agree(made.as_ref().starts_with(&tag), test, None)
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

fn hkdf_sha256(_: &Value, test: &Value) -> Result<Outside, String> {
    let size = usize::try_from(test["size"].as_u64().unwrap()).unwrap();
    let (salt, info) = (hex(&test["salt"]), hex(&test["info"]));
    let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, &salt).extract(&hex(&test["ikm"]));
    let mut out = vec![0; size];
    let made = extracted
        .expand(&[&info], Length(size))
        .and_then(|okm| okm.fill(&mut out));
    agree(made.is_ok() && out == hex(&test["okm"]), test, None)
}

fn pbkdf2_sha256(_: &Value, test: &Value) -> Result<Outside, String> {
    let iterations =
        NonZeroU32::new(u32::try_from(test["iterationCount"].as_u64().unwrap()).unwrap()).unwrap();
    let mut out = vec![0; usize::try_from(test["dkLen"].as_u64().unwrap()).unwrap()];
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        iterations,
        &hex(&test["salt"]),
        &hex(&test["password"]),
        &mut out,
    );
    agree(out == hex(&test["dk"]), test, None)
}

fn hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}
