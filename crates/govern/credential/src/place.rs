//! Where a third-party secret is accepted, and by which driver it is replaced there.

use std::collections::BTreeSet;

use bailiwick_base::limits::shown;
use bailiwick_base::{CredentialId, TenantId};

use crate::refusal::Refusal;
use crate::third_party::{SecretKind, Turn};

/// Bytes of a name in PostgreSQL.
const LOGIN_MAX: usize = 63;
/// Bytes of a name in IAM, an ARN included.
const IAM_MAX: usize = 256;
/// Bytes of the document of a driver.
const DOCUMENT_MAX: usize = 16 * 1024;
/// Address ranges beyond the public ones.
const RANGES_MAX: usize = 16;

/// Two login roles of a PostgreSQL server that take turns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PgTarget {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Database in which the logins are managed.
    pub database: String,
    /// The application's role, of which both logins are members.
    pub role: String,
    /// The two logins.
    pub logins: [String; 2],
    /// The login in use.
    pub current: Turn,
    /// The login that manages them.
    pub manager_login: String,
    /// The registered credential with the manager's password.
    pub manager: CredentialId,
    /// Address ranges beyond the public ones, in CIDR form.
    pub addresses: Vec<String>,
    /// Whether the connection may be without TLS.
    pub allow_plaintext: bool,
}

impl PgTarget {
    /// The name of a login.
    #[must_use]
    pub fn login(&self, turn: Turn) -> &str {
        let [first, second] = &self.logins;
        match turn {
            Turn::First => first,
            Turn::Second => second,
        }
    }
}

/// Another place than the vendor's own: for tests, closed networks and compatible systems. Recorded and shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointOverride {
    /// The URL that stands for every endpoint of the vendor.
    pub url: String,
    /// Address ranges beyond the public ones, in CIDR form.
    pub addresses: Vec<String>,
    /// Whether the connection may be without TLS.
    pub allow_plaintext: bool,
}

/// The access keys of one IAM user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwsTarget {
    /// The IAM user whose key it is.
    pub user: String,
    /// Access key id of the secret in use.
    pub key: String,
    /// Region of the security token service.
    pub region: String,
    /// Access key id that manages the user's keys.
    pub manager_key: String,
    /// The registered credential with the manager's secret key.
    pub manager: CredentialId,
    /// ARN of the role that leases assume; no leases without.
    pub lease_role: Option<String>,
    /// Where to go instead of AWS.
    pub danger_endpoint_override: Option<EndpointOverride>,
}

/// A private key of a GitHub App. GitHub has no way to make or delete one but its settings page, so a person does
/// both, and the driver verifies both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GithubAppTarget {
    /// Client id or number of the app.
    pub app: String,
    /// Where to go instead of GitHub.
    pub danger_endpoint_override: Option<EndpointOverride>,
}

/// Keys of a service whose management is described by a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpTarget {
    /// Where the paths of the document begin.
    pub url: String,
    /// How the service names the key in use.
    pub key: String,
    /// The registered credential with which keys are managed.
    pub manager: CredentialId,
    /// The document, TOML; what it says is read by the driver.
    pub document: String,
    /// Address ranges beyond the public ones, in CIDR form.
    pub addresses: Vec<String>,
    /// Whether the connection may be without TLS.
    pub allow_plaintext: bool,
}

/// Where a secret is accepted, for kinds that are rotated by a driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// An IAM user at AWS.
    Aws(AwsTarget),
    /// A GitHub App.
    GithubApp(GithubAppTarget),
    /// A service described by a document.
    Http(HttpTarget),
    /// Login roles of a PostgreSQL server.
    Pg(PgTarget),
}

impl Target {
    /// Which of two secrets is in use; systems that make a secret with a name of its own have no turns, and the
    /// one in use is the first.
    #[must_use]
    pub const fn current(&self) -> Turn {
        match self {
            Self::Aws(_) | Self::GithubApp(_) | Self::Http(_) => Turn::First,
            Self::Pg(pg) => pg.current,
        }
    }

