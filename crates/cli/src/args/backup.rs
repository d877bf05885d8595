//! Arguments of `backup` and `restore`.

use std::path::PathBuf;

use clap::Args;

#[derive(Args)]
pub(crate) struct Backup {
    /// New folder for the copy
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
    /// Data folder; the running service's when absent
    #[arg(long)]
    pub(crate) data: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Restore {
    /// Folder of the backup
    #[arg(long, value_name = "DIR")]
    pub(crate) from: PathBuf,
    /// Data folder to make; it must not be there
    #[arg(long)]
    pub(crate) data: PathBuf,
}
