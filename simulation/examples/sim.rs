//! Runs seeds: `sim [--seeds N] [--seed FIRST] [--nodes N] [--bug NAME] [--threads N] [--stop-at-first]
//! [--trace] [--list-bugs]`.
//!
//! Ends with 0 when no promise was broken. The last line of a run names what happened in all seeds together; each
//! seed that failed has a line of its own before.
#![expect(
    clippy::disallowed_methods,
    reason = "the outermost layer: it measures how long seeds take on this machine"
)]

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bailiwick_simulation::run::{Bug, Plan, Summary, run};

const FAILED: &str = "FAILED";
/// Failures after which no more seeds are run.
const FAILURES_MAX: u64 = 10;

struct Wish {
    plan: Plan,
    seeds: u64,
    threads: u64,
    failures: u64,
    list: bool,
}

fn wish() -> Result<Wish, String> {
    let mut wish = Wish {
        plan: Plan::of(1),
        seeds: 1,
        threads: std::thread::available_parallelism().map_or(1, |n| n.get() as u64),
        failures: FAILURES_MAX,
        list: false,
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--list-bugs" => wish.list = true,
            "--stop-at-first" => wish.failures = 1,
            "--trace" => wish.plan.traced = true,
            _ => valued(&mut wish, &word, words.next())?,
        }
    }
    Ok(wish)
}

fn valued(wish: &mut Wish, word: &str, value: Option<String>) -> Result<(), String> {
    let value = value.ok_or(format!("`{word}` wants a value, or is no option"))?;
    let number = || {
        value
            .parse::<u64>()
            .map_err(|_| format!("`{word}`: `{value}` is not a number"))
    };
    match word {
        "--bug" => {
            let names = Bug::ALL.map(Bug::as_str).join(", ");
            let bug = Bug::lookup(&value).ok_or(format!("no bug `{value}`; there are {names}"))?;
            wish.plan.bug = Some(bug);
        }
        "--nodes" => wish.plan.nodes = Some(usize::try_from(number()?).unwrap_or(1).clamp(1, 9)),
        "--seed" => wish.plan.seed = number()?,
        "--seeds" => wish.seeds = number()?,
        "--threads" => wish.threads = number()?.max(1),
        other => return Err(format!("no option `{other}`")),
    }
    Ok(())
}

/// A planted bug is found by a promise that it breaks, at a seed that is clean without it.
fn verdict(plan: &Plan, rule: &str) -> &'static str {
    let is_found = |bug: Bug| {
        let clean = Plan {
            bug: None,
            traced: false,
            ..*plan
        };
        bug.breaks().contains(&rule) && run(&clean).violation.is_none()
    };
    match plan.bug {
        Some(bug) if !is_found(bug) => "failed for another reason",
        _ => FAILED,
    }
}

fn main() -> ExitCode {
    let wish = match wish() {
        Ok(wish) => wish,
        Err(why) => {
            eprintln!("error: {why}");
            return ExitCode::from(2);
        }
    };
    if wish.list {
        for bug in Bug::ALL {
            println!("{}", bug.as_str());
        }
        return ExitCode::SUCCESS;
    }
    let began = Instant::now();
    let (next, failures, run_so_far) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let total = Mutex::new(Summary::default());
    std::thread::scope(|scope| {
        for _ in 0..wish.threads.min(wish.seeds) {
            scope.spawn(|| {
                while failures.load(Ordering::Relaxed) < wish.failures {
                    let nth = next.fetch_add(1, Ordering::Relaxed);
                    if nth >= wish.seeds {
                        return;
                    }
                    let plan = Plan {
                        seed: wish.plan.seed.wrapping_add(nth),
                        ..wish.plan
                    };
                    let done = run(&plan);
                    for line in &done.trace {
                        println!("{line}");
                    }
                    if let Some(violation) = done.violation {
                        let verdict = verdict(&plan, violation.rule);
                        println!("seed {} {verdict}: {violation}", plan.seed);
                        failures.fetch_add(u64::from(verdict == FAILED), Ordering::Relaxed);
                    }
                    run_so_far.fetch_add(1, Ordering::Relaxed);
                    if let Ok(mut total) = total.lock() {
                        *total = total.plus(done.summary);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner();
    let total = total.into_inner().unwrap_or_default();
    let (seeds, took) = (run_so_far.into_inner(), began.elapsed().as_secs_f64());
    let hours = total.micros / 3_600_000_000;
    println!(
        "{seeds} seeds, {failures} failed; {} nodes, {hours} simulated hours, {} permits, {} denials, {} stops promised, \
         {} contained, {} crashes, {} cuts; {:.1} seeds/s",
        total.nodes,
        total.permits,
        total.denials,
        total.stops,
        total.contained,
        total.crashes,
        total.cuts,
        seeds as f64 / took.max(0.001),
    );
    if failures == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
