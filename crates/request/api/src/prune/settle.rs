//! A pruning from its record to its end, whatever happens in between, and whether the beginning of a log is the one
//! that was recorded.
//!
//! The state log says what goes before anything goes: first in the installation's own entry, which names the digest of
//! what stands for it, then in an entry of each tenant that loses records, with the number of the last of them. So an
//! evidence pack proves why its first record is not number one. After a crash the entries of tenants may be there twice.

use std::sync::Arc;

use bailiwick_audit::entry::Leaf;
use bailiwick_base::{EntropyError, Ids, TenantId};
use bailiwick_decide::Snapshot;
use bailiwick_journal::{Base, DecisionLog, JournalError, KeptBase};
use bailiwick_store::{Actor, Context, Reach, RequestId, Store, StoreError, Tx};
use serde_json::{Value, json};

use crate::node_logs::Logs;

/// The command of both entries.
pub(super) const COMMAND: &str = "log.prune";
const KIND: &str = "state.log.prune";
/// Entries of the state log read at once.
const PAGE: u32 = 1_000;

/// A pruning was not carried to its end, or the beginning of a log is not the one that was recorded.
#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    /// The log does not do it.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// No id could be drawn.
    #[error("randomness failed")]
    Randomness(#[from] EntropyError),
    /// The store does not answer, or does not take the record.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Somebody moved the beginning, or the state log was set back.
    #[error(
        "the decision log begins with entry {minimum}, and entry {entry} of the state log does not say that it was \
         pruned: the store was set back, or the log was cut; put both back as they were, or go on from an older store: \
         bailiwick witness accept"
    )]
    Unrecorded {
        /// The first entry that is kept.
        minimum: u64,
        /// The entry that should tell.
        entry: u64,
    },
    /// Somebody put back what was pruned, or an older folder.
    #[error(
        "entry {entry} of the state log says that the decision log was pruned, and the log does not begin there: its \
         folder was set back, or its file `base` is gone; put back the whole folder as it was"
    )]
    Undone {
        /// The entry that tells.
        entry: u64,
    },
}

/// What a pruning is recorded and carried out with.
pub(super) struct Ground<'a> {
    pub(super) log: &'a DecisionLog,
    pub(super) store: &'a Store,
    pub(super) ids: &'a Ids,
    pub(super) snapshot: Arc<Snapshot>,
}

impl Logs {
    /// Before a node answers: what was recorded is carried out, what was not is dropped, and the beginning of the log
    /// must be a recorded one. Where somebody accepted an older store, it is recorded anew.
    ///
    /// # Errors
    /// [`PruneError`].
    pub async fn settle_pruning(&self, ids: &Ids, accepted: Option<&str>) -> Result<(), PruneError> {
        let ground = Ground {
            log: &self.log,
            store: &self.store,
            ids,
            snapshot: self.cell.load(),
        };
        ground.settle().await?;
        ground.require_recorded(accepted).await
    }
}

impl Ground<'_> {
    async fn require_recorded(&self, accepted: Option<&str>) -> Result<(), PruneError> {
        let kept = self.log.base();
        let newest = self.newest().await?;
        let digest = kept.as_ref().map(|kept| kept.base.digest().to_string());
        match (&kept, &newest, accepted) {
            (None, None, _) => return Ok(()),
            // What was pruned stays so, and nothing else is missing.
            (_, Some((_, named)), _) if *named == digest => {}
            (_, _, Some(_)) => self.record_anew(kept.as_deref()).await?,
            (Some(kept), None, None) => return Err(self.unrecorded(kept)),
            (Some(kept), Some(_), None) if self.find(&kept.base, 0).await?.is_none() => {
                return Err(self.unrecorded(kept));
            }
            (_, Some((entry, _)), None) => return Err(PruneError::Undone { entry: *entry }),
        }
        self.follow(kept.as_deref()).await
    }

    /// The newest entry that recorded where this log begins, and the digest of the base that it names.
    async fn newest(&self) -> Result<Option<(u64, Option<String>)>, PruneError> {
        let mut before = u64::MAX >> 1;
        loop {
            let page = self.store.prunings(before, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(None);
            };
            before = *last;
            for entry in page {
                let Some(detail) = self.pruning(entry).await? else {
                    continue;
                };
                if detail.get("origin").and_then(Value::as_str) == Some(self.log.origin()) {
                    let named = detail.get("base").and_then(Value::as_str);
                    return Ok(Some((entry, named.map(str::to_owned))));
                }
            }
        }
    }

    /// Somebody accepted an older store or folder: where the log begins is recorded once more.
    async fn record_anew(&self, kept: Option<&KeptBase>) -> Result<(), PruneError> {
        let context = self.context(Reach::Installation, Actor::System("witness"))?;
        let detail = kept.map_or_else(|| self.whole(), |kept| self.detail(&kept.base));
        let receipt = self
            .store
            .transact(context, async move |tx: &mut Tx| {
                tx.note(COMMAND, detail.clone()).await?;
                Ok::<_, StoreError>(Vec::new())
            })
            .await?;
        let entry = receipt.entries.first().map_or(0, |entry| entry.index);
        // What tenants were told of it may be lost along with it.
        for (reference, last) in kept.iter().flat_map(|kept| &kept.base.tenants) {
            if let (Some(tenant), Some(kept)) = (self.tenant(reference), kept) {
                self.tell(&tenant, &kept.base, (*last, entry)).await?;
            }
        }
        Ok(())
    }

    /// The base names the entry that tells of it, and nothing in front of it is there.
    async fn follow(&self, kept: Option<&KeptBase>) -> Result<(), PruneError> {
        let Some(kept) = kept else {
            return Ok(());
        };
        if self.tells(kept.entry, &kept.base).await? {
            return Ok(self.log.clear_pruned()?);
        }
        let Some(entry) = self.find(&kept.base, 0).await? else {
            return Err(self.unrecorded(kept));
        };
        tracing::warn!(
            entry,
            "the last pruning of the decision log is told by another entry now"
        );
        Ok(self.log.finish_prune(kept.base.clone(), entry)?)
    }
}

