//! Results on their way to the caller.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::answer;
use crate::error::UpstreamError;
use crate::filter;
use crate::frame::{CallId, ForeignError};
use crate::gateway::Inbound;
use crate::method::{self, Era};
use crate::upstream::exchange::{Reply, reply};
use crate::upstream::http::recoded;
use crate::upstream::peer::Peer;

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, rename = "resultType", default)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "ttlMs", default)]
    ttl: Option<&'a RawValue>,
    #[serde(borrow, rename = "cacheScope", default)]
    scope: Option<Cow<'a, str>>,
}

/// Whether a result asks the caller for input.
pub(crate) fn asks_for_input(result: &[u8]) -> bool {
    head(result)
        .and_then(|h| h.kind)
        .is_some_and(|kind| kind == "input_required")
}

fn head(result: &[u8]) -> Option<Head<'_>> {
    serde_json::from_str(std::str::from_utf8(result).ok()?).ok()
}

/// The reply in the words of the caller's era.
pub(crate) fn to_caller(
    inbound: &Inbound,
    server: Era,
    answer: Reply,
    ttl_max: Duration,
) -> Result<Reply, UpstreamError> {
    if let Some(error) = &answer.error {
        return Ok(error_to_caller(inbound, &answer, error));
    }
    let Some(result) = &answer.result else {
        return Err(UpstreamError::NotMcp("neither a result nor an error"));
    };
    let head = head(result).ok_or(UpstreamError::NotMcp("a result that is not an object"))?;
    let cacheable = method::is_cacheable(inbound.verb);
    let as_it_is = match (inbound.era, server) {
        (Era::Modern, Era::Modern) => {
            head.kind.is_some()
                && (!cacheable || (head.scope.as_deref() == Some("private") && ttl_fits(&head, ttl_max)))
        }
        (Era::Modern, Era::Legacy) => false,
        (Era::Legacy, _) => head.kind.is_none() && head.ttl.is_none() && head.scope.is_none(),
    };
    if as_it_is {
        return Ok(Reply {
            status: 200,
            ..answer
        });
    }
    let nothing_there = head.kind.is_none() && head.ttl.is_none() && head.scope.is_none();
    if inbound.era == Era::Modern && nothing_there {
        return Ok(reply(&inbound.id, 200, "result", &spliced(result, cacheable)));
    }
    let mut members: Map<String, Value> = serde_json::from_slice(result)
        .map_err(|_| UpstreamError::NotMcp("a result that is not an object"))?;
    if inbound.era == Era::Legacy {
        for name in ["resultType", "ttlMs", "cacheScope"] {
            members.remove(name);
        }
    } else {
        members.entry("resultType").or_insert_with(|| "complete".into());
        if cacheable {
            filter::keep_private(&mut members, ttl_max);
        }
    }
    Ok(reply(
        &inbound.id,
        200,
        "result",
        Value::Object(members).to_string().as_bytes(),
    ))
}

fn ttl_fits(head: &Head<'_>, ttl_max: Duration) -> bool {
    let ttl = head.ttl.and_then(|raw| raw.get().parse::<u64>().ok());
    ttl.is_some_and(|ttl| u128::from(ttl) <= ttl_max.as_millis())
}

/// The members of 2026-07-28 put in front; every other byte stays.
fn spliced(result: &[u8], cacheable: bool) -> Vec<u8> {
    let inside = result
        .trim_ascii()
        .strip_prefix(b"{")
        .unwrap_or(b"}")
        .trim_ascii_start();
    let mut out = Vec::with_capacity(result.len() + 64);
    out.extend_from_slice(br#"{"resultType":"complete""#);
    if cacheable {
        out.extend_from_slice(br#","ttlMs":0,"cacheScope":"private""#);
    }
    if inside.first() != Some(&b'}') {
        out.push(b',');
    }
    out.extend_from_slice(inside);
    out
}

/// Errors keep code, message and data; what only one era knows is put in the words of the other.
fn error_to_caller(inbound: &Inbound, answer: &Reply, error: &[u8]) -> Reply {
    let parsed = std::str::from_utf8(error)
        .ok()
        .and_then(|e| serde_json::from_str::<ForeignError<'_>>(e).ok());
    let Some(parsed) = parsed else {
        return recoded(
            &inbound.id,
            200,
            answer::INTERNAL_ERROR,
            "the upstream server gave a malformed error",
            None,
        );
    };
    if inbound.era == Era::Legacy {
        return Reply {
            status: 200,
            ..answer.clone()
        };
    }
    if parsed.code == answer::LEGACY_RESOURCE_NOT_FOUND {
        let data = parsed.data.map(|d| d.get().as_bytes());
        return recoded(&inbound.id, 200, answer::INVALID_PARAMS, &parsed.message, data);
    }
    let status = match parsed.code {
        answer::METHOD_NOT_FOUND => 404,
        answer::MISSING_CAPABILITY => 400,
        _ => answer.status,
    };
    Reply {
        status,
        ..answer.clone()
    }
}

/// The result of `server/discover`, in our name for the revision and in the server's for the rest.
pub(crate) fn discovery(id: &CallId, peer: &Peer) -> Bytes {
    let mut meta = peer.meta.clone();
    meta.insert(method::META_SERVER.to_owned(), peer.server.clone());
    let mut result = json!({
        "resultType": "complete",
        "supportedVersions": [method::MODERN],
        "capabilities": capabilities(peer, Era::Modern),
        "ttlMs": 0,
        "cacheScope": "private",
        "_meta": meta,
    });
    if let (Some(text), Some(result)) = (&peer.instructions, result.as_object_mut()) {
        result.insert("instructions".to_owned(), text.as_str().into());
    }
    answer::result(id, &result)
}

/// The result of `initialize`.
pub(crate) fn initialization(id: &CallId, peer: &Peer, version: &str) -> Bytes {
    let mut result = json!({
        "protocolVersion": version,
        "capabilities": capabilities(peer, Era::Legacy),
        "serverInfo": peer.server,
    });
    if let Some(result) = result.as_object_mut() {
        if let Some(text) = &peer.instructions {
            result.insert("instructions".to_owned(), text.as_str().into());
        }
        if peer.era == Era::Legacy && !peer.meta.is_empty() {
            result.insert("_meta".to_owned(), Value::Object(peer.meta.clone()));
        }
    }
    answer::result(id, &result)
}

/// A capability that only sessions know (`tasks`) is not shown to stateless callers.
fn capabilities(peer: &Peer, to: Era) -> Map<String, Value> {
    let mut capabilities = peer.capabilities.clone();
    if to == Era::Modern && peer.era == Era::Legacy {
        capabilities.remove("tasks");
    }
    capabilities
}
