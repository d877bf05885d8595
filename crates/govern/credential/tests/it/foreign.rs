//! Policies of clouds: what is let in is found, with a witness, and what cannot be read is no clean bill.

use bailiwick_credential::trust::foreign::{Claims, Grade, Pipeline, Platform, Verdict, judge, read};
use serde_json::{Value, json};

fn verdict(platform: Platform, policy: &Value, tried: Option<&Claims>) -> Verdict {
    let read = read(platform, None, policy.to_string().as_bytes()).unwrap();
    judge(read.first().unwrap(), tried)
}

fn aws(condition: &Value) -> Value {
    let provider = "arn:aws:iam::111122223333:oidc-provider/token.actions.githubusercontent.com";
    json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"Federated": provider},
        "Action": "sts:AssumeRoleWithWebIdentity", "Condition": condition,
    }]})
}

fn on_aws(operator: &str, key: &str, value: &Value) -> Verdict {
    let name = format!("token.actions.githubusercontent.com:{key}");
    verdict(Platform::Aws, &aws(&json!({operator: {name: value}})), None)
}

fn on_gcp(condition: &str) -> Verdict {
    let issuer = "https://token.actions.githubusercontent.com";
    let policy = json!({"oidc": {"issuerUri": issuer}, "attributeCondition": condition,
        "attributeMapping": {"google.subject": "assertion.sub", "attribute.repo": "assertion.repository_id"}});
    verdict(Platform::Gcp, &policy, None)
}

fn codes(verdict: &Verdict) -> Vec<&'static str> {
    verdict.findings.iter().map(|finding| finding.code).collect()
}

#[track_caller]
fn found(verdict: &Verdict, grade: Grade, code: &str) {
    assert_eq!(verdict.grade, grade, "{verdict:?}");
    assert!(codes(verdict).contains(&code), "{verdict:?}");
    for finding in &verdict.findings {
        assert!(!finding.text.is_empty() && !finding.fix.is_empty());
    }
}

#[test]
fn a_wildcard_is_found_by_what_it_lets_in() {
    let verdict = on_aws("StringLike", "sub", &json!("repo:octo/*"));
    found(&verdict, Grade::Dangerous, "trust.whole-owner");
    let witness = verdict.findings[0].witness.clone().unwrap();
    assert!(
        witness.starts_with("repo:octo/") || witness.starts_with("repo:octo@"),
        "{witness}"
    );
    found(
        &on_aws("StringLike", "sub", &json!("*")),
        Grade::Dangerous,
        "trust.anybody",
    );
    found(
        &on_aws("StringLike", "sub", &json!("repo:octo/app:*")),
        Grade::Dangerous,
        "trust.unreviewed-code",
    );
    // The same text under the operator that knows no wildcards lets nobody in.
    found(
        &on_aws("StringEquals", "sub", &json!("repo:octo/*")),
        Grade::Caution,
        "trust.never-matches",
    );
    let exact = on_aws("StringEquals", "sub", &json!("repo:octo/app:ref:refs/heads/main"));
    assert_eq!(
        (exact.grade, codes(&exact)),
        (Grade::Safe, vec!["trust.audience-missing"])
    );
}

#[test]
fn a_list_is_as_loose_as_its_loosest_value() {
    let list = json!(["repo:octo/app:ref:refs/heads/main", "repo:octo/*"]);
    found(
        &on_aws("StringLike", "sub", &list),
        Grade::Dangerous,
        "trust.whole-owner",
    );
    let exact = json!([
        "repo:octo/a:ref:refs/heads/main",
        "repo:octo/b:ref:refs/heads/main"
    ]);
    assert_eq!(on_aws("StringEquals", "sub", &exact).grade, Grade::Safe);
}

#[test]
fn a_deny_takes_away_what_an_allow_gives() {
    let mut policy =
        aws(&json!({"StringLike": {"token.actions.githubusercontent.com:sub": "repo:octo/app:*"}}));
    let provider = policy["Statement"][0]["Principal"].clone();
    let refused = json!({"StringLike": {"token.actions.githubusercontent.com:sub":
        ["repo:*:pull_request", "repo:*:ref:refs/tags/*", "repo:*:environment:*"]}});
    let deny = json!({"Effect": "Deny", "Principal": provider, "Action": "sts:*", "Condition": refused});
    policy["Statement"].as_array_mut().unwrap().push(deny);
    let verdict = verdict(Platform::Aws, &policy, None);
    assert!(!codes(&verdict).contains(&"trust.unreviewed-code"), "{verdict:?}");
    assert!(codes(&verdict).contains(&"trust.every-branch"), "{verdict:?}");
}

