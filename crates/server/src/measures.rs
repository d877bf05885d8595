//! Every metric: its name, kind, unit and what it says. What is not in this table is not exposed with a text.

use std::time::Duration;

use bailiwick_base::Epoch;
use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder};

use Kind::{Counter, Gauge, Histogram};

#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
    /// With the upper bounds of its buckets.
    Histogram(&'static [f64]),
}

/// From a tenth of a millisecond, which a flush on a fast disk takes, to what nobody waits for.
const SECONDS: [f64; 14] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];
/// Records of one flush.
const RECORDS: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

const TABLE: [(&str, Kind, Unit, &str); 19] = [
    (
        "bailiwick_bodies_refused_total",
        Counter,
        Unit::Count,
        "Request bodies refused because all room for them was taken, by lane.",
    ),
    (
        "bailiwick_connections_open",
        Gauge,
        Unit::Count,
        "Connections that are open.",
    ),
    (
        "bailiwick_connections_refused_total",
        Counter,
        Unit::Count,
        "Connections refused because a limit was reached, by limit.",
    ),
    (
        "bailiwick_decision_log_batch_records",
        Histogram(&RECORDS),
        Unit::Count,
        "Records written with one flush of the decision log.",
    ),
    (
        "bailiwick_decision_log_entries_total",
        Counter,
        Unit::Count,
        "Entries made durable in the decision log.",
    ),
    (
        "bailiwick_decision_log_flush_seconds",
        Histogram(&SECONDS),
        Unit::Seconds,
        "How long one flush of the decision log took, in seconds.",
    ),
    (
        "bailiwick_decision_log_refused_total",
        Counter,
        Unit::Count,
        "Records the decision log could not take; their calls were refused.",
    ),
    (
        "bailiwick_decisions_total",
        Counter,
        Unit::Count,
        "Decisions taken, by door and effect.",
    ),
    (
        "bailiwick_epoch",
        Gauge,
        Unit::Count,
        "Revocation epoch this node decides by.",
    ),
    (
        "bailiwick_kill_committed_seconds",
        Histogram(&SECONDS),
        Unit::Seconds,
        "From the command to its kill being committed in the store, in seconds.",
    ),
    (
        "bailiwick_kill_denied_seconds",
        Histogram(&SECONDS),
        Unit::Seconds,
        "From the command until this node refused what was killed, in seconds.",
    ),
    (
        "bailiwick_outcomes_lost_total",
        Counter,
        Unit::Count,
        "Ends of calls that could not be recorded.",
    ),
    (
        "bailiwick_panics_total",
        Counter,
        Unit::Count,
        "Requests that ended in a defect of the service.",
    ),
    (
        "bailiwick_records_failed_total",
        Counter,
        Unit::Count,
        "Decisions that could not be recorded; their calls were refused.",
    ),
    (
        "bailiwick_snapshot_age_seconds",
        Gauge,
        Unit::Seconds,
        "Time since this node last heard from its store, in seconds.",
    ),
    (
        "bailiwick_token_requests_refused_total",
        Counter,
        Unit::Count,
        "Token requests refused, by OAuth error.",
    ),
    (
        "bailiwick_tool_drift_total",
        Counter,
        Unit::Count,
        "Tools found to differ from their pinned definition.",
    ),
    (
        "bailiwick_trace_exports_failed_total",
        Counter,
        Unit::Count,
        "Batches of traces that did not arrive at the collector.",
    ),
    (
        "bailiwick_upstream_failures_total",
        Counter,
        Unit::Count,
        "Calls an upstream server did not answer properly, by code.",
    ),
];

/// The exporter, with fixed buckets for every histogram.
pub(crate) fn builder() -> Result<PrometheusBuilder, BuildError> {
    let mut builder = PrometheusBuilder::new();
    for (name, kind, ..) in TABLE {
        if let Histogram(bounds) = kind {
            builder = builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), bounds)?;
        }
    }
    Ok(builder)
}

/// Gives the installed exporter the texts.
pub(crate) fn describe() {
    for (name, kind, unit, help) in TABLE {
        match kind {
            Counter => describe_counter!(name, unit, help),
            Gauge => describe_gauge!(name, unit, help),
            Histogram(_) => describe_histogram!(name, unit, help),
        }
    }
}

/// What is read off the snapshot whenever somebody asks for the measures.
pub(crate) fn note_snapshot(epoch: Epoch, age: Option<Duration>) {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a gauge is a float; an epoch never gets near 2^52"
    )]
    metrics::gauge!("bailiwick_epoch").set(epoch.0 as f64);
    if let Some(age) = age {
        metrics::gauge!("bailiwick_snapshot_age_seconds").set(age.as_secs_f64());
    }
}
