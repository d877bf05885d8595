//! What a credential is shown: only tools it may call, and only while their definition is the pinned one.

use std::time::Duration;

use bailiwick_base::ServerName;
use bailiwick_decide::{Bearer, DenyReason, ItemKind, Snapshot};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::error::UpstreamError;
use crate::gateway::{Caller, Gateway, Imagined, Inbound};
use crate::pins::{Catalog, TOOLS_MAX};
use crate::upstream::exchange::{self, Reply};

/// Prompts, resources or templates on one page of a list.
const ITEMS_MAX: usize = TOOLS_MAX;
/// Decisions in one go.
const TURN: usize = 64;
const TOOLS_CALL: &str = "tools/call";

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

/// Lets others go on after every so many decisions: a list is long, and a decision has nothing to wait for.
async fn pause_after(decided: usize) {
    if decided.is_multiple_of(TURN) {
        tokio::task::yield_now().await;
    }
}

/// The `tools` member for this credential: sorted by name, each definition in the server's own bytes.
pub(crate) async fn visible_tools(gateway: &Gateway, caller: &Caller, catalog: &Catalog) -> Bytes {
    let mut out = Vec::with_capacity(1_024);
    out.push(b'[');
    for (n, (name, entry)) in (1..).zip(&catalog.tools) {
        if is_visible(gateway, caller, catalog, name) {
            if out.len() > 1 {
                out.push(b',');
            }
            out.extend_from_slice(&entry.raw);
        }
        pause_after(n).await;
    }
    out.push(b']');
    Bytes::from(out)
}

fn is_visible(gateway: &Gateway, caller: &Caller, catalog: &Catalog, tool: &str) -> bool {
    let snapshot = gateway.cell.load();
    let (bearer, server) = (&caller.bearer, &caller.server);
    let call = || Imagined {
        bearer,
        server,
        method: TOOLS_CALL,
        item: Some((ItemKind::Tool, tool.to_owned())),
    };
    let pin = snapshot.pin(&caller.tenant, server, tool);
    pin.is_some_and(|pin| catalog.is_as_pinned(pin))
        && may_name(&snapshot, bearer, server, tool)
        && gateway.barred(call()).is_none()
}

/// Sets `cacheScope: private` and caps `ttlMs`: what one credential was shown must not outlive a kill in a cache,
/// nor reach another credential.
pub(crate) fn keep_private(result: &mut Map<String, Value>, ttl_max: Duration) {
    let cap = u64::try_from(ttl_max.as_millis()).unwrap_or(u64::MAX);
    let asked = result.get("ttlMs").and_then(Value::as_u64).unwrap_or(0);
    result.insert("ttlMs".to_owned(), json!(asked.min(cap)));
    result.insert("cacheScope".to_owned(), json!("private"));
}

/// A list that is filtered: its member, the member of an item that names it, and how it is used.
struct Filtered {
    member: &'static str,
    name: &'static str,
    /// `None`: what an item stands for is known only when it is used.
    kind: Option<ItemKind>,
    method: &'static str,
}

impl Filtered {
    fn of(method: &str) -> Option<Self> {
        let (member, name, kind, method) = match method {
            "prompts/list" => ("prompts", "name", Some(ItemKind::Prompt), "prompts/get"),
            "resources/list" => ("resources", "uri", Some(ItemKind::Resource), "resources/read"),
            "resources/templates/list" => ("resourceTemplates", "uriTemplate", None, "resources/read"),
            _ => return None,
        };
        Some(Self {
            member,
            name,
            kind,
            method,
        })
    }

    fn is_usable(&self, gateway: &Gateway, caller: &Caller, item: &Value) -> bool {
        let Some(kind) = self.kind else { return true };
        let Some(named) = item.get(self.name).and_then(Value::as_str) else {
            return false;
        };
        let call = Imagined {
            bearer: &caller.bearer,
            server: &caller.server,
            method: self.method,
            item: Some((kind, named.to_owned())),
        };
        match gateway.probe(call.clone()) {
            // A rate is exceeded for a while only.
            None | Some(DenyReason::RateExceeded) => true,
            Some(DenyReason::NoGrant | DenyReason::ScopeMissing) => false,
            // A resource is read without arguments, so nothing is left open about it.
            Some(_) => kind != ItemKind::Resource && gateway.barred(call).is_none(),
        }
    }
}

/// A list without the prompts and resources that this credential may not use. What depends on arguments that a list
/// does not have is shown and decided when it is used. The text is always our own: what was judged is what is shown.
///
/// # Errors
/// [`UpstreamError::NotMcp`] when the list cannot be read: then nothing of it can be judged.
pub(crate) async fn usable_only(
    gateway: &Gateway,
    inbound: &Inbound,
    reply: Reply,
) -> Result<Reply, UpstreamError> {
    let (Some(filtered), Some(result)) = (Filtered::of(&inbound.method), &reply.result) else {
        return Ok(reply);
    };
    let mut result: Map<String, Value> = serde_json::from_slice(result)
        .map_err(|_| UpstreamError::NotMcp("the result of a list is not an object"))?;
    let Some(Value::Array(items)) = result.get_mut(filtered.member) else {
        return Err(UpstreamError::NotMcp("a list without its items"));
    };
    if items.len() > ITEMS_MAX {
        return Err(UpstreamError::NotMcp(
            "more than 4096 items in one page of a list",
        ));
    }
    let caller = &inbound.caller;
    let nameable = may_name(
        &gateway.cell.load(),
        &caller.bearer,
        &caller.server,
        filtered.method,
    );
    let offered = if nameable {
        std::mem::take(items)
    } else {
        Vec::new()
    };
    items.clear();
    for (n, item) in (1..).zip(offered) {
        if filtered.is_usable(gateway, caller, &item) {
            items.push(item);
        }
        pause_after(n).await;
    }
    let text = Value::Object(result).to_string();
    Ok(Reply {
        streamed: reply.streamed,
        ..exchange::reply(&inbound.id, reply.status, "result", text.as_bytes())
    })
}
