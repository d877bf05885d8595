//! Token exchange (RFC 8693): who may act for whom, and what the new token may say at most.
//!
//! Only delegation is known: the subject token says for whom, the actor token who acts. Only the outermost actor
//! decides; earlier ones are history, and so are `exp`, `nbf` and `aud` inside `act`. The new token lies within
//! both tokens, and more than that is refused, never cut.

use std::time::Duration;

use bailiwick_base::limits::shown;
use bailiwick_base::{Epoch, IdentityId, ServerName, Time, TokenId, TrustId};
use smallvec::SmallVec;

use crate::limits::Limits;
use crate::model::{Claims, Confirmation, Link, ScopeSet};

/// The scope that lets the bearer of a token be an actor in an exchange.
pub const EXCHANGE_SCOPE: (&str, &str) = ("token", "exchange");

/// The rules of an exchange, in the order they are asked. A code is never renamed or reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExchangeRule {
    /// The request is one for exchanging access tokens.
    Request,
    /// The subject token is a living access token of this tenant for us.
    SubjectToken,
    /// The actor token is a living access token of this tenant for us, and nobody acts under it.
    ActorToken,
    /// The actor token was issued to the client that asks.
    ActorClient,
    /// The actor token carries the scope that an exchange needs.
    ActorScope,
    /// The subject token names the actor in `may_act`.
    MayAct,
    /// Nobody acts twice in a chain.
    Cycle,
    /// The chain is no longer than its limit.
    Depth,
    /// One audience, ours, which both tokens reach.
    Audience,
    /// Every scope asked for is in both tokens.
    Scope,
    /// The new token outlives neither of them.
    Lifetime,
    /// The new token is bound to its sender where one of them is.
    Proof,
}

impl ExchangeRule {
    /// Every rule, in order.
    pub const ALL: [Self; 12] = [
        Self::Request,
        Self::SubjectToken,
        Self::ActorToken,
        Self::ActorClient,
        Self::ActorScope,
        Self::MayAct,
        Self::Cycle,
        Self::Depth,
        Self::Audience,
        Self::Scope,
        Self::Lifetime,
        Self::Proof,
    ];

    /// The stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Request => "exchange.request",
            Self::SubjectToken => "exchange.subject-token",
            Self::ActorToken => "exchange.actor-token",
            Self::ActorClient => "exchange.actor-client",
            Self::ActorScope => "exchange.actor-scope",
            Self::MayAct => "exchange.may-act",
            Self::Cycle => "exchange.cycle",
            Self::Depth => "exchange.depth",
            Self::Audience => "exchange.audience",
            Self::Scope => "exchange.scope",
            Self::Lifetime => "exchange.lifetime",
            Self::Proof => "exchange.proof",
        }
    }

    /// What a refusal by it means, in one line.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Request => "the request does not ask for an access token in exchange for access tokens",
            Self::SubjectToken => "the subject token is no living access token of this tenant",
            Self::ActorToken => "the actor token is no living, undelegated access token of this tenant",
            Self::ActorClient => "the actor token was issued to another client",
            Self::ActorScope => "the actor token does not carry `token:exchange`",
            Self::MayAct => "the subject token does not name the actor in `may_act`",
            Self::Cycle => "the actor stands in the chain already",
            Self::Depth => "the act chain would be longer than its limit",
            Self::Audience => "not exactly one audience that both tokens reach",
            Self::Scope => "a scope was asked for that is not in both tokens",
            Self::Lifetime => "the new token would have no life within both tokens",
            Self::Proof => "a token that is bound to its sender was exchanged for one that is not",
        }
    }
}

/// An exchange that is refused: the first rule that does not hold, and what would pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct ExchangeRefusal {
    /// Which.
    pub rule: ExchangeRule,
    /// For whoever asked.
    pub text: String,
}

impl ExchangeRefusal {
    /// A refusal by `rule`.
    pub fn new(rule: ExchangeRule, text: impl Into<String>) -> Self {
        let text = text.into();
        Self { rule, text }
    }
}

/// Everything an exchange is made from. Both tokens were verified; whether they were revoked is decided later.
#[derive(Debug, Clone)]
pub struct ExchangePlan<'a> {
    /// For whom.
    pub subject: &'a Claims,
    /// Who is to act.
    pub actor: &'a Claims,
    /// Who may act next: what the actor's task says.
    pub may_act: &'a [IdentityId],
    /// `client_id` of the client that asks.
    pub client: &'a str,
    /// `iss`.
    pub issuer: &'a str,
    /// Our audience.
    pub audience: &'a str,
    /// `audience` and `resource` as asked for: exactly one, ours or a server below it.
    pub audiences: &'a [&'a str],
    /// The scope as asked for.
    pub requested: &'a ScopeSet,
    /// How long it should live.
    pub ttl: Option<Duration>,
    /// `jti`, freshly minted.
    pub token: TokenId,
    /// The revocation epoch of the snapshot.
    pub epoch: Epoch,
    /// What the client that asks proved to hold; the new token is bound to it.
    pub confirmation: Option<Confirmation>,
}

