//! The router of the service: doors, gateway, probes, limits, and what every answer carries.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bailiwick_api::budget::{self, Budget};
use bailiwick_api::{Deps, Route, RouteError};
use bailiwick_journal::DecisionLog;
use bailiwick_mcp::GatewayConfig;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use metrics_exporter_prometheus::PrometheusHandle;
use tower::ServiceBuilder;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::trace::TraceLayer;

/// What the probes look at.
#[derive(Clone)]
pub(crate) struct Probes {
    pub(crate) deps: Deps,
    pub(crate) log: Arc<DecisionLog>,
    pub(crate) metrics: PrometheusHandle,
}

/// Who is let in at all, and whether spans are made. Spans cost time on every call, so they are made only where
/// they are sent.
#[derive(Clone)]
pub(crate) struct Front {
    hosts: BTreeSet<String>,
    origins: BTreeSet<String>,
    traced: bool,
    bodies: Arc<Budget>,
}

impl Front {
    /// The hosts and origins that the gateway lets in are those of every door.
    pub(crate) fn new(gateway: &GatewayConfig, traced: bool, body_mib_max: usize) -> Self {
        Self {
            bodies: Budget::new(body_mib_max),
            hosts: gateway.hosts.clone(),
            origins: gateway.origins.clone(),
            traced,
        }
    }

    /// A page of a name that was turned to this address must not talk to it: no door without a known `Host`, and
    /// none for a foreign `Origin`. Health is asked for by address, and tells nothing.
    fn require(&self, request: &Request) -> Result<(), RouteError> {
        let path = request.uri().path();
        if matches!(path, "/healthz" | "/readyz") {
            return Ok(());
        }
        let headers = request.headers();
        let refused = |code, text| Err(RouteError::new(StatusCode::FORBIDDEN, code, text));
        let mut hosts = headers.get_all(header::HOST).iter();
        let host = match (hosts.next(), hosts.next(), request.uri().authority()) {
            (Some(host), None, _) => host.to_str().unwrap_or_default(),
            (None, _, Some(authority)) => authority.as_str(),
            _ => "",
        };
        if !knows(&self.hosts, host) {
            return refused(
                "http.host",
                "this host name is not served here: see listen.allowed_hosts",
            );
        }
        let mut origins = headers.get_all(header::ORIGIN).iter();
        if !origins.all(|o| knows(&self.origins, o.to_str().unwrap_or_default())) {
            return refused("http.origin", "this origin is not let in");
        }
        Ok(())
    }
}

fn knows(names: &BTreeSet<String>, name: &str) -> bool {
    names.contains(name) || names.contains(&name.to_ascii_lowercase())
}

/// Everything on the listener.
pub(crate) fn router(deps: &Deps, gateway: Router, probes: Probes, front: Front) -> Router {
    let traced = front.traced;
    let router = untraced(deps, gateway, probes, front);
    if !traced {
        return router;
    }
    router.layer(TraceLayer::new_for_http().make_span_with(span))
}

async fn admit(State(front): State<Arc<Front>>, request: Request, next: Next) -> Response {
    match front.require(&request) {
        Ok(()) => next.run(request).await,
        Err(refused) => refused.into_response(),
    }
}

async fn unknown() -> RouteError {
    RouteError::new(
        StatusCode::NOT_FOUND,
        "request.not-found",
        "nothing is served at this path",
    )
}

async fn wrong_method(method: Method) -> RouteError {
    let detail = format!("{method} is not served at this path");
    RouteError::new(StatusCode::METHOD_NOT_ALLOWED, "request.method", detail)
}

/// One span per request: method, path and outcome; never a header, a body or a query.
fn span(request: &Request<Body>) -> tracing::Span {
    tracing::info_span!(
        "http.server.request",
        otel.kind = "server",
        http.request.method = %request.method(),
        url.path = request.uri().path(),
        mcp.method.name = request.headers().get("mcp-method").and_then(|v| v.to_str().ok()),
    )
}

/// Every route on the listener: the doors', the probes', the gateway's.
#[must_use]
pub fn routes() -> Vec<Route> {
    let mut routes = bailiwick_api::routes();
    let own = [
        ("GET", "/healthz"),
        ("GET", "/metrics"),
        ("GET", "/readyz"),
        ("POST", "/t/{tenant}/mcp/{server}"),
    ];
    routes.extend(own.map(|(method, path)| Route { method, path }));
    routes
}

fn untraced(deps: &Deps, gateway: Router, probes: Probes, front: Front) -> Router {
    let fixed = |name: HeaderName, value: &'static str| {
        SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
    };
    let panicked = CatchPanicLayer::custom(|_: Box<dyn std::any::Any + Send>| {
        metrics::counter!("bailiwick_panics_total").increment(1);
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    });
    let bodies = Arc::clone(&front.bodies);
    // One layer of layers, outermost first: each that a router is given by itself costs every request a box.
    let around = ServiceBuilder::new()
        .layer(panicked)
        .layer(fixed(
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ))
        .layer(fixed(header::REFERRER_POLICY, "no-referrer"))
        .layer(fixed(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(middleware::from_fn_with_state(Arc::new(front), admit))
        .layer(middleware::from_fn_with_state(bodies, budget::count));
    Router::new()
        .route("/healthz", get(alive))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(probes)
        .merge(bailiwick_api::router(deps.clone()))
        .merge(gateway)
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(around)
}

async fn alive() -> &'static str {
    "alive\n"
}

async fn ready(State(probes): State<Probes>) -> Response {
    let health = bailiwick_api::health(&probes.deps, probes.log.refusing().is_none()).await;
    let status = match health.status.as_str() {
        bailiwick_api::READY => StatusCode::OK,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(health)).into_response()
}

async fn metrics(State(probes): State<Probes>) -> String {
    let cell = &probes.deps.cell;
    crate::measures::note_snapshot(cell.load().epoch(), cell.age(probes.deps.clock.monotonic()));
    probes.metrics.render()
}
