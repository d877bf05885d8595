//! What an upstream server said about itself: the result of `server/discover` or of `initialize`.

use serde_json::{Map, Value, json};

use crate::client::Client;
use crate::method::{self, Era};

/// A server's own words, whatever era they came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) era: Era,
    /// The revision that was agreed on.
    pub(crate) version: String,
    pub(crate) capabilities: Map<String, Value>,
    pub(crate) server: Value,
    pub(crate) instructions: Option<String>,
    /// `_meta` of the result, without what we answer for.
    pub(crate) meta: Map<String, Value>,
}

impl Peer {
    /// From the result of `server/discover`; `None` when the server does not speak our revision.
    pub(crate) fn from_discovery(result: &Value) -> Option<Self> {
        let versions = result.get("supportedVersions")?.as_array()?;
        if !versions.iter().any(|v| v == method::MODERN) {
            return None;
        }
        let mut meta = result
            .get("_meta")
            .and_then(Value::as_object)
            .cloned()
            .unwrap_or_default();
        let server = meta
            .remove(method::META_SERVER)
            .unwrap_or_else(|| json!({"name": "unknown", "version": "0"}));
        Some(Self {
            era: Era::Modern,
            version: method::MODERN.to_owned(),
            capabilities: result
                .get("capabilities")
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default(),
            server,
            instructions: result
                .get("instructions")
                .and_then(Value::as_str)
                .map(str::to_owned),
            meta,
        })
    }

    /// From the result of `initialize`; `None` when the server chose a revision that we do not speak.
    pub(crate) fn from_initialize(result: &Value) -> Option<Self> {
        let version = result.get("protocolVersion")?.as_str()?;
        if !method::LEGACY_UPSTREAM.contains(&version) {
            return None;
        }
        Some(Self {
            era: Era::Legacy,
            version: version.to_owned(),
            capabilities: result
                .get("capabilities")
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default(),
            server: result
                .get("serverInfo")
                .cloned()
                .unwrap_or_else(|| json!({"name": "unknown", "version": "0"})),
            instructions: result
                .get("instructions")
                .and_then(Value::as_str)
                .map(str::to_owned),
            meta: result
                .get("_meta")
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default(),
        })
    }

    /// Whether the server offers `capability` (`logging`, `tools` …).
    pub(crate) fn offers(&self, capability: &str) -> bool {
        self.capabilities.contains_key(capability)
    }
}

/// The `_meta` envelope of a call of our own in 2026-07-28.
pub(crate) fn envelope(client: &Client) -> Map<String, Value> {
    let mut meta = Map::new();
    meta.insert(method::META_VERSION.to_owned(), method::MODERN.into());
    meta.insert(method::META_CLIENT.to_owned(), client.info.clone());
    meta.insert(
        method::META_CAPABILITIES.to_owned(),
        Value::Object(client.capabilities.clone()),
    );
    meta
}

/// The parameters of `initialize`.
pub(crate) fn initialize_params(client: &Client) -> Value {
    json!({"protocolVersion": method::LEGACY, "capabilities": client.capabilities, "clientInfo": client.info})
}
