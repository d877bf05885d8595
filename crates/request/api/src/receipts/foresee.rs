//! What a stop would cut, and what it would not reach: the part of a dry run that nobody waits for in a real one.

use bailiwick_base::TenantId;
use bailiwick_decide::{MarkEffect, MarkScope};
use bailiwick_store::Reach;
use bailiwick_wire as wire;

use super::reckon::{FORESEEN_MAX, known, reckon};
use super::residue;
use crate::Deps;
use crate::problem::RouteError;
use crate::stop::reach_of;

/// Items of each kind that are listed.
const LISTED_MAX: usize = 1_000;

/// Adds to a dry run what the decision log and the ledgers say.
pub(crate) async fn foresee(
    deps: &Deps,
    scope: &MarkScope,
    effect: MarkEffect,
    dry: &mut wire::DryRun,
) -> Result<(), RouteError> {
    let found = reckon(deps, scope, None, FORESEEN_MAX).await?;
    let tenants: Vec<TenantId> = match reach_of(scope) {
        Reach::Tenant(tenant) => vec![tenant],
        _ => deps.cell.load().tenants().map(|(t, _)| t.id.clone()).collect(),
    };
    let snapshot = deps.cell.load();
    for tenant in &tenants {
        for id in known(deps, tenant, &found.descendants) {
            if let Some(identity) = snapshot.identity(&id) {
                dry.names.insert(id.to_string(), identity.name.clone());
            }
            dry.descendants.push(id.to_string());
        }
    }
    dry.read_at = deps.nodes.node.to_string();
    dry.unread_nodes = deps.other_nodes();
    dry.calls_last_hour = found.calls.values().sum();
    dry.calls_by.clone_from(&found.calls);
    dry.tokens = found.tokens.iter().take(LISTED_MAX).cloned().collect();
    dry.is_whole_hour = found.is_whole;
    // A milder mark takes nothing back: whatever is held is only not handed out anew.
    for item in residue::held(deps, scope, effect).await? {
        if item.kind != "lease" {
            dry.credentials.push(item.id.clone());
        }
        dry.unreached.push(item);
    }
    if effect.is_whole() {
        dry.unreached.extend(residue::believed(&found, deps.clock.now()));
    }
    dry.unreached.truncate(LISTED_MAX);
    Ok(())
}
