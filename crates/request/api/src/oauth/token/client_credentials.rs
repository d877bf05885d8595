//! client_credentials with `private_key_jwt` (RFC 6749 §4.4, RFC 7523).
//!
//! The task is named by the `task` parameter; without one, the identity's only open task is meant.

use bailiwick_base::{TaskId, TenantId};
use bailiwick_credential::{ClientProof, Confirmation, TaskState};
use bailiwick_wire as wire;

use super::{composition, details, require_resource};
use crate::Deps;
use crate::issue::{self, Requester};
use crate::oauth::client::authenticate;
use crate::oauth::error::{OauthError, bad, refused};
use crate::oauth::form::Form;
use crate::oauth::proof::Shown;

pub(super) async fn granted(
    deps: &Deps,
    tenant: &TenantId,
    form: &Form,
    shown: &Shown,
) -> Result<wire::Token, OauthError> {
    let requester = authenticate(deps, tenant, form, shown.certificate()).await?;
    composition::settle(deps, &requester).await?;
    require_resource(deps, tenant, form)?;
    let task = task_of(deps, tenant, form, &requester)?;
    let requested = details::requested(deps, form, &task, &requester)?;
    let bound = bound(deps, tenant, &requester, shown)?;
    let issued = issue::for_task(deps, &task, 1, requester, requested.as_ref(), bound)
        .await
        .map_err(|e| refused(&e))?;
    let token = issued.tokens.into_iter().next();
    token
        .map(|token| details::told(deps, form, &task, token))
        .ok_or_else(|| bad("invalid_grant", "no token was issued"))
}

/// What the token of this requester will be bound to: what its client is registered for, or what it shows.
pub(super) fn bound(
    deps: &Deps,
    tenant: &TenantId,
    requester: &Requester,
    shown: &Shown,
) -> Result<Option<Confirmation>, OauthError> {
    match requester {
        Requester::Client(id, ..) => {
            let snapshot = deps.cell.load();
            let client = snapshot.client(id);
            let required = client.map_or((ClientProof::Dpop, None), |c| (c.proof, c.certificate));
            shown.bind(deps, tenant, &id.to_string(), required)
        }
        Requester::Workload(rule, ..) => {
            shown.bind(deps, tenant, &rule.to_string(), (ClientProof::None, None))
        }
        Requester::Consent(bearer, _) => {
            let client = &bearer.claims.client;
            shown.bind(deps, tenant, client, (ClientProof::None, None))
        }
        Requester::Holder(_) | Requester::Operator => Ok(None),
    }
}

pub(super) fn task_of(
    deps: &Deps,
    tenant: &TenantId,
    form: &Form,
    requester: &Requester,
) -> Result<TaskId, OauthError> {
    if let Some(named) = form.get("task") {
        return TaskId::parse(tenant, named).map_err(|e| bad("invalid_request", format!("`task`: {e}")));
    }
    let (Requester::Client(_, identity, _) | Requester::Workload(_, identity, _)) = requester else {
        return Err(bad("invalid_request", "parameter `task` is missing"));
    };
    let snapshot = deps.cell.load();
    let now = deps.clock.now();
    let mut open = snapshot
        .tasks(tenant)
        .filter(|(t, _)| t.identity == *identity && t.state == TaskState::Open && t.closes_at > now)
        .map(|(t, _)| t.id.clone());
    match (open.next(), open.next()) {
        (Some(task), None) => Ok(task),
        (None, _) => Err(bad(
            "invalid_grant",
            "this identity has no open task; have one opened first",
        )),
        (Some(_), Some(_)) => Err(bad(
            "invalid_request",
            "this identity has several open tasks; name one with `task`",
        )),
    }
}
