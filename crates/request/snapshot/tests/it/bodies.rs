//! What is not written, and what is not taken.

use std::sync::Arc;

use bailiwick_base::{Epoch, PublicKey, SigningAlgorithm, StatePos, TenantId, Time};
use bailiwick_credential::signing_key::{KeyHolder, SigningKey};
use bailiwick_credential::{Client, ClientProof};
use bailiwick_decide::{Fact, Mark, MarkEffect, MarkScope};
use bailiwick_snapshot::{BodyError, PublishedKey, body_of, read_body};

use crate::made::{JWK, id};
use crate::{heading, round, tenant};

fn position() -> Fact {
    Fact::Position(StatePos(9), Epoch(4))
}

fn signing(removed_at: Option<Time>) -> (Fact, PublishedKey) {
    let key = PublicKey::parse_jwk(JWK.as_bytes()).unwrap();
    let known = SigningKey {
        tenant: tenant(),
        kid: key.thumbprint(),
        algorithm: SigningAlgorithm::EdDsa,
        holder: KeyHolder::File,
        created_at: Time::from_secs(1),
        active_from: Some(Time::from_secs(2)),
        entry: Some(3),
        retired_at: None,
        removed_at,
        floor: None,
    };
    let fact = Fact::SigningKeys(tenant(), Arc::from([known]));
    (
        fact,
        PublishedKey {
            tenant: tenant(),
            key,
        },
    )
}

/// What is written of these facts, with one text in place of another.
fn altered(facts: &[Fact], from: &str, to: &str) -> Result<(), BodyError> {
    let text = body_of(&heading(), facts, &[]).unwrap();
    assert!(text.contains(from), "{from} in {text}");
    read_body(&text.replacen(from, to, 1)).map(drop)
}

#[test]
fn the_text_is_canonical_and_says_first_what_it_is() {
    let facts = [Fact::EpochFloor(Epoch(2)), position()];
    let text = body_of(&heading(), &facts, &[]).unwrap();
    assert_eq!(
        text,
        "{\"at\":1800000000000000,\"epoch\":4,\"facts\":[{\"epoch_floor\":2},{\"position\":{\"epoch\":4,\
         \"position\":9}}],\"floor\":2,\"keys\":[],\"position\":9,\"sidecar\":\"shop-1\",\"tenants\":[\"acme\"],\"v\":1}"
    );
    let body = read_body(&text).unwrap();
    assert_eq!(
        (body.floor, body.epoch, body.position),
        (Epoch(2), Epoch(4), StatePos(9))
    );
    assert_eq!(body.heading, heading());
}

#[test]
fn what_is_not_known_is_refused_by_name() {
    let facts = [Fact::EpochFloor(Epoch(2)), position()];
    let named = |error: BodyError, name: &str| {
        let text = error.to_string();
        assert!(text.contains(name), "`{text}` does not name {name}");
    };
    named(
        altered(&facts, "\"floor\":2", "\"flour\":2").unwrap_err(),
        "flour",
    );
    named(
        altered(&facts, "epoch_floor", "epoch_flower").unwrap_err(),
        "epoch_flower",
    );
    named(
        altered(&facts, "{\"epoch\":4", "{\"more\":1,\"epoch\":4").unwrap_err(),
        "more",
    );
    let newer = altered(&facts, "\"v\":1", "\"more\":{},\"v\":2").unwrap_err();
    assert_eq!(newer, BodyError::Version { found: 2, known: 1 });
    let mark = Fact::Mark(Mark {
        scope: MarkScope::All,
        effect: MarkEffect::Suspend,
        epoch: Epoch(3),
    });
    let facts = [mark, position()];
    named(altered(&facts, "suspend", "suspense").unwrap_err(), "mark/effect");
    named(
        altered(&facts, "\"all\"", "\"everything\"").unwrap_err(),
        "everything",
    );
}

