//! The whole set of DPoP proofs over HTTP: every proof is answered as the set says.

use bailiwick_base::Digest;
use bailiwick_vectors as vectors;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::bed::Bed;
use crate::bound::{GATEWAY, Prover, credentials, echo, nonce, present, text, world};

#[tokio::test(flavor = "multi_thread")]
async fn every_proof_of_the_set_is_answered_as_it_says() {
    let Some(folder) = vectors::folder("dpop") else {
        return;
    };
    let set = vectors::json(&folder.join("cases.json"));
    let world = world().await;
    let bed = &world.bed;
    let (holder, other) = (Prover::new(), Prover::new());
    let granted = credentials(bed, &world.client, &world.task, Some(&holder))
        .await
        .ok();
    let token = text(&granted["access_token"]);
    let translation = Translation {
        bed,
        set: &set,
        holder: &holder,
        other: &other,
        ath: Digest::of(token.as_bytes()),
        nonce: nonce(bed).await,
    };
    let cases = set["cases"].as_array().unwrap();
    let (mut run, mut forwarded) = (0, 0);
    let whole = text(&cases[cases.len() - 2]["proof"]);
    let mut last = String::new();
    for (n, case) in cases.iter().enumerate() {
        let answer = loop {
            let began = bed.now();
            let proof = text(&case["proof"]);
            // The last line is the one before it, once more.
            let ours = match case["why"].as_str().unwrap() {
                "one character changed" => altered(&translation.of(&whole), &whole, &proof),
                why if why.starts_with("replay") => last.clone(),
                _ => translation.of(&proof),
            };
            last.clone_from(&ours);
            let answer = present(bed, GATEWAY, ("DPoP", &token), Some(&ours), &echo()).await;
            // A proof at the edge of its minute is judged by a clock that went on meanwhile.
            if bed.now() <= began + 1 || case["expect"] == "refuse" {
                break answer;
            }
        };
        if case["expect"] == "accept" {
            let said = answer.ok();
            assert!(said["result"].is_object(), "case {n} ({}): {said}", case["why"]);
            forwarded += 1;
        } else {
            assert_eq!(
                answer.status,
                401,
                "case {n} ({}): {}",
                case["why"],
                answer.text()
            );
            assert!(answer.header("www-authenticate").starts_with("DPoP "), "case {n}");
            assert!(!answer.header("dpop-nonce").is_empty(), "case {n}");
            assert!(answer.code().starts_with("dpop."), "case {n}: {}", answer.text());
        }
        run += 1;
    }
    assert!(forwarded >= 16, "{forwarded}");
    assert!(world.desk.calls() >= forwarded);
    let readme = std::fs::read_to_string(folder.join("README.md")).unwrap();
    let count = readme
        .lines()
        .find_map(|l| l.strip_prefix("Count: ")?.trim().parse().ok());
    vectors::report("dpop over HTTP", run, count.unwrap());
}

/// The set speaks of a gateway, a token and keys that are not ours: the same proofs about ours.
struct Translation<'a> {
    bed: &'a Bed,
    set: &'a Value,
    holder: &'a Prover,
    other: &'a Prover,
    ath: Digest,
    nonce: String,
}

impl Translation<'_> {
    fn of(&self, proof: &str) -> String {
        let part = |n: usize| {
            let part = proof.split('.').nth(n).unwrap();
            String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
        };
        let (mut header, payload) = (part(0), part(1));
        let theirs = self.keys();
        let signer = if header.contains(&theirs[1].0) || self.is_swapped(proof) {
            self.other
        } else {
            self.holder
        };
        for ((x, y), prover) in theirs.iter().zip([self.holder, self.other]) {
            let ours = prover.coordinates();
            header = header.replace(x, &ours.0).replace(y, &ours.1);
        }
        signer.sign(&header, &self.payload(&payload))
    }

    /// The coordinates of the key that the token of the set is bound to, and of the other one.
    fn keys(&self) -> [(String, String); 2] {
        let of = |why: &str| {
            let cases = self.set["cases"].as_array().unwrap();
            let case = cases.iter().find(|case| case["why"] == why).unwrap();
            let header = case["proof"].as_str().unwrap().split('.').next().unwrap();
            let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
            (text(&header["jwk"]["x"]), text(&header["jwk"]["y"]))
        };
        [of("valid"), of("other key than cnf.jkt")]
    }

    fn is_swapped(&self, proof: &str) -> bool {
        let mut cases = self.set["cases"].as_array().unwrap().iter();
        cases.any(|case| case["proof"] == proof && case["why"] == "header jwk swapped after signing")
    }

    fn payload(&self, theirs: &str) -> String {
        let context = &self.set["context"];
        let (now, then) = (self.bed.now(), context["now"].as_i64().unwrap());
        let ath = Digest::of(context["access_token"].as_str().unwrap().as_bytes());
        let mut out = theirs
            .replace("http://gateway.example", "ELSE://bailiwick.test")
            .replace("https://", "http://")
            .replace("HTTPS://", "HTTP://")
            .replace("ELSE://", "https://")
            .replace("gateway.example", "bailiwick.test")
            .replace("gateway.EXAMPLE", "bailiwick.TEST")
            .replace(":443/", ":80/")
            .replace("/mcp", GATEWAY)
            .replace("/mc\"", "/t/acme/mcp/file\"")
            .replace(&ath.to_base64url(), &self.ath.to_base64url())
            .replace(&ath.to_string(), &self.ath.to_string())
            .replace(context["nonce"].as_str().unwrap(), &self.nonce);
        // Every instant of the set lies as far from now as it lies from the set's now.
        let numbers: Vec<i64> = theirs
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|digits| (digits.len() >= 10).then(|| digits.parse().ok())?)
            .collect();
        for number in numbers {
            let ours = if number > then * 100 {
                now * 1_000
            } else {
                now + number - then
            };
            out = out.replace(&number.to_string(), &ours.to_string());
        }
        out
    }
}

/// Our whole proof with the change by which a proof of the set differs from its whole one.
fn altered(ours: &str, whole: &str, changed: &str) -> String {
    let split = |text: &str| text.split('.').map(str::to_owned).collect::<Vec<_>>();
    let (mut out, whole, changed) = (split(ours), split(whole), split(changed));
    let part = (0..3).find(|n| whole[*n] != changed[*n]).unwrap();
    let at = whole[part]
        .bytes()
        .zip(changed[part].bytes())
        .position(|(a, b)| a != b)
        .unwrap();
    let with = changed[part].as_bytes()[at];
    let at = at.min(out[part].len() - 1);
    let mut bytes = out[part].clone().into_bytes();
    bytes[at] = if bytes[at] == with { with ^ 1 } else { with };
    out[part] = String::from_utf8(bytes).unwrap();
    out.join(".")
}
