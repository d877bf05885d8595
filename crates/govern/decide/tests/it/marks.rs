//! Marks: which call each stops, and that they only ever stop more.

use std::collections::BTreeMap;
use std::sync::Arc;

use bailiwick_base::{AgentLabel, Epoch, StatePos, TenantId, TokenId, ToolName, TrustId};
use bailiwick_credential::trust::{IssuerKeys, Method, Trust, TrustedIssuer};
use bailiwick_credential::{Claims, Link};
use bailiwick_decide::{
    Call, Connection, DenyReason, Door, Effect, Fact, ItemKind, Mark, MarkEffect, MarkScope, NamedEntity,
    PinState, Principal, Snapshot, Target, UpstreamServer, decide,
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
    let effects = prop::sample::select(MarkEffect::ALL.to_vec());
    (prop::sample::select(all), effects, 0_u64..12).prop_map(|(scope, effect, epoch)| Mark {
        scope,
        effect,
        epoch: Epoch(epoch),
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

/// What each level refuses of one and the same caller, and by which code.
#[test]
fn a_milder_mark_stops_a_part_and_ends_no_credential() {
    use MarkEffect as E;
    let outside = call();
    let listing = call_with(claims(&[SCOPE]), method("tools/list"), no_arguments());
    for (scope, ..) in scopes() {
        for (effect, writes, reads) in [
            (E::Observe, None, None),
            (E::ReadOnly, Some(DenyReason::ReadOnly), None),
            (
                E::NoEgress,
                Some(DenyReason::NoEgress),
                Some(DenyReason::NoEgress),
            ),
        ] {
            let marked = world(&[SCOPE]).with_mark(&mark(&scope, effect, 6));
            let found = |call: &Call| match decide(&marked, call, NOW).effect {
                Effect::Deny(reason) => Some(reason),
                _ => None,
            };
            assert_eq!(found(&outside), writes, "{scope:?} {effect:?}");
            // A tool's mark says nothing of the server's other methods.
            let of_tool = matches!(scope, MarkScope::Tool(..));
            assert_eq!(
                found(&listing),
                reads.filter(|_| !of_tool),
                "{scope:?} {effect:?}"
            );
            assert!(writes.is_none_or(|reason| !reason.kills_credential()));
        }
    }
}

#[test]
fn a_milder_mark_on_an_ancestor_holds_for_whoever_acts_for_it() {
    let delegated = call_with(
        Claims {
            act: [identity_id(2)].into_iter().collect(),
            ..claims(&[SCOPE])
        },
        tool("read_text_file"),
        arguments(json!({"path": "/srv/invoices/a"})),
    );
    let scope = MarkScope::Identity(identity_id(2));
    for (effect, wanted) in [
        (MarkEffect::ReadOnly, DenyReason::ReadOnly),
        (MarkEffect::NoEgress, DenyReason::NoEgress),
        (MarkEffect::Suspend, DenyReason::ActorRevoked),
    ] {
        let marked = world(&[SCOPE]).with_mark(&mark(&scope, effect, 6));
        assert_eq!(
            decide(&marked, &delegated, NOW).effect,
            Effect::Deny(wanted),
            "{effect:?}"
        );
        assert_eq!(
            marked.marked(&delegated).map(|(reason, _)| reason),
            Some(wanted),
            "{effect:?}"
        );
    }
}

#[test]
fn an_observed_call_names_the_mark_in_its_record_and_every_other_one_does_not() {
    let scope = MarkScope::Identity(identity_id(1));
    let marked = world(&[SCOPE]).with_mark(&mark(&scope, MarkEffect::Observe, 6));
    let watched = |snapshot: &Snapshot| {
        let decision = decide(snapshot, &call(), NOW);
        assert_eq!(decision.effect, Effect::Permit);
        decision.reasons.policies.iter().any(|p| p.starts_with("mark:"))
    };
    assert!(watched(&marked));
    assert!(!watched(&world(&[SCOPE])));
    let other = MarkScope::Identity(identity_id(2));
    assert!(!watched(&world(&[SCOPE]).with_mark(&mark(
        &other,
        MarkEffect::Observe,
        6
    ))));
}

#[test]
fn a_kill_beside_a_milder_mark_is_what_is_told() {
    let scope = MarkScope::Identity(identity_id(1));
    let marked = world(&[SCOPE])
        .with_mark(&mark(&scope, MarkEffect::ReadOnly, 6))
        .with_mark(&mark(
            &MarkScope::Server(tenant_id(), server_name()),
            MarkEffect::Kill,
            7,
        ))
        .with_mark(&mark(&MarkScope::Task(task_id(1)), MarkEffect::Kill, 8));
    assert_eq!(
        decide(&marked, &call(), NOW).effect,
        Effect::Deny(DenyReason::TaskClosed)
    );
}

/// What a read-only mark lets through: what the protocol says is reading, and what an operator says is.
#[test]
fn read_only_knows_reading_by_the_protocol_and_by_an_operators_word() {
    let told = server(&[
        ("read_text_file", PinState::Reads),
        ("write_file", PinState::Pinned),
    ]);
    let scope = MarkScope::Identity(identity_id(1));
    let marked = world(&[SCOPE])
        .apply([told])
        .unwrap()
        .with_mark(&mark(&scope, MarkEffect::ReadOnly, 6));
    let refused = |call: &Call| decide(&marked, call, NOW).effect == Effect::Deny(DenyReason::ReadOnly);
    assert!(!refused(&call()));
    permitted(&marked, &call());
    assert!(refused(&tool_call(
        &[SCOPE],
        "write_file",
        json!({"path": "/srv/invoices/a"})
    )));
    let prompt = call_with(
        claims(&[SCOPE]),
        item("prompts/get", ItemKind::Prompt, "p"),
        no_arguments(),
    );
    assert!(!refused(&prompt));
    let foreign = Target::Named {
        action: "read".to_owned(),
        action_properties: serde_json::Map::new(),
        resource: NamedEntity {
            kind: "record".to_owned(),
            id: "r1".to_owned(),
            properties: serde_json::Map::new(),
        },
        context: serde_json::Map::new(),
    };
    assert!(
        refused(&call_with(claims(&[SCOPE]), foreign, no_arguments())),
        "what it does is not known here"
    );
}

/// A token acts where the mark holds; what proves an identity to others acts where nobody asks us.
#[test]
fn under_a_milder_mark_tokens_are_issued_and_svids_are_not() {
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
    let scope = MarkScope::Identity(identity_id(1));
    for (effect, wanted) in [
        (MarkEffect::ReadOnly, DenyReason::ReadOnly),
        (MarkEffect::NoEgress, DenyReason::NoEgress),
    ] {
        let marked = later().with_mark(&mark(&scope, effect, 10));
        issue.door = Door::Issue;
        permitted(&marked, &issue);
        issue.door = Door::Spiffe;
        assert_eq!(decide(&marked, &issue, NOW).effect, Effect::Deny(wanted));
    }
}

/// No-egress decides by the destination: an address that is not public stays, a name leaves.
#[test]
fn no_egress_decides_by_the_destination() {
    let at = |url: &str| {
        let Fact::Server(known) = server(&[("read_text_file", PinState::Pinned)]) else {
            panic!("a server")
        };
        let connection = Connection::Http {
            url: url.to_owned(),
            allow_addresses: vec![],
            allow_plaintext: true,
        };
        let moved = UpstreamServer {
            connection,
            ..(*known).clone()
        };
        let scope = MarkScope::Identity(identity_id(1));
        let marked = world(&[SCOPE])
            .apply([Fact::Server(std::sync::Arc::new(moved))])
            .unwrap()
            .with_mark(&mark(&scope, MarkEffect::NoEgress, 6));
        decide(&marked, &call(), NOW).effect
    };
    assert_eq!(at("http://127.0.0.1:8080/mcp"), Effect::Permit);
    assert_eq!(at("https://10.2.3.4/mcp"), Effect::Permit);
    assert_eq!(at("https://mcp.example/mcp"), Effect::Deny(DenyReason::NoEgress));
    assert_eq!(at("https://1.1.1.1/mcp"), Effect::Deny(DenyReason::NoEgress));
}

fn trust(n: u128, url: &str) -> Trust {
    Trust {
        id: TrustId::from_parts(tenant_id(), Uuid::from_u128(n)),
        issuer: TrustedIssuer {
            method: Method::Github,
            url: url.to_owned(),
            keys: IssuerKeys::Given("{\"keys\":[]}".to_owned()),
            allow_addresses: Vec::new(),
            danger_plaintext: false,
        },
        realm: BTreeMap::new(),
        attributes: BTreeMap::new(),
        identity: identity_id(1),
        created_at: at(-100),
        expires_at: at(1_000),
        removed_at: None,
    }
}

/// A token that was exchanged stands on what a workload had: it dies with the issuer that vouched for that workload,
/// and with nobody else's.
#[test]
fn what_was_exchanged_dies_with_the_issuer_that_vouched_for_any_token_behind_it() {
    let (ours, theirs) = ("https://ci.example", "https://other.example");
    let rules = [trust(1, ours), trust(2, theirs)];
    let delegated = |rule: Option<u128>| {
        let link = |token: u128, trust: Option<u128>| Link {
            token: TokenId::from_parts(tenant_id(), Uuid::from_u128(token)),
            task: task_id(1),
            trust: trust.map(|n| TrustId::from_parts(tenant_id(), Uuid::from_u128(n))),
        };
        let mut claims = claims(&[SCOPE]);
        claims.lineage = vec![link(90, None), link(91, None), link(92, rule)];
        call_with(claims, tool("read_text_file"), arguments(json!({})))
    };
    let world = later()
        .apply(rules.map(|rule| Fact::Trust(Arc::new(rule))))
        .unwrap();
    let scope = MarkScope::Issuer(tenant_id(), ours.to_owned());
    for effect in [MarkEffect::Kill, MarkEffect::Suspend] {
        let stopped = world.with_mark(&mark(&scope, effect, 7));
        denied(&stopped, &delegated(Some(1)), DenyReason::ActorRevoked);
        let found = stopped.marked(&delegated(Some(1))).map(|(_, mark)| mark.scope);
        assert_eq!(found.as_ref(), Some(&scope), "also while it runs");
        permitted(&stopped, &delegated(Some(2)));
        permitted(&stopped, &delegated(None));
        // A rule that is gone may have been of any issuer.
        denied(&stopped, &delegated(Some(3)), DenyReason::ActorRevoked);
    }
    let mild = world.with_mark(&mark(&scope, MarkEffect::ReadOnly, 7));
    denied(&mild, &delegated(Some(1)), DenyReason::ReadOnly);
    for rule in [Some(1), Some(2), Some(3), None] {
        permitted(&world, &delegated(rule));
    }
}
