//! A token says what its identity is made of: it lives as long as that is what is declared.

use std::sync::Arc;

use bailiwick_base::{Composition, Digest};
use bailiwick_credential::Claims;
use bailiwick_decide::{Call, DenyReason, Door, Effect, Fact, Principal, Snapshot, Target, decide};
use bailiwick_inventory::Composed;
use serde_json::json;

use crate::world::*;

const READ: &str = "filesystem:read_text_file";

fn of(prompt: u8) -> Composition {
    Composition::from_json(&json!({"prompt": Digest::of(&[prompt]).to_base64url()})).unwrap()
}

/// Identity 1 with this composition.
fn world_of(present: Option<u8>) -> Snapshot {
    let mut identity = identity(1);
    identity.composition = present.map(|n| Composed {
        present: of(n),
        former: None,
        since: at(-10),
    });
    world(&[READ])
        .apply([Fact::Identity(Arc::new(identity))])
        .unwrap()
}

fn saying(stated: Option<u8>) -> Claims {
    let composition = stated.map(|n| of(n).digest());
    Claims {
        composition,
        ..claims(&[READ])
    }
}

fn reason(world: &Snapshot, call: &Call) -> Option<DenyReason> {
    match decide(world, call, NOW).effect {
        Effect::Deny(reason) => Some(reason),
        _ => None,
    }
}

#[test]
fn a_token_of_another_composition_than_the_declared_one_is_dead() {
    for (declared, stated, expected) in [
        (None, None, None),
        (Some(1), Some(1), None),
        // Issued before anything was declared: it ends by itself and is not renewed.
        (Some(1), None, None),
        (Some(2), Some(1), Some(DenyReason::CompositionChanged)),
        (None, Some(1), Some(DenyReason::CompositionChanged)),
    ] {
        let call = call_with(saying(stated), tool("read_text_file"), arguments(json!({})));
        assert_eq!(
            reason(&world_of(declared), &call),
            expected,
            "{declared:?} {stated:?}"
        );
    }
    assert!(DenyReason::CompositionChanged.kills_credential());
    assert!(!DenyReason::CompositionMissing.kills_credential());
}

#[test]
fn a_new_token_says_what_is_declared() {
    use DenyReason::{CompositionChanged, CompositionMissing};
    let issue = |wanted: Option<u8>, shown: Option<Option<u8>>| {
        let wanted = saying(wanted);
        let target = Target::Issue {
            tokens: vec![wanted.token.clone()],
            claims: Arc::new(wanted),
            subject: None,
            evidence: None,
        };
        let held = saying(shown.flatten());
        let mut call = call_with(held, target, arguments(json!({})));
        if shown.is_none() {
            let (id, task) = (identity_id(1), Some(task_id(1)));
            call.principal = Principal::Identity { id, task };
        }
        call.door = Door::Issue;
        call
    };
    for (declared, wanted, shown, expected) in [
        // A client, by its assertion.
        (None, None, None, None),
        (Some(1), Some(1), None, None),
        (Some(1), None, None, Some(CompositionMissing)),
        (Some(1), Some(2), None, Some(CompositionChanged)),
        (None, Some(1), None, Some(CompositionChanged)),
        // A holder, by the token it renews.
        (Some(1), Some(1), Some(Some(1)), None),
        (Some(2), Some(1), Some(Some(1)), Some(CompositionChanged)),
        (Some(1), None, Some(None), Some(CompositionChanged)),
        (Some(2), Some(2), Some(Some(1)), Some(CompositionChanged)),
    ] {
        let found = reason(&world_of(declared), &issue(wanted, shown));
        assert_eq!(found, expected, "{declared:?} {wanted:?} {shown:?}");
    }
}
