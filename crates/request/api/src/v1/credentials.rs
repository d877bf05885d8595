//! `/v1/tenants/{tenant}/credentials`: third-party credentials and their rotation.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use bailiwick_base::{CredentialId, Digest, Secret, TenantId, Time, Transition};
use bailiwick_credential::rotation::{self, NewThirdParty, register_third_party};
use bailiwick_credential::{Refusal, SecretKind, Standing, ThirdParty};
use bailiwick_store::{Page, Reach, Sealing, Tx};
use bailiwick_wire as wire;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::Deps;
use crate::body::Strict;
use crate::command::{CommandError, answer, committed, request_digest, store_error};
use crate::effective::require_not_killed;
use crate::problem::RouteError;
use crate::query::{Path, Query};
use crate::session::Session;

/// Bytes of a secret.
const SECRET_MAX: usize = 64 * 1024;
/// Credentials of one answer.
const PAGE_MAX: u32 = 1_000;

/// Registers a credential and seals its secret.
pub(crate) async fn add(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    session: Session,
    Strict(body): Strict<wire::NewCredential>,
) -> Result<Response, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let secret = Arc::new(secret(&body.secret)?);
    let identity = super::identity(&deps, &tenant, &body.identity)?;
    let target = super::place::of(&deps, &tenant, super::place::Named::of(&body)).await?;
    let holder = deps.cell.load().identity(&identity).cloned();
    let wanted = NewThirdParty {
        id: deps.mint(&tenant)?,
        name: body.name.clone(),
        identity,
        identity_expires_at: holder
            .ok_or_else(|| RouteError::not_found("identity"))?
            .expires_at,
        kind: kind(&body.kind)?,
        fingerprint: fingerprint(&deps, &tenant, &secret)?,
        expires_at: body
            .expires_at
            .as_deref()
            .map(|t| super::time("expires_at", t))
            .transpose()?,
        every: body.every.map(Duration::from_secs),
        overlap: body.overlap.map(Duration::from_secs),
        consumers: body.consumers.clone(),
        target,
    };
    if !body.no_try {
        let made = register_third_party(wanted.clone(), &deps.credential_limits, deps.clock.now())
            .map_err(|refusal| RouteError::refused(refusal.code(), &refusal))?;
        crate::rotation::require_owner(&deps, &made.after)?;
        crate::rotation::require_manager(&deps, &made.after).await?;
    }
    let asked = wire::NewCredential {
        secret: Digest::of(body.secret.as_bytes()).to_string(),
        ..body
    };
    let (doors, limits) = (deps.clone(), deps.credential_limits.clone());
    let receipt = deps
        .command(
            &session,
            &tenant,
            ("credentials", &asked),
            async move |tx: &mut Tx| {
                require_not_killed(&doors, wanted.id.tenant())?;
                let made = register_third_party(wanted.clone(), &limits, tx.now())?;
                crate::rotation::require_owner(&doors, &made.after)?;
                super::credential_change::require_alone(tx, &made.after).await?;
                let shown = to_wire(&doors, &made.after);
                tx.third_party().add(made, &secret).await?;
                answer(&shown)
            },
        )
        .await?;
    Ok(committed(&receipt, StatusCode::CREATED))
}

fn kind(text: &str) -> Result<SecretKind, RouteError> {
    SecretKind::parse(text).ok_or_else(|| {
        let words: Vec<&str> = SecretKind::ALL.into_iter().map(SecretKind::as_str).collect();
        let shown = bailiwick_base::limits::shown(text);
        RouteError::invalid(
            "credential.kind",
            format!("`kind`: `{shown}` is none of {}", words.join(", ")),
        )
    })
}

fn secret(text: &str) -> Result<Secret<Vec<u8>>, RouteError> {
    let bytes = STANDARD
        .decode(text)
        .map_err(|_| RouteError::invalid("credential.secret", "`secret` is not base64"))?;
    if bytes.is_empty() || bytes.len() > SECRET_MAX {
        let detail = format!("`secret` has {} bytes: give 1 to {SECRET_MAX}", bytes.len());
        return Err(RouteError::invalid("credential.secret", detail));
    }
    Ok(Secret::new(bytes))
}

