//! The order of the steps and the reason each of them gives.

use std::sync::Arc;

use bailiwick_base::{Epoch, StatePos, TenantId};
use bailiwick_credential::{TASK_AFTERLIFE, TaskState};
use bailiwick_decide::{
    Call, DenyReason, Door, Effect, Fact, ItemKind, Mark, MarkEffect, MarkScope, Principal, RateReading,
    Snapshot, Target, decide,
};
use bailiwick_inventory::{State, TenantState};
use serde_json::{Map, Value, json};

use crate::world::*;

const READ: &str = r#"filesystem:read_text_file(path under "/srv/invoices")"#;

fn read_call() -> Call {
    tool_call(
        &[READ],
        "read_text_file",
        json!({"path": "/srv/invoices/2026/a.txt"}),
    )
}

fn with(facts: impl IntoIterator<Item = Fact>) -> Snapshot {
    world(&[READ]).apply(facts).unwrap()
}

fn with_claims(change: impl FnOnce(&mut bailiwick_credential::Claims)) -> Call {
    let mut claims = claims(&[READ]);
    change(&mut claims);
    call_with(
        claims,
        tool("read_text_file"),
        arguments(json!({"path": "/srv/invoices/a"})),
    )
}

#[test]
fn a_call_within_its_grant_is_permitted_and_names_its_policy() {
    let decision = decide(&world(&[READ]), &read_call(), NOW);
    assert_eq!(decision.effect, Effect::Permit);
    assert_eq!(
        decision.reasons.policies.to_vec(),
        vec![format!("{}#0", grant(1, 1, 1, &[]).id)]
    );
    assert_eq!((decision.epoch, decision.state_pos), (Epoch(5), StatePos(7)));
}

#[test]
fn an_empty_snapshot_denies() {
    denied(&Snapshot::empty(), &read_call(), DenyReason::TenantUnavailable);
}

#[test]
fn a_closed_tenant_denies() {
    denied(
        &with([tenant(TenantState::Closed)]),
        &read_call(),
        DenyReason::TenantUnavailable,
    );
}

#[test]
fn the_token_is_judged_by_its_times() {
    let world = world(&[READ]);
    denied(
        &world,
        &with_claims(|c| c.expires_at = NOW),
        DenyReason::TokenExpired,
    );
    denied(
        &world,
        &with_claims(|c| c.issued_at = at(6)),
        DenyReason::TokenExpired,
    );
    permitted(&world, &with_claims(|c| c.issued_at = at(5)));
}

#[test]
fn the_token_is_judged_by_its_epoch() {
    let world = with([Fact::EpochFloor(Epoch(3))]);
    permitted(&world, &with_claims(|c| c.epoch = Epoch(3)));
    denied(
        &world,
        &with_claims(|c| c.epoch = Epoch(2)),
        DenyReason::TokenEpochInvalid,
    );
    denied(
        &world,
        &with_claims(|c| c.epoch = Epoch(6)),
        DenyReason::TokenEpochInvalid,
    );
}

#[test]
fn a_token_of_another_tenant_is_refused() {
    let other = TenantId::parse("other").unwrap();
    denied(
        &world(&[READ]),
        &with_claims(|c| c.tenant = other),
        DenyReason::TenantUnavailable,
    );
}

#[test]
fn the_state_of_the_identity_decides() {
    let state = |state| {
        let mut identity = identity(1);
        identity.state = state;
        with([Fact::Identity(Arc::new(identity))])
    };
    let reason = || "test".to_owned();
    let retired = state(State::Retired { reason: reason() });
    denied(&retired, &read_call(), DenyReason::IdentityRevoked);
    let suspended = state(State::Suspended {
        was_active: true,
        reason: reason(),
    });
    denied(&suspended, &read_call(), DenyReason::IdentitySuspended);
    permitted(&state(State::Probation), &read_call());
    let mut old = identity(1);
    old.expires_at = NOW;
    denied(
        &with([Fact::Identity(Arc::new(old))]),
        &read_call(),
        DenyReason::IdentityExpired,
    );
    denied(
        &world(&[READ]),
        &with_claims(|c| c.nhi = identity_id(50)),
        DenyReason::IdentityUnknown,
    );
}

