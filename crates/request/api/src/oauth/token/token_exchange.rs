//! `grant_type=urn:ietf:params:oauth:grant-type:token-exchange` (RFC 8693): delegation, and nothing else.
//!
//! The client authenticates, gives the token of whom it acts for and its own, and gets one that names both. The
//! rules are the room's (`bailiwick_credential::exchange`); what they refuse is recorded with the rule, what they
//! let pass is decided and recorded before the token leaves.

use std::sync::Arc;
use std::time::Duration;

use bailiwick_base::{IdentityId, TenantId, TokenId};
use bailiwick_credential::{
    self as credential, Claims, Confirmation, ExchangePlan, ExchangeRefusal, ExchangeRule, ScopeSet,
};
use bailiwick_decide::{Arguments, Bearer, Call, DenyReason, Door, NamedEntity, Principal, Target};
use bailiwick_wire as wire;
use http::StatusCode;
use serde_json::Map;
use smallvec::SmallVec;

use super::client_credentials::bound;
use super::composition;
use crate::Deps;
use crate::issue::{self, Requester, Stopped};
use crate::oauth::client::authenticate;
use crate::oauth::error::{OauthError, bad, refused};
use crate::oauth::form::Form;
use crate::oauth::proof::Shown;

/// RFC 8693 §2.1.
pub(super) const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
/// RFC 8693 §3: the only kind that is taken and given.
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// What the record of a refusal names.
struct Asked<'a> {
    deps: &'a Deps,
    tenant: &'a TenantId,
    identity: IdentityId,
    /// `jti` of the subject token, once it is known to be ours.
    subject: Option<TokenId>,
    /// What the client proved to hold.
    shown: &'a Shown,
    /// What its token will be bound to.
    bound: Option<Confirmation>,
}

pub(super) async fn granted(
    deps: &Deps,
    tenant: &TenantId,
    form: &Form,
    shown: &Shown,
) -> Result<wire::Token, OauthError> {
    let requester = authenticate(deps, tenant, form, shown.certificate()).await?;
    composition::settle(deps, &requester).await?;
    let bound = bound(deps, tenant, &requester, shown)?;
    let Requester::Client(client, identity, _) = requester else {
        return Err(bad("invalid_request", "an exchange is asked for by a client"));
    };
    let mut asked = Asked {
        deps,
        tenant,
        identity,
        subject: None,
        shown,
        bound,
    };
    let planned = plan(&mut asked, &client.to_string(), form);
    let (claims, subject, actor) = match planned {
        Ok(planned) => planned,
        Err(Unplanned::Refused(refusal)) => return Err(asked.refused(refusal).await),
        Err(Unplanned::Failed(error)) => return Err(error),
    };
    let tokens = vec![claims.token.clone()];
    let principal = Principal::Bearer(actor);
    let issued = issue::decided(deps, Arc::new(claims), tokens, principal, (Some(subject), None))
        .await
        .map_err(stopped)?;
    let token = issued.tokens.into_iter().next();
    let token = token.ok_or_else(|| bad("invalid_request", "no token was issued"))?;
    Ok(wire::Token {
        issued_token_type: Some(ACCESS_TOKEN.to_owned()),
        ..token
    })
}

enum Unplanned {
    Refused(ExchangeRefusal),
    Failed(OauthError),
}

impl From<ExchangeRefusal> for Unplanned {
    fn from(refusal: ExchangeRefusal) -> Self {
        Self::Refused(refusal)
    }
}

type Planned = (Claims, Bearer, Bearer);

fn plan(asked: &mut Asked<'_>, client: &str, form: &Form) -> Result<Planned, Unplanned> {
    let (deps, tenant) = (asked.deps, asked.tenant);
    require_kinds(form)?;
    let ttl = lifetime(form)?;
    let subject = verified(asked, form, "subject_token", ExchangeRule::SubjectToken)?;
    asked.subject = Some(subject.claims.token.clone());
    let actor = verified(asked, form, "actor_token", ExchangeRule::ActorToken)?;
    let snapshot = deps.cell.load();
    let may_act = snapshot
        .task(&actor.claims.task)
        .map(|(task, _)| task.may_act.clone())
        .unwrap_or_default();
    let audiences: Vec<&str> = form.all("audience").chain(form.all("resource")).collect();
    let token = deps
        .mint(tenant)
        .map_err(|error| Unplanned::Failed(refused(&error)))?;
    let plan = ExchangePlan {
        subject: &subject.claims,
        actor: &actor.claims,
        may_act: &may_act,
        client,
        issuer: &deps.issuer(tenant),
        audience: &deps.audience(tenant),
        audiences: &audiences,
        requested: &form.get("scope").map(ScopeSet::parse).unwrap_or_default(),
        ttl,
        token,
        epoch: snapshot.epoch(),
        confirmation: asked.bound,
    };
    let claims = credential::exchange(plan, &deps.credential_limits, deps.clock.now())?;
    Ok((claims, subject, actor))
}

