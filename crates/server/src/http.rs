//! The router of the service: doors, gateway, probes, limits, and what every answer carries.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bailiwick_api::Deps;
use bailiwick_journal::DecisionLog;
use bailiwick_wire::NodeHealth;
use http::{HeaderName, HeaderValue, StatusCode, header};
use metrics_exporter_prometheus::PrometheusHandle;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::trace::TraceLayer;

/// How long a readiness probe may take.
const PROBE: Duration = Duration::from_secs(1);

/// What the probes look at.
#[derive(Clone)]
pub(crate) struct Probes {
    pub(crate) deps: Deps,
    pub(crate) log: Arc<DecisionLog>,
    pub(crate) metrics: PrometheusHandle,
}

/// Everything on the listener. Spans cost time on every call, so they are made only where they are sent.
pub(crate) fn router(deps: &Deps, gateway: Router, probes: Probes, traced: bool) -> Router {
    let router = untraced(deps, gateway, probes);
    if !traced {
        return router;
    }
    router.layer(TraceLayer::new_for_http().make_span_with(span))
}

/// One span per request: method, path and outcome; never a header, a body or a query.
fn span(request: &http::Request<Body>) -> tracing::Span {
    tracing::info_span!(
        "http.server.request",
        otel.kind = "server",
        http.request.method = %request.method(),
        url.path = request.uri().path(),
        mcp.method.name = request.headers().get("mcp-method").and_then(|v| v.to_str().ok()),
    )
}

fn untraced(deps: &Deps, gateway: Router, probes: Probes) -> Router {
    let fixed = |name: HeaderName, value: &'static str| {
        SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
    };
    Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(probes)
        .merge(bailiwick_api::router(deps.clone()))
        .merge(gateway)
        .layer(fixed(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(fixed(header::REFERRER_POLICY, "no-referrer"))
        .layer(fixed(
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ))
        .layer(CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| {
            metrics::counter!("bailiwick_panics_total").increment(1);
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }))
}

async fn alive() -> &'static str {
    "alive\n"
}

async fn ready(State(probes): State<Probes>) -> Response {
    let snapshot = probes.deps.cell.load();
    let store = matches!(
        tokio::time::timeout(PROBE, probes.deps.store.position()).await,
        Ok(Ok(_))
    );
    let fresh = probes.deps.cell.is_fresh(probes.deps.clock.monotonic());
    let decision_log = probes.log.refusing().is_none();
    let keys = snapshot
        .tenants()
        .all(|(tenant, _)| probes.deps.keyring.signer(&tenant.id).is_ok());
    let fine = store && fresh && decision_log && keys;
    let health = NodeHealth {
        status: if fine { "ready" } else { "not-ready" }.to_owned(),
        store,
        keys,
        decision_log,
        epoch: snapshot.epoch().0,
        position: snapshot.state_pos().0,
    };
    let status = if fine {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(health)).into_response()
}

async fn metrics(State(probes): State<Probes>) -> String {
    probes.metrics.render()
}
