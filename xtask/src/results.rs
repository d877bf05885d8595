//! The committed results of long runs, and what of them stands in the benchmarks.
use std::collections::BTreeMap;

use crate::fail::Outcome;
use crate::repo::Repo;

pub const RESULTS: &str = "tests/e2e/results.md";
const REPORT: &str = "docs/benchmarks.md";
const HEADING: &str = "\n## Long runs\n";
/// Cells of a line: date, commit, build, seed, runs, figures, outcome.
const CELLS: usize = 7;

fn cells(line: &str) -> Option<Vec<&str>> {
    let inner = line.strip_prefix("| ")?.strip_suffix(" |")?;
    let cells: Vec<&str> = inner.split('|').map(str::trim).collect();
    let is_run = cells.len() == CELLS && cells.first()?.starts_with("20");
    is_run.then_some(cells)
}

/// One more than the seed of the last run.
#[must_use]
pub fn next_seed(results: &str) -> u64 {
    let seeds = results.lines().filter_map(cells);
    let mut seeds = seeds.filter_map(|cells| cells.get(3)?.parse::<u64>().ok());
    seeds.next_back().unwrap_or_default() + 1
}

/// A report with the last run of each kind.
#[must_use]
pub fn with_long_runs(report: &str, results: &str) -> String {
    let mut last = BTreeMap::new();
    for cells in results.lines().filter_map(cells) {
        last.insert(cells.get(2).copied().unwrap_or_default(), cells);
    }
    let report = report.split(HEADING).next().unwrap_or_default();
    let mut text = format!(
        "{}\n{HEADING}\nThe last run of each kind that `cargo xtask chaos` recorded in `{RESULTS}`.\n\n\
         | date | commit | build | seed | runs | figures | outcome |\n|---|---|---|---|---|---|---|\n",
        report.trim_end()
    );
    for cells in last.into_values() {
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    text
}

/// Brings the last runs into the committed benchmarks.
///
/// # Errors
/// When one of the two files cannot be read or written.
pub fn publish(repo: &Repo) -> Outcome<()> {
    let text = with_long_runs(&repo.read(REPORT)?, &repo.read(RESULTS)?);
    repo.write(REPORT, &text)
}

#[cfg(test)]
mod tests {
    use super::{next_seed, with_long_runs};

    const HEAD: &str =
        "| date | commit | build | seed | lives | figures | outcome |\n|---|---|---|---|---|---|---|\n";

    #[test]
    fn the_next_run_takes_the_next_seed() {
        assert_eq!(next_seed(HEAD), 1);
        let one = "| 2026-01-01 | abc | debug | 4 | 200 | x | y |\n";
        assert_eq!(next_seed(&format!("{HEAD}{one}")), 5);
    }

    #[test]
    fn the_last_run_of_each_kind_stands_in_the_report_once() {
        let runs = "| 2026-01-01 | abc | debug | 4 | 200 | old | y |\n\
                    | 2026-01-02 | abc | debug | 5 | 200 | new | y |\n\
                    | 2026-01-03 | abc | release | 1 | 9 | other | FAILED: z |\n";
        let results = format!("{HEAD}{runs}");
        let once = with_long_runs("# Benchmarks\n\ntable\n", &results);
        assert!(once.contains("| new |") && once.contains("FAILED: z") && !once.contains("| old |"));
        assert_eq!(with_long_runs(&once, &results), once);
    }
}
