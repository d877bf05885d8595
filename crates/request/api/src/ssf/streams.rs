//! `/t/{tenant}/ssf/stream`: a receiver's stream is made, read, changed, replaced and removed (SSF 1.0 §8.1.1).

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bailiwick_base::Secret;
use bailiwick_signal::{Change, Delivery, NewSubscription, Subscription, change, subscribe, withdraw as end};
use bailiwick_signals::{StreamError, StreamRequest, configuration};
use bailiwick_store::{Progress, Tx, WithSecret};
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{Receiver, refused};
use crate::Deps;
use crate::body;
use crate::command::{CommandError, answer, committed, store_error};
use crate::problem::RouteError;
use crate::query::{Path, Query};
use crate::signals::destination;

/// Bytes of an `Authorization` header.
const AUTHORIZATION_MAX: usize = 4_096;

/// `?stream_id=`
#[derive(Deserialize)]
pub(crate) struct Which {
    pub(crate) stream_id: Option<String>,
}

impl Which {
    pub(crate) fn required(&self) -> Result<&str, RouteError> {
        self.stream_id.as_deref().ok_or_else(no_id)
    }
}

pub(crate) fn no_id() -> RouteError {
    RouteError::invalid("signal.field-missing", "`stream_id` is missing: say which stream")
}

pub(crate) async fn create(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    parts: Parts,
    body: Body,
) -> Result<Response, RouteError> {
    let receiver = Receiver::managing(&deps, &slug, &parts)?;
    let (asked, delivery, secret) = whole(&deps, &parts, body).await?;
    let plan = NewSubscription {
        id: deps.mint(&receiver.tenant)?,
        receiver: Some(receiver.identity.clone()),
        delivery,
        asked: asked.wanted(),
        description: asked.description.clone(),
        has_secret: secret.is_some(),
    };
    let doors = deps.clone();
    let receipt = receiver
        .command(&deps, async move |tx: &mut Tx| {
            let others = tx.subscription().living().await?;
            let made = subscribe(plan.clone(), &others, &doors.signals.limits, tx.now());
            let made = made.map_err(|e| refused(&e))?;
            let (shown, id) = (shown(&doors, &made.after), made.after.id.clone());
            tx.subscription().apply(made, sealed(secret.as_ref())).await?;
            // What happened before is not told.
            let progress = Progress {
                position: tx.position().0,
                ..Progress::default()
            };
            tx.subscription().proceed(&id, &progress).await?;
            answer(&shown)
        })
        .await?;
    Ok(committed(&receipt, StatusCode::CREATED))
}

pub(crate) async fn find(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    Query(which): Query<Which>,
    parts: Parts,
) -> Result<Response, RouteError> {
    let receiver = Receiver::reading(&deps, &slug, &parts)?;
    let found = match which.stream_id {
        Some(id) => shown(&deps, &receiver.lookup(&deps, &id).await?),
        None => {
            let living = async {
                let mut reader = deps.store.reader(&receiver.tenant).await?;
                reader.subscription().living().await
            };
            let living: Vec<Subscription> = living
                .await
                .map_err(|e: bailiwick_store::StoreError| store_error(&e))?;
            let own = living
                .iter()
                .filter(|stream| stream.receiver.as_ref() == Some(&receiver.identity));
            Value::Array(own.map(|stream| shown(&deps, stream)).collect())
        }
    };
    Ok(no_store(axum::Json(found).into_response()))
}

pub(crate) async fn update(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    parts: Parts,
    body: Body,
) -> Result<Response, RouteError> {
    let receiver = Receiver::managing(&deps, &slug, &parts)?;
    let asked: StreamRequest = read(&parts, body).await?;
    let delivery = delivery(&deps, &asked)?;
    let (delivery, secret) =
        delivery.map_or((None, None), |(delivery, secret)| (Some(delivery), Some(secret)));
    let wanted = Change {
        secret: secret.as_ref().map(Option::is_some),
        delivery,
        asked: asked.events_requested.clone(),
        description: asked.description.clone().map(Some),
    };
    changed(&deps, receiver, &asked, wanted, secret).await
}

/// What the receiver supplies and leaves out is gone.
pub(crate) async fn replace(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    parts: Parts,
    body: Body,
) -> Result<Response, RouteError> {
    let receiver = Receiver::managing(&deps, &slug, &parts)?;
    let (asked, delivery, secret) = whole(&deps, &parts, body).await?;
    let wanted = Change {
        secret: Some(secret.is_some()),
        delivery: Some(delivery),
        asked: Some(asked.wanted()),
        description: Some(asked.description.clone()),
    };
    changed(&deps, receiver, &asked, wanted, Some(secret)).await
}