#[test]
fn a_token_dies_with_any_act_ancestor_and_with_its_subject() {
    let world = world(&[READ]);
    let chained = |ids: &[u128]| with_claims(|c| c.act = ids.iter().map(|n| identity_id(*n)).collect());
    permitted(&world, &chained(&[2]));
    denied(&world, &chained(&[2, 50]), DenyReason::ActorRevoked);
    denied(&world, &chained(&[2, 2, 2, 2, 2]), DenyReason::ActorRevoked);
    denied(
        &world,
        &with_claims(|c| c.subject = identity_id(50).to_string()),
        DenyReason::ActorRevoked,
    );
    permitted(&world, &with_claims(|c| c.subject = "a person".to_owned()));
    let mut gone = identity(2);
    gone.state = State::Suspended {
        was_active: true,
        reason: "test".to_owned(),
    };
    denied(
        &with([Fact::Identity(Arc::new(gone))]),
        &chained(&[2]),
        DenyReason::ActorRevoked,
    );
    let mark = Mark {
        scope: MarkScope::Identity(identity_id(2)),
        effect: MarkEffect::Kill,
        epoch: Epoch(6),
    };
    denied(&world.with_mark(&mark), &chained(&[2]), DenyReason::ActorRevoked);
    let in_flight = world
        .with_mark(&mark)
        .marked(&chained(&[2]))
        .map(|(reason, _)| reason);
    assert_eq!(in_flight, Some(DenyReason::ActorRevoked));
    assert_eq!(world.with_mark(&mark).marked(&chained(&[])), None);
    permitted(&world.with_mark(&mark), &chained(&[]));
}

#[test]
fn the_task_must_be_open_and_the_callers_own() {
    let world = world(&[READ]);
    denied(
        &world,
        &with_claims(|c| c.task = task_id(9)),
        DenyReason::TaskUnknown,
    );
    denied(
        &world,
        &with_claims(|c| c.nhi = identity_id(2)),
        DenyReason::TaskUnknown,
    );
    let changed = |change: &dyn Fn(&mut bailiwick_credential::Task)| {
        let mut task = task(1, 1);
        change(&mut task);
        with([Fact::Task(Arc::new(task), Arc::new(grant(1, 1, 1, &[READ])))])
    };
    let closed = changed(&|t| {
        t.state = TaskState::Closed {
            at: at(-1),
            reason: "done".to_owned(),
        }
    });
    denied(&closed, &read_call(), DenyReason::TaskClosed);
    denied(
        &changed(&|t| t.opens_at = at(1)),
        &read_call(),
        DenyReason::TaskOutsideWindow,
    );
    denied(
        &changed(&|t| t.closes_at = NOW),
        &read_call(),
        DenyReason::TaskOutsideWindow,
    );
    let mut ended = grant(1, 1, 1, &[READ]);
    ended.expires_at = NOW;
    let ended = with([Fact::Task(Arc::new(task(1, 1)), Arc::new(ended))]);
    denied(&ended, &read_call(), DenyReason::TaskOutsideWindow);
}

#[test]
fn a_task_that_is_over_is_forgotten_a_day_later_and_calls_under_it_stay_denied() {
    let day = i64::try_from(TASK_AFTERLIFE.as_secs()).unwrap();
    let mut closed = task(1, 1);
    closed.state = TaskState::Closed {
        at: NOW,
        reason: "done".to_owned(),
    };
    let world = with([Fact::Task(Arc::new(closed), Arc::new(grant(1, 1, 1, &[READ])))]);
    assert_eq!(world.forgotten(at(day)), Vec::new());
    let forgotten = world.forgotten(at(day + 1));
    assert_eq!(forgotten, vec![task_id(1)]);
    let after = world.without_tasks(&forgotten);
    assert_eq!(after.tasks(task_id(1).tenant()).count(), 0);
    denied(&after, &read_call(), DenyReason::TaskUnknown);
    // An open one counts from the end of its window.
    let open = with([]);
    assert_eq!(open.forgotten(task(1, 1).closes_at), Vec::new());
}

