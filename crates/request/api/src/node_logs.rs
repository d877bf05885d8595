//! Proofs and entries of this node's two logs, for the doors.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use bailiwick_audit::entry::{Leaf, Opening};
use bailiwick_audit::proof::Evidence;
use bailiwick_base::{TenantId, json};
use bailiwick_journal::{DecisionLog, JournalError, LogReader, Passed, StateTiles};
use bailiwick_keys::Keyring;
use bailiwick_pep::SnapshotCell;
use bailiwick_store::{Reach, Store};
use bailiwick_wire::{LogEntry, NamedLog};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::deps::{BoxFuture, LogDoor, LogError};

/// Kinds of entry that carry a decision.
const DECIDED: [&str; 2] = ["decision", "token.issue"];

/// One of the two logs as it is known at start.
pub struct Named {
    /// Name of the log and of its key.
    pub origin: String,
    /// Its verifier key.
    pub vkey: String,
    /// Its folder.
    pub dir: PathBuf,
}

/// Both logs of this node.
pub struct Logs {
    /// The state log's names.
    pub state: Named,
    /// The decision log's names.
    pub decisions: Named,
    /// The state log as it is published.
    pub tiles: Arc<StateTiles>,
    /// The decision log.
    pub log: Arc<DecisionLog>,
    /// Places of the decision log that earlier pages have passed.
    pub passed: Arc<Passed>,
    /// State.
    pub store: Store,
    /// Keys.
    pub keyring: Arc<Keyring>,
    /// The present snapshot.
    pub cell: Arc<SnapshotCell>,
}

/// Whose payloads are opened; everybody's without.
type Of<'a> = Option<&'a TenantId>;

/// Index, leaf, and the payload where it opens.
type Opened = (u64, Vec<u8>, Option<Vec<u8>>);

/// Bytes of one page; the entry that goes beyond ends it.
const PAGE_MAX: usize = 2 * 1024 * 1024;

fn failed(error: impl std::fmt::Display) -> LogError {
    LogError::Failed(error.to_string())
}

/// What the decision log says; an entry that was pruned is no fault of it.
fn unread(error: JournalError) -> LogError {
    match error {
        JournalError::Pruned { .. } => LogError::Pruned(error.to_string()),
        other => failed(other),
    }
}

impl Logs {
    /// Whose payload a leaf commits to: `Some(None)` is the installation's own.
    fn tenant_of(&self, reference: &str) -> Option<Option<TenantId>> {
        if reference == bailiwick_journal::INSTALLATION_REF {
            return Some(None);
        }
        let snapshot = self.cell.load();
        snapshot
            .tenants()
            .find(|(t, _)| t.reference == reference)
            .map(|(t, _)| Some(t.id.clone()))
    }

    fn decision_entries(&self, from: u64, max: usize, of: Of<'_>) -> Result<Vec<Opened>, LogError> {
        let until = self.log.size().min(from.saturating_add(max as u64));
        self.log.require_kept(from).map_err(unread)?;
        let (dir, origin) = (&self.decisions.dir, &self.decisions.origin);
        let page = LogReader::page(dir, origin, &self.passed, from..until, PAGE_MAX).map_err(failed)?;
        let opened = page.into_iter().map(|entry| {
            let owner = self.tenant_of(entry.leaf().map_err(failed)?.tenant_ref);
            let owner = owner.filter(|owner| of.is_none() || owner.as_ref() == of);
            let payload = owner.and_then(|tenant| entry.open(self.keyring.as_ref(), tenant.as_ref()).ok());
            Ok((entry.index, entry.leaf, payload))
        });
        opened.collect()
    }

    async fn state_entries(&self, from: u64, max: usize, of: Of<'_>) -> Result<Vec<Opened>, LogError> {
        let max = u32::try_from(max).unwrap_or(u32::MAX).min(10_000);
        let (mut out, mut bytes) = (Vec::new(), 0);
        for entry in self.store.entries(from, max).await.map_err(failed)? {
            if of.is_some() && self.owner(&entry.leaf).as_ref() != of {
                out.push((entry.index, entry.leaf, None));
                continue;
            }
            let opening = self
                .store
                .opening(Reach::DangerAllTenants, entry.index)
                .await
                .map_err(failed)?;
            let payload = opening.map(|o| o.payload);
            bytes += entry.leaf.len() + payload.as_ref().map_or(0, Vec::len);
            out.push((entry.index, entry.leaf, payload));
            if bytes >= PAGE_MAX {
                break;
            }
        }
        Ok(out)
    }

    async fn read(&self, log: &str, from: u64, max: usize, of: Of<'_>) -> Result<Vec<Opened>, LogError> {
        if log == "state" {
            return self.state_entries(from, max, of).await;
        }
        tokio::task::block_in_place(|| self.decision_entries(from, max, of))
    }

    /// The tenant that a leaf belongs to.
    fn owner(&self, leaf: &[u8]) -> Option<TenantId> {
        self.tenant_of(Leaf::decode(leaf).ok()?.tenant_ref).flatten()
    }

    /// The key under which the payload of `leaf` was committed to.
    fn opening_key(&self, leaf: &[u8]) -> Result<Zeroizing<[u8; 32]>, LogError> {
        let reference = Leaf::decode(leaf).map_err(failed)?.tenant_ref;
        let owner = self.tenant_of(reference).flatten();
        self.keyring.danger_opening_key(owner.as_ref()).map_err(failed)
    }

