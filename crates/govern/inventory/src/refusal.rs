//! Why a command is not allowed. A code is never renamed or reused.

use bailiwick_base::Time;

/// A command that this room refuses: the field at fault and what would pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// An address range is not CIDR.
    #[error("allow-address `{0}` is not a range: write it like 10.0.0.0/8 or fd00::/8")]
    AddressRange(String),
    /// Already in service.
    #[error("identity is already active: nothing to activate")]
    AlreadyActive,
    /// Already stopped.
    #[error("identity is already suspended: resume it first, or retire it")]
    AlreadySuspended,
    /// Another composition than the one that was looked at.
    #[error("composition is not the one that was given: look at it again, it may have changed meanwhile")]
    CompositionOther,
    /// The composition that is declared already.
    #[error("composition is the one that is declared already: nothing changes")]
    CompositionUnchanged,
    /// A character that cannot be shown.
    #[error("{0} holds a control character: leave it out")]
    ControlCharacter(&'static str),
    /// A credential was given for a server that has none, or taken away from it.
    #[error("server has no upstream credential: nothing to remove")]
    CredentialMissing,
    /// No digest for the program.
    #[error("server program `{0}` has no digest: add --digest {0}")]
    DigestMissing(String),
    /// No employee count.
    #[error("employees must be at least 1: give the number of people who work there")]
    EmployeesMissing,
    /// Its end has passed.
    #[error("identity ended at {0}: extend it first")]
    Expired(Time),
    /// No expiry.
    #[error("expiry is missing: every identity ends; give --expires DATE")]
    ExpiryMissing,
    /// An expiry that has passed.
    #[error("expiry {at} is not after now, {now}: give a later one")]
    ExpiryPast {
        /// Asked for.
        at: Time,
        /// Now.
        now: Time,
    },
    /// An expiry beyond the limit.
    #[error(
        "expiry {at} is later than {max}, the longest life allowed here: give an earlier one and extend it when due"
    )]
    ExpiryTooFar {
        /// Asked for.
        at: Time,
        /// The latest that is allowed.
        max: Time,
    },
    /// A header template that cannot be used.
    #[error("header `{found}` is refused: {rule}")]
    HeaderTemplate {
        /// As given, shortened.
        found: String,
        /// What would pass.
        rule: &'static str,
    },
    /// Not of the kind that is needed.
    #[error(
        "identity is of kind `{found}`: an upstream server needs one of kind `mcp-server`, a destination `api-key`"
    )]
    KindMismatch {
        /// Its kind.
        found: &'static str,
    },
    /// Not a method that can be granted.
    #[error("method `{0}` is none of DELETE, GET, HEAD, OPTIONS, PATCH, POST and PUT")]
    MethodUnknown(String),
    /// A destination that nothing could be asked of.
    #[error("methods are missing: name each that may be granted, such as --method GET")]
    MethodsMissing,
    /// No name.
    #[error("{0} is missing: give it a name")]
    NameMissing(&'static str),
    /// Not stopped.
    #[error("identity is {0}, not suspended: nothing to resume")]
    NotSuspended(&'static str),
    /// Two things of different tenants.
    #[error("{0} belongs to another tenant")]
    OtherTenant(&'static str),
    /// Nobody to reach.
    #[error("owner contact is missing: give --owner-contact ADDRESS of a person or team that answers")]
    OwnerContactMissing,
    /// Nobody answers for it.
    #[error("owner is missing: give --owner TEAM, the team or person that answers for this identity")]
    OwnerMissing,
    /// Not an absolute path.
    #[error("{field} `{found}` is not an absolute path: begin with / and leave out . and ..")]
    PathNotAbsolute {
        /// Which.
        field: &'static str,
        /// As given.
        found: String,
    },
    /// No purpose.
    #[error("purpose is missing: say in one line what this identity is for (--purpose)")]
    PurposeMissing,
    /// No reason.
    #[error("reason is missing: say why (--reason); it is recorded")]
    ReasonMissing,
    /// Not a pseudonym.
    #[error("tenant reference `{0}` is not 16 hexadecimal digits")]
    ReferenceInvalid(String),
    /// A slug we use ourselves.
    #[error("tenant `{0}` is a reserved name: choose another slug")]
    Reserved(String),
    /// A tombstone.
    #[error("identity is retired: that is final; register a new one")]
    Retired,
    /// A tenant that is closed.
    #[error("tenant `{0}` is closed: that is final, and its slug is never reused")]
    TenantClosed(String),
    /// A name that scopes of the installation itself begin with.
    #[error("server name `{0}` is reserved: scopes such as `token:exchange` begin with it; take another")]
    ServerReserved(String),
    /// A text beyond its limit.
    #[error("{field} has {len} bytes, more than the {max} allowed: shorten it")]
    TooLong {
        /// Which.
        field: &'static str,
        /// Bytes given.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// More than the limit.
    #[error("{field}: {len} are more than the {max} allowed")]
    TooMany {
        /// Which.
        field: &'static str,
        /// Given.
        len: usize,
        /// Allowed.
        max: usize,
    },
    /// The same tool name twice.
    #[error("tool `{0}` is listed twice by its server: pin nothing until the server is repaired")]
    ToolTwice(String),
    /// A pin, or what is said of pins, that changes nothing.
    #[error("every tool is as it was pinned: nothing to pin")]
    ToolsUnchanged,
    /// No such pinned tool.
    #[error("no tool `{0}` is pinned: see `bailiwick server show`")]
    ToolUnknown(String),
    /// A tool whose own definition says that it changes something.
    #[error("tool `{0}` says in its own pinned definition that it changes something: leave it out")]
    ToolWrites(String),
    /// Not a usable endpoint.
    #[error("server url `{found}` is refused: {rule}")]
    UrlInvalid {
        /// As given, shortened.
        found: String,
        /// What would pass.
        rule: &'static str,
    },
}

impl Refusal {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::AddressRange(_) => "server.address-range-invalid",
            Self::AlreadyActive => "identity.already-active",
            Self::AlreadySuspended => "identity.already-suspended",
            Self::CompositionOther => "composition.other",
            Self::CompositionUnchanged => "composition.unchanged",
            Self::ControlCharacter(_) => "text.control-character",
            Self::CredentialMissing => "server.credential-missing",
            Self::DigestMissing(_) => "server.digest-missing",
            Self::EmployeesMissing => "tenant.employees-missing",
            Self::Expired(_) => "identity.expired",
            Self::ExpiryMissing => "identity.expiry-missing",
            Self::ExpiryPast { .. } => "identity.expiry-past",
            Self::ExpiryTooFar { .. } => "identity.expiry-too-far",
            Self::HeaderTemplate { .. } => "server.header-template",
            Self::KindMismatch { .. } => "server.identity-kind",
            Self::MethodUnknown(_) => "server.method-unknown",
            Self::MethodsMissing => "server.methods-missing",
            Self::NameMissing(_) => "text.name-missing",
            Self::NotSuspended(_) => "identity.not-suspended",
            Self::OtherTenant(_) => "tenant.other",
            Self::OwnerContactMissing => "identity.owner-contact-missing",
            Self::OwnerMissing => "identity.owner-missing",
            Self::PathNotAbsolute { .. } => "server.path-not-absolute",
            Self::PurposeMissing => "identity.purpose-missing",
            Self::ReasonMissing => "identity.reason-missing",
            Self::ReferenceInvalid(_) => "tenant.reference-invalid",
            Self::Reserved(_) => "tenant.reserved",
            Self::Retired => "identity.retired",
            Self::ServerReserved(_) => "server.reserved",
            Self::TenantClosed(_) => "tenant.closed",
            Self::TooLong { .. } => "text.too-long",
            Self::TooMany { .. } => "limit.too-many",
            Self::ToolTwice(_) => "server.tool-twice",
            Self::ToolsUnchanged => "server.tools-unchanged",
            Self::ToolUnknown(_) => "server.tool-unknown",
            Self::ToolWrites(_) => "server.tool-writes",
            Self::UrlInvalid { .. } => "server.url-invalid",
        }
    }
}
