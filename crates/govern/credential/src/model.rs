//! What the room holds.

use std::collections::BTreeSet;
use std::time::Duration;

use bailiwick_base::{
    ClientId, CredentialId, Digest, Epoch, IdentityId, SigningAlgorithm, TaskId, TenantId, Time, TokenId,
    TrustId,
};
use smallvec::SmallVec;

/// One bounded piece of work, for which credentials are issued.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Id, tenant included.
    pub id: TaskId,
    /// Who does the work.
    pub identity: IdentityId,
    /// What the work is.
    pub purpose: String,
    /// Who asked for it (operator, identity or system, as text).
    pub requested_by: String,
    /// When it was opened; no call before this is decided under it.
    pub opens_at: Time,
    /// When it ends by itself.
    pub closes_at: Time,
    /// Open or closed.
    pub state: TaskState,
    /// Who may act for its identity under a token of it (RFC 8693 §4.4), sorted; nobody when empty.
    pub may_act: Vec<IdentityId>,
}

/// How long a task that is over is still known where calls are decided, so that a late one is told the precise reason.
pub const TASK_AFTERLIFE: Duration = Duration::from_secs(86_400);

impl Task {
    /// Whether it was over so long ago at `now` that nobody has to know it any more: every token of it is dead.
    #[must_use]
    pub fn is_forgotten(&self, now: Time) -> bool {
        let ended = match &self.state {
            TaskState::Open => self.closes_at,
            TaskState::Closed { at, .. } => *at,
        };
        ended.after(TASK_AFTERLIFE) < now
    }
}

/// Whether credentials of a task live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskState {
    /// Work goes on.
    Open,
    /// Work ended; every credential of the task is dead.
    Closed {
        /// When.
        at: Time,
        /// Why.
        reason: String,
    },
}

/// An OAuth client registered for one identity (RFC 6749 §2; `private_key_jwt`, RFC 7523).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// `client_id`.
    pub id: ClientId,
    /// The identity it authenticates.
    pub identity: IdentityId,
    /// The only algorithm its assertions may use.
    pub algorithm: SigningAlgorithm,
    /// Public key as canonical JWK bytes (RFC 7517).
    pub jwk: Vec<u8>,
    /// When it was registered.
    pub created_at: Time,
    /// Until when assertions are taken.
    pub expires_at: Time,
    /// What its tokens are bound to.
    pub proof: ClientProof,
    /// SHA-256 of the DER of the certificate by which it is known over TLS (RFC 8705 §2.2).
    pub certificate: Option<Digest>,
}

/// What a client has to prove to hold whenever it asks for a token, and whenever the token is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClientProof {
    /// A key of its choice, by a proof with every request (RFC 9449).
    Dpop,
    /// Its client certificate (RFC 8705).
    Mtls,
    /// Nothing: whoever has the token may use it. A proof that is shown all the same binds the token.
    None,
}

impl ClientProof {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Dpop, Self::Mtls, Self::None];

    /// What a client proves whose registration does not say: its certificate where it has one, and else a key. Tokens
    /// that anybody may use are said to be that.
    #[must_use]
    pub const fn usual(has_certificate: bool) -> Self {
        if has_certificate { Self::Mtls } else { Self::Dpop }
    }

    /// The word of the wire and of the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dpop => "dpop",
            Self::Mtls => "mtls",
            Self::None => "none",
        }
    }

    /// Parses the word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|proof| proof.as_str() == text)
    }
}

/// A credential for an upstream server, held sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamCredential {
    /// Id, tenant included.
    pub id: CredentialId,
    /// The identity (kind MCP server) it opens.
    pub identity: IdentityId,
    /// Keyed fingerprint of the secret, for recognition; never the secret.
    pub fingerprint: String,
    /// When it was given to us.
    pub created_at: Time,
    /// When it must be replaced.
    pub expires_at: Time,
}

/// The `scope` of a token: coarse `server:tool` strings (RFC 6749 §3.3), sorted, no duplicates.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScopeSet(BTreeSet<String>);