#[test]
fn a_grant_of_another_task_never_counts() {
    let foreign = with([Fact::Task(
        Arc::new(task(1, 1)),
        Arc::new(grant(1, 2, 1, &[READ])),
    )]);
    denied(&foreign, &read_call(), DenyReason::EvaluationFailed);
}

#[test]
fn the_scope_of_the_token_is_asked_before_the_server() {
    let world = world(&[READ]);
    denied(
        &world,
        &tool_call(&[READ], "write_file", json!({})),
        DenyReason::ScopeMissing,
    );
    let mut call = read_call();
    call.target = Target::Mcp {
        server: bailiwick_base::ServerName::parse("elsewhere").unwrap(),
        method: "tools/call".to_owned(),
        item: Some((ItemKind::Tool, "read_text_file".to_owned())),
    };
    denied(&world, &call, DenyReason::ScopeMissing);
    let call = {
        let mut claims = claims(&[READ]);
        claims.scopes = ["elsewhere:read_text_file".to_owned()].into_iter().collect();
        call_with(claims, call.target, no_arguments())
    };
    denied(&world, &call, DenyReason::ServerUnknown);
}

#[test]
fn a_server_stops_with_its_identity() {
    let changed = |change: &dyn Fn(&mut bailiwick_inventory::Identity)| {
        let mut identity = server_identity();
        change(&mut identity);
        with([Fact::Identity(Arc::new(identity))])
    };
    permitted(&changed(&|_| {}), &read_call());
    let suspended = changed(&|i| {
        i.state = State::Suspended {
            was_active: true,
            reason: "test".to_owned(),
        }
    });
    denied(&suspended, &read_call(), DenyReason::KilledByOperator);
    let retired = changed(&|i| {
        i.state = State::Retired {
            reason: "test".to_owned(),
        }
    });
    denied(&retired, &read_call(), DenyReason::KilledByOperator);
    denied(
        &changed(&|i| i.expires_at = NOW),
        &read_call(),
        DenyReason::KilledByOperator,
    );
    let owner = MarkScope::Owner(tenant_id(), "platform".to_owned());
    let mark = Mark {
        scope: owner,
        effect: MarkEffect::Kill,
        epoch: Epoch(6),
    };
    denied(
        &world(&[READ]).with_mark(&mark),
        &read_call(),
        DenyReason::KilledByOperator,
    );
    let nobody: Vec<Fact> = facts(&[READ])
        .into_iter()
        .filter(|f| !matches!(f, Fact::Identity(i) if i.id == identity_id(99)))
        .collect();
    denied(
        &Snapshot::empty().apply(nobody).unwrap(),
        &read_call(),
        DenyReason::ServerUnknown,
    );
}

#[test]
fn only_pinned_tools_are_called() {
    let scopes = ["filesystem:*"];
    let world = world(&scopes);
    permitted(&world, &tool_call(&scopes, "write_file", json!({})));
    denied(
        &world,
        &tool_call(&scopes, "changed", json!({})),
        DenyReason::ToolDrifted,
    );
    denied(
        &world,
        &tool_call(&scopes, "fresh", json!({})),
        DenyReason::ToolNotPinned,
    );
    denied(
        &world,
        &tool_call(&scopes, "no such tool", json!({})),
        DenyReason::ToolNotPinned,
    );
}