#[test]
fn what_a_condition_on_google_cloud_means_is_what_is_judged() {
    found(
        &on_gcp("assertion.repository_owner_id != ''"),
        Grade::Dangerous,
        "trust.anybody",
    );
    found(&on_gcp(""), Grade::Dangerous, "trust.anybody");
    found(
        &on_gcp("assertion.repository_id == 74"),
        Grade::Caution,
        "trust.other-type",
    );
    found(
        &on_gcp("assertion.repository == 'octo/app'"),
        Grade::Dangerous,
        "trust.name-given-again",
    );
    let mapped = on_gcp("attribute.repo == '74'");
    assert_eq!(mapped.grade, Grade::Safe, "{mapped:?}");
    assert_eq!(
        on_gcp("assertion.repository_id in ['74', '75'] && has(assertion.actor)").grade,
        Grade::Safe
    );
    // `!` and `||` count as they stand, however they are bracketed.
    let doubled = "!(!(assertion.repository_id == '74') || assertion.ref != 'refs/heads/main')";
    let doubled = on_gcp(doubled);
    assert_eq!(doubled.grade, Grade::Safe, "{doubled:?}");
    found(
        &on_gcp("assertion.repository_id == '74' || true"),
        Grade::Dangerous,
        "trust.anybody",
    );
    // What is not understood counts as let in.
    found(
        &on_gcp("assertion.sub.extract('repo:{x}:') == 'a'"),
        Grade::Dangerous,
        "trust.not-judged",
    );
}

#[test]
fn an_absent_claim_is_decided_as_the_platform_decides() {
    let environment = json!("Production");
    found(
        &on_aws("ForAllValues:StringEquals", "environment", &environment),
        Grade::Dangerous,
        "trust.absent-claim",
    );
    found(
        &on_aws("StringEqualsIfExists", "environment", &environment),
        Grade::Dangerous,
        "trust.absent-claim",
    );
    let plain = on_aws("StringEquals", "environment", &environment);
    assert!(!codes(&plain).contains(&"trust.absent-claim"), "{plain:?}");
}

#[test]
fn a_token_can_be_tried() {
    let policy = aws(
        &json!({"StringEquals": {"token.actions.githubusercontent.com:sub": "repo:octo/app:ref:refs/heads/main"}}),
    );
    let claims = |sub: &str| Claims::from([("sub".to_owned(), sub.to_owned())]);
    let tried = |sub: &str| verdict(Platform::Aws, &policy, Some(&claims(sub))).admitted;
    assert_eq!(tried("repo:octo/app:ref:refs/heads/main"), Some(true));
    assert_eq!(tried("repo:octo/app:ref:refs/heads/main2"), Some(false));
    let with_ids = verdict(
        Platform::Aws,
        &policy,
        Some(&claims("repo:octo@65/app@74:ref:refs/heads/main")),
    );
    found(&with_ids, Grade::Caution, "trust.subject-form");
}

#[test]
fn what_cannot_be_read_whole_is_an_error() {
    let refused = |platform, text: &str| read(platform, None, text.as_bytes()).unwrap_err().to_string();
    assert!(refused(Platform::Aws, "{").contains("not JSON"));
    assert!(refused(Platform::Aws, "{}").contains("`Statement`"));
    let odd = aws(&json!({"StringResembles": {"token.actions.githubusercontent.com:sub": "x"}}));
    assert!(refused(Platform::Aws, &odd.to_string()).contains("`StringResembles` is not known"));
    let own = json!({"oidc": {"issuerUri": "https://ci.acme.example"}, "attributeCondition": "assertion.sub == 'a'"});
    assert!(refused(Platform::Gcp, &own.to_string()).contains("--issuer-kind"));
    assert!(read(Platform::Gcp, Some(Pipeline::Gitlab), own.to_string().as_bytes()).is_ok());
    for condition in [
        "assertion.sub ==",
        "assertion.sub == 'a",
        "(assertion.sub == 'a'",
        "assertion.sub.matches('(')",
    ] {
        let policy = json!({"oidc": {"issuerUri": "https://gitlab.com"}, "attributeCondition": condition});
        assert!(
            refused(Platform::Gcp, &policy.to_string()).contains("not usable"),
            "{condition}"
        );
    }
    let deep = json!({"oidc": {"issuerUri": "https://gitlab.com"}, "attributeCondition": "(".repeat(40)});
    assert!(refused(Platform::Gcp, &deep.to_string()).contains("32 levels"));
    let flexible = json!({"issuer": "https://gitlab.com", "claimsMatchingExpression": {"value": "claims['sub'] like 'a'"}});
    assert!(refused(Platform::Azure, &flexible.to_string()).contains("`eq` or `matches`"));
}

#[test]
fn wildcards_take_bounded_time() {
    let hostile = format!("{}b", "*a".repeat(2_000));
    let verdict = on_aws("StringLike", "sub", &json!(hostile));
    assert_eq!(verdict.grade, Grade::Caution, "{verdict:?}");
}
