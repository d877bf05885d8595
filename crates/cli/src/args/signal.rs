//! Arguments of `bailiwick signal`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::parse_span;

#[derive(Subcommand)]
pub(crate) enum Signal {
    /// List who is told what happens here, streams and webhooks, and how far each one is
    Ls,
    /// Tell again what was told no more; what happened meanwhile is left out
    Enable {
        /// Stream or webhook id
        id: String,
    },
    /// Tell later what happens from now on
    Pause {
        /// Stream or webhook id
        id: String,
        /// Why; recorded
        #[arg(long)]
        reason: String,
    },
    /// Tell nothing any more
    Disable {
        /// Stream or webhook id
        id: String,
        /// Why; recorded
        #[arg(long)]
        reason: String,
    },
    /// End a stream or a webhook
    Remove {
        /// Stream or webhook id
        id: String,
        /// Why; recorded
        #[arg(long)]
        reason: String,
    },
    /// Webhooks of the tenant (Standard Webhooks)
    #[command(subcommand)]
    Webhook(Webhook),
    /// Issuers of others that tell us what happens there (OpenID Shared Signals)
    #[command(subcommand)]
    Transmitter(Transmitter),
}

#[derive(Subcommand)]
pub(crate) enum Webhook {
    /// Add a webhook; prints its secret, once, unless that goes into a file
    Add(WebhookAdd),
    /// Make a new secret; the one before signs too for a while
    Rotate {
        /// Webhook id
        id: String,
        /// How long both secrets sign, e.g. 24h
        #[arg(long, default_value = "24h", value_parser = parse_span)]
        overlap: Duration,
        /// Write the secret to this new file (0600) instead of printing it
        #[arg(long, value_name = "FILE")]
        secret_file: Option<PathBuf>,
    },
}

#[derive(Args)]
pub(crate) struct WebhookAdd {
    /// Where messages go
    pub(crate) url: String,
    /// What is told (repeat): credential-change, risk-level-change, session-revoked, token-claims-change; all when left out
    #[arg(long = "event")]
    pub(crate) events: Vec<String>,
    /// What it is for
    #[arg(long)]
    pub(crate) description: Option<String>,
    /// Address range beyond the public ones that it may be in (repeat)
    #[arg(long = "allow-address")]
    pub(crate) allow_addresses: Vec<String>,
    /// Send over plain HTTP: whoever listens reads along
    #[arg(long)]
    pub(crate) danger_plaintext: bool,
    /// Write the secret to this new file (0600) instead of printing it
    #[arg(long, value_name = "FILE")]
    pub(crate) secret_file: Option<PathBuf>,
}

#[derive(Subcommand)]
pub(crate) enum Transmitter {
    /// Register an issuer: what it tells stops what its people own
    Add(TransmitterAdd),
    /// List registered issuers
    Ls,
    /// Take nothing more from an issuer
    Remove {
        /// Transmitter id
        id: String,
        /// Why; recorded
        #[arg(long)]
        reason: String,
    },
}

#[derive(Args)]
pub(crate) struct TransmitterAdd {
    /// `iss` of what it sends
    pub(crate) issuer: String,
    /// Where its keys are
    #[arg(long, conflicts_with = "jwks", required_unless_present = "jwks")]
    pub(crate) jwks_url: Option<String>,
    /// File with its keys (JWK Set)
    #[arg(long)]
    pub(crate) jwks: Option<PathBuf>,
    /// Whose contact a subject of it is: SUB=CONTACT (repeat); e-mail subjects need none
    #[arg(long = "person")]
    pub(crate) people: Vec<String>,
    /// Address range beyond the public ones where its keys may be fetched (repeat)
    #[arg(long = "allow-address")]
    pub(crate) allow_addresses: Vec<String>,
    /// Fetch its keys over plain HTTP: whoever listens may put in their own
    #[arg(long)]
    pub(crate) danger_plaintext: bool,
}
