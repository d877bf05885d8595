//! The rows against the log: every object that entries tell of is replayed and must have its row, each row must be
//! what its digest says, none may be there that no entry tells of, and the first entries must be those whose
//! checkpoint was signed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bailiwick_audit::merkle::{Frontier, RootHash, leaf_hash};
use bailiwick_base::{Digest, TenantId};
use serde_json::Value;

use bailiwick_decide::Fact;

use crate::context::Reach;
use crate::engine::Engine;
use crate::engine::StoreConfig;
use crate::error::StoreError;
use crate::log::Opening;
use crate::row::{Cells, Fields};
use crate::server::{self, BesidePins};
use crate::store::{Store, StoreDeps};
use crate::stored::Rows;
use crate::tx::{Ground, View};
use crate::{
    client, consent, credential, identity, kill_receipt, lease, mark, operator, policy, public_client,
    sidecar, signing_key, subscription, task, tenant, third_party, transmitter, trust,
};

/// Entries read at once.
const CHUNK: u32 = 2_000;

/// Tables whose rows carry the digest that their entries name. Servers, which have their pins in a table of their own,
/// are read apart.
static TABLES: [Rows; 19] = [
    client::ROWS,
    consent::ROWS,
    credential::ROWS,
    identity::ROWS,
    kill_receipt::ROWS,
    lease::ROWS,
    mark::ROWS,
    operator::ROWS,
    policy::ROWS,
    public_client::ROWS,
    sidecar::ROWS,
    signing_key::ROWS,
    subscription::ROWS,
    task::GRANT_ROWS,
    task::TASK_ROWS,
    // Its key is its tenant, so its row says whose it is.
    tenant::ROWS,
    third_party::ROWS,
    transmitter::ROWS,
    trust::ROWS,
];
const SERVER: &str = "server";
const TENANT: &str = "tenant";

/// What was signed of the state log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signed {
    /// Entries under the checkpoint.
    pub size: u64,
    /// Its root.
    pub root: RootHash,
}

/// What a comparison found in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compared {
    /// Entries replayed.
    pub entries: u64,
    /// Entries whose payload does not open because the tenant's key was erased.
    pub erased: u64,
}

/// A store that is only looked at: nothing is migrated, no writer starts, nobody is fenced.
pub struct Inspection {
    engine: Engine,
    ground: Arc<Ground>,
}

impl Inspection {
    /// Opens what is there, beside a service that may be running on it.
    ///
    /// # Errors
    /// [`StoreError`] naming the place and the fix.
    pub async fn open(config: &StoreConfig, deps: StoreDeps) -> Result<Self, StoreError> {
        Ok(Self {
            engine: Engine::inspect(config).await?,
            ground: Arc::new(Ground {
                clock: deps.clock,
                sealer: deps.sealer,
                shelf: None,
                node: deps.node,
                seat: None,
            }),
        })
    }

    async fn every(&self) -> Result<View, StoreError> {
        let reach = Reach::DangerAllTenants;
        let conn = self.engine.read(&reach.rows()).await?;
        Ok(View::new(conn, reach, Arc::clone(&self.ground)))
    }

    /// As [`Store::facts`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn facts(&self) -> Result<Vec<Fact>, StoreError> {
        self.every().await?.facts().await
    }

    /// As [`Store::compare`].
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn compare(&self, signed: Signed) -> Result<Compared, StoreError> {
        self.every().await?.compare(signed).await
    }
}

impl Store {
    /// Replays the whole log: the entries that `signed` covers are those it was signed over, each payload is
    /// the one its leaf commits to, and the rows are exactly what the entries lead to.
    ///
    /// # Errors
    /// [`StoreError::OlderThanLog`], [`StoreError::OtherThanSigned`], [`StoreError::RowMissing`],
    /// [`StoreError::RowUnrecorded`], [`StoreError::LogCorrupt`].
    pub async fn compare(&self, signed: Signed) -> Result<Compared, StoreError> {
        self.every().await?.compare(signed).await
    }
}

/// What entries tell is there now: objects of one table, by whose they are and the digest of their name.
#[derive(Default)]
struct Told(BTreeMap<(TenantId, Digest), At>);

/// The entry that told of an object last, and the digest that its row has to carry.
struct At {
    index: u64,
    digest: Digest,
}

#[derive(Default)]
struct Replay {
    live: BTreeMap<&'static str, Told>,
    seqs: BTreeMap<TenantId, u64>,
    /// By the pseudonym in their leaves.
    owners: BTreeMap<String, TenantId>,
    erased: BTreeSet<TenantId>,
    found: Compared,
    epoch: u64,
    floor: u64,
    at: u64,
}

