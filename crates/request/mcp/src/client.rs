//! What a caller's software says about itself. Thousands of sessions come from the same few programs, so equal
//! words are kept once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde_json::{Map, Value, json};

/// Different clients that are remembered before the unused ones are forgotten.
const KNOWN_MAX: usize = 1_024;

/// A client's own words: untrusted, and never used for a decision.
#[derive(Debug)]
pub(crate) struct Client {
    /// `clientInfo`.
    pub(crate) info: Value,
    /// What it can do (`sampling`, `elicitation`, `roots`).
    pub(crate) capabilities: Map<String, Value>,
    /// Text of the capabilities.
    pub(crate) declared: Arc<str>,
}

impl Client {
    fn new(info: Value, capabilities: Map<String, Value>) -> Self {
        let declared = Value::Object(capabilities).to_string();
        let capabilities = serde_json::from_str(&declared).unwrap_or_default();
        Self {
            info,
            capabilities,
            declared: declared.into(),
        }
    }

    /// How the gateway names itself.
    pub(crate) fn own() -> Self {
        Self::new(
            json!({"name": "bailiwick", "version": env!("CARGO_PKG_VERSION")}),
            Map::new(),
        )
    }

    /// A client of these words that can do nothing.
    pub(crate) fn able_to_nothing(&self) -> Self {
        Self::new(self.info.clone(), Map::new())
    }
}

/// The clients that are known now.
#[derive(Default)]
pub(crate) struct Clients(Mutex<BTreeMap<String, Weak<Client>>>);

impl Clients {
    /// The client of these words.
    pub(crate) fn of(&self, info: Option<&Value>, capabilities: Option<&Map<String, Value>>) -> Arc<Client> {
        let key = key_of(info, capabilities);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(&key).and_then(Weak::upgrade) {
            return found;
        }
        if known.len() >= KNOWN_MAX {
            known.retain(|_, client| client.strong_count() > 0);
        }
        let unnamed = || json!({"name": "unknown", "version": "0"});
        let info = info.filter(|i| i.is_object()).cloned().unwrap_or_else(unnamed);
        let made = Arc::new(Client::new(info, capabilities.cloned().unwrap_or_default()));
        if known.len() < KNOWN_MAX {
            known.insert(key, Arc::downgrade(&made));
        }
        made
    }
}

fn key_of(info: Option<&Value>, capabilities: Option<&Map<String, Value>>) -> String {
    let info = info.map(ToString::to_string).unwrap_or_default();
    let capabilities = capabilities
        .and_then(|c| serde_json::to_string(c).ok())
        .unwrap_or_default();
    format!("{info}\n{capabilities}")
}
