//! Which workload is which identity: what a rule must say, and what it may not.

use std::collections::BTreeMap;

use bailiwick_credential::trust::{
    Attestor, Attribute, AttributeForm, AttributeKind, IssuerKeys, Method, Trust, TrustPlan, TrustedIssuer,
    add_trust, lint_trust, remove_trust,
};
use bailiwick_credential::{Limits, Refusal};

use crate::{at, id};

fn attestor() -> Attestor {
    let attribute = |name: &str, kind, form| Attribute {
        name: name.to_owned(),
        claim: vec![name.to_owned()],
        kind,
        form,
        optional: false,
    };
    Attestor {
        method: Method::Github,
        issuer: None,
        issuers_like: Vec::new(),
        realm: vec!["owner".to_owned()],
        pins: vec!["owner".to_owned(), "repository".to_owned()],
        single_use: true,
        single_use_if_named: false,
        lifetime_max_s: 900,
        refused: Vec::new(),
        attributes: vec![
            attribute("owner", AttributeKind::Id, AttributeForm::Digits),
            attribute("repository", AttributeKind::Id, AttributeForm::Digits),
            attribute("ref", AttributeKind::Context, AttributeForm::Text),
            attribute("email", AttributeKind::Name, AttributeForm::Text),
        ],
    }
}

fn attributes(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
        .collect()
}

fn plan(of: &str, seed: u64, pairs: &[(&str, &str)]) -> TrustPlan {
    TrustPlan {
        id: id(of, seed),
        issuer: TrustedIssuer {
            method: Method::Github,
            url: "https://issuer.example".to_owned(),
            keys: IssuerKeys::Discovery,
            allow_addresses: Vec::new(),
            danger_plaintext: false,
        },
        attributes: attributes(pairs),
        identity: id(of, 100),
        identity_expires_at: at(100_000),
        expires_at: at(50_000),
    }
}

fn added(plan: TrustPlan, others: &[Trust]) -> Result<Trust, Refusal> {
    add_trust(plan, &attestor(), others.iter(), &Limits::default(), at(0)).map(|t| t.after)
}

const WHOLE: [(&str, &str); 2] = [("owner", "1"), ("repository", "2")];

#[test]
fn a_rule_pins_every_id_and_never_a_name() {
    added(plan("acme", 1, &WHOLE), &[]).unwrap();
    let too_broad = |pairs: &[(&str, &str)]| added(plan("acme", 1, pairs), &[]).unwrap_err().code();
    assert_eq!(too_broad(&[]), "trust.too-broad");
    assert_eq!(too_broad(&[("owner", "1")]), "trust.too-broad");
    assert_eq!(too_broad(&[("repository", "2")]), "trust.too-broad");
    for extra in [
        ("email", "a@example.com"),
        ("colour", "red"),
        ("repository", "*"),
        ("repository", "2?"),
        ("ref", ""),
    ] {
        let code = too_broad(&[WHOLE[0], WHOLE[1], extra]);
        assert_eq!(code, "trust.attribute-refused", "{extra:?}");
    }
}

#[test]
fn a_rule_admits_exactly_what_has_all_its_attributes() {
    let rule = added(plan("acme", 1, &WHOLE), &[]).unwrap();
    assert!(rule.admits(&attributes(&[
        ("owner", "1"),
        ("repository", "2"),
        ("ref", "main")
    ])));
    for other in [
        attributes(&[("owner", "1")]),
        attributes(&[("owner", "1"), ("repository", "3")]),
        attributes(&[("owner", "2"), ("repository", "2")]),
        attributes(&[]),
    ] {
        assert!(!rule.admits(&other), "{other:?}");
    }
    let renamed = attributes(&[("owner", "1"), ("repository", "3")]);
    assert_eq!(rule.difference(&renamed), Some(("repository", "2", Some("3"))));
    let bare = attributes(&[("owner", "1")]);
    assert_eq!(rule.difference(&bare), Some(("repository", "2", None)));
}

#[test]
fn an_issuer_belongs_to_one_tenant() {
    let first = added(plan("acme", 1, &WHOLE), &[]).unwrap();
    let others = [first.clone()];
    let refused = added(plan("globex", 2, &WHOLE), &others).unwrap_err();
    assert_eq!(refused.code(), "trust.issuer-bound");
    // Another repository of the same owner is the same customer; another owner is not.
    let same_owner = added(plan("globex", 2, &[("owner", "1"), ("repository", "9")]), &others);
    assert_eq!(same_owner.unwrap_err().code(), "trust.issuer-bound");
    added(plan("globex", 2, &[("owner", "7"), ("repository", "9")]), &others).unwrap();
    // What was removed or ended binds nobody.
    let removed = remove_trust(first, "moved", at(10)).unwrap().after;
    added(plan("globex", 2, &WHOLE), std::slice::from_ref(&removed)).unwrap();
    assert!(matches!(
        remove_trust(removed, "again", at(11)),
        Err(Refusal::TrustRemoved(_))
    ));
}

