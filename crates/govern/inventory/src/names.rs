//! The stable text of the room's words, as it stands in rows, records and answers.

use std::fmt;

use crate::model::{Kind, Origin, PinState, State, TenantState};
use crate::observation::{CredentialSort, Edge, Evidence, GrantSort, IdentitySort, PlatformState};

macro_rules! words {
    ($type:ident, $all:literal, { $($variant:ident => $text:literal),* $(,)? }) => {
        impl $type {
            /// All of them.
            pub const ALL: [Self; $all] = [$(Self::$variant),*];

            /// The stable text.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),* }
            }

            /// Reads the stable text.
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.into_iter().find(|word| word.as_str() == text)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

words!(Kind, 9, {
    Agent => "agent",
    ApiKey => "api-key",
    CiJob => "ci-job",
    CloudRunJob => "cloud-run-job",
    McpServer => "mcp-server",
    OauthGrant => "oauth-grant",
    ServiceAccount => "service-account",
    Webhook => "webhook",
    Workload => "workload",
});
words!(Origin, 2, { Registered => "registered", Shadow => "shadow" });
words!(PinState, 4, { Drifted => "drifted", New => "new", Pinned => "pinned", Reads => "reads" });
words!(CredentialSort, 8, {
    ApiKey => "api-key",
    Certificate => "certificate",
    ClientSecret => "client-secret",
    Federation => "federation",
    Password => "password",
    PublicKey => "public-key",
    StoredSecret => "stored-secret",
    Token => "token",
});
words!(Edge, 7, {
    CanAssume => "can-assume",
    CanImpersonate => "can-impersonate",
    DerivedFrom => "derived-from",
    Grants => "grants",
    Holds => "holds",
    Owns => "owns",
    RunsAs => "runs-as",
});
words!(Evidence, 4, { Contact => "contact", Creator => "creator", Owner => "owner", Tag => "tag" });
words!(GrantSort, 3, { Consent => "consent", Policy => "policy", RoleAssignment => "role-assignment" });
words!(IdentitySort, 10, {
    Agent => "agent",
    Application => "application",
    CiJob => "ci-job",
    CloudRunJob => "cloud-run-job",
    Issuer => "issuer",
    Person => "person",
    Role => "role",
    ServiceAccount => "service-account",
    Unclassified => "unclassified",
    Workload => "workload",
});
words!(PlatformState, 4, {
    Active => "active",
    Revoked => "revoked",
    Suspended => "suspended",
    Unsaid => "unsaid",
});
words!(TenantState, 2, { Active => "active", Closed => "closed" });

impl PinState {
    /// Whether the tool may be called as it is pinned.
    #[must_use]
    pub const fn is_pinned(self) -> bool {
        matches!(self, Self::Pinned | Self::Reads)
    }
}

impl State {
    /// The stable text of the four states.
    pub const WORDS: [&'static str; 4] = ["probation", "active", "suspended", "retired"];

    /// The stable text, without what the state carries.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Probation => "probation",
            Self::Active => "active",
            Self::Suspended { .. } => "suspended",
            Self::Retired { .. } => "retired",
        }
    }

    /// Why it is suspended or retired.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Probation | Self::Active => None,
            Self::Suspended { reason, .. } | Self::Retired { reason } => Some(reason),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
