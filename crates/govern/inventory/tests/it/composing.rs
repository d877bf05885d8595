//! What an identity is made of, and what a change of it does to its state.

use std::time::Duration;

use bailiwick_base::{Composition, Digest, IdentityId, TenantId, Time, Transition};
use bailiwick_inventory::{
    Identity, Kind, Labels, Limits, Owner, Refusal, Registration, State, activate, compose, register,
    require_composition, resume, retire, suspend,
};
use proptest::prelude::*;

const NOW: Time = Time::from_secs(1_763_750_000);

fn later(hours: u64) -> Time {
    NOW.after(Duration::from_secs(hours * 3_600))
}

fn made() -> Identity {
    let tenant = TenantId::parse("acme").unwrap();
    let wanted = Registration {
        id: IdentityId::from_parts(tenant, uuid::Uuid::from_u128(7)),
        kind: Kind::Agent,
        name: "reader".to_owned(),
        platform: "bailiwick".to_owned(),
        owner: Some(Owner {
            team: "finance".to_owned(),
            contact: "finance@example.com".to_owned(),
        }),
        application: None,
        purpose: Some("reads invoices".to_owned()),
        labels: Labels::default(),
        expires_at: Some(later(24 * 30)),
    };
    register(wanted, &Limits::default(), NOW).unwrap().after
}

/// A composition of a model and a prompt.
fn of(model: u8, prompt: u8) -> Composition {
    let text = |n: u8| Digest::of(&[n]).to_base64url();
    let value = serde_json::json!({"model": text(model), "prompt": text(prompt)});
    Composition::from_json(&value).unwrap()
}

fn declared(identity: Identity, composition: Composition, hours: u64) -> Transition<Identity> {
    compose(identity, composition, later(hours)).unwrap()
}

#[test]
fn the_first_declaration_changes_no_state() {
    let active = activate(made(), NOW).unwrap().after;
    for before in [
        made(),
        active.clone(),
        suspend(active, "leak", NOW).unwrap().after,
    ] {
        let t = declared(before.clone(), of(1, 1), 1);
        assert_eq!((t.command, t.reason.as_deref()), ("identity.compose", None));
        assert_eq!(
            (&t.after.state, t.after.changed_at),
            (&before.state, before.changed_at)
        );
        let composed = t.after.composition.as_ref().unwrap();
        assert_eq!(
            (&composed.present, &composed.former, composed.since),
            (&of(1, 1), &None, later(1))
        );
        assert_eq!(t.after.reason().as_deref(), before.state.reason());
    }
}

#[test]
fn another_composition_puts_an_active_identity_back_into_probation() {
    let active = activate(declared(made(), of(1, 1), 0).after, later(1))
        .unwrap()
        .after;
    let t = declared(active, of(1, 2), 2);
    assert_eq!(t.reason.as_deref(), Some("composition changed: prompt"));
    assert_eq!(
        (&t.after.state, t.after.changed_at),
        (&State::Probation, later(2))
    );
    assert_eq!(t.after.reason(), t.reason);
    assert_eq!(t.after.composition.as_ref().unwrap().former, Some(of(1, 1)));
    // Back to what it was before is a change too.
    let back = declared(activate(t.after, later(3)).unwrap().after, of(1, 1), 4);
    assert_eq!(back.after.state, State::Probation);
    // Accepted: nothing is left to tell.
    assert_eq!(activate(back.after, later(5)).unwrap().after.reason(), None);
}

#[test]
fn a_suspended_identity_stays_so_and_resumes_in_probation() {
    let active = activate(declared(made(), of(1, 1), 0).after, NOW).unwrap().after;
    let stopped = suspend(active, "leak", later(1)).unwrap().after;
    let t = declared(stopped.clone(), of(2, 2), 2);
    assert_eq!(t.reason.as_deref(), Some("composition changed: model, prompt"));
    let state = State::Suspended {
        was_active: false,
        reason: "leak".to_owned(),
    };
    assert_eq!((&t.after.state, t.after.changed_at), (&state, stopped.changed_at));
    assert_eq!(t.after.reason().as_deref(), Some("leak"));
    let resumed = resume(t.after, later(3)).unwrap().after;
    assert_eq!(resumed.state, State::Probation);
    assert_eq!(
        resumed.reason().as_deref(),
        Some("composition changed: model, prompt")
    );
}

#[test]
fn the_same_again_and_a_tombstone_are_refused() {
    let composed = declared(made(), of(1, 1), 0).after;
    let code = |result: Result<_, Refusal>| {
        result
            .map(|t: Transition<Identity>| t.command)
            .expect_err("a refusal")
            .code()
    };
    assert_eq!(
        code(compose(composed.clone(), of(1, 1), NOW)),
        "composition.unchanged"
    );
    let retired = retire(composed, "done", NOW).unwrap().after;
    assert_eq!(code(compose(retired.clone(), of(1, 1), NOW)), "identity.retired");
    assert_eq!(code(compose(retired, of(2, 1), NOW)), "identity.retired");
}

#[test]
fn what_was_looked_at_is_what_is_there() {
    let composed = declared(made(), of(1, 1), 0).after;
    let asked = |identity: &Identity, seen: Option<Composition>| {
        require_composition(identity, seen.map(|c| c.digest())).map_err(|refusal| refusal.code())
    };
    assert_eq!(asked(&composed, None), Ok(()));
    assert_eq!(asked(&composed, Some(of(1, 1))), Ok(()));
    assert_eq!(asked(&composed, Some(of(1, 2))), Err("composition.other"));
    assert_eq!(asked(&made(), Some(of(1, 1))), Err("composition.other"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens, nobody is active with another composition than the one that was there when an operator
    /// last activated it, or with the first one that was declared after.
    #[test]
    fn nobody_is_active_with_a_composition_that_nobody_accepted(
        steps in prop::collection::vec((0..4_u8, 0..3_u8, 0..2_u8), 1..40),
    ) {
        let mut identity = made();
        let mut accepted: Option<Composition> = None;
        for (step, model, prompt) in steps {
            let present = |i: &Identity| i.composition.as_ref().map(|c| c.present.clone());
            let result = match step {
                0 => activate(identity.clone(), later(1)),
                1 => suspend(identity.clone(), "x", later(1)),
                2 => resume(identity.clone(), later(1)),
                _ => compose(identity.clone(), of(model, prompt), later(1)),
            };
            let Ok(t) = result else { continue };
            if t.command == "identity.activate" || present(&identity).is_none() {
                accepted = present(&t.after);
            }
            identity = t.after;
            if identity.state == State::Active {
                prop_assert_eq!(present(&identity), accepted.clone());
            }
        }
    }
}
