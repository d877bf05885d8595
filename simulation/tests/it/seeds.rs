//! The short version of the long runs of `cargo xtask sim`.

use bailiwick_simulation::run::{Bug, Plan, Summary, run};

/// Seeds of a run in the tests: some twenty seconds.
const SEEDS: u64 = 60;
/// A planted bug is found within so many seeds.
const FOUND_MAX: u64 = 2_000;

#[test]
fn no_promise_is_broken_whatever_goes_wrong() {
    let mut total = Summary::default();
    for seed in 1..=SEEDS {
        let done = run(&Plan::of(seed));
        if let Some(violation) = done.violation {
            panic!("seed {seed}: {violation}; replay it with `cargo xtask sim --seed {seed}`");
        }
        total = total.plus(done.summary);
    }
    println!("{SEEDS} seeds: {total:?}");
    // A run in which nothing happens keeps every promise.
    assert!(total.permits > 50 * SEEDS, "{total:?}");
    assert!(total.stops > 2 * SEEDS, "{total:?}");
    assert!(total.contained > SEEDS, "{total:?}");
    assert!(total.crashes > SEEDS, "{total:?}");
    assert!(total.cuts > 0, "{total:?}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in [1, 77, 4_711] {
        let (first, second) = (run(&Plan::of(seed)), run(&Plan::of(seed)));
        assert_eq!(first.summary, second.summary);
        assert_ne!(first.summary, run(&Plan::of(seed + 1)).summary);
    }
}

/// By a promise that it breaks, at a seed that is clean without it: anything else would be found without looking.
#[test]
fn every_planted_bug_is_found() {
    for bug in Bug::ALL {
        let found = (1..=FOUND_MAX).find_map(|seed| {
            // Three nodes: the more there are, the sooner it shows.
            let clean = Plan {
                nodes: Some(3),
                ..Plan::of(seed)
            };
            let plan = Plan {
                bug: Some(bug),
                ..clean
            };
            let violation = run(&plan).violation?;
            if !bug.breaks().contains(&violation.rule) {
                println!("{}: seed {seed}, by another promise: {violation}", bug.as_str());
                return None;
            }
            assert_eq!(
                run(&clean).violation,
                None,
                "seed {seed} without `{}`",
                bug.as_str()
            );
            Some((seed, violation))
        });
        let Some((seed, violation)) = found else {
            panic!("`{}` is not found within {FOUND_MAX} seeds", bug.as_str());
        };
        println!("{}: seed {seed}: {violation}", bug.as_str());
    }
}
