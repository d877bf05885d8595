//! The part of a third-party credential that is one document: schedule, consumers, target, rotation.

use std::collections::BTreeSet;
use std::time::Duration;

use bailiwick_base::{CredentialId, TenantId, Time};
use bailiwick_credential::{
    LastRotation, Phase, ProbeAnswer, Rotation, RotationPolicy, Standing, Target, ThirdParty, Turn,
};
use serde_json::{Value, json};

/// What the document holds.
pub(super) struct Detail {
    pub(super) policy: RotationPolicy,
    pub(super) consumers: BTreeSet<String>,
    pub(super) target: Option<Target>,
    pub(super) rotated: Option<LastRotation>,
    pub(super) standing: Standing,
}

pub(super) fn to_json(c: &ThirdParty) -> Value {
    json!({
        "every_s": c.policy.every.as_secs(),
        "overlap_s": c.policy.overlap.as_secs(),
        "consumers": c.consumers,
        "target": c.target.as_ref().map(target_to_json),
        "rotated": c.rotated.as_ref().map(rotated_to_json),
        "rotation": c.rotation().map(rotation_to_json),
    })
}

pub(super) fn from_json(tenant: &TenantId, v: &Value) -> Option<Detail> {
    Some(Detail {
        policy: RotationPolicy {
            every: seconds(v.get("every_s")?)?,
            overlap: seconds(v.get("overlap_s")?)?,
        },
        consumers: texts(v.get("consumers")?)?,
        target: optional(v.get("target")?, |t| target_from_json(tenant, t))?,
        rotated: optional(v.get("rotated")?, rotated_from_json)?,
        standing: optional(v.get("rotation")?, rotation_from_json)?
            .map_or(Standing::Steady, Standing::Rotating),
    })
}

/// Null, or what `parse` understands.
fn optional<T>(v: &Value, parse: impl FnOnce(&Value) -> Option<T>) -> Option<Option<T>> {
    if v.is_null() {
        return Some(None);
    }
    parse(v).map(Some)
}

fn text(v: &Value) -> Option<String> {
    v.as_str().map(str::to_owned)
}

fn texts(v: &Value) -> Option<BTreeSet<String>> {
    v.as_array()?.iter().map(text).collect()
}

fn seconds(v: &Value) -> Option<Duration> {
    v.as_u64().map(Duration::from_secs)
}

fn time(v: &Value) -> Option<Time> {
    v.as_i64().map(Time::from_micros)
}

fn target_to_json(t: &Target) -> Value {
    json!({
        "host": t.host,
        "port": t.port,
        "database": t.database,
        "role": t.role,
        "logins": t.logins,
        "current": t.login(t.current),
        "manager_login": t.manager_login,
        "manager": t.manager.to_string(),
        "allow_plaintext": t.allow_plaintext,
    })
}

fn target_from_json(tenant: &TenantId, v: &Value) -> Option<Target> {
    let logins: [String; 2] = v
        .get("logins")?
        .as_array()?
        .iter()
        .map(text)
        .collect::<Option<Vec<_>>>()?
        .try_into()
        .ok()?;
    let current = v.get("current")?.as_str()?;
    let [first, second] = &logins;
    Some(Target {
        host: text(v.get("host")?)?,
        port: u16::try_from(v.get("port")?.as_u64()?).ok()?,
        database: text(v.get("database")?)?,
        role: text(v.get("role")?)?,
        current: match current {
            name if name == first => Turn::First,
            name if name == second => Turn::Second,
            _ => return None,
        },
        logins,
        manager_login: text(v.get("manager_login")?)?,
        manager: CredentialId::parse(tenant, v.get("manager")?.as_str()?).ok()?,
        allow_plaintext: v.get("allow_plaintext")?.as_bool()?,
    })
}

fn rotated_to_json(last: &LastRotation) -> Value {
    let probe = last
        .probe
        .as_ref()
        .map(|p| json!({ "code": p.code, "text": p.text }));
    json!({ "at": last.at.micros(), "entry": last.entry, "probe": probe })
}

fn rotated_from_json(v: &Value) -> Option<LastRotation> {
    Some(LastRotation {
        at: time(v.get("at")?)?,
        entry: v.get("entry")?.as_u64()?,
        probe: optional(v.get("probe")?, |p| {
            Some(ProbeAnswer {
                code: text(p.get("code")?)?,
                text: text(p.get("text")?)?,
            })
        })?,
    })
}

fn rotation_to_json(r: &Rotation) -> Value {
    let (since, reason) = match &r.phase {
        Phase::Watching { since } => (Some(since.micros()), None),
        Phase::RollingBack { reason } => (None, Some(reason.as_str())),
        Phase::Probing | Phase::Revoking | Phase::Staging => (None, None),
    };
    json!({
        "began_at": r.began_at.micros(),
        "fingerprint": r.fingerprint,
        "phase": r.phase.as_str(),
        "since": since,
        "reason": reason,
        "moved": r.moved,
        "strangers": r.strangers,
        "trouble": r.trouble,
    })
}

fn rotation_from_json(v: &Value) -> Option<Rotation> {
    let phase = match v.get("phase")?.as_str()? {
        "probing" => Phase::Probing,
        "revoking" => Phase::Revoking,
        "rolling-back" => Phase::RollingBack {
            reason: text(v.get("reason")?)?,
        },
        "staging" => Phase::Staging,
        "watching" => Phase::Watching {
            since: time(v.get("since")?)?,
        },
        _ => return None,
    };
    Some(Rotation {
        began_at: time(v.get("began_at")?)?,
        fingerprint: text(v.get("fingerprint")?)?,
        phase,
        moved: texts(v.get("moved")?)?,
        strangers: texts(v.get("strangers")?)?,
        trouble: optional(v.get("trouble")?, text)?,
    })
}
