use xtask::bench::figures::{self, Figures};
use xtask::bench::plan::Plan;
use xtask::bench::table::{self, Conditions, Row};
use xtask::bench::{Absent, Measured};

const OUTPUT: &str = "\
aws-lc rs256 sign (2048)                             wall ns/op     222000.0     223000.5     229000.0 | cpu ns/op     221000.0     222500.0     228000.0 |         4494 op/s (cpu median)
prewritten 4 KiB: 6400 fdatasync/s, 25.0 MiB/s, cpu 10.1 us each
   write+fdatasync                                    n=6400 min 100.0 p50 120.5 p90 150.0 p99 300.0 p99.9 400.0 max 900.0 us
http conns=32: 51000 req/s, bad 0
   latency                                            n=102000 min 90.0 p50 600.0 p90 700.0 p99 900.0 p99.9 1000.0 max 2000.0 us
round 2: 2000003 events of 512 B hashed and treed, wall 1.00 s, cpu 0.99 s -> 2000000 events/s cpu, 1.02 GB/s; root ab
append + fdatasync + TCP round trip                  n=500 min 1.0 p50 2.5 p90 3.0 p99 4.0 p99.9 5.0 max 6.0 us
metric decide known cpu = 6800.5 ns
one_writer_p50_us 131.250
";

fn figure(figures: &Figures, name: &str) -> f64 {
    *figures
        .get(name)
        .unwrap_or_else(|| panic!("no `{name}` in {figures:#?}"))
}

#[test]
fn every_form_of_output_is_read() {
    let figures = figures::read(OUTPUT);
    let expected = [
        ("aws-lc rs256 sign (2048) wall", 223_000.5),
        ("aws-lc rs256 sign (2048) cpu", 222_500.0),
        ("prewritten 4 KiB fdatasync/s", 6_400.0),
        ("prewritten 4 KiB: write+fdatasync p50", 120.5),
        ("http req/s", 51_000.0),
        ("http: latency p99", 900.0),
        ("round 2 events/s", 2_000_000.0),
        ("append + fdatasync + TCP round trip p50", 2.5),
        ("decide known cpu", 6_800.5),
        ("one_writer_p50_us", 131.25),
    ];
    for (name, value) in expected {
        assert!((figure(&figures, name) - value).abs() < 1e-9, "{name}");
    }
}

const PLAN: &str = r#"
[[run]]
name = "floor"
measure = ["limits/crypto"]

[[run]]
name = "ours"
serve = [["ours/bailiwick", "serve", "--port", "{port}"]]
measure = ["limits/loadgen"]
cores = { serve = "0", measure = "1" }

[[goal]]
id = "x1"
what = "as fast as the floor, nearly"
ours = { run = "ours", figure = "rate" }
floor = { run = "floor", figure = "rate" }
compare = "ours / floor"
bound = "at least"
target = 0.5
unit = "req/s"

[[goal]]
id = "x2"
what = "small"
ours = { run = "ours", figure = "size" }
compare = "ours"
bound = "at most"
target = 20
unit = "MiB"

[limits]
x = "another goal's"
x2 = "what it is made of"
"#;

fn rounds(values: &[(f64, f64)]) -> Vec<Figures> {
    let round =
        |(rate, size): &(f64, f64)| Figures::from([("rate".to_owned(), *rate), ("size".to_owned(), *size)]);
    values.iter().map(round).collect()
}

fn judged(floor: &[(f64, f64)], ours: &[(f64, f64)]) -> Vec<Row> {
    let plan = Plan::parse(PLAN).unwrap();
    let measured = Measured::from([
        ("floor".to_owned(), Ok(rounds(floor))),
        ("ours".to_owned(), Ok(rounds(ours))),
    ]);
    plan.goals
        .iter()
        .map(|goal| Row::judge(goal, &measured))
        .collect()
}

fn report(rows: &[Row]) -> String {
    let conditions = || Conditions {
        load: "0.1".to_owned(),
        pressure: "some avg10=0.00".to_owned(),
        machine: "2 x a processor".to_owned(),
    };
    let method = xtask::bench::Method {
        rounds: 3,
        commit: "abc".to_owned(),
        before: conditions(),
        after: conditions(),
    };
    table::report(rows, &method)
}

