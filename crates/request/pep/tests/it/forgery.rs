//! 4,520 access tokens, of which exactly the 253 controls are good.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use bailiwick_base::{Digest, PublicKey, TenantId, Time};
use bailiwick_pep::token::{KeySource, Rfc9068, TokenError, Verifier, VerifierConfig};
use bailiwick_vectors as vectors;
use serde_json::Value;

pub(crate) struct Case {
    pub(crate) id: String,
    pub(crate) class: String,
    pub(crate) accept: bool,
    pub(crate) token: String,
}

/// The verifier exactly as the set's context describes it.
pub(crate) struct Setting {
    pub(crate) keys: Arc<KeySource>,
    pub(crate) config: VerifierConfig,
    pub(crate) tenant: TenantId,
    pub(crate) now: Time,
    pub(crate) cases: Vec<Case>,
}

pub(crate) fn setting() -> Option<Setting> {
    let folder = vectors::folder("jwt-forgery")?;
    let context = vectors::json(&folder.join("context.json"));
    let keys = KeySource::new();
    for issuer in context["issuers"].as_array().unwrap() {
        let tenant = TenantId::parse(issuer["tenant"].as_str().unwrap()).unwrap();
        let published = issuer["jwks"]["keys"].as_array().unwrap().iter().map(|jwk| {
            let key = PublicKey::from_jwk(jwk.as_object().unwrap()).unwrap();
            (jwk["kid"].as_str().unwrap().to_owned(), Arc::new(key))
        });
        keys.publish(
            issuer["issuer"].as_str().unwrap(),
            &tenant,
            context["audience"].as_str().unwrap(),
            published,
        );
    }
    let seconds = |name: &str| Duration::from_secs(context[name].as_u64().unwrap());
    let cases = fs::read_to_string(folder.join("cases.jsonl")).unwrap();
    Some(Setting {
        keys: Arc::new(keys),
        config: VerifierConfig {
            leeway: seconds("leeway_seconds"),
            lifetime_max: seconds("max_lifetime_seconds"),
            remembered_max: 0,
        },
        tenant: TenantId::parse(context["this_tenant"].as_str().unwrap()).unwrap(),
        now: Time::from_secs(context["now"].as_i64().unwrap()),
        cases: cases
            .lines()
            .map(|line| {
                let row: Value = serde_json::from_str(line).unwrap();
                let text = |name: &str| row[name].as_str().unwrap().to_owned();
                Case {
                    id: text("id"),
                    class: text("class"),
                    accept: row["expect"] == "accept",
                    token: text("token"),
                }
            })
            .collect(),
    })
}

impl Setting {
    fn verifier(&self, remembered_max: usize) -> Verifier<Rfc9068> {
        Verifier::new(
            self.keys.clone(),
            VerifierConfig {
                remembered_max,
                ..self.config.clone()
            },
        )
    }

    fn judge(&self, verifier: &Verifier<Rfc9068>, case: &Case) -> Result<(), TokenError> {
        let answer = verifier.verify(&self.tenant, case.token.as_bytes(), self.now);
        assert_eq!(
            answer.is_ok(),
            case.accept,
            "{} {}: {answer:?}",
            case.id,
            case.class
        );
        answer.map(|_| ())
    }
}

#[test]
fn every_forged_token_is_refused_and_every_control_accepted() {
    let Some(setting) = setting() else { return };
    let verifier = setting.verifier(0);
    let mut refused = 0;
    for case in &setting.cases {
        if let Err(error) = setting.judge(&verifier, case) {
            refused += 1;
            let said = format!("{error} {error:?} {}", error.code());
            assert!(said.len() < 400, "{}", case.id);
            // No sixteen bytes of the token come back in the answer.
            let part: String = case
                .token
                .chars()
                .filter(char::is_ascii_alphanumeric)
                .take(16)
                .collect();
            assert!(
                part.len() < 16 || !said.contains(&part),
                "{} echoes the token",
                case.id
            );
        }
    }
    assert_eq!(verifier.remembered(), 0);
    assert_eq!((refused, setting.cases.len() - refused), (4_267, 253));
    vectors::report("jwt-forgery", setting.cases.len(), 4_520);
}

/// Memory on, two passes in shuffled order, sixteen threads: no answer changes.
#[test]
fn remembering_changes_no_answer() {
    let Some(setting) = setting() else { return };
    let verifier = setting.verifier(64);
    let roomy = setting.verifier(10_000);
    let mut order: Vec<&Case> = setting.cases.iter().collect();
    for pass in 0..2 {
        // Shuffled by a hash, so that a failure can be repeated.
        order.sort_by_key(|case| Digest::of(format!("{pass} {}", case.id).as_bytes()));
        std::thread::scope(|scope| {
            for worker in 0..16 {
                let (order, setting, verifier, roomy) = (&order, &setting, &verifier, &roomy);
                scope.spawn(move || {
                    for case in order.iter().skip(worker).step_by(16) {
                        let _ = setting.judge(if pass == 0 { verifier } else { roomy }, case);
                        let _ = setting.judge(roomy, case);
                    }
                });
            }
        });
    }
    assert!(verifier.remembered() <= 64, "the memory is bounded");
    let good_somewhere = setting.cases.iter().filter(|c| {
        let answer = roomy.verify_any(c.token.as_bytes(), setting.now);
        // Bound to a sender: refused as a bearer token, and whole all the same.
        matches!(answer, Ok(_) | Err(TokenError::SenderConstrained))
    });
    let good_somewhere = good_somewhere.count();
    assert!(
        good_somewhere > 253,
        "some tokens are good at another tenant, and refused here"
    );
    assert_eq!(roomy.remembered(), good_somewhere, "nothing else is remembered");
}

/// A refusal costs little: one token may not make the verifier allocate much.
#[test]
fn one_token_costs_less_than_two_megabytes() {
    let Some(setting) = setting() else { return };
    let verifier = setting.verifier(0);
    let mut worst = 0;
    for case in &setting.cases {
        let cost = allocation_counter::measure(|| {
            let _ = verifier.verify(&setting.tenant, case.token.as_bytes(), setting.now);
        });
        worst = worst.max(cost.bytes_total);
        assert!(
            cost.bytes_total < 2 * 1024 * 1024,
            "{} {} allocates {}",
            case.id,
            case.class,
            cost.bytes_total
        );
    }
    println!("jwt-forgery worst allocation: {worst} bytes");
}
