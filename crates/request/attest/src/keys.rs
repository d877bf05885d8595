//! The keys of an issuer, through the guarded client.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use bailiwick_base::{Digest, PublicKey, Sha256, json};
use bailiwick_outbound::{Document, FetchError, Fetcher, Need};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use serde_json::{Map, Value};

use crate::error::{AttestError, KeysError};
use crate::issuer::{IssuerProfile, KeyPlace};

/// Keys of one set.
const KEYS_MAX: usize = 64;
/// Bytes of a key set that an operator gave.
const GIVEN_MAX: usize = 256 * 1024;
/// Parsed key sets that are kept, about.
const SETS_MAX: usize = 1_024;
/// Keys of all of them.
const KEPT_MAX: u64 = 8_192;

/// The keys of one set that can be used, by `kid`.
type Keys = BTreeMap<String, Arc<PublicKey>>;

/// A set as it was parsed, where it came from, and the document, which is kept by the fetcher alone.
#[derive(Clone)]
struct Parsed {
    url: String,
    from: Weak<Document>,
    keys: Arc<Keys>,
}

/// Counts keys: a set of many costs as much as many sets.
#[derive(Clone)]
struct Weigh;

impl Weighter<Digest, Parsed> for Weigh {
    fn weight(&self, _: &Digest, parsed: &Parsed) -> u64 {
        weight(&parsed.keys)
    }
}

impl Weighter<Digest, Arc<Keys>> for Weigh {
    fn weight(&self, _: &Digest, keys: &Arc<Keys>) -> u64 {
        weight(keys)
    }
}

fn weight(keys: &Keys) -> u64 {
    1 + keys.len() as u64
}

/// Finds keys; parses each set once.
pub(crate) struct KeyFinder {
    fetcher: Arc<Fetcher>,
    /// By issuer: of one whose keys move, only where they are now.
    fetched: Cache<Digest, Parsed, Weigh>,
    given: Cache<Digest, Arc<Keys>, Weigh>,
}

impl KeyFinder {
    pub(crate) fn new(fetcher: Arc<Fetcher>) -> Self {
        Self {
            fetcher,
            fetched: Cache::with_weighter(SETS_MAX, KEPT_MAX, Weigh),
            given: Cache::with_weighter(SETS_MAX, KEPT_MAX, Weigh),
        }
    }

    /// The key of this issuer with this `kid`. A name that is not known leads to one more fetch, when one is due:
    /// the issuer may have rotated its keys.
    pub(crate) async fn find(
        &self,
        issuer: &IssuerProfile,
        kid: &str,
    ) -> Result<Arc<PublicKey>, AttestError> {
        if let KeyPlace::Given(text) = &issuer.keys {
            let keys = self.given(text)?;
            return keys.get(kid).cloned().ok_or(AttestError::KeyUnknown);
        }
        let (url, known) = self.set(issuer, Need::Kept).await?;
        if let Some(key) = known.get(kid) {
            return Ok(Arc::clone(key));
        }
        let newer = self.at(issuer, url, Need::Newer).await?;
        newer.get(kid).cloned().ok_or(AttestError::KeyUnknown)
    }

    async fn set(&self, issuer: &IssuerProfile, need: Need) -> Result<(String, Arc<Keys>), KeysError> {
        let url = match &issuer.keys {
            KeyPlace::Url(url) => url.clone(),
            KeyPlace::Discovery | KeyPlace::Given(_) => self.discovered(issuer).await?,
        };
        let keys = self.at(issuer, url.clone(), need).await?;
        Ok((url, keys))
    }

    async fn at(&self, issuer: &IssuerProfile, url: String, need: Need) -> Result<Arc<Keys>, KeysError> {
        let mut place = Sha256::new();
        place.update_field(issuer.tenant.as_str().as_bytes());
        place.update_field(issuer.issuer.as_bytes());
        let place = place.finish();
        let known = self.fetched.get(&place);
        if let Some(before) = known.as_ref().filter(|known| known.url != url) {
            self.fetcher.forget(&issuer.destination(before.url.clone()));
        }
        let document = self.fetcher.json(&issuer.destination(url.clone()), need).await;
        let document = document.map_err(failed("its key set"))?;
        let from = Arc::downgrade(&document);
        if let Some(parsed) = known
            && Weak::ptr_eq(&parsed.from, &from)
        {
            return Ok(parsed.keys);
        }
        let keys = Arc::new(read_set(&document.value)?);
        let parsed = Parsed {
            url,
            from,
            keys: Arc::clone(&keys),
        };
        self.fetched.insert(place, parsed);
        Ok(keys)
    }

