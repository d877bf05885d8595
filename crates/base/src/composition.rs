//! What an agent is made of, as digests: its code, model, prompt and tools.

use serde_json::{Map, Value};

use crate::digest::Digest;

/// The parts, in the order of the alphabet and so of canonical JSON.
const PARTS: [&str; 4] = ["code", "model", "prompt", "tools"];
/// The same as they are named in a message.
const FIELDS: [&str; 4] = [
    "composition.code",
    "composition.model",
    "composition.prompt",
    "composition.tools",
];

/// A composition that is not of its form. Never holds what was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` is not usable: {rule}")]
pub struct CompositionError {
    /// Which.
    pub field: &'static str,
    /// What it has to be.
    pub rule: &'static str,
}

/// The SHA-256 of each part of an agent that is declared; at least one is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Composition([Option<Digest>; 4]);

impl Composition {
    /// Reads `{"code", "model", "prompt", "tools"}`, each the SHA-256 of that part as base64url without padding.
    ///
    /// # Errors
    /// [`CompositionError`] naming the member.
    pub fn from_json(value: &Value) -> Result<Self, CompositionError> {
        let wrong = |rule| CompositionError {
            field: "composition",
            rule,
        };
        let rule = "it has to be an object of `code`, `model`, `prompt`, `tools`";
        let members = value.as_object().ok_or(wrong(rule))?;
        if members.keys().any(|name| !PARTS.contains(&name.as_str())) {
            return Err(wrong(
                "it has a member other than `code`, `model`, `prompt`, `tools`",
            ));
        }
        let mut parts = [None; 4];
        for ((part, name), field) in parts.iter_mut().zip(PARTS).zip(FIELDS) {
            let Some(value) = members.get(name) else {
                continue;
            };
            let rule = "it has to be a SHA-256 as 43 characters of base64url without padding";
            let digest = value.as_str().and_then(Digest::from_base64url);
            *part = Some(digest.ok_or(CompositionError { field, rule })?);
        }
        if parts.iter().all(Option::is_none) {
            return Err(wrong(
                "it has to say at least one of `code`, `model`, `prompt`, `tools`",
            ));
        }
        Ok(Self(parts))
    }

    /// The form that [`Self::from_json`] reads.
    #[must_use]
    pub fn to_json(&self) -> Map<String, Value> {
        self.parts()
            .map(|(name, digest)| (name.to_owned(), Value::String(digest.to_base64url())))
            .collect()
    }

    /// The parts that are declared, in the order of the alphabet.
    pub fn parts(&self) -> impl Iterator<Item = (&'static str, Digest)> {
        let named = PARTS.into_iter().zip(self.0);
        named.filter_map(|(name, part)| part.map(|digest| (name, digest)))
    }

    /// One value for all of it: the SHA-256 of the canonical form (RFC 8785) of [`Self::to_json`].
    #[must_use]
    pub fn digest(&self) -> Digest {
        // Names and values need no escape and stand in order: these are the canonical bytes.
        let members: Vec<String> = self
            .parts()
            .map(|(name, digest)| format!(r#""{name}":"{}""#, digest.to_base64url()))
            .collect();
        Digest::of(format!("{{{}}}", members.join(",")).as_bytes())
    }

    /// The names of the parts in which two compositions differ.
    pub fn changed<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'static str> + 'a {
        let pairs = self.0.iter().zip(&other.0).zip(PARTS);
        pairs.filter_map(|((one, two), name)| (one != two).then_some(name))
    }
}
