//! Arguments of `witness`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Serve;

#[derive(Subcommand)]
pub(crate) enum Witness {
    /// Go on from a data folder that its witness refuses, for example a restored backup: recorded, and every token dies
    Accept(Box<WitnessAccept>),
    /// Run a witness for logs of others: it cosigns their checkpoints (C2SP tlog-witness) and keeps nothing else
    Serve(WitnessServe),
}

#[derive(Args)]
pub(crate) struct WitnessAccept {
    #[command(flatten)]
    pub(crate) serve: Serve,
    /// Why; recorded
    #[arg(long)]
    pub(crate) reason: String,
    /// Do not ask
    #[arg(long, short = 'y')]
    pub(crate) yes: bool,
}

#[derive(Args)]
pub(crate) struct WitnessServe {
    /// Name of the witness, such as `witness.example/one`: part of its key for ever
    #[arg(long)]
    pub(crate) name: String,
    /// Folder of its key and of what it cosigned last; losing the second means a new name
    #[arg(long)]
    pub(crate) folder: PathBuf,
    /// Verifier key of a log (`bailiwick log ls`); repeat for several
    #[arg(long = "log", value_name = "VKEY", required = true)]
    pub(crate) logs: Vec<String>,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:8788")]
    pub(crate) listen: String,
    /// PEM file with the certificate chain
    #[arg(long, requires = "tls_key")]
    pub(crate) tls_certificate: Option<PathBuf>,
    /// PEM file with the private key (0600)
    #[arg(long, requires = "tls_certificate")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Allow plaintext on an address other than loopback
    #[arg(long)]
    pub(crate) insecure_listen: bool,
}
