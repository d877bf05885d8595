//! The claim shapes of the vendors, and what only looks like them.

use bailiwick_attest::{AttestError, Attested};
use bailiwick_credential::trust::{AttributeKind, Method};
use serde_json::{Value, json};

use crate::issuer::Issuer;

const TID: &str = "72f988bf-86f1-41af-91ab-2d7cd011db47";
const OID: &str = "0d2a1b7c-5a0e-4c3f-8f5d-2b1c9a8e7d6f";
const ROLE: &str = "arn:aws:iam::123456789012:role/apps/invoices";
const UID: &str = "1f0c2b3a-4d5e-6f70-8192-a3b4c5d6e7f8";

/// Claims as the platform of this method makes them.
fn shape(method: Method) -> Value {
    match method {
        // No token is evidence of AWS, or of a process of this machine.
        Method::Aws | Method::UnixPeer => json!({}),
        Method::AwsWebIdentity => json!({"sub": ROLE, "jti": "j1", "https://sts.amazonaws.com/": {
            "aws_account": "123456789012", "source_region": "eu-central-1", "org_id": "o-abc1234567",
            "principal_tags": {"team": "data"}, "request_tags": {"job": "7"},
            "lambda_source_function_arn": "arn:aws:lambda:eu-central-1:123456789012:function:invoices"}}),
        Method::Azure => {
            json!({"tid": TID, "oid": OID, "sub": OID, "idtyp": "app", "ver": "1.0", "appid": OID,
            "xms_mirid": "/subscriptions/s/resourcegroups/g/providers/Microsoft.Compute/virtualMachines/vm"})
        }
        Method::Gcp => json!({"sub": "113774264463038321964", "azp": "113774264463038321964",
            "email": "ci@project.iam.gserviceaccount.com", "email_verified": true,
            "google": {"compute_engine": {"instance_id": "7777", "project_number": 42, "instance_name": "vm"}}}),
        Method::GenericOidc => json!({"sub": "workload-1"}),
        Method::Github => {
            json!({"jti": "j1", "sub": "repo:octo@65/app@74:ref:refs/heads/main", "event_name": "push",
            "ref": "refs/heads/main", "repository": "octo/app", "repository_id": "74", "repository_owner": "octo",
            "repository_owner_id": "65", "actor": "mona", "runner_environment": "github-hosted",
            "job_workflow_ref": "octo/app/.github/workflows/ci.yml@refs/heads/main"})
        }
        Method::Gitlab => {
            json!({"jti": "j1", "sub": "project_path:g/app:ref_type:branch:ref:main", "namespace_id": "72",
            "namespace_path": "g", "project_id": "20", "project_path": "g/app", "user_email": "a@example.com",
            "pipeline_source": "push", "ref": "main", "ref_type": "branch", "ref_protected": "true"})
        }
        Method::IdJag => json!({"sub": "u-1", "client_id": "cli_1", "jti": "j1", "scope": "files:echo"}),
        Method::Kubernetes => json!({"sub": "system:serviceaccount:apps:agent", "kubernetes.io": {
            "namespace": "apps", "serviceaccount": {"name": "agent", "uid": UID}, "pod": {"name": "p", "uid": OID}}}),
        Method::SpiffeJwt => json!({"sub": "spiffe://acme.example/agent/1"}),
    }
}

