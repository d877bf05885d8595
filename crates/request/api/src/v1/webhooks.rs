//! `/v1/tenants/{tenant}/webhooks`: where the tenant is told what happens, as Standard Webhooks says.

use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use bailiwick_base::{Secret, SubscriptionId, json};
use bailiwick_signal::{Delivery, EventKind, NewSubscription, Place, renew_secret, subscribe};
use bailiwick_signals::{Secrets, secret_text};
use bailiwick_store::{Progress, Tx, WithSecret};
use bailiwick_wire as wire;
use http::StatusCode;

use crate::Deps;
use crate::body::Strict;
use crate::command::{CommandError, answer, committed};
use crate::problem::RouteError;
use crate::query::Path;
use crate::session::Session;
use crate::signals::destination;

/// The longest time for which two secrets sign.
const OVERLAP_MAX: u64 = 7 * 86_400;
/// Bytes of what is sealed.
const SEALED_MAX: usize = 8 * 1024;

pub(crate) async fn add(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    session: Session,
    Strict(body): Strict<wire::NewWebhook>,
) -> Result<Response, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let (delivery, asked) = wanted(&deps, &body)?;
    let plan = NewSubscription {
        id: deps.mint(&tenant)?,
        receiver: None,
        delivery,
        asked,
        description: body.description.clone(),
        has_secret: true,
    };
    let secrets = Secrets::first(&random(&deps)?);
    let doors = deps.clone();
    let receipt = deps
        .command(
            &session,
            &tenant,
            ("webhooks", &body),
            async move |tx: &mut Tx| {
                let others = tx.subscription().living().await?;
                let made = subscribe(plan.clone(), &others, &doors.signals.limits, tx.now())?;
                let id = made.after.id.clone();
                let sealed = sealed(&secrets)?;
                tx.subscription()
                    .apply(made, WithSecret::Replace(&sealed))
                    .await?;
                let progress = Progress {
                    position: tx.position().0,
                    ..Progress::default()
                };
                tx.subscription().proceed(&id, &progress).await?;
                answer(&wire::WebhookSecret {
                    id: id.to_string(),
                    secret: secret_text(&secrets),
                    former_until: None,
                })
            },
        )
        .await?;
    Ok(committed(&receipt, StatusCode::CREATED))
}

/// Where it goes and what is told there, if that could ever work.
fn wanted(deps: &Deps, body: &wire::NewWebhook) -> Result<(Delivery, Vec<String>), RouteError> {
    let delivery = Delivery::Webhook(Place {
        url: body.url.clone(),
        allow_addresses: body.allow_addresses.clone(),
        danger_plaintext: body.danger_plaintext,
    });
    destination(deps, &delivery)
        .map_err(|e| RouteError::invalid("signal.endpoint", format!("`url`: {e}")))?;
    if let Some(unknown) = body.events.iter().find(|event| EventKind::parse(event).is_none()) {
        let known = EventKind::REQUESTED.map(EventKind::as_str).join(", ");
        let detail = format!(
            "`{}` is not told: `events` are of {known}",
            bailiwick_base::limits::shown(unknown)
        );
        return Err(RouteError::invalid("signal.events", detail));
    }
    let asked = if body.events.is_empty() {
        EventKind::REQUESTED.map(|kind| kind.as_str().to_owned()).to_vec()
    } else {
        body.events.clone()
    };
    Ok((delivery, asked))
}

pub(crate) async fn rotate(
    State(deps): State<Deps>,
    Path((slug, id)): Path<(String, String)>,
    session: Session,
    Strict(body): Strict<wire::RotateWebhook>,
) -> Result<Response, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let id = SubscriptionId::parse(&tenant, &id).map_err(|_| RouteError::not_found("subscription"))?;
    if body.overlap_secs > OVERLAP_MAX {
        let detail = format!("`overlap_secs` is more than {OVERLAP_MAX}");
        return Err(RouteError::invalid("signal.limit", detail));
    }
    let (path, bytes) = (format!("webhooks/{id}/rotate"), random(&deps)?);
    let overlap = Duration::from_secs(body.overlap_secs);
    let receipt = deps
        .command(&session, &tenant, (&path, &body), async move |tx: &mut Tx| {
            let found = tx.subscription().lookup(&id).await?;
            let found = found
                .filter(|found| matches!(found.delivery, Delivery::Webhook(_)))
                .ok_or_else(|| RouteError::not_found("subscription"))?;
            let former = tx.subscription().reveal(&id).await?;
            let renewed = renew_secret(found, tx.now())?;
            let former = former.ok_or_else(|| RouteError::not_found("subscription"))?;
            let until = tx.now().after(overlap);
            let secrets = opened(&former)?.next(&bytes, until);
            let sealed = sealed(&secrets)?;
            tx.subscription()
                .apply(renewed, WithSecret::Replace(&sealed))
                .await?;
            answer(&wire::WebhookSecret {
                id: id.to_string(),
                secret: secret_text(&secrets),
                former_until: Some(until.to_string()),
            })
        })
        .await?;
    Ok(committed(&receipt, StatusCode::OK))
}

fn random(deps: &Deps) -> Result<[u8; 32], RouteError> {
    let mut bytes = [0_u8; 32];
    let filled = deps.entropy.fill(&mut bytes);
    filled.map_err(|e| RouteError::broken("randomness failed", &e))?;
    Ok(bytes)
}

fn sealed(secrets: &Secrets) -> Result<Secret<Vec<u8>>, CommandError> {
    let bytes = serde_json::to_vec(secrets);
    let bytes = bytes.map_err(|e| RouteError::broken("secrets cannot be written", &e))?;
    Ok(Secret::new(bytes))
}

fn opened(sealed: &Secret<Vec<u8>>) -> Result<Secrets, CommandError> {
    let secrets = json::parse_as(sealed.reveal(), SEALED_MAX);
    Ok(secrets.map_err(|e| RouteError::broken("secrets cannot be read", &e))?)
}
