//! What is known of vendors: which issuers are theirs, and what a rule for one of them leaves open.

use std::collections::BTreeMap;

use bailiwick_base::{TenantId, Time};
use bailiwick_credential::trust::{
    Attestor, IssuerKeys, Method, Trust, TrustedIssuer, lint_trust, require_method,
};
use uuid::Uuid;

fn attestors() -> Vec<Attestor> {
    bailiwick_attest::attestors().unwrap()
}

fn issuer(method: Method, url: &str) -> TrustedIssuer {
    TrustedIssuer {
        method,
        url: url.to_owned(),
        keys: IssuerKeys::Discovery,
        allow_addresses: Vec::new(),
        danger_plaintext: false,
    }
}

#[test]
fn an_issuer_of_a_vendor_is_known_by_how_it_looks() {
    let vendor = |url: &str| {
        let all = attestors();
        let found: Vec<Method> = all
            .iter()
            .filter(|a| a.is_vendor(url))
            .map(|a| a.method)
            .collect();
        found
    };
    for (url, methods) in [
        ("https://sts.amazonaws.com", &[Method::Aws][..]),
        (
            "https://a1faa616-d595-447d-bdfd-64b774ab199c.tokens.sts.global.api.aws",
            &[Method::AwsWebIdentity],
        ),
        (
            "https://A1FAA616-d595.tokens.sts.global.api.aws/",
            &[Method::AwsWebIdentity],
        ),
        (
            "https://oidc.eks.eu-central-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF",
            &[Method::Kubernetes],
        ),
        (
            "https://oidc.eks.cn-north-1.amazonaws.com.cn/id/0123",
            &[Method::Kubernetes],
        ),
        ("https://token.actions.githubusercontent.com", &[Method::Github]),
        // What only looks like one.
        ("https://tokens.sts.global.api.aws", &[]),
        ("https://.tokens.sts.global.api.aws", &[]),
        ("https://evil.example/x.tokens.sts.global.api.aws", &[]),
        ("https://a.tokens.sts.global.api.aws.evil.example", &[]),
        ("http://a.tokens.sts.global.api.aws", &[]),
        ("https://oidc.eks.evil.example/a.amazonaws.com/id/0123", &[]),
        ("https://oidc.eks.eu-central-1.amazonaws.com/id/", &[]),
        ("https://oidc.eks.eu-central-1.amazonaws.com/id/0123/x", &[]),
    ] {
        assert_eq!(vendor(url), methods, "{url}");
    }
}

#[test]
fn an_issuer_of_a_vendor_is_registered_by_its_own_method() {
    for (own, url) in [
        (
            Method::AwsWebIdentity,
            "https://a1faa616.tokens.sts.global.api.aws",
        ),
        (
            Method::Kubernetes,
            "https://oidc.eks.eu-central-1.amazonaws.com/id/0123",
        ),
    ] {
        for method in Method::ALL {
            let answer = require_method(&issuer(method, url), &attestors());
            assert_eq!(answer.is_ok(), method == own, "{method} {url}");
        }
    }
    // A cluster of somebody else, and an endpoint that stands in for STS.
    assert!(
        require_method(
            &issuer(Method::Kubernetes, "https://kubernetes.example"),
            &attestors()
        )
        .is_ok()
    );
    assert!(
        require_method(
            &issuer(Method::AwsWebIdentity, "https://sts.example"),
            &attestors()
        )
        .is_ok()
    );
}

#[test]
fn the_linter_names_what_a_rule_for_web_identities_leaves_open() {
    let codes = |url: &str, pairs: &[(&str, &str)]| -> Vec<&'static str> {
        let tenant = TenantId::parse("acme").unwrap();
        let pairs = pairs.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
        let rule = Trust {
            id: bailiwick_base::TrustId::from_parts(tenant.clone(), Uuid::from_u128(1)),
            issuer: issuer(Method::AwsWebIdentity, url),
            realm: BTreeMap::new(),
            attributes: pairs.collect(),
            identity: bailiwick_base::IdentityId::from_parts(tenant, Uuid::from_u128(2)),
            created_at: Time::from_secs(0),
            expires_at: Time::from_secs(9),
            removed_at: None,
        };
        let all = attestors();
        let attestor = all.iter().find(|a| a.method == Method::AwsWebIdentity).unwrap();
        lint_trust(&rule, attestor).into_iter().map(|f| f.code).collect()
    };
    let (url, account) = (
        "https://a1faa616.tokens.sts.global.api.aws",
        ("account", "123456789012"),
    );
    let role = ("principal", "arn:aws:iam::123456789012:role/invoices");
    let people = (
        "principal",
        "arn:aws:iam::123456789012:role/aws-reserved/sso.amazonaws.com/eu-west-1/AWSReservedSSO_Admin_1a2b",
    );
    assert_eq!(codes(url, &[account, role]), ["trust.role-by-name"]);
    assert_eq!(
        codes(url, &[account, people]),
        ["trust.every-person", "trust.role-by-name"]
    );
    assert_eq!(
        codes(url, &[account, people, ("person", "u-1")]),
        ["trust.role-by-name"]
    );
    assert_eq!(
        codes(
            "https://a.tokens.sts.global.api.aws.evil.example",
            &[account, role]
        ),
        ["trust.endpoint-override", "trust.role-by-name"]
    );
}