fn fingerprint(deps: &Deps, tenant: &TenantId, secret: &Secret<Vec<u8>>) -> Result<String, RouteError> {
    deps.keyring
        .fingerprint(tenant, secret.reveal())
        .map_err(|e| RouteError::broken("keys are not available", &e))
}

/// A credential by id or name.
pub(crate) async fn known(deps: &Deps, tenant: &TenantId, named: &str) -> Result<ThirdParty, RouteError> {
    let mut reader = deps.store.reader(tenant).await.map_err(|e| store_error(&e))?;
    let found = match CredentialId::parse(tenant, named) {
        Ok(id) => reader.third_party().lookup(&id).await,
        Err(_) => reader.third_party().find_by_name(named).await,
    };
    found.map_err(|e| store_error(&e))?.ok_or_else(|| {
        RouteError::not_found("credential")
            .hint(format!("list them with `bailiwick -t {tenant} credential ls`"))
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Part {
    /// Id after which the page begins.
    #[serde(default)]
    after: Option<String>,
    #[serde(default)]
    limit: Option<u32>,
}

pub(crate) async fn list(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    Query(part): Query<Part>,
    _: Session,
) -> Result<Json<wire::Page<wire::Credential>>, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let limit = part.limit.unwrap_or(PAGE_MAX).min(PAGE_MAX);
    let page = match &part.after {
        None => Page::first(limit),
        Some(after) => {
            let id = CredentialId::parse(&tenant, after)
                .map_err(|e| RouteError::invalid("request.page", format!("`after`: {e}")))?;
            Page::after(&id, limit)
        }
    };
    let mut reader = deps.store.reader(&tenant).await.map_err(|e| store_error(&e))?;
    let found = reader
        .third_party()
        .list(page)
        .await
        .map_err(|e| store_error(&e))?;
    let total = reader.third_party().total().await.map_err(|e| store_error(&e))?;
    let next = found.last().filter(|_| found.len() as u64 == u64::from(limit));
    Ok(Json(wire::Page {
        next: next.map(|c| c.id.to_string()),
        items: found.iter().map(|c| to_wire(&deps, c)).collect(),
        total,
    }))
}

pub(crate) async fn find(
    State(deps): State<Deps>,
    Path((slug, named)): Path<(String, String)>,
    _: Session,
) -> Result<Json<wire::Credential>, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let found = known(&deps, &tenant, &named).await?;
    Ok(Json(to_wire(&deps, &found)))
}

/// Begins a rotation; the reconciler carries it out.
pub(crate) async fn rotate(
    State(deps): State<Deps>,
    Path((slug, named)): Path<(String, String)>,
    session: Session,
    Strict(body): Strict<wire::RotationRequest>,
) -> Result<Json<wire::Credential>, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let found = known(&deps, &tenant, &named).await?;
    let asked = request_digest(&format!("credentials/{}/rotate", found.id), &body)?;
    let context = deps.context(&session, Reach::from(&tenant), asked)?;
    let begun = crate::rotation::begin_rotation(&deps, context, &found.id, &body.reason).await?;
    Ok(Json(to_wire(&deps, &begun)))
}

/// One change of a credential that leaves its sealed secrets as they are.
async fn changed<B: Serialize>(
    deps: &Deps,
    (slug, named): (String, String),
    session: &Session,
    (verb, body): (&str, &B),
    change: impl Fn(ThirdParty, Time) -> Result<Transition<ThirdParty>, Refusal> + Send + Sync + 'static,
) -> Result<Response, RouteError> {
    let tenant = super::tenant(deps, &slug)?;
    let id = known(deps, &tenant, &named).await?.id;
    let path = format!("credentials/{id}/{verb}");
    let (doors, known) = (deps.clone(), id.clone());
    let receipt = deps
        .command(session, &tenant, (&path, body), async move |tx: &mut Tx| {
            let next = change(read(tx, &known).await?, tx.now())?;
            let shown = to_wire(&doors, &next.after);
            tx.third_party().apply(next, Sealing::Keep).await?;
            answer(&shown)
        })
        .await?;
    Ok(committed(&receipt, StatusCode::OK))
}

