//! `/v1/tenants/{tenant}/consents`: operators answer clients whose browser waits.

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bailiwick_base::{ConsentId, Digest, TaskId, TenantId, Time};
use bailiwick_credential::consent::{Consent, ConsentPlan, give_consent};
use bailiwick_decide::{Arguments, Bearer, Call, Door, NamedEntity, Principal, Target};
use bailiwick_store::{Page, StoreError, Tx};
use bailiwick_wire as wire;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Map, json};
use smallvec::SmallVec;
use std::sync::Arc;
use std::time::Duration;

use crate::Deps;
use crate::body::Strict;
use crate::command::{CommandError, answer, store_error};
use crate::effective::require_not_killed;
use crate::oauth::authorize::{Asking, Stage, Unfound, WAIT, host_of, letters};
use crate::problem::RouteError;
use crate::query::Path;
use crate::session::Session;

/// Consents in a page.
const PAGE: u32 = 1_000;
/// Pages of a list.
const PAGES_MAX: usize = 10;

pub(crate) async fn list(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    _: Session,
) -> Result<Json<wire::Consents>, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let found = living(&deps, &tenant).await.map_err(|e| store_error(&e))?;
    let items = found.iter().map(|consent| to_wire(&deps, consent));
    Ok(Json(wire::Consents {
        waiting: deps
            .waiting
            .list(&tenant, deps.clock.now())
            .into_iter()
            .map(waiting)
            .collect(),
        items: items.collect::<Result<_, _>>()?,
    }))
}

/// Consents that are not over, at most [`PAGES_MAX`] pages of them.
async fn living(deps: &Deps, tenant: &TenantId) -> Result<Vec<Consent>, StoreError> {
    let now = deps.clock.now();
    let mut reader = deps.store.reader(tenant).await?;
    let mut found: Vec<Consent> = Vec::new();
    for _ in 0..PAGES_MAX {
        let page = match found.last() {
            None => Page::first(PAGE),
            Some(last) => Page::after(&last.id, PAGE),
        };
        let more = reader.consent().list(page, now).await?;
        let is_last = more.len() < PAGE as usize;
        found.extend(more);
        if is_last {
            break;
        }
    }
    Ok(found)
}

pub(crate) async fn find(
    State(deps): State<Deps>,
    Path((slug, code)): Path<(String, String)>,
    _: Session,
) -> Result<Json<wire::WaitingConsent>, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let found = deps.waiting.find(&tenant, &code, deps.clock.now());
    found
        .map(|found| Json(waiting(found)))
        .ok_or_else(|| unfound(Unfound::Unknown))
}

pub(crate) async fn allow(
    State(deps): State<Deps>,
    Path((slug, code)): Path<(String, String)>,
    session: Session,
    Strict(body): Strict<wire::AllowConsent>,
) -> Result<Response, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let task = TaskId::parse(&tenant, &body.task).map_err(|_| RouteError::not_found("task"))?;
    let word = letters(&deps).map_err(|e| RouteError::broken("randomness failed", &e))?;
    let (place, asking) = hold(&deps, &tenant, &code)?;
    let given = give(&deps, &session, &task, asking).await;
    let stage = match &given {
        Ok(consent) => Stage::Allowed {
            consent: consent.id.clone(),
            word: word.clone(),
            tries: 0,
        },
        Err(_) => Stage::Waiting,
    };
    deps.waiting.settle(&tenant, &place, stage, deps.clock.now());
    let (one, other) = word.split_at_checked(4).unwrap_or((&word, ""));
    let allowed = wire::AllowedConsent {
        consent: to_wire(&deps, &given?)?,
        word: format!("{one}-{other}"),
    };
    let mut response = (StatusCode::CREATED, Json(allowed)).into_response();
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

async fn give(deps: &Deps, session: &Session, task: &TaskId, asking: Asking) -> Result<Consent, RouteError> {
    let tenant = task.tenant();
    let (id, token) = (deps.mint(tenant)?, deps.mint(tenant)?);
    let (task, doors) = (task.clone(), deps.clone());
    let asked = (format!("consents/{id}"), asking.client.clone());
    let given_by = format!("operator:{}", session.operator);
    let made: Arc<std::sync::OnceLock<Consent>> = Arc::default();
    let out = Arc::clone(&made);
    // A waiting browser is answered once, so there is nothing that could be repeated.
    let session = Session {
        idempotency: None,
        ..session.clone()
    };
    deps.command(
        &session,
        tenant,
        (&asked.0, &asked.1),
        async move |tx: &mut Tx| {
            require_not_killed(&doors, task.tenant())?;
            let (open, granted) = tx
                .task()
                .lookup(&task)
                .await?
                .ok_or_else(|| RouteError::not_found("task"))?;
            let identity = tx.identity().lookup(&open.identity).await?;
            let identity = identity.ok_or_else(|| RouteError::not_found("identity"))?;
            let plan = ConsentPlan {
                id: id.clone(),
                token: token.clone(),
                client: asking.client.clone(),
                redirect: asking.redirect.clone(),
                challenge: asking.challenge.clone(),
                task: &open,
                granted: &granted.coarse_scopes(),
                requested: asking.scopes.as_ref(),
                epoch: tx.epoch(),
                composition: identity.composition.map(|composed| composed.present.digest()),
                given_by: given_by.clone(),
                code_ttl: WAIT + Duration::from_secs(60),
            };
            let transition = give_consent(plan, tx.now())?;
            let _first = out.set(transition.after.clone());
            tx.consent().apply(transition).await?;
            answer(&())
        },
    )
    .await?;
    made.get()
        .cloned()
        .ok_or_else(|| RouteError::unavailable("service.failed", "the consent was not written"))
}