#[test]
fn a_heading_that_is_not_what_the_facts_say_is_refused() {
    let facts = [Fact::EpochFloor(Epoch(2)), position()];
    for (member, from, to) in [
        (
            "epoch",
            "1800000000000000,\"epoch\":4",
            "1800000000000000,\"epoch\":5",
        ),
        ("floor", "\"floor\":2", "\"floor\":1"),
        (
            "position",
            "\"position\":9,\"sidecar\"",
            "\"position\":8,\"sidecar\"",
        ),
    ] {
        assert_eq!(altered(&facts, from, to), Err(BodyError::Heading { member }));
    }
}

#[test]
fn facts_of_somebody_else_are_neither_written_nor_taken() {
    let other = TenantId::parse("zeta").unwrap();
    let foreign = BodyError::Foreign("zeta".to_owned());
    for fact in [
        Fact::Policies(other.clone(), "".into()),
        Fact::MarkLifted(MarkScope::Tenant(other.clone())),
        Fact::Mark(Mark {
            scope: MarkScope::Owner(other, "team".to_owned()),
            effect: MarkEffect::Kill,
            epoch: Epoch(1),
        }),
    ] {
        assert_eq!(round(&[fact, position()]).unwrap_err(), foreign);
    }
    let facts = [Fact::Policies(tenant(), "".into()), position()];
    let taken = altered(&facts, "{\"tenant\":\"acme\"", "{\"tenant\":\"zeta\"");
    assert_eq!(taken, Err(foreign));
}

#[test]
fn a_body_ends_with_a_position_and_holds_what_a_number_holds() {
    assert!(matches!(
        round(&[]),
        Err(BodyError::Member { member: "facts", .. })
    ));
    let huge = [Fact::EpochFloor(Epoch(u64::MAX)), position()];
    assert!(matches!(round(&huge), Err(BodyError::Form(_))));
}

#[test]
fn keys_go_along_only_as_the_facts_name_them() {
    let (fact, key) = signing(None);
    let text = body_of(
        &heading(),
        &[fact.clone(), position()],
        std::slice::from_ref(&key),
    )
    .unwrap();
    let read = read_body(&text).unwrap();
    assert_eq!(read.keys.len(), 1);
    assert_eq!(read.keys[0].key.thumbprint(), key.key.thumbprint());
    let unpublished = |facts: &[Fact]| {
        let refused = body_of(&heading(), facts, std::slice::from_ref(&key));
        assert!(matches!(refused, Err(BodyError::Member { member: "keys", .. })));
    };
    unpublished(&[position()]);
    unpublished(&[signing(Some(Time::from_secs(9))).0, position()]);
}

#[test]
fn a_private_key_is_neither_written_nor_taken() {
    let client = |jwk: &str| {
        Fact::Client(Arc::new(Client {
            id: id(1),
            identity: id(2),
            algorithm: SigningAlgorithm::EdDsa,
            jwk: jwk.as_bytes().to_vec(),
            created_at: Time::from_secs(1),
            expires_at: Time::from_secs(2),
            proof: ClientProof::None,
            certificate: None,
        }))
    };
    let private = JWK.replacen('{', r#"{"d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","#, 1);
    let refused = round(&[client(&private), position()]).unwrap_err();
    assert!(matches!(
        refused,
        BodyError::Member {
            member: "client/jwk",
            ..
        }
    ));
    let public = [client(JWK), position()];
    let slipped_in = altered(&public, "{\\\"crv\\\"", "{\\\"d\\\":\\\"nWGxne\\\",\\\"crv\\\"").unwrap_err();
    assert!(matches!(
        slipped_in,
        BodyError::Member {
            member: "client/jwk",
            ..
        }
    ));
    let (fact, key) = signing(None);
    let text = body_of(&heading(), &[fact, position()], &[key]).unwrap();
    let with_private = text.replacen("\"jwk\":{", "\"jwk\":{\"d\":\"nWGxne\",", 1);
    assert!(read_body(&with_private).is_err());
}
