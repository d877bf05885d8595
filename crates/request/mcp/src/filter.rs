//! What a credential is shown: only tools it may call, and only while their definition is the pinned one.

use std::time::Duration;

use bailiwick_base::{ServerName, TenantId};
use bailiwick_decide::{Bearer, DenyReason, ItemKind, Snapshot, UpstreamServer};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::gateway::{Gateway, Inbound};
use crate::pins::Catalog;
use crate::upstream::exchange::{self, Reply};

/// Whether the credential's coarse scope and its task's grant both name the tool. Conditions on arguments are
/// decided when it is called.
pub(crate) fn may_name(snapshot: &Snapshot, bearer: &Bearer, server: &ServerName, tool: &str) -> bool {
    if !bearer.claims.scopes.contains(server.as_str(), tool) {
        return false;
    }
    let Some((_, grant)) = snapshot.task(&bearer.claims.task) else {
        return false;
    };
    grant.scopes.iter().any(|scope| {
        scope.server == *server && scope.action.as_ref().is_none_or(|action| action.as_str() == tool)
    })
}

/// Whether the tool is refused whatever its arguments are: by a policy of the tenant, or because it was stopped.
fn is_barred(gateway: &Gateway, bearer: &Bearer, server: &ServerName, tool: &str) -> bool {
    let refused = gateway.probe(
        bearer,
        server,
        "tools/call",
        Some((ItemKind::Tool, tool.to_owned())),
    );
    matches!(
        refused,
        Some(DenyReason::ForbiddenByPolicy | DenyReason::KilledByOperator)
    )
}

/// The `tools` member for this credential: sorted by name, each definition in the server's own bytes.
pub(crate) fn visible_tools(
    gateway: &Gateway,
    tenant: &TenantId,
    server: &UpstreamServer,
    bearer: &Bearer,
    catalog: &Catalog,
) -> Bytes {
    let snapshot = gateway.cell.load();
    let mut out = Vec::with_capacity(1_024);
    out.push(b'[');
    let current = snapshot.server(tenant, &server.name);
    let pinned = current.map_or(server, |s| s.as_ref());
    for (name, entry) in &catalog.tools {
        let shown = catalog.is_as_pinned(pinned, name) && may_name(&snapshot, bearer, &server.name, name);
        if shown && !is_barred(gateway, bearer, &server.name, name) {
            if out.len() > 1 {
                out.push(b',');
            }
            out.extend_from_slice(&entry.raw);
        }
    }
    out.push(b']');
    Bytes::from(out)
}

/// Sets `cacheScope: private` and caps `ttlMs`: what one credential was shown must not outlive a kill in a cache,
/// nor reach another credential.
pub(crate) fn keep_private(result: &mut Map<String, Value>, ttl_max: Duration) {
    let cap = u64::try_from(ttl_max.as_millis()).unwrap_or(u64::MAX);
    let asked = result.get("ttlMs").and_then(Value::as_u64).unwrap_or(0);
    result.insert("ttlMs".to_owned(), json!(asked.min(cap)));
    result.insert("cacheScope".to_owned(), json!("private"));
}

/// A list without the prompts and resources that this credential may not use. What depends on arguments that a list
/// does not have is shown and decided when it is used.
pub(crate) fn usable_only(gateway: &Gateway, inbound: &Inbound, reply: Reply) -> Reply {
    let (member, name, kind, method) = match inbound.method.as_str() {
        "prompts/list" => ("prompts", "name", Some(ItemKind::Prompt), "prompts/get"),
        "resources/list" => ("resources", "uri", Some(ItemKind::Resource), "resources/read"),
        "resources/templates/list" => ("resourceTemplates", "uriTemplate", None, "resources/read"),
        _ => return reply,
    };
    let Some(result) = &reply.result else { return reply };
    let Ok(mut result) = serde_json::from_slice::<Map<String, Value>>(result) else {
        return reply;
    };
    let Some(Value::Array(items)) = result.get_mut(member) else {
        return reply;
    };
    let before = items.len();
    let caller = &inbound.caller;
    let snapshot = gateway.cell.load();
    let nameable = may_name(&snapshot, &caller.bearer, &caller.server, method);
    items.retain(|item| {
        let named = item.get(name).and_then(Value::as_str).unwrap_or_default();
        let Some(kind) = kind.filter(|_| nameable) else {
            return nameable;
        };
        let refused = gateway.probe(
            &caller.bearer,
            &caller.server,
            method,
            Some((kind, named.to_owned())),
        );
        !match refused {
            Some(DenyReason::ArgumentOutOfScope) => kind == ItemKind::Resource,
            Some(DenyReason::ForbiddenByPolicy | DenyReason::NoGrant | DenyReason::ScopeMissing) => true,
            _ => false,
        }
    });
    if items.len() == before {
        return reply;
    }
    let text = Value::Object(result).to_string();
    Reply {
        streamed: reply.streamed,
        ..exchange::reply(&inbound.id, reply.status, "result", text.as_bytes())
    }
}
