use std::process::Command;

use xtask::test::tally::{self, Counts, Filter, Tally};

fn read(output: &str, counts: Counts) -> Tally {
    let mut tally = Tally::default();
    for line in output.lines() {
        tally.read(line, counts);
    }
    tally
}

#[test]
fn the_totals_of_every_test_binary_are_added() {
    let output = "test a ... ok\ntest result: ok. 3 passed; 0 failed; 0 ignored; 0 measured\n\n\
                  test result: FAILED. 1 passed; 2 failed; 0 ignored\n";
    assert_eq!(read(output, Counts::Cargo), Tally { passed: 4, failed: 2 });
}

#[test]
fn each_runner_is_read_by_its_own_custom() {
    assert_eq!(
        read("# pass 5\n# fail 1\n", Counts::Node),
        Tally { passed: 5, failed: 1 }
    );
    assert_eq!(
        read("ℹ pass 5\nℹ fail 0\n", Counts::Node),
        Tally { passed: 5, failed: 0 }
    );
    assert_eq!(
        read(
            "    --- PASS: TestA/part\n--- PASS: TestA (0.1s)\n--- FAIL: TestB\nok\n",
            Counts::Go
        ),
        Tally { passed: 1, failed: 1 }
    );
    assert_eq!(
        read("1 passed, 0 failed\n12 passed, 3 failed\n", Counts::Plain),
        Tally {
            passed: 12,
            failed: 3
        }
    );
}

#[test]
fn a_runner_that_dies_without_a_word_has_failed() {
    assert_eq!(
        Tally { passed: 7, failed: 0 }.closed(false, Counts::Cargo),
        Tally { passed: 7, failed: 1 }
    );
}

#[test]
fn a_runner_that_ran_nothing_has_not_passed() {
    assert_eq!(
        Tally::default().closed(true, Counts::Node),
        Tally { passed: 0, failed: 1 }
    );
}

#[test]
fn a_real_program_is_counted_by_its_exit_code() {
    let run =
        |script: &str| tally::run(Command::new("sh").args(["-c", script]), Counts::Exit, |_| {}).unwrap();
    assert_eq!(run("exit 0"), Tally { passed: 1, failed: 0 });
    assert_eq!(run("echo all is well; exit 3"), Tally { passed: 0, failed: 1 });
}

#[test]
fn a_skip_and_a_vector_count_are_seen_and_other_output_of_passing_tests_is_not() {
    let mut filter = Filter::default();
    let output = [
        ("test a ... ok", true),
        ("successes:", false),
        ("---- a stdout ----", false),
        ("jwt-forgery: 4520/4520", true),
        ("SKIPPED: no shared data", true),
        ("chatter: yes/no", false),
        ("failures:", true),
        ("---- b stdout ----", true),
        ("test result: FAILED. 1 passed; 1 failed", true),
    ];
    for (line, shown) in output {
        assert_eq!(filter.shows(line), shown, "{line}");
    }
}
