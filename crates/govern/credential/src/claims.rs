//! Claims as JSON, both ways (RFC 9068 §2.2, RFC 8693 §4.1, and our own four).

use std::fmt;

use bailiwick_base::limits::{ACT_DEPTH_MAX, TEXT_MAX};
use bailiwick_base::{Digest, Epoch, IdentityId, TaskId, TenantId, Time, TokenId, TrustId};
use serde::ser::{SerializeMap, SerializeStruct};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use smallvec::SmallVec;

use crate::limits::MAY_ACT_MAX;
use crate::model::{Claims, Confirmation, Link, ScopeSet};

/// What one may stand on: two tokens for each actor, and the consents of all of them.
const LINEAGE_MAX: usize = 3 * ACT_DEPTH_MAX + 1;

/// A claim that is missing or not of its form. Never holds the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("claim `{claim}` is not usable: {rule}")]
pub struct ClaimError {
    /// Which.
    pub claim: &'static str,
    /// What it has to be.
    pub rule: &'static str,
}

impl Claims {
    /// The bytes to be signed: a JSON object, times in whole seconds.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(640);
        // Writing to memory cannot fail and no member can be refused; an empty object would sign nothing away.
        if serde_json::to_writer(&mut out, &Wire(self)).is_err() {
            out.clear();
        }
        out
    }

    /// Reads the claims of one of our tokens. Members that are not ours are ignored; ours have to be there and
    /// of their exact form.
    ///
    /// # Errors
    /// [`ClaimError`] naming the claim.
    pub fn from_json(members: &Map<String, Value>) -> Result<Self, ClaimError> {
        let tenant = TenantId::parse(text(members, "tenant")?).map_err(|_| ClaimError {
            claim: "tenant",
            rule: "it has to be a tenant slug",
        })?;
        let actor = text(members, "nhi")?;
        let nhi = identity(&tenant, actor, "nhi")?;
        let subject = text(members, "sub")?.to_owned();
        let act = act(&tenant, members)?;
        let acts = act
            .first()
            .map_or_else(|| subject == actor, |outermost| *outermost == nhi);
        if !acts {
            let rule = "it has to be the subject, or the outermost actor where the token was delegated";
            return Err(ClaimError { claim: "nhi", rule });
        }
        Ok(Self {
            issuer: text(members, "iss")?.to_owned(),
            subject,
            audience: audience(members)?,
            client: text(members, "client_id")?.to_owned(),
            issued_at: Time::from_secs(seconds(members, "iat")?),
            expires_at: Time::from_secs(seconds(members, "exp")?),
            token: TokenId::parse(&tenant, text(members, "jti")?).map_err(|_| ClaimError {
                claim: "jti",
                rule: "it has to be a token id",
            })?,
            task: TaskId::parse(&tenant, text(members, "task")?).map_err(|_| ClaimError {
                claim: "task",
                rule: "it has to be a task id",
            })?,
            epoch: Epoch(members.get("epoch").and_then(Value::as_u64).ok_or(ClaimError {
                claim: "epoch",
                rule: "it has to be a whole number",
            })?),
            scopes: scopes(members)?,
            may_act: may_act(&tenant, members)?,
            lineage: lineage(&tenant, members)?,
            confirmation: Confirmation::from_claims(members)?,
            composition: composition(members)?,
            tenant,
            nhi,
            act,
        })
    }
}

fn text<'a>(members: &'a Map<String, Value>, claim: &'static str) -> Result<&'a str, ClaimError> {
    match members.get(claim).and_then(Value::as_str) {
        Some(text) if (1..=TEXT_MAX * 2).contains(&text.len()) && !text.chars().any(char::is_control) => {
            Ok(text)
        }
        _ => Err(ClaimError {
            claim,
            rule: "it has to be text of 1 to 512 bytes without control characters",
        }),
    }
}

fn seconds(members: &Map<String, Value>, claim: &'static str) -> Result<i64, ClaimError> {
    /// Year 9999.
    const MAX: i64 = 253_402_300_799;
    match members.get(claim).and_then(Value::as_i64) {
        Some(at) if (0..=MAX).contains(&at) => Ok(at),
        _ => Err(ClaimError {
            claim,
            rule: "it has to be a whole number of seconds",
        }),
    }
}

fn audience(members: &Map<String, Value>) -> Result<String, ClaimError> {
    match members.get("aud") {
        Some(Value::String(one)) => Ok(one.clone()),
        Some(Value::Array(list)) => match list.as_slice() {
            [Value::String(one)] => Ok(one.clone()),
            _ => Err(ClaimError {
                claim: "aud",
                rule: "it has to be exactly one",
            }),
        },
        _ => Err(ClaimError {
            claim: "aud",
            rule: "it has to be exactly one",
        }),
    }
}

