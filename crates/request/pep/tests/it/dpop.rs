//! Proofs of possession: the public set byte for byte, and what no set has.

use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use bailiwick_base::{Digest, Time};
use bailiwick_pep::token::{Nonces, Place, ProofConfig, ProofError, ProofVerifier, TurnNonces};
use bailiwick_vectors as vectors;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use proptest::prelude::*;
use serde_json::{Value, json};

const NOW: i64 = 1_790_000_000;
const BASE: &str = "https://gateway.example";

/// The one nonce of the set.
struct Fixed(String);

impl Nonces for Fixed {
    fn present(&self, _: Time) -> String {
        self.0.clone()
    }

    fn accepts(&self, text: &str, _: Time) -> bool {
        text == self.0
    }
}

#[test]
fn every_proof_of_the_set_is_judged_as_it_says() {
    let Some(folder) = vectors::folder("dpop") else {
        return;
    };
    let set = vectors::json(&folder.join("cases.json"));
    let said = |name: &str| set["context"][name].as_str().unwrap();
    let config = ProofConfig::default();
    let window = &set["context"]["iat_window_seconds"];
    assert_eq!(window["past"].as_u64(), Some(config.past_max.as_secs()));
    assert_eq!(window["future"].as_u64(), Some(config.ahead_max.as_secs()));
    let allowed: Vec<&str> = ProofVerifier::ALGORITHMS.iter().map(|a| a.as_str()).collect();
    assert_eq!(set["context"]["allowed_alg"], json!(allowed));
    let (base, path) = said("url").split_at(BASE.len());
    let verifier = ProofVerifier::new(config, base, Fixed(said("nonce").to_owned()));
    let method: Method = said("method").parse().unwrap();
    let place = Place {
        method: &method,
        path,
    };
    let token = Digest::of(said("access_token").as_bytes());
    let now = Time::from_secs(set["context"]["now"].as_i64().unwrap());
    let cases = set["cases"].as_array().unwrap();
    let mut run = 0;
    for (n, case) in cases.iter().enumerate() {
        let proof = case["proof"].as_str().unwrap().as_bytes();
        let judged = verifier
            .verify(proof, place, Some(&token), now)
            .and_then(|proof| {
                if proof.key().to_base64url() != said("cnf_jkt") {
                    return Err(ProofError::Key);
                }
                verifier.take(&proof, Digest::default(), now)
            });
        let accepted = match case["expect"].as_str().unwrap() {
            "accept" => true,
            "refuse" => false,
            other => panic!("{other}"),
        };
        assert_eq!(judged.is_ok(), accepted, "case {n} ({}): {judged:?}", case["why"]);
        run += 1;
    }
    let readme = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let count = readme
        .lines()
        .find_map(|l| l.strip_prefix("Count: ")?.trim().parse().ok());
    vectors::report("dpop", run, count.unwrap());
}

/// A proof comes from a stranger: none may make the verifier allocate much.
#[test]
fn one_proof_costs_less_than_64_kib() {
    let Some(folder) = vectors::folder("dpop") else {
        return;
    };
    let set = vectors::json(&folder.join("cases.json"));
    let verifier = verifier(ProofConfig::default());
    let place = Place {
        method: &Method::POST,
        path: "/mcp",
    };
    let mut worst = 0;
    for case in set["cases"].as_array().unwrap() {
        let proof = case["proof"].as_str().unwrap().as_bytes();
        let cost = allocation_counter::measure(|| {
            let _ = verifier.verify(proof, place, None, Time::from_secs(NOW));
        });
        worst = worst.max(cost.bytes_total);
    }
    println!("worst allocation of a proof: {worst} bytes");
    assert!((1..64 * 1024).contains(&worst), "{worst}");
}

struct Prover(Ed25519KeyPair);

impl Prover {
    fn new(seed: u8) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
    }

    fn sign(&self, claims: &Value) -> String {
        let x = URL_SAFE_NO_PAD.encode(self.0.public_key().as_ref());
        let header = json!({
            "typ": "dpop+jwt", "alg": "EdDSA", "jwk": {"kty": "OKP", "crv": "Ed25519", "x": x},
        });
        let mut text = URL_SAFE_NO_PAD.encode(header.to_string());
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(claims.to_string(), &mut text);
        let signature = self.0.sign(text.as_bytes());
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(signature.as_ref(), &mut text);
        text
    }
}

fn verifier(config: ProofConfig) -> ProofVerifier {
    ProofVerifier::new(config, BASE, TurnNonces::new([7; 32]))
}

fn claims(verifier: &ProofVerifier, jti: &str, now: Time) -> Value {
    json!({
        "jti": jti, "htm": "POST", "htu": "https://gateway.example/mcp", "iat": now.secs(),
        "nonce": verifier.nonce(now),
    })
}

fn judge(verifier: &ProofVerifier, proof: &str, now: Time) -> Result<(), ProofError> {
    let place = Place {
        method: &Method::POST,
        path: "/mcp",
    };
    let proof = verifier.verify(proof.as_bytes(), place, None, now)?;
    verifier.take(&proof, Digest::default(), now)
}

