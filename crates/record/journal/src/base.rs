//! Where a log begins that was pruned: the file that stands for the entries which are gone.
//!
//! ```text
//! {"v":1,"origin":…,"minimum":…,"segment":…,…}     canonical JSON
//! sha256 <digest of the line above, in hex>
//! entry <index of the entry of the state log that recorded the pruning>
//! ```
//!
//! The state log names the digest of the first line, so nobody who can only write into this folder can move the
//! beginning of a log.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bailiwick_audit::fsck;
use bailiwick_audit::merkle::{Frontier, Hash};
use bailiwick_base::{Digest, Time, canonical, json};
use serde::{Deserialize, Serialize};

use crate::cursor::Place;
use crate::disk::{Dir, Disk, OsDisk};
use crate::error::JournalError;
use crate::frame::{SEGMENT_HEAD, genesis};

/// Name of the file, beside the folder of the segments.
pub const BASE: &str = "base";
/// What a pruning intends, before the state log has it.
pub(crate) const INTENT: &str = "base.intent";
/// Longest file: some 500,000 tenants.
const BASE_MAX: usize = 64 << 20;
const VERSION: u64 = 1;

/// The beginning of a pruned log, and why it is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Base {
    pub(crate) v: u64,
    /// Origin of the log.
    pub origin: String,
    /// Index of the first entry that is kept.
    pub minimum: u64,
    /// The minimum before this pruning.
    pub from: u64,
    /// Ordinal of the first segment that is kept.
    pub segment: u64,
    /// Sum of the last frame that is gone, in hex.
    pub(crate) before: String,
    /// Roots of the complete subtrees over the entries that are gone, largest first, in hex.
    pub(crate) peaks: Vec<String>,
    /// Last number of each tenant among them.
    pub tenants: BTreeMap<String, u64>,
    /// Size of the checkpoint that was shown.
    pub size: u64,
    /// Its root, in hex.
    pub root: String,
    /// When the newest entry that is gone was recorded, in microseconds.
    pub newest_at: i64,
    /// When it was pruned, in microseconds.
    pub pruned_at: i64,
    /// Who pruned it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// Entries of the state log when this was intended.
    pub state_size: u64,
}

/// What is known of the log where it is cut, before anybody says why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CutAt {
    pub(crate) place: Place,
    pub(crate) peaks: Vec<Hash>,
    pub(crate) tenants: BTreeMap<Arc<str>, u64>,
    pub(crate) newest_at: u64,
}

/// A base with the entry of the state log that recorded it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptBase {
    /// The base.
    pub base: Base,
    /// Index of that entry.
    pub entry: u64,
}

impl Base {
    pub(crate) fn new(origin: &str, from: u64, cut: &CutAt, (size, root): (u64, Hash)) -> Self {
        let tenants = cut
            .tenants
            .iter()
            .map(|(tenant, last)| (tenant.to_string(), *last));
        Self {
            v: VERSION,
            origin: origin.to_owned(),
            minimum: cut.place.next,
            from,
            segment: cut.place.ordinal,
            before: cut.place.before.to_string(),
            peaks: cut.peaks.iter().map(|peak| Digest(*peak).to_string()).collect(),
            tenants: tenants.collect(),
            size,
            root: Digest(root).to_string(),
            newest_at: i64::try_from(cut.newest_at).unwrap_or(i64::MAX),
            pruned_at: 0,
            by: String::new(),
            reason: String::new(),
            state_size: 0,
        }
    }

    /// When it was pruned.
    #[must_use]
    pub fn pruned_at(&self) -> Time {
        Time::from_micros(self.pruned_at)
    }

    /// When the newest entry that is gone was recorded.
    #[must_use]
    pub fn newest_at(&self) -> Time {
        Time::from_micros(self.newest_at)
    }

    /// The canonical bytes that the state log names the digest of.
    fn body(&self) -> Vec<u8> {
        canonical::to_vec(self).unwrap_or_default()
    }

