//! `bailiwick credential`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::correct::CorrectCredential;
use super::parse_span;

#[derive(Subcommand)]
pub(crate) enum Credential {
    /// Register a secret that another system accepts
    Add(Box<NewCredential>),
    /// Set right what was registered wrongly, between rotations; recorded
    Correct(Box<CorrectCredential>),
    /// List credentials
    Ls,
    /// Take out a registration that never rotated, or that is revoked; its records stay in the log
    Remove {
        /// Id or name
        credential: String,
        /// Why; recorded
        #[arg(long)]
        reason: String,
    },
    /// Show one credential
    Show {
        /// Id or name
        credential: String,
    },
    /// Begin to replace the secret; nothing is revoked before every known consumer moved
    Rotate {
        /// Id or name
        credential: String,
        /// Why; recorded
        #[arg(long, default_value = "operator decision")]
        reason: String,
    },
    /// Make every secret of the credential invalid for good, whoever uses it, and prove that it is refused
    Revoke {
        /// Id or name
        credential: String,
        /// Why; recorded
        #[arg(long)]
        reason: String,
    },
    /// Where a rotation stands and what it waits for
    Rotation {
        /// Id or name
        credential: String,
        /// Give it up; possible until the old secret is being revoked
        #[arg(long)]
        cancel: bool,
        /// This known consumer uses the new secret, where the system does not tell (AWS)
        #[arg(long, value_name = "CONSUMER", conflicts_with = "cancel")]
        moved: Option<String>,
        /// Why it is given up; recorded
        #[arg(long, default_value = "operator decision")]
        reason: String,
    },
    /// Rotation schedule and last rotation of each, with its entry in the state log
    Schedule,
    /// Write the secret a consumer has to use now to a file (0600); recorded
    Fetch {
        /// Id or name
        credential: String,
        /// File to write
        #[arg(long)]
        secret_file: PathBuf,
        /// Replace the file if it exists, whole or not at all
        #[arg(long)]
        replace: bool,
        /// plain: the secret alone; json: with the login, access key id or key that it belongs to
        #[arg(long, value_enum, default_value_t = FetchFormat::Plain)]
        format: FetchFormat,
    },
    /// Have a secret made for one task, which is taken back when the task or its time ends
    Lease {
        /// Id or name of the credential to lease from
        credential: String,
        /// The task that needs it
        #[arg(long)]
        task: String,
        /// Why the task needs it; recorded
        #[arg(long)]
        reason: String,
        /// How long, e.g. 15m
        #[arg(long = "for", value_parser = parse_span, default_value = "15m")]
        span: Duration,
        /// File to write the secret to (0600)
        #[arg(long)]
        secret_file: PathBuf,
        /// Although the task's grant does not say so; a finding in the task's ledger
        #[arg(long)]
        beyond_scope: bool,
    },
    /// Have a lease taken back now
    GiveBack {
        /// Id of the lease
        lease: String,
        /// Why; recorded
        #[arg(long, default_value = "not needed any more")]
        reason: String,
    },
    /// Take the secret that a person made elsewhere
    Replace {
        /// Id or name
        credential: String,
        /// File with the new secret; - for standard input
        #[arg(long)]
        secret_file: PathBuf,
    },
}

/// What `fetch` writes.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FetchFormat {
    Json,
    Plain,
}

#[derive(Args)]
pub(crate) struct NewCredential {
    /// Name, unique in the tenant
    pub(crate) name: String,
    /// api-key, aws-access-key, generic, github-app-key, github-token, postgres-login
    #[arg(long)]
    pub(crate) kind: String,
    /// Identity it proves, by id or name; its owner is the credential's
    #[arg(long)]
    pub(crate) identity: String,
    /// File with the secret; - for standard input
    #[arg(long)]
    pub(crate) secret_file: PathBuf,
    /// When it must not be used any more: RFC 3339, or a span such as 90d
    #[arg(long)]
    pub(crate) expires: Option<String>,
    /// From one rotation to the next, e.g. 30d; that of the kind when absent
    #[arg(long, value_parser = parse_span)]
    pub(crate) every: Option<Duration>,
    /// How long both secrets stay valid, e.g. 1h; that of the kind when absent
    #[arg(long, value_parser = parse_span)]
    pub(crate) overlap: Option<Duration>,
    /// Who is known to use it, as it names itself there (PostgreSQL: `application_name`)
    #[arg(long = "consumer")]
    pub(crate) consumers: Vec<String>,
    /// HOST:PORT/DATABASE where the logins are managed
    #[arg(long, requires_all = ["role", "logins", "manager", "manager_login"], conflicts_with = "aws_user")]
    pub(crate) target: Option<String>,
    /// The application's role, of which both logins are members
    #[arg(long, requires = "target")]
    pub(crate) role: Option<String>,
    /// One of the two logins that take turns; the first is the one the secret belongs to
    #[arg(long = "login", requires = "target")]
    pub(crate) logins: Vec<String>,
    /// The login, or access key id, that manages them
    #[arg(long, requires = "manager")]
    pub(crate) manager_login: Option<String>,
    /// The registered credential with the manager's secret, by id or name
    #[arg(long)]
    pub(crate) manager: Option<String>,
    /// Connect there without TLS; recorded and shown
    #[arg(long)]
    pub(crate) allow_plaintext: bool,
    /// The IAM user whose access key it is
    #[arg(long, requires_all = ["aws_key", "manager", "manager_login"])]
    pub(crate) aws_user: Option<String>,
    /// Access key id that the secret belongs to
    #[arg(long, requires = "aws_user")]
    pub(crate) aws_key: Option<String>,
    /// Region of the security token service
    #[arg(long, requires = "aws_user", default_value = "us-east-1")]
    pub(crate) aws_region: String,
    /// ARN of the role that leases assume
    #[arg(long, requires = "aws_user")]
    pub(crate) aws_lease_role: Option<String>,
    /// The GitHub App, by client id or number, whose private key it is
    #[arg(long, value_name = "APP", conflicts_with_all = ["target", "aws_user"])]
    pub(crate) github_app: Option<String>,
    /// File that describes how keys of the service are managed (content/rotation/api-keys.toml)
    #[arg(long, value_name = "FILE", requires_all = ["url", "key", "manager"], conflicts_with_all = ["target", "aws_user", "github_app"])]
    pub(crate) driver: Option<PathBuf>,
    /// Where the paths of --driver begin
    #[arg(long, requires = "driver")]
    pub(crate) url: Option<String>,
    /// How the service names the key that the secret is
    #[arg(long, requires = "driver")]
    pub(crate) key: Option<String>,
    /// Go to this URL instead of the vendor's; recorded and shown
    #[arg(long, value_name = "URL")]
    pub(crate) danger_endpoint_override: Option<String>,
    /// Address range beyond the public ones, for --target, --url or --danger-endpoint-override (repeat)
    #[arg(long = "allow-address", value_name = "CIDR")]
    pub(crate) allow_addresses: Vec<String>,
    /// Register it although the manager's login of --target was not tried
    #[arg(long, requires = "target")]
    pub(crate) no_try: bool,
}
