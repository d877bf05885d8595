//! Doors that were wired elsewhere, on the service's own listener. Measuring programs use it, to put the same
//! HTTP stack before a recorder of their own; the service has no choice of recorder.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use bailiwick_api::Deps;
use bailiwick_journal::DecisionLog;
use bailiwick_mcp::GatewayConfig;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::http::{Front, Probes, router};
use crate::listener::Listener;
use crate::telemetry;

/// Serves `deps` and `gateway` at `address` until `stop`.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve(
    address: SocketAddr,
    deps: &Deps,
    gateway: Router,
    log: Arc<DecisionLog>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let listen = Config::default().listen;
    let listener = Listener::bind(address, &listen).await?;
    let bound = listener.address()?;
    let mut names = GatewayConfig::new(&format!("http://{bound}"))?;
    names.let_in_loopback(bound.port());
    let probes = Probes {
        deps: deps.clone(),
        log,
        metrics: telemetry::metrics()?,
    };
    listener
        .serve(
            router(
                deps,
                gateway,
                probes,
                Front::new(&names, false, listen.body_mib_max),
            ),
            stop,
        )
        .await;
    Ok(())
}