    /// What the state log names.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.body())
    }

    /// The compact range of the entries that are gone; `None` unless it is one.
    pub(crate) fn frontier(&self) -> Option<Frontier> {
        let peaks = self.peaks.iter().map(|peak| Digest::from_hex(peak).map(|d| d.0));
        Frontier::from_peaks(self.minimum, peaks.collect::<Option<_>>()?).ok()
    }

    /// The place in front of the first entry that is kept.
    pub(crate) fn place(&self) -> Option<Place> {
        Some(Place {
            ordinal: self.segment,
            offset: SEGMENT_HEAD,
            next: self.minimum,
            before: Digest::from_hex(&self.before)?,
        })
    }

    /// What the full check of the log begins from.
    #[must_use]
    pub fn to_fsck(&self) -> fsck::Base {
        fsck::Base {
            minimum: self.minimum,
            peaks: self.frontier().map(|f| f.peaks().to_vec()).unwrap_or_default(),
            tenants: self.tenants.clone(),
        }
    }

    fn parse(body: &[u8], origin: &str) -> Result<Self, &'static str> {
        let base: Self = json::parse_as(body, BASE_MAX).map_err(|_| "it is not the JSON of a base")?;
        if base.v != VERSION {
            return Err("it is of another version");
        }
        if base.origin != origin {
            return Err("it is the base of another log");
        }
        if base.body() != body {
            return Err("it is not in canonical form");
        }
        if base.frontier().is_none() || base.place().is_none() {
            return Err("its hashes are not those of a log of that many entries");
        }
        if base.minimum == 0 || base.from >= base.minimum || base.size < base.minimum {
            return Err("its numbers are not those of a pruning");
        }
        Ok(base)
    }
}

impl KeptBase {
    /// The file as bytes.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.base.body();
        let rest = format!("\nsha256 {}\nentry {}\n", Digest::of(&bytes), self.entry);
        bytes.extend_from_slice(rest.as_bytes());
        bytes
    }

    fn parse(bytes: &[u8], origin: &str) -> Result<Self, &'static str> {
        let mut lines = bytes.split(|byte| *byte == b'\n');
        let body = lines.next().unwrap_or_default();
        let text =
            |line: Option<&[u8]>| line.and_then(|line| std::str::from_utf8(line).ok().map(str::to_owned));
        let (sum, entry) = (text(lines.next()), text(lines.next()));
        let is_whole = sum.is_some_and(|sum| sum == format!("sha256 {}", Digest::of(body)));
        let entry = entry
            .as_deref()
            .and_then(|line| line.strip_prefix("entry ")?.parse().ok());
        let (true, Some(entry)) = (is_whole, entry) else {
            return Err("it is not whole");
        };
        let kept = Self {
            base: Base::parse(body, origin)?,
            entry,
        };
        if kept.to_bytes() != bytes {
            return Err("it is not whole");
        }
        Ok(kept)
    }
}

/// The base of the log of `origin` in the folder `dir` of this machine; `None` when it was never pruned.
///
/// # Errors
/// [`JournalError::Base`] when it is altered, [`JournalError::File`].
pub fn read_base(dir: &Path, origin: &str) -> Result<Option<KeptBase>, JournalError> {
    read(&Dir::new(Arc::new(OsDisk) as Arc<dyn Disk>, dir), origin)
}

/// Keeps a base in the folder of a copy.
///
/// # Errors
/// [`JournalError::File`].
pub(crate) fn write(dir: &Dir, kept: &KeptBase) -> Result<(), JournalError> {
    let path = dir.path.join(BASE);
    dir.disk
        .replace(&path, &kept.to_bytes())
        .map_err(JournalError::file("writing", &path))
}

pub(crate) fn read(dir: &Dir, origin: &str) -> Result<Option<KeptBase>, JournalError> {
    let path = dir.path.join(BASE);
    let Some(bytes) = bytes_of(dir, &path)? else {
        return Ok(None);
    };
    let kept = KeptBase::parse(&bytes, origin);
    kept.map(Some)
        .map_err(|reason| JournalError::Base { path, reason })
}

/// What a pruning that did not end had intended. One that is not whole was never recorded.
pub(crate) fn read_intent(dir: &Dir, origin: &str) -> Result<Option<Base>, JournalError> {
    let bytes = bytes_of(dir, &dir.path.join(INTENT))?;
    Ok(bytes.and_then(|bytes| Base::parse(&bytes, origin).ok()))
}

pub(crate) fn write_intent(dir: &Dir, base: &Base) -> Result<PathBuf, JournalError> {
    let path = dir.path.join(INTENT);
    dir.disk
        .replace(&path, &base.body())
        .map_err(JournalError::file("writing", &path))?;
    Ok(path)
}

fn bytes_of(dir: &Dir, path: &Path) -> Result<Option<Vec<u8>>, JournalError> {
    match dir.read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(JournalError::file("reading", path)(error)),
    }
}

/// The place in front of the first entry of the log in a folder.
pub(crate) fn start(dir: &Dir, origin: &str) -> Result<Place, JournalError> {
    let kept = read(dir, origin)?;
    Ok(place_of(kept.as_ref().map(|kept| &kept.base), origin))
}

/// The same for a base that was read.
pub(crate) fn place_of(base: Option<&Base>, origin: &str) -> Place {
    base.and_then(Base::place).unwrap_or(Place {
        ordinal: 0,
        offset: SEGMENT_HEAD,
        next: 0,
        before: genesis(origin),
    })
}
