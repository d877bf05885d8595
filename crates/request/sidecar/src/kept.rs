//! What a sidecar must not forget: the newest epoch and position it ever took, and the number of its words.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bailiwick_base::{Epoch, StatePos, Time, canonical, json};
use bailiwick_journal::Disk;
use serde::{Deserialize, Serialize};

use crate::error::SidecarError;
use crate::word::Holds;

/// Its name in the data folder.
const FILE: &str = "held.json";
const FILE_MAX: usize = 4096;
/// Words per second that could ever be said: numbers begin at the second of the start, so that they rise over a restart,
/// and over a data folder that was put back, without a write for each.
const PER_SECOND: u64 = 1 << 20;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    v: u64,
    epoch: u64,
    position: u64,
    beat: u64,
}

/// The file. Replaced as a whole, durable when a write returns.
pub(crate) struct Kept {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    beat: u64,
}

impl Kept {
    /// What is kept below `data`, and the number that the words of a process that starts at `now` are above.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        data: &Path,
        now: Time,
    ) -> Result<(Self, Holds, u64), SidecarError> {
        let path = data.join(FILE);
        let wrong = |why: String| SidecarError::File {
            path: path.clone(),
            why,
        };
        let there = disk.exists(&path).map_err(|e| wrong(e.to_string()))?;
        let form = if there {
            let bytes = disk.read(&path).map_err(|e| wrong(e.to_string()))?;
            let form: Form = json::parse_as(&bytes, FILE_MAX)
                .map_err(|e| wrong(format!("it is damaged ({e}): remove the sidecar and join anew")))?;
            if form.v != 1 {
                return Err(wrong(format!(
                    "it is of version {}, this program reads 1",
                    form.v
                )));
            }
            form
        } else {
            Form {
                v: 1,
                epoch: 0,
                position: 0,
                beat: 0,
            }
        };
        let by_clock = u64::try_from(now.secs()).unwrap_or(0).saturating_mul(PER_SECOND);
        let beat = by_clock.max(form.beat.saturating_add(PER_SECOND));
        let holds = Holds {
            epoch: Epoch(form.epoch),
            position: StatePos(form.position),
        };
        let mut kept = Self { disk, path, beat };
        kept.write(holds)?;
        Ok((kept, holds, beat))
    }

    /// The number of the newest word.
    pub(crate) fn said(&mut self, beat: u64) {
        self.beat = beat;
    }

    /// Nothing older than `holds` is taken any more once this returns. Blocks.
    pub(crate) fn write(&mut self, holds: Holds) -> Result<(), SidecarError> {
        let form = Form {
            v: 1,
            epoch: holds.epoch.0,
            position: holds.position.0,
            beat: self.beat,
        };
        let wrong = |why: String| SidecarError::File {
            path: self.path.clone(),
            why,
        };
        let bytes = canonical::to_vec(&form).map_err(|e| wrong(e.to_string()))?;
        self.disk
            .replace(&self.path, &bytes)
            .map_err(|e| wrong(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use bailiwick_journal::OsDisk;

    use super::*;

    fn open(data: &Path, secs: i64) -> Result<(Kept, Holds, u64), SidecarError> {
        Kept::open(Arc::new(OsDisk), data, Time::from_secs(secs))
    }

    const HOLDS: Holds = Holds {
        epoch: Epoch(7),
        position: StatePos(70),
    };

    #[test]
    fn what_was_kept_is_there_after_a_restart_and_words_go_on_above() {
        let data = tempfile::tempdir().unwrap();
        let (mut kept, ever, first) = open(data.path(), 1_000).unwrap();
        assert_eq!(ever, Holds::default());
        kept.said(first + 5);
        kept.write(HOLDS).unwrap();
        drop(kept);
        let (_, ever, later) = open(data.path(), 1_001).unwrap();
        assert_eq!(ever, HOLDS);
        assert!(later > first + 5);
        // Whatever the wall clock does.
        let (_, ever, set_back) = open(data.path(), 10).unwrap();
        assert_eq!(ever, HOLDS);
        assert!(set_back > later);
    }

    #[test]
    fn words_of_a_folder_that_was_put_back_have_numbers_of_their_own() {
        let data = tempfile::tempdir().unwrap();
        let (mut kept, _, first) = open(data.path(), 1_000).unwrap();
        let copy = std::fs::read(data.path().join(FILE)).unwrap();
        kept.said(first + 100_000);
        kept.write(HOLDS).unwrap();
        drop(kept);
        std::fs::write(data.path().join(FILE), copy).unwrap();
        let (_, _, again) = open(data.path(), 1_060).unwrap();
        assert!(again > first + 100_000);
    }

    #[test]
    fn a_damaged_file_is_no_beginning() {
        let data = tempfile::tempdir().unwrap();
        for damaged in [
            &b""[..],
            b"{",
            br#"{"beat":1,"epoch":1,"position":1}"#,
            br#"{"beat":1,"epoch":1,"position":1,"v":2}"#,
            br#"{"beat":1,"epoch":1,"more":1,"position":1,"v":1}"#,
        ] {
            std::fs::write(data.path().join(FILE), damaged).unwrap();
            assert!(open(data.path(), 1_000).is_err());
        }
    }
}
