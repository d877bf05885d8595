//! Issuing and renewing access tokens: a decision first, its record durable, then the signature.

use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams};
use bailiwick_base::limits::shown;
use bailiwick_base::{
    ClientId, Composition, DecisionId, Digest, IdentityId, TaskId, TenantId, Time, TokenId, TrustId,
};
use bailiwick_credential::consent::PublicClient;
use bailiwick_credential::{self as credential, Claims, Confirmation, IssuePlan, Link, ScopeSet, Task};
use bailiwick_decide::{
    Arguments, Bearer, Call, DenyReason, Door, Effect, Fact, NamedEntity, Principal, Snapshot, Target,
};
use bailiwick_grant::Grant;
use bailiwick_inventory::Identity;
use bailiwick_pep::token::TokenError;
use bailiwick_pep::{Denial, Outcome};
use bailiwick_wire as wire;
use http::StatusCode;
use http::request::Parts;
use serde_json::{Map, Value};
use smallvec::SmallVec;

use crate::Deps;
use crate::presented;
use crate::problem::RouteError;
use crate::session::Session;

/// Tokens of one request.
pub(crate) const BATCH_MAX: u32 = 256;
/// `client_id` of a token that an operator asked for: the identity's own name at this issuer.
pub(crate) const OPERATOR_CLIENT: &str = "bailiwick-operator";

/// Who asks for tokens of a task.
pub(crate) enum Requester {
    /// A client of the identity, authenticated at the token endpoint, with the composition its assertion states.
    Client(ClientId, IdentityId, Option<Composition>),
    /// The bearer of a token of the same task: renewal. Whether the token still lives is part of the decision.
    Holder(Bearer),
    /// Whoever uses a consent: its bearer, and what the tokens name of it.
    Consent(Bearer, Link),
    /// An operator.
    Operator,
    /// A workload that a trust rule makes this identity, with the digest of what it showed; the kernel shows nothing.
    Workload(TrustId, IdentityId, Option<Digest>),
}

/// What was issued.
pub(crate) struct Issued {
    pub(crate) tokens: Vec<wire::Token>,
    pub(crate) decision: DecisionId,
}

impl FromRequestParts<Deps> for Requester {
    type Rejection = RouteError;

    /// An operator's session, or an access token of ours.
    async fn from_request_parts(parts: &mut Parts, deps: &Deps) -> Result<Self, RouteError> {
        let params = RawPathParams::from_request_parts(parts, deps).await;
        let tenant = params.ok().and_then(|params| {
            let (_, slug) = params.iter().find(|(name, _)| *name == "tenant")?;
            TenantId::parse(slug).ok()
        });
        if let Some(tenant) = tenant {
            match presented::verified(deps, Some(&tenant), parts) {
                Ok(verified) => return Ok(Self::Holder(verified.bearer())),
                // A token of ours that its sender may not use is no operator's session either.
                Err(
                    error @ (TokenError::Certificate
                    | TokenError::NotBound
                    | TokenError::Proof(_)
                    | TokenError::SenderConstrained),
                ) => return Err(RouteError::token(deps, parts, error)),
                Err(_) => {}
            }
        }
        Session::from_request_parts(parts, deps)
            .await
            .map(|_| Self::Operator)
    }
}

impl Requester {
    /// What a workload showed, for the record.
    const fn evidence(&self) -> Option<Digest> {
        match self {
            Self::Workload(_, _, evidence) => *evidence,
            Self::Client(..) | Self::Consent(..) | Self::Holder(_) | Self::Operator => None,
        }
    }

    /// Who is decided about, once it is settled that the task is this requester's.
    pub(crate) fn principal(self, claims: &Claims) -> Principal {
        match self {
            Self::Consent(bearer, _) | Self::Holder(bearer) => Principal::Bearer(bearer),
            Self::Client(..) | Self::Operator | Self::Workload(..) => Principal::Identity {
                id: claims.nhi.clone(),
                task: Some(claims.task.clone()),
            },
        }
    }
}

/// A dead token is told so with 401; what the decision refuses otherwise is 403.
fn denied(denial: &Denial, by_holder: bool) -> RouteError {
    let status = match denial.reason {
        DenyReason::ClockUntrusted | DenyReason::NotRecorded | DenyReason::SnapshotStale => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        DenyReason::NoGrant | DenyReason::ForbiddenByPolicy | DenyReason::EvaluationFailed => {
            StatusCode::FORBIDDEN
        }
        _ if by_holder => StatusCode::UNAUTHORIZED,
        _ => StatusCode::FORBIDDEN,
    };
    RouteError::new(
        status,
        denial.reason.code(),
        format!("{} (decision {})", denial.text, denial.decision),
    )
}

