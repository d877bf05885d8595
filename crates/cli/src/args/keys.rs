//! `bailiwick keys`.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Subcommand)]
pub(crate) enum Keys {
    /// Which key signs the tenant's tokens, which is next, which are still published, and when that changes
    Status,
    /// Let the next key sign; the one before stays published until the last token it signed is over
    Rotate {
        /// The key that signs is compromised: everything it signed dies now, and the next key signs however young it is
        #[arg(long, requires = "reason")]
        now: bool,
        /// Why; recorded
        #[arg(long)]
        reason: Option<String>,
    },
    /// Make the root key of a new installation off line, and the file that unseals it; nothing may run on the folder
    Ceremony {
        /// Data folder; it is made when it is not there
        #[arg(long)]
        data: PathBuf,
        /// New file for the unseal key (0600), to be kept outside the data folder and its backups; this or --passphrase-file
        #[arg(long, conflicts_with = "passphrase_file")]
        unseal_file: Option<PathBuf>,
        /// Seal with the passphrase in this file (0600; - for standard input) instead of a key
        #[arg(long)]
        passphrase_file: Option<PathBuf>,
        /// Make the keys of this tenant too (repeat)
        #[arg(long = "with-tenant", value_name = "SLUG")]
        tenants: Vec<String>,
        /// RS256, ES256 or EdDSA, for those tenants
        #[arg(long, default_value = "RS256")]
        algorithm: String,
    },
}
