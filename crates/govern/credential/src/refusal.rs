//! Why a command is not allowed. A code is never renamed or reused.

use bailiwick_base::{PublicKeyError, Time};

/// A command that this room refuses: the field at fault and what would pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The old secret may not be revoked yet.
    #[error("the old secret stays: {0}")]
    Blocked(crate::plan::Blocker),
    /// The client was registered for another algorithm than its key has.
    #[error("client key is for {found}, not {wanted}: give a key of that kind or leave the algorithm out")]
    ClientAlgorithm {
        /// Asked for.
        wanted: &'static str,
        /// What the key is for.
        found: &'static str,
    },
    /// Where documents of clients may be.
    #[error("documents of clients are refused: {0}")]
    ClientDocuments(&'static str),
    /// The client's key is not usable.
    #[error("client key is refused: {0}")]
    ClientKey(PublicKeyError),
    /// A client without a name.
    #[error("name is missing: say what people call this client (--name)")]
    ClientNameless,
    /// Where a client wants its browser back.
    #[error("redirect URI `{0}` is refused: {1}")]
    ClientRedirect(String, &'static str),
    /// The client was removed.
    #[error("client was removed at {0}: that is final; add a new one")]
    ClientRemoved(Time),
    /// The task has nothing that was asked for.
    #[error("the task grants nothing of what the client asks for: take another, or open one that does")]
    ConsentEmpty,
    /// A consumer without a name.
    #[error("consumer is empty: give the name it connects with (--consumer NAME)")]
    ConsumerNameless,
    /// Nobody registered it.
    #[error("consumer `{0}` is not registered with this credential: see `bailiwick credential show`")]
    ConsumerUnknown(String),
    /// The system tells who uses which secret.
    #[error("this system tells who uses the new secret: connect with it, there is nothing to confirm")]
    ConsumersSeen,
    /// A character that cannot be shown.
    #[error("{0} holds a control character: leave it out")]
    ControlCharacter(&'static str),
    /// The name of a credential.
    #[error("name `{0}` is not 1 to 64 of a-z, 0-9, `.`, `_` and `-`, beginning with a letter or digit")]
    CredentialName(String),
    /// It is being revoked.
    #[error("this credential is being revoked: wait until it is, see `bailiwick credential show`")]
    CredentialEnding,
    /// It must not be used any more.
    #[error("this credential expired at {0}: revoke it, and register another")]
    CredentialExpired(Time),
    /// It is revoked, or being revoked.
    #[error("this credential is revoked: {0}; register another")]
    CredentialRevoked(String),
    /// What was made from it is not taken back yet.
    #[error("lease {0} from this credential is open: give it back first (`bailiwick credential give-back`)")]
    CredentialLent(String),
    /// Another one is managed with it.
    #[error("credential `{0}` is managed with this one: correct or remove that one first")]
    CredentialManages(String),
    /// A server is opened with it.
    #[error(
        "server `{0}` is opened with this credential: give it another with `bailiwick server credential` first"
    )]
    CredentialOpens(String),
    /// Its secret is ours.
    #[error(
        "this credential was rotated at {0}, and what is valid there would be forgotten: revoke it first"
    )]
    CredentialRotated(Time),
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
        "expiry {at} is later than {max}, the latest allowed here: give an earlier one and renew it when due"
    )]
    ExpiryTooFar {
        /// Asked for.
        at: Time,
        /// The latest that is allowed.
        max: Time,
    },
    /// It is rotated by its driver.
    #[error("this credential is rotated by its driver: run `bailiwick credential rotate`")]
    HasDriver,
    /// The identity's own end has passed.
    #[error("identity expired at {0}: no task can be opened for it; register a new one")]
    IdentityEnded(Time),
    /// The signing key signs, or tokens that it signed may be alive.
    #[error("signing key `{0}` signs, or what it signed may be alive: rotate, and wait until that is over")]
    KeyInUse(String),
    /// The grant of the task does not say it.
    #[error(
        "the task's grant does not hold `credential:lease(name = \"{0}\")`: open a task with that scope, or lease it with --beyond-scope, which is a finding"
    )]
    LeaseBeyondScope(String),
    /// Too short or too long.
    #[error("a lease of {0} s is shorter than 10 s or longer than 12 h: give another --for")]
    LeaseSpan(u64),
    /// The lease stands elsewhere.
    #[error("the lease is {found}, not {wanted}: see `bailiwick task show`")]
    LeaseStands {
        /// Needed.
        wanted: &'static str,
        /// Found.
        found: &'static str,
    },
    /// A name in PostgreSQL that would need quoting, or is reserved.
    #[error(
        "{field} `{found}` is not 1 to 63 of a-z, 0-9 and `_`, beginning with a letter: rename it there, or take another"
    )]
    LoginName {
        /// Which.
        field: &'static str,
        /// Found.
        found: String,
    },
    /// Names that must differ.
    #[error("role, both logins and the manager's login must be four different names")]
    LoginsAlike,
    /// An identity that may act for itself.
    #[error("`may_act` names the identity of the task: it acts already, leave it out")]
    MayActSelf,
    /// Too many that may act.
    #[error(
        "`may_act` names {len} identities, more than the {max} allowed: name fewer, or open several tasks"
    )]
    MayActTooMany {
        /// Given.
        len: usize,
        /// Allowed.
        max: usize,
    },
    /// Nothing can rotate it.
    #[error(
        "no driver rotates kind `{0}` here: replace the secret there and record it with `bailiwick credential replace`"
    )]
    NoDriver(&'static str),
    /// There is no key to rotate to.
    #[error(
        "no next signing key is published yet: wait some seconds and look again with `bailiwick keys status`"
    )]
    NextKeyMissing,
    /// The next key has not been published long enough.
    #[error(
        "next signing key `{kid}` was published at {published}, and who keeps the key set may not know it before \
         {ready_at}: wait, or give `--now` with a reason if the key that signs is compromised"
    )]
    NextKeyYoung {
        /// Its key id.
        kid: String,
        /// Published.
        published: Time,
        /// May sign.
        ready_at: Time,
    },
    /// No rotation is under way.
    #[error("no rotation is under way: begin one with `bailiwick credential rotate`")]
    NoRotation,
    /// Its system makes nothing for a single task.
    #[error(
        "credential `{0}` has nothing to lease: register it with the place where its driver works (for AWS with --aws-lease-role)"
    )]
    NothingToLease(String),
    /// The grant of the task has no scope left.
    #[error("task grants nothing: open a task with at least one --can")]
    NothingGranted,
    /// Two things of different tenants or identities.
    #[error("{0} belongs to another tenant or identity")]
    OtherOwner(&'static str),
    /// The rotation stands elsewhere.
    #[error("the rotation is {found}, not {wanted}: see `bailiwick credential rotation`")]
    OtherPhase {
        /// Needed.
        wanted: &'static str,
        /// Found.
        found: &'static str,
    },
    /// An overlap as long as the schedule.
    #[error(
        "overlap of {overlap} s is not shorter than the {every} s between rotations: give a shorter --overlap or a longer --every"
    )]
    OverlapTooLong {
        /// Asked for.
        every: u64,
        /// Asked for.
        overlap: u64,
    },
    /// No purpose.
    #[error("purpose is missing: say in one line what this task is for (--purpose)")]
    PurposeMissing,
    /// No reason.
    #[error("reason is missing: say why (--reason); it is recorded")]
    ReasonMissing,
    /// Nobody asked for it.
    #[error("requester is missing: a task names who asked for it")]
    RequesterMissing,
    /// One rotation at a time.
    #[error(
        "a rotation began at {0} and has not ended: wait, or give it up with `bailiwick credential rotation --cancel`"
    )]
    RotationRunning(Time),
    /// More was asked for than is granted.
    #[error("scope `{0}` is not granted to this task: ask for less, or open a task that may")]
    ScopeNotGranted(String),
    /// The secret we hold belongs to another name.
    #[error(
        "the secret held here belongs to `{0}` since the last rotation: the target has to name it as well"
    )]
    SecretBelongs(String),
    /// An address that is none.
    #[error("target host `{0}` is not a host name or an address")]
    TargetAddress(String),
    /// A name in the system of others.
    #[error("{field} `{found}` is not {rule}")]
    TargetName {
        /// Which.
        field: &'static str,
        /// Found.
        found: String,
        /// What would pass.
        rule: &'static str,
    },
    /// Another credential is rotated there.
    #[error(
        "credential `{0}` is rotated over the same login, user, app or key, and each would revoke the other's secret: use that one, or correct or remove it first"
    )]
    TargetTaken(String),
    /// The task is closed.
    #[error("task was closed at {0}: that is final; open a new one")]
    TaskClosed(Time),
    /// The task, its grant or its identity ended.
    #[error("task ended at {0}: open a new one")]
    TaskEnded(Time),
    /// The task has not begun.
    #[error("task opens at {0}: wait until then")]
    TaskNotOpen(Time),
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
    /// Too many consumers.
    #[error("more than {0} consumers: register a credential for each group of them")]
    TooManyConsumers(usize),
    /// The task holds enough.
    #[error("the task holds {0} leases, the most one may: give some back")]
    TooManyLeases(usize),
    /// A workload would be two identities.
    #[error(
        "trust rule admits a workload that rule {0} admits too: tell them apart by an attribute, or remove that one"
    )]
    TrustAmbiguous(String),
    /// An attribute of a trust rule.
    #[error("attribute `{name}` of the trust rule is refused: {rule}")]
    TrustAttribute {
        /// Which.
        name: String,
        /// What would pass.
        rule: &'static str,
    },
    /// The issuer of a trust rule.
    #[error("issuer of the trust rule is refused: {0}")]
    TrustIssuer(&'static str),
    /// Another tenant has it.
    #[error(
        "issuer `{0}` is bound to another tenant: an issuer, or a customer's part of a shared one, speaks for one"
    )]
    TrustIssuerBound(String),
    /// Two rules disagree about one issuer.
    #[error(
        "issuer is registered otherwise in rule {0}: give the same kind, keys and addresses, or remove that one"
    )]
    TrustIssuerDiffers(String),
    /// The issuer is that of a vendor, under another method.
    #[error("issuer is that of `{0}`: say so with `--method {0}`")]
    TrustIssuerMethod(&'static str),
    /// The rule was removed.
    #[error("trust rule was removed at {0}: that is final; add a new one")]
    TrustRemoved(Time),
    /// Nothing pins who.
    #[error("trust rule is too broad: pin `{0}` as well")]
    TrustTooBroad(String),
    /// A window that is empty or turned round.
    #[error("task would close at {closes_at}, not after it opens at {opens_at}: give a later end")]
    WindowEmpty {
        /// Begin.
        opens_at: Time,
        /// End.
        closes_at: Time,
    },
    /// A window beyond the limit.
    #[error("task would be open for {asked}, more than the {max} allowed: give a shorter one, `--for {max}`")]
    WindowTooLong {
        /// Asked for, as people write it.
        asked: String,
        /// Allowed.
        max: String,
    },
}

