//! Arguments of what stops, and of who may.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Args)]
pub(crate) struct Stop {
    /// Scope; or what there is to see: ls, receipt, residue; or drill; or sign, the second operator's word
    #[arg(value_enum)]
    pub(crate) scope: Scope,
    /// Which one; none for tenant and all; with `receipt` and `sign` the id of a receipt; `drill ls` shows the drills
    pub(crate) name: Option<String>,
    /// Why; recorded
    #[arg(long, default_value = "operator decision")]
    pub(crate) reason: String,
    /// How far; without it `killed` (`frozen` for suspend). Only `killed` cannot be lifted
    #[arg(long, value_enum)]
    pub(crate) level: Option<Level>,
    /// Only tell what would stop
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Answer at the commit; the receipt tells when no node permits any more what is forbidden
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// Do not ask
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
    /// Data folder of the running service: go over its socket, which works when the network listener is overrun
    #[arg(long)]
    pub(crate) data: Option<PathBuf>,
    /// With `ls`: every tenant; with `receipt`, `residue` and `sign`: those of kills of everything
    #[arg(long)]
    pub(crate) all_tenants: bool,
    /// With `receipt ID`: folder to write the receipt and a proof of every log entry it names, for `log verify`
    #[arg(long)]
    pub(crate) out: Option<PathBuf>,
    /// With `receipt ID`: base URL of the node to ask, where there are several; each proves its own entries
    #[arg(long)]
    pub(crate) at: Option<String>,
    /// Waive the second signature for issuer, tenant and all; recorded. Only where there is one operator
    #[arg(long)]
    pub(crate) break_glass: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scope {
    Agent,
    All,
    /// No scope: kill a canary through every enforcement point and measure; with `ls` the drills that were made
    Drill,
    Identity,
    Issuer,
    /// No scope: list the marks in force
    Ls,
    Owner,
    /// No scope: what a kill did, where it was seen to hold; without an id the list
    Receipt,
    /// No scope: what of all kills is not confirmed
    Residue,
    Server,
    /// No scope: sign a pending kill as the second operator
    Sign,
    Task,
    Tenant,
    Token,
    Tool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Level {
    /// Stop nothing; the record of each decision names the mark. Lifted by resume
    Observe,
    /// Refuse what is not known to only read. Lifted by resume
    ReadOnly,
    /// Refuse what leaves for another machine. Lifted by resume
    NoEgress,
    /// Refuse everything until a resume
    Frozen,
    /// Refuse everything for ever
    Killed,
}

#[derive(Subcommand)]
pub(crate) enum Operator {
    /// Make a key for a further operator, and a context (--context FILE) that waits for its id
    Prepare {
        /// Base URL of the service
        #[arg(long)]
        server: String,
    },
    /// Add an operator by its public key; recorded
    Add {
        /// Name of the operator
        #[arg(long)]
        name: String,
        /// Ed25519 public key, base64url without padding, as `prepare` prints it
        #[arg(long)]
        public_key: String,
    },
    /// Write the id that the key was added under into the context
    Accept {
        /// Id
        id: String,
    },
    /// Everybody who may command
    Ls,
}
