//! Whether enough witnesses saw a log, and saw this one.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use bailiwick_audit::checkpoint::{Origin, SignedCheckpoint};
use bailiwick_audit::cosign::{WitnessKey, cosigners};
use bailiwick_audit::note::NoteVerifier;
use bailiwick_audit::tile::Prover;
use bailiwick_base::Time;
use bailiwick_journal::WITNESSED;
use serde::Serialize;

use crate::Tiles;

/// Tiles kept while one proof is made.
const KEPT_MAX: usize = 8;

/// The witnesses that a reader trusts, and how many of them must have cosigned; by default nobody is asked for.
#[derive(Debug, Clone, Default)]
pub struct Quorum {
    keys: Vec<WitnessKey>,
    needed: usize,
}

/// What witnesses saw of a log.
#[derive(Debug, Clone, Serialize)]
pub struct Witnessed {
    /// Entries under the cosigned checkpoint.
    pub size: u64,
    /// Who cosigned it, and when.
    pub by: Vec<Cosigned>,
}

/// One cosignature.
#[derive(Debug, Clone, Serialize)]
pub struct Cosigned {
    /// Name of the witness.
    pub witness: String,
    /// When, by its own clock.
    pub at: String,
}

impl Quorum {
    /// `needed` of the witnesses with these keys; all of them when it is not said.
    ///
    /// # Errors
    /// Names the key or the number that is wrong.
    pub fn parse(vkeys: &[String], needed: Option<usize>) -> Result<Self> {
        let keys = vkeys
            .iter()
            .map(|vkey| WitnessKey::parse(vkey.trim()))
            .collect::<Result<Vec<_>, _>>()
            .context("the key of a witness")?;
        let needed = needed.unwrap_or(keys.len());
        ensure!(
            needed <= keys.len() && (needed > 0 || keys.is_empty()),
            "a quorum of {needed} cannot be had from {} witnesses",
            keys.len()
        );
        Ok(Self { keys, needed })
    }

    pub(crate) fn is_asked(&self) -> bool {
        self.needed > 0
    }

    /// Verifies the cosigned checkpoint in `folder` against the log's own, which `read_own` reads: it is never behind
    /// when it is read later.
    pub(crate) fn verify(
        &self,
        folder: &Path,
        key: &NoteVerifier,
        read_own: impl FnOnce() -> Result<SignedCheckpoint>,
    ) -> Result<Witnessed> {
        let file = folder.join(WITNESSED);
        let shown = file.display();
        let bytes =
            std::fs::read(&file).with_context(|| format!("no witness is known: cannot read `{shown}`"))?;
        let origin = Origin::parse(key.name())?;
        let signed = SignedCheckpoint::verify(&bytes, &origin, std::slice::from_ref(key))
            .with_context(|| format!("`{shown}`"))?;
        let found = cosigners(signed.note(), &self.keys).with_context(|| format!("`{shown}`"))?;
        let seen = signed.checkpoint();
        let own = read_own()?.checkpoint().clone();
        ensure!(
            found.len() >= self.needed,
            "{} of the {} witnesses that are needed cosigned `{shown}`",
            found.len(),
            self.needed
        );
        ensure!(
            seen.size <= own.size,
            "the log has {} entries and its witnesses saw {}: it was cut off or rolled back",
            own.size,
            seen.size
        );
        if seen.size > 0 {
            let tiles = Tiles(folder);
            let root = match seen.size == own.size {
                true => own.root,
                false => {
                    Prover::new(&tiles, own.size, own.root, KEPT_MAX)?
                        .prove_consistency(seen.size)?
                        .0
                }
            };
            if root != seen.root {
                bail!(
                    "the log is not the one its witnesses saw: its first {} entries are others, so its history was \
                     forked or rewritten",
                    seen.size
                );
            }
        }
        let by = found.into_iter().map(|(key, time)| Cosigned {
            witness: key.name().to_owned(),
            at: Time::from_secs(i64::try_from(time).unwrap_or(i64::MAX)).to_string(),
        });
        Ok(Witnessed {
            size: seen.size,
            by: by.collect(),
        })
    }
}
