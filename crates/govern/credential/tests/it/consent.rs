//! Consents: the proof of a code, what of a wish is granted, and steps that are taken once.

use std::time::Duration;

use bailiwick_base::{Digest, Epoch};
use bailiwick_credential::consent::{
    Challenge, Consent, ConsentFault, ConsentPlan, common_scopes, give_consent, redeem, redirect_matches,
    renew, require_redirect,
};
use bailiwick_credential::{Claims, Refusal, ScopeSet, close_task};
use proptest::prelude::*;

use crate::{at, id, task};

/// RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

fn given(requested: Option<&str>) -> Result<Consent, Refusal> {
    let task = task();
    let requested = requested.map(ScopeSet::parse);
    let plan = ConsentPlan {
        id: id("acme", 11),
        token: id("acme", 12),
        client: "cli_1".to_owned(),
        redirect: "http://127.0.0.1:1/cb".to_owned(),
        challenge: Challenge::parse(CHALLENGE).unwrap(),
        task: &task,
        granted: &ScopeSet::parse("files:echo mail:*"),
        requested: requested.as_ref(),
        epoch: Epoch(7),
        composition: None,
        given_by: "operator:opr_1".to_owned(),
        code_ttl: Duration::from_secs(60),
    };
    give_consent(plan, at(0)).map(|t| t.after)
}

#[test]
fn the_proof_of_a_code_is_that_of_the_standard() {
    let challenge = Challenge::parse(CHALLENGE).unwrap();
    assert!(challenge.is_of(VERIFIER));
    for wrong in [
        "",
        "short",
        &VERIFIER.replace('d', "e"),
        &"a".repeat(129),
        &format!("{VERIFIER} "),
    ] {
        assert!(!challenge.is_of(wrong), "{wrong}");
    }
    for malformed in [
        "",
        "abc",
        &format!("{CHALLENGE}="),
        &format!("{CHALLENGE}AA"),
        &CHALLENGE.replace('-', "+"),
    ] {
        assert_eq!(Challenge::parse(malformed), None, "{malformed}");
    }
}

#[test]
fn a_consent_is_what_was_asked_for_and_granted() {
    assert_eq!(given(None).unwrap().scopes.to_string(), "files:echo mail:*");
    assert_eq!(
        given(Some("files:* mail:send")).unwrap().scopes.to_string(),
        "files:echo mail:send"
    );
    assert_eq!(given(Some("other:*")).unwrap_err(), Refusal::ConsentEmpty);
    let closed = close_task(task(), "done", at(1)).unwrap().after;
    let plan = ConsentPlan {
        id: id("acme", 11),
        token: id("acme", 12),
        client: String::new(),
        redirect: String::new(),
        challenge: Challenge::parse(CHALLENGE).unwrap(),
        task: &closed,
        granted: &ScopeSet::parse("files:echo"),
        requested: None,
        epoch: Epoch(7),
        composition: None,
        given_by: String::new(),
        code_ttl: Duration::from_secs(60),
    };
    assert!(matches!(give_consent(plan, at(2)), Err(Refusal::TaskClosed(_))));
}

#[test]
fn a_code_and_each_refresh_token_serve_once() {
    let consent = given(None).unwrap();
    let (one, two, three) = (Digest::of(b"1"), Digest::of(b"2"), Digest::of(b"3"));
    let good = consent.require_redeemable("cli_1", "http://127.0.0.1:1/cb", VERIFIER, at(1));
    assert_eq!(good, Ok(()));
    let late = consent.require_redeemable("cli_1", "http://127.0.0.1:1/cb", VERIFIER, at(60));
    assert_eq!(late, Err(ConsentFault::Late));
    let other = consent.require_redeemable("cli_2", "http://127.0.0.1:1/cb", VERIFIER, at(1));
    assert_eq!(other, Err(ConsentFault::Other("client")));
    let first = redeem(consent, one, at(1)).unwrap().after;
    assert_eq!(redeem(first.clone(), two, at(1)).unwrap_err(), ConsentFault::Used);
    let second = renew(first.clone(), 1, one, two).unwrap().after;
    assert_eq!((second.generation, second.refresh), (2, Some(two)));
    assert_eq!(
        renew(second.clone(), 1, one, three).unwrap_err(),
        ConsentFault::Used
    );
    assert_eq!(
        renew(second.clone(), 2, one, three).unwrap_err(),
        ConsentFault::Used
    );
    assert_eq!(second.require_renewable("cli_1", 2, two, at(2)), Ok(()));
    assert_eq!(
        second.require_renewable("cli_1", 1, one, at(2)),
        Err(ConsentFault::Used)
    );
    assert_eq!(
        second.require_renewable("cli_1", 2, two, at(3_600)),
        Err(ConsentFault::Late)
    );
}

#[test]
fn a_token_of_a_consent_names_it_and_is_read_back() {
    let consent = given(None).unwrap();
    let mut claims = consent.claims("https://x.example/t/acme", "https://x.example/t/acme/mcp");
    claims.lineage = vec![consent.link()];
    let members = serde_json::from_slice(&claims.to_json()).unwrap();
    let read = Claims::from_json(&members).unwrap();
    assert_eq!((read.lineage, read.epoch), (vec![consent.link()], Epoch(7)));
    claims.lineage.push(consent.link());
    let members = serde_json::from_slice(&claims.to_json()).unwrap();
    assert!(
        Claims::from_json(&members).is_err(),
        "a token without actors has one consent"
    );
}

fn scopes() -> impl Strategy<Value = ScopeSet> {
    prop::collection::btree_set("[ab]:([xy]|\\*)", 0..6).prop_map(|all| all.into_iter().collect())
}

proptest! {
    #[test]
    fn what_is_common_is_within_both(granted in scopes(), requested in scopes()) {
        for scope in common_scopes(&granted, &requested).iter() {
            prop_assert!(granted.covers(scope), "{scope} is not granted");
            prop_assert!(requested.covers(scope), "{scope} was not asked for");
        }
    }

    #[test]
    fn another_uri_than_the_registered_one_matches_by_its_port_alone(presented in "https?://(127.0.0.1|app.example)(:[0-9]{1,5})?/cb[a-z/]{0,2}") {
        for registered in ["http://127.0.0.1/cb", "https://app.example/cb"] {
            let portless = presented.rsplit_once(':').map_or(presented.clone(), |(head, tail)| match tail.split_once('/') {
                Some((port, path)) if port.bytes().all(|b| b.is_ascii_digit()) && !port.is_empty() => format!("{head}/{path}"),
                _ => presented.clone(),
            });
            if redirect_matches(registered, &presented) {
                prop_assert_eq!(&portless, registered);
                prop_assert!(presented == registered || registered.starts_with("http:"));
                prop_assert!(require_redirect(registered).is_ok());
            }
        }
    }
}
