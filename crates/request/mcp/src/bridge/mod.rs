//! Between the eras: what a caller of one revision sends to, and gets from, a server of the other.
//!
//! | caller | server | call | answer |
//! |---|---|---|---|
//! | 2026-07-28 | 2026-07-28 | as it is | as it is; private, short-lived |
//! | 2026-07-28 | 2025-11-25 | without the envelope in `_meta` | with `resultType`, `ttlMs`, `cacheScope` |
//! | 2025-11-25 | 2026-07-28 | with the envelope of the session | without those members |
//! | 2025-11-25 | 2025-11-25 | as it is | as it is |

pub(crate) mod ask;
pub(crate) mod results;
pub(crate) mod rounds;

use bailiwick_decide::ItemKind;
use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::error::UpstreamError;
use crate::frame::{self, CallId};
use crate::gateway::Inbound;
use crate::method::{self, Era};
use crate::upstream::exchange::Outgoing;
use crate::upstream::http::HttpSession;
use crate::upstream::peer;
use http::{HeaderName, HeaderValue};

/// Members of a retry (MRTR); a legacy server never sees them.
const RETRY: [&str; 2] = ["inputResponses", "requestState"];

/// The item that a call names.
pub(crate) fn item_of(inbound: &Inbound) -> Option<(ItemKind, String)> {
    let (member, kind) = method::item(inbound.verb)?;
    Some((kind, inbound.params.text(member)?.to_owned()))
}

/// How a scope names the call: a tool by its name, everything else by the method.
pub(crate) fn scope_name(inbound: &Inbound) -> String {
    match item_of(inbound) {
        Some((ItemKind::Tool, name)) => name,
        _ => inbound.method.clone(),
    }
}

/// The call as it is sent to a server of `era`. With `wire_id` the connection is used by many callers, and the
/// caller's numbers are replaced by that one.
pub(crate) fn outgoing(
    inbound: &Inbound,
    era: Era,
    wire_id: Option<CallId>,
    param_headers: Vec<(HeaderName, HeaderValue)>,
) -> Outgoing {
    let name = method::item(inbound.verb)
        .and_then(|(member, _)| inbound.params.text(member))
        .map(str::to_owned);
    let mut out = Outgoing {
        id: inbound.id.clone(),
        method: inbound.method.clone(),
        wire_id: wire_id.clone().unwrap_or_else(|| inbound.id.clone()),
        params: None,
        verbatim: None,
        token: None,
        name,
        param_headers,
    };
    if wire_id.is_none() && inbound.era == era {
        out.verbatim = Some(inbound.body.clone());
        return out;
    }
    let mut meta = match (inbound.era, era) {
        (Era::Modern, Era::Legacy) => inbound.params.meta_without_envelope(),
        (Era::Legacy, Era::Modern) => with_envelope(inbound),
        _ => inbound.params.meta().cloned().unwrap_or_default(),
    };
    if let Some(wire_id) = &wire_id
        && let Some(token) = inbound.params.progress_token()
    {
        out.token = Some(token.clone());
        meta.insert(
            "progressToken".to_owned(),
            serde_json::to_value(wire_id).unwrap_or_default(),
        );
    }
    let without: &[&str] = if era == Era::Legacy { &RETRY } else { &[] };
    out.params = Some(inbound.params.with_meta(&meta, without));
    out
}

fn with_envelope(inbound: &Inbound) -> Map<String, Value> {
    let mut meta = inbound.params.meta().cloned().unwrap_or_default();
    meta.extend(peer::envelope(&inbound.client()));
    if let Some(level) = &inbound.log_level {
        meta.insert(method::META_LOG_LEVEL.to_owned(), level.as_str().into());
    }
    meta
}

/// Sets the log level that a stateless call asked for at the session inside that it is sent over.
pub(crate) async fn set_level(inbound: &Inbound, session: &HttpSession) -> Result<(), UpstreamError> {
    let Some(level) = inbound.log_level.as_ref().filter(|_| inbound.era == Era::Modern) else {
        return Ok(());
    };
    if !session.peer.offers("logging") || !session.level_changes(level) {
        return Ok(());
    }
    let params = json!({"level": level}).to_string();
    session
        .send(frame::write(
            Some(&session.mint()),
            "logging/setLevel",
            Some(params.as_bytes()),
        ))
        .await
}

/// `params` of a notification with `_meta` changed by `change`.
pub(crate) fn with_notice_meta(params: &[u8], change: impl FnOnce(&mut Map<String, Value>)) -> Bytes {
    let mut params: Map<String, Value> = serde_json::from_slice(params).unwrap_or_default();
    let mut meta = match params.remove("_meta") {
        Some(Value::Object(meta)) => meta,
        _ => Map::new(),
    };
    change(&mut meta);
    if !meta.is_empty() {
        params.insert("_meta".to_owned(), Value::Object(meta));
    }
    Bytes::from(Value::Object(params).to_string())
}
