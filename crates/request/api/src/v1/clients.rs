//! `/v1/tenants/{tenant}/clients`

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use bailiwick_base::{ClientId, Digest, limits};
use bailiwick_credential::{self as credential, Client, ClientProof, ClientRegistration};
use bailiwick_store::Tx;
use bailiwick_wire as wire;
use http::StatusCode;

use crate::Deps;
use crate::body::Strict;
use crate::command::{answer, committed};
use crate::problem::RouteError;
use crate::query::Path;
use crate::session::Session;

pub(crate) async fn add(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    session: Session,
    Strict(body): Strict<wire::NewClient>,
) -> Result<Response, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let identity = super::identity(&deps, &tenant, &body.identity)?;
    let jwk = bailiwick_base::canonical::to_vec(&body.jwk)
        .map_err(|e| RouteError::invalid("client.jwk", format!("`jwk`: {e}")))?;
    let (proof, certificate) = binding(&body)?;
    let expires_at = body
        .expires_at
        .as_deref()
        .map(|t| super::time("expires_at", t))
        .transpose()?;
    let id = deps
        .ids
        .mint(&tenant)
        .map_err(|e| RouteError::broken("randomness failed", &e))?;
    let (doors, limits) = (deps.clone(), deps.credential_limits.clone());
    let receipt = deps
        .command(&session, &tenant, ("clients", &body), async move |tx: &mut Tx| {
            let holder = tx
                .identity()
                .lookup(&identity)
                .await?
                .ok_or_else(|| RouteError::not_found("identity"))?;
            let latest = holder.expires_at.min(tx.now().after(limits.client_lifetime_max));
            let wanted = ClientRegistration {
                id: id.clone(),
                identity: identity.clone(),
                identity_expires_at: holder.expires_at,
                algorithm: None,
                jwk: jwk.clone(),
                expires_at: expires_at.unwrap_or(latest),
                proof,
                certificate,
            };
            let transition = credential::register_client(wanted, &limits, tx.now())?;
            let shown = to_wire(&doors, &transition.after);
            tx.client().apply(transition).await?;
            answer(&shown)
        })
        .await?;
    Ok(committed(&receipt, StatusCode::CREATED))
}

pub(crate) async fn withdraw(
    State(deps): State<Deps>,
    Path((slug, id)): Path<(String, String)>,
    session: Session,
    Strict(body): Strict<wire::RemoveClient>,
) -> Result<Response, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let id = ClientId::parse(&tenant, &id).map_err(|_| RouteError::not_found("client"))?;
    let (path, reason) = (format!("clients/{id}/remove"), body.reason.clone());
    let doors = deps.clone();
    let receipt = deps
        .command(&session, &tenant, (&path, &body), async move |tx: &mut Tx| {
            let client = tx
                .client()
                .lookup(&id)
                .await?
                .ok_or_else(|| RouteError::not_found("client"))?;
            let transition = credential::remove_client(client, &reason, tx.now())?;
            let shown = to_wire(&doors, &transition.after);
            tx.client().apply(transition).await?;
            answer(&shown)
        })
        .await?;
    Ok(committed(&receipt, StatusCode::OK))
}

/// What the tokens of the client will be bound to, and the certificate by which it is known.
fn binding(body: &wire::NewClient) -> Result<(ClientProof, Option<Digest>), RouteError> {
    let proof = match body.proof.as_deref() {
        None => ClientProof::usual(body.certificate.is_some()),
        Some(word) => ClientProof::parse(word).ok_or_else(|| {
            let detail = format!(
                "`proof`: `{}` is not one of dpop, mtls, none",
                limits::shown(word)
            );
            RouteError::invalid("client.proof", detail)
        })?,
    };
    let certificate = match body.certificate.as_deref() {
        None => None,
        Some(text) => Some(Digest::from_base64url(text).ok_or_else(|| {
            let detail = "`certificate`: it has to be the base64url SHA-256 of the DER of the certificate";
            RouteError::invalid("client.certificate", detail)
        })?),
    };
    Ok((proof, certificate))
}

pub(crate) async fn list(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    _: Session,
) -> Result<Json<wire::Page<wire::Client>>, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let snapshot = deps.cell.load();
    let now = deps.clock.now();
    let alive = snapshot.clients(&tenant).filter(|c| now < c.expires_at);
    let mut items: Vec<wire::Client> = alive.map(|c| to_wire(&deps, c)).collect();
    items.sort_by(|a, b| a.client_id.cmp(&b.client_id));
    Ok(Json(wire::Page::whole(items)))
}

fn to_wire(deps: &Deps, client: &Client) -> wire::Client {
    wire::Client {
        client_id: client.id.to_string(),
        identity: client.identity.to_string(),
        identity_name: super::name_of(deps, &client.identity),
        algorithm: client.algorithm.to_string(),
        proof: client.proof.as_str().to_owned(),
        certificate: client.certificate.map(|c| c.to_base64url()),
        created_at: client.created_at.to_string(),
        expires_at: client.expires_at.to_string(),
    }
}
