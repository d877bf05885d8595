//! Canonical payloads (RFC 8785) of the decision log. They are sealed beside the leaf that commits to them.
//!
//! Absent members are left out. Text that a caller can make as long as it likes is replaced by
//! `{"bytes":…,"sha256":"…"}` above [`TEXT_SHOWN_MAX`] bytes, so that every call has a record.
//!
//! ```text
//! decision     {"act":[…],"action":"tools/call","age_ms":3,"argument_digest":"<hex>","client":"cli_…","decision":"dec_…",
//!               "door":"gateway","effect":"permit","jti":"tok_…","nhi":"idn_…","policies":[…],
//!               "reason":"grant.none","resource":{"id":"read_text_file","type":"tool"},"server":"filesystem",
//!               "sub":"…","task":"tsk_…","tenant":"acme","token_hash":"<hex>"}
//! token.issue  the same, with "action":"token.issue" and
//!               "issue":{"act":[…],"audience":"…","client":"cli_…","expires_at":1763750000,"from":["tok_…"],
//!               "jti":["tok_…"],"nhi":"idn_…","scope":["filesystem:read_text_file"],"sub":"…"}
//! outcome      {"decision":"dec_…","outcome":"returned","tenant":"acme"}
//! ```
//!
//! `age_ms` is how old the word of the shared store was at the decision; its epoch is in the leaf. `client`, `jti`, `sub` and `token_hash` are those of the token the caller showed. A call of an outside
//! enforcement point has `subject` (AuthZEN `type` and `id`) and `pep` in their place. `reason` is only in a
//! denial. `from` names the tokens that a delegated token stands on; `composition`, after `client`, is what the
//! token says its identity is made of.

use bailiwick_audit::entry::Kind;
use bailiwick_base::{DecisionId, Digest, TaskId};
use bailiwick_decide::{Call, Decision, Effect, ItemKind, NamedEntity, Principal, Target};

use crate::json::{Writer, push_shown, push_text};

/// Longest text of a caller that is recorded as it is, in bytes.
pub const TEXT_SHOWN_MAX: usize = 512;
/// Most policy ids of one decision that are recorded; `policies_left_out` counts the others.
pub const POLICIES_MAX: usize = 64;

/// What a resource of the egress proxy is recorded as: its id is `host[:port]/path`, the action its method.
pub const HTTP: &str = "http";

/// Room for a usual payload.
const ROOM: usize = 1024;

/// What a decision on a call is recorded as: a permitted issue is the issue itself (`token.issue`).
#[must_use]
pub fn kind(call: &Call, decision: &Decision) -> Kind<'static> {
    match (&call.target, &decision.effect) {
        (Target::Issue { .. }, Effect::Permit) => Kind::TOKEN_ISSUE,
        _ => Kind::DECISION,
    }
}

/// The payload of a decision on a call, and of what it issues.
#[must_use]
pub fn decision(call: &Call, decision: &Decision) -> Vec<u8> {
    let tokens = if let Target::Issue { tokens, .. } = &call.target {
        tokens.len()
    } else {
        0
    };
    let mut out = Vec::with_capacity(ROOM + 34 * tokens);
    let claims = match &call.principal {
        Principal::Bearer(bearer) => Some(&*bearer.claims),
        Principal::Identity { .. } | Principal::Named(_) => None,
    };
    let mut object = Writer::object(&mut out);
    if let Some(claims) = claims.filter(|claims| !claims.act.is_empty()) {
        object.list("act", &claims.act, |out, actor| push_shown(out, actor));
    }
    text_or_digest(&mut object, "action", action(&call.target));
    object.number("age_ms", decision.age_ms);
    if let Some(digest) = &call.arguments.digest {
        object.shown("argument_digest", digest);
    }
    if let Some(claims) = claims {
        text_or_digest(&mut object, "client", &claims.client);
    }
    if let Target::Issue { tokens, .. } = &call.target {
        object.number("count", tokens.len() as u64);
    }
    object.shown("decision", &decision.id);
    object.text("door", call.door.as_str());
    object.text("effect", effect(&decision.effect));
    issue(&mut object, &call.target);
    if let Some(claims) = claims {
        object.shown("jti", &claims.token);
    }
    match &call.principal {
        Principal::Bearer(bearer) => object.shown("nhi", &bearer.claims.nhi),
        Principal::Identity { id, .. } => object.shown("nhi", id),
        Principal::Named(named) => object.shown("pep", &named.pep),
    }
    policies(&mut object, &decision.reasons.policies);
    if let Effect::Deny(reason) = decision.effect {
        object.text("reason", reason.code());
    }
    resource(&mut object, &call.target);
    if let Some(claims) = claims {
        text_or_digest(&mut object, "sub", &claims.subject);
    }
    if let Principal::Named(named) = &call.principal {
        object.nested("subject", |inner| entity(inner, &named.subject));
    }
    if let Some(task) = task(call) {
        object.shown("task", task);
    }
    object.text("tenant", call.tenant().as_str());
    if let Principal::Bearer(bearer) = &call.principal {
        object.shown("token_hash", &bearer.token_hash);
    }
    object.end();
    out
}

