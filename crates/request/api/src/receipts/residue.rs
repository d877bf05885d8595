//! What a stop did not reach, or is not known to have reached: it stays open until it is confirmed or has ended.

use std::collections::BTreeSet;

use bailiwick_base::{TenantId, Time};
use bailiwick_credential::Standing;
use bailiwick_decide::{MarkEffect, MarkScope, Snapshot};
use bailiwick_store::{KeptReceipt, OpenLease, Page, Reach, Reader};
use bailiwick_wire::{Known, ReceiptBody, ResidueItem};

use super::MarkState;
use super::reckon::{LOOK_BACK, Reckoned};
use crate::Deps;
use crate::command::store_error;
use crate::problem::RouteError;
use crate::stop::reach_of;
use crate::v1::kill::{names_identity, names_task};

/// Items of one receipt.
const ITEMS_MAX: usize = 500;
/// What is found in the log once, and not looked for again.
const OF_LOG: [&str; 2] = ["log", "svid"];
/// Rows of one statement.
const PAGE: u32 = 1_000;

/// What proves an identity to others is believed there until it ends, whoever was killed here.
pub(super) fn believed(found: &Reckoned, now: Time) -> Vec<ResidueItem> {
    let living = found.svids.iter().take(ITEMS_MAX);
    let mut out: Vec<ResidueItem> = living
        .map(|svid| ResidueItem {
            since: now.to_string(),
            ..item(
                "svid",
                svid.id.clone(),
                "others believe it without asking here until it ends; no other is issued",
                Some(svid.expires_at),
            )
        })
        .collect();
    if found.are_svids_issued && !found.are_svids_known {
        out.push(ResidueItem {
            since: now.to_string(),
            ..item(
                "svid",
                format!("before entry {}", found.from),
                "older SVIDs may live, and were not looked for: the log is long",
                Some(now.after(LOOK_BACK)),
            )
        });
    }
    out
}

/// The same as lines of a receipt.
pub(super) fn of_log(body: &mut ReceiptBody, kept: &KeptReceipt, found: &Reckoned, now: Time) {
    if !kept.effect.is_whole() {
        return;
    }
    body.residue.extend(believed(found, now));
    if !found.reached {
        body.residue.push(ResidueItem {
            since: now.to_string(),
            ..item(
                "log",
                format!("before entry {}", found.from),
                "calls between the stop and this entry were not looked at: the log is long",
                None,
            )
        });
    }
}

/// Looks again at everything that may be open; nothing is where nothing is to be stopped any more.
pub(super) async fn bring_up_to_date(
    deps: &Deps,
    kept: &KeptReceipt,
    body: &mut ReceiptBody,
    mark: MarkState,
) -> Result<(), RouteError> {
    let now = deps.clock.now();
    let stands = mark == MarkState::Stands;
    let open = if !stands || !kept.effect.is_whole() {
        Vec::new()
    } else {
        let mut open = held(deps, &kept.scope, kept.effect).await?;
        open.extend(silent(body));
        let nodes = deps.silent_nodes(body).into_iter();
        if deps.is_unwitnessed(kept) {
            let detail = "the witness file does not tell of it yet: make its folder writable";
            open.push(item("witness", deps.node(), detail, None));
        }
        open.extend(nodes.map(|silent| item("node", silent.node, silent.detail, None)));
        let sidecars = deps.silent_sidecars(kept).into_iter();
        open.extend(sidecars.map(|silent| item("sidecar", silent.node, silent.detail, None)));
        open
    };
    let still: BTreeSet<(&str, &str)> = open.iter().map(|i| (i.kind.as_str(), i.id.as_str())).collect();
    for item in body.residue.iter_mut().filter(|item| item.closed_at.is_none()) {
        let ended = until(item).is_some_and(|until| until <= now);
        let gone =
            !OF_LOG.contains(&item.kind.as_str()) && !still.contains(&(item.kind.as_str(), item.id.as_str()));
        if ended || gone || !stands {
            item.closed_at = Some(now.to_string());
            item.known = match mark {
                MarkState::Lifted => Known::Live,
                MarkState::Renewed => Known::Unconfirmed,
                MarkState::Stands => Known::Revoked,
            };
        }
    }
    for item in open {
        let is_known = |i: &&mut ResidueItem| i.kind == item.kind && i.id == item.id && i.closed_at.is_none();
        if let Some(known) = body.residue.iter_mut().find(is_known) {
            known.detail = item.detail;
        } else if body.residue.len() < ITEMS_MAX {
            body.residue.push(ResidueItem {
                since: now.to_string(),
                ..item
            });
        }
    }
    Ok(())
}

