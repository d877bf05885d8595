//! Judging goals and writing the table.
use std::fmt::Write as _;

use super::plan::{Bound, Compare, Goal, Source};
use super::{Measured, Method};

/// How busy the machine was.
#[derive(Clone, Debug)]
pub struct Conditions {
    pub load: String,
    pub pressure: String,
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
        }
    }
}

/// A judged goal. Figures are medians over rounds, the ratio is the median of the rounds' ratios.
#[derive(Clone, Debug)]
pub struct Row {
    pub goal: Goal,
    pub floor: Option<f64>,
    pub peer: Option<f64>,
    /// The figure, the compared value and whether it meets the target; or why there is none.
    pub ours: Result<(f64, f64, bool), String>,
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
                (None, _) => return Err("no floor is named".to_owned()),
                (Some(floor), compare) => ratios(&ours, &rounds_of(floor)?, compare),
            };
            let value = median(compared).ok_or("no round has a ratio")?;
            let met = match goal.bound {
                Bound::AtLeast => value >= goal.target,
                Bound::AtMost => value <= goal.target,
            };
            Ok((median(ours).ok_or("no round has a figure")?, value, met))
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
}

/// The whole document.
#[must_use]
pub fn report(rows: &[Row], method: &Method) -> String {
    let mut text = String::from(
        "# Benchmarks\n\nWritten by `cargo xtask bench`; do not edit. Ratios count, absolute figures are\norientation.\n\n",
    );
    let _ = writeln!(text, "- commit: {}", method.commit);
    let _ = writeln!(
        text,
        "- rounds: {}, runs interleaved, medians of the ratios within a round",
        method.rounds
    );
    for (when, conditions) in [("before", &method.before), ("after", &method.after)] {
        let _ = writeln!(
            text,
            "- load {when}: `{}`; pressure: `{}`",
            conditions.load, conditions.pressure
        );
    }
    text.push_str("\n| goal | what | floor | peer | measured | ratio | target | verdict |\n|---|---|---|---|---|---|---|---|\n");
    for row in rows {
        let goal = &row.goal;
        let figure = |value: Option<f64>| {
            value.map_or_else(
                || "–".to_owned(),
                |value| format!("{} {}", shown(value), goal.unit),
            )
        };
        let bound = if goal.bound == Bound::AtLeast {
            "≥"
        } else {
            "≤"
        };
        let (measured, ratio, verdict) = match &row.ours {
            Ok((value, _, met)) if goal.compare == Compare::Ours => {
                (figure(Some(*value)), "–".to_owned(), verdict(*met))
            }
            Ok((value, ratio, met)) => (figure(Some(*value)), shown(*ratio), verdict(*met)),
            Err(why) => (
                "–".to_owned(),
                "–".to_owned(),
                format!("not measured: {}", why.replace('|', "/").replace('\n', " ")),
            ),
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {measured} | {ratio} | {bound} {} | {verdict} |",
            goal.id,
            goal.what,
            figure(row.floor),
            figure(row.peer),
            shown(goal.target),
        );
    }
    text
}

fn verdict(met: bool) -> String {
    if met { "met" } else { "**missed**" }.to_owned()
}

/// One figure of a run, round by round.
fn series(source: &Source, measured: &Measured) -> Result<Vec<f64>, String> {
    let rounds = measured
        .get(&source.run)
        .ok_or_else(|| format!("`{}` was not run", source.run))?;
    let rounds = rounds.as_ref().map_err(Clone::clone)?;
    let figures: Option<Vec<f64>> = rounds
        .iter()
        .map(|figures| figures.get(&source.figure).copied())
        .collect();
    figures.filter(|figures| !figures.is_empty()).ok_or_else(|| {
        let known = rounds
            .first()
            .map(|figures| figures.keys().cloned().collect::<Vec<_>>().join("`, `"));
        format!(
            "`{}` printed no `{}`, but `{}`",
            source.run,
            source.figure,
            known.unwrap_or_default()
        )
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

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Three significant places, without a long tail.
fn shown(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
