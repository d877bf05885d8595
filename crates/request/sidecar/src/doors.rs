//! The doors of a sidecar: decisions, introspection, health and measures.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bailiwick_api::budget::{self, Budget};
use bailiwick_api::{DecisionPoint, RouteError, decision_router};
use bailiwick_base::Clock;
use bailiwick_journal::DecisionLog;
use bailiwick_pep::token::{ProofVerifier, Verifier};
use bailiwick_pep::{Pep, SnapshotCell};
use http::{HeaderValue, StatusCode, header};
use serde_json::json;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;

/// Mebibytes of request bodies at once, as at a node.
const BODY_MIB_MAX: usize = 64;

/// What decides here.
#[derive(Clone)]
pub(crate) struct Point {
    pub(crate) cell: Arc<SnapshotCell>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) pep: Arc<Pep>,
    pub(crate) proofs: Arc<ProofVerifier>,
    pub(crate) verifier: Arc<Verifier>,
}

impl DecisionPoint for Point {
    fn cell(&self) -> &Arc<SnapshotCell> {
        &self.cell
    }

    fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    fn pep(&self) -> &Arc<Pep> {
        &self.pep
    }

    fn proofs(&self) -> &Arc<ProofVerifier> {
        &self.proofs
    }

    fn verifier(&self) -> &Arc<Verifier> {
        &self.verifier
    }
}

/// Gives what `/metrics` shows.
pub(crate) type Render = Arc<dyn Fn() -> String + Send + Sync>;

/// What health and measures are read from.
#[derive(Clone)]
struct Probes {
    name: Arc<str>,
    point: Point,
    log: Arc<DecisionLog>,
    warn: Duration,
    render: Render,
}

/// Everything that is served.
pub(crate) fn router(
    name: &str,
    point: &Point,
    log: &Arc<DecisionLog>,
    warn: Duration,
    (render, address): (Render, SocketAddr),
) -> Router {
    let probes = Probes {
        name: name.into(),
        point: point.clone(),
        log: Arc::clone(log),
        warn,
        render,
    };
    let panicked = CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| {
        metrics::counter!("bailiwick_panics_total").increment(1);
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    });
    let around = ServiceBuilder::new()
        .layer(panicked)
        .layer(SetResponseHeaderLayer::if_not_present(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ))
        .layer(middleware::from_fn_with_state(address.ip().is_loopback(), admit))
        .layer(middleware::from_fn_with_state(
            Budget::new(BODY_MIB_MAX),
            budget::count,
        ));
    Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .route("/metrics", get(measures))
        .with_state(probes)
        .merge(decision_router(point.clone()))
        .fallback(unknown)
        .layer(around)
}

/// A page of a name that was turned to this machine must not talk to what listens on loopback.
async fn admit(State(is_loopback): State<bool>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok()).unwrap_or_default();
    if !is_loopback || names_loopback(host) {
        return next.run(request).await;
    }
    RouteError::new(
        StatusCode::FORBIDDEN,
        "http.host",
        "this host name is not served here: ask by the address of loopback",
    )
    .into_response()
}

fn names_loopback(host: &str) -> bool {
    let name = match host.parse::<SocketAddr>() {
        Ok(address) => return address.ip().is_loopback(),
        Err(_) => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost")
        || bare
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

async fn unknown() -> RouteError {
    RouteError::new(
        StatusCode::NOT_FOUND,
        "request.not-found",
        "nothing is served at this path",
    )
}

async fn alive() -> &'static str {
    "alive\n"
}

async fn ready(State(probes): State<Probes>) -> Response {
    let (cell, now) = (&probes.point.cell, probes.point.clock.monotonic());
    let snapshot = cell.load();
    let age = cell.age(now);
    let (status, word) = match age {
        _ if probes.log.refusing().is_some() => (StatusCode::SERVICE_UNAVAILABLE, "log-closed"),
        _ if !cell.is_fresh(now) => (StatusCode::SERVICE_UNAVAILABLE, "stale"),
        Some(age) if age > probes.warn => (StatusCode::OK, "degraded"),
        _ => (StatusCode::OK, bailiwick_api::READY),
    };
    let health = json!({
        "status": word,
        "sidecar": &*probes.name,
        "epoch": snapshot.epoch().0,
        "position": snapshot.state_pos().0,
        "age_ms": age.map(|_| cell.age_ms(now)),
    });
    (status, Json(health)).into_response()
}

async fn measures(State(probes): State<Probes>) -> String {
    let cell = &probes.point.cell;
    #[expect(
        clippy::cast_precision_loss,
        reason = "a gauge is a float; an epoch never gets near 2^52"
    )]
    metrics::gauge!("bailiwick_epoch").set(cell.load().epoch().0 as f64);
    if let Some(age) = cell.age(probes.point.clock.monotonic()) {
        metrics::gauge!("bailiwick_snapshot_age_seconds").set(age.as_secs_f64());
    }
    (probes.render)()
}
