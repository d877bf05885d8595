//! Arguments of `evidence`.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Subcommand)]
pub(crate) enum Evidence {
    /// Write everything the logs say of one tenant into a folder that verifies offline and shows no other tenant
    Pack {
        /// New folder
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Data folder; the running service's when absent
        #[arg(long)]
        data: Option<PathBuf>,
    },
}
