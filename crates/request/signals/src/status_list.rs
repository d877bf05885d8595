//! Token Status List (draft-ietf-oauth-status-list-21): what offline verifiers read.
//!
//! A place stands for a task, because tokens have no row. It is worked out from the task's id: the list is the hour in
//! which the task was made, the index is the end of its random part.

use std::collections::BTreeMap;
use std::io::Write as _;

use bailiwick_base::{TaskId, Time};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde_json::{Value, json};

/// The `typ` of a list, and the end of its media type.
pub const STATUS_LIST: &str = "statuslist+jwt";
/// Places of a list.
pub const PLACES: u32 = 1 << 20;
const BITS: u32 = 2;
const HOUR_MS: u128 = 3_600_000;

/// Where the status of a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Hours since 1970.
    pub list: u64,
    /// Below [`PLACES`].
    pub index: u32,
}

/// What a list says of a task's tokens (§7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// They are dead.
    Invalid,
    /// They are stopped, and may be used again.
    Suspended,
    /// Nothing is known against them.
    Valid,
}

impl Standing {
    const fn bits(self) -> u8 {
        match self {
            Self::Valid => 0,
            Self::Invalid => 1,
            Self::Suspended => 2,
        }
    }
}

/// The place of a task: its id is a UUIDv7 (RFC 9562 §5.7).
#[must_use]
pub fn place(task: &TaskId) -> Place {
    let id = task.uuid().as_u128();
    let end = id & u128::from(PLACES - 1);
    Place {
        list: u64::try_from((id >> 80) / HOUR_MS).unwrap_or(u64::MAX),
        index: u32::try_from(end).unwrap_or(0),
    }
}

/// The claim `status` of a token (§6.1).
#[must_use]
pub fn reference(uri: &str, index: u32) -> Value {
    json!({"status_list": {"idx": index, "uri": uri}})
}

/// The claims of a list (§5.1). What is not in `standings` is valid.
#[must_use]
pub fn status_list(
    uri: &str,
    issuer: &str,
    standings: &BTreeMap<u32, Standing>,
    (issued_at, ttl_secs, lifetime_secs): (Time, u64, u64),
) -> Vec<u8> {
    let ends = issued_at.after(std::time::Duration::from_secs(lifetime_secs));
    json!({
        "iss": issuer,
        "sub": uri,
        "iat": issued_at.secs(),
        "exp": ends.secs(),
        "ttl": ttl_secs,
        "status_list": {"bits": BITS, "lst": packed(standings)},
    })
    .to_string()
    .into_bytes()
}

/// §4.1: from the least significant bit on, compressed with DEFLATE in the ZLIB form.
fn packed(standings: &BTreeMap<u32, Standing>) -> String {
    let places_per_byte = 8 / BITS;
    let mut bytes = vec![0_u8; usize::try_from(PLACES / places_per_byte).unwrap_or_default()];
    for (index, standing) in standings {
        let (at, shift) = (index / places_per_byte, index % places_per_byte * BITS);
        if let Some(byte) = usize::try_from(at).ok().and_then(|at| bytes.get_mut(at)) {
            *byte |= standing.bits() << shift;
        }
    }
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    // Writing to memory cannot fail; a list that were cut would not be read.
    let written = encoder.write_all(&bytes).and_then(|()| encoder.finish());
    URL_SAFE_NO_PAD.encode(written.unwrap_or_default())
}