/// The claims of the exchanged token.
///
/// # Errors
/// [`ExchangeRefusal`] by the first rule that does not hold.
pub fn exchange(plan: ExchangePlan<'_>, limits: &Limits, now: Time) -> Result<Claims, ExchangeRefusal> {
    let (subject, actor) = (plan.subject, plan.actor);
    require_parties(&plan, limits)?;
    require_audience(&plan)?;
    let issued_at = Time::from_secs(now.secs());
    let ttl = plan.ttl.unwrap_or(limits.token_ttl_max).min(limits.token_ttl_max);
    let ends_at = issued_at.after(ttl).min(subject.expires_at).min(actor.expires_at);
    let claims = Claims {
        issuer: plan.issuer.to_owned(),
        subject: subject.subject.clone(),
        audience: plan.audience.to_owned(),
        client: plan.client.to_owned(),
        issued_at,
        expires_at: Time::from_secs(ends_at.secs()),
        tenant: actor.tenant.clone(),
        nhi: actor.nhi.clone(),
        task: actor.task.clone(),
        epoch: plan.epoch,
        scopes: plan.requested.clone(),
        act: chain(subject, actor),
        may_act: plan.may_act.to_vec(),
        lineage: lineage(subject, actor),
        confirmation: plan.confirmation,
        composition: actor.composition,
        token: plan.token,
    };
    require_attenuated(subject, actor, &claims)?;
    Ok(claims)
}

fn require_parties(plan: &ExchangePlan<'_>, limits: &Limits) -> Result<(), ExchangeRefusal> {
    let (subject, actor, tenant) = (plan.subject, plan.actor, plan.token.tenant());
    if subject.tenant != *tenant || subject.nhi.tenant() != tenant {
        let text = "subject token is not of this tenant";
        return Err(ExchangeRefusal::new(ExchangeRule::SubjectToken, text));
    }
    if actor.tenant != *tenant || actor.nhi.tenant() != tenant {
        let text = "actor token is not of this tenant";
        return Err(ExchangeRefusal::new(ExchangeRule::ActorToken, text));
    }
    if !actor.act.is_empty() {
        let text = "actor token was delegated itself: give one that the actor got for its own task";
        return Err(ExchangeRefusal::new(ExchangeRule::ActorToken, text));
    }
    if actor.client != plan.client {
        let text = "actor token was issued to another client: give one that this client got";
        return Err(ExchangeRefusal::new(ExchangeRule::ActorClient, text));
    }
    let (server, action) = EXCHANGE_SCOPE;
    if !actor.scopes.covers(&format!("{server}:{action}")) {
        let text = "actor token does not carry `token:exchange`: open its task with --can token:exchange";
        return Err(ExchangeRefusal::new(ExchangeRule::ActorScope, text));
    }
    require_named(subject, actor)?;
    if chain(subject, actor).len() > limits.exchange_depth_max {
        let text = format!("act chain would be longer than {}", limits.exchange_depth_max);
        return Err(ExchangeRefusal::new(ExchangeRule::Depth, text));
    }
    Ok(())
}

/// The subject token names the actor, who does not stand in its chain yet.
fn require_named(subject: &Claims, actor: &Claims) -> Result<(), ExchangeRefusal> {
    if !subject.may_act.contains(&actor.nhi) {
        let text = "subject token does not name this actor in `may_act`: open its task with --may-act";
        return Err(ExchangeRefusal::new(ExchangeRule::MayAct, text));
    }
    let twice = subject.nhi == actor.nhi
        || subject.act.contains(&actor.nhi)
        || subject.subject == actor.nhi.to_string();
    if twice {
        let text = "the actor stands in the chain of the subject token already";
        return Err(ExchangeRefusal::new(ExchangeRule::Cycle, text));
    }
    Ok(())
}

