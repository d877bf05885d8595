//! Counting what test runners print.
use std::process::Command;

use crate::fail::Outcome;
use crate::process;

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    pub passed: usize,
    pub failed: usize,
}

/// Whose custom of printing results to read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Counts {
    /// `test result: ok. 3 passed; 1 failed; …`, once per test binary.
    Cargo,
    /// One test: the exit code.
    Exit,
    /// `--- PASS: Name` and `--- FAIL: Name` of `go test -v`.
    Go,
    /// `# pass 3` and `# fail 1` of `node --test`.
    Node,
    /// `3 passed, 1 failed` on a line of its own, or at the end of a line: the last one counts.
    Plain,
}

impl Counts {
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "cargo" => Counts::Cargo,
            "exit" => Counts::Exit,
            "go" => Counts::Go,
            "node" => Counts::Node,
            "plain" => Counts::Plain,
            _ => return None,
        })
    }
}

impl Tally {
    #[must_use]
    pub fn of(passed: bool) -> Self {
        Self {
            passed: usize::from(passed),
            failed: usize::from(!passed),
        }
    }

    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }

    /// Takes what one line of output says.
    pub fn read(&mut self, line: &str, counts: Counts) {
        let whole = line;
        let line = line.trim();
        match counts {
            Counts::Exit => {}
            Counts::Cargo => {
                if let Some(rest) = line.strip_prefix("test result:") {
                    let number = |what| number_before(rest, what).unwrap_or_default();
                    self.add(Self {
                        passed: number(" passed"),
                        failed: number(" failed"),
                    });
                }
            }
            Counts::Go => {
                // Indented lines are parts of the test at the margin, and fail it.
                let starts = |what| usize::from(whole.starts_with(what));
                self.add(Self {
                    passed: starts("--- PASS:"),
                    failed: starts("--- FAIL:"),
                });
            }
            Counts::Node => {
                let number = |what| {
                    let rest = line.trim_start_matches(['#', 'ℹ', ' ']).strip_prefix(what)?;
                    rest.trim().parse::<usize>().ok()
                };
                self.add(Self {
                    passed: number("pass ").unwrap_or_default(),
                    failed: number("fail ").unwrap_or_default(),
                });
            }
            Counts::Plain => {
                if let (Some(passed), Some(failed)) =
                    (number_before(line, " passed"), number_before(line, " failed"))
                {
                    *self = Self { passed, failed };
                }
            }
        }
    }

    /// A runner that failed without saying so has one failure, and one that ran nothing has not passed.
    #[must_use]
    pub fn closed(mut self, succeeded: bool, counts: Counts) -> Self {
        if counts == Counts::Exit {
            return Self::of(succeeded);
        }
        if self.failed == 0 && (!succeeded || self.passed == 0) {
            self.failed = 1;
        }
        self
    }
}

/// Runs a test runner, shows what matters of its output and counts.
pub fn run(command: &mut Command, counts: Counts, mut each: impl FnMut(&str)) -> Outcome<Tally> {
    let mut tally = Tally::default();
    let mut filter = Filter::default();
    let succeeded = process::stream_lines(command, |line| {
        tally.read(line, counts);
        each(line);
        counts != Counts::Cargo || filter.shows(line)
    })?;
    Ok(tally.closed(succeeded, counts))
}

/// libtest prints the output of passing tests only when asked for all of it. We ask, and keep the two
/// kinds of line that have to be seen: a skip, and `set: run/expected` of a vector set.
#[derive(Debug, Default)]
pub struct Filter {
    inside_successes: bool,
}

impl Filter {
    pub fn shows(&mut self, line: &str) -> bool {
        match line {
            "successes:" => self.inside_successes = true,
            "failures:" => self.inside_successes = false,
            _ if line.starts_with("test result:") => self.inside_successes = false,
            _ => {}
        }
        !self.inside_successes || line.contains("SKIPPED:") || is_set_line(line)
    }
}

/// `name: 12/12`.
fn is_set_line(line: &str) -> bool {
    let figures = line
        .rsplit_once(": ")
        .and_then(|(_, figures)| figures.split_once('/'));
    let number = |text: &str| {
        let text = text.split_whitespace().next().unwrap_or_default();
        !text.is_empty() && text.chars().all(|c| c.is_ascii_digit())
    };
    figures.is_some_and(|(run, expected)| number(run) && number(expected))
}

fn number_before(line: &str, what: &str) -> Option<usize> {
    let before = line
        .split(what)
        .next()
        .filter(|before| before.len() < line.len())?;
    before.rsplit(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}
