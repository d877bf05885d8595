//! Operator sessions: a one-minute JWT signed with the operator's own Ed25519 key.
//!
//! The service holds only public keys; nothing that it stores can impersonate an operator. A session that was used for
//! a change serves no other change ([`crate::used`]); what only reads may be asked with it until it ends.

use std::time::Duration;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use axum::extract::FromRequestParts;
use bailiwick_base::{Digest, OperatorId, Sha256, Time, json, limits};
use bailiwick_inventory::{Operator, installation};
use bailiwick_store::{Once, OnceKind};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::request::Parts;
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;

use crate::Deps;
use crate::problem::RouteError;
use crate::used::Taken;

/// `typ` of a session.
pub const SESSION_TYPE: &str = "bailiwick-session+jwt";
/// Longest life of a session: from its issue, and from now.
pub const SESSION_TTL: Duration = Duration::from_secs(60);
/// Life that the command line gives a session: with it, a clock that is [`SKEW`] ahead is still within
/// [`SESSION_TTL`] from now.
pub const SESSION_LIFE: Duration = Duration::from_secs(30);
/// How far the clocks of operator and service may be apart.
const SKEW: Duration = Duration::from_secs(30);

/// Who commands, authenticated.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) operator: OperatorId,
    /// `idempotency-key` of the request.
    pub(crate) idempotency: Option<String>,
    /// A second operator's session, in `bailiwick-countersign`.
    pub(crate) second: Option<OperatorId>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    typ: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Claims {
    iss: String,
    aud: String,
    iat: i64,
    exp: i64,
    jti: String,
    #[serde(default)]
    body: Option<String>,
}

/// How long the store that nodes share may take to say whether another one took a session.
const SHARED_ANSWER_MAX: Duration = Duration::from_secs(2);
/// How long a session is kept there past its end.
const KEPT: Duration = Duration::from_secs(60);

/// A session whose signature and times hold.
struct Verified {
    operator: OperatorId,
    jti: String,
    expires: Time,
}

/// The bearer credential of a request: one header, the scheme in any case (RFC 9110 §11.1).
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, credential) = value.to_str().ok()?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| credential.trim_matches(' '))
}

fn refused(why: &str) -> RouteError {
    RouteError::new(
        StatusCode::UNAUTHORIZED,
        "session.invalid",
        format!("operator session refused: {why}"),
    )
    .hint("run `bailiwick claim` on the service's machine to become an operator")
}

impl FromRequestParts<Deps> for Session {
    type Rejection = RouteError;

    async fn from_request_parts(parts: &mut Parts, deps: &Deps) -> Result<Self, RouteError> {
        let bearer = bearer(&parts.headers).ok_or_else(|| refused("no session was sent"))?;
        let now = deps.clock.now();
        let operators = deps.operators.load();
        let first = verify(bearer, &operators, &deps.base_url, now)?;
        let second = match parts
            .headers
            .get("bailiwick-countersign")
            .and_then(|v| v.to_str().ok())
        {
            None => None,
            Some(text) => Some(verify(text, &operators, &deps.base_url, now)?),
        };
        if second.as_ref().is_some_and(|s| s.operator == first.operator) {
            return Err(refused("the countersignature is by the same operator"));
        }
        let idempotency = match parts.headers.get("idempotency-key").map(|v| v.to_str()) {
            None => None,
            Some(Ok(key)) if (8..=128).contains(&key.len()) => Some(key.to_owned()),
            Some(_) => {
                return Err(RouteError::invalid(
                    "idempotency.malformed",
                    "idempotency-key must be 8 to 128 characters",
                ));
            }
        };
        if !parts.method.is_safe() {
            let asked = asked(parts, idempotency.as_deref());
            for session in [Some(&first), second.as_ref()].into_iter().flatten() {
                let used = (&session.operator, session.jti.as_str(), session.expires);
                deps.sessions
                    .take(used, asked, now)
                    .map_err(|taken| used_up(&taken))?;
                // A second operator's word makes a stop one that nobody lifts: that waits for the store of all nodes.
                let is_second = session.operator != first.operator;
                if is_second || !only_stops(&parts.uri) {
                    require_first(deps, session, asked, now).await?;
                }
            }
        }
        Ok(Self {
            operator: first.operator,
            idempotency,
            second: second.map(|s| s.operator),
        })
    }
}

/// What a session is used for, when that may be asked again: only under an idempotency key, which makes the second
/// time an answer and no act.
fn asked(parts: &Parts, idempotency: Option<&str>) -> Option<Digest> {
    let key = idempotency?;
    let mut sha = Sha256::new();
    sha.update_field(parts.method.as_str().as_bytes());
    sha.update_field(parts.uri.path().as_bytes());
    sha.update_field(key.as_bytes());
    Some(sha.finish())
}