impl Replay {
    fn take(&mut self, opening: &Opening) -> Result<(), StoreError> {
        let index = opening.index;
        let wrong = |what| StoreError::LogCorrupt { index, what };
        let payload = opening.value()?;
        let objects = payload
            .get("objects")
            .and_then(Value::as_array)
            .ok_or_else(|| wrong("its payload has no objects"))?;
        for object in objects {
            self.take_object(&opening.tenant, index, object)
                .ok_or_else(|| wrong("an object in it is malformed"))?;
        }
        Ok(())
    }

    fn take_object(&mut self, tenant: &TenantId, index: u64, object: &Value) -> Option<()> {
        let kind = object.get("type")?.as_str()?;
        let id = object.get("id")?.as_str()?;
        if kind == "epoch" {
            self.floor = object.pointer("/after/floor")?.as_u64()?;
            return Some(());
        }
        let mut known = TABLES.iter().map(|rows| rows.table).chain([SERVER]);
        let table = known.find(|name| *name == kind)?;
        let after = object.get("after")?;
        // The row of a tenant is its own.
        let home = match table == TENANT {
            true => TenantId::parse(id).ok()?,
            false => tenant.clone(),
        };
        let name = Digest::of(name_of(object)?.as_bytes());
        let told = self.live.entry(table).or_default();
        if after.is_null() {
            told.0.remove(&(home, name))?;
        } else {
            let digest = Digest::from_hex(after.get("digest")?.as_str()?)?;
            told.0.insert((home, name), At { index, digest });
        }
        Some(())
    }

    /// Whoever gives an entry to a tenant without a key would take it out of the comparison.
    fn take_owner(&mut self, reference: &str, tenant: &TenantId) -> bool {
        match self.owners.get(reference) {
            Some(owner) => owner == tenant,
            None => {
                self.owners.insert(reference.to_owned(), tenant.clone());
                true
            }
        }
    }

    fn take_seq(&mut self, tenant: &TenantId, seq: u64) -> bool {
        let last = self.seqs.entry(tenant.clone()).or_default();
        *last += 1;
        *last == seq
    }
}

/// Cells in front of what is verified: tenant and digest.
const FRONT: usize = 2;

/// The rows of one table against what entries tell of them. Rows pass by one at a time; what stays is what entries
/// tell and no row was found for.
struct Against<'a> {
    table: &'static str,
    told: BTreeMap<(TenantId, Digest), u64>,
    erased: &'a BTreeSet<TenantId>,
    altered: Option<StoreError>,
    extra: Option<(TenantId, Digest)>,
}

impl<'a> Against<'a> {
    fn new(table: &'static str, replay: &'a mut Replay) -> Self {
        let told = replay.live.remove(table).unwrap_or_default().0.into_iter();
        Self {
            table,
            told: told
                .map(|((tenant, _), at)| ((tenant, at.digest), at.index))
                .collect(),
            erased: &replay.erased,
            altered: None,
            extra: None,
        }
    }

    /// Strikes a row off by its tenant and digest, and gives the cells behind them.
    fn take(&mut self, cells: &mut Cells) -> Result<Cells, StoreError> {
        let own = cells.split_off(FRONT.min(cells.len()));
        let mut f = Fields::of(self.table, std::mem::take(cells));
        let tenant = f.word("tenant", |t| TenantId::parse(t).ok())?;
        let row = (tenant, f.digest("digest")?);
        // What a tenant was told in entries that no longer open is not compared.
        if self.told.remove(&row).is_none() && !self.erased.contains(&row.0) {
            self.extra.get_or_insert(row);
        }
        Ok(own)
    }

    fn verified(&mut self, verified: Result<(), StoreError>) {
        if let Err(altered) = verified {
            self.altered.get_or_insert(altered);
        }
    }
}

impl View {
    pub(crate) async fn compare(&mut self, signed: Signed) -> Result<Compared, StoreError> {
        let head = self.head().await?;
        if head.size < signed.size {
            return Err(StoreError::OlderThanLog {
                stored: head.size,
                signed: signed.size,
            });
        }
        let replay = self.replay_all(head.size, signed).await?;
        for (column, stored, told) in [
            ("epoch_floor", head.floor, replay.floor),
            ("epoch", head.epoch, replay.epoch.max(replay.floor)),
            ("log_at", u64::try_from(head.at).unwrap_or(u64::MAX), replay.at),
        ] {
            if stored != told {
                return Err(StoreError::RowCorrupt {
                    table: "epoch",
                    column,
                    row: "1".to_owned(),
                });
            }
        }
        let found = replay.found.clone();
        self.compare_rows(replay).await?;
        Ok(found)
    }