fn scopes(members: &Map<String, Value>) -> Result<ScopeSet, ClaimError> {
    let rule = "it has to be text of scopes with one space between them";
    match members.get("scope") {
        None => Ok(ScopeSet::default()),
        Some(Value::String(list))
            if list
                .chars()
                .all(|c| matches!(c, ' '..='~') && c != '"' && c != '\\') =>
        {
            Ok(ScopeSet::parse(list))
        }
        Some(_) => Err(ClaimError { claim: "scope", rule }),
    }
}

fn identity(tenant: &TenantId, text: &str, claim: &'static str) -> Result<IdentityId, ClaimError> {
    IdentityId::parse(tenant, text).map_err(|_| ClaimError {
        claim,
        rule: "it has to be an identity id",
    })
}

/// The actors, outermost first: at most [`ACT_DEPTH_MAX`], nobody twice.
fn act(tenant: &TenantId, members: &Map<String, Value>) -> Result<SmallVec<[IdentityId; 2]>, ClaimError> {
    let wrong = |rule| ClaimError { claim: "act", rule };
    let mut chain: SmallVec<[IdentityId; 2]> = SmallVec::new();
    let mut next = members.get("act");
    while let Some(level) = next {
        let level = level
            .as_object()
            .ok_or(wrong("every level has to be an object"))?;
        let actor = level
            .get("sub")
            .and_then(Value::as_str)
            .ok_or(wrong("every level has to name its `sub`"))?;
        let actor = identity(tenant, actor, "act")?;
        if chain.contains(&actor) {
            return Err(wrong("nobody may act twice in it"));
        }
        if chain.len() == ACT_DEPTH_MAX {
            return Err(wrong("it is longer than 4"));
        }
        chain.push(actor);
        next = level.get("act");
    }
    Ok(chain)
}

/// One object, or several in a list: whoever is named may become the next actor.
fn may_act(tenant: &TenantId, members: &Map<String, Value>) -> Result<Vec<IdentityId>, ClaimError> {
    let rule = "it has to be `{\"sub\": IDENTITY}`, or a list of up to 16 of them";
    let wrong = ClaimError {
        claim: "may_act",
        rule,
    };
    let named = match members.get("may_act") {
        None => return Ok(Vec::new()),
        Some(Value::Array(list)) if (1..=MAY_ACT_MAX).contains(&list.len()) => list.as_slice(),
        Some(one @ Value::Object(_)) => std::slice::from_ref(one),
        Some(_) => return Err(wrong),
    };
    named
        .iter()
        .map(|one| {
            let sub = one.get("sub").and_then(Value::as_str).ok_or(wrong)?;
            identity(tenant, sub, "may_act")
        })
        .collect()
}

/// What a token stands on: always there where it has actors; without any it is the one consent that it came from.
fn lineage(tenant: &TenantId, members: &Map<String, Value>) -> Result<Vec<Link>, ClaimError> {
    let rule = "a delegated token has to name what it was exchanged from as `{\"jti\", \"task\"}`, and no other more than \
                its consent";
    let wrong = ClaimError {
        claim: "lineage",
        rule,
    };
    let listed = match members.get("lineage") {
        None => &[],
        Some(Value::Array(list)) if (1..=LINEAGE_MAX).contains(&list.len()) => list.as_slice(),
        Some(_) => return Err(wrong),
    };
    let fits = if members.contains_key("act") {
        listed.len() >= 2
    } else {
        listed.len() <= 1
    };
    if !fits {
        return Err(wrong);
    }
    let link = |value: &Value| {
        let trust = |named: &Value| TrustId::parse(tenant, named.as_str()?).ok();
        Some(Link {
            token: TokenId::parse(tenant, value.get("jti")?.as_str()?).ok()?,
            task: TaskId::parse(tenant, value.get("task")?.as_str()?).ok()?,
            trust: match value.get("trust") {
                None => None,
                Some(named) => Some(trust(named)?),
            },
        })
    };
    listed.iter().map(|value| link(value).ok_or(wrong)).collect()
}

