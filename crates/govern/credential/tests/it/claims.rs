use bailiwick_base::{Digest, Epoch, IdentityId};
use bailiwick_credential::{Claims, Confirmation, Link, ScopeSet};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::{at, id, tenant};

fn claims(actors: usize, scope: &str, epoch: u64) -> Claims {
    let chain: Vec<IdentityId> = (0..actors as u64).map(|n| id("acme", 20 + n)).collect();
    let nhi: IdentityId = chain.first().cloned().unwrap_or_else(|| id("acme", 2));
    Claims {
        issuer: "https://b.example/t/acme".to_owned(),
        subject: if actors == 0 {
            nhi.to_string()
        } else {
            "usr_\"quoted\"".to_owned()
        },
        audience: "https://b.example/t/acme/mcp".to_owned(),
        client: "cli_x".to_owned(),
        issued_at: at(0),
        expires_at: at(300),
        token: id("acme", 3),
        tenant: tenant("acme"),
        nhi,
        task: id("acme", 4),
        epoch: Epoch(epoch),
        scopes: ScopeSet::parse(scope),
        act: chain.into_iter().collect(),
        may_act: (0..actors as u64).map(|n| id("acme", 70 + n)).collect(),
        lineage: (0..2 * actors as u64)
            .map(|n| Link {
                token: id("acme", 50 + n),
                task: id("acme", 60 + n),
                trust: (n % 3 == 1).then(|| id("acme", 80 + n)),
            })
            .collect(),
        confirmation: match epoch % 3 {
            0 => None,
            1 => Some(Confirmation::Key(Digest::of(&epoch.to_be_bytes()))),
            _ => Some(Confirmation::Certificate(Digest::of(&epoch.to_be_bytes()))),
        },
        composition: (epoch % 2 == 1).then(|| Digest::of(scope.as_bytes())),
    }
}

fn members(claims: &Claims) -> Map<String, Value> {
    serde_json::from_slice::<Value>(&claims.to_json())
        .unwrap()
        .as_object()
        .unwrap()
        .clone()
}

proptest! {
    #[test]
    fn claims_survive_the_wire(actors in 0_usize..5, scope in "[a-z]{0,6}(:[a-z_*]{1,6} [a-z]{1,3}:x)?", epoch: u64) {
        let claims = claims(actors, &scope, epoch);
        prop_assert_eq!(Claims::from_json(&members(&claims)), Ok(claims));
    }
}

#[test]
fn a_claim_of_another_form_is_named() {
    let wrong = |name: &str, value: Value| {
        let mut members = members(&claims(0, "a:b", 1));
        members.insert(name.to_owned(), value);
        Claims::from_json(&members).map_err(|e| e.claim)
    };
    let other: IdentityId = id("acme", 99);
    for name in [
        "iss",
        "sub",
        "client_id",
        "jti",
        "tenant",
        "nhi",
        "task",
        "aud",
        "iat",
        "exp",
        "epoch",
        "scope",
    ] {
        assert_eq!(wrong(name, json!(null)).unwrap_err(), name);
        assert_eq!(wrong(name, json!({"a": 1})).unwrap_err(), name);
        assert_eq!(wrong(name, json!(1.5)).unwrap_err(), name);
    }
    for name in [
        "iss",
        "sub",
        "client_id",
        "jti",
        "tenant",
        "nhi",
        "task",
        "aud",
        "iat",
        "exp",
        "epoch",
    ] {
        let mut members = members(&claims(0, "a:b", 1));
        members.remove(name);
        assert_eq!(Claims::from_json(&members).unwrap_err().claim, name);
    }
    assert_eq!(wrong("exp", json!(u64::MAX)), Err("exp"));
    assert_eq!(wrong("iat", json!(-1)), Err("iat"));
    assert_eq!(wrong("epoch", json!(-1)), Err("epoch"));
    assert_eq!(wrong("scope", json!("a:b\nc:d")), Err("scope"));
    assert_eq!(wrong("aud", json!(["a", "b"])), Err("aud"));
    assert_eq!(
        wrong(
            "task",
            json!(id::<bailiwick_base_kinds::Identity>("acme", 4).to_string())
        ),
        Err("task")
    );
    assert_eq!(
        wrong("nhi", json!(other.to_string())),
        Err("nhi"),
        "somebody else than the subject"
    );
    assert!(
        wrong("x", json!([1, {"y": null}])).is_ok(),
        "what is not ours is ignored"
    );
}