/// Issues `count` tokens for `task`: planned, decided, recorded, and only then signed.
pub(crate) async fn for_task(
    deps: &Deps,
    task: &TaskId,
    count: u32,
    requester: Requester,
    requested: Option<&ScopeSet>,
    bound: Option<Confirmation>,
) -> Result<Issued, RouteError> {
    let tenant = task.tenant();
    let tokens: Vec<TokenId> = (0..count)
        .map(|_| deps.ids.mint(tenant))
        .collect::<Result<_, _>>()
        .map_err(|e| RouteError::broken("randomness failed", &e))?;
    let planned = plan(
        deps,
        &deps.cell.load(),
        task,
        &tokens,
        &requester,
        (requested, bound),
    );
    let claims = match planned {
        Ok(claims) => Arc::new(claims),
        Err(error) => return Err(unplanned(deps, task, requester, error).await),
    };
    let by_holder = matches!(requester, Requester::Holder(_));
    let evidence = requester.evidence();
    let principal = requester.principal(&claims);
    decided(deps, claims, tokens, principal, (None, evidence))
        .await
        .map_err(|stopped| stopped.into_route(by_holder))
}

/// Whoever proved who it is and gets nothing hears it after it was recorded; an operator's own mistake is no decision.
async fn unplanned(deps: &Deps, task: &TaskId, requester: Requester, error: RouteError) -> RouteError {
    let reason = match error.code() {
        "identity.expired" => DenyReason::IdentityExpired,
        "task.already-closed" => DenyReason::TaskClosed,
        "task.ended" | "task.not-open" => DenyReason::TaskOutsideWindow,
        "task.nothing-granted" => DenyReason::NoGrant,
        "task.scope-not-granted" => DenyReason::ScopeMissing,
        "request.not-found" => DenyReason::TaskUnknown,
        "token.client-ended" => DenyReason::TokenRevoked,
        _ => return error,
    };
    // In the tenant of whoever asks, whosever task it named.
    let (tenant, principal) = match requester {
        Requester::Operator => return error,
        Requester::Client(_, id, _) | Requester::Workload(_, id, _) => {
            let task = Some(task.clone());
            (id.tenant().clone(), Principal::Identity { id, task })
        }
        Requester::Consent(bearer, _) | Requester::Holder(bearer) => {
            (bearer.claims.tenant.clone(), Principal::Bearer(bearer))
        }
    };
    let call = match deps.mint(&tenant) {
        Ok(id) => about(id, principal, "token.issue", ("task", task.to_string())),
        Err(error) => return error,
    };
    let denial = deps.pep.refuse(&call, reason, error.detail().to_owned()).await;
    if denial.reason == reason {
        return error;
    }
    denied(&denial, false)
}

/// A call that came to nothing before there was a token to decide about, as it is recorded.
pub(crate) fn about(
    id: DecisionId,
    principal: Principal,
    action: &str,
    (kind, name): (&str, String),
) -> Call {
    Call {
        id,
        door: Door::Issue,
        principal,
        target: Target::Named {
            action: action.to_owned(),
            action_properties: Map::new(),
            resource: NamedEntity {
                kind: kind.to_owned(),
                id: name,
                properties: Map::new(),
            },
            context: Map::new(),
        },
        arguments: Arguments::default(),
        rates: SmallVec::new(),
    }
}

/// Why tokens were not issued.
pub(crate) enum Stopped {
    /// It was decided so.
    Denied(Denial),
    /// Something is broken.
    Failed(RouteError),
}

impl Stopped {
    pub(crate) fn into_route(self, by_holder: bool) -> RouteError {
        match self {
            Self::Denied(denial) => denied(&denial, by_holder),
            Self::Failed(error) => error,
        }
    }
}

/// What is asked of the decision; `subject` is the token that is exchanged, `evidence` the digest of what a workload
/// showed.
pub(crate) fn asked(
    deps: &Deps,
    claims: &Arc<Claims>,
    tokens: &[TokenId],
    principal: Principal,
    (subject, evidence): (Option<Bearer>, Option<Digest>),
) -> Result<Call, RouteError> {
    Ok(Call {
        id: deps
            .pep
            .next_id(&claims.tenant)
            .map_err(|e| RouteError::broken("randomness failed", &e))?,
        door: Door::Issue,
        principal,
        target: Target::Issue {
            claims: Arc::clone(claims),
            tokens: tokens.to_vec(),
            subject,
            evidence,
        },
        arguments: Arguments::default(),
        rates: SmallVec::new(),
    })
}