/// Exactly one audience: ours, or one server of it that both tokens reach; then every scope is on that server.
fn require_audience(plan: &ExchangePlan<'_>) -> Result<(), ExchangeRefusal> {
    let refused = |text: String| Err(ExchangeRefusal::new(ExchangeRule::Audience, text));
    let [one] = plan.audiences else {
        return refused(format!(
            "exactly one `audience` or `resource` is needed: {} or a server below it",
            plan.audience
        ));
    };
    if *one == plan.audience {
        return Ok(());
    }
    let server = one
        .strip_prefix(plan.audience)
        .and_then(|rest| rest.strip_prefix('/'))
        .and_then(|name| ServerName::parse(name).ok());
    let Some(server) = server else {
        return refused(format!("audience must be {} or a server below it", plan.audience));
    };
    let reaches = |claims: &Claims| claims.scopes.iter().any(|scope| is_on(scope, &server));
    if !reaches(plan.subject) || !reaches(plan.actor) {
        return refused(format!("the tokens do not both reach server `{server}`"));
    }
    match plan.requested.iter().find(|scope| !is_on(scope, &server)) {
        Some(other) => Err(ExchangeRefusal::new(
            ExchangeRule::Scope,
            format!("scope `{}` is not on server `{server}`", shown(other)),
        )),
        None => Ok(()),
    }
}

fn is_on(scope: &str, server: &ServerName) -> bool {
    scope
        .strip_prefix(server.as_str())
        .is_some_and(|rest| rest.starts_with(':'))
}

/// Whether `wanted` is what an exchange of `subject` by `actor` may give at most. It is asked when the token is
/// planned and again when it is decided.
///
/// # Errors
/// [`ExchangeRefusal`] by the first rule that does not hold.
pub fn require_attenuated(subject: &Claims, actor: &Claims, wanted: &Claims) -> Result<(), ExchangeRefusal> {
    let refused = |rule: ExchangeRule, text: &str| Err(ExchangeRefusal::new(rule, text));
    require_named(subject, actor)?;
    let one_tenant = subject.tenant == actor.tenant && wanted.tenant == actor.tenant;
    if !one_tenant || wanted.subject != subject.subject {
        let text = "the new token is for the subject of the subject token, in its tenant";
        return refused(ExchangeRule::SubjectToken, text);
    }
    let acts = wanted.nhi == actor.nhi && wanted.task == actor.task && wanted.act == chain(subject, actor);
    if !acts || wanted.lineage != lineage(subject, actor) || wanted.composition != actor.composition {
        let text = "the new token has to name the actor and everything it stands on";
        return refused(ExchangeRule::ActorToken, text);
    }
    if wanted.audience != subject.audience || wanted.audience != actor.audience {
        let text = "the new token is for the audience of both tokens";
        return refused(ExchangeRule::Audience, text);
    }
    if wanted.scopes.is_empty() {
        let text = "parameter `scope` is missing: name what the actor needs, within both tokens";
        return refused(ExchangeRule::Scope, text);
    }
    let beyond = |scope: &&str| !subject.scopes.covers(scope) || !actor.scopes.covers(scope);
    if let Some(scope) = wanted.scopes.iter().find(beyond) {
        let text = format!("scope `{}` is not in both tokens: ask for less", shown(scope));
        return refused(ExchangeRule::Scope, &text);
    }
    let outlives = wanted.expires_at > subject.expires_at || wanted.expires_at > actor.expires_at;
    if outlives || wanted.expires_at <= wanted.issued_at {
        let text = "no life is left within both tokens, or none was asked for";
        return refused(ExchangeRule::Lifetime, text);
    }
    require_bound(subject, actor, wanted)
}

/// What is bound stays bound: to what the actor token is bound to, and to something where the subject token is.
fn require_bound(subject: &Claims, actor: &Claims, wanted: &Claims) -> Result<(), ExchangeRefusal> {
    let kept = actor.confirmation.is_none() || wanted.confirmation == actor.confirmation;
    if kept && (subject.confirmation.is_none() || wanted.confirmation.is_some()) {
        return Ok(());
    }
    let text = "a token of these is bound to its sender: ask with the proof of the key that the actor token is bound to";
    Err(ExchangeRefusal::new(ExchangeRule::Proof, text))
}

/// The new actor in front of those before it.
fn chain(subject: &Claims, actor: &Claims) -> SmallVec<[IdentityId; 2]> {
    std::iter::once(&actor.nhi).chain(&subject.act).cloned().collect()
}

/// Both tokens, then what they stand on.
fn lineage(subject: &Claims, actor: &Claims) -> Vec<Link> {
    let link = |claims: &Claims| Link {
        token: claims.token.clone(),
        task: claims.task.clone(),
        trust: TrustId::parse(&claims.tenant, &claims.client).ok(),
    };
    [link(actor), link(subject)]
        .into_iter()
        .chain(subject.lineage.iter().chain(&actor.lineage).cloned())
        .collect()
}
