//! A disk that says no. The write error is a real one: the kernel's file size limit, in a process of its own.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bailiwick_base::{ManualClock, Time};
use bailiwick_journal::{Deps, NotAppended};

use crate::rig::{append_each, config, deps, entries, folder, open, open_log, record, segment, wait};

const DIR: &str = "BAILIWICK_JOURNAL_TEST_DIR";

#[test]
fn a_failed_write_closes_the_log_until_it_is_opened_again() {
    let dir = folder();
    append_each(&open(dir.path()), &["acme", "acme"]);
    let test = std::env::current_exe().unwrap();
    // 64 blocks of 512 or 1024 bytes: the segment is there already, but no byte behind 64 KiB can be written.
    let run = Command::new("sh")
        .args([
            "-c",
            "trap '' XFSZ; ulimit -f 64; exec \"$0\" --exact --nocapture write_error::under_a_file_size_limit",
        ])
        .arg(test)
        .env(DIR, dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&run.stdout);
    assert!(
        run.status.success() && text.contains("1 passed"),
        "{text}{}",
        String::from_utf8_lossy(&run.stderr)
    );
    let acknowledged: usize = text
        .lines()
        .find_map(|line| line.strip_prefix("acknowledged "))
        .unwrap()
        .parse()
        .unwrap();
    assert!(acknowledged > 0);
    let (log, recovery) = open_log(dir.path(), config(), deps()).unwrap();
    assert!(
        recovery.entries >= 2 + acknowledged as u64,
        "an acknowledged entry is lost: {recovery:?}"
    );
    append_each(&log, &["acme"]);
    drop(log);
    assert_eq!(entries(dir.path()).len() as u64, recovery.entries + 1);
}

/// The process that the test above starts; by itself it has no folder and shows nothing.
#[test]
fn under_a_file_size_limit() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else {
        return;
    };
    let log = open(&dir);
    let mut acknowledged = 0;
    let refused = loop {
        match wait(log.append(record("acme", vec![b'x'; 5_000]))) {
            Ok(_) => acknowledged += 1,
            Err(refused) => break refused,
        }
        assert!(acknowledged < 100, "the limit does not hold");
    };
    let NotAppended::Unwritable(why) = &refused else {
        panic!("{refused}")
    };
    assert!(why.contains("raise the service's file size limit"), "{why}");
    // From now on everything is refused at once, also what would fit.
    assert_eq!(wait(log.append(record("acme", "x"))), Err(refused.clone()));
    assert_eq!(log.append_unwaited(record("acme", "x")), Err(refused));
    assert!(log.refusing().is_some());
    println!("\nacknowledged {acknowledged}");
}

#[test]
fn without_room_for_a_segment_records_are_refused_until_there_is() {
    let dir = folder();
    let clock = Arc::new(ManualClock::at(Time::from_secs(1_763_750_000)));
    let deps = Deps {
        clock: clock.clone(),
        ..deps()
    };
    let (log, _) = open_log(dir.path(), config(), deps).unwrap();
    // A folder where the next segment is to be drafted: it cannot be made, and nothing is torn.
    let obstacle = segment(dir.path(), 1).with_extension("new");
    fs::create_dir(&obstacle).unwrap();
    let mut acknowledged = 0_u64;
    let refused = loop {
        match wait(log.append(record("acme", vec![b'x'; 50_000]))) {
            Ok(index) => {
                assert_eq!(index, acknowledged);
                acknowledged += 1;
            }
            Err(refused) => break refused,
        }
    };
    let NotAppended::Unwritable(why) = &refused else {
        panic!("{refused}")
    };
    assert!(why.contains("0000000000000001.seg"), "{why}");
    assert_eq!(log.refusing(), None, "nothing was written: the log is not closed");
    fs::remove_dir(&obstacle).unwrap();
    // Not at once: each attempt costs the disk something.
    assert_eq!(wait(log.append(record("acme", vec![b'x'; 50_000]))), Err(refused));
    clock.advance(Duration::from_millis(250));
    assert_eq!(
        wait(log.append(record("acme", vec![b'x'; 50_000]))),
        Ok(acknowledged)
    );
    drop(log);
    assert_eq!(entries(dir.path()).len() as u64, acknowledged + 1);
}