/// Gives a rotation up, as long as the old secret is untouched.
pub(crate) async fn cancel(
    State(deps): State<Deps>,
    Path(named): Path<(String, String)>,
    session: Session,
    Strict(body): Strict<wire::RotationRequest>,
) -> Result<Response, RouteError> {
    let reason = body.reason.clone();
    let back = move |known, _| rotation::roll_back(known, &reason);
    changed(&deps, named, &session, ("rotation/cancel", &body), back).await
}

/// Decides to make every secret of a credential invalid for good; the reconciler does it.
pub(crate) async fn revoke(
    State(deps): State<Deps>,
    Path(named): Path<(String, String)>,
    session: Session,
    Strict(body): Strict<wire::RotationRequest>,
) -> Result<Response, RouteError> {
    let reason = body.reason.clone();
    let ending = move |known, _| rotation::end(known, &reason);
    changed(&deps, named, &session, ("revoke", &body), ending).await
}

/// A consumer says that it uses the new secret.
pub(crate) async fn confirm(
    State(deps): State<Deps>,
    Path(named): Path<(String, String)>,
    session: Session,
    Strict(body): Strict<wire::ConfirmMoved>,
) -> Result<Response, RouteError> {
    let consumer = body.consumer.clone();
    let moved = move |known, now| rotation::confirm(known, &consumer, now);
    changed(&deps, named, &session, ("rotation/confirm", &body), moved).await
}

/// Takes the secret that a person made elsewhere.
pub(crate) async fn replace(
    State(deps): State<Deps>,
    Path((slug, named)): Path<(String, String)>,
    session: Session,
    Strict(body): Strict<wire::ReplaceSecret>,
) -> Result<Response, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let id = known(&deps, &tenant, &named).await?.id;
    let secret = Arc::new(secret(&body.secret)?);
    let fingerprint = fingerprint(&deps, &tenant, &secret)?;
    let asked = wire::ReplaceSecret {
        secret: Digest::of(body.secret.as_bytes()).to_string(),
    };
    let (doors, path) = (deps.clone(), format!("credentials/{id}/replace"));
    let known = id.clone();
    let receipt = deps
        .command(&session, &tenant, (&path, &asked), async move |tx: &mut Tx| {
            let entry = tx.position().0;
            let known = read(tx, &known).await?;
            // Where a person makes the new secret of a rotation, this is how it is handed in.
            let (t, sealing) = if known.awaits_hand_in() {
                (
                    rotation::handed_in(known, fingerprint.clone())?,
                    Sealing::Stage(&secret),
                )
            } else {
                let t = rotation::replace(known, fingerprint.clone(), entry, tx.now())?;
                (t, Sealing::Replace(&secret))
            };
            let shown = to_wire(&doors, &t.after);
            tx.third_party().apply(t, sealing).await?;
            answer(&shown)
        })
        .await?;
    Ok(committed(&receipt, StatusCode::OK))
}

pub(super) async fn read(tx: &mut Tx, id: &CredentialId) -> Result<ThirdParty, CommandError> {
    let found = tx.third_party().lookup(id).await?;
    Ok(found.ok_or_else(|| RouteError::not_found("credential"))?)
}