    fn opening_line(&self, index: u64, leaf: &[u8], payload: &[u8]) -> Result<Vec<u8>, LogError> {
        let key = self.opening_key(leaf)?;
        let line = json!({
            "index": index, "key": STANDARD.encode(key.as_slice()), "payload": STANDARD.encode(payload),
        });
        let mut bytes = line.to_string().into_bytes();
        bytes.push(b'\n');
        Ok(bytes)
    }
}

fn parsed(bytes: &[u8]) -> Option<Value> {
    json::parse(bytes, bailiwick_base::limits::BODY_MAX).ok()
}

impl LogDoor for Logs {
    fn list(&self) -> Vec<NamedLog> {
        let info = |log: &str, named: &Named, sequenced: u64, integrated: u64| NamedLog {
            log: log.to_owned(),
            origin: named.origin.clone(),
            vkey: named.vkey.clone(),
            sequenced,
            integrated,
            begins: 0,
            pruned: None,
            keep_days: None,
            legal_hold: None,
        };
        let state = self.cell.load().state_pos().0;
        let kept = self.log.base();
        let decisions = info(
            "decisions",
            &self.decisions,
            self.log.size(),
            self.log.checkpoint().checkpoint().size,
        );
        vec![
            info(
                "state",
                &self.state,
                state,
                self.tiles.checkpoint().checkpoint().size,
            ),
            NamedLog {
                begins: kept.as_ref().map_or(0, |kept| kept.base.minimum),
                pruned: kept.as_deref().map(crate::prune::told),
                ..decisions
            },
        ]
    }

    fn prove<'a>(
        &'a self,
        log: &'a str,
        index: u64,
        disclose: bool,
    ) -> BoxFuture<'a, Result<Option<Vec<u8>>, LogError>> {
        let state = log == "state";
        Box::pin(async move {
            let sequenced = if state {
                self.cell.load().state_pos().0
            } else {
                self.log.size()
            };
            if index >= sequenced {
                return Ok(None);
            }
            if state && self.tiles.checkpoint().checkpoint().size <= index {
                // Committed and not published yet: this one does not wait for its turn.
                crate::catch_up(&self.tiles, &self.store).await.map_err(failed)?;
            }
            let prove = || {
                if state {
                    return self.tiles.prove(index);
                }
                // A proof needs a checkpoint that covers the entry: at most a tenth of a second away.
                if let Err(why) = self.log.integrate() {
                    tracing::warn!(why, "checkpoints are not published");
                }
                self.log.prove(index)
            };
            let mut file = tokio::task::block_in_place(prove).map_err(unread)?;
            if disclose {
                let entry = self.read(log, index, 1, None).await?.into_iter().next();
                let Some((_, leaf, Some(payload))) = entry else {
                    return Err(LogError::Failed(
                        "the payload of this entry cannot be opened".to_owned(),
                    ));
                };
                let opening = Opening {
                    leaf_index: index,
                    key: *self.opening_key(&leaf)?,
                    payload,
                };
                let evidence = Evidence {
                    leaf,
                    opening: Some(opening),
                };
                file.extra = Some(evidence.encode());
            }
            Ok(Some(file.to_bytes()))
        })
    }

    fn index_of<'a>(&'a self, decision: &'a str) -> BoxFuture<'a, Result<Option<u64>, LogError>> {
        Box::pin(async move {
            let find = || {
                let reader = LogReader::open(&self.decisions.dir, &self.decisions.origin).map_err(failed)?;
                for entry in reader {
                    let entry = entry.map_err(failed)?;
                    let leaf = entry.leaf().map_err(failed)?;
                    if !DECIDED.contains(&leaf.kind.as_str()) {
                        continue;
                    }
                    let owner = self.tenant_of(leaf.tenant_ref);
                    let payload =
                        owner.and_then(|tenant| entry.open(self.keyring.as_ref(), tenant.as_ref()).ok());
                    let payload = payload.as_deref().and_then(parsed);
                    let named = payload.as_ref().and_then(|p| p.get("decision")?.as_str());
                    if named == Some(decision) {
                        return Ok(Some(entry.index));
                    }
                }
                Ok(None)
            };
            tokio::task::block_in_place(find)
        })
    }

    fn entries<'a>(
        &'a self,
        log: &'a str,
        from: u64,
        max: usize,
        of: Of<'a>,
    ) -> BoxFuture<'a, Result<Vec<LogEntry>, LogError>> {
        Box::pin(async move {
            let entries = self.read(log, from, max, of).await?;
            let shown = entries.into_iter().map(|(index, leaf, payload)| LogEntry {
                index,
                tenant: self.owner(&leaf).map(|tenant| tenant.to_string()),
                leaf: parsed(&leaf).unwrap_or(Value::Null),
                payload: payload.as_deref().and_then(parsed),
                names: BTreeMap::new(),
            });
            Ok(shown.collect())
        })
    }

    fn openings<'a>(
        &'a self,
        log: &'a str,
        from: u64,
        max: usize,
    ) -> BoxFuture<'a, Result<Vec<u8>, LogError>> {
        Box::pin(async move {
            let (mut out, mut from, mut max) = (Vec::new(), from, max);
            // A page may end early, and payloads of an erased tenant have no line: without a line nothing of what
            // was asked for opens, so that whoever asks may go on behind all of it.
            while out.is_empty() && max > 0 {
                let page = self.read(log, from, max, None).await?;
                if page.is_empty() {
                    break;
                }
                for (index, leaf, payload) in &page {
                    if let Some(payload) = payload {
                        out.extend(self.opening_line(*index, leaf, payload)?);
                    }
                }
                from += page.len() as u64;
                max = max.saturating_sub(page.len());
            }
            Ok(out)
        })
    }
}
