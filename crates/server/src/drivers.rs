//! Background work: each driver is one loop that ends with the stop signal.

use std::sync::Arc;
use std::time::Duration;

use bailiwick_api::Deps;
use bailiwick_mcp::Gateway;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How often idle sessions are looked for.
const SWEEP: Duration = Duration::from_secs(30);
/// How often measurements are folded.
const UPKEEP: Duration = Duration::from_secs(5);
/// How often what is due is looked for.
const RECONCILE: Duration = Duration::from_secs(1);
/// How often heartbeats that stopped are looked for.
const SILENT: Duration = Duration::from_secs(1);

/// Waits for the next beat; `false` when the service stops.
async fn beat(every: Duration, stop: &CancellationToken) -> bool {
    tokio::time::timeout(every, stop.cancelled()).await.is_err()
}

/// Folds what was measured, so that it does not grow while nobody asks for it.
pub(crate) async fn upkeep(measured: PrometheusHandle, stop: CancellationToken) {
    while beat(UPKEEP, &stop).await {
        measured.run_upkeep();
    }
}

/// Ends the tasks whose heartbeat stopped.
pub(crate) async fn silent_tasks(deps: Deps, stop: CancellationToken) {
    while beat(SILENT, &stop).await {
        deps.cell.wake_if_stale(deps.clock.monotonic());
        bailiwick_api::end_silent(&deps).await;
    }
}

/// Carries on what is due: rotations of third-party secrets and of signing keys, and leases whose task may not hold
/// them. Nothing waits for anything else.
pub(crate) async fn reconcile(deps: Deps, stop: CancellationToken) {
    let (reconciler, mut running) = (bailiwick_api::Reconciler::default(), JoinSet::new());
    while beat(RECONCILE, &stop).await {
        let mut due = reconciler.own_round(&deps);
        if deps.nodes.leads() {
            due.extend(reconciler.round(&deps).await);
        }
        for work in due {
            running.spawn(work);
        }
        while running.try_join_next().is_some() {}
    }
    while running.join_next().await.is_some() {}
}

/// Ends sessions nobody used for long.
pub(crate) async fn sweep(deps: Deps, gateway: Arc<Gateway>, stop: CancellationToken) {
    while beat(SWEEP, &stop).await {
        gateway.sweep();
        deps.cell.forget(deps.clock.now());
    }
}
