//! What an identity is made of, in its row and in the record of each change.

use bailiwick_base::{Composition, Time, json};
use bailiwick_inventory::Composed;
use serde_json::{Value, json};

use crate::error::StoreError;
use crate::stored::{column_bytes, members};

/// Two compositions with all their parts have some 500 bytes.
const BYTES_MAX: usize = 1_024;

pub(crate) fn document(composed: &Composed) -> Value {
    let mut document = members(json!({
        "present": composed.present.to_json(),
        "since": composed.since.micros(),
    }));
    if let Some(former) = &composed.former {
        document.insert("former".to_owned(), Value::Object(former.to_json()));
    }
    Value::Object(document)
}

pub(crate) fn to_bytes(composed: &Composed) -> Result<Vec<u8>, StoreError> {
    column_bytes((crate::identity::TABLE, "composition"), &"", &document(composed))
}

/// `None` for what [`to_bytes`] did not write.
pub(crate) fn read(bytes: &[u8]) -> Option<Composed> {
    let value = json::parse(bytes, BYTES_MAX).ok()?;
    let former = value.get("former").map(Composition::from_json).transpose().ok()?;
    Some(Composed {
        present: Composition::from_json(value.get("present")?).ok()?,
        former,
        since: Time::from_micros(value.get("since")?.as_i64()?),
    })
}

/// The parts and the digest over them.
pub(crate) fn outline(composition: &Composition) -> Value {
    let mut outline = composition.to_json();
    let digest = composition.digest().to_base64url();
    outline.insert("digest".to_owned(), Value::String(digest));
    Value::Object(outline)
}
