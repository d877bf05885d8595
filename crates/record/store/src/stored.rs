//! What a thing is, in canonical bytes: the digest that stands in its row and in the record of each change.

use bailiwick_base::{Digest, canonical};
use serde_json::{Map, Value};

use crate::error::StoreError;

/// A thing that has a row.
pub(crate) trait Stored {
    /// Its table, and its type in records.
    const TABLE: &'static str;

    /// Everything about it, for the digest.
    fn document(&self) -> Value;

    /// Its id in records.
    fn name(&self) -> String;

    /// What a record shows beside the digest.
    fn outline(&self) -> Map<String, Value>;
}

/// SHA-256 of the canonical document.
pub(crate) fn digest_of<T: Stored>(thing: &T) -> Result<Digest, StoreError> {
    canonical::to_vec(&thing.document())
        .map(|bytes| Digest::of(&bytes))
        .map_err(|_| StoreError::RowCorrupt {
            table: T::TABLE,
            column: "digest",
            row: thing.name(),
        })
}

/// `thing`, if its digest is the one in its row.
pub(crate) fn whole<T: Stored>(thing: T, stored: Digest) -> Result<T, StoreError> {
    if digest_of(&thing)? == stored {
        return Ok(thing);
    }
    Err(StoreError::RowCorrupt {
        table: T::TABLE,
        column: "digest",
        row: thing.name(),
    })
}

/// What a record says about one thing before or after a change.
pub(crate) fn outlined<T: Stored>(thing: &T) -> Result<Value, StoreError> {
    let mut outline = thing.outline();
    outline.insert("digest".to_owned(), Value::String(digest_of(thing)?.to_string()));
    Ok(Value::Object(outline))
}

/// One thing of a change, as a record names it.
pub(crate) fn object<T: Stored>(before: Option<&T>, after: Option<&T>) -> Result<Value, StoreError> {
    let mut object = Map::new();
    let id = after.or(before).map(T::name).unwrap_or_default();
    object.insert("type".to_owned(), T::TABLE.into());
    object.insert("id".to_owned(), id.into());
    object.insert(
        "before".to_owned(),
        before.map(outlined).transpose()?.unwrap_or(Value::Null),
    );
    object.insert(
        "after".to_owned(),
        after.map(outlined).transpose()?.unwrap_or(Value::Null),
    );
    Ok(Value::Object(object))
}

/// The members of a `json!` object.
pub(crate) fn members(value: Value) -> Map<String, Value> {
    if let Value::Object(map) = value {
        map
    } else {
        Map::new()
    }
}
