//! From an answer to a snapshot in memory: signatures first, then for whom it is, then whether it is older.

use std::sync::Arc;

use bailiwick_base::{Epoch, PublicKey, StatePos, TenantId};
use bailiwick_decide::{Fact, Snapshot};
use bailiwick_pep::SnapshotCell;
use bailiwick_pep::token::KeySource;
use bailiwick_snapshot::{Body, Told, read_body, verify_snapshot, verify_told};
use bailiwick_wire::SidecarTold;

use crate::error::SidecarError;
use crate::folder::About;
use crate::word::Holds;

/// What a node answered, believed.
pub(crate) struct Believed {
    pub(crate) holds: Holds,
    pub(crate) body: Option<Body>,
}

fn unbelieved(why: &str) -> SidecarError {
    SidecarError::Answered(why.to_owned())
}

/// Whether the installation said this to us, about the word with this number.
pub(crate) fn believe(about: &About, beat: u64, told: &SidecarTold) -> Result<Believed, SidecarError> {
    let said = Told {
        sidecar: about.sidecar.as_str(),
        beat,
        epoch: told.epoch,
        position: told.position,
        body: told.snapshot.as_ref().map(|snapshot| snapshot.body.as_str()),
    };
    verify_told(&said, &told.signature, &about.snapshot_key)?;
    let holds = Holds {
        epoch: Epoch(told.epoch),
        position: StatePos(told.position),
    };
    let Some(snapshot) = &told.snapshot else {
        return Ok(Believed { holds, body: None });
    };
    verify_snapshot(&snapshot.body, &snapshot.signature, &about.snapshot_key)?;
    let body = read_body(&snapshot.body)?;
    if body.heading.sidecar != about.sidecar {
        return Err(unbelieved("the snapshot is another sidecar's"));
    }
    if body.heading.tenants.iter().any(|t| !about.tenants.contains(t)) {
        return Err(unbelieved(
            "the snapshot is for a tenant that this sidecar did not join for",
        ));
    }
    let inside = Holds {
        epoch: body.epoch,
        position: body.position,
    };
    if !holds.reaches(&inside) {
        return Err(unbelieved("the snapshot is newer than the answer it came with"));
    }
    // Between the two nothing concerns us, the answer says; a stop raises the epoch, and it would have to be inside.
    Ok(Believed {
        holds,
        body: Some(body),
    })
}

/// Whose tokens are believed, and what is in memory.
pub(crate) struct Taker {
    pub(crate) cell: Arc<SnapshotCell>,
    pub(crate) issuers: Arc<KeySource>,
    pub(crate) base_url: String,
}

impl Taker {
    fn issuer(&self, tenant: &TenantId) -> String {
        format!("{}/t/{tenant}", self.base_url)
    }

    /// Takes what was believed: everything anew with a body, else that what is held is current up to `holds`.
    pub(crate) fn take(
        &self,
        holds: Holds,
        body: Option<Body>,
        tenants: &[TenantId],
    ) -> Result<(), SidecarError> {
        let older = |e: bailiwick_decide::SnapshotError| SidecarError::Answered(e.to_string());
        let current = Fact::Position(holds.position, holds.epoch);
        let Some(body) = body else {
            return self.cell.publish([current]).map_err(older);
        };
        let next = Snapshot::empty()
            .apply(body.facts)
            .and_then(|next| next.apply([current]))
            .map_err(older)?;
        self.cell.replace(next).map_err(older)?;
        for tenant in tenants {
            let issuer = self.issuer(tenant);
            let keys: Vec<(String, Arc<PublicKey>)> = body
                .keys
                .iter()
                .filter(|key| key.tenant == *tenant)
                .map(|key| (key.key.thumbprint(), Arc::new(key.key.clone())))
                .collect();
            if keys.is_empty() {
                self.issuers.withdraw(&issuer);
            } else {
                self.issuers
                    .publish(&issuer, tenant, &format!("{issuer}/mcp"), keys);
            }
        }
        Ok(())
    }
}
