//! Which credential has which slot of another system: no two have the same.

use std::collections::BTreeSet;

use bailiwick_base::{CredentialId, Digest};
use bailiwick_credential::{Standing, ThirdParty};

use super::{TABLE, ThirdParties};
use crate::error::StoreError;
use crate::row::{Fields, args};
use crate::tx::{Source, Tx};

const HOLDER: &str = "SELECT tenant, third_party FROM third_party_slot WHERE tenant = $1 AND slot = $2";
const TAKE: &str = "INSERT INTO third_party_slot (tenant, slot, third_party) VALUES ($1, $2, $3) \
                    ON CONFLICT DO NOTHING";
const LEAVE: &str = "DELETE FROM third_party_slot WHERE tenant = $1 AND third_party = $2";

/// What a credential keeps others from: nothing once it opens nothing.
fn slots(c: &ThirdParty) -> BTreeSet<String> {
    match (&c.standing, &c.target) {
        (Standing::Revoked { .. }, _) | (_, None) => BTreeSet::new(),
        (_, Some(target)) => target.slots(),
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
