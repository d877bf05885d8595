//! Asking for less at the token endpoint: exactly that, or a refusal.

use bailiwick_credential::ScopeSet;
use bailiwick_grant::{NotAsked, Scope, held, narrow, parse_scope};
use proptest::prelude::*;

use crate::made;

fn scopes(texts: &[&str]) -> Vec<Scope> {
    texts.iter().map(|text| parse_scope(text).unwrap()).collect()
}

#[test]
fn what_is_asked_for_is_what_the_token_allows() {
    let granted = [
        "files:*",
        r#"mail:send(to in ["a", "b"])"#,
        r#"mail:send(to = "c")"#,
        "db:*(limit <= 5, rate 10/60s)",
    ];
    for (asked, carried) in [
        (vec!["files:*"], Some("files:*")),
        (vec!["files:read", "files:list"], Some("files:list files:read")),
        (
            vec![r#"mail:send(to in ["a", "b"])"#, r#"mail:send(to = "c")"#],
            Some("mail:send"),
        ),
        // Each of these would be wider than asked for.
        (vec![r#"mail:send(to = "c")"#], None),
        (vec![r#"files:read(path under "/a")"#], None),
        (vec!["db:*(limit <= 4, rate 10/60s)"], None),
        (vec!["db:*(limit <= 5)"], None),
        (vec!["mail:send"], None),
        (vec!["mail:*"], None),
        (vec!["chat:send"], None),
        (vec![], None),
        // A rule for all actions, cut to one of them.
        (vec!["db:read(limit <= 5, rate 10/60s)"], Some("db:read")),
    ] {
        let narrowed = narrow(&scopes(&granted), &scopes(&asked));
        assert_eq!(
            narrowed.as_ref().map(ScopeSet::to_string).ok().as_deref(),
            carried,
            "{asked:?}: {narrowed:?}"
        );
    }
}

#[test]
fn a_refusal_says_which_and_why() {
    let granted = scopes(&[
        "files:read",
        r#"files:write(path under "/a")"#,
        r#"files:write(path under "/b")"#,
    ]);
    let refused = |asked: &[&str]| narrow(&granted, &scopes(asked)).unwrap_err();
    assert_eq!(refused(&[]), NotAsked::Nothing);
    assert_eq!(
        refused(&["files:read", "files:delete"]),
        NotAsked::Ungranted {
            n: 1,
            scope: "files:delete".to_owned()
        }
    );
    assert_eq!(
        refused(&[r#"files:write(path under "/a")"#]),
        NotAsked::Wider {
            scope: r#"files:write(path under "/b")"#.to_owned()
        }
    );
}

/// Few servers, tools and conditions, so that they meet.
fn small() -> impl Strategy<Value = Scope> {
    let condition = prop_oneof![Just(""), Just("(n <= 1)"), Just("(n <= 2)"), Just("(n = 2)")];
    (
        prop_oneof![Just("s"), Just("r")],
        prop_oneof![Just("*"), Just("t"), Just("u")],
        condition,
    )
        .prop_map(|(server, action, condition)| {
            parse_scope(&format!("{server}:{action}{condition}")).unwrap()
        })
}

fn allows(scopes: &[Scope], server: &str, tool: &str, n: i64) -> bool {
    let args = serde_json::json!({ "n": n });
    let args = args.as_object().unwrap();
    scopes.iter().any(|s| {
        s.server.as_str() == server
            && s.action.as_ref().is_none_or(|a| a.as_str() == tool)
            && s.conditions.iter().all(|c| c.holds(args))
    })
}

proptest! {
    #![proptest_config(made::cases(2_000))]

    /// A token carries coarse scopes, and the grant judges the arguments: together they are what was asked for.
    #[test]
    fn no_token_allows_more_or_less_than_was_asked(
        granted in prop::collection::vec(small(), 1..5),
        picked in prop::collection::vec(any::<prop::sample::Index>(), 1..4),
        free in prop::collection::vec(small(), 0..2),
    ) {
        let mut asked: Vec<Scope> = picked.iter().map(|i| i.get(&granted).clone()).collect();
        asked.extend(free);
        if let Ok(carried) = narrow(&granted, &asked) {
            let told = held(&granted, &carried);
            for (server, tool, n) in world(&["s", "r"], &["t", "u", "v"], 0..4) {
                let token = carried.contains(server, tool) && allows(&granted, server, tool, n);
                prop_assert_eq!(token, allows(&asked, server, tool, n), "{}:{} {}", server, tool, n);
                prop_assert_eq!(token, allows(&told, server, tool, n), "told {}:{} {}", server, tool, n);
            }
        }
    }
}

/// Every call of a small world.
fn world<'a>(
    servers: &'a [&'a str],
    tools: &'a [&'a str],
    numbers: std::ops::Range<i64>,
) -> impl Iterator<Item = (&'a str, &'a str, i64)> {
    servers.iter().flat_map(move |server| {
        let numbers = numbers.clone();
        tools
            .iter()
            .flat_map(move |tool| numbers.clone().map(move |n| (*server, *tool, n)))
    })
}