impl Confirmation {
    /// Reads `cnf`. A binding that is not known here cannot be shown here: everything but exactly one of ours is an
    /// error, and never a token without one.
    ///
    /// # Errors
    /// [`ClaimError`].
    pub fn from_claims(members: &Map<String, Value>) -> Result<Option<Self>, ClaimError> {
        let rule = "it has to be `{\"jkt\": THUMBPRINT}` or `{\"x5t#S256\": THUMBPRINT}` and nothing else";
        let wrong = ClaimError { claim: "cnf", rule };
        let bound = match members.get("cnf") {
            None => return Ok(None),
            Some(Value::Object(bound)) => bound,
            Some(_) => return Err(wrong),
        };
        let mut listed = bound.iter();
        let (Some((name, Value::String(text))), None) = (listed.next(), listed.next()) else {
            return Err(wrong);
        };
        let digest = Digest::from_base64url(text).ok_or(wrong)?;
        match name.as_str() {
            "jkt" => Ok(Some(Self::Key(digest))),
            "x5t#S256" => Ok(Some(Self::Certificate(digest))),
            _ => Err(wrong),
        }
    }
}

fn composition(members: &Map<String, Value>) -> Result<Option<Digest>, ClaimError> {
    let read = |value: &Value| value.as_str().and_then(Digest::from_base64url);
    let stated = members.get("composition").map(|value| {
        read(value).ok_or(ClaimError {
            claim: "composition",
            rule: "it has to be a SHA-256 as 43 characters of base64url without padding",
        })
    });
    stated.transpose()
}

struct Wire<'a>(&'a Claims);

impl Serialize for Wire<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let claims = self.0;
        let mut out = serializer.serialize_struct("Claims", 16)?;
        out.serialize_field("iss", &claims.issuer)?;
        out.serialize_field("sub", &claims.subject)?;
        out.serialize_field("aud", &claims.audience)?;
        out.serialize_field("client_id", &claims.client)?;
        out.serialize_field("iat", &claims.issued_at.secs())?;
        out.serialize_field("exp", &claims.expires_at.secs())?;
        out.serialize_field("jti", &Shown(&claims.token))?;
        out.serialize_field("tenant", claims.tenant.as_str())?;
        out.serialize_field("nhi", &Shown(&claims.nhi))?;
        out.serialize_field("task", &Shown(&claims.task))?;
        out.serialize_field("epoch", &claims.epoch.0)?;
        out.serialize_field("scope", &Shown(&claims.scopes))?;
        if !claims.act.is_empty() {
            out.serialize_field("act", &Actors(&claims.act))?;
        }
        match claims.may_act.as_slice() {
            [] => {}
            [one] => out.serialize_field("may_act", &Named(one))?,
            several => out.serialize_field("may_act", &several.iter().map(Named).collect::<Vec<_>>())?,
        }
        if !claims.lineage.is_empty() {
            out.serialize_field("lineage", &claims.lineage.iter().map(Stood).collect::<Vec<_>>())?;
        }
        if let Some(composition) = &claims.composition {
            out.serialize_field("composition", &composition.to_base64url())?;
        }
        if let Some(bound) = &claims.confirmation {
            out.serialize_field("cnf", &Bound(*bound))?;
        }
        out.end()
    }
}

struct Bound(Confirmation);

impl Serialize for Bound {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (name, digest) = match self.0 {
            Confirmation::Certificate(digest) => ("x5t#S256", digest),
            Confirmation::Key(digest) => ("jkt", digest),
        };
        let mut out = serializer.serialize_map(Some(1))?;
        out.serialize_entry(name, &digest.to_base64url())?;
        out.end()
    }
}

struct Named<'a>(&'a IdentityId);

impl Serialize for Named<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_map(Some(1))?;
        out.serialize_entry("sub", &Shown(self.0))?;
        out.end()
    }
}

struct Stood<'a>(&'a Link);

impl Serialize for Stood<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_map(None)?;
        out.serialize_entry("jti", &Shown(&self.0.token))?;
        out.serialize_entry("task", &Shown(&self.0.task))?;
        if let Some(trust) = &self.0.trust {
            out.serialize_entry("trust", &Shown(trust))?;
        }
        out.end()
    }
}

struct Shown<'a, T>(&'a T);

impl<T: fmt::Display> Serialize for Shown<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self.0)
    }
}

/// RFC 8693 §4.1: each actor holds the one before it.
struct Actors<'a>(&'a [IdentityId]);

impl Serialize for Actors<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_map(None)?;
        if let Some((outermost, rest)) = self.0.split_first() {
            out.serialize_entry("sub", &Shown(outermost))?;
            if !rest.is_empty() {
                out.serialize_entry("act", &Actors(rest))?;
            }
        }
        out.end()
    }
}
