//! `/v1/tenants`

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use bailiwick_base::{SigningAlgorithm, TenantId};
use bailiwick_inventory::{NewTenant, Tenant, add_tenant};
use bailiwick_keys::KeysError;
use bailiwick_store::{Reach, Tx};
use bailiwick_wire as wire;
use http::StatusCode;

use crate::Deps;
use crate::body::Strict;
use crate::command::{answer, committed, request_digest};
use crate::effective::{View, require_not_killed};
use crate::problem::{RouteError, chain};
use crate::session::Session;
use crate::signing_keys;

/// Adds a tenant: its keys first, so that no tenant exists that cannot seal.
pub(crate) async fn add(
    State(deps): State<Deps>,
    session: Session,
    Strict(body): Strict<wire::NewTenant>,
) -> Result<Response, RouteError> {
    let tenant =
        TenantId::parse(&body.tenant).map_err(|e| RouteError::invalid("tenant.malformed", e.to_string()))?;
    let named = body
        .algorithm
        .as_deref()
        .unwrap_or(SigningAlgorithm::default().as_str());
    let algorithm = SigningAlgorithm::parse(named).ok_or_else(|| {
        RouteError::invalid(
            "tenant.algorithm",
            format!("`algorithm`: `{named}` is none of RS256, ES256, EdDSA"),
        )
    })?;
    let mut reference = [0_u8; 8];
    deps.entropy
        .fill(&mut reference)
        .map_err(|e| RouteError::broken("randomness failed", &e))?;
    let wanted = NewTenant {
        id: tenant.clone(),
        name: body.name.clone(),
        employees: body.employees,
        reference: reference.iter().map(|b| format!("{b:02x}")).collect(),
    };
    let transition = add_tenant(wanted, deps.clock.now())
        .map_err(|refusal| RouteError::refused(refusal.code(), &refusal))?;
    make_keys(&deps, &tenant, algorithm).await?;
    let context = deps.context(&session, Reach::from(&tenant), request_digest("tenants", &body)?)?;
    let asked = deps.clone();
    let receipt = deps
        .store
        .transact(context, async move |tx: &mut Tx| {
            require_not_killed(&asked, &transition.after.id)?;
            let keys = signing_keys::first_record(&asked, &transition.after.id, tx.position().0, tx.now())?;
            tx.tenant().add(transition.clone(), algorithm, keys).await?;
            let snapshot = asked.cell.load();
            answer(&to_wire(
                &View::new(&asked, &snapshot),
                &transition.after,
                algorithm,
            ))
        })
        .await?;
    Ok(committed(&receipt, StatusCode::CREATED))
}

/// An RSA key takes a tenth of a second to find: not on a thread that answers calls.
async fn make_keys(deps: &Deps, tenant: &TenantId, algorithm: SigningAlgorithm) -> Result<(), RouteError> {
    if deps.cell.load().tenant(tenant).is_some() {
        return Ok(());
    }
    let (keyring, tenant) = (deps.keyring.clone(), tenant.clone());
    tokio::task::spawn_blocking(move || signing_keys::make_first(&keyring, &tenant, algorithm))
        .await
        .map_err(|e| RouteError::broken("keys could not be made", &e))?
        .map_err(|e| match e {
            KeysError::Holder(_) => RouteError::unavailable(e.code(), chain(&e))
                .hint("look at the holder of the keys, then add the tenant again"),
            KeysError::Io { .. } => RouteError::unavailable("tenant.keys", chain(&e))
                .hint("make room on the disk of the data folder, or make it writable"),
            other => RouteError::new(StatusCode::CONFLICT, "tenant.keys", chain(&other)),
        })
}

pub(crate) async fn list(
    State(deps): State<Deps>,
    _: Session,
) -> Result<Json<wire::Page<wire::Tenant>>, RouteError> {
    let snapshot = deps.cell.load();
    let view = View::new(&deps, &snapshot);
    let items = snapshot
        .tenants()
        .map(|(tenant, algorithm)| to_wire(&view, tenant, algorithm))
        .collect();
    Ok(Json(wire::Page::whole(items)))
}

fn to_wire(view: &View<'_>, tenant: &Tenant, algorithm: SigningAlgorithm) -> wire::Tenant {
    let effective = view.tenant(tenant);
    wire::Tenant {
        tenant: tenant.id.to_string(),
        name: tenant.name.clone(),
        employees: tenant.employees,
        algorithm: algorithm.to_string(),
        issuer: view.issuer(&tenant.id),
        state: tenant.state.as_str().to_owned(),
        effective: effective.state,
        stopped_by: effective.stopped_by,
        created_at: tenant.created_at.to_string(),
    }
}
