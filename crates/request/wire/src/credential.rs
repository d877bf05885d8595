//! Third-party credentials and their rotation.

use serde::{Deserialize, Serialize};

use crate::identity::Owner;

/// `POST /v1/tenants/{tenant}/credentials`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewCredential {
    /// Name, unique in the tenant.
    pub name: String,
    /// `api-key`, `aws-access-key`, `generic`, `github-app-key`, `github-token`, `postgres-login`.
    pub kind: String,
    /// The identity it proves, by id or name; its owner is the credential's.
    pub identity: String,
    /// The secret, base64; sealed on arrival.
    pub secret: String,
    /// When it must not be used any more, RFC 3339; with its identity when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Seconds from one rotation to the next; that of the kind when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<u64>,
    /// Seconds for which both secrets stay valid; that of the kind when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<u64>,
    /// Who is known to use it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub consumers: Vec<String>,
    /// Where a driver rotates it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<RotationTarget>,
    /// The IAM user whose access key a driver rotates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws: Option<AwsTarget>,
    /// The GitHub App whose private key it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub github_app: Option<GithubAppTarget>,
    /// The service whose keys a document describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpTarget>,
    /// Do not try the manager's login of `target`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_try: bool,
}

/// The access keys of one IAM user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwsTarget {
    /// The IAM user.
    pub user: String,
    /// Access key id of the secret in use.
    pub key: String,
    /// Region of the security token service.
    pub region: String,
    /// Access key id that manages the user's keys.
    pub manager_key: String,
    /// The registered credential with the manager's secret key, by id or name.
    pub manager: String,
    /// ARN of the role that leases assume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_role: Option<String>,
    /// Where to go instead of AWS; recorded and shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub danger_endpoint_override: Option<EndpointOverride>,
}

/// A GitHub App.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GithubAppTarget {
    /// Client id or number of the app.
    pub app: String,
    /// Where to go instead of GitHub; recorded and shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub danger_endpoint_override: Option<EndpointOverride>,
}

/// A service whose keys a document describes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpTarget {
    /// Where the paths of the document begin.
    pub url: String,
    /// How the service names the key in use.
    pub key: String,
    /// The registered credential with which keys are managed, by id or name.
    pub manager: String,
    /// The document, TOML.
    pub document: String,
    /// Address ranges beyond the public ones, in CIDR form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_addresses: Vec<String>,
    /// Whether the connection may be without TLS.
    #[serde(default)]
    pub allow_plaintext: bool,
}

/// Another place than the vendor's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndpointOverride {
    /// The URL that stands for every endpoint of the vendor.
    pub url: String,
    /// Address ranges beyond the public ones, in CIDR form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_addresses: Vec<String>,
    /// Whether the connection may be without TLS.
    #[serde(default)]
    pub allow_plaintext: bool,
}

/// Two login roles that take turns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotationTarget {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Database in which the logins are managed.
    pub database: String,
    /// The application's role, of which both logins are members.
    pub role: String,
    /// The two logins; the first of a new credential is the one its secret belongs to.
    pub logins: [String; 2],
    /// The login that manages them.
    pub manager_login: String,
    /// The registered credential with the manager's password, by id or name.
    pub manager: String,
    /// Address ranges beyond the public ones, in CIDR form.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_addresses: Vec<String>,
    /// Whether the connection may be without TLS.
    #[serde(default)]
    pub allow_plaintext: bool,
}

/// The last rotation of a credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastRotation {
    /// When.
    pub at: String,
    /// Index of its entry in the state log: `bailiwick log prove INDEX --log state`.
    pub entry: u64,
    /// The code with which the old secret was refused; absent when a person replaced it elsewhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// A rotation under way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rotation {
    /// `preparing`, `staging`, `watching`, `revoking`, `probing` or `rolling-back`.
    pub phase: String,
    /// Began.
    pub began_at: String,
    /// Fingerprint of the new secret; absent until a system that makes it itself has made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<String>,
    /// How the system names the new secret, where it chooses the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handle: Option<String>,
    /// Known consumers that use the new secret.
    pub moved: Vec<String>,
    /// Known consumers that were not seen with the new secret, or still are with the old one.
    pub waiting: Vec<String>,
    /// Unknown consumers that use the old secret; while there are any, it is not revoked.
    pub unknown: Vec<String>,
    /// How many more unknown ones there are.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unknown_more: u64,
    /// What went wrong last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// A third-party credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credential {
    /// Id.
    pub id: String,
    /// Name.
    pub name: String,
    /// Kind.
    pub kind: String,
    /// Identity.
    pub identity: String,
    /// Owner of the identity.
    pub owner: Option<Owner>,
    /// Keyed fingerprint of the secret in use.
    pub fingerprint: String,
    /// The login in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    /// Registered.
    pub created_at: String,
    /// Ends.
    pub expires_at: String,
    /// Seconds from one rotation to the next.
    pub every: u64,
    /// Seconds for which both secrets stay valid.
    pub overlap: u64,
    /// Who is known to use it.
    pub consumers: Vec<String>,
    /// Where a driver rotates it; a person does when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<RotationTarget>,
    /// The IAM user whose access key a driver rotates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws: Option<AwsTarget>,
    /// The GitHub App whose private key it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub github_app: Option<GithubAppTarget>,
    /// The service whose keys a document describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpTarget>,
    /// When the next rotation is due.
    pub due_at: String,
    /// Whether that has passed.
    pub overdue: bool,
    /// The last rotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_rotation: Option<LastRotation>,
    /// The rotation under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<Rotation>,
    /// The last rotation that was taken back, since the last that ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_back: Option<TakenBack>,
    /// That it is revoked, or being revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Revoked>,
}

/// The end of a credential.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// Why.
    pub reason: String,
    /// When it opened nothing any more; absent while it is being revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Index of its entry in the state log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<u64>,
    /// The code with which it was refused; absent when no driver could try it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// What went wrong last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// A rotation that was taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenBack {
    /// When.
    pub at: String,
    /// Why.
    pub reason: String,
}

/// `POST …/credentials/{id}/rotation/confirm`: a consumer uses the new secret, where the system does not tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfirmMoved {
    /// Which.
    pub consumer: String,
}

/// `POST …/credentials/{id}/rotate` and `…/rotation/cancel`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotationRequest {
    /// Why; recorded.
    pub reason: String,
}

/// `POST …/credentials/{id}/replace`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplaceSecret {
    /// The new secret, base64; sealed on arrival.
    pub secret: String,
}

/// `POST …/credentials/{id}/correct`: what is absent stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorrectCredential {
    /// The identity it proves, by id or name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// When it must not be used any more, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<String>,
    /// Seconds from one rotation to the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<u64>,
    /// Seconds for which both secrets stay valid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap: Option<u64>,
    /// Who is known to use it: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumers: Option<Vec<String>>,
    /// Where a driver rotates it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<RotationTarget>,
    /// The IAM user whose access key a driver rotates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aws: Option<AwsTarget>,
    /// The GitHub App whose private key it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub github_app: Option<GithubAppTarget>,
    /// The service whose keys a document describes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpTarget>,
    /// Why; recorded.
    pub reason: String,
}

/// `POST …/credentials/{id}/fetch`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FetchSecret {}

/// The answer of `…/fetch`: the secret a consumer has to use now.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchedSecret {
    /// Name of the credential.
    pub name: String,
    /// Kind.
    #[serde(default)]
    pub kind: String,
    /// The login, access key id, app or key that the secret belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<String>,
    /// Keyed fingerprint.
    pub fingerprint: String,
    /// The secret, base64.
    pub secret: String,
}