/// Whether a command can do nothing but stop something. It does not wait for the store that nodes share, which may be
/// what is away: within its minute such a session may stop the same and more at another node.
fn only_stops(uri: &http::Uri) -> bool {
    let path = uri.path();
    path.starts_with("/v1/") && (path.ends_with("/kill") || path.ends_with("/suspend"))
}

/// Uses a session up at every node; this one has looked at its own memory before.
async fn require_first(
    deps: &Deps,
    session: &Verified,
    asked: Option<Digest>,
    now: Time,
) -> Result<(), RouteError> {
    let mut sha = Sha256::new();
    sha.update_field(session.operator.to_string().as_bytes());
    sha.update_field(session.jti.as_bytes());
    let what = Once {
        kind: OnceKind::Session,
        once: sha.finish(),
        asked,
        ends_at: session.expires.after(KEPT),
    };
    let tenant = installation();
    let taking = deps.store.take_once(&tenant, what, now);
    match tokio::time::timeout(SHARED_ANSWER_MAX, taking).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(used_up(&Taken::Used)),
        Ok(Err(_)) | Err(_) => Err(RouteError::unavailable(
            "session.unknown",
            "the store that all nodes share does not answer: nobody can tell whether this session was used",
        )
        .hint("ask again; what only stops, `kill` and `suspend`, does not wait for it")),
    }
}

fn used_up(taken: &Taken) -> RouteError {
    match taken {
        Taken::Crowded => RouteError::unavailable(
            "session.crowded",
            "this operator has sent too many commands within a minute: wait for one",
        ),
        Taken::Used => RouteError::new(
            StatusCode::UNAUTHORIZED,
            "session.used",
            "operator session refused: it was used for another command",
        )
        .hint("sign a session for each command; to repeat a command, send its idempotency-key again"),
    }
}

/// Signature first; nothing of the claims is believed before it holds.
fn verify(token: &str, operators: &[Operator], base_url: &str, now: Time) -> Result<Verified, RouteError> {
    let mut found = None;
    let key_of = |iss: &str| {
        let id = OperatorId::parse(&installation(), iss).ok()?;
        let operator = operators.iter().find(|o| o.id == id)?;
        found = Some(id);
        Some(operator.public_key)
    };
    let said = signed(token, (SESSION_TYPE, base_url), key_of, now).map_err(refused)?;
    // No session is for one body: what it is used for is its request.
    let operator = found.filter(|_| said.body.is_none());
    Ok(Verified {
        operator: operator.ok_or_else(|| refused("claims not understood"))?,
        jti: said.jti,
        expires: said.expires,
    })
}

/// What somebody said under his own key.
pub(crate) struct Said {
    pub(crate) jti: String,
    pub(crate) expires: Time,
    /// The digest of the one body that it is for.
    pub(crate) body: Option<String>,
}

/// Reads a JWT of this type for `base_url` under the Ed25519 key of its issuer; why it is not taken.
pub(crate) fn signed(
    token: &str,
    (kind, base_url): (&str, &str),
    key_of: impl FnOnce(&str) -> Option<[u8; 32]>,
    now: Time,
) -> Result<Said, &'static str> {
    if token.len() > limits::TOKEN_MAX {
        return Err("too long");
    }
    let mut parts = token.split('.');
    let (Some(header), Some(claims), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err("not a compact JWT");
    };
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| "not base64url");
    let parsed: Header =
        json::parse_as(&decode(header)?, limits::TOKEN_MAX).map_err(|_| "header not understood")?;
    if parsed.alg != "EdDSA" || parsed.typ != kind {
        return Err("of another type");
    }
    let claims_bytes = decode(claims)?;
    let parsed: Claims =
        json::parse_as(&claims_bytes, limits::TOKEN_MAX).map_err(|_| "claims not understood")?;
    let key = key_of(&parsed.iss).ok_or("nobody of this name has a key here")?;
    let length = token.len() - signature.len() - 1;
    let message = token.as_bytes().get(..length).ok_or("not a compact JWT")?;
    UnparsedPublicKey::new(&ED25519, key)
        .verify(message, &decode(signature)?)
        .map_err(|_| "signature does not hold")?;
    let (issued, expires) = (Time::from_secs(parsed.iat), Time::from_secs(parsed.exp));
    if parsed.aud != base_url {
        return Err("made for another installation");
    }
    if expires <= now
        || issued > now.after(SKEW)
        || expires > issued.after(SESSION_TTL)
        || expires > now.after(SESSION_TTL)
    {
        return Err("expired, not yet valid, or too long-lived; compare the clocks");
    }
    Ok(Said {
        jti: parsed.jti,
        expires,
        body: parsed.body,
    })
}
