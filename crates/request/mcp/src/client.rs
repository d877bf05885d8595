//! What a caller's software says about itself. Thousands of sessions come from the same few programs, so equal
//! words are kept once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde::Serialize;
use serde_json::{Map, Value, json};

/// Bytes of a client's words about itself, `clientInfo` and capabilities together.
pub(crate) const WORDS_MAX: usize = 8_192;
/// Different clients that are remembered before the unused ones are forgotten.
const KNOWN_MAX: usize = 1_024;

/// A client's own words: untrusted, and never used for a decision.
#[derive(Debug, Clone)]
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
        let declared = serde_json::to_string(&capabilities).unwrap_or_default();
        Self {
            info,
            capabilities,
            declared: declared.into(),
        }
    }

    /// The client of these words, which [`require_short`] has let pass.
    pub(crate) fn of(info: Option<&Value>, capabilities: Option<&Map<String, Value>>) -> Self {
        let unnamed = || json!({"name": "unknown", "version": "0"});
        let info = info.filter(|i| i.is_object()).cloned().unwrap_or_else(unnamed);
        Self::new(info, capabilities.cloned().unwrap_or_default())
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

/// Words that are too many, counted as compact JSON.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

/// Whether what a client says about itself is short enough to be kept. Nothing is copied.
pub(crate) fn require_short(info: Option<&Value>, capabilities: Option<&Value>) -> Result<(), TooLong> {
    let mut counted = Counted { left: WORDS_MAX };
    [info, capabilities]
        .into_iter()
        .flatten()
        .try_for_each(|words| words.serialize(&mut serde_json::Serializer::new(&mut counted)))
        .map_err(|_| TooLong)
}

/// Counts what is written to it, and fails beyond the limit.
struct Counted {
    left: usize,
}

impl std::io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.left = self
            .left
            .checked_sub(bytes.len())
            .ok_or(std::io::ErrorKind::FileTooLarge)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The clients of the sessions that are open now.
#[derive(Default)]
pub(crate) struct Clients(Mutex<BTreeMap<String, Weak<Client>>>);

impl Clients {
    /// The client in place of `client` that was known before, if its words are the same.
    pub(crate) fn known(&self, client: Client) -> Arc<Client> {
        let key = format!("{}\n{}", client.info, client.declared);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known.get(&key).and_then(Weak::upgrade) {
            return found;
        }
        if known.len() >= KNOWN_MAX {
            known.retain(|_, client| client.strong_count() > 0);
        }
        let made = Arc::new(client);
        if known.len() < KNOWN_MAX {
            known.insert(key, Arc::downgrade(&made));
        }
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_counted_together() {
        let text = |n: usize| Value::String("x".repeat(n));
        let (info, able) = (text(4_094), text(4_094));
        assert_eq!(require_short(Some(&info), Some(&able)), Ok(()));
        assert_eq!(require_short(Some(&info), Some(&text(4_095))), Err(TooLong));
        assert_eq!(require_short(None, Some(&text(WORDS_MAX))), Err(TooLong));
        assert_eq!(require_short(None, None), Ok(()));
    }

    #[test]
    fn sessions_of_one_program_share_its_words() {
        let clients = Clients::default();
        let said = |name: &str| Client::of(Some(&json!({"name": name})), None);
        let (first, same, other) = (
            clients.known(said("a")),
            clients.known(said("a")),
            clients.known(said("b")),
        );
        assert!(Arc::ptr_eq(&first, &same));
        assert!(!Arc::ptr_eq(&first, &other));
    }
}
