//! Tokens as requests present them at our own doors: verified with the proof of possession they need, refused with
//! the challenge that says which (RFC 6750 §3, RFC 9449 §7.1).

use axum::response::Response;
use bailiwick_base::TenantId;
use bailiwick_decide::{Arguments, Bearer, Call, Door, Principal};
use bailiwick_pep::token::{NONCE_HEADER, Presented, ProofVerifier, TokenError, VerifiedToken};
use http::request::Parts;
use http::{HeaderName, HeaderValue, StatusCode, header};
use smallvec::SmallVec;

use crate::authzen::named;
use crate::point::DecisionPoint;
use crate::problem::RouteError;

/// The token of a request, shown by the sender it is bound to.
pub(crate) fn verified(
    deps: &impl DecisionPoint,
    tenant: Option<&TenantId>,
    parts: &Parts,
) -> Result<VerifiedToken, TokenError> {
    let presented = Presented::of(parts);
    deps.verifier()
        .verify_presented(deps.proofs(), tenant, &presented, deps.clock().now())
}

/// The living bearer of a token that has one of these scopes, and its tenant; `who` says in words who is expected.
pub(crate) fn admitted(
    deps: &impl DecisionPoint,
    tenant: Option<&TenantId>,
    parts: &Parts,
    (who, scopes): (&str, &[(&str, &str)]),
) -> Result<(TenantId, Bearer), RouteError> {
    if !parts.headers.contains_key(header::AUTHORIZATION) {
        return Err(unauthorized(who, "no token was sent"));
    }
    let verified = verified(deps, tenant, parts)
        .map_err(|error| unauthorized(who, &error.to_string()).challenged(deps, parts, error))?;
    let (tenant, bearer) = (verified.tenant.clone(), verified.bearer());
    let has = |(server, action): &(&str, &str)| bearer.claims.scopes.contains(server, action);
    if !scopes.iter().any(has) {
        let wanted: Vec<String> = scopes
            .iter()
            .map(|(server, action)| format!("{server}:{action}"))
            .collect();
        return Err(RouteError::new(
            StatusCode::FORBIDDEN,
            "insufficient_scope",
            format!("the {who} needs the scope {}", wanted.join(" or ")),
        ));
    }
    require_living(deps, &bearer, who)?;
    Ok((tenant, bearer))
}

/// Whether nothing ended the bearer since the token was issued.
pub(crate) fn require_living(
    deps: &impl DecisionPoint,
    bearer: &Bearer,
    who: &str,
) -> Result<(), RouteError> {
    let presented = Call {
        id: deps
            .pep()
            .next_id(&bearer.claims.tenant)
            .map_err(|e| RouteError::broken("randomness failed", &e))?,
        door: Door::Check,
        principal: Principal::Bearer(bearer.clone()),
        target: named("token.introspect", "", ""),
        arguments: Arguments::default(),
        rates: SmallVec::new(),
    };
    match deps.cell().load().ended(&presented, deps.clock().now()) {
        None => Ok(()),
        Some(reason) => Err(unauthorized(who, reason.code())),
    }
}

fn unauthorized(who: &str, why: &str) -> RouteError {
    RouteError::new(StatusCode::UNAUTHORIZED, "invalid_token", format!("{who}: {why}"))
}

/// What answers a refused token: how to present one, and the nonce to do it with.
#[derive(Debug, Clone)]
pub(crate) struct Challenge {
    value: String,
    nonce: Option<String>,
}

impl Challenge {
    /// `None` where the scheme of the request is Bearer and would do.
    pub(crate) fn of(deps: &impl DecisionPoint, parts: &Parts, error: TokenError) -> Option<Self> {
        let proving = Presented::of(parts).is_proving();
        if !proving && error != TokenError::SenderConstrained {
            return None;
        }
        let code = match error {
            TokenError::Proof(error) => error.oauth(),
            _ => "invalid_token",
        };
        Some(Self {
            value: format!("DPoP error=\"{code}\", algs=\"{}\"", algorithms().join(" ")),
            nonce: proving.then(|| deps.proofs().nonce(deps.clock().now())),
        })
    }

    pub(crate) fn apply(self, response: &mut Response) {
        let headers = response.headers_mut();
        if let Ok(value) = HeaderValue::from_str(&self.value) {
            headers.insert(header::WWW_AUTHENTICATE, value);
        }
        if let Some(Ok(nonce)) = self.nonce.as_deref().map(HeaderValue::from_str) {
            headers.insert(HeaderName::from_static(NONCE_HEADER), nonce);
        }
    }
}

/// Gives whoever proves the nonce for the next time (RFC 9449 §8.2).
pub(crate) fn with_nonce(deps: &impl DecisionPoint, parts: &Parts, mut response: Response) -> Response {
    if Presented::of(parts).is_proving()
        && let Ok(nonce) = HeaderValue::from_str(&deps.proofs().nonce(deps.clock().now()))
    {
        response
            .headers_mut()
            .insert(HeaderName::from_static(NONCE_HEADER), nonce);
    }
    response
}

/// What proofs may be signed with, for metadata and challenges.
pub(crate) fn algorithms() -> [&'static str; 2] {
    ProofVerifier::ALGORITHMS.map(|algorithm| algorithm.as_str())
}
