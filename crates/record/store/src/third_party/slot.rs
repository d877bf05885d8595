//! Which credential has which slot of another system: no two have the same.

use std::collections::{BTreeMap, BTreeSet};

use bailiwick_base::{CredentialId, Digest, TenantId};
use bailiwick_credential::{Standing, ThirdParty};

use super::{ROWS, TABLE, ThirdParties, from_row};
use crate::error::StoreError;
use crate::row::{Fields, args};
use crate::tx::{Source, Tx, View};

const HOLDER: &str = "SELECT tenant, third_party FROM third_party_slot WHERE tenant = $1 AND slot = $2";
const TAKE: &str = "INSERT INTO third_party_slot (tenant, slot, third_party) VALUES ($1, $2, $3) \
                    ON CONFLICT DO NOTHING";
const LEAVE: &str = "DELETE FROM third_party_slot WHERE tenant = $1 AND third_party = $2";

const ALL: &str = "SELECT tenant, slot, third_party FROM third_party_slot";
const SLOT_TABLE: &str = "third_party_slot";

/// What a credential keeps others from: nothing once it opens nothing.
fn slots(c: &ThirdParty) -> BTreeSet<String> {
    match (&c.standing, &c.target) {
        (Standing::Revoked { .. }, _) | (_, None) => BTreeSet::new(),
        (_, Some(target)) => target.slots(),
    }
}

impl View {
    /// Whether every slot is one that its credential has. One that is missing keeps nobody out and lets nobody in; a
    /// step of a rotation may leave it to another credential.
    pub(crate) async fn compare_slots(&mut self) -> Result<(), StoreError> {
        let mut held = BTreeMap::new();
        self.each(ALL, Vec::new(), |cells| {
            let mut f = Fields::of(SLOT_TABLE, cells);
            let tenant = f.word("tenant", |t| TenantId::parse(t).ok())?;
            let slot = f.digest("slot")?;
            held.insert((tenant, slot), f.uuid("third_party")?);
            Ok(())
        })
        .await?;
        if held.is_empty() {
            return Ok(());
        }
        self.each(ROWS.sql, Vec::new(), |mut cells| {
            // Tenant and digest stand in front of the row, due time and secrets behind it.
            let mut row = cells.split_off(2.min(cells.len()));
            row.truncate(row.len().saturating_sub(3));
            let known = from_row(row)?;
            for slot in slots(&known) {
                let place = (known.id.tenant().clone(), Digest::of(slot.as_bytes()));
                if held.get(&place) == Some(&known.id.uuid()) {
                    held.remove(&place);
                }
            }
            Ok(())
        })
        .await?;
        match held.into_keys().next() {
            Some((tenant, slot)) => Err(StoreError::RowCorrupt {
                table: SLOT_TABLE,
                column: "third_party",
                row: format!("{tenant} {slot}"),
            }),
            None => Ok(()),
        }
    }
}

impl<S: Source> ThirdParties<'_, S> {
    /// Another credential that has a slot of `wanted`.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn rival(&mut self, wanted: &ThirdParty) -> Result<Option<ThirdParty>, StoreError> {
        let tenant = wanted.id.tenant().clone();
        self.0.view().require(&tenant)?;
        for slot in slots(wanted) {
            let values = args![tenant.as_str(), Digest::of(slot.as_bytes())];
            let rows = self.0.view().fetch(HOLDER, values).await?;
            let Some(cells) = rows.into_iter().next() else {
                continue;
            };
            let mut f = Fields::of(TABLE, cells);
            f.text("tenant")?;
            let holder = CredentialId::from_parts(tenant.clone(), f.uuid("third_party")?);
            if holder != wanted.id {
                return self.lookup(&holder).await;
            }
        }
        Ok(None)
    }
}

impl ThirdParties<'_, Tx> {
    /// Gives a credential the slots of what it is now. Which of them another one has, whoever registers asked
    /// before; a step of a rotation does not stop for it.
    pub(super) async fn take_slots(
        &mut self,
        before: Option<&ThirdParty>,
        now: &ThirdParty,
    ) -> Result<(), StoreError> {
        let wanted = slots(now);
        if let Some(before) = before {
            if slots(before) == wanted {
                return Ok(());
            }
            self.leave_slots(before).await?;
        }
        for slot in wanted {
            let slot = Digest::of(slot.as_bytes());
            let values = args![now.id.tenant().as_str(), slot, now.id.uuid()];
            self.0.write_quietly(TAKE, values).await?;
        }
        Ok(())
    }

    pub(super) async fn leave_slots(&mut self, c: &ThirdParty) -> Result<(), StoreError> {
        let values = args![c.id.tenant().as_str(), c.id.uuid()];
        self.0.write_quietly(LEAVE, values).await.map(|_| ())
    }
}
