//! The decision with index, projected context and the entities that are read, held against the same decision
//! through Cedar's own authorizer with everything.

use std::fmt::Write as _;

use bailiwick_base::{DecisionId, ServerName, TenantId};
use bailiwick_decide::policy::Sliced;
use bailiwick_decide::{
    Arguments, Call, Door, Effect, Fact, ItemKind, Named, NamedEntity, Principal, RateReading, Snapshot,
    Target, decide, decide_plain,
};
use cedar_policy::{Authorizer, Context, Entities, EntityUid, PolicySet, Request};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use smallvec::SmallVec;
use uuid::Uuid;

use crate::world::*;

fn pick<T: Clone + std::fmt::Debug + 'static>(list: &[T]) -> impl Strategy<Value = T> + use<T> {
    prop::sample::select(list.to_vec())
}

/// Conditions that hold, do not hold, and fail.
const CONDITIONS: [&str; 35] = [
    "true",
    "context.scoped",
    "context.text has path",
    "context.text has path && context.text.path like \"*.key\"",
    "context.text.path == \"/srv/a\"",
    "context.path has path && context.path.path == \"/srv/a\"",
    "context.text has \"order.name\" && context.text[\"order.name\"] == \"a\"",
    "context.integer has n && context.integer.n < 5",
    "context.decimal has n && context.decimal.n.lessThan(decimal(\"5.0\"))",
    "context.flag has dry && !context.flag.dry",
    "context.texts has to && context.texts.to.contains(\"a\")",
    "context.text == {}",
    "context.text == {\"path\": \"/srv/a\"}",
    "context has text",
    "context has nothing",
    "context == {}",
    "{\"a\": context.integer}.a has n",
    "(if context.scoped then context.text else context.path) has path",
    "principal in Team::\"payments\"",
    "principal has kind && principal.kind == \"agent\"",
    "principal.kind == \"agent\"",
    "principal.workflow == \"x\"",
    "resource in Server::\"filesystem\"",
    "resource has owner",
    "[principal, resource].contains(principal)",
    "context.task != \"\" && context.server == \"filesystem\"",
    "context.door == \"gateway\" && context.count == 0 && !context.delegated",
    "principal has role && principal.role == \"admin\"",
    "resource has status && resource.status == \"open\"",
    "context.action has soft && context.action.soft",
    "context.caller has ip && context.caller.ip == \"10.0.0.1\"",
    "context.integer.n + 9223372036854775807 > 0",
    "resource == Tool::\"filesystem/read_text_file\" || 1 == \"a\"",
    "principal == resource",
    "action in Action::\"tools/call\"",
];

/// Policy texts that Cedar accepts: every shape of head, and conditions that hold, do not hold, and fail.
fn policy() -> impl Strategy<Value = String> {
    let id = identity_id(1);
    let principal = pick(&[
        "principal".to_owned(),
        format!("principal == Identity::\"{id}\""),
        format!("principal == Identity::\"{}\"", identity_id(2)),
        "principal is Identity".to_owned(),
        "principal is user".to_owned(),
        "principal in Team::\"payments\"".to_owned(),
        "principal in Team::\"other\"".to_owned(),
        "principal is Identity in Agent::\"invoice-reader\"".to_owned(),
        format!("principal in Identity::\"{id}\""),
    ]);
    let action = pick(&[
        "action",
        "action == Action::\"tools/call\"",
        "action in [Action::\"tools/call\", Action::\"tools/list\", Action::\"tools/call\"]",
        "action in Action::\"tools/call\"",
        "action in []",
        "action == Action::\"token.issue\"",
        "action == Action::\"read\"",
    ]);
    let resource = pick(&[
        "resource",
        "resource == Tool::\"filesystem/read_text_file\"",
        "resource in Tool::\"filesystem/read_text_file\"",
        "resource == Tool::\"filesystem/write_file\"",
        "resource is Tool",
        "resource in Server::\"filesystem\"",
        "resource == Server::\"filesystem\"",
        "resource is Tool in Server::\"filesystem\"",
        "resource is Resource",
        "resource is record",
        "resource in Server::\"other\"",
    ]);
    let condition = pick(&CONDITIONS);
    let effect = pick(&["permit", "permit", "forbid"]);
    let kind = pick(&["when", "when", "unless"]);
    (
        effect,
        principal,
        action,
        resource,
        kind,
        condition,
        any::<bool>(),
    )
        .prop_map(|(effect, principal, action, resource, kind, condition, bare)| {
            let mut text = format!("{effect} ({principal}, {action}, {resource})");
            if !bare {
                let _ = write!(text, " {kind} {{ {condition} }}");
            }
            text + ";"
        })
}