/// The secret a consumer has to use now. Who took it stands in the state log; the answer is not kept.
pub(crate) async fn fetch(
    State(deps): State<Deps>,
    Path((slug, named)): Path<(String, String)>,
    session: Session,
    Strict(wire::FetchSecret {}): Strict<wire::FetchSecret>,
) -> Result<Response, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let id = known(&deps, &tenant, &named).await?.id;
    let asked = request_digest("credentials/fetch", &id.to_string())?;
    let doors = deps.clone();
    let context = deps.context(&session, Reach::from(&tenant), asked)?.alone();
    let receipt = deps
        .store
        .transact(context, async move |tx: &mut Tx| {
            let known = read(tx, &id).await?;
            rotation::require_usable(&known, tx.now())?;
            crate::rotation::require_owner(&doors, &known)?;
            let used = || known.target.as_ref().map(|t| t.handle().to_owned());
            let (login, fingerprint, secret) = match known.rotation().filter(|_| known.offers_new()) {
                Some(r) => (
                    known.next_handle(),
                    r.fingerprint.clone().unwrap_or_default(),
                    tx.third_party().reveal_staged(&id).await?,
                ),
                None => (
                    used(),
                    known.fingerprint.clone(),
                    tx.third_party().reveal(&id).await?,
                ),
            };
            let secret = secret.ok_or_else(|| RouteError::not_found("secret"))?;
            let detail = serde_json::json!({ "credential": id.to_string(), "fingerprint": fingerprint });
            tx.note("credential.fetch", detail).await?;
            answer(&wire::FetchedSecret {
                name: known.name,
                kind: known.kind.as_str().to_owned(),
                login,
                fingerprint,
                secret: STANDARD.encode(secret.reveal()),
            })
        })
        .await
        .map_err(|e: CommandError| RouteError::from(e))?;
    Ok(committed(&receipt, StatusCode::OK))
}

pub(super) fn to_wire(deps: &Deps, c: &ThirdParty) -> wire::Credential {
    let snapshot = deps.cell.load();
    let owner = snapshot.identity(&c.identity).map(|i| wire::Owner {
        team: i.owner.team.clone(),
        contact: i.owner.contact.clone(),
    });
    wire::Credential {
        id: c.id.to_string(),
        name: c.name.clone(),
        kind: c.kind.as_str().to_owned(),
        identity: c.identity.to_string(),
        owner,
        fingerprint: c.fingerprint.clone(),
        login: c.target.as_ref().map(|t| t.handle().to_owned()),
        created_at: c.created_at.to_string(),
        expires_at: c.expires_at.to_string(),
        every: c.policy.every.as_secs(),
        overlap: c.policy.overlap.as_secs(),
        consumers: c.consumers.iter().cloned().collect(),
        target: c.target.as_ref().and_then(super::place::pg_to_wire),
        aws: c.target.as_ref().and_then(super::place::aws_to_wire),
        github_app: c.target.as_ref().and_then(super::place::app_to_wire),
        http: c.target.as_ref().and_then(super::place::http_to_wire),
        due_at: c.due_at().to_string(),
        overdue: c.due_at() <= deps.clock.now(),
        last_rotation: c.rotated.as_ref().map(|last| wire::LastRotation {
            at: last.at.to_string(),
            entry: last.entry,
            refused: last.probe.as_ref().map(|p| p.code.clone()),
        }),
        rotation: c.rotation().map(|r| wire::Rotation {
            phase: r.phase.as_str().to_owned(),
            began_at: r.began_at.to_string(),
            fingerprint: r.fingerprint.clone(),
            handle: r.handle.clone(),
            moved: r.moved.iter().cloned().collect(),
            waiting: c.consumers.difference(&r.moved).cloned().collect(),
            unknown: r.strangers.iter().cloned().collect(),
            unknown_more: r.strangers_more,
            trouble: r.trouble.clone(),
        }),
        taken_back: c.taken_back.as_ref().map(|back| wire::TakenBack {
            at: back.at.to_string(),
            reason: back.reason.clone(),
        }),
        revoked: revoked_to_wire(&c.standing),
    }
}

fn revoked_to_wire(standing: &Standing) -> Option<wire::Revoked> {
    match standing {
        Standing::Ending { reason, trouble, .. } => Some(wire::Revoked {
            reason: reason.clone(),
            at: None,
            entry: None,
            refused: None,
            trouble: trouble.clone(),
        }),
        Standing::Revoked {
            at,
            entry,
            reason,
            probe,
        } => Some(wire::Revoked {
            reason: reason.clone(),
            at: Some(at.to_string()),
            entry: Some(*entry),
            refused: probe.as_ref().map(|p| p.code.clone()),
            trouble: None,
        }),
        Standing::Rotating(_) | Standing::Steady => None,
    }
}