/// Decided, recorded, and only then signed; of a `subject` and with `evidence` as above.
pub(crate) async fn decided(
    deps: &Deps,
    claims: Arc<Claims>,
    tokens: Vec<TokenId>,
    principal: Principal,
    (subject, evidence): (Option<Bearer>, Option<Digest>),
) -> Result<Issued, Stopped> {
    let call = asked(deps, &claims, &tokens, principal, (subject, evidence)).map_err(Stopped::Failed)?;
    let permit = deps.pep.permit(call).await.map_err(Stopped::Denied)?;
    let decision = permit.decision().id.clone();
    let signed = sign(deps, &claims, tokens).await;
    permit.finish(if signed.is_ok() {
        Outcome::Returned
    } else {
        Outcome::Failed
    });
    Ok(Issued {
        tokens: signed.map_err(Stopped::Failed)?,
        decision,
    })
}

/// Whether an operator could have a token for a task that is about to be opened: the same decision, on the
/// snapshot as it would be. A task and its first token are one command, and one without the other helps nobody.
pub(crate) fn require_issuable(deps: &Deps, task: &Task, grant: &Grant) -> Result<(), RouteError> {
    let fact = Fact::Task(Arc::new(task.clone()), Arc::new(grant.clone()));
    let snapshot = deps
        .cell
        .load()
        .apply([fact])
        .map_err(|e| RouteError::broken("task not understood", &e))?;
    let tenant = task.id.tenant();
    let tokens = vec![deps.mint(tenant)?];
    let requester = Requester::Operator;
    let claims = Arc::new(plan(
        deps,
        &snapshot,
        &task.id,
        &tokens,
        &requester,
        (None, None),
    )?);
    let call = Call {
        id: deps.mint(tenant)?,
        door: Door::Issue,
        principal: requester.principal(&claims),
        target: Target::Issue {
            claims,
            tokens,
            subject: None,
            evidence: None,
        },
        arguments: Arguments::default(),
        rates: SmallVec::new(),
    };
    let decision = bailiwick_decide::decide(&snapshot, &call, deps.clock.now());
    match decision.effect {
        Effect::Permit => Ok(()),
        Effect::Hold(_) => Err(RouteError::new(
            StatusCode::FORBIDDEN,
            DenyReason::UnknownObligation.code(),
            "a policy holds the first token for approval; no task was opened",
        )),
        Effect::Deny(reason) => Err(RouteError::new(
            StatusCode::FORBIDDEN,
            reason.code(),
            format!("{}; no task was opened", decision.reasons.text),
        )),
    }
}

/// What the tokens will say; whoever may not ask for them hears that there is no such task.
pub(crate) fn plan(
    deps: &Deps,
    snapshot: &Snapshot,
    task: &TaskId,
    tokens: &[TokenId],
    requester: &Requester,
    (requested, bound): (Option<&ScopeSet>, Option<Confirmation>),
) -> Result<Claims, RouteError> {
    let tenant = task.tenant();
    let (open, granted) = snapshot.task(task).ok_or_else(|| RouteError::not_found("task"))?;
    // A renewed token says no more than the one it renews, to the same sender.
    let (client, requested, bound) = match requester {
        Requester::Client(client, identity, _) if *identity == open.identity => {
            (client.to_string(), requested, bound)
        }
        Requester::Holder(Bearer { claims, .. }) if claims.nhi == open.identity && claims.task == *task => {
            require_client(snapshot, tenant, &claims.client, deps.clock.now())?;
            (claims.client.clone(), Some(&claims.scopes), claims.confirmation)
        }
        Requester::Operator => (OPERATOR_CLIENT.to_owned(), requested, bound),
        Requester::Workload(rule, identity, _) if *identity == open.identity => {
            (rule.to_string(), requested, bound)
        }
        Requester::Consent(Bearer { claims, .. }, _)
            if claims.nhi == open.identity && claims.task == *task =>
        {
            require_client(snapshot, tenant, &claims.client, deps.clock.now())?;
            (claims.client.clone(), requested.or(Some(&claims.scopes)), bound)
        }
        Requester::Client(..) | Requester::Consent(..) | Requester::Holder(_) | Requester::Workload(..) => {
            return Err(RouteError::not_found("task"));
        }
    };
    let identity = snapshot
        .identity(&open.identity)
        .ok_or_else(|| RouteError::not_found("identity"))?;
    let first = tokens
        .first()
        .cloned()
        .ok_or_else(|| RouteError::invalid("token.count", "`count` is 0"))?;
    let plan = IssuePlan {
        task: open,
        identity_expires_at: identity.expires_at,
        grant_expires_at: granted.expires_at,
        granted: &granted.coarse_scopes(),
        requested,
        ttl: None,
        issuer: &deps.issuer(tenant),
        audience: &deps.audience(tenant),
        client: &client,
        token: first,
        epoch: snapshot.epoch(),
        confirmation: bound,
        composition: stated(requester, identity),
    };
    let issued = credential::issue(plan, &deps.credential_limits, deps.clock.now());
    let issued = issued.map(|claims| match requester {
        Requester::Consent(_, link) => Claims {
            lineage: vec![link.clone()],
            ..claims
        },
        _ => claims,
    });
    issued.map_err(|refusal| match requester {
        // A token of a task that is over is a dead token.
        Requester::Holder(_) => {
            RouteError::new(StatusCode::UNAUTHORIZED, refusal.code(), refusal.to_string())
        }
        Requester::Client(..) | Requester::Consent(..) | Requester::Operator | Requester::Workload(..) => {
            RouteError::refused(refusal.code(), &refusal)
        }
    })
}

