//! Scopes and arguments made at random, hostile ones among them.

use std::time::Duration;

use bailiwick_base::{GrantId, IdentityId, ServerName, TaskId, TenantId, Time, ToolName};
use bailiwick_grant::{Condition, Grant, Literal, Operator, Rate, Scope};
use proptest::prelude::*;
use serde_json::{Value, json};
use uuid::Uuid;

/// So many cases, none of them written into the tree.
pub(crate) fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

pub(crate) fn tenant() -> TenantId {
    TenantId::parse("acme").unwrap()
}

pub(crate) fn grant(scopes: Vec<Scope>) -> Grant {
    Grant {
        id: GrantId::from_parts(tenant(), Uuid::from_u128(1)),
        task: TaskId::from_parts(tenant(), Uuid::from_u128(2)),
        identity: IdentityId::from_parts(tenant(), Uuid::from_u128(3)),
        scopes,
        expires_at: Time::from_secs(1000),
    }
}

/// Texts that try to leave the literal they stand in.
pub(crate) const HOSTILE: [&str; 16] = [
    "",
    "*",
    "\"",
    "\\",
    "\\*",
    "\" || true || \"",
    "\") || (1 == 1) || (\"",
    "\"]) || true || [\"",
    "x\n}; permit (principal, action, resource); //",
    "\0",
    "\u{202e}abc",
    "${jndi:x}",
    "a\u{0301}",
    "\\u{22}",
    "/srv/*",
    "🦀",
];

pub(crate) fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(HOSTILE.to_vec()).prop_map(str::to_owned),
        "[a-c*/\\\\.\"%]{0,6}",
        any::<String>().prop_map(|s| s.chars().take(12).collect()),
    ]
}

/// Few names, so that conditions and arguments meet.
pub(crate) fn arg() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("path".to_owned()),
        Just("PATH".to_owned()),
        Just("to".to_owned()),
        Just("amount".to_owned()),
        Just("order.total".to_owned()),
        Just("weird name".to_owned()),
        Just("rate".to_owned()),
        Just("in".to_owned()),
        Just("a\"; b".to_owned()),
    ]
}

pub(crate) fn base() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("/".to_owned()),
        "(/[a-c*]{1,3}){1,3}/?",
        Just("file:///".to_owned()),
        Just("https://host/".to_owned()),
        "file:///[a-c]{1,2}(/[a-c]{1,2})?",
        "https://[a-c]{1,2}/[a-c]{0,2}",
    ]
}

pub(crate) fn path() -> impl Strategy<Value = String> {
    prop_oneof![
        "(/(\\.\\.|\\.|[a-c*]{0,3})){0,5}/?",
        "(file:///|https://[a-c]{1,2}/|https://)?[a-c./%?#\\\\]{0,8}",
        "(file:///|https://[a-c]{1,2}/|/)([a-c]|\\.|/|%2[ef]|%5c|%25|\t|\n|\r| |\u{7f}|\u{85}){0,8}",
        text(),
    ]
}

fn number() -> impl Strategy<Value = Literal> {
    prop_oneof![
        prop_oneof![-20_i64..20, any::<i64>()].prop_map(Literal::Integer),
        prop_oneof![-200_000_i64..200_000, any::<i64>()].prop_map(Literal::Decimal),
    ]
}

fn several<T: std::fmt::Debug + Clone>(
    one: impl Strategy<Value = T> + Clone,
) -> impl Strategy<Value = Vec<T>> {
    prop::collection::vec(one, 1..4)
}

fn same_kind(values: &[Literal]) -> bool {
    values
        .windows(2)
        .all(|w| std::mem::discriminant(&w[0]) == std::mem::discriminant(&w[1]))
}

