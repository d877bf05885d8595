//! Arguments of `sidecar join` and `sidecar run`.

use std::path::PathBuf;

use clap::Args;

#[derive(Args)]
pub(crate) struct SidecarJoin {
    /// Base URL of the installation
    #[arg(long)]
    pub(crate) url: String,
    /// Name it was invited under
    #[arg(long)]
    pub(crate) name: String,
    /// File with the token (0600; - for standard input)
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: PathBuf,
    /// Its data folder, made for this
    #[arg(long)]
    pub(crate) data: PathBuf,
}

#[derive(Args)]
pub(crate) struct SidecarRun {
    /// Data folder, as `sidecar join` made it
    #[arg(long)]
    pub(crate) data: PathBuf,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:8789")]
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
