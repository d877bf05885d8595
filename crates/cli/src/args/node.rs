//! `bailiwick node`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Subcommand)]
pub(crate) enum Node {
    /// Every node: its standing, who leads, and the epoch it last acknowledged
    Ls,
    /// Give a new node a place; prints the single-use token it joins with, good for ten minutes
    Invite {
        /// Name of the new node, its `node` in the configuration
        node: String,
        /// Write the token to this new file (0600) instead of printing it
        #[arg(long, value_name = "FILE")]
        token_file: Option<PathBuf>,
    },
    /// On the new machine: take the keys from a running node, so that `serve` can start
    Join {
        /// A running node
        #[arg(long, value_name = "URL")]
        server: String,
        /// File with the token (0600; - for standard input)
        #[arg(long, value_name = "FILE")]
        token_file: PathBuf,
        /// Configuration file of this node (TOML)
        #[arg(long, env = "BAILIWICK_CONFIG")]
        config: Option<PathBuf>,
        /// Data folder of this node
        #[arg(long)]
        data: Option<PathBuf>,
    },
    /// Take a node out of duty before it is stopped: it leads no more
    Drain(Stand),
    /// Let a drained node lead again
    Undrain(Stand),
    /// Shut a node out: it can write nothing from now on, and answers nothing once its word is over
    Fence(Stand),
    /// Let a fenced node start again
    Readmit(Stand),
}

#[derive(Args)]
pub(crate) struct Stand {
    /// Node
    pub(crate) node: String,
    /// Why; recorded
    #[arg(long)]
    pub(crate) reason: String,
}