pub(crate) fn condition() -> impl Strategy<Value = Condition> {
    let order = prop_oneof![
        Just(Operator::AtLeast),
        Just(Operator::AtMost),
        Just(Operator::Equal)
    ];
    prop_oneof![
        (arg(), order, number()).prop_map(|(arg, operator, n)| Condition {
            arg,
            operator,
            values: vec![n]
        }),
        (arg(), any::<bool>()).prop_map(|(arg, b)| Condition {
            arg,
            operator: Operator::Equal,
            values: vec![Literal::Bool(b)]
        }),
        (arg(), text()).prop_map(|(arg, t)| Condition {
            arg,
            operator: Operator::Equal,
            values: vec![Literal::Text(t)]
        }),
        (arg(), several(text().boxed())).prop_map(|(arg, list)| Condition {
            arg,
            operator: Operator::In,
            values: list.into_iter().map(Literal::Text).collect()
        }),
        (arg(), several(number().boxed()))
            .prop_filter("one kind", |(_, l)| same_kind(l))
            .prop_map(|(arg, values)| Condition {
                arg,
                operator: Operator::In,
                values
            }),
        (arg(), base()).prop_map(|(arg, b)| Condition {
            arg,
            operator: Operator::Under,
            values: vec![Literal::Text(b)]
        }),
    ]
}

pub(crate) fn rate() -> impl Strategy<Value = Rate> {
    (1_u32..100, 1_u64..86_400).prop_map(|(calls, s)| Rate {
        calls,
        window: Duration::from_secs(s),
    })
}

pub(crate) fn scope() -> impl Strategy<Value = Scope> {
    let action = prop_oneof![
        Just(None),
        Just(Some("read_text_file")),
        Just(Some("a.b/c-d_E")),
        Just(Some("resources/read")),
        Just(Some("prompts/get")),
    ];
    let server = prop_oneof![Just("filesystem"), Just("mail-2")];
    (
        server,
        action,
        prop::collection::vec(condition(), 0..4),
        prop::option::of(rate()),
    )
        .prop_map(|(server, action, conditions, rate)| Scope {
            server: ServerName::parse(server).unwrap(),
            action: action.map(|a| ToolName::parse(a).unwrap()),
            conditions,
            rate,
        })
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        prop_oneof![-20_i64..20, any::<i64>()].prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        prop_oneof![
            (-200_000_i64..200_000).prop_map(|n| f64::from(i32::try_from(n).unwrap()) / 10_000.0),
            any::<f64>().prop_filter("finite", |f| f.is_finite()),
            Just(-0.0),
            Just(1e300),
            Just(10.0),
        ]
        .prop_map(|f| json!(f)),
        text().prop_map(Value::from),
        path().prop_map(Value::from),
        base().prop_map(Value::from),
        prop::collection::vec(prop_oneof![path(), text(), base()], 0..3).prop_map(Value::from),
        Just(json!(["a", 1])),
        Just(json!({"x": 1})),
    ]
}

/// Arguments of a call; sometimes exactly what a condition asks for.
pub(crate) fn arguments() -> impl Strategy<Value = Value> {
    (prop::collection::vec((arg(), value()), 0..5), value()).prop_map(|(pairs, total)| {
        let mut out = serde_json::Map::new();
        for (name, value) in pairs {
            if name == "order.total" {
                out.insert("order".to_owned(), json!({"total": total}));
            } else {
                out.insert(name, value);
            }
        }
        Value::Object(out)
    })
}

/// Arguments that have a good chance to satisfy `condition`.
pub(crate) fn near(condition: &Condition) -> Value {
    let value = match condition.values.first() {
        Some(Literal::Bool(b)) => json!(b),
        Some(Literal::Integer(n)) => json!(n),
        Some(Literal::Decimal(n)) => {
            let text = format!("{}.{:04}", n / 10_000, (n % 10_000).unsigned_abs());
            serde_json::from_str(&text).unwrap_or(Value::Null)
        }
        Some(Literal::Text(t)) => json!(t),
        None => Value::Null,
    };
    let mut members: Vec<&str> = condition.arg.split('.').collect();
    let mut out = json!({ members.pop().unwrap(): value });
    while let Some(member) = members.pop() {
        out = json!({ member: out });
    }
    out
}
