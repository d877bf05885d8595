//! What `server add` takes for a destination of the egress proxy.

use std::path::PathBuf;

use clap::Args;

#[derive(Args)]
pub(crate) struct Destination {
    /// `https://host[:port]` of an HTTP service that agents reach through the egress proxy
    #[arg(long, conflicts_with_all = ["url", "exec"], value_name = "URL")]
    pub(crate) destination: Option<String>,
    /// Method that may be granted for it (repeat)
    #[arg(long = "method", requires = "destination")]
    pub(crate) methods: Vec<String>,
    /// Header its secret is put in with: 'Name: Bearer {secret}', or {basic:USER} for Basic
    #[arg(long, requires = "destination", value_name = "TEMPLATE")]
    pub(crate) header: Option<String>,
    /// Let tasks be granted CONNECT: through to it without inspection; recorded and shown
    #[arg(long, requires = "destination")]
    pub(crate) tunnel: bool,
    /// PEM file with the certificate of the private CA that vouches for it
    #[arg(long, requires = "destination", value_name = "FILE")]
    pub(crate) destination_ca: Option<PathBuf>,
}