/// Verifies what `change` makes of the shape; `null` takes a claim away.
async fn verified(method: Method, change: Value) -> Result<Attested, AttestError> {
    let issuer = Issuer::start().await;
    let mut profile = issuer.profile(method);
    let mut claims = issuer.claims();
    match method {
        Method::Azure => {
            profile.issuer = format!("https://sts.windows.net/{TID}/");
            profile.keys = bailiwick_attest::KeyPlace::Url(format!("{}/jwks", issuer.url));
        }
        Method::SpiffeJwt => {
            profile.issuer = "spiffe://acme.example".to_owned();
            profile.keys = bailiwick_attest::KeyPlace::Url(format!("{}/jwks", issuer.url));
            claims.as_object_mut().unwrap().remove("iss");
            let mut key = issuer.key.jwk();
            key["use"] = "jwt-svid".into();
            issuer.publishes(&[key]);
        }
        _ => {}
    }
    if method != Method::SpiffeJwt {
        claims["iss"] = profile.issuer.clone().into();
    }
    for changes in [shape(method), change] {
        for (name, value) in changes.as_object().unwrap() {
            if value.is_null() {
                claims.as_object_mut().unwrap().remove(name);
            } else {
                claims[name] = value.clone();
            }
        }
    }
    let typ = if method == Method::IdJag {
        "oauth-id-jag+jwt"
    } else {
        "JWT"
    };
    let header = json!({"alg": "ES256", "typ": typ, "kid": "k1"});
    issuer
        .verify(&issuer.key.sign_with(&header, &claims), &profile)
        .await
}

#[tokio::test]
async fn every_vendor_shape_is_read() {
    for (method, id, value) in [
        (Method::AwsWebIdentity, "principal", ROLE),
        (Method::Azure, "oid", OID),
        (Method::Gcp, "sub", "113774264463038321964"),
        (Method::GenericOidc, "sub", "workload-1"),
        (Method::Github, "repository_id", "74"),
        (Method::Gitlab, "project_id", "20"),
        (Method::IdJag, "client_id", "cli_1"),
        (Method::Kubernetes, "serviceaccount_uid", UID),
        (Method::SpiffeJwt, "sub", "spiffe://acme.example/agent/1"),
    ] {
        let attested = verified(method, json!({})).await.unwrap();
        assert_eq!(attested.attributes[id], value, "{method}");
        assert_eq!(
            attested.once.is_some(),
            matches!(
                method,
                Method::AwsWebIdentity | Method::Github | Method::Gitlab | Method::IdJag
            ),
            "{method}"
        );
    }
}

#[tokio::test]
async fn a_token_that_has_a_name_of_its_own_is_for_one_use() {
    for (method, is_once) in [
        (Method::Azure, false),
        (Method::GenericOidc, true),
        // A file that pods read again and again.
        (Method::Kubernetes, false),
        (Method::SpiffeJwt, true),
    ] {
        let named = verified(method, json!({"jti": "j1"})).await.unwrap();
        assert_eq!(named.once.is_some(), is_once, "{method}");
        let other = verified(method, json!({"jti": "j2"})).await.unwrap();
        assert!(named.once != other.once || !is_once, "{method}");
    }
    let long = verified(Method::GenericOidc, json!({"jti": "j".repeat(513)})).await;
    assert_eq!(long.unwrap_err().code(), "attest.claim-invalid");
}