    /// How the system names the secret in use: a login, an access key id.
    #[must_use]
    pub fn handle(&self) -> &str {
        match self {
            Self::Aws(aws) => &aws.key,
            Self::GithubApp(app) => &app.app,
            Self::Http(http) => &http.key,
            Self::Pg(pg) => pg.login(pg.current),
        }
    }

    /// The registered credential with which the secret is managed; none where a person does it.
    #[must_use]
    pub const fn manager(&self) -> Option<&CredentialId> {
        match self {
            Self::Aws(aws) => Some(&aws.manager),
            Self::GithubApp(_) => None,
            Self::Http(http) => Some(&http.manager),
            Self::Pg(pg) => Some(&pg.manager),
        }
    }

    /// Whether a person makes the new secret there and hands it in.
    #[must_use]
    pub const fn is_handed_in(&self) -> bool {
        matches!(self, Self::GithubApp(_))
    }

    /// Whether the system makes the new secret. Otherwise it takes one of ours.
    #[must_use]
    pub const fn makes_secret(&self) -> bool {
        match self {
            Self::Aws(_) | Self::GithubApp(_) | Self::Http(_) => true,
            Self::Pg(_) => false,
        }
    }

    /// Whether the system makes secrets for a single task.
    #[must_use]
    pub const fn lends(&self) -> bool {
        match self {
            Self::Aws(aws) => aws.lease_role.is_some(),
            Self::GithubApp(_) | Self::Http(_) => false,
            Self::Pg(_) => true,
        }
    }

    /// Whether the system tells who is connected. Otherwise consumers confirm that they moved, and the system
    /// tells no more than when the old secret was used last.
    #[must_use]
    pub const fn tells_consumers(&self) -> bool {
        match self {
            Self::Aws(_) | Self::GithubApp(_) | Self::Http(_) => false,
            Self::Pg(_) => true,
        }
    }

    /// The same place with the new secret in use, which the system names `handle`.
    #[must_use]
    pub(crate) fn turned(self, handle: Option<String>) -> Self {
        match self {
            Self::Aws(aws) => Self::Aws(AwsTarget {
                key: handle.unwrap_or_else(|| aws.key.clone()),
                ..aws
            }),
            Self::GithubApp(app) => Self::GithubApp(app),
            Self::Http(http) => Self::Http(HttpTarget {
                key: handle.unwrap_or_else(|| http.key.clone()),
                ..http
            }),
            Self::Pg(pg) => Self::Pg(PgTarget {
                current: pg.current.next(),
                ..pg
            }),
        }
    }
}

/// Refuses a target that does not fit its kind, or names that could be read as anything else.
pub(crate) fn require_target(target: &Target, kind: SecretKind, tenant: &TenantId) -> Result<(), Refusal> {
    match (target, kind) {
        (Target::Pg(pg), SecretKind::PgLogin) => require_pg(pg)?,
        (Target::Aws(aws), SecretKind::AwsAccessKey) => require_aws(aws)?,
        (Target::GithubApp(app), SecretKind::GithubAppKey) => require_app(app)?,
        (Target::Http(http), SecretKind::ApiKey | SecretKind::Generic | SecretKind::GithubToken) => {
            require_http(http)?;
        }
        _ => return Err(Refusal::NoDriver(kind.as_str())),
    }
    match target.manager() {
        Some(manager) if manager.tenant() != tenant => Err(Refusal::OtherOwner("manager")),
        _ => Ok(()),
    }
}

fn require_app(target: &GithubAppTarget) -> Result<(), Refusal> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'.' || b == b'-';
    if (1..=64).contains(&target.app.len()) && target.app.bytes().all(fits) {
        return Ok(());
    }
    Err(Refusal::TargetName {
        field: "app",
        found: shown(&target.app),
        rule: "a client id or a number, 1 to 64 of A-Z, a-z, 0-9, `.` and `-`",
    })
}