const DECLARE: &str = "@id(\"declare\") @supplied(\"subject.role: String, resource.status: String, action.soft: Bool, context.ip: String\")
    forbid (principal == user::\"nobody\", action, resource);\n";

fn policies() -> impl Strategy<Value = String> {
    prop::collection::vec(policy(), 0..8).prop_map(|list| {
        let mut text = DECLARE.to_owned();
        for policy in list {
            text.push_str(&policy);
            text.push('\n');
        }
        text
    })
}

fn scopes() -> impl Strategy<Value = Vec<&'static str>> {
    prop::collection::vec(
        pick(&[
            "filesystem:*",
            "filesystem:read_text_file",
            r#"filesystem:read_text_file(path under "/srv")"#,
            r#"filesystem:read_text_file(path = "/srv/a", n <= 5)"#,
            "filesystem:read_text_file(n <= 4.5)",
            "filesystem:read_text_file(rate 2/60s)",
            r#"filesystem:write_file(to in ["a", "b"])"#,
            r#"filesystem:resources/read(uri under "file:///srv")"#,
            "other:read_text_file",
        ]),
        1..4,
    )
}

fn args() -> impl Strategy<Value = Value> {
    let path = pick(&[
        json!("/srv/a"),
        json!("/srv/x.key"),
        json!("/etc/a"),
        json!(5),
        json!(["/srv/a", "/srv/b"]),
    ]);
    let n = pick(&[
        json!(3),
        json!(5),
        json!(4.5),
        json!(0.00001),
        json!("3"),
        json!(u64::MAX),
    ]);
    let to = pick(&[
        json!("a"),
        json!(["a"]),
        json!(["a", "c"]),
        json!([]),
        json!({"x": {"y": "a"}}),
    ]);
    (
        prop::option::of(path),
        prop::option::of(n),
        prop::option::of(to),
        any::<bool>(),
    )
        .prop_map(|(path, n, to, nested)| {
            let mut out = Map::new();
            for (name, value) in [("path", path), ("n", n), ("to", to)] {
                if let Some(value) = value {
                    out.insert(name.to_owned(), value);
                }
            }
            if nested {
                out.insert(
                    "order".to_owned(),
                    json!({"name": "a", "deep": {"n": 1, "a.b": 2}}),
                );
                out.insert("order.name".to_owned(), json!("b"));
            }
            Value::Object(out)
        })
}

fn target() -> impl Strategy<Value = Target> {
    let named = |action: &str, kind: &str, id: &str, status: &str| Target::Named {
        action: action.to_owned(),
        action_properties: json!({"soft": true}).as_object().cloned().unwrap(),
        resource: NamedEntity {
            kind: kind.to_owned(),
            id: id.to_owned(),
            properties: json!({"status": status}).as_object().cloned().unwrap(),
        },
        context: json!({"ip": "10.0.0.1"}).as_object().cloned().unwrap(),
    };
    let wanted = claims(&["filesystem:*"]);
    let other = Target::Mcp {
        server: ServerName::parse("other").unwrap(),
        method: "tools/call".to_owned(),
        item: Some((ItemKind::Tool, "read_text_file".to_owned())),
    };
    prop_oneof![
        6 => pick(&[tool("read_text_file"), tool("write_file"), tool("read_multiple_files")]),
        1 => pick(&[
            tool("changed"),
            other,
            item("resources/read", ItemKind::Resource, "file:///srv/a"),
            item("prompts/get", ItemKind::Prompt, "x"),
            method("tools/list"),
            method("tasks/get"),
            Target::Issue { tokens: vec![wanted.token.clone()], claims: std::sync::Arc::new(wanted), subject: None, evidence: None },
        ]),
        2 => pick(&[
            named("read", "record", "r1", "open"),
            named("read", "user", "alice", "closed"),
            named("tools/call", "tool", "filesystem/read_text_file", "x"),
            named("tools/list", "server", "filesystem", "x"),
            named("tools/call", "tool", "filesystem", "x"),
        ]),
    ]
}

