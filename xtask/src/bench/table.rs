//! Judging goals and writing the table.
use std::fmt::Write as _;

use super::plan::{Bound, Compare, Goal, Source};
use super::{Absent, Measured, Method};

/// How busy the machine was.
#[derive(Clone, Debug)]
pub struct Conditions {
    pub load: String,
    pub pressure: String,
    /// Processor, cores, memory, kernel.
    pub machine: String,
}

impl Conditions {
    #[must_use]
    pub fn now() -> Self {
        let first_line = |path: &str| {
            let text = std::fs::read_to_string(path).unwrap_or_default();
            text.lines()
                .next()
                .unwrap_or("not told by this kernel")
                .to_owned()
        };
        Self {
            load: first_line("/proc/loadavg"),
            pressure: first_line("/proc/pressure/cpu"),
            machine: machine(),
        }
    }
}

fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let (processors, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let value = |text: &str, key: &str| {
        let line = text
            .lines()
            .find(|line| line.starts_with(key))
            .unwrap_or_default();
        line.split_once(':').unwrap_or_default().1.trim().to_owned()
    };
    format!(
        "{} x {}, {} memory, Linux {}",
        processors
            .lines()
            .filter(|line| line.starts_with("processor"))
            .count(),
        value(&processors, "model name"),
        value(&memory, "MemTotal"),
        read("/proc/sys/kernel/osrelease").trim()
    )
}

/// A judged goal. Figures are medians over rounds, the ratio is the median of the rounds' ratios.
#[derive(Clone, Debug)]
pub struct Row {
    pub goal: Goal,
    pub floor: Option<f64>,
    pub peer: Option<f64>,
    /// What was found, or why nothing was.
    pub ours: Result<Found, Absent>,
}

/// A judged figure.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    pub figure: f64,
    /// What is held against the target: the figure itself, or the median of the rounds' ratios.
    pub compared: f64,
    /// The least and the greatest of the rounds.
    pub spread: (f64, f64),
    pub met: bool,
}

impl Row {
    #[must_use]
    pub fn judge(goal: &Goal, measured: &Measured) -> Self {
        let rounds_of = |source: &Source| series(source, measured);
        let middle =
            |source: &Option<Source>| source.as_ref().and_then(|source| median(rounds_of(source).ok()?));
        let ours = rounds_of(&goal.ours).and_then(|ours| {
            let compared = match (&goal.floor, goal.compare) {
                (_, Compare::Ours) => ours.clone(),
                (None, _) => return Err(broken("no floor is named")),
                (Some(floor), compare) => ratios(&ours, &rounds_of(floor)?, compare),
            };
            let value = median(compared.clone()).ok_or_else(|| broken("no round has a ratio"))?;
            let spread = compared.iter().fold((value, value), |(least, most), ratio| {
                (least.min(*ratio), most.max(*ratio))
            });
            Ok(Found {
                figure: median(ours).ok_or_else(|| broken("no round has a figure"))?,
                compared: value,
                spread,
                met: match goal.bound {
                    Bound::AtLeast => value >= goal.target,
                    Bound::AtMost => value <= goal.target,
                },
            })
        });
        Self {
            floor: middle(&goal.floor),
            peer: middle(&goal.peer),
            goal: goal.clone(),
            ours,
        }
    }

    #[must_use]
    pub fn is_measured(&self) -> bool {
        self.ours.is_ok()
    }

    /// Only a peer was missing.
    #[must_use]
    pub fn is_skipped(&self) -> bool {
        self.ours.as_ref().is_err_and(|absent| absent.skipped)
    }
}

fn broken(why: &str) -> Absent {
    Absent {
        why: why.to_owned(),
        skipped: false,
    }
}

const PREAMBLE: &str = "\
# Benchmarks

Written by `cargo xtask bench`; do not edit. Ratios count, absolute figures are orientation. Targets are
printed beside what was measured; a miss is reported and fails nothing.

## Method

- Floors are the programs under the hot paths in `BAILIWICK_SHARED/bench/limits`, peers are other programs
  with the same task; both run in the same rounds as ours. What is run is `xtask/bench/goals.toml`, how is
  `bench/src`.
- Rounds interleave floors, peers and ours. A ratio is taken within a round; the table shows the median of
  the rounds, with the least and the greatest in brackets.
- Throughput: server on core 0, load on core 1. Latency: every process on one core, one connection.
- CPU is the time the scheduler gave to the thread or process, for each operation; it is what a busy machine
  distorts least.
