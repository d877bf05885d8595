//! `bailiwick trust lint`.

use std::path::PathBuf;

use clap::Args;

#[derive(Args)]
pub(crate) struct TrustLint {
    /// Judge this policy of a cloud instead, offline; - for standard input. Exit code 4 when it is dangerous
    #[arg(long, requires = "platform")]
    pub(crate) file: Option<PathBuf>,
    /// Whose policy it is: aws (a role's trust policy), azure (a federated credential), gcp (a provider of a pool)
    #[arg(long, requires = "file")]
    pub(crate) platform: Option<String>,
    /// Kind of issuer where its URL does not tell: bitbucket, circleci, github, gitlab, terraform-cloud
    #[arg(long, requires = "file")]
    pub(crate) issuer_kind: Option<String>,
    /// File with the claims of a token (JSON), to try: is it let in?
    #[arg(long, requires = "file")]
    pub(crate) token: Option<PathBuf>,
}
