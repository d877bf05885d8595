//! From an entry of the state log to what is told about it (CAEP 1.0 §3).

use bailiwick_base::{SubscriptionId, TenantId, Time};
use bailiwick_signal::{EventKind, Subscription};
use serde_json::{Map, Value, json};

/// An entry of the state log, opened.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Index.
    pub index: u64,
    /// `state.<command>`.
    pub kind: String,
    /// When.
    pub at: Time,
    /// The payload.
    pub payload: Value,
}

/// One thing that is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Signal {
    /// Index of the entry it stands on.
    pub index: u64,
    /// Which one of that entry.
    pub part: u32,
    /// When it happened.
    pub at: Time,
    /// What.
    pub kind: EventKind,
    /// About whom (`sub_id`).
    pub subject: Value,
    /// The members of the event.
    pub event: Map<String, Value>,
    /// What was asked for with it: the request that made the entry.
    pub txn: Option<String>,
}

/// Whether entries of this kind are told at all; the others need not be opened.
#[must_use]
pub fn is_told(kind: &str) -> bool {
    let command = kind.strip_prefix("state.").unwrap_or(kind);
    let family = command.split('.').next().unwrap_or_default();
    matches!(
        family,
        "client"
            | "credential"
            | "epoch"
            | "identity"
            | "key"
            | "lease"
            | "mark"
            | "public-client"
            | "subscription"
            | "task"
            | "trust"
    )
}

/// What `record` tells a subscription of `tenant`, whose issuer is `issuer`; in order.
#[must_use]
pub fn signals(record: &Record, subscription: &Subscription, issuer: &str) -> Vec<Signal> {
    let tenant = subscription.id.tenant();
    let told = About {
        record,
        issuer,
        tenant,
    };
    let found = match told.command().split('.').next().unwrap_or_default() {
        "subscription" => told.of_stream(&subscription.id).into_iter().collect(),
        "epoch" => told.of_epoch().into_iter().collect(),
        "mark" => told.of_mark().into_iter().collect(),
        "identity" => told.of_identity(),
        "task" => told.of_task().into_iter().collect(),
        _ => told.of_credential().into_iter().collect(),
    };
    let mut out = Vec::new();
    for (part, (kind, subject, event)) in (0_u32..).zip(found) {
        let wanted = match kind {
            EventKind::StreamUpdated | EventKind::Verification => true,
            _ => subscription.events.contains(&kind) && !is_left_out(subscription, &subject),
        };
        if wanted {
            out.push(Signal {
                index: record.index,
                part,
                at: record.at,
                kind,
                subject,
                event,
                txn: text(&record.payload, "request").map(str::to_owned),
            });
        }
    }
    out
}

fn is_left_out(subscription: &Subscription, subject: &Value) -> bool {
    !subscription.left_out.is_empty()
        && bailiwick_base::canonical::to_vec(subject)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .is_some_and(|text| subscription.left_out.contains(&text))
}

type Found = (EventKind, Value, Map<String, Value>);

struct About<'a> {
    record: &'a Record,
    issuer: &'a str,
    tenant: &'a TenantId,
}