#[test]
fn an_argument_out_of_scope_is_named_with_its_value_and_what_would_pass() {
    let world = world(&[READ]);
    let call = tool_call(&[READ], "read_text_file", json!({"path": "/etc/passwd"}));
    let text = denied(&world, &call, DenyReason::ArgumentOutOfScope);
    assert!(
        text.contains("path") && text.contains("/etc/passwd") && text.contains("/srv/invoices"),
        "{text}"
    );
    let text = denied(
        &world,
        &tool_call(&[READ], "read_text_file", json!({})),
        DenyReason::ArgumentOutOfScope,
    );
    assert!(text.contains("missing"), "{text}");
}

#[test]
fn an_argument_with_a_namesake_is_refused_with_both_spellings() {
    let world = world(&[READ]);
    for other in ["PATH", "Path", "pa\u{ff54}h"] {
        let args = json!({"path": "/srv/invoices/a", other: "/etc/passwd"});
        let call = tool_call(&[READ], "read_text_file", args);
        let text = denied(&world, &call, DenyReason::ArgumentOutOfScope);
        assert!(
            text.contains(&format!("`{other}`")) && text.contains("`path`"),
            "{text}"
        );
    }
    let args = json!({"path": "/srv/invoices/a", "HEAD": 1, "head": 2});
    permitted(&world, &tool_call(&[READ], "read_text_file", args));
}

#[test]
fn more_members_than_are_looked_through_are_refused_with_the_limit() {
    let world = world(&[READ]);
    let flat = |count: usize| -> Map<String, Value> {
        (1..count)
            .map(|n| (format!("m{n}"), Value::from(1)))
            .chain([("path".to_owned(), Value::from("/srv/invoices/a"))])
            .collect()
    };
    let call = |args: Map<String, Value>| tool_call(&[READ], "read_text_file", Value::Object(args));
    permitted(&world, &call(flat(4_096)));
    // Members of objects inside count as well; those in lists are never looked at.
    let mut inside = flat(2_000);
    inside.insert("more".to_owned(), Value::Object(flat(2_095)));
    permitted(&world, &call(inside.clone()));
    inside.insert("rows".to_owned(), Value::from(vec![Value::Object(flat(100)); 50]));
    for args in [flat(4_097), inside] {
        let text = denied(&world, &call(args), DenyReason::ArgumentOutOfScope);
        assert!(text.contains("`arguments`") && text.contains("4096"), "{text}");
    }
}

#[test]
fn a_forbid_on_an_argument_is_not_escaped_by_another_spelling_of_it() {
    let forbid =
        "forbid (principal, action, resource) when { context.text has to && context.text.to == \"x\" };";
    let forbidding = [Fact::Policies(tenant_id(), forbid.into())];
    let world = world(&["filesystem:write_file"]).apply(forbidding).unwrap();
    let call = |args| tool_call(&["filesystem:write_file"], "write_file", args);
    permitted(&world, &call(json!({"to": "y"})));
    denied(&world, &call(json!({"to": "x"})), DenyReason::ForbiddenByPolicy);
    denied(&world, &call(json!({"To": "x"})), DenyReason::ArgumentOutOfScope);
}

#[test]
fn a_scope_in_the_token_without_one_in_the_grant_is_no_grant() {
    let world = world(&[READ]);
    let call = tool_call(&["filesystem:*"], "write_file", json!({}));
    denied(&world, &call, DenyReason::NoGrant);
}

#[test]
fn methods_of_a_server_need_any_scope_on_it() {
    let world = world(&[READ]);
    for name in [
        "initialize",
        "ping",
        "tools/list",
        "server/discover",
        "subscriptions/listen",
    ] {
        permitted(&world, &call_with(claims(&[READ]), method(name), no_arguments()));
        denied(
            &world,
            &call_with(claims(&[]), method(name), no_arguments()),
            DenyReason::ScopeMissing,
        );
    }
    for name in ["tasks/get", "unknown/method", "tools/call", ""] {
        denied(
            &world,
            &call_with(claims(&[READ]), method(name), no_arguments()),
            DenyReason::NoGrant,
        );
    }
    let wrong = item("tools/call", ItemKind::Prompt, "read_text_file");
    denied(
        &world,
        &call_with(claims(&[READ]), wrong, no_arguments()),
        DenyReason::NoGrant,
    );
}