    async fn replay_all(&mut self, size: u64, signed: Signed) -> Result<Replay, StoreError> {
        let (mut replay, mut tree, mut next) = (Replay::default(), Frontier::new(), 0);
        let other = StoreError::OtherThanSigned { size: signed.size };
        while next < size {
            let chunk = self.span(next, size, CHUNK, None).await?;
            if chunk.is_empty() {
                return Err(missing(next));
            }
            for sealed in chunk {
                if sealed.index() != next {
                    return Err(missing(next));
                }
                if next < signed.size {
                    tree.append(leaf_hash(&sealed.leaf)).map_err(|_| other.clone())?;
                }
                next += 1;
                if next == signed.size && tree.root() != signed.root {
                    return Err(other);
                }
                let leaf = sealed.told()?;
                (replay.epoch, replay.at) = (replay.epoch.max(leaf.epoch), leaf.at);
                let wrong = |what| StoreError::LogCorrupt {
                    index: next - 1,
                    what,
                };
                if !replay.take_owner(leaf.tenant_ref, &sealed.tenant) {
                    return Err(wrong("it is another tenant's than its leaf says"));
                }
                if !replay.take_seq(&sealed.tenant, leaf.tenant_seq) {
                    return Err(wrong(
                        "its number within the tenant does not follow the one before",
                    ));
                }
                let tenant = sealed.tenant.clone();
                match self.open(sealed) {
                    Ok(opening) => replay.take(&opening)?,
                    Err(StoreError::Seal(bailiwick_base::SealError::NoKey(_))) => {
                        replay.found.erased += 1;
                        replay.erased.insert(tenant);
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        replay.found.entries = next;
        Ok(replay)
    }

    async fn compare_rows(&mut self, mut replay: Replay) -> Result<(), StoreError> {
        let sealer = Arc::clone(&self.ground.sealer);
        for rows in &TABLES {
            let mut against = Against::new(rows.table, &mut replay);
            self.each(rows.sql, Vec::new(), |mut cells| {
                let own = against.take(&mut cells)?;
                against.verified((rows.verify)(own, &*sealer));
                Ok(())
            })
            .await?;
            self.settle(against).await?;
        }
        self.compare_slots().await?;
        let mut against = Against::new(SERVER, &mut replay);
        let mut servers = BesidePins::default();
        self.each(server::BESIDE_PINS, Vec::new(), |mut cells| {
            let own = cells.split_off(FRONT.min(cells.len()));
            let (begins, before) = servers.take(own);
            against.verified(before);
            if begins {
                against.take(&mut cells)?;
            }
            Ok(())
        })
        .await?;
        against.verified(servers.verify());
        self.settle(against).await
    }

    /// What is missing is named first, then what nobody tells of, then what is altered beside its right digest.
    async fn settle(&mut self, against: Against<'_>) -> Result<(), StoreError> {
        let table = against.table;
        let missing = against.told.into_iter().min_by_key(|(_, index)| *index);
        if let Some(((tenant, digest), index)) = missing {
            return Err(StoreError::RowMissing {
                table,
                row: self.name_in(index, digest).await?,
                tenant: tenant.to_string(),
                index,
            });
        }
        if let Some((tenant, digest)) = against.extra {
            return Err(StoreError::RowUnrecorded {
                table,
                tenant: tenant.to_string(),
                digest: digest.to_string(),
            });
        }
        against.altered.map_or(Ok(()), Err)
    }

    /// The name that an entry gives to the object with this digest.
    async fn name_in(&mut self, index: u64, digest: Digest) -> Result<String, StoreError> {
        let sealed = self.span(index, index + 1, 1, None).await?.into_iter().next();
        let payload = self.open(sealed.ok_or_else(|| missing(index))?)?.value()?;
        let objects = payload.get("objects").and_then(Value::as_array);
        let text = digest.to_string();
        let mut objects = objects.into_iter().flatten();
        let named = objects.find(|o| o.pointer("/after/digest").and_then(Value::as_str) == Some(&text));
        named.and_then(name_of).ok_or(StoreError::LogCorrupt {
            index,
            what: "an object in it is malformed",
        })
    }
}

/// What an object is called. A suspension and a kill of one scope stand side by side.
fn name_of(object: &Value) -> Option<String> {
    let id = object.get("id")?.as_str()?;
    let after = object.get("after")?;
    let shown = if after.is_null() {
        object.get("before")?
    } else {
        after
    };
    Some(match shown.get("effect").and_then(Value::as_str) {
        Some(effect) => format!("{effect} {id}"),
        None => id.to_owned(),
    })
}

fn missing(index: u64) -> StoreError {
    StoreError::LogCorrupt {
        index,
        what: "it is missing",
    }
}
