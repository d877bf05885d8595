//! What a platform shows of one identity, credential or grant.
//!
//! An observation is somebody else's word: nothing in it is trusted, and nothing in it is taken for a name of ours.
//! Texts are kept as they were shown, within bounds; whoever prints them makes them harmless for the place where they
//! are printed.

use bailiwick_base::Time;

/// Bytes of an id or of another name by which a platform knows the thing. Longer is refused: an id that was cut could
/// be the id of something else.
pub const ID_MAX: usize = 1_024;
/// Bytes of a name for people. Longer is cut, and that is told.
pub const NAME_MAX: usize = 256;
/// Bytes of the value of an attribute, and of evidence of an owner. Longer is cut, and that is told.
pub const TEXT_MAX: usize = 1_024;
/// Attributes of one observation.
pub const ATTRIBUTES_MAX: usize = 24;
/// Other names of one observation.
pub const ALIASES_MAX: usize = 8;
/// Relations of one observation.
pub const RELATIONS_MAX: usize = 1_024;
/// Pieces of evidence of an owner of one observation.
pub const EVIDENCE_MAX: usize = 16;

/// The id that a platform gave: not empty, at most [`ID_MAX`] bytes, otherwise any text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NativeId(String);

/// Why a text is not a platform's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NativeIdError {
    /// It is empty.
    #[error("the id is empty")]
    Empty,
    /// It is longer than an id may be.
    #[error("the id has {bytes} bytes, more than {ID_MAX}")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
}

impl NativeId {
    /// Reads a platform's id.
    ///
    /// # Errors
    /// [`NativeIdError`] when it is empty or too long.
    pub fn parse(text: &str) -> Result<Self, NativeIdError> {
        match text.len() {
            0 => Err(NativeIdError::Empty),
            bytes if bytes > ID_MAX => Err(NativeIdError::TooLong { bytes }),
            _ => Ok(Self(text.to_owned())),
        }
    }

    /// The text as the platform has it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text within a bound, cut at a character where it was longer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Shown {
    text: String,
    was_cut: bool,
}

impl Shown {
    /// `text`, cut to at most `max` bytes.
    #[must_use]
    pub fn within(text: &str, max: usize) -> Self {
        let mut end = text.len().min(max);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Self {
            text: text.get(..end).unwrap_or_default().to_owned(),
            was_cut: end < text.len(),
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the platform showed more.
    #[must_use]
    pub const fn was_cut(&self) -> bool {
        self.was_cut
    }
}

/// What was seen, at the levels that are counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObservedKind {
    /// A long-lived secret, key or certificate, or the trust that stands in for one.
    Credential(CredentialSort),
    /// Identity × resource × scope.
    Grant(GrantSort),
    /// A principal.
    Identity(IdentitySort),
}

/// Which sort of identity a platform shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IdentitySort {
    /// Actions are chosen by a model at run time.
    Agent,
    /// An application that was registered or installed.
    Application,
    /// A job of a build or deployment pipeline.
    CiJob,
    /// A scheduled or triggered job of a cloud platform.
    CloudRunJob,
    /// Somebody else who signs tokens or assertions that the platform accepts.
    Issuer,
    /// A human being. Observed, never counted as a machine.
    Person,
    /// A role that others take on.
    Role,
    /// An account that no person logs in to.
    ServiceAccount,
    /// The platform does not tell a person from a machine.
    Unclassified,
    /// Running software with an identity of its own.
    Workload,
}

/// Which sort of credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CredentialSort {
    /// A key of an application interface.
    ApiKey,
    /// A certificate with its private key elsewhere.
    Certificate,
    /// A secret of an OAuth client.
    ClientSecret,
    /// Trust in tokens of an outside issuer instead of a secret.
    Federation,
    /// A password of an account that programs use.
    Password,
    /// The public half of a key pair.
    PublicKey,
    /// A secret that the platform keeps for programs; whose credential it is, is not known.
    StoredSecret,
    /// A token that lives until somebody ends it.
    Token,
}

/// Which sort of grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GrantSort {
    /// A consent that lets an application act at this platform.
    Consent,
    /// A policy that is attached.
    Policy,
    /// A role, assigned on a resource.
    RoleAssignment,
}