#[test]
fn prompts_and_resources_need_a_grant_that_names_them() {
    let scopes = [
        r#"filesystem:prompts/get(name = "summary", arguments.month <= 12)"#,
        r#"filesystem:resources/read(uri under "file:///srv/invoices")"#,
    ];
    let world = world(&scopes);
    let call = |target, args| call_with(claims(&scopes), target, arguments(args));
    let prompt = |name: &str| item("prompts/get", ItemKind::Prompt, name);
    let resource = |uri: &str| item("resources/read", ItemKind::Resource, uri);
    permitted(&world, &call(prompt("summary"), json!({"month": 12})));
    denied(
        &world,
        &call(prompt("summary"), json!({"month": 13})),
        DenyReason::ArgumentOutOfScope,
    );
    denied(
        &world,
        &call(prompt("other"), json!({"month": 1})),
        DenyReason::ArgumentOutOfScope,
    );
    permitted(&world, &call(resource("file:///srv/invoices/a.txt"), json!({})));
    for uri in [
        "file:///srv/invoices/%2e%2e/x",
        "file:///srv/invoices/../x",
        "file:///srv/invoicesx",
        "/srv/invoices",
    ] {
        denied(
            &world,
            &call(resource(uri), json!({})),
            DenyReason::ArgumentOutOfScope,
        );
    }
    let subscribe = item(
        "resources/subscribe",
        ItemKind::Resource,
        "file:///srv/invoices/a.txt",
    );
    denied(&world, &call(subscribe, json!({})), DenyReason::ScopeMissing);
    let everything = crate::world::world(&["filesystem:*"]);
    permitted(
        &everything,
        &call_with(claims(&["filesystem:*"]), prompt("summary"), no_arguments()),
    );
    permitted(
        &everything,
        &call_with(claims(&["filesystem:*"]), resource("x:y"), no_arguments()),
    );
}

#[test]
fn a_rate_is_held_against_the_scope_that_permits() {
    let scopes = ["filesystem:read_text_file(rate 10/60s)"];
    let world = world(&scopes);
    let mut call = tool_call(&scopes, "read_text_file", json!({}));
    assert_eq!(world.rates_of(&call).len(), 1);
    denied(&world, &call, DenyReason::RateExceeded);
    let mut reading = |calls, time| {
        call.rates = std::iter::once(RateReading {
            scope: 0,
            calls,
            at: time,
        })
        .collect();
        decide(&world, &call, NOW).effect
    };
    assert_eq!(reading(10, NOW), Effect::Permit);
    assert_eq!(reading(11, NOW), Effect::Deny(DenyReason::RateExceeded));
    assert_eq!(
        reading(1, at(-6)),
        Effect::Deny(DenyReason::RateExceeded),
        "an old reading says nothing"
    );
}

#[test]
fn tokens_are_issued_for_ones_own_open_task() {
    let world = world(&[READ]);
    let issue = |n| {
        let mut wanted = claims(&[READ]);
        wanted.task = task_id(n);
        Target::Issue {
            tokens: vec![wanted.token.clone()],
            claims: Arc::new(wanted),
            subject: None,
            evidence: None,
        }
    };
    let mut call = read_call();
    call.door = Door::Issue;
    call.target = issue(1);
    permitted(&world, &call);
    call.target = issue(2);
    denied(&world, &call, DenyReason::NoGrant);
    call.principal = Principal::Identity {
        id: identity_id(1),
        task: Some(task_id(1)),
    };
    denied(&world, &call, DenyReason::TaskUnknown);
    call.target = issue(1);
    permitted(&world, &call);
    call.principal = Principal::Identity {
        id: identity_id(2),
        task: None,
    };
    denied(&world, &call, DenyReason::NoGrant);
    let forbidden = r#"@id("freeze") forbid (principal, action == Action::"token.issue", resource);"#;
    let frozen = world
        .apply([Fact::Policies(tenant_id(), forbidden.into())])
        .unwrap();
    call.principal = Principal::Identity {
        id: identity_id(1),
        task: Some(task_id(1)),
    };
    denied(&frozen, &call, DenyReason::ForbiddenByPolicy);
}

