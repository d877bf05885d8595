//! Reading claims strictly.

use std::collections::BTreeMap;
use std::time::Duration;

use bailiwick_base::Time;
use bailiwick_credential::trust::{Attestor, AttributeForm};
use serde_json::{Map, Value};

use crate::error::AttestError;

/// The largest `NumericDate` that is read: year 9999.
const SECONDS_MAX: i64 = 253_402_300_799;

/// Attributes by name.
pub(crate) type Attributes = BTreeMap<String, String>;

pub(crate) fn wrong(claim: &str, rule: &'static str) -> AttestError {
    AttestError::Claim {
        claim: claim.to_owned(),
        rule,
    }
}

fn seconds(claims: &Map<String, Value>, claim: &str) -> Result<Option<Time>, AttestError> {
    let Some(value) = claims.get(claim) else {
        return Ok(None);
    };
    match value.as_i64() {
        Some(at) if (0..=SECONDS_MAX).contains(&at) => Ok(Some(Time::from_secs(at))),
        _ => Err(wrong(claim, "it has to be a whole number of seconds")),
    }
}

pub(crate) fn require_unexpired(expires_at: Time, leeway: Duration, now: Time) -> Result<(), AttestError> {
    if now >= expires_at.after(leeway) {
        return Err(AttestError::Expired);
    }
    Ok(())
}

/// Judges the times of a token; gives its end. Without an end it is refused, whoever made it.
pub(crate) fn require_alive(
    claims: &Map<String, Value>,
    lifetime_max_s: u64,
    leeway: Duration,
    now: Time,
) -> Result<Time, AttestError> {
    let expires_at =
        seconds(claims, "exp")?.ok_or_else(|| wrong("exp", "a token without an end is not taken"))?;
    let issued_at = seconds(claims, "iat")?;
    let not_before = seconds(claims, "nbf")?;
    require_unexpired(expires_at, leeway, now)?;
    let latest = now.after(leeway);
    if [issued_at, not_before]
        .into_iter()
        .flatten()
        .any(|at| at > latest)
    {
        return Err(AttestError::NotYetValid);
    }
    let longest = Duration::from_secs(lifetime_max_s);
    let begins_at = issued_at.or(not_before).unwrap_or(now);
    if expires_at <= begins_at {
        return Err(wrong("exp", "it has to be later than `iat`"));
    }
    if expires_at.since(begins_at) > longest || expires_at > latest.after(longest) {
        return Err(AttestError::Lifetime(lifetime_max_s));
    }
    Ok(expires_at)
}

/// Exactly one audience, ours, byte for byte; as text or as a list of one (RFC 7519 §4.1.3).
pub(crate) fn require_audience(claims: &Map<String, Value>, ours: &str) -> Result<(), AttestError> {
    let is_ours = match claims.get("aud") {
        Some(Value::String(one)) => one == ours,
        Some(Value::Array(list)) => matches!(list.as_slice(), [Value::String(one)] if one == ours),
        _ => false,
    };
    is_ours
        .then_some(())
        .ok_or_else(|| AttestError::Audience(ours.to_owned()))
}

fn walk<'a>(claims: &'a Map<String, Value>, path: &[String]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter()
        .try_fold(claims.get(first)?, |value, name| value.as_object()?.get(name))
}

/// What the table says is to be read, in the form it says.
pub(crate) fn attributes(
    claims: &Map<String, Value>,
    attestor: &Attestor,
) -> Result<Attributes, AttestError> {
    for refused in &attestor.refused {
        let found = walk(claims, &refused.claim).and_then(Value::as_str);
        if let Some(value) = refused.values.iter().find(|value| found == Some(value.as_str())) {
            return Err(AttestError::Refused {
                claim: refused.claim.join("."),
                value: value.clone(),
            });
        }
    }
    let mut read = Attributes::new();
    for attribute in &attestor.attributes {
        let claim = || attribute.claim.join(".");
        let text = match walk(claims, &attribute.claim) {
            None if attribute.optional => continue,
            None => return Err(wrong(&claim(), "it is missing")),
            Some(Value::String(text)) => text.clone(),
            // A number is not the text of the same digits.
            Some(Value::Number(number)) if number.is_u64() && attribute.form == AttributeForm::Digits => {
                number.to_string()
            }
            Some(_) if attribute.form == AttributeForm::Digits => {
                return Err(wrong(&claim(), "it has to be a number, or text of digits"));
            }
            Some(_) => return Err(wrong(&claim(), "it has to be text")),
        };
        if !attribute.form.fits(&text) {
            return Err(wrong(
                &claim(),
                "it has not the form that this kind of issuer gives it",
            ));
        }
        read.insert(attribute.name.clone(), text);
    }
    Ok(read)
}
