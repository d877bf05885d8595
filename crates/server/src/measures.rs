//! Every metric: its name, kind, unit and what it says. What is not in `content/metrics.txt` is not exposed with a
//! text.

use std::time::Duration;

use bailiwick_base::Epoch;
use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder};

/// From a tenth of a millisecond, which a flush on a fast disk takes, to what nobody waits for.
const SECONDS: [f64; 14] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];
/// Records of one flush.
const RECORDS: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// Name, kind, unit and text, a line each.
const TABLE: &str = include_str!("../../../content/metrics.txt");

/// Name, kind, unit and text of every metric.
fn table() -> impl Iterator<Item = (&'static str, &'static str, Unit, &'static str)> {
    TABLE.lines().filter_map(|line| {
        let mut cells = line.splitn(4, '|');
        let (name, kind) = (cells.next()?, cells.next()?);
        Some((name, kind, Unit::from_string(cells.next()?)?, cells.next()?))
    })
}

/// The exporter, with fixed buckets for every histogram.
pub(crate) fn builder() -> Result<PrometheusBuilder, BuildError> {
    let mut builder = PrometheusBuilder::new();
    for (name, _, unit, _) in table().filter(|(_, kind, ..)| *kind == "histogram") {
        let bounds: &[f64] = match unit {
            Unit::Seconds => &SECONDS,
            _ => &RECORDS,
        };
        builder = builder.set_buckets_for_metric(Matcher::Full(name.to_owned()), bounds)?;
    }
    Ok(builder)
}

/// Gives the installed exporter the texts.
pub(crate) fn describe() {
    for (name, kind, unit, help) in table() {
        match kind {
            "counter" => describe_counter!(name, unit, help),
            "gauge" => describe_gauge!(name, unit, help),
            _ => describe_histogram!(name, unit, help),
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