#[test]
fn what_a_token_will_say_stays_within_its_task() {
    let world = world(&[READ]);
    let issue = |change: &dyn Fn(&mut bailiwick_credential::Claims)| {
        let mut wanted = claims(&[READ]);
        change(&mut wanted);
        let mut call = read_call();
        call.target = Target::Issue {
            tokens: vec![wanted.token.clone()],
            claims: Arc::new(wanted),
            subject: None,
            evidence: None,
        };
        decide(&world, &call, NOW).effect
    };
    assert_eq!(issue(&|c| c.expires_at = at(10_000)), Effect::Permit);
    type Change = fn(&mut bailiwick_credential::Claims);
    let changes: [Change; 4] = [
        |c| c.expires_at = at(10_001),
        |c| c.epoch = Epoch(6),
        |c| c.nhi = identity_id(2),
        |c| c.scopes = std::iter::once("filesystem:*".to_owned()).collect(),
    ];
    for change in changes {
        assert_eq!(issue(&change), Effect::Deny(DenyReason::NoGrant));
    }
}

#[test]
fn a_policy_that_cannot_be_evaluated_denies_even_if_another_permits() {
    let broken = r#"forbid (principal, action, resource) when { context.text.path like "*" };"#;
    let snapshot = with([Fact::Policies(tenant_id(), broken.into())]);
    denied(&snapshot, &with_claims(|_| {}), DenyReason::ForbiddenByPolicy);
    let call = tool_call(&["filesystem:*"], "read_text_file", json!({}));
    denied(&snapshot, &call, DenyReason::EvaluationFailed);
    let unreadable = with([Fact::Policies(tenant_id(), "permit (principal".into())]);
    denied(&unreadable, &read_call(), DenyReason::EvaluationFailed);
}

#[test]
fn a_hold_asks_for_a_person() {
    let policy = r#"@id("big") @hold("finance")
        permit (principal, action == Action::"tools/call", resource == Tool::"filesystem/write_file");"#;
    let scopes = [READ, "filesystem:write_file"];
    let snapshot = world(&scopes)
        .apply([Fact::Policies(tenant_id(), policy.into())])
        .unwrap();
    let decision = decide(&snapshot, &tool_call(&scopes, "write_file", json!({})), NOW);
    assert!(
        matches!(decision.effect, Effect::Hold(ref d) if d.policy == "tenant/big"),
        "{decision:?}"
    );
}

#[test]
fn older_facts_are_not_taken_in() {
    let world = world(&[READ]);
    assert!(world.apply([Fact::Position(StatePos(6), Epoch(5))]).is_err());
    assert!(world.apply([Fact::Position(StatePos(8), Epoch(4))]).is_err());
    assert_eq!(
        world
            .apply([Fact::Position(StatePos(8), Epoch(5))])
            .unwrap()
            .state_pos(),
        StatePos(8)
    );
}

#[test]
fn a_pin_is_found_by_its_name_in_whatever_state() {
    let world = world(&["filesystem:*"]);
    let pin = |tool: &str| {
        world
            .pin(&tenant_id(), &server_name(), tool)
            .map(|p| (p.name.to_string(), p.state))
    };
    for (name, state) in TOOLS {
        assert_eq!(pin(name), Some((name.to_owned(), state)));
    }
    assert_eq!(pin("unheard-of"), None);
}