fn until(item: &ResidueItem) -> Option<Time> {
    Time::parse(item.until.as_deref()?).ok()
}

/// Enforcement points that did not acknowledge.
fn silent(body: &ReceiptBody) -> Vec<ResidueItem> {
    let open = body.points.iter().filter(|line| line.known != Known::Revoked);
    open.map(|line| {
        let detail = match line.known {
            Known::Live => "it let a call through after the stop was durable: stop the node",
            _ => "no refusal of it is recorded yet; it is asked again",
        };
        item("point", format!("{}@{}", line.point, line.node), detail, None)
    })
    .collect()
}

fn item(kind: &str, id: String, detail: &str, until: Option<Time>) -> ResidueItem {
    ResidueItem {
        kind: kind.to_owned(),
        id,
        detail: detail.to_owned(),
        known: Known::Unconfirmed,
        since: String::new(),
        until: until.map(|at| at.to_string()),
        closed_at: None,
    }
}

/// Secrets of other systems that whoever was stopped holds: they end there, or not at all.
pub(super) async fn held(
    deps: &Deps,
    scope: &MarkScope,
    effect: MarkEffect,
) -> Result<Vec<ResidueItem>, RouteError> {
    let snapshot = deps.cell.load();
    let tenants: Vec<TenantId> = match reach_of(scope) {
        Reach::Tenant(tenant) => vec![tenant],
        _ => snapshot.tenants().map(|(t, _)| t.id.clone()).collect(),
    };
    let mut out = Vec::new();
    for tenant in &tenants {
        let mut reader = deps.store.reader(tenant).await.map_err(|e| store_error(&e))?;
        leases(&mut reader, &snapshot, scope, &mut out).await?;
        if effect == MarkEffect::Kill {
            credentials(&mut reader, &snapshot, scope, &mut out).await?;
        }
    }
    Ok(out)
}

/// Every lease of which something may be left in its system, if its task falls under the scope.
async fn leases(
    reader: &mut Reader,
    snapshot: &Snapshot,
    scope: &MarkScope,
    out: &mut Vec<ResidueItem>,
) -> Result<(), RouteError> {
    let mut after: Option<OpenLease> = None;
    loop {
        let page = reader.lease().open(after.as_ref(), PAGE).await;
        let mut page = page.map_err(|e| store_error(&e))?;
        for lease in &page {
            // Of a task that is over for long, nothing more is known than whose it was.
            let wide = matches!(scope, MarkScope::All | MarkScope::Tenant(_));
            let named = snapshot.task(&lease.task).map_or(wide, |(task, grant)| {
                names_task(scope, &task.id, grant) || names_identity(snapshot, scope, &task.identity)
            });
            if named && out.len() < ITEMS_MAX {
                let detail = "its system has not taken it back yet; open until it has";
                out.push(item("lease", lease.id.to_string(), detail, None));
            }
        }
        match page.pop() {
            Some(last) => after = Some(last),
            None => return Ok(()),
        }
    }
}

/// Every third-party credential that proves an identity of the scope and still opens something.
async fn credentials(
    reader: &mut Reader,
    snapshot: &Snapshot,
    scope: &MarkScope,
    out: &mut Vec<ResidueItem>,
) -> Result<(), RouteError> {
    let mut page = Page::first(PAGE);
    loop {
        let found = reader.third_party().list(page).await;
        let found = found.map_err(|e| store_error(&e))?;
        for credential in &found {
            let lives = !matches!(credential.standing, Standing::Revoked { .. });
            if lives && names_identity(snapshot, scope, &credential.identity) && out.len() < ITEMS_MAX {
                let detail = match credential.target {
                    Some(_) => "its driver makes it invalid in its system; open until that is seen",
                    None => {
                        "no driver knows its system: make it invalid there, then `bailiwick credential revoke`"
                    }
                };
                out.push(item("credential", credential.name.clone(), detail, None));
            }
        }
        match found.last() {
            Some(last) => page = Page::after(&last.id, PAGE),
            None => return Ok(()),
        }
    }
}
