//! What a credential is shown: only tools it may call, and only while their definition is the pinned one.

use std::time::Duration;

use bailiwick_base::{ServerName, TenantId};
use bailiwick_decide::{Bearer, Snapshot, UpstreamServer};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::pins::Catalog;

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

/// The `tools` member for this credential: sorted by name, each definition in the server's own bytes.
pub(crate) fn visible_tools(
    snapshot: &Snapshot,
    tenant: &TenantId,
    server: &UpstreamServer,
    bearer: &Bearer,
    catalog: &Catalog,
) -> Bytes {
    let mut out = Vec::with_capacity(1_024);
    out.push(b'[');
    let current = snapshot.server(tenant, &server.name);
    let pinned = current.map_or(server, |s| s.as_ref());
    for (name, entry) in &catalog.tools {
        if catalog.is_as_pinned(pinned, name) && may_name(snapshot, bearer, &server.name, name) {
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
