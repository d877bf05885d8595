//! Answers that the gateway gives by itself.

use bailiwick_pep::Denial;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::error::UpstreamError;
use crate::frame::CallId;

/// JSON-RPC: not JSON.
pub(crate) const PARSE_ERROR: i64 = -32700;
/// JSON-RPC: not a call.
pub(crate) const INVALID_REQUEST: i64 = -32600;
/// JSON-RPC: no such method.
pub(crate) const METHOD_NOT_FOUND: i64 = -32601;
/// JSON-RPC: wrong parameters.
pub(crate) const INVALID_PARAMS: i64 = -32602;
/// JSON-RPC: the call could not be carried out.
pub(crate) const INTERNAL_ERROR: i64 = -32603;
/// The call was refused (decisions page, section 6).
pub(crate) const DENIED: i64 = -32001;
/// MCP 2026-07-28: headers and body differ.
pub(crate) const HEADER_MISMATCH: i64 = -32020;
/// MCP 2026-07-28: the caller lacks a capability.
pub(crate) const MISSING_CAPABILITY: i64 = -32021;
/// MCP 2026-07-28: unsupported protocol version.
pub(crate) const UNSUPPORTED_VERSION: i64 = -32022;
/// MCP 2025-11-25: no such resource; never sent to callers of 2026-07-28.
pub(crate) const LEGACY_RESOURCE_NOT_FOUND: i64 = -32002;

/// `text` made fit for one line of a message.
pub(crate) fn shown(text: &str) -> String {
    bailiwick_base::limits::shown(text)
}

/// A JSON-RPC error response. Without an id the member is left out (the 2026 schema has no `null` id).
pub(crate) fn error(id: Option<&CallId>, code: i64, message: &str, data: Option<Value>) -> Bytes {
    let mut error = json!({"code": code, "message": message});
    if let (Some(data), Some(error)) = (data, error.as_object_mut()) {
        error.insert("data".to_owned(), data);
    }
    let mut whole = json!({"jsonrpc": "2.0", "error": error});
    if let (Some(id), Some(whole)) = (id, whole.as_object_mut()) {
        whole.insert("id".to_owned(), serde_json::to_value(id).unwrap_or_default());
    }
    Bytes::from(whole.to_string())
}

/// A JSON-RPC response with `result`.
pub(crate) fn result(id: &CallId, result: &Value) -> Bytes {
    crate::frame::write_response(id, "result", result.to_string().as_bytes())
}

/// A refusal of this call (decisions page, section 6).
pub(crate) fn denied(id: &CallId, denial: &Denial) -> Bytes {
    let data = json!({
        "code": denial.reason.code(),
        "reason": denial.text,
        "decision_id": denial.decision.to_string(),
    });
    error(Some(id), DENIED, &format!("refused: {}", denial.text), Some(data))
}

/// The upstream server failed.
pub(crate) fn failed(id: &CallId, failure: &UpstreamError) -> Bytes {
    error(
        Some(id),
        INTERNAL_ERROR,
        &failure.to_string(),
        Some(json!({"code": failure.code()})),
    )
}
