//! What a commit of this node or of another changes here.

use std::sync::Arc;

use bailiwick_decide::Fact;
use bailiwick_keys::Keyring;
use bailiwick_pep::SnapshotCell;
use bailiwick_pep::token::KeySource;
use bailiwick_store::{Entry, Receipt};
use tokio::sync::mpsc::UnboundedSender;

use crate::keys;

/// Runs on the store's writer, in the order of positions, before the caller is answered: facts first, so that
/// what was acknowledged is what is decided on.
pub(crate) fn observer(
    cell: &Arc<SnapshotCell>,
    keyring: &Arc<Keyring>,
    issuers: &Arc<KeySource>,
    base_url: &str,
    entries: UnboundedSender<Vec<Entry>>,
) -> Box<dyn Fn(&Receipt) + Send + Sync> {
    let (cell, keyring, issuers, base_url) = (
        Arc::clone(cell),
        Arc::clone(keyring),
        Arc::clone(issuers),
        base_url.to_owned(),
    );
    Box::new(move |receipt| {
        for fact in &receipt.facts {
            // In memory they followed even then; the file follows with the next look at the schedule.
            if let Fact::SigningKeys(tenant, recorded) = fact
                && let Err(error) = keys::follow(&keyring, tenant, recorded)
            {
                tracing::error!(%error, "the folder of keys is behind what is recorded");
            }
            let of = match fact {
                Fact::Tenant(tenant, _) => Some(&tenant.id),
                Fact::SigningKeys(tenant, _) => Some(tenant),
                _ => None,
            };
            if let Some(tenant) = of
                && let Err(error) = keys::publish_issuer(&issuers, &keyring, &base_url, tenant)
            {
                tracing::error!(%error, "the tenant's tokens cannot be verified");
            }
        }
        if let Err(error) = cell.publish_up_to(receipt.pos, receipt.facts.iter().cloned()) {
            // Without these facts the node would decide on old word: it stops hearing, and so refuses.
            tracing::error!(%error, "committed facts could not be taken into account; calls will be refused");
            cell.expire();
        }
        // The receiver lives as long as the service; entries without one are published at the next start.
        let _stopping = entries.send(receipt.entries.clone());
    })
}
