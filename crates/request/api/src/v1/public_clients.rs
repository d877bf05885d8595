//! `/v1/tenants/{tenant}/public-clients`: who may send a browser.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use bailiwick_base::ClientId;
use bailiwick_credential::consent::{
    ClientSource, PublicClient, PublicClientPlan, register_public_client, remove_public_client,
};
use bailiwick_store::Tx;
use bailiwick_wire as wire;
use http::StatusCode;

use crate::Deps;
use crate::body::Strict;
use crate::command::{answer, committed};
use crate::effective::require_not_killed;
use crate::problem::RouteError;
use crate::query::Path;
use crate::session::Session;

pub(crate) async fn add(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    session: Session,
    Strict(body): Strict<wire::NewPublicClient>,
) -> Result<Response, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let expires_at = body
        .expires_at
        .as_deref()
        .map(|t| super::time("expires_at", t))
        .transpose()?;
    let (source, name) = (source(&body)?, body.name.clone());
    let (id, doors) = (deps.mint(&tenant)?, deps.clone());
    let receipt = deps
        .command(
            &session,
            &tenant,
            ("public-clients", &body),
            async move |tx: &mut Tx| {
                let id: ClientId = id.clone();
                require_not_killed(&doors, id.tenant())?;
                let plan = PublicClientPlan {
                    id,
                    name: name.clone(),
                    source: source.clone(),
                    expires_at,
                };
                let transition = register_public_client(plan, &doors.credential_limits, tx.now())?;
                let shown = to_wire(&transition.after);
                tx.public_client().apply(transition).await?;
                answer(&shown)
            },
        )
        .await?;
    Ok(committed(&receipt, StatusCode::CREATED))
}

pub(crate) async fn withdraw(
    State(deps): State<Deps>,
    Path((slug, id)): Path<(String, String)>,
    session: Session,
    Strict(body): Strict<wire::RemovePublicClient>,
) -> Result<Response, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let id = ClientId::parse(&tenant, &id).map_err(|_| RouteError::not_found("client"))?;
    let (path, reason) = (format!("public-clients/{id}/remove"), body.reason.clone());
    let receipt = deps
        .command(&session, &tenant, (&path, &body), async move |tx: &mut Tx| {
            let client = tx
                .public_client()
                .lookup(&id)
                .await?
                .ok_or_else(|| RouteError::not_found("client"))?;
            let transition = remove_public_client(client, &reason, tx.now())?;
            let shown = to_wire(&transition.after);
            tx.public_client().apply(transition).await?;
            answer(&shown)
        })
        .await?;
    Ok(committed(&receipt, StatusCode::OK))
}

pub(crate) async fn list(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    _: Session,
) -> Result<Json<wire::Page<wire::PublicClient>>, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let snapshot = deps.cell.load();
    let items = snapshot
        .public_clients(&tenant)
        .map(|client| to_wire(client))
        .collect();
    Ok(Json(wire::Page::whole(items)))
}

fn source(body: &wire::NewPublicClient) -> Result<ClientSource, RouteError> {
    let either = || {
        RouteError::invalid(
            "client.source",
            "give `redirects` for one client, or `documents` for clients that describe themselves",
        )
    };
    for range in &body.allow_addresses {
        bailiwick_outbound::AddressRange::parse(range)
            .map_err(|e| RouteError::invalid("trust.address-range", e.to_string()))?;
    }
    match (&body.documents, body.redirects.as_slice()) {
        (Some(below), []) => Ok(ClientSource::Documents {
            below: below.clone(),
            allow_addresses: body.allow_addresses.clone(),
            danger_plaintext: body.danger_plaintext,
        }),
        (None, [_, ..]) if body.allow_addresses.is_empty() && !body.danger_plaintext => {
            Ok(ClientSource::Registered {
                redirects: body.redirects.clone(),
            })
        }
        _ => Err(either()),
    }
}

fn to_wire(client: &PublicClient) -> wire::PublicClient {
    wire::PublicClient {
        client_id: client.id.to_string(),
        name: client.name.clone(),
        redirects: client.redirects().to_vec(),
        documents: match &client.source {
            ClientSource::Documents { below, .. } => Some(below.clone()),
            ClientSource::Registered { .. } => None,
        },
        created_at: client.created_at.to_string(),
        expires_at: client.expires_at.to_string(),
    }
}
