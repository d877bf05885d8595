//! Signing keys: for any history of looks, rotations and time, no key signs that was not published long enough,
//! and none is taken back while what it signed may be alive.

use std::time::Duration;

use bailiwick_base::{Epoch, SigningAlgorithm, TenantId, Time};
use bailiwick_credential::Refusal;
use bailiwick_credential::signing_key::{
    KeyHolder, KeyRotation, KeySchedule, KeyStep, SigningKey, SigningState, TOKEN_LIFE_MAX, in_state,
    key_floor, plan_keys, remove_key, rotate_keys,
};
use proptest::prelude::*;

fn made(number: u32, now: Time) -> SigningKey {
    SigningKey {
        tenant: TenantId::parse("acme").unwrap(),
        kid: format!("kid-{number}"),
        algorithm: SigningAlgorithm::Es256,
        holder: KeyHolder::File,
        created_at: now,
        active_from: None,
        entry: None,
        retired_at: None,
        removed_at: None,
        floor: None,
    }
}

/// A tenant's keys and a clock.
struct Desk {
    keys: Vec<SigningKey>,
    schedule: KeySchedule,
    now: Time,
    made: u32,
}

impl Desk {
    fn new(schedule: KeySchedule) -> Self {
        let now = Time::from_micros(1_000_000_000);
        let mut first = made(0, now);
        first.active_from = Some(now);
        Self {
            keys: vec![first],
            schedule,
            now,
            made: 1,
        }
    }

    fn take(&mut self, changes: Vec<bailiwick_base::Transition<SigningKey>>) {
        for change in changes {
            let place = self
                .keys
                .iter_mut()
                .find(|key| key.kid == change.after.kid)
                .unwrap();
            assert_eq!(Some(&*place), change.before.as_ref());
            *place = change.after;
        }
    }

    fn rotate(&mut self, compromised: bool) -> Result<(), Refusal> {
        let wanted = KeyRotation {
            schedule: &self.schedule,
            compromised,
            reason: "test",
            now: self.now,
            epoch: Epoch(7),
            entry: 3,
        };
        let changes = rotate_keys(&self.keys, wanted)?;
        self.take(changes);
        Ok(())
    }

    fn look(&mut self) {
        for step in plan_keys(&self.keys, &self.schedule, self.now) {
            match step {
                KeyStep::Add => {
                    self.keys.push(made(self.made, self.now));
                    self.made += 1;
                }
                KeyStep::Remove(kid) => {
                    let key = self.keys.iter().find(|key| key.kid == kid).unwrap();
                    let removed = remove_key(key, self.now).unwrap();
                    self.take(vec![removed]);
                }
                KeyStep::Rotate => self.rotate(false).unwrap(),
            }
        }
    }
}

proptest! {
    #[test]
    fn no_key_signs_unannounced_and_none_goes_while_its_tokens_live(
        acts in prop::collection::vec((0_u8..4, 0_u64..200_000), 1..80),
        every in prop::option::of(1_u64..10),
    ) {
        let schedule = KeySchedule {
            every: every.map(|days| Duration::from_secs(days * 86_400)),
            ahead: KeySchedule::AHEAD_MIN,
            holder: KeyHolder::File,
        };
        let mut desk = Desk::new(schedule);
        for (act, secs) in acts {
            desk.now = desk.now.after(Duration::from_secs(secs));
            let was_young = in_state(&desk.keys, SigningState::Next)
                .next()
                .is_some_and(|next| next.created_at.after(KeySchedule::AHEAD_MIN) > desk.now);
            match act {
                0 | 1 => desk.look(),
                _ => match desk.rotate(false) {
                    Ok(()) => prop_assert!(!was_young),
                    Err(refusal) => {
                        let expected = matches!(refusal, Refusal::NextKeyMissing | Refusal::NextKeyYoung { .. });
                        prop_assert!(expected, "{refusal}");
                    }
                },
            }
            // One signs, always; at most one waits.
            prop_assert_eq!(in_state(&desk.keys, SigningState::Active).count(), 1);
            prop_assert!(in_state(&desk.keys, SigningState::Next).count() <= 1);
            for key in &desk.keys {
                if let (Some(from), true) = (key.active_from, key.kid != "kid-0") {
                    prop_assert!(from >= key.created_at.after(KeySchedule::AHEAD_MIN));
                }
                if let (Some(retired), Some(removed)) = (key.retired_at, key.removed_at) {
                    prop_assert!(removed > retired.after(TOKEN_LIFE_MAX));
                }
            }
        }
    }
}

#[test]
fn a_compromised_key_goes_at_once_and_leaves_a_floor() {
    let mut desk = Desk::new(KeySchedule::default());
    assert_eq!(desk.rotate(true), Err(Refusal::NextKeyMissing));
    desk.look();
    assert!(matches!(desk.rotate(false), Err(Refusal::NextKeyYoung { .. })));
    desk.rotate(true).unwrap();
    let states: Vec<_> = desk.keys.iter().map(SigningKey::state).collect();
    assert_eq!(states, [SigningState::Removed, SigningState::Active]);
    assert_eq!(key_floor(&desk.keys), Epoch(7));
}

#[test]
fn another_holder_gets_the_next_key_and_not_the_one_that_signs() {
    let mut desk = Desk::new(KeySchedule::default());
    desk.look();
    desk.schedule.holder = KeyHolder::Pkcs11;
    let steps = plan_keys(&desk.keys, &desk.schedule, desk.now);
    assert_eq!(steps, [KeyStep::Remove("kid-1".to_owned()), KeyStep::Add]);
}

#[test]
fn a_key_in_use_is_not_removed() {
    let mut desk = Desk::new(KeySchedule::default());
    desk.look();
    desk.now = desk.now.after(Duration::from_secs(86_400));
    desk.rotate(false).unwrap();
    for key in &desk.keys {
        assert_eq!(
            remove_key(key, desk.now).unwrap_err(),
            Refusal::KeyInUse(key.kid.clone())
        );
    }
}
