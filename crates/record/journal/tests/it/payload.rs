use std::sync::Arc;

use bailiwick_base::{
    DecisionId, Digest, Epoch, IdentityId, ServerName, StatePos, TaskId, Time, TokenId, canonical,
};
use bailiwick_credential::{Claims, ScopeSet};
use bailiwick_decide::{
    ApprovalDemand, Arguments, Bearer, Call, Decision, DenyReason, Door, Effect, ItemKind, Named,
    NamedEntity, Principal, Reasons, Target,
};
use bailiwick_journal::payload::{self, POLICIES_MAX, TEXT_SHOWN_MAX};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::rig::tenant;

fn uuid(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn identity(n: u128) -> IdentityId {
    IdentityId::from_parts(tenant("acme"), uuid(n))
}

fn task() -> TaskId {
    TaskId::from_parts(tenant("acme"), uuid(20))
}

fn dec() -> DecisionId {
    DecisionId::from_parts(tenant("acme"), uuid(1))
}

fn claims(subject: &str, act: &[u128]) -> Claims {
    Claims {
        issuer: "https://h.invalid/t/acme".to_owned(),
        subject: subject.to_owned(),
        audience: "https://h.invalid/t/acme/mcp".to_owned(),
        client: "cli_x".to_owned(),
        issued_at: Time::from_secs(1),
        expires_at: Time::from_secs(2),
        token: TokenId::from_parts(tenant("acme"), uuid(30)),
        tenant: tenant("acme"),
        nhi: identity(10),
        task: task(),
        epoch: Epoch(3),
        scopes: ScopeSet::default(),
        act: act.iter().map(|n| identity(*n)).collect(),
        may_act: Vec::new(),
        lineage: Vec::new(),
        confirmation: None,
        composition: None,
    }
}

fn bearer(subject: &str, act: &[u128]) -> Principal {
    Principal::Bearer(Bearer {
        claims: Arc::new(claims(subject, act)),
        token_hash: Digest::of(b"token"),
    })
}

fn call(principal: Principal, target: Target) -> Call {
    let arguments = Arguments {
        values: Map::new(),
        digest: Some(Digest::of(b"{}")),
    };
    Call {
        id: dec(),
        door: Door::Gateway,
        principal,
        target,
        arguments,
        rates: smallvec::SmallVec::new(),
    }
}

fn mcp(method: &str, item: Option<(ItemKind, String)>) -> Target {
    Target::Mcp {
        server: ServerName::parse("filesystem").unwrap(),
        method: method.to_owned(),
        item,
    }
}

fn decided(effect: Effect, policies: usize) -> Decision {
    let reasons = Reasons {
        policies: (0..policies).map(|n| format!("policy-{n:03}")).collect(),
        text: "a sentence that may name arguments".to_owned(),
    };
    Decision {
        id: dec(),
        effect,
        reasons,
        obligations: smallvec::SmallVec::new(),
        epoch: Epoch(3),
        state_pos: StatePos(9),
        age_ms: 7,
    }
}

fn object(bytes: &[u8]) -> Value {
    let value: Value = serde_json::from_slice(bytes).unwrap();
    assert_eq!(
        canonical::to_vec(&value).unwrap(),
        bytes,
        "not canonical: {value}"
    );
    value
}

#[test]
fn a_call_through_the_gateway() {
    let target = mcp("tools/call", Some((ItemKind::Tool, "read_text_file".to_owned())));
    let bytes = payload::decision(
        &call(bearer("idn_sub", &[11, 12]), target),
        &decided(Effect::Permit, 2),
    );
    let expected = json!({
        "act": [identity(11).to_string(), identity(12).to_string()],
        "action": "tools/call",
        "age_ms": 7,
        "argument_digest": Digest::of(b"{}").to_string(),
        "client": "cli_x",
        "decision": dec().to_string(),
        "door": "gateway",
        "effect": "permit",
        "jti": TokenId::from_parts(tenant("acme"), uuid(30)).to_string(),
        "nhi": identity(10).to_string(),
        "policies": ["policy-000", "policy-001"],
        "resource": {"id": "read_text_file", "type": "tool"},
        "server": "filesystem",
        "sub": "idn_sub",
        "task": task().to_string(),
        "tenant": "acme",
        "token_hash": Digest::of(b"token").to_string(),
    });
    assert_eq!(object(&bytes), expected);
    assert!(
        !String::from_utf8(bytes).unwrap().contains("a sentence"),
        "arguments may stand in the text"
    );
}

#[test]
fn denials_name_their_reason_and_holds_are_no_permits() {
    let listing = || call(bearer("idn_sub", &[]), mcp("tools/list", None));
    let denied = object(&payload::decision(
        &listing(),
        &decided(Effect::Deny(DenyReason::NoGrant), 0),
    ));
    assert_eq!(
        (&denied["effect"], &denied["reason"]),
        (&json!("deny"), &json!("grant.none"))
    );
    assert_eq!((denied.get("act"), denied.get("resource")), (None, None));
    let hold = Effect::Hold(ApprovalDemand {
        policy: "p".to_owned(),
    });
    let held = object(&payload::decision(&listing(), &decided(hold, 1)));
    assert_eq!((&held["effect"], held.get("reason")), (&json!("hold"), None));
}

#[test]
fn a_permitted_issue_is_the_issue_itself() {
    let tokens: Vec<_> = (0..64)
        .map(|n| TokenId::from_parts(tenant("acme"), uuid(100 + n)))
        .collect();
    let scopes = ["filesystem:read_text_file", "mail:*"]
        .map(str::to_owned)
        .into_iter()
        .collect();
    let claims = Arc::new(Claims {
        scopes,
        composition: Some(bailiwick_base::Digest([0; 32])),
        ..claims("idn_sub", &[12])
    });
    let target = Target::Issue {
        claims,
        tokens: tokens.clone(),
        subject: None,
        evidence: Some(bailiwick_base::Digest([1; 32])),
    };
    let principal = Principal::Identity {
        id: identity(10),
        task: None,
    };
    let call = Call {
        door: Door::Issue,
        ..call(principal, target)
    };
    let permit = decided(Effect::Permit, 0);
    let issued = object(&payload::decision(&call, &permit));
    let expected = json!({
        "act": [identity(12).to_string()],
        "audience": "https://h.invalid/t/acme/mcp",
        "client": "cli_x",
        "composition": "A".repeat(43),
        "evidence": "01".repeat(32),
        "expires_at": 2,
        "jti": tokens.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "nhi": identity(10).to_string(),
        "scope": ["filesystem:read_text_file", "mail:*"],
        "sub": "idn_sub",
    });
    assert_eq!(
        (&issued["issue"], &issued["action"]),
        (&expected, &json!("token.issue"))
    );
    assert_eq!(
        (&issued["task"], &issued["nhi"]),
        (&json!(task().to_string()), &json!(identity(10).to_string()))
    );
    assert_eq!(
        (issued.get("jti"), issued.get("sub")),
        (None, None),
        "no token was shown"
    );
    let denied = decided(Effect::Deny(DenyReason::TaskClosed), 0);
    assert_eq!(payload::kind(&call, &permit).as_str(), "token.issue");
    assert_eq!(payload::kind(&call, &denied).as_str(), "decision");
}

#[test]
fn a_call_of_an_outside_enforcement_point() {
    let entity = |kind: &str, id: &str| NamedEntity {
        kind: kind.to_owned(),
        id: id.to_owned(),
        properties: json!({"secret": "hidden"}).as_object().unwrap().clone(),
    };
    let named = Principal::Named(Named {
        subject: entity("user", "alice"),
        task: None,
        pep: identity(40),
    });
    let target = Target::Named {
        action: "can_read".to_owned(),
        action_properties: Map::new(),
        resource: entity("record", "r-1"),
        context: Map::new(),
    };
    let bytes = payload::decision(&call(named, target), &decided(Effect::Permit, 0));
    let evaluated = object(&bytes);
    assert_eq!(evaluated["subject"], json!({"id": "alice", "type": "user"}));
    assert_eq!(evaluated["resource"], json!({"id": "r-1", "type": "record"}));
    assert_eq!(evaluated["pep"], json!(identity(40).to_string()));
    assert!(!String::from_utf8(bytes).unwrap().contains("hidden"));
}

#[test]
fn long_text_becomes_a_digest_so_that_every_call_has_a_record() {
    let long = "x".repeat(1 << 20);
    let target = mcp("resources/read", Some((ItemKind::Resource, long.clone())));
    let bytes = payload::decision(&call(bearer(&long, &[]), target), &decided(Effect::Permit, 500));
    assert!(bytes.len() < 4096, "{}", bytes.len());
    let value = object(&bytes);
    let digest = json!({"bytes": 1 << 20, "sha256": Digest::of(long.as_bytes()).to_string()});
    assert_eq!((&value["resource"]["id"], &value["sub"]), (&digest, &digest));
    assert_eq!(value["policies"].as_array().unwrap().len(), POLICIES_MAX);
    assert_eq!(value["policies_left_out"], json!(500 - POLICIES_MAX));
}

#[test]
fn an_outcome() {
    let outcome = object(&payload::outcome(&dec(), "cancelled"));
    assert_eq!(
        outcome,
        json!({"decision": dec().to_string(), "outcome": "cancelled", "tenant": "acme"})
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_of_a_caller_gives_canonical_bytes(
        method in any::<String>(),
        item in any::<String>(),
        subject in any::<String>(),
        control in "[\\x00-\\x1f\"\\\\\\x7f-\\xa0]{0,20}",
    ) {
        let target = mcp(&method, Some((ItemKind::Prompt, item.clone() + &control)));
        let bytes = payload::decision(&call(bearer(&subject, &[]), target), &decided(Effect::Permit, 1));
        let value: Value = serde_json::from_slice(&bytes).unwrap();
        prop_assert_eq!(&canonical::to_vec(&value).unwrap(), &bytes);
        prop_assert!(item.len() + control.len() > TEXT_SHOWN_MAX || value["resource"]["id"] == json!(item + &control));
    }
}

#[test]
fn a_request_through_the_egress_proxy_names_its_method_and_its_place() {
    let to = |server: Option<&str>| Target::Http {
        server: server.map(|name| ServerName::parse(name).unwrap()),
        method: "GET".to_owned(),
        place: "api.example.com/v1/invoices".to_owned(),
    };
    let recorded = |target: Target, effect| {
        let request = Call {
            door: Door::Egress,
            ..call(bearer("idn_sub", &[]), target)
        };
        object(&payload::decision(&request, &decided(effect, 1)))
    };
    let known = recorded(to(Some("billing")), Effect::Permit);
    assert_eq!(
        (
            &known["action"],
            &known["door"],
            &known["server"],
            &known["resource"]
        ),
        (
            &json!("GET"),
            &json!("egress"),
            &json!("billing"),
            &json!({"id": "api.example.com/v1/invoices", "type": "http"})
        )
    );
    let unknown = recorded(to(None), Effect::Deny(DenyReason::ServerUnknown));
    assert_eq!(
        (unknown.get("server"), &unknown["reason"]),
        (None, &json!("server.unknown"))
    );
}
