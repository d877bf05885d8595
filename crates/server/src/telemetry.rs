//! Log lines, traces, metrics.

use std::sync::{Mutex, PoisonError};

use anyhow::Context;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::WithExportConfig;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::config::Telemetry;

/// What must be kept alive, and flushed at the end.
pub(crate) struct Signals {
    traces: Option<SdkTracerProvider>,
}

impl Signals {
    /// One line per event on standard error, control characters escaped by the formatter; OTLP traces when an
    /// endpoint is configured.
    pub(crate) fn start(config: &Telemetry) -> anyhow::Result<Self> {
        let filter = EnvFilter::try_new(&config.level)
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
        .with_endpoint(&config.otlp_endpoint)
        .build()
        .context("config key `telemetry.otlp_endpoint`")?;
    Ok(Some(
        SdkTracerProvider::builder().with_batch_exporter(exporter).build(),
    ))
}

/// The recorder behind `/metrics`.
pub(crate) fn metrics() -> anyhow::Result<PrometheusHandle> {
    static HANDLE: Mutex<Option<PrometheusHandle>> = Mutex::new(None);
    let mut held = HANDLE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = held.as_ref() {
        return Ok(handle.clone());
    }
    let handle = PrometheusBuilder::new().install_recorder().context("metrics")?;
    *held = Some(handle.clone());
    Ok(handle)
}
