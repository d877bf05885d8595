//! What an agent is made of: one form, one digest.

use bailiwick_base::{Composition, Digest, canonical};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const PARTS: [&str; 4] = ["code", "model", "prompt", "tools"];

fn text(n: u8) -> Value {
    Value::String(Digest::of(&[n]).to_base64url())
}

/// The members in the order given, each with its own value.
fn object(members: &[(usize, u8)]) -> Value {
    let mut object = Map::new();
    for (part, n) in members {
        object.insert((*PARTS.get(*part).unwrap()).to_owned(), text(*n));
    }
    Value::Object(object)
}

fn read(value: &Value) -> Composition {
    Composition::from_json(value).unwrap()
}

#[test]
fn the_digest_is_that_of_the_canonical_json() {
    let value = object(&[(3, 1), (0, 2), (2, 3), (1, 4)]);
    let composition = read(&value);
    assert_eq!(
        composition.digest(),
        Digest::of(&canonical::to_vec(&value).unwrap())
    );
    // Reckoned by another program: printf '{"model":"%s"}' "$(printf m | openssl dgst -sha256 -binary | basenc
    // --base64url | tr -d =)" | sha256sum.
    let one = read(&json!({"model": Digest::of(b"m").to_base64url()}));
    assert_eq!(
        one.digest().to_string(),
        "34abd71fdda016311f44c8bf1808f7ab4b62e5d853e6e54d3bf77ffd5ba0b911"
    );
}

#[test]
fn a_part_of_another_form_is_named() {
    let good = Digest::of(b"x").to_base64url();
    let named = |value: Value| Composition::from_json(&value).map_err(|e| e.field);
    for whole in [
        json!(null),
        json!("x"),
        json!([good]),
        json!(7),
        json!({}),
        json!({"code": good, "weights": good}),
        json!({"Code": good}),
        json!({"code ": good}),
        json!({"x".repeat(1 << 16): good}),
    ] {
        assert_eq!(named(whole), Err("composition"));
    }
    let short = Digest::of(b"x").to_base64url()[1..].to_owned();
    for wrong in [
        json!(null),
        json!(""),
        json!(short),
        json!(format!("{good}=")),
        json!(format!("{good}A")),
        json!(format!("+{short}")),
        // The last character holds two unused bits: one value has one text.
        json!(format!("{}B", &"A".repeat(42))),
        json!({"sha256": good}),
        json!("é".repeat(1 << 16)),
        json!(Digest::of(b"x").to_string()),
    ] {
        for (part, field) in [
            ("code", "composition.code"),
            ("model", "composition.model"),
            ("prompt", "composition.prompt"),
            ("tools", "composition.tools"),
        ] {
            let mut value = json!({"code": good});
            value[part] = wrong.clone();
            assert_eq!(named(value), Err(field), "{wrong}");
        }
    }
    let error = Composition::from_json(&json!({"model": "secret"})).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`composition.model` is not usable: it has to be a SHA-256 as 43 characters of base64url without padding"
    );
}

/// Some of the four parts with small values, so that equal ones are met.
fn parts() -> impl Strategy<Value = Vec<(usize, u8)>> {
    prop::collection::btree_map(0..4_usize, 0..3_u8, 1..=4).prop_map(|map| map.into_iter().collect())
}

/// Anything at all as JSON, four deep.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        ".{0,60}".prop_map(Value::String),
        any::<u8>().prop_map(text),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        let name = prop_oneof![
            Just("code"),
            Just("model"),
            Just("prompt"),
            Just("tools"),
            Just("x")
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map(name, inner, 0..5)
                .prop_map(|map| map.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
}

proptest! {
    /// The order of members does not matter, and the form survives its own reading.
    #[test]
    fn members_have_no_order(
        (members, shuffled) in parts().prop_flat_map(|p| (Just(p.clone()), Just(p).prop_shuffle())),
    ) {
        let (one, two) = (read(&object(&members)), read(&object(&shuffled)));
        prop_assert_eq!(one.digest(), two.digest());
        prop_assert_eq!(&one, &two);
        prop_assert_eq!(&read(&Value::Object(one.to_json())), &one);
    }

    /// The digests are equal exactly when every part is; what differs is named.
    #[test]
    fn any_changed_part_changes_it(one in parts(), two in parts()) {
        let (first, second) = (read(&object(&one)), read(&object(&two)));
        let of = |members: &[(usize, u8)], part: usize| members.iter().find(|m| m.0 == part).map(|m| m.1);
        let differing: Vec<_> = (0..4).filter(|p| of(&one, *p) != of(&two, *p)).map(|p| PARTS[p]).collect();
        prop_assert_eq!(first.changed(&second).collect::<Vec<_>>(), differing.clone());
        prop_assert_eq!(first.digest() == second.digest(), differing.is_empty());
    }

    /// Whatever is given is read or refused, and what is read says what was given.
    #[test]
    fn nothing_else_passes(value in any_json()) {
        if let Ok(read) = Composition::from_json(&value) {
            prop_assert_eq!(Value::Object(read.to_json()), value);
        }
    }
}
