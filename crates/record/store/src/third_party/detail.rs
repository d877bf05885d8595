//! The part of a third-party credential that is one document: schedule, consumers, target, rotation.

use std::collections::BTreeSet;
use std::time::Duration;

use bailiwick_base::{TenantId, Time};
use bailiwick_credential::{
    LastRotation, Phase, ProbeAnswer, Rotation, RotationPolicy, Standing, TakenBack, Target, ThirdParty,
};
use serde_json::{Value, json};

use super::place;

/// What the document holds.
pub(super) struct Detail {
    pub(super) policy: RotationPolicy,
    pub(super) consumers: BTreeSet<String>,
    pub(super) target: Option<Target>,
    pub(super) rotated: Option<LastRotation>,
    pub(super) taken_back: Option<TakenBack>,
    pub(super) standing: Standing,
}

pub(super) fn to_json(c: &ThirdParty) -> Value {
    json!({
        "every_s": c.policy.every.as_secs(),
        "overlap_s": c.policy.overlap.as_secs(),
        "consumers": c.consumers,
        "target": c.target.as_ref().map(place::to_json),
        "rotated": c.rotated.as_ref().map(rotated_to_json),
        "taken_back": c.taken_back.as_ref().map(|b| json!({ "at": b.at.micros(), "reason": b.reason })),
        "rotation": c.unfinished().map(rotation_to_json),
        "end": end_to_json(&c.standing),
    })
}

pub(super) fn from_json(tenant: &TenantId, v: &Value) -> Option<Detail> {
    Some(Detail {
        policy: RotationPolicy {
            every: seconds(v.get("every_s")?)?,
            overlap: seconds(v.get("overlap_s")?)?,
        },
        consumers: texts(v.get("consumers")?)?,
        target: optional(v.get("target")?, |t| place::from_json(tenant, t))?,
        rotated: optional(v.get("rotated")?, rotated_from_json)?,
        taken_back: missing(v.get("taken_back"), |b| {
            Some(TakenBack {
                at: time(b.get("at")?)?,
                reason: text(b.get("reason")?)?,
            })
        })?,
        standing: standing_from_json(v)?,
    })
}

fn end_to_json(standing: &Standing) -> Value {
    match standing {
        Standing::Ending { reason, trouble, .. } => json!({ "reason": reason, "trouble": trouble }),
        Standing::Revoked {
            at,
            entry,
            reason,
            probe,
        } => {
            let probe = probe.as_ref().map(probe_to_json);
            json!({ "reason": reason, "at": at.micros(), "entry": entry, "probe": probe })
        }
        Standing::Rotating(_) | Standing::Steady => Value::Null,
    }
}

fn standing_from_json(v: &Value) -> Option<Standing> {
    let rotation = optional(v.get("rotation")?, rotation_from_json)?;
    let end = v.get("end").filter(|end| !end.is_null());
    Some(match (end, rotation) {
        (None, None) => Standing::Steady,
        (None, Some(rotation)) => Standing::Rotating(rotation),
        (Some(end), rotation) => match end.get("at") {
            Some(at) => Standing::Revoked {
                at: time(at)?,
                entry: end.get("entry")?.as_u64()?,
                reason: text(end.get("reason")?)?,
                probe: optional(end.get("probe")?, probe_from_json)?,
            },
            None => Standing::Ending {
                reason: text(end.get("reason")?)?,
                rotation,
                trouble: optional(end.get("trouble")?, text)?,
            },
        },
    })
}

fn probe_to_json(p: &ProbeAnswer) -> Value {
    json!({ "code": p.code, "text": p.text })
}

fn probe_from_json(p: &Value) -> Option<ProbeAnswer> {
    Some(ProbeAnswer {
        code: text(p.get("code")?)?,
        text: text(p.get("text")?)?,
    })
}

/// Null, or what `parse` understands.
pub(super) fn optional<T>(v: &Value, parse: impl FnOnce(&Value) -> Option<T>) -> Option<Option<T>> {
    if v.is_null() {
        return Some(None);
    }
    parse(v).map(Some)
}

/// As [`optional`], for members that rows of earlier versions lack.
fn missing<T>(v: Option<&Value>, parse: impl FnOnce(&Value) -> Option<T>) -> Option<Option<T>> {
    v.map_or(Some(None), |v| optional(v, parse))
}

pub(super) fn text(v: &Value) -> Option<String> {
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

fn rotated_to_json(last: &LastRotation) -> Value {
    let probe = last.probe.as_ref().map(probe_to_json);
    json!({ "at": last.at.micros(), "entry": last.entry, "probe": probe })
}

fn rotated_from_json(v: &Value) -> Option<LastRotation> {
    Some(LastRotation {
        at: time(v.get("at")?)?,
        entry: v.get("entry")?.as_u64()?,
        probe: optional(v.get("probe")?, probe_from_json)?,
    })
}

fn rotation_to_json(r: &Rotation) -> Value {
    let (since, reason) = match &r.phase {
        Phase::Watching { since } => (Some(since.micros()), None),
        Phase::RollingBack { reason } => (None, Some(reason.as_str())),
        Phase::Preparing | Phase::Probing | Phase::Revoking | Phase::Staging => (None, None),
    };
    let mut json = json!({
        "began_at": r.began_at.micros(),
        "fingerprint": r.fingerprint,
        "handle": r.handle,
        "prepared": r.prepared,
        "phase": r.phase.as_str(),
        "since": since,
        "reason": reason,
        "moved": r.moved,
        "moved_at": r.moved_at.map(Time::micros),
        "strangers": r.strangers,
        "trouble": r.trouble,
    });
    // Rows of earlier versions lack it, and keep their digest.
    if let Some(members) = json.as_object_mut().filter(|_| r.strangers_more > 0) {
        members.insert("strangers_more".to_owned(), r.strangers_more.into());
    }
    if let Some(members) = json.as_object_mut().filter(|_| r.in_vain) {
        members.insert("in_vain".to_owned(), true.into());
    }
    json
}

fn rotation_from_json(v: &Value) -> Option<Rotation> {
    let phase = match v.get("phase")?.as_str()? {
        "preparing" => Phase::Preparing,
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
        fingerprint: optional(v.get("fingerprint")?, text)?,
        handle: missing(v.get("handle"), text)?,
        prepared: v.get("prepared").is_none_or(|p| p.as_bool() == Some(true)),
        phase,
        moved: texts(v.get("moved")?)?,
        moved_at: missing(v.get("moved_at"), time)?,
        strangers: texts(v.get("strangers")?)?,
        strangers_more: v.get("strangers_more").map_or(Some(0), Value::as_u64)?,
        in_vain: v.get("in_vain").map_or(Some(false), Value::as_bool)?,
        trouble: optional(v.get("trouble")?, text)?,
    })
}