/// As people write spans: `7d`, `36h`, `90s`, in the largest unit that leaves no rest.
pub(crate) fn span(seconds: u64) -> String {
    let units = [(86_400, 'd'), (3_600, 'h'), (60, 'm')];
    let fits = units.into_iter().find(|(unit, _)| seconds.is_multiple_of(*unit));
    let (unit, name) = fits.unwrap_or((1, 's'));
    format!("{}{name}", seconds / unit)
}

impl Refusal {
    /// The stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Blocked(_) => "credential.rotation-blocked",
            Self::ClientAlgorithm { .. } => "client.algorithm",
            Self::ClientDocuments(_) => "client.documents-refused",
            Self::ClientKey(_) => "client.key-refused",
            Self::ClientNameless => "client.nameless",
            Self::ClientRedirect(..) => "client.redirect-refused",
            Self::ClientRemoved(_) => "client.already-removed",
            Self::ConsentEmpty => "consent.nothing-granted",
            Self::ConsumerNameless => "credential.consumer-nameless",
            Self::ConsumerUnknown(_) => "credential.consumer-unknown",
            Self::ConsumersSeen => "credential.consumers-seen",
            Self::ControlCharacter(_) => "text.control-character",
            Self::CredentialEnding => "credential.revoke-running",
            Self::CredentialExpired(_) => "credential.expired",
            Self::CredentialLent(_) => "credential.lent",
            Self::CredentialManages(_) => "credential.manages",
            Self::CredentialName(_) => "credential.name",
            Self::CredentialRevoked(_) => "credential.revoked",
            Self::CredentialOpens(_) => "credential.opens-server",
            Self::CredentialRotated(_) => "credential.was-rotated",
            Self::ExpiryPast { .. } => "credential.expiry-past",
            Self::ExpiryTooFar { .. } => "credential.expiry-too-far",
            Self::HasDriver => "credential.has-driver",
            Self::IdentityEnded(_) => "identity.expired",
            Self::KeyInUse(_) => "keys.in-use",
            Self::LeaseBeyondScope(_) => "lease.beyond-scope",
            Self::LeaseSpan(_) => "lease.span",
            Self::LeaseStands { .. } => "lease.stands-elsewhere",
            Self::LoginName { .. } => "credential.login-name",
            Self::LoginsAlike => "credential.logins-alike",
            Self::MayActSelf => "task.may-act-self",
            Self::MayActTooMany { .. } => "task.may-act-too-many",
            Self::NextKeyMissing => "keys.next-missing",
            Self::NextKeyYoung { .. } => "keys.next-young",
            Self::NoDriver(_) => "credential.no-driver",
            Self::NoRotation => "credential.no-rotation",
            Self::NothingToLease(_) => "lease.nothing",
            Self::NothingGranted => "task.nothing-granted",
            Self::OtherOwner(_) => "credential.other-owner",
            Self::OtherPhase { .. } => "credential.rotation-phase",
            Self::OverlapTooLong { .. } => "credential.overlap-too-long",
            Self::PurposeMissing => "task.purpose-missing",
            Self::ReasonMissing => "task.reason-missing",
            Self::RequesterMissing => "task.requester-missing",
            Self::RotationRunning(_) => "credential.rotation-running",
            Self::ScopeNotGranted(_) => "task.scope-not-granted",
            Self::SecretBelongs(_) => "credential.secret-belongs",
            Self::TargetAddress(_) => "credential.target-address",
            Self::TargetName { .. } => "credential.target-name",
            Self::TargetTaken(_) => "credential.target-taken",
            Self::TaskClosed(_) => "task.already-closed",
            Self::TaskEnded(_) => "task.ended",
            Self::TaskNotOpen(_) => "task.not-open",
            Self::TooLong { .. } => "text.too-long",
            Self::TooManyConsumers(_) => "credential.too-many-consumers",
            Self::TooManyLeases(_) => "lease.too-many",
            Self::TrustAmbiguous(_) => "trust.ambiguous",
            Self::TrustAttribute { .. } => "trust.attribute-refused",
            Self::TrustIssuer(_) => "trust.issuer-refused",
            Self::TrustIssuerBound(_) => "trust.issuer-bound",
            Self::TrustIssuerDiffers(_) => "trust.issuer-differs",
            Self::TrustIssuerMethod(_) => "trust.issuer-refused",
            Self::TrustRemoved(_) => "trust.already-removed",
            Self::TrustTooBroad(_) => "trust.too-broad",
            Self::WindowEmpty { .. } => "task.window-empty",
            Self::WindowTooLong { .. } => "task.window-too-long",
        }
    }
}