#[test]
fn an_issuer_has_one_method_and_a_name_that_two_networks_use_is_two_issuers() {
    let first = added(plan("acme", 1, &WHOLE), &[]).unwrap();
    // The same URL as any issuer, with no word about which customer.
    let mut any = first.clone();
    any.id = id("globex", 2);
    any.issuer.method = Method::GenericOidc;
    any.realm.clear();
    assert!(first.shares_issuer(&any) && any.shares_issuer(&first));
    // One directory of Azure under two of its names.
    let directory = |url: &str| {
        let mut trust = first.clone();
        (trust.issuer.method, trust.issuer.url) = (Method::Azure, url.to_owned());
        trust.attributes = attributes(&[("tid", "t"), ("oid", "o")]);
        trust
    };
    let (one, other) = (
        directory("https://sts.windows.net/t/"),
        directory("https://sts.chinacloudapi.cn/t/"),
    );
    assert!(one.shares_issuer(&other));
    // A name that every cluster has: told apart by keys, as long as they have none in common.
    let cluster = |keys: &[&str]| {
        let mut trust = first.clone();
        let keys: Vec<String> = keys
            .iter()
            .map(|x| format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"{x}","x":"{x}"}}"#))
            .collect();
        trust.issuer.method = Method::Kubernetes;
        trust.issuer.keys = IssuerKeys::Given(format!(r#"{{"keys":[{}]}}"#, keys.join(",")));
        trust.realm.clear();
        trust
    };
    let (a, b) = (
        "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        "PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw",
    );
    assert!(!cluster(&[a]).shares_issuer(&cluster(&[b])));
    assert!(cluster(&[a]).shares_issuer(&cluster(&[b, a])));
    assert!(cluster(&[a]).shares_issuer(&cluster(&[])));
}

#[test]
fn no_workload_is_two_identities_and_rules_agree_on_their_issuer() {
    let others = [added(plan("acme", 1, &WHOLE), &[]).unwrap()];
    let mut second = plan("acme", 2, &[("owner", "1"), ("repository", "2"), ("ref", "main")]);
    second.identity = id("acme", 101);
    assert_eq!(
        added(second.clone(), &others).unwrap_err().code(),
        "trust.ambiguous"
    );
    second.attributes = attributes(&[("owner", "1"), ("repository", "3")]);
    added(second.clone(), &others).unwrap();
    second.issuer.keys = IssuerKeys::Url("https://elsewhere.example/keys".to_owned());
    assert_eq!(added(second, &others).unwrap_err().code(), "trust.issuer-differs");
    assert_eq!(
        added(plan("acme", 3, &WHOLE), &others).unwrap_err().code(),
        "trust.ambiguous"
    );
}

#[test]
fn the_linter_names_what_a_rule_leaves_open() {
    let codes = |pairs: &[(&str, &str)]| -> Vec<&str> {
        let rule = added(plan("acme", 1, pairs), &[]).unwrap();
        lint_trust(&rule, &attestor())
            .into_iter()
            .map(|f| f.code)
            .collect()
    };
    assert_eq!(codes(&WHOLE), ["trust.every-branch"]);
    assert_eq!(
        codes(&[WHOLE[0], WHOLE[1], ("ref", "refs/heads/main")]),
        ["trust.any-event"]
    );
    let of_peer = |pairs: &[(&str, &str)]| -> Vec<&str> {
        let mut rule = added(plan("acme", 1, &WHOLE), &[]).unwrap();
        rule.attributes = attributes(pairs);
        let peer = Attestor {
            method: Method::UnixPeer,
            ..attestor()
        };
        lint_trust(&rule, &peer).into_iter().map(|f| f.code).collect()
    };
    assert_eq!(of_peer(&[("uid", "1000")]), ["trust.every-program"]);
    assert_eq!(of_peer(&[("uid", "0")]), ["trust.superuser"]);
    assert!(of_peer(&[("uid", "1000"), ("exe", "/usr/bin/billing")]).is_empty());
}
