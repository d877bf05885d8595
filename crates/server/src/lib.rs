//! The composition root: configuration, wiring, drivers, shutdown. The only crate that reads the machine's
//! clock, its environment and its network names, and the only one that starts tasks.

#![warn(missing_docs)]

mod callers;
mod certificate;
mod claiming;
mod clock;
mod config;
pub mod doctor;
pub mod doors;
mod drivers;
mod egress;
mod http;
mod intact;
mod keys;
mod listener;
mod measures;
mod observer;
pub mod operator;
mod places;
mod ports;
mod service;
mod telemetry;

use std::future::Future;
use std::path::Path;

pub use bailiwick_evidence as evidence;

use anyhow::Context;

pub use bailiwick_api::{Code, codes};
pub use bailiwick_backup as backup;
pub use bailiwick_cosign as cosign;
pub use bailiwick_keys::{Joining, SystemEntropy, ceremony, require_empty};
pub use bailiwick_sidecar as sidecar;
pub use bailiwick_witness::{WitnessConfig, WitnessError};
pub use clock::now;
pub use config::{Config, ConfigSources, EffectiveValue};
pub use http::routes;
pub use keys::unseal;
pub use service::{Listening, Machine, Service, Stopper};

/// Runs `work` on the service's runtime.
///
/// # Errors
/// When the runtime cannot be made.
pub fn run<T>(work: impl Future<Output = T>) -> anyhow::Result<T> {
    install_crypto();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime cannot start")?;
    Ok(runtime.block_on(work))
}

/// Makes the witness of a node that joins.
///
/// # Errors
/// As [`bailiwick_witness::begin_joined`].
pub fn begin_witness(config: &Config) -> Result<(), WitnessError> {
    bailiwick_witness::begin_joined(&config.witness, &config.data, &bailiwick_journal::OsDisk)
}

/// Serves `routes` and nothing else on the configured listener until a signal; `ready` hears the address.
///
/// # Errors
/// When it cannot listen.
pub async fn serve_alone(
    config: &Config,
    routes: axum::Router,
    ready: impl FnOnce(&str),
) -> anyhow::Result<()> {
    config.require_safe()?;
    let listener = listener::Listener::bind(config.socket()?, &config.listen).await?;
    ready(&format!("{}://{}", listener.scheme(), listener.address()?));
    let stop = tokio_util::sync::CancellationToken::new();
    spawn(service::stop_on_signal(stop.clone()));
    listener.serve(routes, stop).await;
    Ok(())
}

/// Log lines as configured, for a process without a service; gives what renders its measures.
///
/// # Errors
/// When the filter is none, or measures cannot be kept.
pub fn observe(config: &Config) -> anyhow::Result<impl Fn() -> String + Send + Sync + 'static> {
    telemetry::Signals::start(&config.telemetry)?;
    let metrics = telemetry::metrics()?;
    Ok(move || metrics.render())
}

/// One TLS provider for the process. A second call keeps the first.
pub fn install_crypto() {
    let _already = rustls::crypto::aws_lc_rs::default_provider().install_default();
}

#[expect(clippy::disallowed_methods, reason = "the one place where tasks start")]
pub(crate) fn spawn<F>(work: F)
where
    F: Future<Output = ()> + Send + 'static,
{
    // Dropping the handle leaves the task running; every driver ends with the service's stop signal.
    drop(tokio::spawn(work));
}

/// The launcher process: the only one that may start upstream programs.
///
/// # Errors
/// When its standard streams break.
pub fn launcher() -> anyhow::Result<()> {
    run(bailiwick_mcp::launcher::serve(
        tokio::io::stdin(),
        tokio::io::stdout(),
    ))?
    .context("launcher")
}

/// The small MCP server inside this binary, on its standard streams.
///
/// # Errors
/// When `root` cannot be read, or the streams break.
pub fn builtin_mcp(root: &Path) -> anyhow::Result<()> {
    run(bailiwick_mcp::builtin::serve_stdio(root))?
        .with_context(|| format!("built-in server for `{}`", root.display()))
}

pub use bailiwick_credential::trust::foreign as foreign_trust;
pub use bailiwick_decide::policy::DEFAULTS as DEFAULT_POLICIES;
pub use bailiwick_grant::SCHEMA as POLICY_SCHEMA;

/// Checks Cedar text against the schema, offline.
///
/// # Errors
/// The first fault with line and column.
pub fn lint_policies(text: &str) -> Result<(), bailiwick_decide::policy::PolicyError> {
    bailiwick_decide::policy::validate(text)
}