pub(crate) async fn withdraw(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    Query(which): Query<Which>,
    parts: Parts,
) -> Result<StatusCode, RouteError> {
    let receiver = Receiver::managing(&deps, &slug, &parts)?;
    let id = receiver.lookup(&deps, which.required()?).await?.id;
    receiver
        .command(&deps, async move |tx: &mut Tx| {
            let found = tx.subscription().lookup(&id).await?;
            let found = found.ok_or_else(|| RouteError::not_found("stream"))?;
            let removed = end(found, "its receiver removed it", tx.now()).map_err(|e| refused(&e))?;
            tx.subscription().apply(removed, WithSecret::Forget).await?;
            Ok(Vec::new())
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn changed(
    deps: &Deps,
    receiver: Receiver,
    asked: &StreamRequest,
    wanted: Change,
    secret: Option<Option<Secret<Vec<u8>>>>,
) -> Result<Response, RouteError> {
    let stream = receiver
        .lookup(deps, asked.stream_id.as_deref().ok_or_else(no_id)?)
        .await?;
    let doors = deps.clone();
    let receipt = receiver
        .command(deps, async move |tx: &mut Tx| {
            let found = tx.subscription().lookup(&stream.id).await?;
            let found = found.ok_or_else(|| RouteError::not_found("stream"))?;
            let changed = change(found, wanted.clone(), tx.now()).map_err(|e| refused(&e))?;
            let shown = shown(&doors, &changed.after);
            let sealing = match &secret {
                None => WithSecret::Keep,
                Some(secret) => sealed(secret.as_ref()),
            };
            tx.subscription().apply(changed, sealing).await?;
            answer(&shown)
        })
        .await?;
    Ok(committed(&receipt, StatusCode::OK))
}

/// A configuration of which nothing is left as it was: without a delivery it is polled.
async fn whole(
    deps: &Deps,
    parts: &Parts,
    body: Body,
) -> Result<(StreamRequest, Delivery, Option<Secret<Vec<u8>>>), RouteError> {
    let asked = read(parts, body).await?;
    let (delivery, secret) = delivery(deps, &asked)?.unwrap_or((Delivery::Poll, None));
    Ok((asked, delivery, secret))
}

async fn read(parts: &Parts, body: Body) -> Result<StreamRequest, RouteError> {
    members(body::whole(&parts.headers, body).await?)
}

/// A message whose members may all be absent: a list is none of it.
pub(super) fn members<T: DeserializeOwned>(value: Value) -> Result<T, RouteError> {
    let wrong = |what: String| RouteError::invalid("request.body", format!("body is {what}"));
    if !value.is_object() {
        return Err(wrong("not an object".to_owned()));
    }
    serde_json::from_value(value).map_err(|error| wrong(error.to_string()))
}

type WithAuthorization = (Delivery, Option<Secret<Vec<u8>>>);

/// How it is delivered, if that could ever work.
fn delivery(deps: &Deps, asked: &StreamRequest) -> Result<Option<WithAuthorization>, RouteError> {
    let wanted = asked
        .delivery()
        .map_err(|e: StreamError| RouteError::invalid("signal.delivery", e.to_string()))?;
    let Some((delivery, authorization)) = wanted else {
        return Ok(None);
    };
    if delivery != Delivery::Poll {
        destination(deps, &delivery)
            .map_err(|e| RouteError::invalid("signal.endpoint", format!("`delivery.endpoint_url`: {e}")))?;
    }
    if let Some(value) = &authorization
        && (value.len() > AUTHORIZATION_MAX || HeaderValue::from_str(value).is_err())
    {
        return Err(RouteError::invalid(
            "signal.authorization",
            format!(
                "`delivery.authorization_header` is not the value of a header of at most {AUTHORIZATION_MAX} bytes"
            ),
        ));
    }
    Ok(Some((
        delivery,
        authorization.map(|value| Secret::new(value.into_bytes())),
    )))
}

fn sealed(secret: Option<&Secret<Vec<u8>>>) -> WithSecret<'_> {
    secret.map_or(WithSecret::Forget, WithSecret::Replace)
}

fn shown(deps: &Deps, stream: &Subscription) -> Value {
    configuration(stream, &deps.issuer(stream.id.tenant()))
}

fn no_store(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl From<bailiwick_signal::Refusal> for CommandError {
    fn from(refusal: bailiwick_signal::Refusal) -> Self {
        Self::Route(RouteError::refused(refusal.code(), &refusal))
    }
}
