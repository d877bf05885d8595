//! Typed ids: a prefix that names the kind, a tenant that is part of the value, a UUIDv7 in base32.

use std::fmt;
use std::marker::PhantomData;

use data_encoding::{Encoding, Specification};
use uuid::Uuid;

use crate::limits;
use crate::tenant::TenantId;

/// What an [`Id`] names; its prefix is part of the wire form.
pub trait IdKind: 'static {
    /// Three letters in front of the underscore.
    const PREFIX: &'static str;
}

/// An id inside a tenant. Prints as `idn_<26 base32 characters>`; the tenant is not printed.
pub struct Id<K> {
    tenant: TenantId,
    uuid: Uuid,
    kind: PhantomData<fn() -> K>,
}

/// Why a text is not an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("id `{found}` is not of the form `{prefix}_` and 26 characters of a-z and 2-7")]
pub struct IdError {
    prefix: &'static str,
    found: String,
}

fn base32() -> &'static Encoding {
    static ENCODING: std::sync::OnceLock<Encoding> = std::sync::OnceLock::new();
    ENCODING.get_or_init(|| {
        let mut form = Specification::new();
        form.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
        form.encoding().unwrap_or(data_encoding::BASE32_NOPAD)
    })
}

impl<K: IdKind> Id<K> {
    /// An id from its parts. Minting goes through [`crate::Ids`].
    #[must_use]
    pub fn from_parts(tenant: TenantId, uuid: Uuid) -> Self {
        Self {
            tenant,
            uuid,
            kind: PhantomData,
        }
    }

    /// Parses the wire form inside a tenant.
    ///
    /// # Errors
    /// [`IdError`] when prefix, length or alphabet are wrong.
    pub fn parse(tenant: &TenantId, text: &str) -> Result<Self, IdError> {
        let wrong = || IdError {
            prefix: K::PREFIX,
            found: limits::shown(text),
        };
        let rest = text
            .strip_prefix(K::PREFIX)
            .and_then(|r| r.strip_prefix('_'))
            .ok_or_else(wrong)?;
        let bytes = base32().decode(rest.as_bytes()).map_err(|_| wrong())?;
        let bytes: [u8; 16] = bytes.try_into().map_err(|_| wrong())?;
        Ok(Self::from_parts(tenant.clone(), Uuid::from_bytes(bytes)))
    }

    /// The tenant this id lives in.
    #[must_use]
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The 16 bytes, as stored.
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        self.uuid
    }
}

impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        Self {
            tenant: self.tenant.clone(),
            uuid: self.uuid,
            kind: PhantomData,
        }
    }
}
impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.uuid == other.uuid && self.tenant == other.tenant
    }
}
impl<K> Eq for Id<K> {}
impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (&self.tenant, self.uuid).cmp(&(&other.tenant, other.uuid))
    }
}
impl<K> std::hash::Hash for Id<K> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.tenant.hash(state);
        self.uuid.hash(state);
    }
}
impl<K: IdKind> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0_u8; 26];
        base32().encode_mut(self.uuid.as_bytes(), &mut text);
        write!(
            f,
            "{}_{}",
            K::PREFIX,
            std::str::from_utf8(&text).map_err(|_| fmt::Error)?
        )
    }
}
impl<K: IdKind> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{self}", self.tenant)
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $alias:ident, $marker:ident, $prefix:literal;)*) => {$(
        #[doc(hidden)]
        pub enum $marker {}
        impl IdKind for $marker { const PREFIX: &'static str = $prefix; }
        $(#[$doc])*
        pub type $alias = Id<$marker>;
    )*};
}

kinds! {
    /// An approval.
    ApprovalId, ApprovalKind, "apr";
    /// An OAuth client registered for an identity (one identity, n clients).
    ClientId, ClientKind, "cli";
    /// A consent: an operator's word that a client may have tokens of a task.
    ConsentId, ConsentKind, "con";
    /// A credential.
    CredentialId, CredentialKind, "crd";
    /// A recorded decision.
    DecisionId, DecisionKind, "dec";
    /// A grant.
    GrantId, GrantKind, "grt";
    /// A registered non-human identity.
    IdentityId, IdentityKind, "idn";
    /// A secret that a system made for one task.
    LeaseId, LeaseKind, "lse";
    /// A human operator.
    OperatorId, OperatorKind, "opr";
    /// Somebody who is told what happens: a stream or a webhook.
    SubscriptionId, SubscriptionKind, "sbs";
    /// A task.
    TaskId, TaskKind, "tsk";
    /// One access token (`jti`).
    TokenId, TokenKind, "tok";
    /// An issuer of others that tells us what happens there.
    TransmitterId, TransmitterKind, "trm";
    /// A rule of trust in the workloads of another issuer.
    TrustId, TrustKind, "trs";
}