/// That the document says something usable is the driver's rule; it is asked first.
fn require_http(target: &HttpTarget) -> Result<(), Refusal> {
    let wrong = |field, found: &str, rule| Refusal::TargetName {
        field,
        found: shown(found),
        rule,
    };
    if !(1..=IAM_MAX).contains(&target.key.len()) || !target.key.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(wrong("key", &target.key, "1 to 256 visible characters of ASCII"));
    }
    if target.document.len() > DOCUMENT_MAX || target.addresses.len() > RANGES_MAX {
        return Err(wrong(
            "document",
            "",
            "at most 16 KiB, with at most 16 address ranges",
        ));
    }
    Ok(())
}

/// Names that need no quoting, so that nothing in them can be read as anything else.
fn require_login(field: &'static str, name: &str) -> Result<(), Refusal> {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    let begins = name
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_lowercase() || b == b'_');
    let reserved = name.starts_with("pg_") || matches!(name, "none" | "public");
    if begins && !reserved && name.len() <= LOGIN_MAX && name.bytes().all(fits) {
        return Ok(());
    }
    Err(Refusal::LoginName {
        field,
        found: shown(name),
    })
}

fn require_pg(target: &PgTarget) -> Result<(), Refusal> {
    let host = &target.host;
    let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':');
    if host.is_empty() || host.len() > 253 || !host.bytes().all(fits) {
        return Err(Refusal::TargetAddress(shown(host)));
    }
    if target.addresses.len() > RANGES_MAX {
        return Err(Refusal::TargetName {
            field: "address ranges",
            found: shown(host),
            rule: "at most 16 of them",
        });
    }
    let [first, second] = &target.logins;
    require_login("role", &target.role)?;
    require_login("login", first)?;
    require_login("login", second)?;
    require_login("manager login", &target.manager_login)?;
    require_login("database", &target.database)?;
    let names = BTreeSet::from([first, second, &target.role, &target.manager_login]);
    if names.len() == 4 {
        Ok(())
    } else {
        Err(Refusal::LoginsAlike)
    }
}

fn require_aws(target: &AwsTarget) -> Result<(), Refusal> {
    let named = |b: u8| b.is_ascii_alphanumeric() || b"+=,.@_-".contains(&b);
    let arn = |b: u8| named(b) || b":/".contains(&b);
    let id = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit();
    let region = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let is = |text: &str, range: std::ops::RangeInclusive<usize>, fits: &dyn Fn(u8) -> bool| {
        range.contains(&text.len()) && text.bytes().all(fits)
    };
    let wrong = |field, found: &str, rule| Refusal::TargetName {
        field,
        found: shown(found),
        rule,
    };
    if !is(&target.user, 1..=64, &named) {
        return Err(wrong(
            "user",
            &target.user,
            "1 to 64 of A-Z, a-z, 0-9 and `+=,.@_-`",
        ));
    }
    for (field, key) in [
        ("access key", &target.key),
        ("manager's access key", &target.manager_key),
    ] {
        if !is(key, 16..=128, &id) {
            return Err(wrong(field, key, "an access key id such as AKIAIOSFODNN7EXAMPLE"));
        }
    }
    if target.key == target.manager_key {
        return Err(wrong(
            "manager's access key",
            &target.manager_key,
            "another key than the one it manages",
        ));
    }
    if !is(&target.region, 2..=32, &region) {
        return Err(wrong("region", &target.region, "a region such as eu-central-1"));
    }
    if let Some(role) = &target.lease_role
        && !(role.starts_with("arn:") && role.contains(":role/") && is(role, 20..=IAM_MAX, &arn))
    {
        return Err(wrong("lease role", role, "the ARN of a role"));
    }
    match &target.danger_endpoint_override {
        Some(over) if over.addresses.len() > RANGES_MAX => Err(wrong(
            "endpoint override",
            &over.url,
            "a place with at most 16 address ranges",
        )),
        _ => Ok(()),
    }
}
