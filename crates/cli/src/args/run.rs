//! `bailiwick run`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::parse_span;

#[derive(Args)]
pub(crate) struct Run {
    /// What the work is; or the id of an open task, which ends with the command too
    #[arg(long, value_name = "PURPOSE|TASK")]
    pub(crate) task: String,
    /// Identity id or name; needed unless an open task is named
    #[arg(long)]
    pub(crate) identity: Option<String>,
    /// What it may do, e.g. 'billing:GET(path under "/v1/invoices")'
    #[arg(long = "can")]
    pub(crate) can: Vec<String>,
    /// How long it may last
    #[arg(long = "for", default_value = "15m", value_parser = parse_span)]
    pub(crate) window: Duration,
    /// Seconds after which the task ends when nothing is heard of this command (2 to 300)
    #[arg(long, default_value_t = 15)]
    pub(crate) heartbeat: u64,
    /// Environment variable to set to a placeholder: for a client that insists on a key it does not need (repeat)
    #[arg(long = "placeholder", value_name = "NAME")]
    pub(crate) placeholders: Vec<String>,
    /// PEM file with roots the command trusts beside the egress CA: for destinations that are tunnelled
    #[arg(long, value_name = "FILE")]
    pub(crate) also_trust: Option<PathBuf>,
    /// Give the command no way through the egress proxy
    #[arg(long)]
    pub(crate) no_proxy: bool,
    #[arg(long, hide = true, env = "XDG_RUNTIME_DIR")]
    pub(crate) runtime_dir: Option<PathBuf>,
    /// The command and its arguments
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<OsString>,
}

#[derive(Args)]
pub(crate) struct RunChild {
    /// The process this one must not outlive
    #[arg(long)]
    pub(crate) parent: i32,
    #[arg(last = true, required = true)]
    pub(crate) command: Vec<OsString>,
}
