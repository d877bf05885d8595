//! `bailiwick demo`, `bailiwick dev` and `bailiwick serve`.

use std::path::PathBuf;

use clap::Args;

#[derive(Args)]
pub(crate) struct Demo {
    /// Keep the data in this folder
    #[arg(long)]
    pub(crate) keep: Option<PathBuf>,
    /// Folder that holds node_modules with the official filesystem server
    #[arg(long, env = "BAILIWICK_DEMO_NODE_MODULES")]
    pub(crate) node_modules: Option<PathBuf>,
    /// Stop after the story instead of leaving the server running
    #[arg(long)]
    pub(crate) once: bool,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) listen: String,
    /// Seed of the demo's content
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    #[arg(long, hide = true, env = "PATH")]
    pub(crate) search_path: Option<String>,
}

#[derive(Args)]
pub(crate) struct Dev {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:8787")]
    pub(crate) listen: String,
    /// Tenant to make
    #[arg(long, default_value = "dev")]
    pub(crate) with_tenant: String,
}

#[derive(Args, Clone)]
pub(crate) struct Serve {
    /// Configuration file (TOML)
    #[arg(long, env = "BAILIWICK_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Data folder
    #[arg(long)]
    pub(crate) data: Option<PathBuf>,
    /// Address to listen on
    #[arg(long)]
    pub(crate) listen: Option<String>,
    /// Base URL as clients see it
    #[arg(long)]
    pub(crate) base_url: Option<String>,
    /// Allow plaintext on an address other than loopback
    #[arg(long)]
    pub(crate) insecure_listen: bool,
    /// File outside the data folder that keeps epoch and checkpoints
    #[arg(long, value_name = "PATH")]
    pub(crate) witness: Option<PathBuf>,
}