fn principal() -> impl Strategy<Value = Option<Principal>> {
    let named = |kind: &str, id: String, task: bool| {
        let subject = NamedEntity {
            kind: kind.to_owned(),
            id,
            properties: json!({"role": "admin"}).as_object().cloned().unwrap(),
        };
        Principal::Named(Named {
            subject,
            task: task.then(|| task_id(1)),
            pep: identity_id(2),
        })
    };
    prop_oneof![
        3 => Just(None),
        1 => pick(&[
            Principal::Identity { id: identity_id(1), task: Some(task_id(1)) },
            Principal::Identity { id: identity_id(2), task: None },
            named("user", "alice".to_owned(), false),
            named("identity", identity_id(1).to_string(), true),
        ])
        .prop_map(Some),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    (
        target(),
        principal(),
        args(),
        prop::option::of(0_u32..4),
        any::<bool>(),
    )
        .prop_map(|(target, principal, args, calls, narrow)| {
            let scopes: &[&str] = if narrow {
                &["filesystem:read_text_file"]
            } else {
                &["filesystem:*", "other:x"]
            };
            let mut call = call_with(claims(scopes), target, arguments(args));
            if let Some(principal) = principal {
                call.principal = principal;
                call.door = Door::Authzen;
            }
            call.rates = calls
                .into_iter()
                .map(|calls| RateReading {
                    scope: 0,
                    calls,
                    at: NOW,
                })
                .collect();
            call
        })
}

fn snapshot(scopes: &[&str], policies: &str) -> Snapshot {
    world(scopes)
        .apply([Fact::Policies(tenant_id(), policies.into())])
        .unwrap()
}

proptest! {
    #![proptest_config(cases(60))]

    #[test]
    fn the_decision_is_cedars(scopes in scopes(), policies in policies(), call in call()) {
        let snapshot = snapshot(&scopes, &policies);
        prop_assert_eq!(decide(&snapshot, &call, NOW), decide_plain(&snapshot, &call, NOW), "{}", policies);
    }

    /// Deciding twice, or after other decisions, makes no difference: nothing is remembered.
    #[test]
    fn a_decision_leaves_nothing_behind(
        scopes in scopes(),
        policies in policies(),
        calls in prop::collection::vec(call(), 2..5),
    ) {
        let snapshot = snapshot(&scopes, &policies);
        let first: Vec<_> = calls.iter().map(|c| decide(&snapshot, c, NOW)).collect();
        let back: Vec<_> = calls.iter().rev().map(|c| decide(&snapshot, c, NOW)).collect();
        prop_assert_eq!(first, back.into_iter().rev().collect::<Vec<_>>());
    }

    /// Nothing that is added to a grant's conditions or to the tenant's forbids turns a denial into a permit.
    #[test]
    fn a_further_forbid_only_narrows(scopes in scopes(), policies in policies(), more in policy(), call in call()) {
        let was = decide(&snapshot(&scopes, &policies), &call, NOW).effect;
        let more = policies + &more.replacen("permit", "forbid", 1);
        let is = decide(&snapshot(&scopes, &more), &call, NOW).effect;
        prop_assert!(was == Effect::Permit || is != Effect::Permit);
    }

    /// What is barred is denied with any arguments.
    #[test]
    fn what_is_barred_no_argument_saves(
        scopes in scopes(),
        policies in policies(),
        call in call(),
        args in prop::collection::vec(args(), 1..4),
    ) {
        let snapshot = snapshot(&scopes, &policies);
        if snapshot.barred(&call, NOW).is_some() {
            for args in args {
                let call = Call { arguments: arguments(args), ..call.clone() };
                prop_assert!(matches!(decide(&snapshot, &call, NOW).effect, Effect::Deny(_)), "{}", policies);
            }
        }
    }

    /// An empty snapshot denies every call.
    #[test]
    fn nothing_known_nothing_permitted(call in call()) {
        prop_assert!(matches!(decide(&Snapshot::empty(), &call, NOW).effect, Effect::Deny(_)));
    }

    /// Total: any names, any arguments, any ids.
    #[test]
    fn every_call_gets_a_decision(
        action in any::<String>(),
        kinds in any::<[String; 2]>(),
        ids in any::<[String; 2]>(),
        method in any::<String>(),
        item in prop::option::of(any::<String>()),
        kind in pick(&[ItemKind::Prompt, ItemKind::Resource, ItemKind::Tool]),
        args in args(),
        at_mcp in any::<bool>(),
    ) {
        let entity = |n: usize| NamedEntity { kind: kinds[n].clone(), id: ids[n].clone(), properties: Map::new() };
        let target = if at_mcp {
            Target::Mcp { server: server_name(), method, item: item.map(|i| (kind, i)) }
        } else {
            Target::Named { action, action_properties: Map::new(), resource: entity(0), context: Map::new() }
        };
        let mut call = call_with(claims(&["filesystem:*"]), target, arguments(args));
        let snapshot = world(&["filesystem:read_text_file"]);
        let bearer = decide(&snapshot, &call, NOW);
        call.principal = Principal::Named(Named { subject: entity(1), task: Some(task_id(1)), pep: identity_id(2) });
        let named = decide(&snapshot, &call, NOW);
        prop_assert!(bearer.effect != Effect::Permit && named.effect != Effect::Permit);
        prop_assert!(!bearer.reasons.text.is_empty() && !named.reasons.text.is_empty());
    }
}

/// Plain Cedar, with hierarchies, group actions and policies that fail: the index changes nothing.
fn hierarchy() -> Entities {
    let json = json!([
        {"uid": {"type": "U", "id": "a"}, "attrs": {"x": 1}, "parents": [{"type": "G", "id": "g"}, {"type": "U", "id": "b"}]},
        {"uid": {"type": "U", "id": "b"}, "attrs": {}, "parents": []},
        {"uid": {"type": "G", "id": "g"}, "attrs": {}, "parents": [{"type": "G", "id": "h"}]},
        {"uid": {"type": "Action", "id": "r"}, "attrs": {}, "parents": [{"type": "Action", "id": "all"}, {"type": "Action", "id": "ro"}]},
        {"uid": {"type": "Action", "id": "ro"}, "attrs": {}, "parents": [{"type": "Action", "id": "all"}]},
    ]);
    Entities::from_json_value(json, None).unwrap()
}

fn plain_policy() -> impl Strategy<Value = String> {
    let uid = || pick(&["U::\"a\"", "U::\"b\"", "G::\"g\"", "G::\"h\"", "V::\"a\""]);
    let side = |name: &'static str| {
        prop_oneof![
            Just(name.to_owned()),
            uid().prop_map(move |u| format!("{name} == {u}")),
            uid().prop_map(move |u| format!("{name} in {u}")),
            pick(&["U", "G", "V"]).prop_map(move |k| format!("{name} is {k}")),
            (pick(&["U", "G"]), uid()).prop_map(move |(k, u)| format!("{name} is {k} in {u}")),
        ]
    };
    let action = pick(&[
        "action",
        "action == Action::\"r\"",
        "action == Action::\"w\"",
        "action in Action::\"all\"",
        "action in [Action::\"ro\", Action::\"all\", Action::\"w\"]",
    ]);
    let condition = pick(&[
        "true",
        "false",
        "principal.x == 1",
        "principal has x",
        "1 + true > 0",
        "resource in G::\"h\"",
    ]);
    (
        pick(&["permit", "forbid"]),
        side("principal"),
        action,
        side("resource"),
        condition,
    )
        .prop_map(|(effect, p, a, r, c)| format!("{effect} ({p}, {a}, {r}) when {{ {c} }};"))
}

