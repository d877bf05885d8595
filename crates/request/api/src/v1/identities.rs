//! `/v1/tenants/{tenant}/identities`

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use bailiwick_base::AgentLabel;
use bailiwick_decide::MarkEffect;
use bailiwick_inventory::{self as inventory, Identity, Kind, Labels, Registration};
use bailiwick_store::Tx;
use bailiwick_wire as wire;
use http::StatusCode;

use super::composition;
use crate::Deps;
use crate::body::Strict;
use crate::command::{answer, committed};
use crate::effective::{View, require_not_killed};
use crate::problem::RouteError;
use crate::query::Path;
use crate::received::Received;
use crate::session::Session;

pub(crate) async fn add(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    session: Session,
    Strict(body): Strict<wire::NewIdentity>,
) -> Result<Response, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let wanted = registration(&deps, &tenant, &body)?;
    let transition = inventory::register(wanted, &deps.limits, deps.clock.now())
        .map_err(|refusal| RouteError::refused(refusal.code(), &refusal))?;
    let asked = deps.clone();
    let receipt = deps
        .command(
            &session,
            &tenant,
            ("identities", &body),
            async move |tx: &mut Tx| {
                require_not_killed(&asked, transition.after.id.tenant())?;
                tx.identity().apply(transition.clone()).await?;
                answer(&to_wire(&asked, &transition.after))
            },
        )
        .await?;
    Ok(committed(&receipt, StatusCode::CREATED))
}

fn registration(
    deps: &Deps,
    tenant: &bailiwick_base::TenantId,
    body: &wire::NewIdentity,
) -> Result<Registration, RouteError> {
    let kind = Kind::parse(&body.kind).ok_or_else(|| {
        let kinds: Vec<&str> = Kind::ALL.iter().map(|k| k.as_str()).collect();
        RouteError::invalid(
            "identity.kind",
            format!("`kind`: `{}` is none of {}", body.kind, kinds.join(", ")),
        )
    })?;
    let agent = body
        .labels
        .agent
        .as_deref()
        .map(AgentLabel::parse)
        .transpose()
        .map_err(|e| RouteError::invalid("identity.agent-label", e.to_string()))?;
    Ok(Registration {
        id: deps
            .ids
            .mint(tenant)
            .map_err(|e| RouteError::broken("randomness failed", &e))?,
        kind,
        name: body.name.clone(),
        platform: body.platform.clone().unwrap_or_else(|| "bailiwick".to_owned()),
        owner: super::owner(body.owner.clone()),
        application: body.application.clone(),
        purpose: body.purpose.clone(),
        labels: Labels {
            agent,
            workflow: body.labels.workflow.clone(),
        },
        expires_at: body
            .expires_at
            .as_deref()
            .map(|t| super::time("expires_at", t))
            .transpose()?,
    })
}

pub(crate) async fn list(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    _: Session,
) -> Result<Json<wire::Page<wire::Identity>>, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let snapshot = deps.cell.load();
    let mut items: Vec<wire::Identity> = snapshot
        .identities(&tenant)
        .map(|i| shown(&View::new(&deps, &snapshot), i))
        .collect();
    items.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    Ok(Json(wire::Page::whole(items)))
}

pub(crate) async fn find(
    State(deps): State<Deps>,
    Path((slug, named)): Path<(String, String)>,
    _: Session,
) -> Result<Json<wire::Identity>, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let id = super::identity(&deps, &tenant, &named)?;
    let snapshot = deps.cell.load();
    let identity = snapshot
        .identity(&id)
        .ok_or_else(|| RouteError::not_found("identity"))?;
    Ok(Json(shown(&View::new(&deps, &snapshot), identity)))
}

pub(crate) async fn activate(
    State(deps): State<Deps>,
    Path((slug, named)): Path<(String, String)>,
    session: Session,
    Strict(body): Strict<wire::Activation>,
) -> Result<Response, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let id = super::identity(&deps, &tenant, &named)?;
    let seen = body.composition.as_deref().map(composition::digest).transpose()?;
    let asked = format!("identities/{id}/activate");
    let doors = deps.clone();
    let receipt = deps
        .command(&session, &tenant, (&asked, &body), async move |tx: &mut Tx| {
            let identity = tx
                .identity()
                .lookup(&id)
                .await?
                .ok_or_else(|| RouteError::not_found("identity"))?;
            inventory::require_composition(&identity, seen)?;
            let transition = inventory::activate(identity, tx.now())?;
            let shown = to_wire(&doors, &transition.after);
            tx.identity().apply(transition).await?;
            answer(&shown)
        })
        .await?;
    Ok(committed(&receipt, StatusCode::OK))
}

/// Suspending and retiring stop credentials too: they go through the kill path, which denies in memory first.
pub(crate) async fn suspend(
    State(deps): State<Deps>,
    Path((slug, named)): Path<(String, String)>,
    command: Received<wire::StateChange>,
) -> Result<Response, RouteError> {
    super::kill::stop_identity(&deps, &slug, &named, &command, MarkEffect::Suspend).await
}

pub(crate) async fn retire(
    State(deps): State<Deps>,
    Path((slug, named)): Path<(String, String)>,
    command: Received<wire::StateChange>,
) -> Result<Response, RouteError> {
    super::kill::stop_identity(&deps, &slug, &named, &command, MarkEffect::Kill).await
}

pub(crate) async fn resume(
    State(deps): State<Deps>,
    Path((slug, named)): Path<(String, String)>,
    session: Session,
    Strict(body): Strict<wire::StateChange>,
) -> Result<Response, RouteError> {
    super::kill::resume_identity(&deps, &session, &slug, &named, body).await
}

pub(crate) fn to_wire(deps: &Deps, identity: &Identity) -> wire::Identity {
    shown(&View::new(deps, &deps.cell.load()), identity)
}

fn shown(view: &View<'_>, identity: &Identity) -> wire::Identity {
    let effective = view.identity(identity);
    wire::Identity {
        id: identity.id.to_string(),
        tenant: identity.id.tenant().to_string(),
        name: identity.name.clone(),
        kind: identity.kind.to_string(),
        state: identity.state.to_string(),
        effective: effective.state,
        stopped_by: effective.stopped_by,
        state_reason: identity.reason(),
        composition: identity.composition.as_ref().map(composition::to_wire),
        origin: identity.origin.to_string(),
        platform: identity.platform.clone(),
        owner: wire::Owner {
            team: identity.owner.team.clone(),
            contact: identity.owner.contact.clone(),
        },
        application: identity.application.clone(),
        purpose: identity.purpose.clone(),
        labels: wire::Labels {
            agent: identity.labels.agent.as_ref().map(ToString::to_string),
            workflow: identity.labels.workflow.clone(),
        },
        created_at: identity.created_at.to_string(),
        expires_at: identity.expires_at.to_string(),
        changed_at: identity.changed_at.to_string(),
    }
}
