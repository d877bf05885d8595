//! What the compiled policies permit, held against the meaning of the conditions reckoned without Cedar.

use bailiwick_grant::vocabulary::View;
use bailiwick_grant::{
    Condition, Literal, Mentions, Operator, Reading, Scope, compile, lookup, parse_scope, validate,
};
use cedar_policy::{
    Authorizer, Context, Decision, Entities, EntityUid, Policy, PolicySet, Request, RestrictedExpression,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::made;

/// The context of the public crate for these arguments, with what the policy mentions.
fn context(policy: &Policy, task: &str, server: &str, args: &Map<String, Value>) -> Context {
    let mentions = Mentions::of(policy).unwrap();
    let text = |t: &str| RestrictedExpression::new_string(t.to_owned());
    let mut pairs = vec![
        ("task".to_owned(), text(task)),
        ("server".to_owned(), text(server)),
    ];
    for view in View::ALL {
        let members = mentions.views.get(&view).into_iter().flatten().filter_map(|arg| {
            let shown = match view.read(lookup(args, arg)?)? {
                Reading::Decimal(n) => {
                    let sign = if n < 0 { "-" } else { "" };
                    let n = n.unsigned_abs();
                    RestrictedExpression::new_decimal(format!("{sign}{}.{:04}", n / 10_000, n % 10_000))
                }
                Reading::Flag(b) => RestrictedExpression::new_bool(b),
                Reading::Integer(n) => RestrictedExpression::new_long(n),
                Reading::Text(t) => text(&t),
                Reading::Texts(list) => RestrictedExpression::new_set(list.into_iter().map(text)),
            };
            Some((arg.clone(), shown))
        });
        let record = RestrictedExpression::new_record(members.collect::<Vec<_>>()).unwrap();
        pairs.push((view.name().to_owned(), record));
    }
    Context::from_pairs(pairs).unwrap()
}

/// Whether the compiled scope permits a call of its own tool with these arguments, and that no evaluation
/// failed.
fn permits(scope: &Scope, args: &Value) -> bool {
    let grant = made::grant(vec![scope.clone()]);
    let (_, policy) = compile(&grant).unwrap().swap_remove(0);
    let uid = |kind: &str, id: &str| {
        EntityUid::from_type_name_and_id(kind.parse().unwrap(), cedar_policy::EntityId::new(id))
    };
    let (action, resource) = match scope.action.as_ref().map(|a| a.as_str()) {
        Some("prompts/get") => ("prompts/get", uid("Prompt", "x")),
        Some("resources/read") => ("resources/read", uid("Resource", "x")),
        Some(name) => ("tools/call", uid("Tool", &format!("{}/{name}", scope.server))),
        None => ("tools/call", uid("Tool", "whatever/x")),
    };
    let args = args.as_object().cloned().unwrap_or_default();
    let context = context(&policy, &grant.task.to_string(), scope.server.as_str(), &args);
    let principal = uid("Identity", &grant.identity.to_string());
    let asked = Request::new(principal, uid("Action", action), resource, context, None).unwrap();
    let set = PolicySet::from_policies([policy]).unwrap();
    let response = Authorizer::new().is_authorized(&asked, &set, &Entities::empty());
    assert_eq!(
        response.diagnostics().errors().count(),
        0,
        "{scope}: a condition is false, never an error"
    );
    response.decision() == Decision::Allow
}

#[track_caller]
fn case(scope: &str, args: Value, wanted: bool) {
    let scope = parse_scope(scope).unwrap();
    assert_eq!(permits(&scope, &args), wanted, "{scope} with {args}");
}

#[test]
fn under_is_lexical_containment() {
    let scope = r#"s:t(path under "/srv/invoices")"#;
    for path in [
        "/srv/invoices",
        "/srv/invoices/",
        "/srv/invoices/a",
        "/srv/invoices/./a",
        "/srv/invoices//a",
        "/srv/invoices/..a/b...c",
        "/srv/invoices/July 2026, 50%.pdf",
    ] {
        case(scope, json!({"path": path}), true);
    }
    for path in [
        "/srv/invoicesx",
        "/srv/invoice",
        "/srv",
        "srv/invoices/a",
        "/srv/invoices/../a",
        "/srv/invoices/..",
        "/srv/invoices/a/../../..",
        "/srv/invoices/a\\..\\b",
        "/srv/invoices/\0",
        "/srv/invoices/a\tb",
        "/srv/invoices/.\n./a",
        "/srv/invoices/a\u{7f}",
        "/srv/invoices/a\u{85}",
        "/srv/invoices/%2e%2e/a",
        "/srv/invoices/%2E./a",
        "/srv/invoices/..%2fa",
        "/srv/invoices/a%2F..%2F..%2Fb",
        "/srv/invoices/a%5c..%5cb",
        "/srv/invoices/%252e%252e/a",
        "/srv/invoices/%25252e%25252e/a",
        "/srv/invoices/a%00b",
        "/srv/invoices/.%09./a",
        "//srv/invoices/a",
        " /srv/invoices/a",
        "/SRV/invoices/a",
        "file:///srv/invoices/a",
        "",
    ] {
        case(scope, json!({"path": path}), false);
    }
    case(r#"s:t(path under "/")"#, json!({"path": "/anything"}), true);
    case(r#"s:t(path under "/")"#, json!({"path": "anything"}), false);
    case(r#"s:t(path under "/srv/")"#, json!({"path": "/srv"}), true);
    case(r#"s:t(path under "/srv/*")"#, json!({"path": "/srv/x/a"}), false);
    case(r#"s:t(path under "/srv/*")"#, json!({"path": "/srv/*/a"}), true);
}

#[test]
fn under_holds_for_a_list_when_it_holds_for_all_of_it() {
    let scope = r#"s:t(paths under "/srv/invoices")"#;
    case(
        scope,
        json!({"paths": ["/srv/invoices/a", "/srv/invoices/b/c"]}),
        true,
    );
    case(scope, json!({"paths": ["/srv/invoices/a"]}), true);
    case(
        scope,
        json!({"paths": ["/srv/invoices/a", "/srv/invoices"]}),
        true,
    );
    case(scope, json!({"paths": ["/srv/invoices/a", "/srv/other"]}), false);
    case(
        scope,
        json!({"paths": ["/srv/invoices/a", "/srv/invoices/../b"]}),
        false,
    );
    case(scope, json!({"paths": ["/srv/invoices/a", 5]}), false);
    case(scope, json!({"paths": []}), false);
    case(r#"s:t(paths under "/")"#, json!({"paths": ["/a", "/b"]}), true);
}

#[test]
fn under_takes_uris_without_anything_that_is_decoded_later() {
    let scope = r#"s:resources/read(uri under "file:///srv")"#;
    case(scope, json!({"uri": "file:///srv/a"}), true);
    case(scope, json!({"uri": "file:///srv"}), true);
    for uri in [
        "file:///srv/%2e%2e/x",
        "file:///srv/a?x",
        "file:///srv/a#x",
        "file:///srv/../x",
        "file://host/srv/a",
        "/srv/a",
        "FILE:///srv/a",
        "file:///srv/.\t./.\t./etc/passwd",
        "file:///srv/.\n./etc/passwd",
        "file:///srv/.\r./etc/passwd",
        "file:///srv/\u{1f}a",
        "file:///srv/a b",
        "file:///srv/a ",
        " file:///srv/a",
        "file:///srv/a\u{a0}b",
        "file:///srv/./a",
        "file:///srv/a/.",
        "file:///srv/..\\a",
    ] {
        case(scope, json!({"uri": uri}), false);
    }
    let root = r#"s:resources/read(uri under "https://host/")"#;
    case(root, json!({"uri": "https://host/a"}), true);
    case(root, json!({"uri": "https://host.evil/a"}), false);
    case(root, json!({"uri": "https://host@evil/a"}), false);
    case(
        r#"s:resources/read(uri under "file:///")"#,
        json!({"uri": "file:///etc"}),
        true,
    );
    case(
        r#"s:resources/read(uri under "file:///")"#,
        json!({"uri": "file://evil/etc"}),
        false,
    );
}

#[test]
fn a_condition_fails_when_another_member_could_be_read_as_its_argument() {
    let scope = r#"s:t(path under "/srv/invoices")"#;
    for other in ["PATH", "Path", "pa\u{ff54}h", "\u{ff30}ATH"] {
        let args = json!({"path": "/srv/invoices/a", other: "/etc/passwd"});
        case(scope, args, false);
        case(scope, json!({other: "/srv/invoices/a"}), false);
    }
    for (name, other) in [
        ("sink", "\u{17f}in\u{212a}"),
        ("straße", "STRASSE"),
        ("λόγος", "ΛΌΓΟΣ"),
    ] {
        let scope = format!("s:t(\"{name}\" = \"a\")");
        case(&scope, json!({name: "a"}), true);
        case(&scope, json!({name: "a", other: "b"}), false);
    }
    let args = json!({"path": "/srv/invoices/a", "paths": ["/etc"], "pathx": 1, "pa": 2});
    case(scope, args, true);
    let order = "s:t(order.total <= 5)";
    case(order, json!({"order": {"total": 5, "Total": 500}}), false);
    case(
        order,
        json!({"order": {"total": 5}, "Order": {"total": 500}}),
        false,
    );
    case(order, json!({"order": {"total": 5}, "TOTAL": 500}), true);
}

#[test]
fn numbers_compare_exactly_or_not_at_all() {
    case("s:t(n <= 50)", json!({"n": 50}), true);
    case("s:t(n <= 50)", json!({"n": 50.0}), true);
    case("s:t(n <= 50)", json!({"n": 49.5}), false);
    case("s:t(n <= 50)", json!({"n": 51}), false);
    case("s:t(n <= 50)", json!({"n": "5"}), false);
    case("s:t(n <= 50)", json!({"n": null}), false);
    case("s:t(n <= 50)", json!({}), false);
    case("s:t(n >= 50)", json!({"n": u64::MAX}), false);
    case("s:t(n <= 50.25)", json!({"n": 50.25}), true);
    case("s:t(n <= 50.25)", json!({"n": 50}), true);
    case("s:t(n <= 50.25)", json!({"n": -1.5}), true);
    case("s:t(n <= 50.25)", json!({"n": 50.2501}), false);
    case("s:t(n <= 50.25)", json!({"n": 50.123_45}), false);
    case("s:t(n >= 0.0)", json!({"n": 1e300}), false);
    case("s:t(n >= 0.0)", json!({"n": i64::MAX}), false);
    case("s:t(n = 0.1)", json!({"n": 0.1}), true);
    case("s:t(n = 0.3)", json!({"n": 0.1 + 0.2}), false);
    case("s:t(n in [1, 2])", json!({"n": 2}), true);
    case("s:t(n in [1.5, 2.0])", json!({"n": 2}), true);
    case("s:t(n in [1.5, 2.0])", json!({"n": 2.5}), false);
}

#[test]
fn texts_and_lists_of_texts() {
    let scope = r#"s:t(to in ["a", "b"])"#;
    case(scope, json!({"to": "a"}), true);
    case(scope, json!({"to": "c"}), false);
    case(scope, json!({"to": ["a", "b", "a"]}), true);
    case(scope, json!({"to": ["a", "c"]}), false);
    case(scope, json!({"to": ["a", 1]}), false);
    case(scope, json!({"to": []}), false);
    case(r#"s:t(to = "a")"#, json!({"to": ["a"]}), false);
    case("s:t(dry_run = true)", json!({"dry_run": true}), true);
    case("s:t(dry_run = true)", json!({"dry_run": "true"}), false);
    case("s:t(order.total <= 5)", json!({"order": {"total": 5}}), true);
    case("s:t(order.total <= 5)", json!({"order.total": 5}), false);
    case("s:t(order.total <= 5)", json!({"order": [{"total": 5}]}), false);
}

#[test]
fn hostile_text_stays_a_literal() {
    for (n, text) in made::HOSTILE.iter().enumerate() {
        let condition = Condition {
            arg: "x".to_owned(),
            operator: Operator::Equal,
            values: vec![Literal::Text((*text).to_owned())],
        };
        let scope = Scope {
            conditions: vec![condition],
            ..parse_scope("s:t").unwrap()
        };
        for (m, other) in made::HOSTILE.iter().enumerate() {
            assert_eq!(
                permits(&scope, &json!({"x": other})),
                n == m,
                "{text:?} against {other:?}"
            );
        }
    }
}

proptest! {
    #![proptest_config(made::cases(600))]

    /// Never more than was meant, and never less: Cedar's answer is the conjunction of the conditions.
    #[test]
    fn the_compiled_scope_means_its_conditions(
        scope in made::scope(),
        args in made::arguments(),
        near in any::<prop::sample::Index>(),
        take_near in any::<bool>(),
    ) {
        let args = match scope.conditions.as_slice() {
            [] => args,
            list if take_near => made::near(&list[near.index(list.len())]),
            _ => args,
        };
        let map = args.as_object().cloned().unwrap_or_default();
        let meant = scope.conditions.iter().all(|c| c.holds(&map));
        prop_assert_eq!(permits(&scope, &args), meant);
    }

    /// Adding a condition never turns a denial into a permit.
    #[test]
    fn a_further_condition_only_narrows(
        mut scope in made::scope(),
        condition in made::condition(),
        args in made::arguments(),
    ) {
        let before = permits(&scope, &args);
        scope.conditions.push(condition);
        prop_assert!(before || !permits(&scope, &args));
    }
}

proptest! {
    #![proptest_config(made::cases(20))]

    /// Every grant that can be made passes Cedar's strict validation.
    #[test]
    fn every_grant_validates_strictly(scopes in prop::collection::vec(made::scope(), 1..3)) {
        prop_assert_eq!(validate(&made::grant(scopes)), Ok(()));
    }

    /// The text that is shown for a policy is the policy.
    #[test]
    fn the_policy_as_text_is_the_same_policy(scope in made::scope()) {
        for (id, policy) in compile(&made::grant(vec![scope])).unwrap() {
            let text = policy.to_cedar().unwrap();
            let back = Policy::parse(Some(id), &text).unwrap();
            prop_assert_eq!(&back, &policy, "{}", text);
        }
    }
}

#[test]
fn what_is_put_together_by_hand_is_judged_again() {
    let mut scope = parse_scope("s:t(a = 1)").unwrap();
    scope.conditions[0].operator = Operator::Under;
    assert!(compile(&made::grant(vec![scope.clone()])).is_err());
    scope.conditions[0].values = vec![Literal::Text("/srv/..".to_owned())];
    assert!(compile(&made::grant(vec![scope.clone()])).is_err());
    scope.conditions[0].values = vec![];
    assert!(compile(&made::grant(vec![scope])).is_err());
}

#[test]
fn a_policy_holds_for_its_own_task_identity_and_server_only() {
    let scope = parse_scope("s:*").unwrap();
    let grant = made::grant(vec![scope]);
    let (id, policy) = compile(&grant).unwrap().swap_remove(0);
    assert_eq!(id.to_string(), format!("{}#0", grant.id));
    let set = PolicySet::from_policies([policy.clone()]).unwrap();
    let ask = |identity: &str, task: &str, server: &str, action: &str| {
        let context = context(&policy, task, server, &Map::new());
        let uid = |t: &str| t.parse::<EntityUid>().unwrap();
        let asked = Request::new(
            uid(&format!("Identity::\"{identity}\"")),
            uid(&format!("Action::\"{action}\"")),
            uid("Tool::\"s/x\""),
            context,
            None,
        );
        Authorizer::new()
            .is_authorized(&asked.unwrap(), &set, &Entities::empty())
            .decision()
    };
    let (identity, task) = (grant.identity.to_string(), grant.task.to_string());
    assert_eq!(ask(&identity, &task, "s", "tools/call"), Decision::Allow);
    assert_eq!(ask(&identity, &task, "s", "resources/read"), Decision::Allow);
    assert_eq!(ask("other", &task, "s", "tools/call"), Decision::Deny);
    assert_eq!(ask(&identity, "", "s", "tools/call"), Decision::Deny);
    assert_eq!(ask(&identity, &task, "other", "tools/call"), Decision::Deny);
    assert_eq!(ask(&identity, &task, "s", "tools/list"), Decision::Deny);
}
