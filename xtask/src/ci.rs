//! `cargo xtask ci`: what the build server runs. The same tests as at home, but a missing tool is a
//! failure and not a skip.
use std::process::Command;

use crate::fail::{Fail, Outcome};
use crate::process;
use crate::repo::Repo;

pub fn command(repo: &Repo, rest: &[String]) -> Outcome<bool> {
    let this =
        std::env::current_exe().map_err(|error| Fail::broken(format!("cannot find myself: {error}")))?;
    let mut test = Command::new(this);
    test.current_dir(&repo.root)
        .arg("test")
        .args(rest)
        .env("CI", "true");
    process::stream(&mut test)
}
