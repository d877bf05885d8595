//! Requests to destinations: decided like tools of a server.

use bailiwick_decide::{Arguments, Call, DenyReason, Door, Effect, PinState, Snapshot, Target, decide};
use serde_json::json;

use crate::world::{NOW, call_with, claims, facts, server, server_name};

fn snapshot(scopes: &[&str]) -> Snapshot {
    let mut facts = facts(scopes);
    facts.push(server(&[("GET", PinState::Pinned), ("POST", PinState::Pinned)]));
    Snapshot::empty().apply(facts).unwrap()
}

fn asked(scopes: &[&str], known: bool, method: &str, path: &str) -> Effect {
    let target = Target::Http {
        server: known.then(server_name),
        method: method.to_owned(),
        place: format!("api.example.com{path}"),
    };
    let values = json!({"host": "api.example.com", "path": path, "query": {"q": "x"}});
    let arguments = Arguments {
        values: values.as_object().unwrap().clone(),
        digest: None,
    };
    let call = Call {
        door: Door::Egress,
        ..call_with(claims(scopes), target, arguments)
    };
    decide(&snapshot(scopes), &call, NOW).effect
}

#[test]
fn a_method_of_a_destination_is_decided_like_a_tool() {
    let scopes = [r#"filesystem:GET(path under "/v1", query.q = "x")"#];
    let denied = |reason| Effect::Deny(reason);
    assert_eq!(asked(&scopes, true, "GET", "/v1/invoices"), Effect::Permit);
    for path in ["/admin", "/v1/../admin", "/v10"] {
        let effect = asked(&scopes, true, "GET", path);
        assert_eq!(effect, denied(DenyReason::ArgumentOutOfScope), "{path}");
    }
    assert_eq!(
        asked(&scopes, true, "POST", "/v1"),
        denied(DenyReason::ScopeMissing)
    );
    assert_eq!(
        asked(&["filesystem:*"], true, "CONNECT", ""),
        denied(DenyReason::ToolNotPinned),
        "a tunnel is there only where it was added"
    );
    assert_eq!(
        asked(&["filesystem:*"], false, "GET", "/v1"),
        denied(DenyReason::ServerUnknown)
    );
}