impl Ground<'_> {
    /// Carries out what was intended and recorded; drops what was not recorded.
    pub(super) async fn settle(&self) -> Result<(), PruneError> {
        let Some(base) = self.log.intended_prune()? else {
            return Ok(());
        };
        match self.find(&base, base.state_size).await? {
            Some(entry) => self.finish(base, entry).await,
            None => Ok(self.log.abandon_prune()?),
        }
    }

    /// Tells the tenants, then removes what entry `entry` recorded.
    pub(super) async fn finish(&self, base: Base, entry: u64) -> Result<(), PruneError> {
        let before = self.log.base();
        let before = |reference: &str| before.as_ref().and_then(|kept| kept.base.tenants.get(reference));
        for (reference, last) in &base.tenants {
            if before(reference) != Some(last)
                && let Some(tenant) = self.tenant(reference)
            {
                self.tell(&tenant, &base, (*last, entry)).await?;
            }
        }
        Ok(tokio::task::block_in_place(|| {
            self.log.finish_prune(base, entry)
        })?)
    }

    fn tenant(&self, reference: &str) -> Option<TenantId> {
        let mut tenants = self.snapshot.tenants();
        let found = tenants.find(|(tenant, _)| tenant.reference == reference);
        found.map(|(tenant, _)| tenant.id.clone())
    }

    async fn tell(
        &self,
        tenant: &TenantId,
        base: &Base,
        (last, entry): (u64, u64),
    ) -> Result<(), PruneError> {
        let detail = json!({
            "origin": base.origin, "last": last, "base": base.digest().to_string(), "entry": entry,
            "reason": base.reason, "by": base.by,
        });
        let context = self.context(Reach::from(tenant), Actor::System("log-prune"))?;
        let told = self.store.transact(context, async move |tx: &mut Tx| {
            tx.note(COMMAND, detail.clone()).await?;
            Ok::<_, StoreError>(Vec::new())
        });
        match told.await {
            Ok(_) => Ok(()),
            // Its key is erased: nobody makes a pack of it any more.
            Err(StoreError::Seal(_)) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn context(&self, reach: Reach, actor: Actor) -> Result<Context, PruneError> {
        Ok(Context::new(reach, actor, RequestId(self.ids.uuid()?)))
    }

    /// What the installation's entry says.
    pub(super) fn detail(&self, base: &Base) -> Value {
        json!({
            "log": "decisions", "origin": base.origin, "node": self.store.name().to_string(),
            "from": base.from, "begins": base.minimum, "newest_at": base.newest_at().to_string(),
            "size": base.size, "root": base.root, "base": base.digest().to_string(),
            "reason": base.reason, "by": base.by,
        })
    }

    /// What the installation's entry says of a log that begins with its first entry again.
    fn whole(&self) -> Value {
        json!({
            "log": "decisions", "origin": self.log.origin(), "node": self.store.name().to_string(),
            "from": 0, "begins": 0, "base": null,
        })
    }

    /// The entry from `from` on that recorded this pruning.
    async fn find(&self, base: &Base, from: u64) -> Result<Option<u64>, PruneError> {
        let mut from = from;
        loop {
            let page = self.store.entries(from, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(None);
            };
            from = last.index + 1;
            for entry in &page {
                let is_one = Leaf::decode(&entry.leaf).is_ok_and(|leaf| leaf.kind.as_str() == KIND);
                if is_one && self.tells(entry.index, base).await? {
                    return Ok(Some(entry.index));
                }
            }
        }
    }

    /// Whether this entry is the installation's own that recorded this pruning.
    async fn tells(&self, entry: u64, base: &Base) -> Result<bool, PruneError> {
        let detail = self.pruning(entry).await?.unwrap_or_default();
        let named = detail.get("base").and_then(Value::as_str);
        Ok(named == Some(&base.digest().to_string()))
    }

    /// What this entry says, if it is one of the installation's own that recorded a pruning.
    async fn pruning(&self, entry: u64) -> Result<Option<Value>, PruneError> {
        let opening = match self.store.opening(Reach::Installation, entry).await {
            Ok(Some(opening)) => opening,
            Ok(None) | Err(StoreError::OtherTenant { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if opening.kind != KIND {
            return Ok(None);
        }
        let mut payload: Value = serde_json::from_slice(&opening.payload).unwrap_or_default();
        Ok(payload.get_mut("detail").map(Value::take))
    }

    fn unrecorded(&self, kept: &KeptBase) -> PruneError {
        PruneError::Unrecorded {
            minimum: kept.base.minimum,
            entry: kept.entry,
        }
    }
}
