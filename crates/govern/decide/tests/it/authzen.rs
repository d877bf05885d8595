//! AuthZEN subjects and resources, the scenario of the certification among them.

use bailiwick_base::{DecisionId, Epoch};
use bailiwick_decide::policy::validate;
use bailiwick_decide::{
    Arguments, Call, DenyReason, Door, Effect, Fact, Mark, MarkEffect, MarkScope, Named, NamedEntity,
    Principal, Snapshot, Target, decide,
};
use serde_json::{Map, Value, json};
use smallvec::SmallVec;
use uuid::Uuid;

use crate::world::*;

/// The tenant policies of the AuthZEN certification scenario: alice and bob (an admin), an active and an
/// archived record, reading, writing and soft deleting.
const CERTIFICATION: &str =
    include_str!("../../../../../content/policies/examples/authzen-certification.cedar");

fn properties(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

fn entity(kind: &str, id: &str, value: Value) -> NamedEntity {
    NamedEntity {
        kind: kind.to_owned(),
        id: id.to_owned(),
        properties: properties(value),
    }
}

fn asked(subject: NamedEntity, action: &str, action_properties: Value, resource: NamedEntity) -> Call {
    Call {
        id: DecisionId::from_parts(tenant_id(), Uuid::from_u128(500)),
        door: Door::Authzen,
        principal: Principal::Named(Named {
            subject,
            task: None,
            pep: identity_id(2),
        }),
        target: Target::Named {
            action: action.to_owned(),
            action_properties: properties(action_properties),
            resource,
            context: properties(json!({"time": "2026-11-21T20:00:00Z"})),
        },
        arguments: Arguments::default(),
        rates: SmallVec::new(),
    }
}

fn with(policies: &str) -> Snapshot {
    validate(policies).unwrap();
    world(&["filesystem:*"])
        .apply([Fact::Policies(tenant_id(), policies.into())])
        .unwrap()
}

#[test]
fn the_certification_scenario() {
    let world = with(CERTIFICATION);
    let alice = || entity("user", "alice", json!({}));
    let bob = || entity("user", "bob", json!({"role": "admin"}));
    let (active, archived) = (json!({"status": "active"}), json!({"status": "archived"}));
    let record = |id: &str, status: &Value| entity("record", id, status.clone());
    let admin = entity("user", "alice", json!({"role": "admin"}));
    for (n, (subject, action, properties, resource, wanted)) in [
        (alice(), "read", json!({}), record("record-1", &active), true),
        (alice(), "write", json!({}), record("record-1", &active), true),
        (bob(), "read", json!({}), record("record-1", &active), true),
        (bob(), "write", json!({}), record("record-1", &active), false),
        (alice(), "write", json!({}), record("record-2", &archived), false),
        (admin, "write", json!({}), record("record-2", &archived), true),
        (
            alice(),
            "delete",
            json!({"soft": true}),
            record("record-1", &active),
            true,
        ),
        (
            alice(),
            "delete",
            json!({"soft": false}),
            record("record-1", &active),
            false,
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let decision = decide(&world, &asked(subject, action, properties, resource), NOW);
        assert_eq!(
            decision.effect == Effect::Permit,
            wanted,
            "decision {}: {}",
            n + 1,
            decision.reasons.text
        );
    }
}

#[test]
fn the_core_level_needs_no_properties() {
    let world = with(CERTIFICATION);
    let ask = |subject: &str, action: &str| {
        let call = asked(
            entity("user", subject, json!({})),
            action,
            json!({}),
            entity("record", "record-1", json!({})),
        );
        decide(&world, &call, NOW).effect == Effect::Permit
    };
    assert!(ask("alice", "read") && ask("alice", "write") && ask("bob", "read"));
    assert!(!ask("bob", "write") && !ask("carol", "read") && !ask("alice", "delete"));
}

#[test]
fn properties_enter_only_as_declared() {
    let policy = |declared: &str, reads: &str| {
        format!(
            "{declared} permit (principal is user, action == Action::\"write\", resource is record)
             when {{ principal has {reads} && principal.{reads} == \"admin\" }};"
        )
    };
    let call = || {
        asked(
            entity(
                "user",
                "alice",
                json!({"role": "admin", "untrusted_role": "admin"}),
            ),
            "write",
            json!({}),
            entity("record", "r", json!({})),
        )
    };
    permitted(
        &with(&policy("@supplied(\"subject.role: String\")", "role")),
        &call(),
    );
    permitted(
        &with(&policy(
            "@supplied(\"subject.untrusted_role: String\")",
            "untrusted_role",
        )),
        &call(),
    );
    assert!(
        validate(&policy("", "role")).is_err(),
        "what is not declared is not in the schema"
    );
    let mine = format!(
        "@supplied(\"subject.role: String\") @supplied_by(\"{}\")",
        identity_id(2)
    );
    permitted(&with(&policy(&mine, "role")), &call());
    let other = format!(
        "@supplied(\"subject.role: String\") @supplied_by(\"{}\")",
        identity_id(1)
    );
    denied(&with(&policy(&other, "role")), &call(), DenyReason::NoGrant);
    let mut wrong = call();
    if let Principal::Named(named) = &mut wrong.principal {
        named
            .subject
            .properties
            .insert("role".to_owned(), json!(["admin"]));
    }
    denied(
        &with(&policy("@supplied(\"subject.role: String\")", "role")),
        &wrong,
        DenyReason::NoGrant,
    );
}

#[test]
fn no_subject_or_resource_passes_itself_off_as_ours() {
    let everything = r#"permit (principal is user, action in [Action::"read"], resource is record);
        permit (principal is user, action == Action::"read", resource);"#;
    let world = with(everything);
    let ask = |kind: &str, resource: &str| {
        asked(
            entity(kind, "x", json!({})),
            "read",
            json!({}),
            entity(resource, "x", json!({})),
        )
    };
    permitted(&world, &ask("user", "record"));
    for kind in [
        "Team",
        "tool",
        "SERVER",
        "Action",
        "my-type",
        "",
        "user::",
        "if",
        "__cedar::String",
    ] {
        denied(&world, &ask(kind, "record"), DenyReason::NoGrant);
    }
    for kind in ["Identity", "identity", "IDENTITY"] {
        denied(&world, &ask(kind, "record"), DenyReason::IdentityUnknown);
    }
    for kind in ["Team", "task", "Action", "my-type", "tool"] {
        denied(&world, &ask("user", kind), DenyReason::NoGrant);
    }
}

/// An enforcement point outside asks about a tool call of one of our identities under its task: the same
/// answer as at the gateway.
#[test]
fn an_identity_of_ours_is_judged_like_at_the_gateway() {
    let world = world(&[r#"filesystem:read_text_file(path under "/srv")"#]);
    let ask = |id: &str, task: Option<u128>, path: &str| {
        let mut call = asked(
            entity("identity", id, json!({"role": "admin"})),
            "tools/call",
            json!({}),
            entity("tool", "filesystem/read_text_file", json!({})),
        );
        if let Target::Named { context, .. } = &mut call.target {
            context.insert("args".to_owned(), json!({"path": path}));
        }
        if let Principal::Named(named) = &mut call.principal {
            named.task = task.map(task_id);
        }
        call
    };
    let id = identity_id(1).to_string();
    permitted(&world, &ask(&id, Some(1), "/srv/a"));
    denied(
        &world,
        &ask(&id, Some(1), "/etc/a"),
        DenyReason::ArgumentOutOfScope,
    );
    denied(&world, &ask(&id, None, "/srv/a"), DenyReason::NoGrant);
    denied(&world, &ask(&id, Some(2), "/srv/a"), DenyReason::TaskUnknown);
    denied(
        &world,
        &ask(&identity_id(2).to_string(), Some(1), "/srv/a"),
        DenyReason::TaskUnknown,
    );
    denied(
        &world,
        &ask(&identity_id(50).to_string(), None, "/srv/a"),
        DenyReason::IdentityUnknown,
    );
    let mark = Mark {
        scope: MarkScope::Identity(identity_id(1)),
        effect: MarkEffect::Suspend,
        epoch: Epoch(5),
    };
    denied(
        &world.with_mark(&mark),
        &ask(&id, Some(1), "/srv/a"),
        DenyReason::IdentitySuspended,
    );
}

#[test]
fn a_dead_enforcement_point_is_not_answered() {
    let world = with(CERTIFICATION);
    let call = asked(
        entity("user", "alice", json!({})),
        "read",
        json!({}),
        entity("record", "record-1", json!({})),
    );
    permitted(&world, &call);
    let scope = MarkScope::Identity(identity_id(2));
    let mark = Mark {
        scope,
        effect: MarkEffect::Kill,
        epoch: Epoch(6),
    };
    denied(&world.with_mark(&mark), &call, DenyReason::IdentitySuspended);
    let mut retired = identity(2);
    retired.state = bailiwick_inventory::State::Retired {
        reason: "test".to_owned(),
    };
    let gone = world
        .apply([Fact::Identity(std::sync::Arc::new(retired))])
        .unwrap();
    denied(&gone, &call, DenyReason::IdentityRevoked);
}
