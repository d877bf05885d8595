//! Arguments of `bailiwick consent`.

use std::time::Duration;

use clap::{Args, Subcommand};

use super::parse_span;

#[derive(Subcommand)]
pub(crate) enum Consent {
    /// List whose browser waits, and what was agreed to
    Ls,
    /// Show what the client asks for whose page shows this code
    Show {
        /// Code, as the page in your own browser shows it
        code: String,
    },
    /// Agree: the client gets tokens of one task; prints the word to type into the page
    Allow(Box<ConsentAllow>),
    /// Refuse
    Refuse {
        /// Code, as the page shows it
        code: String,
        /// Why; recorded
        #[arg(long)]
        reason: String,
    },
    /// Clients that may ask
    #[command(subcommand)]
    Client(ConsentClient),
}

#[derive(Args)]
pub(crate) struct ConsentAllow {
    /// Code, as the page in your own browser shows it
    pub(crate) code: String,
    /// Open task whose tokens the client gets
    #[arg(long, required_unless_present = "identity", conflicts_with = "identity")]
    pub(crate) task: Option<String>,
    /// Open a task for this identity, by id or name, instead
    #[arg(long, requires = "can")]
    pub(crate) identity: Option<String>,
    /// What the new task may do (repeat)
    #[arg(long, requires = "identity")]
    pub(crate) can: Vec<String>,
    /// What the new task is for
    #[arg(long, requires = "identity")]
    pub(crate) purpose: Option<String>,
    /// How long the new task is open, e.g. 8h
    #[arg(long = "for", default_value = "8h", value_parser = parse_span)]
    pub(crate) window: Duration,
}

#[derive(Subcommand)]
pub(crate) enum ConsentClient {
    /// Let a client ask: by its redirect URIs, or by where the documents are that describe it and others
    Add(ConsentClientAdd),
    /// List clients that may ask
    Ls,
    /// Let a client ask no more; its refresh tokens serve no more
    Remove {
        /// Client id
        id: String,
        /// Why; recorded
        #[arg(long)]
        reason: String,
    },
}

#[derive(Args)]
pub(crate) struct ConsentClientAdd {
    /// What people call it
    pub(crate) name: String,
    /// Where its browser may be sent back to, byte for byte; any port on loopback (repeat)
    #[arg(
        long = "redirect",
        required_unless_present = "documents",
        conflicts_with = "documents"
    )]
    pub(crate) redirects: Vec<String>,
    /// URL of the document that describes it; ending in `/`, all below it; `https://*`, every one
    #[arg(long)]
    pub(crate) documents: Option<String>,
    /// Address range beyond the public ones where documents may be fetched (repeat)
    #[arg(long = "allow-address", requires = "documents")]
    pub(crate) allow_addresses: Vec<String>,
    /// Fetch documents over plain HTTP: whoever listens may put in their own
    #[arg(long, requires = "documents")]
    pub(crate) danger_plaintext: bool,
    /// Expiry, RFC 3339; as late as allowed when left out
    #[arg(long)]
    pub(crate) expires: Option<String>,
}