    /// `jwks_uri` of the metadata, which has to speak of exactly this issuer (OpenID Connect Discovery §4.3).
    async fn discovered(&self, issuer: &IssuerProfile) -> Result<String, KeysError> {
        let base = issuer.issuer.strip_suffix('/').unwrap_or(&issuer.issuer);
        let url = format!("{base}/.well-known/openid-configuration");
        let document = self.fetcher.json(&issuer.destination(url), Need::Kept).await;
        let document = document.map_err(failed("its metadata"))?;
        let member = |name| document.value.get(name).and_then(Value::as_str);
        if member("issuer") != Some(issuer.issuer.as_str()) {
            return Err(KeysError::Metadata("it speaks of another issuer"));
        }
        let url = member("jwks_uri").ok_or(KeysError::Metadata("it names no `jwks_uri`"))?;
        Ok(url.to_owned())
    }

    fn given(&self, text: &str) -> Result<Arc<Keys>, KeysError> {
        let place = Digest::of(text.as_bytes());
        if let Some(keys) = self.given.get(&place) {
            return Ok(keys);
        }
        let keys = Arc::new(given(text)?);
        self.given.insert(place, Arc::clone(&keys));
        Ok(keys)
    }
}

/// Reads a JWK Set that an operator gives.
fn given(text: &str) -> Result<Keys, KeysError> {
    let value =
        json::parse(text.as_bytes(), GIVEN_MAX).map_err(|_| KeysError::KeySet("it is not strict JSON"))?;
    read_set(&value)
}

/// Whether a JWK Set that an operator gives has a key that can be used, and nothing that has no place there.
///
/// # Errors
/// [`KeysError::KeySet`].
pub fn require_key_set(text: &str) -> Result<(), KeysError> {
    if given(text)?.is_empty() {
        return Err(KeysError::KeySet(
            "none of its keys has a `kid` and an algorithm that is accepted",
        ));
    }
    Ok(())
}

fn failed(what: &'static str) -> impl FnOnce(FetchError) -> KeysError {
    move |error| KeysError::Fetch { what, error }
}

/// The keys of a set that we can use. Keys of other kinds are passed over (RFC 7517 §5); a private key or a name
/// twice makes the whole set untrustworthy.
fn read_set(value: &Value) -> Result<Keys, KeysError> {
    let list = value
        .get("keys")
        .and_then(Value::as_array)
        .ok_or(KeysError::KeySet("it has no list `keys`"))?;
    if list.len() > KEYS_MAX {
        return Err(KeysError::KeySet("it has more than 64 keys"));
    }
    let mut keys = Keys::new();
    let mut seen = std::collections::BTreeSet::new();
    for key in list {
        let members = key
            .as_object()
            .ok_or(KeysError::KeySet("a key is not an object"))?;
        if members.contains_key("d") || members.contains_key("k") {
            return Err(KeysError::KeySet("it holds a private or a shared key"));
        }
        let Some(kid) = members.get("kid").and_then(Value::as_str) else {
            continue;
        };
        // X.509 authorities of a SPIFFE bundle have no name of their own, others may share one with a signing key.
        if members
            .get("use")
            .and_then(Value::as_str)
            .is_some_and(|u| !matches!(u, "sig" | "jwt-svid"))
        {
            continue;
        }
        if !seen.insert(kid) {
            return Err(KeysError::KeySet("it has two keys of one `kid`"));
        }
        if let Ok(key) = PublicKey::from_jwk(&for_signatures(members)) {
            keys.insert(kid.to_owned(), Arc::new(key));
        }
    }
    Ok(keys)
}

/// SPIFFE has its own word for what JWK calls `sig` (SPIFFE Trust Domain and Bundle §4.2.2).
fn for_signatures(members: &Map<String, Value>) -> Map<String, Value> {
    let mut members = members.clone();
    if members.get("use").and_then(Value::as_str) == Some("jwt-svid") {
        members.remove("use");
    }
    members
}