impl About<'_> {
    fn command(&self) -> &str {
        self.record
            .kind
            .strip_prefix("state.")
            .unwrap_or(&self.record.kind)
    }

    fn thing(&self) -> Option<&Value> {
        self.record.payload.get("objects")?.as_array()?.first()
    }

    fn id(&self) -> Option<&str> {
        text(self.thing()?, "id")
    }

    fn after(&self) -> Option<&Value> {
        self.thing()?.get("after").filter(|after| !after.is_null())
    }

    /// What it is now, or was when it went.
    fn outline(&self) -> Option<&Value> {
        self.after().or_else(|| self.thing()?.get("before"))
    }

    /// The members that every CAEP event may have (CAEP 1.0 §2).
    fn said(&self, what: &str) -> Map<String, Value> {
        let actor = text(&self.record.payload, "actor").unwrap_or_default();
        let initiated = match actor.split(':').next() {
            Some("operator") => "admin",
            Some("identity") => "user",
            Some("system") => "policy",
            _ => "system",
        };
        let reason = text(&self.record.payload, "reason").filter(|reason| !reason.is_empty());
        let mut event = Map::new();
        event.insert("event_timestamp".to_owned(), json!(self.record.at.secs()));
        event.insert("initiating_entity".to_owned(), json!(initiated));
        let reason = reason.unwrap_or(what);
        event.insert("reason_admin".to_owned(), json!({ "en": reason }));
        event
    }

    fn identity(&self, id: &str) -> Value {
        json!({"format": "iss_sub", "iss": self.issuer, "sub": id})
    }

    fn tenant(&self) -> Value {
        json!({"format": "complex", "tenant": opaque(self.tenant.as_str())})
    }

    /// The session of a task.
    fn session(&self, task: &str, identity: Option<&str>) -> Value {
        let mut subject = json!({
            "format": "complex",
            "session": opaque(task),
            "tenant": opaque(self.tenant.as_str()),
        });
        if let (Some(identity), Some(members)) = (identity, subject.as_object_mut()) {
            members.insert("user".to_owned(), self.identity(identity));
        }
        subject
    }

    fn of_stream(&self, id: &SubscriptionId) -> Option<Found> {
        let own = id.to_string();
        let sub = json!({"format": "opaque", "id": own});
        if self.command() == "subscription.verify" {
            let detail = self.record.payload.get("detail")?;
            let mut event = Map::new();
            if let Some(state) = text(detail, "state") {
                event.insert("state".to_owned(), json!(state));
            }
            return (text(detail, "subscription") == Some(own.as_str())).then_some((
                EventKind::Verification,
                sub,
                event,
            ));
        }
        let status = match self.command() {
            "subscription.enable" => "enabled",
            "subscription.pause" => "paused",
            "subscription.disable" => "disabled",
            _ => return None,
        };
        let mut event = Map::new();
        event.insert("status".to_owned(), json!(status));
        if let Some(reason) = text(&self.record.payload, "reason") {
            event.insert("reason".to_owned(), json!(reason));
        }
        (self.id() == Some(own.as_str())).then_some((EventKind::StreamUpdated, sub, event))
    }

    /// Every token from before is dead: somebody went on from an older state, or time was set back.
    fn of_epoch(&self) -> Option<Found> {
        let is_raised = self.command() == "epoch.raise-floor";
        is_raised.then(|| {
            let event = self.said("every token from before is dead");
            (EventKind::SessionRevoked, self.tenant(), event)
        })
    }

    /// A mark, or its end. A kill or suspension of an identity is told by the identity's own entry, and the kill of a
    /// task by its end. A milder mark ends no session: what it says is that somebody sees a risk (CAEP 1.0 §3.8), and
    /// how far the subject is held meanwhile is its reason.
    fn of_mark(&self) -> Option<Found> {
        let (kind, rest) = self.id()?.split_once(':')?;
        let risk = |now: &str, before: Option<&str>, what: &str| {
            let (principal, subject) = self.of_scope(kind, rest);
            (
                EventKind::RiskLevelChange,
                subject,
                self.risk((now, before), principal, what),
            )
        };
        let revoked = |what: &str| {
            let (_, subject) = self.of_scope(kind, rest);
            (EventKind::SessionRevoked, subject, self.said(what))
        };
        match (self.command(), kind) {
            ("mark.kill" | "mark.suspend", "identity") | ("mark.kill", "task") => None,
            ("mark.kill", _) => Some(revoked("killed")),
            ("mark.suspend", _) => Some(revoked("suspended")),
            ("mark.observe", _) => Some(risk("MEDIUM", None, "observed")),
            ("mark.no-egress", _) => Some(risk("MEDIUM", None, "nothing may leave")),
            ("mark.read-only", _) => Some(risk("MEDIUM", None, "only reading is permitted")),
            ("mark.lift", _) => {
                let is_suspended = self.lifted().any(|effect| effect == "suspend");
                match kind {
                    "identity" if is_suspended => None,
                    _ => {
                        let before = if is_suspended { "HIGH" } else { "MEDIUM" };
                        Some(risk("LOW", Some(before), "lifted"))
                    }
                }
            }
            _ => None,
        }
    }

    /// The effects that a lift ended.
    fn lifted(&self) -> impl Iterator<Item = &str> {
        let objects = self.record.payload.get("objects").and_then(Value::as_array);
        let objects = objects.into_iter().flatten();
        objects.filter_map(|object| object.pointer("/before/effect")?.as_str())
    }

    /// What a scope names, and which kind of principal that is (CAEP 1.0 §3.8.1).
    fn of_scope(&self, kind: &str, rest: &str) -> (&'static str, Value) {
        match kind {
            "identity" => ("USER", self.identity(rest)),
            "task" => ("SESSION", self.session(rest, None)),
            "token" => {
                let subject = json!({"format": "jwt_id", "iss": self.issuer, "jti": rest});
                ("SESSION", subject)
            }
            "tenant" | "all" => ("TENANT", self.tenant()),
            _ => {
                let subject = json!({
                    "format": "complex",
                    "group": opaque(&format!("{kind}:{rest}")),
                    "tenant": opaque(self.tenant.as_str()),
                });
                ("GROUP", subject)
            }
        }
    }

    fn risk(&self, (now, before): (&str, Option<&str>), principal: &str, what: &str) -> Map<String, Value> {
        let mut event = self.said(what);
        event.insert("principal".to_owned(), json!(principal));
        event.insert("current_level".to_owned(), json!(now));
        if let Some(before) = before {
            event.insert("previous_level".to_owned(), json!(before));
        }
        event.insert("risk_reason".to_owned(), json!(what));
        event
    }

    fn of_identity(&self) -> Vec<Found> {
        let Some(id) = self.id() else {
            return Vec::new();
        };
        let subject = self.identity(id);
        let risk = |now: &str, before: &str, what: &str| {
            let event = self.risk((now, Some(before)), "USER", what);
            (EventKind::RiskLevelChange, subject.clone(), event)
        };
        let revoked = |what: &str| (EventKind::SessionRevoked, subject.clone(), self.said(what));
        match self.command() {
            "identity.suspend" => vec![revoked("suspended"), risk("HIGH", "LOW", "suspended")],
            "identity.resume" => vec![risk("LOW", "HIGH", "resumed")],
            "identity.retire" => vec![revoked("retired")],
            "identity.activate" => vec![risk("LOW", "MEDIUM", "activated")],
            "identity.compose" => {
                let mut out = Vec::new();
                if let Some(made_of) = self.after().and_then(|after| after.get("composition")) {
                    let mut event = self.said("made of something else");
                    event.insert("claims".to_owned(), json!({ "composition": made_of }));
                    out.push((EventKind::TokenClaimsChange, subject.clone(), event));
                }
                let state = self.after().and_then(|after| text(after, "state"));
                if state == Some("probation") && self.record.payload.get("reason").is_some() {
                    out.push(risk("MEDIUM", "LOW", "made of something else"));
                }
                out
            }
            _ => Vec::new(),
        }
    }

    fn of_task(&self) -> Option<Found> {
        if self.command() != "task.close" {
            return None;
        }
        let identity = self.outline().and_then(|task| text(task, "identity"));
        let subject = self.session(self.id()?, identity);
        Some((
            EventKind::SessionRevoked,
            subject,
            self.said("the task was closed"),
        ))
    }

    fn of_credential(&self) -> Option<Found> {
        let (change, what) = match self.command() {
            "client.register"
            | "public-client.register"
            | "key.add"
            | "credential.register"
            | "credential.add-upstream"
            | "lease.hold"
            | "trust.add" => ("create", "made"),
            "key.rotate" | "credential.replace" | "credential.rotation-complete" => ("update", "replaced"),
            "key.withdraw" | "credential.revoke" | "lease.return" => ("revoke", "revoked"),
            "key.remove"
            | "public-client.remove"
            | "credential.remove"
            | "client.remove"
            | "trust.remove" => ("delete", "removed"),
            _ => return None,
        };
        let outline = self.outline()?;
        let certificate = text(outline, "certificate").is_some();
        let subject = match (text(outline, "identity"), text(outline, "task")) {
            (Some(identity), _) => self.identity(identity),
            (None, Some(task)) => self.session(task, None),
            (None, None) => self.tenant(),
        };
        let mut event = self.said(what);
        event.insert(
            "credential_type".to_owned(),
            json!(if certificate { "x509" } else { "app" }),
        );
        event.insert("change_type".to_owned(), json!(change));
        event.insert("friendly_name".to_owned(), json!(self.id()?));
        Some((EventKind::CredentialChange, subject, event))
    }
}

fn opaque(id: &str) -> Value {
    json!({"format": "opaque", "id": id})
}

fn text<'a>(value: &'a Value, member: &str) -> Option<&'a str> {
    value.get(member)?.as_str()
}
