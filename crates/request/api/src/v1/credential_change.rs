//! `/v1/tenants/{tenant}/credentials/{id}/correct` and `…/remove`: what was registered wrongly.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use bailiwick_base::{CredentialId, TenantId};
use bailiwick_credential::correct::{self, Correction};
use bailiwick_credential::{Refusal, Target};
use bailiwick_store::{Page, Tx};
use bailiwick_wire as wire;
use http::StatusCode;

use super::credentials::{known, read, to_wire};
use super::place::{self, Named};
use crate::Deps;
use crate::body::Strict;
use crate::command::{CommandError, answer, committed, store_error};
use crate::problem::RouteError;
use crate::query::Path;
use crate::session::Session;

/// Rows of one page.
const PAGE: u32 = 1_000;

/// Sets right what is known about a credential; its secret stays.
pub(crate) async fn correct(
    State(deps): State<Deps>,
    Path((slug, named)): Path<(String, String)>,
    session: Session,
    Strict(body): Strict<wire::CorrectCredential>,
) -> Result<Response, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let id = known(&deps, &tenant, &named).await?.id;
    let target = place::of(&deps, &tenant, Named::of_correction(&body)).await?;
    if target.is_some() {
        require_not_lent(&deps, &id).await?;
    }
    let (doors, asked) = (deps.clone(), body.clone());
    let (path, limits) = (
        format!("credentials/{id}/correct"),
        deps.credential_limits.clone(),
    );
    let receipt = deps
        .command(&session, &tenant, (&path, &body), async move |tx: &mut Tx| {
            let known = read(tx, &id).await?;
            let wanted = correction(&doors, &known.identity, &asked, target.clone())?;
            let right = correct::correct(known, wanted, &limits, tx.now())?;
            crate::rotation::require_owner(&doors, &right.after)?;
            require_alone(tx, &right.after).await?;
            let shown = to_wire(&doors, &right.after);
            tx.third_party()
                .apply(right, bailiwick_store::Sealing::Keep)
                .await?;
            answer(&shown)
        })
        .await?;
    Ok(committed(&receipt, StatusCode::OK))
}

fn correction(
    deps: &Deps,
    owner: &bailiwick_base::IdentityId,
    body: &wire::CorrectCredential,
    target: Option<Target>,
) -> Result<Correction, RouteError> {
    let identity = match &body.identity {
        Some(named) => Some(super::identity(deps, owner.tenant(), named)?),
        None => None,
    };
    let holder = deps
        .cell
        .load()
        .identity(identity.as_ref().unwrap_or(owner))
        .cloned();
    Ok(Correction {
        identity,
        identity_expires_at: holder
            .ok_or_else(|| RouteError::not_found("identity"))?
            .expires_at,
        expires_at: body
            .expires_at
            .as_deref()
            .map(|t| super::time("expires_at", t))
            .transpose()?,
        every: body.every.map(Duration::from_secs),
        overlap: body.overlap.map(Duration::from_secs),
        consumers: body.consumers.clone(),
        target,
        reason: body.reason.clone(),
    })
}

/// No other credential is rotated over what this one is.
pub(super) async fn require_alone(
    tx: &mut Tx,
    wanted: &bailiwick_credential::ThirdParty,
) -> Result<(), CommandError> {
    match tx.third_party().rival(wanted).await? {
        // Of the same name: that is said instead.
        Some(other) if other.name == wanted.name => Ok(()),
        Some(other) => Err(Refusal::TargetTaken(other.name).into()),
        None => Ok(()),
    }
}

/// Takes a registration out. What was recorded of it stays in the state log.
pub(crate) async fn withdraw(
    State(deps): State<Deps>,
    Path((slug, named)): Path<(String, String)>,
    session: Session,
    Strict(body): Strict<wire::RotationRequest>,
) -> Result<Response, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let id = known(&deps, &tenant, &named).await?.id;
    require_not_lent(&deps, &id).await?;
    require_manages_none(&deps, &tenant, &id).await?;
    let (doors, reason) = (deps.clone(), body.reason.clone());
    let path = format!("credentials/{id}/remove");
    let receipt = deps
        .command(&session, &tenant, (&path, &body), async move |tx: &mut Tx| {
            if let Some(server) = tx.server().opened_with(&id).await? {
                return Err(Refusal::CredentialOpens(server.to_string()).into());
            }
            let out = correct::withdraw(read(tx, &id).await?, &reason)?;
            let shown = to_wire(&doors, &out.after);
            tx.third_party().withdraw(out).await?;
            answer(&shown)
        })
        .await?;
    Ok(committed(&receipt, StatusCode::OK))
}

/// What was made from it is taken back where it was made.
async fn require_not_lent(deps: &Deps, id: &CredentialId) -> Result<(), RouteError> {
    let broken = |e| store_error(&e);
    let mut reader = deps.store.reader(id.tenant()).await.map_err(broken)?;
    let mut last = None;
    loop {
        let page = reader.lease().open(last.as_ref(), PAGE).await.map_err(broken)?;
        for open in &page {
            let lease = reader.lease().lookup(&open.id).await.map_err(broken)?;
            if lease.is_some_and(|lease| lease.source == *id) {
                return Err(refused(&Refusal::CredentialLent(open.id.to_string())));
            }
        }
        if page.len() < PAGE as usize {
            return Ok(());
        }
        last = page.into_iter().next_back();
    }
}

/// Nothing is rotated with it.
async fn require_manages_none(deps: &Deps, tenant: &TenantId, id: &CredentialId) -> Result<(), RouteError> {
    let broken = |e| store_error(&e);
    let mut reader = deps.store.reader(tenant).await.map_err(broken)?;
    let mut page = Page::first(PAGE);
    loop {
        let rows = reader.third_party().list(page).await.map_err(broken)?;
        let managed = rows.iter().find(|other| {
            let manager = other.target.as_ref().and_then(Target::manager);
            let is_over = matches!(other.standing, bailiwick_credential::Standing::Revoked { .. });
            other.id != *id && manager == Some(id) && !is_over
        });
        if let Some(other) = managed {
            return Err(refused(&Refusal::CredentialManages(other.name.clone())));
        }
        match rows.last() {
            Some(last) if rows.len() == PAGE as usize => page = Page::after(&last.id, PAGE),
            _ => return Ok(()),
        }
    }
}

fn refused(refusal: &Refusal) -> RouteError {
    RouteError::refused(refusal.code(), refusal)
}