/// Kind of issuer, what is changed in its shape, and the code of the refusal.
const LOOK_ALIKES: &str = r#"[
["aws-web-identity", {"https://sts.amazonaws.com/": {"aws_account": "999999999999"}}, "attest.claim-invalid"],
["aws-web-identity", {"https://sts.amazonaws.com/": {"aws_account": null}}, "attest.claim-invalid"],
["aws-web-identity", {"https://sts.amazonaws.com/": "123456789012"}, "attest.claim-invalid"],
["aws-web-identity", {"sub": "arn:aws:iam::123456789012:root"}, "attest.claim-invalid"],
["aws-web-identity", {"sub": "arn:aws:iam::123456789012:role/*"}, "attest.claim-invalid"],
["aws-web-identity", {"sub": "arn:aws:iam::123456789012:role/apps//invoices"}, "attest.claim-invalid"],
["aws-web-identity", {"sub": "arn:aws:iam::999999999999:role/apps/invoices"}, "attest.claim-invalid"],
["aws-web-identity", {"sub": "arn:aws:sts::123456789012:assumed-role/invoices/session"}, "attest.claim-invalid"],
["aws-web-identity", {"sub": "arn:evil:iam::123456789012:role/apps/invoices"}, "attest.claim-invalid"],
["aws-web-identity", {"jti": null}, "attest.claim-invalid"],
["aws-web-identity", {"iss": "https://another.tokens.sts.global.api.aws"}, "attest.issuer-unknown"],
["azure", {"tid": "11111111-86f1-41af-91ab-2d7cd011db47"}, "attest.claim-invalid"],
["azure", {"idtyp": "user"}, "attest.claim-invalid"],
["azure", {"scp": "User.Read"}, "attest.claim-invalid"],
["azure", {"oid": null}, "attest.claim-invalid"],
["azure", {"iss": "https://login.microsoftonline.com/72f988bf-86f1-41af-91ab-2d7cd011db47/v2.0"}, "attest.issuer-unknown"],
["gcp", {"azp": "32555940559.apps.googleusercontent.com"}, "attest.claim-invalid"],
["gcp", {"email": "mallory@gmail.com"}, "attest.claim-invalid"],
["gcp", {"sub": "ci@project.iam.gserviceaccount.com"}, "attest.claim-invalid"],
["generic-oidc", {"sub": 7}, "attest.claim-invalid"],
["generic-oidc", {"sub": true}, "attest.claim-invalid"],
["generic-oidc", {"sub": null}, "attest.claim-invalid"],
["generic-oidc", {"sub": "a\u0000b"}, "attest.claim-invalid"],
["github", {"event_name": "pull_request_target"}, "attest.refused"],
["github", {"repository_id": "74 "}, "attest.claim-invalid"],
["github", {"repository_id": ["74"]}, "attest.claim-invalid"],
["github", {"repository_owner_id": null}, "attest.claim-invalid"],
["github", {"repository": "evil/app"}, "attest.claim-invalid"],
["github", {"jti": null}, "attest.claim-invalid"],
["gitlab", {"ref_protected": "yes"}, "attest.claim-invalid"],
["gitlab", {"project_id": "g/app"}, "attest.claim-invalid"],
["id-jag", {"client_id": null}, "attest.claim-invalid"],
["id-jag", {"jti": null}, "attest.claim-invalid"],
["id-jag", {"resource": ["a", "b"]}, "attest.claim-invalid"],
["id-jag", {"exp": null}, "attest.claim-invalid"],
["kubernetes", {"exp": null}, "attest.claim-invalid"],
["kubernetes", {"sub": "system:serviceaccount:kube-system:agent"}, "attest.claim-invalid"],
["kubernetes", {"kubernetes.io": {"namespace": "apps", "serviceaccount": {"name": "agent"}}}, "attest.claim-invalid"],
["spiffe-jwt", {"sub": "spiffe://globex.example/agent/1"}, "attest.issuer-unknown"],
["spiffe-jwt", {"sub": "spiffe://acme.example/../agent"}, "attest.claim-invalid"],
["spiffe-jwt", {"sub": "spiffe://acme.example"}, "attest.claim-invalid"]
]"#;

#[tokio::test]
async fn what_only_looks_like_a_vendors_token_is_refused() {
    let cases: Vec<(String, Value, String)> = serde_json::from_str(LOOK_ALIKES).unwrap();
    for (method, change, code) in cases {
        let answer = verified(Method::parse(&method).unwrap(), change.clone()).await;
        assert_eq!(answer.unwrap_err().code(), code, "{method} {change}");
    }
}

#[tokio::test]
async fn an_e_mail_that_was_given_again_is_another_workload() {
    for (method, id, email) in [
        (Method::Gcp, "sub", "email"),
        (Method::Gitlab, "project_id", "user_email"),
    ] {
        let first = verified(method, json!({})).await.unwrap();
        let second = verified(method, json!({id: "99", "azp": "99"})).await.unwrap();
        assert_eq!(first.attributes[email], second.attributes[email], "{method}");
        assert_ne!(first.attributes[id], second.attributes[id], "{method}");
        // Nothing that a rule may lean on is the same: it pins the id, and cannot name the address.
        let attestor = bailiwick_attest::attestors().unwrap();
        let attestor = attestor
            .iter()
            .find(|attestor| attestor.method == method)
            .unwrap();
        assert!(attestor.pins.iter().any(|pin| pin == id));
        assert_eq!(attestor.attribute(email).unwrap().kind, AttributeKind::Name);
    }
}
