//! What a thing is, in canonical bytes: the digest that stands in its row and in the record of each change.

use std::fmt::Display;

use bailiwick_base::{Digest, SealContext, SealError, Sealer, Secret, Time, canonical};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::StoreError;
use crate::row::{Cell, Cells};

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

/// The canonical bytes that one column of a row holds.
pub(crate) fn column_bytes<T: Serialize>(
    (table, column): (&'static str, &'static str),
    row: &dyn Display,
    value: &T,
) -> Result<Vec<u8>, StoreError> {
    canonical::to_vec(value).map_err(|_| StoreError::RowCorrupt {
        table,
        column,
        row: row.to_string(),
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

/// How every row of a table is read when the store is compared with its log.
pub(crate) struct Rows {
    /// The type in entries.
    pub(crate) table: &'static str,
    /// Gives tenant and digest, and behind them what `verify` wants.
    pub(crate) sql: &'static str,
    /// Whether a row is what its digest says, and its secrets open.
    pub(crate) verify: fn(Cells, &dyn Sealer) -> Result<(), StoreError>,
}

/// Refuses a row that would be looked at later than what it says asks for: what is due would never be done. Earlier is
/// harmless, and what an older version with another rule wrote.
pub(crate) fn require_seen(
    table: &'static str,
    name: &str,
    due_at: Option<Cell>,
    at: Time,
) -> Result<(), StoreError> {
    match due_at {
        Some(Cell::Int(due)) if due <= at.micros() => Ok(()),
        _ => Err(StoreError::RowCorrupt {
            table,
            column: "due_at",
            row: name.to_owned(),
        }),
    }
}

/// Whether a sealed cell opens in its place. What belongs to a tenant whose key was erased opens nowhere any more.
pub(crate) fn verify_sealed(
    sealer: &dyn Sealer,
    context: &SealContext<'_>,
    name: &str,
    cell: Option<Cell>,
) -> Result<(), StoreError> {
    let opened = match cell {
        Some(Cell::Null) => return Ok(()),
        Some(Cell::Bytes(sealed)) => sealer.open(context, &sealed).map(Secret::new).map(drop),
        _ => Err(SealError::DoesNotOpen {
            table: context.table,
            column: context.column,
        }),
    };
    match opened {
        Ok(()) | Err(SealError::NoKey(_)) => Ok(()),
        Err(_) => Err(StoreError::RowCorrupt {
            table: context.table,
            column: context.column,
            row: name.to_owned(),
        }),
    }
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
