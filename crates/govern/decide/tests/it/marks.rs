//! Marks: which call each stops, and that they only ever stop more.

use bailiwick_base::{AgentLabel, Epoch, StatePos, TenantId, TokenId, ToolName};
use bailiwick_decide::{
    Call, DenyReason, Effect, Fact, Mark, MarkEffect, MarkScope, Principal, Snapshot, Target, decide,
};
use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

use crate::world::*;

const SCOPE: &str = "filesystem:*";

fn call() -> Call {
    tool_call(&[SCOPE], "read_text_file", json!({"path": "/srv/invoices/a"}))
}

fn token() -> TokenId {
    TokenId::from_parts(tenant_id(), Uuid::from_u128(77))
}

fn scopes() -> Vec<(MarkScope, DenyReason, bool)> {
    use MarkScope as S;
    let tool = ToolName::parse("read_text_file").unwrap();
    let agent = AgentLabel::parse("invoice-reader").unwrap();
    // The last column: whether a kill also stops tokens that are issued after it.
    vec![
        (S::Token(token()), DenyReason::TokenRevoked, false),
        (S::Task(task_id(1)), DenyReason::TaskClosed, false),
        (S::Identity(identity_id(1)), DenyReason::IdentityRevoked, false),
        (S::Agent(tenant_id(), agent), DenyReason::IdentityRevoked, false),
        (
            S::Owner(tenant_id(), "payments".to_owned()),
            DenyReason::IdentityRevoked,
            false,
        ),
        (
            S::Issuer(tenant_id(), claims(&[]).issuer),
            DenyReason::TokenRevoked,
            true,
        ),
        (
            S::Server(tenant_id(), server_name()),
            DenyReason::KilledByOperator,
            true,
        ),
        (
            S::Tool(tenant_id(), server_name(), tool),
            DenyReason::KilledByOperator,
            true,
        ),
        (S::Tenant(tenant_id()), DenyReason::TenantUnavailable, true),
        (S::All, DenyReason::TenantUnavailable, true),
    ]
}

fn mark(scope: &MarkScope, effect: MarkEffect, epoch: u64) -> Mark {
    Mark {
        scope: scope.clone(),
        effect,
        epoch: Epoch(epoch),
    }
}

/// The world at epoch 9, so that tokens of epoch 5 to 9 may exist.
fn later() -> Snapshot {
    world(&[SCOPE])
        .apply([Fact::Position(StatePos(9), Epoch(9))])
        .unwrap()
}

fn with_epoch(epoch: u64) -> Call {
    let mut claims = claims(&[SCOPE]);
    claims.epoch = Epoch(epoch);
    call_with(claims, tool("read_text_file"), arguments(json!({})))
}

#[test]
fn a_kill_stops_older_tokens_on_every_scope() {
    for (scope, reason, lasting) in scopes() {
        let killed = later().with_mark(&mark(&scope, MarkEffect::Kill, 7));
        denied(&killed, &with_epoch(5), reason);
        denied(&killed, &with_epoch(6), reason);
        let after = decide(&killed, &with_epoch(7), NOW).effect;
        let wanted = if lasting {
            Effect::Deny(reason)
        } else {
            Effect::Permit
        };
        assert_eq!(after, wanted, "{scope:?}: a token of the epoch of the kill");
        assert_eq!(
            killed.marked(&with_epoch(5)).map(|(r, m)| (r, m.scope)),
            Some((reason, scope))
        );
    }
}

#[test]
fn a_suspension_stops_everything_while_it_stands_and_nothing_after() {
    for (scope, reason, _) in scopes() {
        let stopped = later().with_mark(&mark(&scope, MarkEffect::Suspend, 7));
        let reason = match reason {
            DenyReason::IdentityRevoked => DenyReason::IdentitySuspended,
            other => other,
        };
        for epoch in [5, 7, 9] {
            denied(&stopped, &with_epoch(epoch), reason);
        }
        let lifted = stopped.apply([Fact::MarkLifted(scope)]).unwrap();
        for epoch in [5, 7, 9] {
            permitted(&lifted, &with_epoch(epoch));
        }
    }
}

