//! `/v1/tenants/{tenant}/transmitters`: issuers of others that tell us what happens there.

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use bailiwick_attest::require_key_set;
use bailiwick_base::{Digest, TransmitterId};
use bailiwick_outbound::{AddressRule, Endpoint};
use bailiwick_signal::{Keys, NewTransmitter, Transmitter, add_transmitter, remove_transmitter};
use bailiwick_store::{StoreError, Tx};
use bailiwick_wire as wire;
use http::StatusCode;

use crate::Deps;
use crate::body::Strict;
use crate::command::{answer, committed, store_error};
use crate::problem::RouteError;
use crate::query::Path;
use crate::session::Session;

pub(crate) async fn add(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    session: Session,
    Strict(body): Strict<wire::NewTransmitter>,
) -> Result<Response, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let plan = NewTransmitter {
        id: deps.mint(&tenant)?,
        issuer: body.issuer.clone(),
        keys: keys(&body)?,
        allow_addresses: body.allow_addresses.clone(),
        danger_plaintext: body.danger_plaintext,
        people: body.people.clone(),
    };
    let doors = deps.clone();
    let receipt = deps
        .command(
            &session,
            &tenant,
            ("transmitters", &body),
            async move |tx: &mut Tx| {
                let others = tx.transmitter().living().await?;
                let made = add_transmitter(plan.clone(), &others, &doors.signals.limits, tx.now())?;
                let shown = to_wire(&doors, &made.after);
                tx.transmitter().apply(made).await?;
                answer(&shown)
            },
        )
        .await?;
    Ok(committed(&receipt, StatusCode::CREATED))
}

pub(crate) async fn list(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    _: Session,
) -> Result<Json<wire::Page<wire::Transmitter>>, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let read = async {
        let mut reader = deps.store.reader(&tenant).await?;
        reader.transmitter().living().await
    };
    let living = read.await.map_err(|e: StoreError| store_error(&e))?;
    let items = living
        .iter()
        .map(|transmitter| to_wire(&deps, transmitter))
        .collect();
    Ok(Json(wire::Page::whole(items)))
}

pub(crate) async fn withdraw(
    State(deps): State<Deps>,
    Path((slug, id)): Path<(String, String)>,
    session: Session,
    Strict(body): Strict<wire::RemoveTransmitter>,
) -> Result<Response, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let id = TransmitterId::parse(&tenant, &id).map_err(|_| RouteError::not_found("transmitter"))?;
    let (path, reason) = (format!("transmitters/{id}/remove"), body.reason.clone());
    let doors = deps.clone();
    let receipt = deps
        .command(&session, &tenant, (&path, &body), async move |tx: &mut Tx| {
            let found = tx.transmitter().lookup(&id).await?;
            let found = found.ok_or_else(|| RouteError::not_found("transmitter"))?;
            let removed = remove_transmitter(found, &reason, tx.now())?;
            let shown = to_wire(&doors, &removed.after);
            tx.transmitter().apply(removed).await?;
            answer(&shown)
        })
        .await?;
    Ok(committed(&receipt, StatusCode::OK))
}

/// What could never work is refused when it is said.
fn keys(body: &wire::NewTransmitter) -> Result<Keys, RouteError> {
    let refused = |detail: String| RouteError::invalid("transmitter.keys", detail);
    let addresses = AddressRule::parse(&body.allow_addresses)
        .map_err(|e| RouteError::invalid("transmitter.address-range", format!("`allow_addresses`: {e}")))?;
    match (&body.jwks, &body.jwks_url) {
        (Some(set), None) => {
            let text = set.to_string();
            require_key_set(&text)
                .map_err(|e| refused(format!("`jwks`: {e}; give public keys, each with a `kid`")))?;
            Ok(Keys::Given(text))
        }
        (None, Some(url)) => {
            Endpoint::parse(url, body.danger_plaintext)
                .and_then(|endpoint| addresses.require_endpoint(&endpoint))
                .map_err(|e| refused(format!("`jwks_url`: {e}")))?;
            Ok(Keys::Url(url.clone()))
        }
        (None, None) => Err(refused("give `jwks` or `jwks_url`".to_owned())),
        (Some(_), Some(_)) => Err(refused("give `jwks` or `jwks_url`, not both".to_owned())),
    }
}

fn to_wire(deps: &Deps, transmitter: &Transmitter) -> wire::Transmitter {
    let own = deps.issuer(transmitter.id.tenant());
    wire::Transmitter {
        id: transmitter.id.to_string(),
        issuer: transmitter.issuer.clone(),
        keys: match &transmitter.keys {
            Keys::Given(set) => format!("given sha256:{}", Digest::of(set.as_bytes())),
            Keys::Url(url) => url.clone(),
        },
        endpoint: format!("{own}/ssf/events"),
        audience: own,
        people: transmitter.people.len(),
        created_at: transmitter.created_at.to_string(),
    }
}