#[test]
fn the_ratio_is_the_median_of_the_rounds() {
    // A slow third round slows both sides; the ratios stay 0.6, 0.7 and 0.6.
    let rows = judged(
        &[(100.0, 0.0), (100.0, 0.0), (10.0, 0.0)],
        &[(60.0, 30.0), (70.0, 31.0), (6.0, 29.0)],
    );
    let text = report(&rows);
    assert!(
        text.contains(
            "| x1 | as fast as the floor, nearly | 100 req/s | – | 60.0 req/s | 0.60 (0.60 to 0.70) | ≥ 0.50 | met |"
        ),
        "{text}"
    );
    assert!(
        text.contains("| x2 | small | – | – | 30.0 MiB | 30.0 (29.0 to 31.0) | ≤ 20.0 | **missed** |"),
        "{text}"
    );
    assert!(text.contains("pressure: `some avg10=0.00`"), "{text}");
    assert!(
        text.contains("## Missed\n\n- **x2** small: what it is made of\n"),
        "{text}"
    );
}

#[test]
fn between_two_middle_rounds_the_median_is_their_mean() {
    let rows = judged(
        &[(100.0, 0.0), (100.0, 0.0), (100.0, 0.0), (100.0, 0.0)],
        &[(90.0, 10.0), (40.0, 40.0), (50.0, 24.0), (10.0, 14.0)],
    );
    let text = report(&rows);
    for row in [
        "| x1 | as fast as the floor, nearly | 100 req/s | – | 45.0 req/s | 0.45 (0.10 to 0.90) | ≥ 0.50 | **missed** |",
        "| x2 | small | – | – | 19.0 MiB | 19.0 (10.0 to 40.0) | ≤ 20.0 | met |",
    ] {
        assert!(text.contains(row), "{text}");
    }
}

#[test]
fn what_was_not_measured_says_why() {
    let plan = Plan::parse(PLAN).unwrap();
    let measured = Measured::from([
        ("floor".to_owned(), Ok(rounds(&[(1.0, 1.0)]))),
        (
            "ours".to_owned(),
            Err(Absent {
                why: "no answer on port 1".to_owned(),
                skipped: false,
            }),
        ),
    ]);
    let rows: Vec<Row> = plan
        .goals
        .iter()
        .map(|goal| Row::judge(goal, &measured))
        .collect();
    assert!(rows.iter().all(|row| !row.is_measured() && !row.is_skipped()));
    assert!(report(&rows).contains("not measured: no answer on port 1"));
}

#[test]
fn a_missing_peer_is_no_failure() {
    let plan = Plan::parse(PLAN).unwrap();
    let missing = xtask::fail::Fail::missing("no `npm` on the PATH");
    let measured = Measured::from([("ours".to_owned(), Err(Absent::from(&missing)))]);
    let row = plan.goals.last().map(|goal| Row::judge(goal, &measured)).unwrap();
    assert!(row.is_skipped() && !row.is_measured());
    assert!(report(&[row]).contains("skipped: no `npm` on the PATH"));
}

#[test]
fn values_differ_in_a_quick_run() {
    let text = PLAN.replacen("[[goal]]", "values = { secs = [\"2\", \"0.5\"] }\n[[goal]]", 1);
    let plan = Plan::parse(&text).unwrap();
    let run = plan.runs.last().unwrap();
    assert_eq!(run.values.get("secs"), Some(&("2".to_owned(), "0.5".to_owned())));
    let broken = text.replace("[\"2\", \"0.5\"]", "[\"2\"]");
    assert!(
        Plan::parse(&broken)
            .unwrap_err()
            .to_string()
            .contains("not a pair")
    );
}

#[test]
fn a_goal_needs_its_runs() {
    let fail = Plan::parse(&PLAN.replace("run = \"floor\"", "run = \"flour\"")).unwrap_err();
    assert!(fail.to_string().contains("`flour`, which is no run"), "{fail}");
}

#[test]
fn a_part_of_the_goals_keeps_their_runs_only() {
    let plan = Plan::parse(PLAN).unwrap().only(&["x2".to_owned()]).unwrap();
    assert_eq!(
        plan.runs.iter().map(|run| run.name.as_str()).collect::<Vec<_>>(),
        ["ours"]
    );
    assert!(Plan::parse(PLAN).unwrap().only(&["x9".to_owned()]).is_err());
}

#[test]
fn the_committed_goals_can_be_read() {
    let repo = xtask::repo::Repo::of_this_workspace().unwrap();
    assert!(!Plan::read(&repo).unwrap().runs.is_empty());
}