pub(crate) async fn refuse(
    State(deps): State<Deps>,
    Path((slug, code)): Path<(String, String)>,
    session: Session,
    Strict(body): Strict<wire::RefuseConsent>,
) -> Result<Response, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let reason = body.reason.trim().to_owned();
    if reason.is_empty() || reason.len() > bailiwick_base::limits::TEXT_MAX {
        let text = "`reason`: say why in 1 to 256 bytes; it is recorded";
        return Err(RouteError::invalid("consent.reason", text));
    }
    let (place, asking) = hold(&deps, &tenant, &code)?;
    let session = Session {
        idempotency: None,
        ..session
    };
    let detail = json!({
        "client": asking.client, "redirect": asking.redirect, "reason": reason,
        "scopes": asking.scopes.map(|s| s.to_string()),
    });
    let written = deps
        .command(
            &session,
            &tenant,
            ("consents/refuse", &detail.to_string()),
            async move |tx: &mut Tx| {
                tx.note("consent.refuse", detail.clone()).await?;
                Ok::<_, CommandError>(Vec::new())
            },
        )
        .await;
    let stage = if written.is_ok() {
        Stage::Refused
    } else {
        Stage::Waiting
    };
    deps.waiting.settle(&tenant, &place, stage, deps.clock.now());
    written.map(|_| Json(json!({"refused": true})).into_response())
}

fn hold(deps: &Deps, tenant: &TenantId, code: &str) -> Result<(String, Asking), RouteError> {
    let held = deps.waiting.hold(tenant, code, deps.clock.now());
    held.map_err(unfound)
}

fn unfound(why: Unfound) -> RouteError {
    match why {
        Unfound::Answered => RouteError::new(
            StatusCode::CONFLICT,
            "consent.answered",
            "this browser was answered already",
        )
        .hint("have it begin again; what was agreed to by mistake ends with `bailiwick kill token`"),
        Unfound::Unknown => RouteError::new(
            StatusCode::NOT_FOUND,
            "consent.unknown",
            "no browser waits with this code in this tenant",
        )
        .hint("type it as the page in your own browser shows it; a page lives ten minutes"),
    }
}

fn waiting((asking, began_at, expires_at): (Asking, Time, Time)) -> wire::WaitingConsent {
    wire::WaitingConsent {
        client_id: asking.client,
        client_name: asking.client_name,
        redirect_host: host_of(&asking.redirect),
        redirect_uri: asking.redirect,
        scope: asking.scopes.map(|s| s.to_string()).unwrap_or_default(),
        resource: asking.resources,
        began_at: began_at.to_string(),
        expires_at: expires_at.to_string(),
    }
}

fn to_wire(deps: &Deps, consent: &Consent) -> Result<wire::Consent, RouteError> {
    let state = if is_ended(deps, consent)? {
        "ended"
    } else if consent.redeemed_at.is_some() {
        "used"
    } else {
        "given"
    };
    Ok(wire::Consent {
        id: consent.id.to_string(),
        token: consent.token.to_string(),
        client_id: consent.client.clone(),
        redirect_host: host_of(&consent.redirect),
        task: consent.task.to_string(),
        identity: consent.identity.to_string(),
        identity_name: super::name_of(deps, &consent.identity),
        scope: consent.scopes.to_string(),
        given_by: consent.given_by.clone(),
        created_at: consent.created_at.to_string(),
        expires_at: consent.expires_at.to_string(),
        state: state.to_owned(),
    })
}

/// Whether nothing can be issued under it any more: it, or anything it rests on, was stopped or is over.
pub(crate) fn is_ended(deps: &Deps, consent: &Consent) -> Result<bool, RouteError> {
    let tenant: &TenantId = consent.id.tenant();
    let now = deps.clock.now();
    if consent.redeemed_at.is_none() && now >= consent.code_until {
        return Ok(true);
    }
    let call = Call {
        id: deps.mint(tenant)?,
        door: Door::Check,
        principal: Principal::Bearer(Bearer {
            claims: Arc::new(consent.claims(&deps.issuer(tenant), &deps.audience(tenant))),
            token_hash: Digest::of(ConsentId::to_string(&consent.id).as_bytes()),
        }),
        target: Target::Named {
            action: "token.introspect".to_owned(),
            action_properties: Map::new(),
            resource: NamedEntity::default(),
            context: Map::new(),
        },
        arguments: Arguments::default(),
        rates: SmallVec::new(),
    };
    Ok(deps.cell.load().ended(&call, now).is_some())
}
