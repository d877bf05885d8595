//! `bailiwick id compose`.

use std::path::PathBuf;

use clap::Args;

#[derive(Args)]
#[group(id = "parts", required = true, multiple = true)]
pub(crate) struct Parts {
    /// Name and version of the model, as the agent itself states it
    #[arg(long, value_name = "TEXT")]
    pub(crate) model: Option<String>,
    /// File of the system prompt
    #[arg(long, value_name = "FILE")]
    pub(crate) prompt: Option<PathBuf>,
    /// File of the tool manifest
    #[arg(long, value_name = "FILE")]
    pub(crate) tools: Option<PathBuf>,
    /// Files of the code: one is digested as it is, several as `sha256sum FILE... | LC_ALL=C sort -k2 | sha256sum`
    #[arg(long, value_name = "FILE", num_args = 1.., action = clap::ArgAction::Append)]
    pub(crate) code: Vec<PathBuf>,
}
