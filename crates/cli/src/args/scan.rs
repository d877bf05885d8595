//! `bailiwick scan`.

use std::path::PathBuf;

use clap::Args;

#[derive(Args)]
pub(crate) struct Scan {
    /// Platform, as in content/platforms: aws, azure, gcp, github, kubernetes, microsoft, okta …
    pub(crate) platform: String,
    /// Export to read: a file, or a folder whose files are named after the platform's sources (users.json)
    #[arg(long, value_name = "FILE|DIR")]
    pub(crate) export: PathBuf,
    /// Tell what is there and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Parameter that the export was asked with, as NAME=VALUE (organization=acme)
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub(crate) set: Vec<String>,
    /// Read this manifest instead of the one in this program
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: Option<PathBuf>,
}
