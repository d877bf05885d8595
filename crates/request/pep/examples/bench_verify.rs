//! Prints `name median_ns` for the token verifier: fresh and remembered tokens per algorithm, with the bare
//! signature check beside them.

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the machine's clock")]

use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bailiwick_base::Compact;
use bailiwick_base::{
    Digest, Epoch, IdentityId, Ids, ManualClock, Secret, SigningAlgorithm, TaskId, TenantId, Time, TokenId,
};
use bailiwick_credential::{Claims, ScopeSet};
use bailiwick_keys::{AssertionPlan, ClientKey, Keyring, SystemEntropy, Unseal, jws};
use bailiwick_pep::token::{KeySource, Verifier, VerifierConfig};

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

fn claims(tenant: &TenantId, ids: &Ids, now: Time) -> Result<Claims, Box<dyn Error>> {
    let nhi: IdentityId = ids.mint(tenant)?;
    let task: TaskId = ids.mint(tenant)?;
    let token: TokenId = ids.mint(tenant)?;
    Ok(Claims {
        issuer: format!("https://bailiwick.example/t/{tenant}"),
        subject: nhi.to_string(),
        audience: format!("https://bailiwick.example/t/{tenant}/mcp"),
        client: "cli_abcdefghijklmnopqrstuvwxyz".to_owned(),
        issued_at: now,
        expires_at: Time::from_secs(now.secs() + 300),
        token,
        tenant: tenant.clone(),
        nhi,
        task,
        epoch: Epoch(12),
        scopes: ScopeSet::parse("filesystem:list_directory filesystem:read_text_file"),
        act: smallvec::SmallVec::new(),
        may_act: Vec::new(),
        lineage: Vec::new(),
        confirmation: None,
        composition: None,
    })
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let unseal = Unseal::Bytes(Secret::new([7; 32]));
    let keyring = Keyring::open(&folder.path().join("keys"), unseal, Arc::new(SystemEntropy))?;
    let keys = Arc::new(KeySource::new());
    let now = Time::from_secs(1_790_000_000);
    let ids = Ids::new(Arc::new(ManualClock::at(now)), Arc::new(SystemEntropy));
    for algorithm in SigningAlgorithm::ALL {
        let tenant = TenantId::parse(&algorithm.as_str().to_lowercase())?;
        keyring.create_tenant(&tenant, algorithm)?;
        let claims = claims(&tenant, &ids, now)?;
        let published = keyring
            .jwks(&tenant)?
            .into_iter()
            .map(|jwk| (jwk.kid().to_owned(), jwk.key().clone()));
        keys.publish(&claims.issuer, &tenant, &claims.audience, published);
        let signer = keyring.signer(&tenant)?;
        let token = jws::encode(&signer, jws::ACCESS_TOKEN, &claims.to_json())?;
        let (input, _) = token.rsplit_once('.').ok_or("no signature")?;
        let signature = signer.sign(input.as_bytes())?;
        measure(&format!("verify.{algorithm}.bare"), 1_000, || {
            let _ = black_box(
                signer
                    .public_key()
                    .verify(black_box(input.as_bytes()), &signature),
            );
        });
        let forgetful: Verifier = Verifier::new(
            keys.clone(),
            VerifierConfig {
                remembered_max: 0,
                ..VerifierConfig::default()
            },
        );
        measure(&format!("verify.{algorithm}.fresh"), 1_000, || {
            let _ = black_box(forgetful.verify(&tenant, black_box(token.as_bytes()), now));
        });
        let verifier: Verifier = Verifier::new(keys.clone(), VerifierConfig::default());
        verifier.verify(&tenant, token.as_bytes(), now)?;
        measure(&format!("verify.{algorithm}.remembered"), 10_000, || {
            let _ = black_box(verifier.verify(&tenant, black_box(token.as_bytes()), now));
        });
        measure(&format!("verify.{algorithm}.hash"), 10_000, || {
            black_box(Digest::of(black_box(token.as_bytes())));
        });
        measure(&format!("verify.{algorithm}.parse"), 10_000, || {
            let _ = black_box(Compact::parse(black_box(token.as_bytes())).and_then(|t| t.untrusted_claims()));
        });
    }
    let client = ClientKey::generate(SigningAlgorithm::Es256, &SystemEntropy)?;
    let plan = AssertionPlan {
        issuer: "https://bailiwick.example/t/es256",
        client: "cli_abcdefghijklmnopqrstuvwxyz",
        token: "one",
        now,
        ttl: std::time::Duration::from_secs(60),
    };
    measure("assertion.ES256.sign", 1_000, || {
        let _ = black_box(client.sign_assertion(black_box(&plan)));
    });
    Ok(())
}
