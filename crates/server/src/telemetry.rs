//! Log lines, traces, metrics.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanExporter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::config::Telemetry;
use crate::measures;

/// What must be kept alive, and flushed at the end.
pub(crate) struct Signals {
    traces: Option<SdkTracerProvider>,
}

impl Signals {
    /// One line per event on standard error, control characters escaped by the formatter; OTLP traces when an
    /// endpoint is configured.
    pub(crate) fn start(config: &Telemetry) -> anyhow::Result<Self> {
        // What PostgreSQL remarks on a statement of ours is for whoever asks for it.
        let filter = EnvFilter::try_new(format!("sqlx::postgres::notice=warn,{}", config.level))
            .with_context(|| format!("config key `telemetry.level`: `{}` is not a filter", config.level))?;
        let lines: Box<dyn Layer<Registry> + Send + Sync> = if config.format == "json" {
            Box::new(
                tracing_subscriber::fmt::layer()
                    .json()
                    .with_writer(std::io::stderr)
                    .with_filter(filter),
            )
        } else {
            Box::new(
                tracing_subscriber::fmt::layer()
                    .with_ansi(false)
                    .with_writer(std::io::stderr)
                    .with_filter(filter),
            )
        };
        let traces = provider(config)?;
        let spans = traces
            .as_ref()
            .map(|p| tracing_opentelemetry::layer().with_tracer(p.tracer("bailiwick")));
        // A second start in one process (tests) keeps the first subscriber.
        let _already = tracing_subscriber::registry().with(lines).with(spans).try_init();
        Ok(Self { traces })
    }

    pub(crate) fn flush(&self) {
        if let Some(provider) = &self.traces
            && let Err(error) = provider.shutdown()
        {
            tracing::warn!(%error, "traces not flushed");
        }
    }
}

fn provider(config: &Telemetry) -> anyhow::Result<Option<SdkTracerProvider>> {
    if config.otlp_endpoint.is_empty() {
        return Ok(None);
    }
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_endpoint(traces_url(&config.otlp_endpoint))
        .build()
        .context("config key `telemetry.otlp_endpoint`")?;
    Ok(Some(
        SdkTracerProvider::builder()
            .with_batch_exporter(Watched {
                inner: exporter,
                failing: AtomicBool::new(false),
            })
            .build(),
    ))
}

/// Where traces go below a base endpoint (OTLP 1.0, "OTLP/HTTP Request"); a whole address stays as it is.
fn traces_url(endpoint: &str) -> String {
    let base = endpoint.trim_end_matches('/');
    if base.ends_with("/v1/traces") {
        return base.to_owned();
    }
    format!("{base}/v1/traces")
}

/// Says when traces stop arriving, and when they arrive again; not at each batch.
#[derive(Debug)]
struct Watched {
    inner: opentelemetry_otlp::SpanExporter,
    failing: AtomicBool,
}

impl SpanExporter for Watched {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let exported = self.inner.export(batch).await;
        match &exported {
            Err(error) => {
                metrics::counter!("bailiwick_trace_exports_failed_total").increment(1);
                if !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::warn!(%error, "traces do not arrive: see config key `telemetry.otlp_endpoint`");
                }
            }
            Ok(()) => {
                if self.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("traces arrive again");
                }
            }
        }
        exported
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// The recorder behind `/metrics`.
pub(crate) fn metrics() -> anyhow::Result<PrometheusHandle> {
    static HANDLE: Mutex<Option<PrometheusHandle>> = Mutex::new(None);
    let mut held = HANDLE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = held.as_ref() {
        return Ok(handle.clone());
    }
    let handle = measures::builder()
        .and_then(PrometheusBuilder::install_recorder)
        .context("metrics")?;
    measures::describe();
    *held = Some(handle.clone());
    Ok(handle)
}
