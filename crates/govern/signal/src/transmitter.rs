//! How a transmitter is registered and ends.

use std::collections::BTreeMap;

use bailiwick_base::{Time, Transition, TransmitterId};

use crate::limits::{KEYS_MAX, Limits, RANGES_MAX, SUBJECT_MAX, TEXT_MAX, URL_MAX};
use crate::model::{Keys, Transmitter};
use crate::refusal::Refusal;
use crate::subscription::within;

/// What is asked for.
#[derive(Debug, Clone)]
pub struct NewTransmitter {
    /// Id.
    pub id: TransmitterId,
    /// `iss`.
    pub issuer: String,
    /// Its keys.
    pub keys: Keys,
    /// Address ranges beyond the public ones where its keys may be fetched.
    pub allow_addresses: Vec<String>,
    /// Fetch its keys over plain HTTP.
    pub danger_plaintext: bool,
    /// Its subjects, each with the contact of the owner that person is.
    pub people: BTreeMap<String, String>,
}

/// Registers one. `others` are the living ones of the tenant.
///
/// # Errors
/// [`Refusal`].
pub fn add_transmitter<'a>(
    wanted: NewTransmitter,
    others: impl IntoIterator<Item = &'a Transmitter>,
    limits: &Limits,
    now: Time,
) -> Result<Transition<Transmitter>, Refusal> {
    if wanted.issuer.is_empty() {
        return Err(Refusal::Missing("issuer"));
    }
    let mut living = 0;
    for other in others {
        living += 1;
        if other.issuer == wanted.issuer {
            return Err(Refusal::SameIssuer(wanted.issuer));
        }
    }
    if living >= limits.transmitters_max {
        return Err(Refusal::TooMany(limits.transmitters_max));
    }
    within("issuer", wanted.issuer.len(), URL_MAX)?;
    within("allow_addresses", wanted.allow_addresses.len(), RANGES_MAX)?;
    within("people", wanted.people.len(), limits.people_max)?;
    for (subject, contact) in &wanted.people {
        within("people", subject.len(), SUBJECT_MAX)?;
        within("people", contact.len(), TEXT_MAX)?;
    }
    match &wanted.keys {
        Keys::Given(set) => within("jwks", set.len(), KEYS_MAX)?,
        Keys::Url(url) => within("jwks_url", url.len(), URL_MAX)?,
    }
    Ok(Transition::made(
        "transmitter.add",
        Transmitter {
            id: wanted.id,
            issuer: wanted.issuer,
            keys: wanted.keys,
            allow_addresses: wanted.allow_addresses,
            danger_plaintext: wanted.danger_plaintext,
            people: wanted.people,
            created_at: now,
            removed_at: None,
        },
    ))
}

/// Ends one: what it says from now on is refused.
///
/// # Errors
/// [`Refusal::Removed`], [`Refusal::Missing`] without a reason.
pub fn remove_transmitter(
    before: Transmitter,
    reason: &str,
    now: Time,
) -> Result<Transition<Transmitter>, Refusal> {
    if before.removed_at.is_some() {
        return Err(Refusal::Removed(before.id.to_string()));
    }
    if reason.trim().is_empty() {
        return Err(Refusal::Missing("reason"));
    }
    within("reason", reason.len(), TEXT_MAX)?;
    let after = Transmitter {
        removed_at: Some(now),
        ..before.clone()
    };
    Ok(Transition::changed("transmitter.remove", before, after).because(reason))
}
