//! `bailiwick credential correct`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args};

use super::parse_span;

/// What is not given stays as it is.
#[derive(Args)]
#[command(group(ArgGroup::new("what").multiple(true).required(true)))]
pub(crate) struct CorrectCredential {
    /// Id or name
    pub(crate) credential: String,
    /// Why; recorded
    #[arg(long)]
    pub(crate) reason: String,
    /// Identity it proves, by id or name; its owner is the credential's
    #[arg(long, group = "what")]
    pub(crate) identity: Option<String>,
    /// When it must not be used any more: RFC 3339, or a span such as 90d
    #[arg(long, group = "what")]
    pub(crate) expires: Option<String>,
    /// From one rotation to the next, e.g. 30d
    #[arg(long, value_parser = parse_span, group = "what")]
    pub(crate) every: Option<Duration>,
    /// How long both secrets stay valid, e.g. 1h
    #[arg(long, value_parser = parse_span, group = "what")]
    pub(crate) overlap: Option<Duration>,
    /// Who is known to use it: all of them, in place of those before
    #[arg(long = "consumer", group = "what", conflicts_with = "no_consumers")]
    pub(crate) consumers: Vec<String>,
    /// Nobody is known to use it
    #[arg(long, group = "what")]
    pub(crate) no_consumers: bool,
    /// HOST:PORT/DATABASE where the logins are managed
    #[arg(long, group = "what")]
    pub(crate) target: Option<String>,
    /// The application's role, of which both logins are members
    #[arg(long, group = "what")]
    pub(crate) role: Option<String>,
    /// One of the two logins that take turns; give both
    #[arg(long = "login", group = "what")]
    pub(crate) logins: Vec<String>,
    /// The login, or access key id, that manages them
    #[arg(long, group = "what")]
    pub(crate) manager_login: Option<String>,
    /// The registered credential with the manager's secret, by id or name
    #[arg(long, group = "what")]
    pub(crate) manager: Option<String>,
    /// Whether to connect there without TLS; recorded and shown
    #[arg(long, value_name = "YES", group = "what")]
    pub(crate) allow_plaintext: Option<bool>,
    /// The IAM user whose access key it is
    #[arg(long, group = "what")]
    pub(crate) aws_user: Option<String>,
    /// Access key id that the secret belongs to
    #[arg(long, group = "what")]
    pub(crate) aws_key: Option<String>,
    /// Region of the security token service
    #[arg(long, group = "what")]
    pub(crate) aws_region: Option<String>,
    /// ARN of the role that leases assume
    #[arg(long, group = "what")]
    pub(crate) aws_lease_role: Option<String>,
    /// The GitHub App, by client id or number, whose private key it is
    #[arg(long, value_name = "APP", group = "what")]
    pub(crate) github_app: Option<String>,
    /// File that describes how keys of the service are managed
    #[arg(long, value_name = "FILE", group = "what")]
    pub(crate) driver: Option<PathBuf>,
    /// Where the paths of --driver begin
    #[arg(long, group = "what")]
    pub(crate) url: Option<String>,
    /// How the service names the key that the secret is
    #[arg(long, group = "what")]
    pub(crate) key: Option<String>,
    /// Address range beyond the public ones, for --target or --url: all of them, in place of those before
    #[arg(long = "allow-address", value_name = "CIDR", group = "what")]
    pub(crate) allow_addresses: Vec<String>,
}