/// Access tokens in, an access token out, and nothing asked for that is not known here.
fn require_kinds(form: &Form) -> Result<(), ExchangeRefusal> {
    let wrong = |text: String| Err(ExchangeRefusal::new(ExchangeRule::Request, text));
    // Unknown parameters are ignored (RFC 6749 §3.2), but this one narrows: a token without it would be wider.
    if form.get("authorization_details").is_some() {
        return wrong("an exchange is narrowed with `scope`, not with `authorization_details`".to_owned());
    }
    if form
        .get("scope")
        .is_some_and(|scope| ScopeSet::parse(scope).is_empty())
    {
        let blank = "`scope` is blank: leave it out to ask for everything";
        return Err(ExchangeRefusal::new(ExchangeRule::Scope, blank.to_owned()));
    }
    if form.get("actor_token").is_none() {
        let missing = "parameter `actor_token` is missing: send a token of your own, for who acts is named in the new one";
        return wrong(missing.to_owned());
    }
    for name in ["subject_token_type", "actor_token_type"] {
        if form.get(name) != Some(ACCESS_TOKEN) {
            return wrong(format!("`{name}` must be {ACCESS_TOKEN}"));
        }
    }
    if form
        .get("requested_token_type")
        .is_some_and(|kind| kind != ACCESS_TOKEN)
    {
        return wrong(format!("`requested_token_type` must be {ACCESS_TOKEN}"));
    }
    if form.get("subject_token").is_none() {
        return wrong("parameter `subject_token` is missing".to_owned());
    }
    Ok(())
}

/// `expires_in`: our own parameter, whole seconds; the answer may be shorter, never longer.
fn lifetime(form: &Form) -> Result<Option<Duration>, ExchangeRefusal> {
    let Some(text) = form.get("expires_in") else {
        return Ok(None);
    };
    text.parse()
        .map(|seconds: u32| Some(Duration::from_secs(u64::from(seconds))))
        .map_err(|_| {
            let text = "`expires_in` must be a whole number of seconds";
            ExchangeRefusal::new(ExchangeRule::Request, text)
        })
}

fn verified(
    asked: &Asked<'_>,
    form: &Form,
    name: &'static str,
    rule: ExchangeRule,
) -> Result<Bearer, ExchangeRefusal> {
    let text = form.get(name).unwrap_or_default();
    let now = asked.deps.clock.now();
    let refused = |why: String| ExchangeRefusal::new(rule, format!("`{name}` is not usable: {why}"));
    let token = asked
        .deps
        .verifier
        .verify_unshown(asked.tenant, text.as_bytes(), now)
        .map_err(|error| refused(error.to_string()))?;
    // Whoever exchanges a token acts on it: what it is bound to has to be shown, as at any other door.
    if let Some(bound) = token.claims.confirmation
        && !asked.shown.holds(bound)
    {
        let proof = form.get("subject_token_proof");
        let proof = proof
            .filter(|_| rule == ExchangeRule::SubjectToken)
            .ok_or_else(|| {
                refused(
                    "it is bound to its sender: ask with the proof, or over the certificate, that it needs"
                        .to_owned(),
                )
            })?;
        asked
            .shown
            .require_handed_on(asked.deps, &token, proof)
            .map_err(|error| refused(format!("`subject_token_proof`: {error}")))?;
    }
    Ok(token.bearer())
}

impl Asked<'_> {
    /// Recorded first, then told.
    async fn refused(&self, refusal: ExchangeRefusal) -> OauthError {
        let id = match self.deps.mint(self.tenant) {
            Ok(id) => id,
            Err(error) => return refused(&error),
        };
        let call = Call {
            id,
            door: Door::Issue,
            principal: Principal::Identity {
                id: self.identity.clone(),
                task: None,
            },
            target: Target::Named {
                action: "token.exchange".to_owned(),
                action_properties: Map::new(),
                resource: NamedEntity {
                    kind: "token".to_owned(),
                    id: self.subject.as_ref().map(ToString::to_string).unwrap_or_default(),
                    properties: Map::new(),
                },
                context: Map::new(),
            },
            arguments: Arguments::default(),
            rates: SmallVec::new(),
        };
        let reason = DenyReason::Exchange(refusal.rule);
        let denial = self.deps.pep.refuse(&call, reason, refusal.text).await;
        stopped(Stopped::Denied(denial))
    }
}

/// RFC 8693 §2.2.2: what is wrong with a token is `invalid_request`.
fn stopped(stopped: Stopped) -> OauthError {
    let error = match &stopped {
        Stopped::Denied(denial) => match denial.reason {
            DenyReason::Exchange(ExchangeRule::Audience) => "invalid_target",
            DenyReason::Exchange(ExchangeRule::Scope) => "invalid_scope",
            DenyReason::Exchange(ExchangeRule::ActorScope) => "unauthorized_client",
            _ => "invalid_request",
        },
        Stopped::Failed(_) => "server_error",
    };
    let route = stopped.into_route(false);
    match route.status() {
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::INTERNAL_SERVER_ERROR => refused(&route),
        _ => bad(error, route.detail()),
    }
}
