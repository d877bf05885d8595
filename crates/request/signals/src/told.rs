//! What others told us, and what follows from it (CAEP 1.0, RISC 1.0; subject identifiers of RFC 9493).

use serde_json::{Map, Value};

/// A person, as a transmitter names one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Person {
    /// By e-mail address.
    Email(String),
    /// By the transmitter's own `sub`.
    Subject(String),
}

/// What is to be stopped.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Consequence {
    /// Everything that a person owns: the person is gone, or a session of the person is in other hands.
    Owned(Person),
    /// The workloads that come as this `sub` of the transmitter.
    Workload(String),
    /// One token of ours.
    OwnToken(String),
    /// Nothing here: an event that asks for nothing, or a verification.
    Nothing,
}

const CAEP: &str = "https://schemas.openid.net/secevent/caep/event-type/";
/// Identifiers of one subject that are read.
const ALIASES_MAX: usize = 16;
const RISC: &str = "https://schemas.openid.net/secevent/risc/event-type/";

/// What follows from `events` about `subject`; `issuer` is the transmitter, `own` we.
#[must_use]
pub fn consequences(
    events: &Map<String, Value>,
    subject: &Value,
    issuer: &str,
    own: &str,
) -> Vec<Consequence> {
    let mut out = Vec::new();
    for (uri, event) in events {
        let text = |member: &str| event.get(member).and_then(Value::as_str);
        let stops = match (uri.strip_prefix(CAEP), uri.strip_prefix(RISC)) {
            // Of a person or a session in danger; a device or a group in danger is not the person.
            (Some("risk-level-change"), _) => {
                text("current_level") == Some("HIGH") && matches!(text("principal"), Some("SESSION" | "USER"))
            }
            // A person who logs out is neither gone nor robbed.
            (Some("session-revoked"), _) => text("initiating_entity") != Some("user"),
            (_, Some(event)) => matches!(
                event,
                "account-disabled" | "account-purged" | "credential-compromise" | "sessions-revoked"
            ),
            _ => false,
        };
        if stops {
            named(subject, issuer, own, &mut out);
        }
    }
    if out.is_empty() {
        out.push(Consequence::Nothing);
    }
    out
}

/// No deeper than one level: complex subjects and lists hold simple ones.
fn is_simple(subject: &Value) -> bool {
    let format = subject.get("format").and_then(Value::as_str);
    !matches!(format, Some("aliases" | "complex"))
}

/// A simple subject, or the user and the session of a complex one.
fn named(subject: &Value, issuer: &str, own: &str, out: &mut Vec<Consequence>) {
    let text = |member: &str| subject.get(member).and_then(Value::as_str);
    match text("format") {
        Some("email") => {
            out.extend(text("email").map(|email| Consequence::Owned(Person::Email(email.to_owned()))));
        }
        Some("iss_sub") if text("iss") == Some(issuer) => {
            if let Some(sub) = text("sub") {
                out.push(Consequence::Owned(Person::Subject(sub.to_owned())));
                out.push(Consequence::Workload(sub.to_owned()));
            }
        }
        Some("opaque") => {
            out.extend(text("id").map(|id| Consequence::Owned(Person::Subject(id.to_owned()))));
        }
        Some("jwt_id") if text("iss") == Some(own) => {
            out.extend(text("jti").map(|jti| Consequence::OwnToken(jti.to_owned())));
        }
        Some("aliases") => {
            let listed = subject.get("identifiers").and_then(Value::as_array);
            for one in listed
                .into_iter()
                .flatten()
                .take(ALIASES_MAX)
                .filter(|one| is_simple(one))
            {
                named(one, issuer, own, out);
            }
        }
        Some("complex") => {
            for part in ["user", "session"] {
                if let Some(part) = subject.get(part).filter(|part| is_simple(part)) {
                    named(part, issuer, own, out);
                }
            }
        }
        _ => {}
    }
}