/// The kind of an identity id, to make an id of the wrong kind.
mod bailiwick_base_kinds {
    pub(super) enum Identity {}
    impl bailiwick_base::IdKind for Identity {
        const PREFIX: &'static str = "idn";
    }
}

#[test]
fn the_actor_chain_is_short_and_without_a_circle() {
    let with = |act: Value| {
        let mut members = members(&claims(0, "a:b", 1));
        members.insert("act".to_owned(), act);
        let link =
            json!({"jti": claims(0, "", 1).token.to_string(), "task": claims(0, "", 1).task.to_string()});
        members.insert("lineage".to_owned(), json!([link, link]));
        members.insert("sub".to_owned(), json!("usr_1"));
        Claims::from_json(&members).map_err(|e| e.claim)
    };
    let nhi: IdentityId = id("acme", 2);
    let actor = |n: u64| id::<bailiwick_base_kinds::Identity>("acme", n).to_string();
    assert!(with(json!({"sub": nhi.to_string()})).is_ok());
    assert!(with(json!({"sub": nhi.to_string(), "act": {"sub": actor(30)}})).is_ok());
    assert_eq!(
        with(json!({"sub": actor(30)})),
        Err("nhi"),
        "the outermost actor is the one who acts"
    );
    assert_eq!(
        with(json!({"sub": nhi.to_string(), "act": {"sub": nhi.to_string()}})),
        Err("act")
    );
    for shape in [
        json!("x"),
        json!([]),
        json!({}),
        json!({"act": {"sub": actor(3)}}),
        json!({"sub": 5}),
        json!(null),
    ] {
        assert_eq!(with(shape), Err("act"));
    }
    let deep = (0..4).fold(
        json!({"sub": actor(40)}),
        |inner, n| json!({"sub": actor(41 + n), "act": inner}),
    );
    assert_eq!(with(deep), Err("act"));
}

#[test]
fn who_may_act_and_what_a_token_stands_on_are_read_strictly() {
    let with = |actors: usize, name: &str, value: Value| {
        let mut members = members(&claims(actors, "a:b", 1));
        members.insert(name.to_owned(), value);
        Claims::from_json(&members).map_err(|e| e.claim)
    };
    let one = id::<bailiwick_base_kinds::Identity>("acme", 30).to_string();
    assert_eq!(with(0, "may_act", json!({"sub": one})).unwrap().may_act.len(), 1);
    for shape in [
        json!({"sub": "*"}),
        json!("*"),
        json!([]),
        json!({}),
        json!(null),
        json!([{"sub": one}, "*"]),
    ] {
        assert_eq!(with(0, "may_act", shape), Err("may_act"));
    }
    let whole = members(&claims(1, "a:b", 1))["lineage"].clone();
    assert_eq!(
        with(0, "lineage", whole),
        Err("lineage"),
        "nobody acts, so it stands on nothing"
    );
    for shape in [json!([]), json!(null), json!([{"jti": "x"}]), json!({"jti": "x"})] {
        assert_eq!(with(1, "lineage", shape), Err("lineage"));
    }
    let mut bare = members(&claims(1, "a:b", 1));
    bare.remove("lineage");
    assert_eq!(Claims::from_json(&bare).unwrap_err().claim, "lineage");
}

#[test]
fn a_composition_is_one_digest_or_none() {
    let read = |value: Value| {
        let mut members = members(&claims(0, "a:b", 2));
        members.insert("composition".to_owned(), value);
        Claims::from_json(&members).map_err(|e| e.claim)
    };
    let good = Digest::of(b"x").to_base64url();
    for value in [
        json!(null),
        json!(""),
        json!(format!("{good}=")),
        json!({"digest": good}),
    ] {
        assert_eq!(read(value), Err("composition"));
    }
    assert_eq!(read(json!(good)).unwrap().composition, Some(Digest::of(b"x")));
}
