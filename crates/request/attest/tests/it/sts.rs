//! Whoever shows a signed request is nobody yet: how many are sent on at once for a tenant has an end.

use std::sync::Arc;
use std::time::Duration;

use bailiwick_attest::{AttestError, IssuerProfile, KeyPlace, SignedRequest, StsAttester};
use bailiwick_base::{TenantId, Time};
use bailiwick_credential::trust::Method;
use bailiwick_outbound::{AddressRule, Dialer, LaneConfig, SendConfig, Sender};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

const AUDIENCE: &str = "https://bailiwick.example/t/acme";

fn request() -> SignedRequest {
    let scope = "Credential=AKIAIOSFODNN7EXAMPLE/20261122/us-east-1/sts/aws4_request";
    let signed = "SignedHeaders=host;x-amz-date;x-bailiwick-audience";
    let signature = "0".repeat(64);
    let evidence = json!({
        "url": "https://sts.amazonaws.com/",
        "body": "Action=GetCallerIdentity&Version=2011-06-15",
        "headers": {
            "host": "sts.amazonaws.com",
            "x-amz-date": "20261122T064500Z",
            "x-bailiwick-audience": AUDIENCE,
            "authorization": format!("AWS4-HMAC-SHA256 {scope}, {signed}, Signature={signature}"),
        },
    });
    let text = URL_SAFE_NO_PAD.encode(evidence.to_string());
    let now = Time::parse("2026-11-22T06:46:00Z").unwrap();
    SignedRequest::parse(&text, AUDIENCE, now).unwrap()
}

#[tokio::test]
async fn a_tenant_whose_share_is_taken_has_nothing_more_sent_to_sts() {
    let aws = bailiwick_attest::attestors().unwrap();
    let aws = aws.into_iter().find(|a| a.method == Method::Aws).unwrap();
    // A share of nothing is one that is always taken; nothing is dialled.
    let taken = LaneConfig {
        each_max: 0,
        wait_max: Duration::from_millis(5),
        ..LaneConfig::default()
    };
    let sender = Sender::new(Dialer::of_system(), SendConfig::default());
    let sts = StsAttester::new(sender, Arc::new(aws), taken);
    let issuer = IssuerProfile {
        tenant: TenantId::parse("acme").unwrap(),
        method: Method::Aws,
        issuer: "https://sts.amazonaws.com".to_owned(),
        keys: KeyPlace::Discovery,
        addresses: AddressRule::default(),
        danger_plaintext: false,
    };
    let error = sts.verify(&request(), &issuer).await.err().unwrap();
    assert!(
        matches!(&error, AttestError::Keys(error) if error.code() == "outbound.busy"),
        "{error}"
    );
}