- *queued*: the doors of the product with a recorder that exists only in `bench/`; each record is sealed and
  handed to the writer of the decision log, and nobody waits for the flush. *durable*: the release binary as it
  is served, every permit waits for its record to be flushed.
";

/// The whole document.
#[must_use]
pub fn report(rows: &[Row], method: &Method) -> String {
    let mut text = PREAMBLE.to_owned();
    let _ = writeln!(
        text,
        "- This run: commit {}, {} rounds, {}",
        method.commit, method.rounds, method.before.machine
    );
    for (when, conditions) in [("before", &method.before), ("after", &method.after)] {
        let _ = writeln!(
            text,
            "- Load {when}: `{}`; pressure: `{}`",
            conditions.load, conditions.pressure
        );
    }
    text.push_str("\n## Goals\n\n| goal | what | floor | peer | measured | compared | target | verdict |\n|---|---|---|---|---|---|---|---|\n");
    for row in rows {
        text.push_str(&line(row));
    }
    text.push_str(&misses(rows));
    text
}

fn line(row: &Row) -> String {
    let goal = &row.goal;
    let figure = |value: Option<f64>| {
        value.map_or_else(
            || "–".to_owned(),
            |value| format!("{} {}", shown(value), goal.unit),
        )
    };
    let (measured, compared, verdict) = match &row.ours {
        Ok(found) => (
            figure(Some(found.figure)),
            format!(
                "{} ({} to {})",
                shown(found.compared),
                shown(found.spread.0),
                shown(found.spread.1)
            ),
            verdict(found.met),
        ),
        Err(absent) => (
            "–".to_owned(),
            "–".to_owned(),
            format!(
                "{}: {}",
                if absent.skipped { "skipped" } else { "not measured" },
                absent.why.replace('|', "/").replace('\n', " ")
            ),
        ),
    };
    format!(
        "| {} | {} | {} | {} | {measured} | {compared} | {} {} | {verdict} |\n",
        goal.id,
        goal.what,
        figure(row.floor),
        figure(row.peer),
        if goal.bound == Bound::AtLeast {
            "≥"
        } else {
            "≤"
        },
        shown(goal.target),
    )
}

/// Every missed goal with what limits it.
fn misses(rows: &[Row]) -> String {
    let missed: Vec<&Row> = rows
        .iter()
        .filter(|row| row.ours.as_ref().is_ok_and(|found| !found.met))
        .collect();
    if missed.is_empty() {
        return String::new();
    }
    let mut text = String::from("\n## Missed\n\n");
    for row in missed {
        let limit = row.goal.limit.as_deref();
        let _ = writeln!(
            text,
            "- **{}** {}: {}",
            row.goal.id,
            row.goal.what,
            limit.unwrap_or("what limits it has not been looked into yet")
        );
    }
    text
}

fn verdict(met: bool) -> String {
    if met { "met" } else { "**missed**" }.to_owned()
}

/// One figure of a run, round by round.
fn series(source: &Source, measured: &Measured) -> Result<Vec<f64>, Absent> {
    let rounds = measured
        .get(&source.run)
        .ok_or_else(|| broken(&format!("`{}` was not run", source.run)))?;
    let rounds = rounds.as_ref().map_err(Clone::clone)?;
    let figures: Option<Vec<f64>> = rounds
        .iter()
        .map(|figures| Some(figures.get(&source.figure)? * source.scale))
        .collect();
    figures.filter(|figures| !figures.is_empty()).ok_or_else(|| {
        let known = rounds
            .first()
            .map(|figures| figures.keys().cloned().collect::<Vec<_>>().join("`, `"));
        broken(&format!(
            "`{}` printed no `{}`, but `{}`",
            source.run,
            source.figure,
            known.unwrap_or_default()
        ))
    })
}

fn ratios(ours: &[f64], floor: &[f64], compare: Compare) -> Vec<f64> {
    let pairs = ours.iter().zip(floor);
    let divided = pairs.map(|(ours, floor)| {
        if compare == Compare::FloorOverOurs {
            floor / ours
        } else {
            ours / floor
        }
    });
    divided.filter(|ratio| ratio.is_finite()).collect()
}

/// The middle value; between two middle ones, their mean.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = *values.get((values.len() - 1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

/// Three significant places, without a long tail.
fn shown(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}
