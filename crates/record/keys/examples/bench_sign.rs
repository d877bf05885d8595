//! Prints `name median_ns` for the hot paths of `keys`, with the bare signature beside each token.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the machine's clock")]

use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bailiwick_base::{SealContext, Sealer as _, Secret, SigningAlgorithm, TenantId};
use bailiwick_keys::{Keyring, SystemEntropy, Unseal, jws};

/// Median over rounds of the time of one run, in nanoseconds.
fn measure(name: &str, runs: u32, mut run: impl FnMut()) {
    const ROUNDS: usize = 21;
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..runs {
                run();
            }
            start.elapsed().as_nanos() as f64 / f64::from(runs)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    println!(
        "{name} {:.0}",
        rounds.get(ROUNDS / 2).copied().unwrap_or_default()
    );
}

/// The bare signature and the whole token in turns, and what the token costs beyond the signature: the median
/// of the differences within a round, because the speed of a machine moves by more than that between rounds.
fn compare(name: &str, runs: u32, mut bare: impl FnMut(), mut whole: impl FnMut()) {
    const ROUNDS: usize = 41;
    let time = |run: &mut dyn FnMut()| {
        let start = Instant::now();
        for _ in 0..runs {
            run();
        }
        start.elapsed().as_nanos() as f64 / f64::from(runs)
    };
    let rounds: Vec<(f64, f64)> = (0..ROUNDS).map(|_| (time(&mut bare), time(&mut whole))).collect();
    let median = |mut of: Vec<f64>| {
        of.sort_by(f64::total_cmp);
        of.get(ROUNDS / 2).copied().unwrap_or_default()
    };
    println!(
        "{name}.bare {:.0}",
        median(rounds.iter().map(|(bare, _)| *bare).collect())
    );
    println!(
        "{name}.token {:.0}",
        median(rounds.iter().map(|(_, whole)| *whole).collect())
    );
    println!(
        "{name}.overhead {:.0}",
        median(rounds.iter().map(|(bare, whole)| whole - bare).collect())
    );
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let unseal = Unseal::Bytes(Secret::new([7; 32]));
    let keys = Keyring::open(&folder.path().join("keys"), unseal, Arc::new(SystemEntropy))?;
    let claims = br#"{"iss":"https://bailiwick.example/t/acme","sub":"idn_abcdefghijklmnopqrstuvwxyz","aud":"https://bailiwick.example/t/acme/mcp","client_id":"cli_abcdefghijklmnopqrstuvwxyz","iat":1790000000,"exp":1790000300,"jti":"tok_abcdefghijklmnopqrstuvwxyz","tenant":"acme","nhi":"idn_abcdefghijklmnopqrstuvwxyz","task":"tsk_abcdefghijklmnopqrstuvwxyz","epoch":12,"scope":"filesystem:read_text_file"}"#;
    for algorithm in SigningAlgorithm::ALL {
        let tenant = TenantId::parse(&algorithm.as_str().to_lowercase())?;
        keys.create_tenant(&tenant, algorithm)?;
        let signer = keys.signer(&tenant)?;
        let token = jws::encode(&signer, jws::ACCESS_TOKEN, claims)?;
        let (input, _) = token.rsplit_once('.').ok_or("no signature")?;
        let runs = if algorithm == SigningAlgorithm::Rs256 {
            200
        } else {
            2_000
        };
        compare(
            &format!("sign.{algorithm}"),
            runs,
            || {
                let _ = black_box(signer.sign(black_box(input.as_bytes())));
            },
            || {
                let _ = black_box(jws::encode(&signer, jws::ACCESS_TOKEN, black_box(claims)));
            },
        );
    }
    let tenant = TenantId::parse("eddsa")?;
    let payload = [b'x'; 500];
    let context = SealContext {
        tenant: Some(&tenant),
        table: "payload",
        row: b"12345678",
        column: "body",
    };
    let sealed = keys.seal(&context, &payload)?;
    measure("seal.500", 5_000, || {
        let _ = black_box(keys.seal(&context, black_box(&payload)));
    });
    measure("open.500", 5_000, || {
        let _ = black_box(keys.open(&context, black_box(&sealed)));
    });
    measure("commit.500", 5_000, || {
        let _ = black_box(keys.commit(Some(&tenant), black_box(&payload)));
    });
    measure("seal_and_commit.500", 5_000, || {
        let _ = black_box(keys.seal(&context, black_box(&payload)));
        let _ = black_box(keys.commit(Some(&tenant), black_box(&payload)));
    });
    Ok(())
}
