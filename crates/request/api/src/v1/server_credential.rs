//! `/v1/tenants/{tenant}/servers/{name}/credential`, and what is to open a server: a secret of its own, or that of a
//! third-party credential, which rotation and revocation then reach.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use bailiwick_base::{CredentialId, Digest, Secret, ServerName, Time, Transition};
use bailiwick_credential::{self as credential, ThirdParty, UpstreamCredential, UpstreamSecretPlan};
use bailiwick_inventory::{self as inventory, Identity};
use bailiwick_store::{Reach, Tx};
use bailiwick_wire as wire;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;

use super::{credentials, servers};
use crate::Deps;
use crate::body::Strict;
use crate::command::{CommandError, answer, committed, request_digest};
use crate::problem::RouteError;
use crate::query::Path;
use crate::rotation;
use crate::session::Session;

/// The least overlap of a credential that opens a server: who opened a secret uses it for five seconds without asking.
const OVERLAP_MIN: Duration = Duration::from_secs(10);

/// The credential of a server; with the secret where it is to be sealed.
pub(super) struct Opener {
    pub(super) id: Option<CredentialId>,
    pub(super) sealed: Option<(Transition<UpstreamCredential>, Secret<Vec<u8>>)>,
}

impl Opener {
    /// Of a secret in base64 or of the name of a third-party credential, at most one of both.
    pub(super) async fn of(
        deps: &Deps,
        identity: &Identity,
        given: (Option<&str>, Option<&str>),
    ) -> Result<Self, RouteError> {
        match given {
            (None, None) => Ok(Self {
                id: None,
                sealed: None,
            }),
            (Some(text), None) => {
                let secret = secret(text)?;
                let plan = seal_plan(deps, identity, &secret)?;
                Ok(Self {
                    id: Some(plan.after.id.clone()),
                    sealed: Some((plan, secret)),
                })
            }
            (None, Some(named)) => {
                let known = credentials::known(deps, identity.id.tenant(), named).await?;
                require_usable(&known, deps.clock.now())?;
                rotation::require_owner(deps, &known)?;
                Ok(Self {
                    id: Some(known.id),
                    sealed: None,
                })
            }
            (Some(_), Some(_)) => Err(RouteError::invalid(
                "server.credential",
                "give `credential` or `credential_from`, not both",
            )),
        }
    }
}

/// What was looked at before is still so: nobody took the followed credential `id` out meanwhile.
pub(super) async fn require_still(deps: &Deps, tx: &mut Tx, id: &CredentialId) -> Result<(), CommandError> {
    let known = tx.third_party().lookup(id).await?;
    let known = known.ok_or_else(|| RouteError::not_found("credential"))?;
    require_usable(&known, tx.now())?;
    rotation::require_owner(deps, &known)?;
    Ok(())
}

fn require_usable(known: &ThirdParty, now: Time) -> Result<(), RouteError> {
    credential::rotation::require_usable(known, now)
        .map_err(|refusal| RouteError::refused(refusal.code(), &refusal))?;
    if known.target.is_some() && known.policy.overlap < OVERLAP_MIN {
        let (name, least) = (&known.name, OVERLAP_MIN.as_secs());
        let detail = format!("credential `{name}` keeps both secrets for less than {least} s");
        return Err(RouteError::invalid("server.credential", detail).hint(format!(
            "a secret that was opened is used for five seconds more: `bailiwick credential correct {name} --overlap {least}s`"
        )));
    }
    Ok(())
}

fn secret(text: &str) -> Result<Secret<Vec<u8>>, RouteError> {
    let bytes = STANDARD
        .decode(text)
        .map_err(|_| RouteError::invalid("server.credential", "`credential` is not base64"))?;
    if bytes.is_empty() || bytes.iter().any(|b| !(0x21..=0x7e).contains(b)) {
        return Err(RouteError::invalid(
            "server.credential",
            "`credential` must be one line of visible characters: it is sent as a bearer token",
        ));
    }
    Ok(Secret::new(bytes))
}

fn seal_plan(
    deps: &Deps,
    identity: &Identity,
    secret: &Secret<Vec<u8>>,
) -> Result<Transition<UpstreamCredential>, RouteError> {
    let tenant = identity.id.tenant();
    let fingerprint = deps
        .keyring
        .fingerprint(tenant, secret.reveal())
        .map_err(|e| RouteError::broken("keys are not available", &e))?;
    let wanted = UpstreamSecretPlan {
        id: deps.mint(tenant)?,
        identity: identity.id.clone(),
        fingerprint,
        expires_at: Some(identity.expires_at),
    };
    credential::add_upstream_credential(wanted, &deps.credential_limits, deps.clock.now())
        .map_err(|refusal| RouteError::refused(refusal.code(), &refusal))
}

/// Gives a server another credential; a secret of its own that it had before is forgotten.
pub(crate) async fn replace(
    State(deps): State<Deps>,
    Path((slug, named)): Path<(String, String)>,
    session: Session,
    Strict(body): Strict<wire::ReplaceServerCredential>,
) -> Result<Response, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let name = ServerName::parse(&named).map_err(|_| RouteError::not_found("server"))?;
    // The same request with the same secret has the same digest; the secret itself goes nowhere.
    let asked = wire::ReplaceServerCredential {
        credential: body
            .credential
            .as_ref()
            .map(|c| Digest::of(c.as_bytes()).to_string()),
        credential_from: body.credential_from.clone(),
    };
    let path = format!("servers/{name}/credential");
    let request = request_digest(&path, &asked)?;
    if let Some(done) = deps.replayed(&session, Reach::from(&tenant), request).await? {
        return Ok(committed(&done, StatusCode::OK));
    }
    let snapshot = deps.cell.load();
    let server = snapshot.server(&tenant, &name);
    let identity = server.and_then(|server| snapshot.identity(&server.identity));
    let identity = identity.ok_or_else(|| RouteError::not_found("server"))?;
    let given = (body.credential.as_deref(), body.credential_from.as_deref());
    let Opener { id, sealed } = Opener::of(&deps, identity, given).await?;
    let detail = "give `credential`, a secret, or `credential_from`, the name of a third-party credential";
    let id = id.ok_or_else(|| RouteError::invalid("server.credential", detail))?;
    let (doors, sealed) = (deps.clone(), Arc::new(sealed));
    let receipt = deps
        .command(&session, &tenant, (&path, &asked), async move |tx: &mut Tx| {
            let found = tx.server().lookup(&name).await?;
            let known = found.ok_or_else(|| RouteError::not_found("server"))?;
            let before = known.credential.clone();
            let replaced = inventory::replace_credential(known, id.clone())?;
            match sealed.as_ref() {
                Some((transition, secret)) => tx.credential().seal(transition.clone(), secret).await?,
                None => require_still(&doors, tx, &id).await?,
            }
            let shown = servers::to_wire(&doors, &replaced.after, None);
            tx.server().apply(replaced).await?;
            if let Some(before) = before.filter(|before| *before != id)
                && let Some(old) = tx.credential().lookup(&before).await?
            {
                tx.credential().forget(&old, "its server has another one").await?;
            }
            answer(&shown)
        })
        .await?;
    Ok(committed(&receipt, StatusCode::OK))
}