impl ScopeSet {
    /// From the space-separated wire form; empty parts are dropped.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        Self(
            text.split(' ')
                .filter(|s| !s.is_empty())
                .map(str::to_owned)
                .collect(),
        )
    }

    /// Whether `scope` is a member, literally or through `server:*`.
    #[must_use]
    pub fn contains(&self, server: &str, tool: &str) -> bool {
        self.0.iter().any(|s| {
            s.strip_prefix(server)
                .and_then(|r| r.strip_prefix(':'))
                .is_some_and(|t| t == "*" || t == tool)
        })
    }

    /// Whether `scope` is within what is held: literally, or through `server:*`.
    #[must_use]
    pub fn covers(&self, scope: &str) -> bool {
        self.0.contains(scope)
            || scope
                .split_once(':')
                .is_some_and(|(server, tool)| tool != "*" && self.contains(server, tool))
    }

    /// Members in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Whether no scope is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<String> for ScopeSet {
    fn from_iter<T: IntoIterator<Item = String>>(iter: T) -> Self {
        Self(iter.into_iter().collect())
    }
}

impl std::fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (n, scope) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope)?;
        }
        Ok(())
    }
}

/// The claims of our access token (RFC 9068 plus `tenant`, `nhi`, `task`, `epoch`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// `iss`: `{base}/t/{tenant}`.
    pub issuer: String,
    /// `sub`: for whom; equal to `nhi` without delegation.
    pub subject: String,
    /// `aud`: exactly one.
    pub audience: String,
    /// `client_id`: an OAuth client of the identity.
    pub client: String,
    /// `iat`, whole seconds.
    pub issued_at: Time,
    /// `exp`, whole seconds.
    pub expires_at: Time,
    /// `jti`.
    pub token: TokenId,
    /// `tenant`.
    pub tenant: TenantId,
    /// `nhi`: the identity that acts, the Cedar principal.
    pub nhi: IdentityId,
    /// `task`.
    pub task: TaskId,
    /// `epoch` at issuing.
    pub epoch: Epoch,
    /// `scope`.
    pub scopes: ScopeSet,
    /// `act` chain (RFC 8693 §4.1), outermost first; history, empty without delegation.
    pub act: SmallVec<[IdentityId; 2]>,
    /// `may_act` (RFC 8693 §4.4): who may become the next actor; nobody when empty.
    pub may_act: Vec<IdentityId>,
    /// `lineage`: what it was exchanged from, nearest first; empty without delegation. It dies with any of them.
    pub lineage: Vec<Link>,
    /// `cnf`: what its bearer has to show as well; nothing when absent.
    pub confirmation: Option<Confirmation>,
    /// `composition`: the digest of what the identity was declared to be made of when it was issued.
    pub composition: Option<Digest>,
}

/// What a token is bound to (RFC 7800 `cnf`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Confirmation {
    /// `x5t#S256`: SHA-256 of the DER of the client certificate (RFC 8705 §3.1).
    Certificate(Digest),
    /// `jkt`: thumbprint of the key that signs proofs (RFC 9449 §6.1, RFC 7638).
    Key(Digest),
}

impl Confirmation {
    /// What kind of possession is shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Certificate(_) => "mtls",
            Self::Key(_) => "dpop",
        }
    }

    /// `token_type` of a token that is bound so, or to nothing (RFC 9449 §5, RFC 8705 §3).
    #[must_use]
    pub const fn token_type(bound: Option<Self>) -> &'static str {
        match bound {
            Some(Self::Key(_)) => "DPoP",
            Some(Self::Certificate(_)) | None => "Bearer",
        }
    }
}

/// One token that a delegated token stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its `jti`.
    pub token: TokenId,
    /// Its task.
    pub task: TaskId,
    /// The trust rule by which a workload had it: it dies with the issuer that vouched for that.
    pub trust: Option<TrustId>,
}