/// The payload of an outcome: how a permitted call ended (`executed`, `returned`, `failed`, `cancelled`, `overtaken`).
#[must_use]
pub fn outcome(decision: &DecisionId, outcome: &'static str) -> Vec<u8> {
    let mut out = Vec::with_capacity(128);
    let mut object = Writer::object(&mut out);
    object.shown("decision", decision);
    object.text("outcome", outcome);
    object.text("tenant", decision.tenant().as_str());
    object.end();
    out
}

/// What the tokens say that an issue asks for.
fn issue(object: &mut Writer<'_>, target: &Target) {
    let Target::Issue {
        claims,
        tokens,
        evidence,
        ..
    } = target
    else {
        return;
    };
    object.nested("issue", |inner| {
        if !claims.act.is_empty() {
            inner.list("act", &claims.act, |out, actor| push_shown(out, actor));
        }
        text_or_digest(inner, "audience", &claims.audience);
        if let Some(bound) = claims.confirmation {
            inner.text("bound", bound.as_str());
        }
        text_or_digest(inner, "client", &claims.client);
        if let Some(composition) = &claims.composition {
            inner.text("composition", &composition.to_base64url());
        }
        if let Some(evidence) = evidence {
            inner.shown("evidence", evidence);
        }
        inner.number("expires_at", claims.expires_at.secs());
        if !claims.lineage.is_empty() {
            inner.list("from", &claims.lineage, |out, link| push_shown(out, &link.token));
        }
        inner.list("jti", tokens, |out, token| push_shown(out, token));
        inner.shown("nhi", &claims.nhi);
        inner.list("scope", claims.scopes.iter(), push_text);
        text_or_digest(inner, "sub", &claims.subject);
    });
}

fn action(target: &Target) -> &str {
    match target {
        Target::Http { method, .. } => method,
        Target::Issue { .. } => "token.issue",
        Target::Mcp { method, .. } => method,
        Target::Named { action, .. } => action,
    }
}

fn effect(effect: &Effect) -> &'static str {
    match effect {
        Effect::Deny(_) => "deny",
        Effect::Hold(_) => "hold",
        Effect::Permit => "permit",
    }
}

fn task(call: &Call) -> Option<&TaskId> {
    match (&call.target, &call.principal) {
        (Target::Issue { claims, .. }, _) => Some(&claims.task),
        (_, Principal::Bearer(bearer)) => Some(&bearer.claims.task),
        (_, Principal::Identity { task, .. }) => task.as_ref(),
        (_, Principal::Named(named)) => named.task.as_ref(),
    }
}

fn policies(object: &mut Writer<'_>, policies: &[String]) {
    let (shown, left_out) = policies.split_at_checked(POLICIES_MAX).unwrap_or((policies, &[]));
    object.list("policies", shown, |out, policy| push_text(out, policy));
    if !left_out.is_empty() {
        object.number("policies_left_out", left_out.len() as u64);
    }
}

/// `resource`, and for MCP and destinations also `server`.
fn resource(object: &mut Writer<'_>, target: &Target) {
    match target {
        Target::Http { server, place, .. } => {
            object.nested("resource", |inner| {
                text_or_digest(inner, "id", place);
                inner.text("type", HTTP);
            });
            if let Some(server) = server {
                object.text("server", server.as_str());
            }
        }
        Target::Issue { .. } => {}
        Target::Mcp { server, item, .. } => {
            if let Some((kind, id)) = item {
                object.nested("resource", |inner| {
                    text_or_digest(inner, "id", id);
                    inner.text("type", item_kind(*kind));
                });
            }
            object.text("server", server.as_str());
        }
        Target::Named { resource, .. } => object.nested("resource", |inner| entity(inner, resource)),
    }
}

const fn item_kind(kind: ItemKind) -> &'static str {
    match kind {
        ItemKind::Prompt => "prompt",
        ItemKind::Resource => "resource",
        ItemKind::Tool => "tool",
    }
}

/// Type and id; properties are judged, but stay out of the record.
fn entity(object: &mut Writer<'_>, entity: &NamedEntity) {
    text_or_digest(object, "id", &entity.id);
    text_or_digest(object, "type", &entity.kind);
}

fn text_or_digest(object: &mut Writer<'_>, name: &'static str, text: &str) {
    if text.len() <= TEXT_SHOWN_MAX {
        object.text(name, text);
    } else {
        object.nested(name, |inner| {
            inner.number("bytes", text.len() as u64);
            inner.shown("sha256", &Digest::of(text.as_bytes()));
        });
    }
}
