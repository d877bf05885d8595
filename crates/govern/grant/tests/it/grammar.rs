//! The text form of a scope.

use std::time::Duration;

use bailiwick_grant::{Condition, Literal, Operator, Rate, parse_scope};
use proptest::prelude::*;

use crate::made;

#[test]
fn the_example_of_the_decisions_page() {
    let scope = parse_scope(
        r#"filesystem:read_text_file(path under "/srv/invoices", amount <= 50.25, to in ["a","b"], rate 10/60s)"#,
    )
    .unwrap();
    assert_eq!(scope.server.as_str(), "filesystem");
    assert_eq!(scope.action.as_ref().map(|a| a.as_str()), Some("read_text_file"));
    let condition = |arg: &str, operator, values| Condition {
        arg: arg.to_owned(),
        operator,
        values,
    };
    let text = |t: &str| Literal::Text(t.to_owned());
    assert_eq!(
        scope.conditions,
        vec![
            condition("path", Operator::Under, vec![text("/srv/invoices")]),
            condition("amount", Operator::AtMost, vec![Literal::Decimal(502_500)]),
            condition("to", Operator::In, vec![text("a"), text("b")]),
        ]
    );
    assert_eq!(
        scope.rate,
        Some(Rate {
            calls: 10,
            window: Duration::from_secs(60)
        })
    );
    assert_eq!(
        scope.to_string(),
        r#"filesystem:read_text_file(path under "/srv/invoices", amount <= 50.25, to in ["a", "b"], rate 10/60s)"#
    );
}

#[test]
fn short_forms() {
    for (text, shown) in [
        ("s:*", "s:*"),
        ("s:t", "s:t"),
        ("s:t()", "s:t"),
        ("s:t( a.b.c=1 )", "s:t(a.b.c = 1)"),
        ("s:t(rate 1/2m)", "s:t(rate 1/120s)"),
        ("s:t(rate = 5)", "s:t(rate = 5)"),
        ("s:t(in in [1,2])", "s:t(in in [1, 2])"),
        ("s:t(a=-1.5,b>=1)", "s:t(a = -1.5, b >= 1)"),
        ("s:t(\"to address\".x = true)", "s:t(\"to address\".x = true)"),
        ("s:t(a = \"\\u{0}\\n\\\"\")", "s:t(a = \"\\u{0}\\n\\\"\")"),
        (
            "s:resources/read(uri under \"file:///srv\")",
            "s:resources/read(uri under \"file:///srv\")",
        ),
    ] {
        let scope = parse_scope(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        assert_eq!(scope.to_string(), shown);
    }
}

#[test]
fn an_error_says_where_and_what_was_expected() {
    for (text, position, expected) in [
        ("", 0, "server name"),
        ("Big:t", 0, "server name"),
        ("s", 1, "`:`"),
        ("s:", 2, "tool name"),
        ("s:t(", 4, "argument name"),
        ("s:t(a", 5, "one of `=`"),
        ("s:t(a ~ 1)", 6, "one of `=`"),
        ("s:t(a = )", 8, "a value"),
        ("s:t(a = 1", 9, "`,` or `)`"),
        ("s:t(a = 1) x", 10, "the end"),
        ("s:t(a in 1)", 9, "`[`"),
        ("s:t(a in [])", 10, "a value"),
        ("s:t(a = 1.23456)", 8, "decimal"),
        ("s:t(a = 9999999999999999999)", 8, "whole number"),
        ("s:t(a = \"x)", 11, "closing"),
        ("s:t(a = \"\\q\")", 10, "one of"),
        ("s:t(rate 0/1s)", 9, "number of calls"),
        ("s:t(rate 1/0s)", 11, "window"),
        ("s:t(rate 1/25h)", 11, "window"),
        ("s:t(rate 1/2d)", 12, "`s`, `m` or `h`"),
        ("s:t(rate 1/2s, rate 1/2s)", 15, "one rate"),
        ("s:t(a under \"srv\")", 4, "can hold"),
        ("s:t(a under \"/srv/../etc\")", 4, "can hold"),
        ("s:t(a under \"/srv\\\\x\")", 4, "can hold"),
        ("s:t(a under \"/srv\\u{0}\")", 4, "can hold"),
        ("s:t(a under \"file:///srv/a b\")", 4, "can hold"),
        ("s:t(a under \"file:///srv\\t/a\")", 4, "can hold"),
        ("s:t(a under \"/srv/%2e%2e/a\")", 4, "can hold"),
        ("s:t(a under 5)", 4, "can hold"),
        ("s:t(a <= \"x\")", 4, "can hold"),
        ("s:t(a in [1, \"x\"])", 4, "can hold"),
        ("s:t(\"a.b\" = 1)", 4, "member name"),
    ] {
        let error = parse_scope(text).unwrap_err();
        assert_eq!(error.position, position, "{text}: {error}");
        assert!(error.to_string().contains(expected), "{text}: {error}");
    }
}

#[test]
fn limits_are_refused() {
    let many = format!("s:t({})", vec!["a = 1"; 33].join(", "));
    assert!(
        parse_scope(&many)
            .unwrap_err()
            .to_string()
            .contains("32 conditions")
    );
    let values = format!("s:t(a in [{}])", vec!["1"; 129].join(","));
    assert!(
        parse_scope(&values)
            .unwrap_err()
            .to_string()
            .contains("128 values")
    );
    let long = format!("s:t(a = \"{}\")", "x".repeat(5000));
    assert!(parse_scope(&long).unwrap_err().to_string().contains("4096"));
    assert!(
        parse_scope(&"x".repeat(20_000))
            .unwrap_err()
            .to_string()
            .contains("16384")
    );
    let deep = format!("s:t({} = 1)", ["a"; 9].join("."));
    assert!(parse_scope(&deep).unwrap_err().to_string().contains("8 members"));
}

proptest! {
    #![proptest_config(made::cases(300))]

    #[test]
    fn what_is_shown_is_read_back(scope in made::scope()) {
        prop_assert_eq!(parse_scope(&scope.to_string()), Ok(scope));
    }

    #[test]
    fn no_text_makes_the_reader_fail_otherwise(text in any::<String>()) {
        if let Err(error) = parse_scope(&text) {
            prop_assert!(error.position <= text.len());
        }
    }

    #[test]
    fn a_scope_with_one_byte_changed_is_refused_or_means_what_it_shows(
        scope in made::scope(),
        at in any::<prop::sample::Index>(),
        with in any::<char>(),
    ) {
        let mut chars: Vec<char> = scope.to_string().chars().collect();
        let at = at.index(chars.len());
        chars[at] = with;
        let text: String = chars.into_iter().collect();
        if let Ok(read) = parse_scope(&text) {
            prop_assert_eq!(parse_scope(&read.to_string()), Ok(read));
        }
    }
}