#[test]
fn a_nonce_counts_for_two_turns_and_at_one_node() {
    let (here, prover) = (verifier(ProofConfig::default()), Prover::new(1));
    let elsewhere = ProofVerifier::new(ProofConfig::default(), BASE, TurnNonces::new([8; 32]));
    let now = Time::from_secs(NOW);
    let first = here.nonce(now);
    assert_eq!(
        judge(&elsewhere, &prover.sign(&claims(&here, "a", now)), now),
        Err(ProofError::Nonce)
    );
    let (mut turns, mut last) = (1, first.clone());
    for n in 0..400 {
        let now = now.after(Duration::from_secs(n));
        let nonce = here.nonce(now);
        if nonce != last {
            (turns, last) = (turns + 1, nonce);
        }
        let mut said = claims(&here, &format!("n{n}"), now);
        said["nonce"] = json!(first);
        let expected = if turns <= 2 {
            Ok(())
        } else {
            Err(ProofError::Nonce)
        };
        assert_eq!(
            judge(&here, &prover.sign(&said), now),
            expected,
            "after {n} s, turn {turns}"
        );
    }
    assert!(turns >= 4, "{turns}");
}

#[test]
fn memory_for_proofs_is_bounded_and_closed_when_it_is_full() {
    let config = ProofConfig {
        remembered_max: 8,
        remembered_per_client_max: 8,
        ..ProofConfig::default()
    };
    let (verifier, prover) = (verifier(config), Prover::new(1));
    let now = Time::from_secs(NOW);
    for n in 0..8 {
        let proof = prover.sign(&claims(&verifier, &format!("{n}"), now));
        assert_eq!(judge(&verifier, &proof, now), Ok(()));
        assert_eq!(judge(&verifier, &proof, now), Err(ProofError::Replayed));
    }
    let more = prover.sign(&claims(&verifier, "8", now));
    assert_eq!(judge(&verifier, &more, now), Err(ProofError::TooMany));
    let later = now.after(Duration::from_secs(62));
    let proof = prover.sign(&claims(&verifier, "0", later));
    assert_eq!(judge(&verifier, &proof, later), Ok(()), "what ended is forgotten");
    // The same `jti` under another key is another proof.
    let other = Prover::new(2).sign(&claims(&verifier, "0", later));
    assert_eq!(judge(&verifier, &other, later), Ok(()));
}

#[test]
fn a_place_has_one_meaning_in_all_its_spellings() {
    let (verifier, prover) = (verifier(ProofConfig::default()), Prover::new(1));
    let now = Time::from_secs(NOW);
    let judged = |htu: &str| {
        let mut said = claims(&verifier, &format!("j{htu}"), now);
        said["htu"] = json!(htu);
        judge(&verifier, &prover.sign(&said), now)
    };
    for same in [
        "https://gateway.example/mcp",
        "HTTPS://GATEWAY.example:443/mcp",
        "https://gateway.example/mcp?a=b",
        "https://gateway.example/mcp#x",
    ] {
        assert_eq!(judged(same), Ok(()), "{same}");
    }
    for other in [
        "https://gateway.example",
        "https://gateway.example/mcp/",
        "https://gateway.example/MCP",
        "https://gateway.example//mcp",
        "https://gateway.example/./mcp",
        "https://gateway.example/a/../mcp",
        "https://gateway.example/%6dcp",
        "https://gateway.example.:443/mcp",
        "https://gateway.example:/mcp",
        "https://gateway.example:99999/mcp",
        "https://[::1]/mcp",
        "wss://gateway.example/mcp",
        "//gateway.example/mcp",
        "gateway.example/mcp",
        "/mcp",
        "",
        "https://gateway.example /mcp",
        "https://gateway\u{212a}.example/mcp",
    ] {
        assert_eq!(judged(other), Err(ProofError::Place), "{other}");
    }
}

proptest! {
    /// Whatever a proof is: no panic, and nothing but the very text that was signed passes.
    #[test]
    fn nothing_but_the_signed_text_passes(at: prop::sample::Index, byte: u8, cut: prop::sample::Index, which in 0..3_u8) {
        let (verifier, prover) = (verifier(ProofConfig::default()), Prover::new(1));
        let now = Time::from_secs(NOW);
        let good = prover.sign(&claims(&verifier, "a", now)).into_bytes();
        let mut bad = good.clone();
        match which {
            0 => bad[at.index(good.len())] = byte,
            1 => bad.truncate(cut.index(good.len())),
            _ => bad.insert(at.index(good.len()), byte),
        }
        let place = Place { method: &Method::POST, path: "/mcp" };
        let judged = verifier.verify(&bad, place, None, now);
        prop_assert_eq!(judged.is_ok(), bad == good);
    }

    #[test]
    fn any_bytes_at_all_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..6_000)) {
        let verifier = verifier(ProofConfig::default());
        let place = Place { method: &Method::POST, path: "/mcp" };
        prop_assert!(verifier.verify(&bytes, place, None, Time::from_secs(NOW)).is_err());
    }

    /// Any JSON in the place of any claim is an answer and no panic; it passes only where it means the same.
    #[test]
    fn a_claim_of_another_form_is_refused(which in 0..5_usize, text in ".{0,40}", number: i64, kind in 0..4_u8) {
        let (verifier, prover) = (verifier(ProofConfig::default()), Prover::new(1));
        let now = Time::from_secs(NOW);
        let mut said = claims(&verifier, "a", now);
        let name = ["jti", "htm", "htu", "iat", "nonce"][which];
        said[name] = match kind {
            0 => json!(null),
            1 => json!([text]),
            2 => json!({"a": number}),
            _ if name == "jti" => json!(number),
            _ => json!(text),
        };
        prop_assert!(judge(&verifier, &prover.sign(&said), now).is_err(), "{}", said);
    }
}
