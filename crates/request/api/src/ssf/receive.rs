//! `POST /t/{tenant}/ssf/events`: what transmitters of others tell us (RFC 8935). What they tell stops; it permits
//! nothing. It is in force and durable before it is acknowledged.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bailiwick_attest::{AttestError, Evidence, IssuerProfile, KeyPlace, KeysError, Told};
use bailiwick_base::{Digest, IdentityId, TenantId, TokenId, limits};
use bailiwick_credential::trust::Method;
use bailiwick_decide::{MarkEffect, MarkScope};
use bailiwick_inventory::State as Standing;
use bailiwick_outbound::AddressRule;
use bailiwick_signal::{Keys, Transmitter};
use bailiwick_signals::{Consequence, Person, consequences};
use bailiwick_store::{Actor, Context, Reach, RequestId, StoreError, Tx};
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use crate::Deps;
use crate::body;
use crate::command::{CommandError, store_error};
use crate::oauth::metadata::served;
use crate::problem::RouteError;
use crate::query::Path;
use crate::stop::Stop;

const SECURITY_EVENT: &str = "application/secevent+jwt";

/// Stops that the record of one event names; each has its own entry anyway.
const SHOWN_MAX: usize = 32;

/// The answer of RFC 8935 §2.3: a code of its list, and words.
struct Wrong(StatusCode, &'static str, String);

impl IntoResponse for Wrong {
    fn into_response(self) -> Response {
        let Self(status, err, description) = self;
        let body = json!({"err": err, "description": description}).to_string();
        let kind = HeaderValue::from_static("application/json");
        let language = HeaderValue::from_static("en");
        let headers = [(header::CONTENT_TYPE, kind), (header::CONTENT_LANGUAGE, language)];
        (status, headers, body).into_response()
    }
}

fn wrong(err: &'static str, description: impl Into<String>) -> Wrong {
    Wrong(StatusCode::BAD_REQUEST, err, description.into())
}

impl From<RouteError> for Wrong {
    /// What is ours to mend is asked for again.
    fn from(error: RouteError) -> Self {
        let status = match error.status() {
            status if status.is_server_error() => status,
            _ => StatusCode::BAD_REQUEST,
        };
        Self(status, "invalid_request", error.text())
    }
}

pub(crate) async fn handler(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    parts: Parts,
    body: Body,
) -> Response {
    let received = deps.clock.monotonic();
    let tenant = match served(&deps, &slug) {
        Ok(tenant) => tenant,
        Err(error) => return error.into_response(),
    };
    match taken(&deps, &tenant, &parts, body, received).await {
        Ok(()) => StatusCode::ACCEPTED.into_response(),
        Err(wrong) => wrong.into_response(),
    }
}

async fn taken(
    deps: &Deps,
    tenant: &TenantId,
    parts: &Parts,
    body: Body,
    received: Duration,
) -> Result<(), Wrong> {
    if !body::is_kind(&parts.headers, SECURITY_EVENT) {
        return Err(wrong(
            "invalid_request",
            format!("content-type must be {SECURITY_EVENT}"),
        ));
    }
    let text = body::read(body, limits::TOKEN_MAX).await?;
    let evidence = Evidence::parse(&text).map_err(|e| wrong("invalid_request", e.to_string()))?;
    let issuer = evidence.untrusted_issuer().unwrap_or_default();
    let found = async {
        let mut reader = deps.store.reader(tenant).await?;
        reader.transmitter().find_by_issuer(issuer).await
    };
    let transmitter = found.await.map_err(|e: StoreError| store_error(&e))?;
    let transmitter = transmitter.ok_or_else(|| {
        let unknown =
            "this tenant takes nothing from that issuer: register it with `bailiwick signal transmitter add`";
        wrong("invalid_issuer", unknown)
    })?;
    let profile = issuer_of(tenant, &transmitter)?;
    let own = deps.issuer(tenant);
    let attester = &deps.federation.attester;
    let told = attester
        .verify_event(&evidence, &profile, &own, deps.clock.now())
        .await;
    let told = told.map_err(|error| refused(&error))?;
    if heard_before(deps, tenant, &told).await? {
        return Ok(());
    }
    let mut stopped = Vec::new();
    for consequence in consequences(&told.events, &told.subject, &transmitter.issuer, &own) {
        for stop in stops(deps, tenant, &transmitter, &told, consequence) {
            stopped.push(format!("{:?}", stop.scope));
            carry_out(deps, stop, received).await?;
        }
    }
    let set = Digest::of(&text);
    note(deps, tenant, &transmitter, &told, (set, stopped)).await?;
    Ok(())
}

fn issuer_of(tenant: &TenantId, transmitter: &Transmitter) -> Result<IssuerProfile, Wrong> {
    let addresses = AddressRule::parse(&transmitter.allow_addresses)
        .map_err(|e| RouteError::broken("what is registered of a transmitter cannot be used", &e))?;
    Ok(IssuerProfile {
        tenant: tenant.clone(),
        method: Method::GenericOidc,
        issuer: transmitter.issuer.clone(),
        keys: match &transmitter.keys {
            Keys::Given(set) => KeyPlace::Given(set.clone()),
            Keys::Url(url) => KeyPlace::Url(url.clone()),
        },
        addresses,
        danger_plaintext: transmitter.danger_plaintext,
    })
}

fn refused(error: &AttestError) -> Wrong {
    let err = match error {
        AttestError::Audience(_) => "invalid_audience",
        AttestError::Issuer => "invalid_issuer",
        AttestError::KeyUnknown => "invalid_key",
        // Our network, or the transmitter's: it may be tried again, and an anonymous caller hears no more of it.
        AttestError::Keys(KeysError::Fetch { .. }) => {
            tracing::warn!(%error, "keys of a transmitter cannot be had");
            let later = "the keys of this issuer cannot be had now".to_owned();
            return Wrong(StatusCode::SERVICE_UNAVAILABLE, "invalid_key", later);
        }
        AttestError::Keys(_) => "invalid_key",
        _ => "invalid_request",
    };
    wrong(err, error.to_string())
}

/// What was told before is taken again, and does nothing.
async fn heard_before(deps: &Deps, tenant: &TenantId, told: &Told) -> Result<bool, Wrong> {
    enum Asked {
        First,
        Store(StoreError),
    }
    impl From<StoreError> for Asked {
        fn from(error: StoreError) -> Self {
            Self::Store(error)
        }
    }
    let context = context(deps, tenant, told)?;
    let asked = deps
        .store
        .transact(context, async move |_: &mut Tx| Err(Asked::First))
        .await;
    match asked {
        Ok(_) => Ok(true),
        Err(Asked::First) => Ok(false),
        Err(Asked::Store(StoreError::IdempotencyReused)) => Err(wrong(
            "invalid_request",
            "its `jti` was used for another security event token",
        )),
        Err(Asked::Store(error)) => Err(store_error(&error).into()),
    }
}

fn context(deps: &Deps, tenant: &TenantId, told: &Told) -> Result<Context, RouteError> {
    let id = deps
        .ids
        .uuid()
        .map_err(|e| RouteError::broken("randomness failed", &e))?;
    let context = Context::new(Reach::from(tenant), Actor::System("transmitter"), RequestId(id));
    Ok(context.idempotent(&told.once.to_string(), told.content))
}

fn stops(
    deps: &Deps,
    tenant: &TenantId,
    transmitter: &Transmitter,
    told: &Told,
    consequence: Consequence,
) -> Vec<Stop> {
    let snapshot = deps.cell.load();
    let event = told
        .events
        .keys()
        .next()
        .and_then(|uri| uri.rsplit('/').next())
        .unwrap_or_default();
    let reason = format!("{event}, told by {}", limits::shown(&transmitter.issuer));
    let suspended = |id: IdentityId| Stop {
        scope: MarkScope::Identity(id),
        effect: MarkEffect::Suspend,
        reason: reason.clone(),
    };
    match consequence {
        Consequence::Owned(person) => {
            let contact = match &person {
                Person::Email(email) => Some(email),
                Person::Subject(sub) => transmitter.people.get(sub),
            };
            let Some(contact) = contact else {
                return Vec::new();
            };
            let owned = snapshot.identities(tenant).filter(|identity| {
                matches!(identity.state, Standing::Active | Standing::Probation)
                    && identity.owner.contact.eq_ignore_ascii_case(contact)
            });
            owned.map(|identity| suspended(identity.id.clone())).collect()
        }
        Consequence::Workload(sub) => {
            let theirs = snapshot.trusts(tenant).filter(|trust| {
                trust.issuer.url == transmitter.issuer && trust.attributes.get("sub") == Some(&sub)
            });
            theirs.map(|trust| suspended(trust.identity.clone())).collect()
        }
        Consequence::OwnToken(jti) => TokenId::parse(tenant, &jti)
            .map(|token| Stop {
                scope: MarkScope::Token(token),
                effect: MarkEffect::Kill,
                reason: reason.clone(),
            })
            .into_iter()
            .collect(),
        Consequence::Nothing => Vec::new(),
    }
}

/// What is stopped already needs nothing more.
async fn carry_out(deps: &Deps, stop: Stop, received: Duration) -> Result<(), Wrong> {
    match deps.stop_told(stop, received).await {
        Ok(_) => Ok(()),
        Err(error) if error.status() == StatusCode::UNPROCESSABLE_ENTITY => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// On record, and known from now on.
async fn note(
    deps: &Deps,
    tenant: &TenantId,
    transmitter: &Transmitter,
    told: &Told,
    (set, stopped): (Digest, Vec<String>),
) -> Result<(), RouteError> {
    let detail = Arc::new(json!({
        "transmitter": transmitter.id.to_string(),
        "jti": limits::shown(&told.jti),
        "events": told.events.keys().map(|uri| limits::shown(uri)).collect::<Vec<_>>(),
        "set": set.to_string(),
        "stopped": stopped.len(),
        "first": stopped.get(..stopped.len().min(SHOWN_MAX)),
    }));
    let context = context(deps, tenant, told)?;
    let work = async move |tx: &mut Tx| -> Result<Vec<u8>, CommandError> {
        tx.note("transmitter.told", detail.as_ref().clone()).await?;
        Ok(Vec::new())
    };
    deps.store.transact(context, work).await?;
    Ok(())
}
