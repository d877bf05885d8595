//! What is kept of documents and of the fetches that brought them, bounded by bytes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bailiwick_base::TenantId;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use serde_json::Value;
use tokio::sync::watch;

use crate::fetch::{Document, FetchError};
use crate::freshness::Terms;

/// Values of one document: what is short as text may be long in memory.
const VALUES_MAX: usize = 16_384;
/// Bytes that a value takes, the room of its name included.
const VALUE: u64 = 64;
/// What an object takes besides.
const OBJECT: u64 = 640;

/// Whose document, from where, and under which leave.
pub(crate) type Place = (TenantId, String, String);

/// What a fetch brings to everybody who waits for it.
pub(crate) type Outcome = Result<Arc<Document>, FetchError>;

/// What is known of the fetches of one document.
#[derive(Default)]
pub(crate) struct Asked {
    /// When the last one ended.
    pub(crate) at: Option<Duration>,
    /// Why it failed.
    pub(crate) failed: Option<FetchError>,
    /// The one that runs.
    pub(crate) running: Option<watch::Receiver<Option<Outcome>>>,
}

impl Asked {
    /// The one that runs, unless its task is gone without a word.
    pub(crate) fn running(&self) -> Option<watch::Receiver<Option<Outcome>>> {
        let running = self.running.as_ref()?;
        running.has_changed().is_ok().then(|| running.clone())
    }
}

pub(crate) type Entry = Arc<Mutex<Asked>>;

pub(crate) fn asked(entry: &Entry) -> MutexGuard<'_, Asked> {
    entry.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A document, and under which terms it is kept.
pub(crate) struct Kept {
    pub(crate) document: Arc<Document>,
    pub(crate) fresh_until: Duration,
    pub(crate) terms: Terms,
    weight: u64,
}

impl Kept {
    pub(crate) fn new(document: Arc<Document>, fresh_until: Duration, terms: Terms) -> Self {
        let mut weight = 1_024;
        walk(&document.value, &mut |value| weight += weight_of(value));
        Self {
            document,
            fresh_until,
            terms,
            weight,
        }
    }
}

#[derive(Clone)]
struct Weigh;

impl Weighter<Place, Arc<Kept>> for Weigh {
    fn weight(&self, _: &Place, kept: &Arc<Kept>) -> u64 {
        kept.weight
    }
}

/// Everything that is kept.
pub(crate) struct Memory {
    asked: Cache<Place, Entry>,
    documents: Cache<Place, Arc<Kept>, Weigh>,
}

impl Memory {
    pub(crate) fn new(documents_max: usize, memory_max: u64) -> Self {
        // One shard: a share of the whole would be less than one large document.
        let options = OptionsBuilder::new()
            .shards(1)
            .estimated_items_capacity(documents_max)
            .weight_capacity(memory_max)
            .build();
        let documents = match options {
            Ok(options) => Cache::with_options(
                options,
                Weigh,
                DefaultHashBuilder::default(),
                DefaultLifecycle::default(),
            ),
            Err(_) => Cache::with_weighter(documents_max, memory_max, Weigh),
        };
        Self {
            asked: Cache::new(documents_max),
            documents,
        }
    }

    pub(crate) fn asked(&self, place: &Place) -> Entry {
        let made = || Ok::<_, std::convert::Infallible>(Entry::default());
        match self.asked.get(place) {
            Some(entry) => entry,
            None => self.asked.get_or_insert_with(place, made).unwrap_or_default(),
        }
    }

    pub(crate) fn document(&self, place: &Place) -> Option<Arc<Kept>> {
        self.documents.get(place)
    }

    pub(crate) fn keep(&self, place: Place, kept: Kept) {
        self.documents.insert(place, Arc::new(kept));
    }

    pub(crate) fn forget(&self, place: &Place) {
        self.documents.remove(place);
    }
}

/// Refuses a document of more values than any that is meant well.
pub(crate) fn require_few(value: &Value) -> Result<(), FetchError> {
    let mut count = 0_usize;
    walk(value, &mut |_| count += 1);
    if count > VALUES_MAX {
        return Err(FetchError::NotJson(format!(
            "it has more than {VALUES_MAX} values"
        )));
    }
    Ok(())
}

/// The depth is bounded by the reader of JSON.
fn walk(value: &Value, see: &mut impl FnMut(&Value)) {
    see(value);
    match value {
        Value::Array(list) => list.iter().for_each(|inner| walk(inner, see)),
        Value::Object(members) => members.values().for_each(|inner| walk(inner, see)),
        _ => {}
    }
}

fn weight_of(value: &Value) -> u64 {
    let text = |text: &str| text.len() as u64;
    VALUE
        + match value {
            Value::Object(members) if members.is_empty() => 0,
            Value::Object(members) => OBJECT + members.keys().map(|name| VALUE + text(name)).sum::<u64>(),
            Value::String(inner) => text(inner),
            _ => 0,
        }
}
