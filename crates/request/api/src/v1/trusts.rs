//! `/v1/tenants/{tenant}/trusts`

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use bailiwick_attest::require_key_set;
use bailiwick_base::{Digest, TrustId};
use bailiwick_credential::trust::{
    Attestor, IssuerKeys, Method, Trust, TrustPlan, TrustedIssuer, add_trust, lint_trust, remove_trust,
    require_method,
};
use bailiwick_outbound::{AddressRule, Endpoint, GuardError};
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
    Strict(body): Strict<wire::NewTrust>,
) -> Result<Response, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let identity = super::identity(&deps, &tenant, &body.identity)?;
    let attestor = attestor(&deps, &body.method)?.clone();
    let issuer = issuer(&body, &attestor)?;
    let expires_at = body
        .expires_at
        .as_deref()
        .map(|t| super::time("expires_at", t))
        .transpose()?;
    let every = Method::ALL.into_iter();
    let every = every.filter_map(|method| deps.federation.attester.attestor(method));
    require_method(&issuer, every).map_err(|refusal| RouteError::refused(refusal.code(), &refusal))?;
    let (id, limits) = (deps.mint(&tenant)?, deps.credential_limits.clone());
    let one_at_a_time = Arc::clone(&deps.federation.adding).lock_owned().await;
    let others: Vec<_> = deps.cell.load().every_trust().cloned().collect();
    let attributes = body.attributes.clone();
    let doors = deps.clone();
    let receipt = deps
        .command(&session, &tenant, ("trusts", &body), async move |tx: &mut Tx| {
            // Held by the transaction, not by the caller, who may go away: until everybody sees the rule.
            let _held = &one_at_a_time;
            require_not_killed(&doors, identity.tenant())?;
            let holder = tx
                .identity()
                .lookup(&identity)
                .await?
                .ok_or_else(|| RouteError::not_found("identity"))?;
            let latest = holder.expires_at.min(tx.now().after(limits.client_lifetime_max));
            let plan = TrustPlan {
                id: id.clone(),
                issuer: issuer.clone(),
                attributes: attributes.clone(),
                identity: identity.clone(),
                identity_expires_at: holder.expires_at,
                expires_at: expires_at.unwrap_or(latest),
            };
            let others = others.iter().map(AsRef::as_ref);
            let transition = add_trust(plan, &attestor, others, &limits, tx.now())?;
            let shown = to_wire(&doors, &transition.after, Some(&attestor));
            tx.trust().apply(transition).await?;
            answer(&shown)
        })
        .await?;
    Ok(committed(&receipt, StatusCode::CREATED))
}

pub(crate) async fn withdraw(
    State(deps): State<Deps>,
    Path((slug, id)): Path<(String, String)>,
    session: Session,
    Strict(body): Strict<wire::RemoveTrust>,
) -> Result<Response, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let id = TrustId::parse(&tenant, &id).map_err(|_| RouteError::not_found("trust"))?;
    let (path, reason) = (format!("trusts/{id}/remove"), body.reason.clone());
    let doors = deps.clone();
    let receipt = deps
        .command(&session, &tenant, (&path, &body), async move |tx: &mut Tx| {
            let trust = tx
                .trust()
                .lookup(&id)
                .await?
                .ok_or_else(|| RouteError::not_found("trust"))?;
            let transition = remove_trust(trust, &reason, tx.now())?;
            let shown = to_wire(&doors, &transition.after, None);
            tx.trust().apply(transition).await?;
            answer(&shown)
        })
        .await?;
    Ok(committed(&receipt, StatusCode::OK))
}

pub(crate) async fn list(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    _: Session,
) -> Result<Json<wire::Page<wire::Trust>>, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let snapshot = deps.cell.load();
    let known = |method| deps.federation.attester.attestor(method);
    let shown = |trust: &Trust| to_wire(&deps, trust, known(trust.issuer.method));
    let items = snapshot.trusts(&tenant).map(|trust| shown(trust)).collect();
    Ok(Json(wire::Page::whole(items)))
}