/// What the new token will say its identity is made of; whether that holds is part of the decision. A client states
/// it, a renewed token says what the one it renews does, and for the others what is declared is taken.
fn stated(requester: &Requester, identity: &Identity) -> Option<Digest> {
    let declared = &identity.composition.as_ref()?.present;
    match requester {
        Requester::Client(_, _, stated) => stated.as_ref().map(Composition::digest),
        Requester::Consent(bearer, _) | Requester::Holder(bearer) => bearer.claims.composition,
        Requester::Operator | Requester::Workload(..) => Some(declared.digest()),
    }
}

/// A token is renewed as long as its client could ask for a new one: the registration or the trust rule stands. A
/// client that describes itself is registered by the rule that admits its document.
fn require_client(snapshot: &Snapshot, tenant: &TenantId, client: &str, now: Time) -> Result<(), RouteError> {
    let registered = |id: ClientId| snapshot.client(&id).is_some_and(|client| now < client.expires_at);
    let trusted = |id: TrustId| {
        snapshot
            .trusts(tenant)
            .any(|rule| rule.id == id && rule.is_alive(now))
    };
    let public = |known: &Arc<PublicClient>| {
        known.is_alive(now) && (known.id.to_string() == client || known.admits_document(client))
    };
    let stands = client == OPERATOR_CLIENT
        || snapshot.public_clients(tenant).any(public)
        || ClientId::parse(tenant, client).is_ok_and(registered)
        || TrustId::parse(tenant, client).is_ok_and(trusted);
    if stands {
        return Ok(());
    }
    Err(RouteError::new(
        StatusCode::UNAUTHORIZED,
        "token.client-ended",
        format!(
            "`{}`, for which the token was issued, has ended: its tokens are not renewed",
            shown(client)
        ),
    ))
}

async fn sign(deps: &Deps, template: &Claims, tokens: Vec<TokenId>) -> Result<Vec<wire::Token>, RouteError> {
    let expires_in = template.expires_at.since(template.issued_at).as_secs();
    let scope = template.scopes.to_string();
    let status = crate::oauth::status_list::status_of(deps, template);
    let said = tokens.into_iter().map(|token| {
        let claims = Claims {
            token,
            ..template.clone()
        };
        with_status(claims.to_json(), status.as_ref())
    });
    let signed = crate::signing_keys::sign_all(deps, &template.tenant, "at+jwt", said.collect()).await?;
    let token = |access_token| wire::Token {
        access_token,
        token_type: Confirmation::token_type(template.confirmation).to_owned(),
        expires_in,
        scope: scope.clone(),
        issued_token_type: None,
        authorization_details: None,
        refresh_token: None,
    };
    Ok(signed.into_iter().map(token).collect())
}

/// The claims with `status` behind them: for verifiers outside, and nothing that is decided on here.
fn with_status(mut claims: Vec<u8>, status: Option<&Value>) -> Vec<u8> {
    if let Some(status) = status
        && claims.pop().is_some()
    {
        claims.extend_from_slice(b",\"status\":");
        claims.extend_from_slice(status.to_string().as_bytes());
        claims.push(b'}');
    }
    claims
}