proptest! {
    #![proptest_config(cases(150))]

    #[test]
    fn the_index_changes_no_answer(
        policies in prop::collection::vec(plain_policy(), 0..12),
        p in pick(&["U::\"a\"", "U::\"b\"", "G::\"g\"", "U::\"none\"", "V::\"a\""]),
        a in pick(&["r", "w", "ro", "all", "none"]),
        r in pick(&["U::\"a\"", "G::\"g\"", "G::\"h\"", "V::\"a\""]),
    ) {
        let set: PolicySet = policies.concat().parse().unwrap();
        let uid = |text: &str| text.parse::<EntityUid>().unwrap();
        let asked =
            Request::new(uid(p), uid(&format!("Action::\"{a}\"")), uid(r), Context::empty(), None).unwrap();
        let entities = hierarchy();
        let response = Authorizer::new().is_authorized(&asked, &set, &entities);
        let sliced = Sliced::new(&set);
        for indexed in [true, false] {
            let answer = sliced.authorize(&asked, &entities, indexed);
            prop_assert_eq!(answer.decision, response.decision());
            let determining: std::collections::BTreeSet<String> =
                response.diagnostics().reason().map(ToString::to_string).collect();
            prop_assert_eq!(answer.determining, determining);
            prop_assert_eq!(answer.errors.len(), response.diagnostics().errors().count());
        }
    }
}

#[test]
fn one_tenant_never_sees_another() {
    let other = TenantId::parse("other").unwrap();
    let everything = "permit (principal, action, resource);";
    let world = world(&["filesystem:read_text_file"])
        .apply([Fact::Policies(other.clone(), everything.into())])
        .unwrap();
    let mut call = tool_call(&["filesystem:*"], "write_file", json!({}));
    assert!(matches!(decide(&world, &call, NOW).effect, Effect::Deny(_)));
    call.id = DecisionId::from_parts(other, Uuid::from_u128(1));
    call.arguments = Arguments::default();
    call.rates = SmallVec::new();
    assert!(matches!(decide(&world, &call, NOW).effect, Effect::Deny(_)));
}
