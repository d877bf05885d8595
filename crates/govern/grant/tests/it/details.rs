//! The RFC 9396 form of a scope.

use bailiwick_grant::{from_authorization_details, parse_scope, to_authorization_details};
use proptest::prelude::*;
use serde_json::json;

use crate::made;

#[test]
fn the_example_of_the_decisions_page() {
    let details = json!([{"type": "bailiwick_call", "locations": ["filesystem"],
        "actions": ["read_text_file"], "args": {"path": {"under": "/srv/invoices"}}}]);
    let scope = parse_scope(r#"filesystem:read_text_file(path under "/srv/invoices")"#).unwrap();
    assert_eq!(from_authorization_details(&details).unwrap(), vec![scope.clone()]);
    assert_eq!(to_authorization_details(&[scope]), details);
}

#[test]
fn several_locations_and_actions_mean_every_combination() {
    let details = json!([{"type": "bailiwick_call", "locations": ["a", "b"], "actions": ["x", "*"],
        "rate": {"calls": 10, "window_s": 60}}]);
    let shown: Vec<String> = from_authorization_details(&details)
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        shown,
        [
            "a:x(rate 10/60s)",
            "a:*(rate 10/60s)",
            "b:x(rate 10/60s)",
            "b:*(rate 10/60s)"
        ]
    );
}

#[test]
fn what_is_not_known_is_refused_with_its_path() {
    let one = |extra: serde_json::Value| {
        let mut detail = json!({"type": "bailiwick_call", "locations": ["s"], "actions": ["t"]});
        for (name, value) in extra.as_object().unwrap() {
            detail[name] = value.clone();
        }
        from_authorization_details(&json!([detail]))
            .unwrap_err()
            .to_string()
    };
    for (extra, wanted) in [
        (json!({"extra": 1}), "`extra`"),
        (json!({"type": "other"}), "[0].type"),
        (json!({"locations": []}), "[0].locations"),
        (json!({"locations": [1]}), "[0].locations"),
        (json!({"locations": ["UPPER"]}), "[0].locations"),
        (json!({"actions": ["a b"]}), "[0].actions"),
        (json!({"args": {"a": {"like": "x"}}}), "[0].args.a"),
        (json!({"args": {"a": {}}}), "[0].args.a"),
        (json!({"args": {"a": []}}), "[0].args.a"),
        (json!({"args": {"a": {"under": "x"}}}), "[0].args.a.under"),
        (json!({"args": {"a": {"<=": 1.23456}}}), "[0].args.a.<="),
        (json!({"args": {"a": {"=": null}}}), "[0].args.a.="),
        (json!({"args": {"a": {"=": {"decimal": "1"}}}}), "[0].args.a.="),
        (json!({"args": {"a": {"=": {"decimal": "1.0", "x": 1}}}}), "`x`"),
        (json!({"args": {"a": {"in": "x"}}}), "[0].args.a.in"),
        (json!({"args": {"": {"=": 1}}}), "[0].args."),
        (json!({"rate": {"calls": 1}}), "[0].rate.window_s"),
        (json!({"rate": {"calls": 0, "window_s": 1}}), "[0].rate.calls"),
        (
            json!({"rate": {"calls": 1, "window_s": 1, "burst": 2}}),
            "`burst`",
        ),
    ] {
        let error = one(extra.clone());
        assert!(error.contains(wanted), "{extra}: {error}");
    }
    assert!(from_authorization_details(&json!({})).is_err());
    assert!(from_authorization_details(&json!([1])).is_err());
    let many = json!([{"type": "bailiwick_call", "locations": vec!["s"; 129], "actions": ["t"]}]);
    assert!(from_authorization_details(&many).is_err());
}

proptest! {
    #![proptest_config(made::cases(150))]

    #[test]
    fn details_lose_nothing(mut scopes in prop::collection::vec(made::scope(), 0..4)) {
        let details = to_authorization_details(&scopes);
        let text = serde_json::to_string(&details).unwrap();
        let back = from_authorization_details(&serde_json::from_str(&text).unwrap()).unwrap();
        // An object has no order, so conditions come back sorted; they are a conjunction.
        let sorted = |s: &mut bailiwick_grant::Scope| s.conditions.sort_by_key(|c| (c.arg.clone(), c.to_string()));
        let mut back = back;
        scopes.iter_mut().for_each(sorted);
        back.iter_mut().for_each(sorted);
        prop_assert_eq!(back, scopes);
    }
}