/// How the thing stands on its platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PlatformState {
    /// It works.
    Active,
    /// It will never work again.
    Revoked,
    /// It does not work now and could again.
    Suspended,
    /// The platform does not say.
    Unsaid,
}

/// What makes somebody look like the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Evidence {
    /// Named as contact.
    Contact,
    /// Made it.
    Creator,
    /// The platform itself has an owner.
    Owner,
    /// A tag or label says so.
    Tag,
}

/// Evidence of an owner. It is inferred: a person confirms it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OwnerEvidence {
    /// What sort of evidence.
    pub evidence: Evidence,
    /// Whom it names, as the platform writes it.
    pub who: Shown,
}

/// An edge of the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Edge {
    /// May take on the role.
    CanAssume,
    /// May act as the other.
    CanImpersonate,
    /// Was made from the other and ends with it.
    DerivedFrom,
    /// Gives the scope or the role on the resource.
    Grants,
    /// Has the credential or the grant.
    Holds,
    /// Is accountable for the other.
    Owns,
    /// Acts with the other's rights while it runs.
    RunsAs,
}

/// Which end of the edge the observed thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// The edge goes out from it.
    From,
    /// The edge comes in to it.
    To,
}

/// An edge between what was observed and something else, which may never be observed itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Relation {
    /// What the edge means.
    pub edge: Edge,
    /// Which end the observed thing is.
    pub end: End,
    /// The platform of the other thing; `None` for the same.
    pub platform: Option<String>,
    /// The id, or another name, of the other thing.
    pub other: NativeId,
}

/// What a platform shows of one thing. Whose it is, the tenant, comes from whoever admits it: a platform's word does
/// not choose a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// The platform, by the name of its manifest.
    pub platform: String,
    /// The platform's id, unique there among things of one type.
    pub id: NativeId,
    /// Level and sort.
    pub kind: ObservedKind,
    /// The platform's own word for it, as the manifest has it: `iam-user`.
    pub type_name: String,
    /// Other names under which the platform refers to it; at most [`ALIASES_MAX`].
    pub aliases: Vec<NativeId>,
    /// Name for people; at most [`NAME_MAX`] bytes.
    pub name: Option<Shown>,
    /// How it stands there.
    pub state: PlatformState,
    /// When it was made.
    pub created_at: Option<Time>,
    /// When it was last used, as far as the platform tells.
    pub used_at: Option<Time>,
    /// When it ends by itself.
    pub expires_at: Option<Time>,
    /// Who may own it; at most [`EVIDENCE_MAX`].
    pub owner: Vec<OwnerEvidence>,
    /// What else was shown, by name in the manifest's order; at most [`ATTRIBUTES_MAX`].
    pub attributes: Vec<(String, Shown)>,
    /// Edges; at most [`RELATIONS_MAX`].
    pub relations: Vec<Relation>,
}

impl ObservedKind {
    /// The level: `credential`, `grant`, `identity`.
    #[must_use]
    pub const fn level(self) -> &'static str {
        match self {
            Self::Credential(_) => "credential",
            Self::Grant(_) => "grant",
            Self::Identity(_) => "identity",
        }
    }

    /// The sort within the level.
    #[must_use]
    pub const fn sort(self) -> &'static str {
        match self {
            Self::Credential(sort) => sort.as_str(),
            Self::Grant(sort) => sort.as_str(),
            Self::Identity(sort) => sort.as_str(),
        }
    }

    /// Reads level and sort.
    #[must_use]
    pub fn parse(level: &str, sort: &str) -> Option<Self> {
        match level {
            "credential" => CredentialSort::parse(sort).map(Self::Credential),
            "grant" => GrantSort::parse(sort).map(Self::Grant),
            "identity" => IdentitySort::parse(sort).map(Self::Identity),
            _ => None,
        }
    }
}

impl Observation {
    /// The value of an attribute.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Whether the platform may mean this by `id`.
    #[must_use]
    pub fn is_called(&self, id: &str) -> bool {
        self.id.as_str() == id || self.aliases.iter().any(|alias| alias.as_str() == id)
    }
}