#[test]
fn a_kill_is_not_lifted_and_wins_over_a_suspension() {
    for (scope, reason, _) in scopes() {
        let both = later()
            .with_mark(&mark(&scope, MarkEffect::Suspend, 8))
            .with_mark(&mark(&scope, MarkEffect::Kill, 7));
        denied(&both, &with_epoch(5), reason);
        let lifted = both.apply([Fact::MarkLifted(scope)]).unwrap();
        denied(&lifted, &with_epoch(5), reason);
    }
}

#[test]
fn a_mark_set_before_its_epoch_is_committed_stops_at_once() {
    for (scope, reason, _) in scopes() {
        let world = later();
        let marked = world.with_mark(&mark(&scope, MarkEffect::Kill, 10));
        denied(&marked, &with_epoch(9), reason);
        permitted(&world, &with_epoch(9));
        assert_eq!(marked.epoch(), Epoch(9), "only the commit moves the epoch");
    }
}

#[test]
fn marks_elsewhere_stop_nothing_here() {
    let other = TenantId::parse("other").unwrap();
    let elsewhere = [
        MarkScope::Token(TokenId::from_parts(tenant_id(), Uuid::from_u128(78))),
        MarkScope::Task(task_id(2)),
        MarkScope::Identity(identity_id(2)),
        MarkScope::Owner(tenant_id(), "Payments".to_owned()),
        MarkScope::Owner(other.clone(), "payments".to_owned()),
        MarkScope::Issuer(other.clone(), claims(&[]).issuer),
        MarkScope::Server(other.clone(), server_name()),
        MarkScope::Tool(tenant_id(), server_name(), ToolName::parse("write_file").unwrap()),
        MarkScope::Tenant(other),
    ];
    for scope in elsewhere {
        permitted(&later().with_mark(&mark(&scope, MarkEffect::Kill, 10)), &call());
    }
}

#[test]
fn marks_stop_issuing_too() {
    let mut issue = call();
    let wanted = claims(&[SCOPE]);
    issue.target = Target::Issue {
        tokens: vec![wanted.token.clone()],
        claims: std::sync::Arc::new(wanted),
        subject: None,
        evidence: None,
    };
    issue.principal = Principal::Identity {
        id: identity_id(1),
        task: Some(task_id(1)),
    };
    permitted(&later(), &issue);
    for scope in [
        MarkScope::Identity(identity_id(1)),
        MarkScope::Task(task_id(1)),
        MarkScope::All,
    ] {
        let pending = later().with_mark(&mark(&scope, MarkEffect::Kill, 10));
        assert!(
            matches!(decide(&pending, &issue, NOW).effect, Effect::Deny(_)),
            "{scope:?}"
        );
    }
}

fn any_mark() -> impl Strategy<Value = Mark> {
    let all: Vec<MarkScope> = scopes().into_iter().map(|(s, _, _)| s).collect();
    (prop::sample::select(all), any::<bool>(), 0_u64..12).prop_map(|(scope, kill, epoch)| {
        let effect = if kill {
            MarkEffect::Kill
        } else {
            MarkEffect::Suspend
        };
        Mark {
            scope,
            effect,
            epoch: Epoch(epoch),
        }
    })
}

proptest! {
    #![proptest_config(cases(300))]

    /// Adding a mark never turns a denial into a permit.
    #[test]
    fn a_mark_only_stops(marks in prop::collection::vec(any_mark(), 0..6), more in any_mark(), epoch in 4_u64..11) {
        let before = marks.iter().fold(later(), |s, m| s.with_mark(m));
        let call = with_epoch(epoch);
        let was = decide(&before, &call, NOW).effect;
        let is = decide(&before.with_mark(&more), &call, NOW).effect;
        prop_assert!(was == Effect::Permit || is != Effect::Permit);
    }

    /// The order in which marks arrive, and how often, makes no difference.
    #[test]
    fn marks_join(
        (marks, shuffled) in prop::collection::vec(any_mark(), 0..6)
            .prop_flat_map(|m| (Just(m.clone()), Just(m).prop_shuffle())),
        epoch in 4_u64..11,
    ) {
        let once = marks.iter().fold(later(), |s, m| s.with_mark(m));
        let twice = shuffled.iter().chain(&marks).fold(later(), |s, m| s.with_mark(m));
        let call = with_epoch(epoch);
        prop_assert_eq!(decide(&once, &call, NOW), decide(&twice, &call, NOW));
        prop_assert_eq!(once.marked(&call), twice.marked(&call));
    }

    /// A snapshot that is held does not change under its holder.
    #[test]
    fn a_snapshot_is_a_value(marks in prop::collection::vec(any_mark(), 1..6)) {
        let held = later();
        let _later = marks.iter().fold(held.clone(), |s, m| s.with_mark(m));
        prop_assert_eq!(decide(&held, &call(), NOW).effect, Effect::Permit);
    }
}

