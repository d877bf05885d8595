use bailiwick_base::{SigningAlgorithm, Time};
use bailiwick_credential::{
    Client, ClientProof, ClientRegistration, Limits, Refusal, TaskPlan, TaskState, UpstreamSecretPlan,
    add_upstream_credential, close_task, open_task, register_client,
};

use crate::{at, id, plan, task};

fn refused(change: impl FnOnce(&mut TaskPlan)) -> &'static str {
    let mut plan = plan();
    change(&mut plan);
    open_task(plan, &Limits::default(), at(0)).unwrap_err().code()
}

#[test]
fn a_task_opens_with_a_window_a_purpose_and_a_requester() {
    let opened = open_task(plan(), &Limits::default(), at(0)).unwrap();
    assert_eq!((opened.command, opened.before), ("task.open", None));
    assert_eq!(opened.after.state, TaskState::Open);
    assert_eq!(
        (opened.after.opens_at, opened.after.closes_at),
        (at(0), at(3_600))
    );

    assert_eq!(refused(|p| p.purpose = " \t ".to_owned()), "task.purpose-missing");
    assert_eq!(
        refused(|p| p.purpose = "a\u{7}b".to_owned()),
        "text.control-character"
    );
    assert_eq!(refused(|p| p.purpose = "x".repeat(257)), "text.too-long");
    assert_eq!(
        refused(|p| p.requested_by = String::new()),
        "task.requester-missing"
    );
    assert_eq!(refused(|p| p.closes_at = at(0)), "task.window-empty");
    assert_eq!(
        refused(|p| (p.opens_at, p.closes_at) = (Some(at(-20)), at(-10))),
        "credential.expiry-past"
    );
    assert_eq!(
        refused(|p| p.closes_at = at(7 * 86_400 + 1)),
        "task.window-too-long"
    );
    assert_eq!(refused(|p| p.identity_expires_at = at(-5)), "identity.expired");
    assert_eq!(
        refused(|p| p.identity_expires_at = at(3_599)),
        "credential.expiry-too-far"
    );
    assert_eq!(
        refused(|p| p.identity = id("globex", 2)),
        "credential.other-owner"
    );
}

#[test]
fn a_closed_task_stays_closed() {
    let open = task();
    assert_eq!(
        close_task(open.clone(), " ", at(5)).unwrap_err(),
        Refusal::ReasonMissing
    );
    let closed = close_task(open.clone(), "done", at(5)).unwrap();
    assert_eq!(closed.before, Some(open));
    assert_eq!(
        closed.after.state,
        TaskState::Closed {
            at: at(5),
            reason: "done".to_owned()
        }
    );
    assert_eq!(closed.reason.as_deref(), Some("done"));
    assert_eq!(
        close_task(closed.after, "again", at(6)).unwrap_err(),
        Refusal::TaskClosed(at(5))
    );
}

const ED25519: &str =
    r#"{"kid":"mine","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kty":"OKP","crv":"Ed25519"}"#;

fn register(change: impl FnOnce(&mut ClientRegistration)) -> Result<Client, &'static str> {
    let mut wanted = ClientRegistration {
        id: id("acme", 3),
        identity: id("acme", 2),
        identity_expires_at: at(1_000),
        jwk: ED25519.into(),
        algorithm: None,
        proof: ClientProof::Dpop,
        certificate: None,
        expires_at: at(900),
    };
    change(&mut wanted);
    register_client(wanted, &Limits::default(), at(0))
        .map(|t| t.after)
        .map_err(|r| r.code())
}

#[test]
fn a_client_is_registered_with_one_public_key() {
    let client = register(|_| {}).unwrap();
    assert_eq!(client.algorithm, SigningAlgorithm::EdDsa);
    let canonical = r#"{"crv":"Ed25519","kty":"OKP","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    assert_eq!(client.jwk, canonical.as_bytes());
    assert!(register(|w| w.algorithm = Some(SigningAlgorithm::EdDsa)).is_ok());
    assert_eq!(
        register(|w| w.algorithm = Some(SigningAlgorithm::Rs256)),
        Err("client.algorithm")
    );
    assert_eq!(
        register(|w| w.jwk = ED25519.replace("kid", "d").into()),
        Err("client.key-refused")
    );
    assert_eq!(
        register(|w| w.jwk = br#"{"kty":"oct","k":"AA"}"#.to_vec()),
        Err("client.key-refused")
    );
    assert_eq!(
        register(|w| w.jwk = b"nonsense".to_vec()),
        Err("client.key-refused")
    );
    assert_eq!(register(|w| w.expires_at = at(0)), Err("credential.expiry-past"));
    assert_eq!(
        register(|w| w.expires_at = at(1_001)),
        Err("credential.expiry-too-far")
    );
    assert_eq!(
        register(|w| w.identity = id("globex", 2)),
        Err("credential.other-owner")
    );
}

#[test]
fn an_upstream_credential_always_ends() {
    let add = |expires_at: Option<Time>| {
        let plan = UpstreamSecretPlan {
            id: id("acme", 4),
            identity: id("acme", 2),
            fingerprint: "f".to_owned(),
            expires_at,
        };
        add_upstream_credential(plan, &Limits::default(), at(0)).map(|t| t.after.expires_at)
    };
    assert_eq!(add(None), Ok(at(366 * 86_400)));
    assert_eq!(add(Some(at(60))), Ok(at(60)));
    assert_eq!(add(Some(at(0))).unwrap_err().code(), "credential.expiry-past");
    assert_eq!(
        add(Some(at(366 * 86_400 + 1))).unwrap_err().code(),
        "credential.expiry-too-far"
    );
}