fn attestor<'a>(deps: &'a Deps, method: &str) -> Result<&'a Attestor, RouteError> {
    let known = Method::parse(method).and_then(|method| deps.federation.attester.attestor(method));
    known.ok_or_else(|| {
        let names = Method::ALL.map(Method::as_str).join(", ");
        RouteError::invalid("trust.method", format!("`method` must be one of: {names}"))
    })
}

fn issuer(body: &wire::NewTrust, attestor: &Attestor) -> Result<TrustedIssuer, RouteError> {
    let url = body.issuer.clone().or_else(|| attestor.issuer.clone());
    let keys = match (&body.jwks, &body.jwks_url) {
        (None, None) => IssuerKeys::Discovery,
        (Some(set), None) => IssuerKeys::Given(set.to_string()),
        (None, Some(url)) => IssuerKeys::Url(url.clone()),
        (Some(_), Some(_)) => {
            return Err(RouteError::invalid(
                "trust.keys",
                "give `jwks` or `jwks_url`, not both",
            ));
        }
    };
    let issuer = TrustedIssuer {
        method: attestor.method,
        url: url.ok_or_else(|| {
            RouteError::invalid(
                "trust.issuer",
                "`issuer` is missing: give the `iss` of its tokens",
            )
        })?,
        keys,
        allow_addresses: body.allow_addresses.clone(),
        danger_plaintext: body.danger_plaintext,
    };
    require_usable(&issuer)?;
    Ok(issuer)
}

/// What could never work is refused when it is said, not when a workload comes.
fn require_usable(issuer: &TrustedIssuer) -> Result<(), RouteError> {
    let addresses = AddressRule::parse(&issuer.allow_addresses)
        .map_err(|e| RouteError::invalid("trust.address-range", format!("`allow_addresses`: {e}")))?;
    let plaintext = issuer.danger_plaintext;
    let at = |field: &str, code: &str, url: &str, is_fetched: bool| {
        Endpoint::parse(url, plaintext)
            .and_then(|endpoint| {
                if is_fetched {
                    addresses.require_endpoint(&endpoint)?;
                }
                Ok(())
            })
            .map_err(|e| {
                let error = RouteError::invalid(code, format!("`{field}`: {e}"));
                match e {
                    GuardError::Plaintext(_) => {
                        error.hint("`--danger-plaintext` gives leave; it is recorded and shown")
                    }
                    _ => error,
                }
            })
    };
    if !matches!(issuer.method, Method::SpiffeJwt | Method::UnixPeer) {
        let is_fetched = issuer.keys == IssuerKeys::Discovery;
        at("issuer", "trust.issuer-refused", &issuer.url, is_fetched)?;
    }
    match &issuer.keys {
        IssuerKeys::Discovery => Ok(()),
        IssuerKeys::Given(set) => require_key_set(set).map_err(|e| {
            RouteError::invalid(
                "trust.keys",
                format!("`jwks`: {e}; give public keys, each with a `kid`"),
            )
        }),
        IssuerKeys::Url(url) => at("jwks_url", "trust.keys", url, true),
    }
}

fn to_wire(deps: &Deps, trust: &Trust, attestor: Option<&Attestor>) -> wire::Trust {
    let findings = attestor
        .map(|attestor| lint_trust(trust, attestor))
        .unwrap_or_default();
    wire::Trust {
        id: trust.id.to_string(),
        identity: trust.identity.to_string(),
        identity_name: super::name_of(deps, &trust.identity),
        method: trust.issuer.method.to_string(),
        issuer: trust.issuer.url.clone(),
        attributes: trust.attributes.clone(),
        keys: match &trust.issuer.keys {
            IssuerKeys::Discovery => "discovery".to_owned(),
            IssuerKeys::Given(set) => format!("given sha256:{}", Digest::of(set.as_bytes())),
            IssuerKeys::Url(url) => url.clone(),
        },
        allow_addresses: trust.issuer.allow_addresses.clone(),
        danger_plaintext: trust.issuer.danger_plaintext,
        created_at: trust.created_at.to_string(),
        expires_at: trust.expires_at.to_string(),
        findings: findings
            .into_iter()
            .map(|f| wire::TrustFinding {
                code: f.code.to_owned(),
                text: f.text,
            })
            .collect(),
    }
}