#[test]
fn a_dead_credential_is_dead_whatever_is_stopped_beside_it() {
    let snapshot = later()
        .with_mark(&mark(
            &MarkScope::Server(tenant_id(), server_name()),
            MarkEffect::Kill,
            6,
        ))
        .with_mark(&mark(&MarkScope::Task(task_id(1)), MarkEffect::Suspend, 7));
    let decision = decide(&snapshot, &with_epoch(5), NOW);
    assert_eq!(decision.effect, Effect::Deny(DenyReason::TaskClosed));
}

#[test]
fn a_retired_identity_is_told_so_although_the_server_is_killed() {
    let mut retired = identity(1);
    retired.state = bailiwick_inventory::State::Retired {
        reason: "test".to_owned(),
    };
    let server = MarkScope::Server(tenant_id(), server_name());
    let snapshot = later()
        .with_mark(&mark(&server, MarkEffect::Kill, 6))
        .apply([Fact::Identity(std::sync::Arc::new(retired))])
        .unwrap();
    denied(&snapshot, &with_epoch(9), DenyReason::IdentityRevoked);
    let ancestor = MarkScope::Identity(identity_id(2));
    let snapshot = later()
        .with_mark(&mark(&server, MarkEffect::Kill, 6))
        .with_mark(&mark(&ancestor, MarkEffect::Kill, 9));
    let mut delegated = claims(&[SCOPE]);
    delegated.act = std::iter::once(identity_id(2)).collect();
    let call = call_with(delegated, tool("read_text_file"), arguments(json!({})));
    denied(&snapshot, &call, DenyReason::ActorRevoked);
    let in_flight = snapshot.marked(&call).map(|(reason, _)| reason);
    assert_eq!(in_flight, Some(DenyReason::ActorRevoked));
}

#[test]
fn a_pending_stop_stops_everybody_it_names_until_it_is_settled() {
    for effect in [MarkEffect::Kill, MarkEffect::Suspend] {
        for (scope, _, _) in scopes() {
            // Its epoch is a guess; whoever was issued at a later one is stopped as well.
            let pending = later().with_pending(1, &mark(&scope, effect, 3));
            for epoch in 5..=9 {
                let is = decide(&pending, &with_epoch(epoch), NOW).effect;
                assert!(matches!(is, Effect::Deny(_)), "{scope:?} at epoch {epoch}");
            }
            permitted(&pending.without_pending(1), &with_epoch(5));
        }
    }
}

#[test]
fn settling_one_stop_leaves_the_others_and_what_is_committed() {
    let identity = MarkScope::Identity(identity_id(1));
    let all = mark(&MarkScope::All, MarkEffect::Suspend, 10);
    let two = later()
        .with_pending(1, &mark(&identity, MarkEffect::Kill, 10))
        .with_pending(2, &all);
    denied(&two.without_pending(2), &call(), DenyReason::IdentityRevoked);
    denied(&two.without_pending(1), &call(), DenyReason::TenantUnavailable);
    let committed = two.with_mark(&all).without_pending(2).without_pending(1);
    denied(&committed, &call(), DenyReason::TenantUnavailable);
    permitted(&two.without_pending(1).without_pending(2), &call());
    permitted(
        &two.without_pending(2).without_pending(2).without_pending(1),
        &call(),
    );
}
