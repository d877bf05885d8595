//! `bailiwick sidecar`.

use std::path::PathBuf;

use clap::Subcommand;

use super::{SidecarJoin, SidecarRun};

#[derive(Subcommand)]
pub(crate) enum Sidecar {
    /// Every sidecar: its standing, where it hears, and the epoch it last acknowledged
    Ls,
    /// Give a new sidecar a place; prints the single-use token it joins with, good for ten minutes
    Invite {
        /// Name of the new sidecar; no node has it
        sidecar: String,
        /// A tenant whose calls it may decide; may be given several times
        #[arg(short, long, value_name = "TENANT", required = true)]
        tenant: Vec<String>,
        /// Write the token to this new file (0600) instead of printing it
        #[arg(long, value_name = "FILE")]
        token_file: Option<PathBuf>,
    },
    /// Take a sidecar out for good: it is told nothing any more, and refuses everything within its lease
    Rm {
        /// Sidecar
        sidecar: String,
        /// Why; recorded
        #[arg(long)]
        reason: String,
    },
    /// On the machine of the sidecar: make its data folder and join with the token of an invitation
    Join(SidecarJoin),
    /// Run a sidecar: it decides by a signed snapshot, and only as long as it hears a node
    Run(SidecarRun),
}
