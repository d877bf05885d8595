//! The floor programs of `BAILIWICK_SHARED/bench/limits`, built from a copy: the folder itself may be
//! read-only, and cargo writes a lock file beside the manifest.
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fail::{Fail, Outcome};
use crate::generate;
use crate::process;
use crate::repo::Repo;

/// The only program that needs the policy engines, which take most of the build.
const WITH_POLICY: &str = "authz";

/// Folder of data that is not part of the project: `BAILIWICK_SHARED`, or `../shared`.
pub(super) fn shared(repo: &Repo) -> PathBuf {
    std::env::var_os("BAILIWICK_SHARED").map_or_else(|| repo.path("../shared"), PathBuf::from)
}

/// Builds what is needed and returns the folder of the programs.
pub(super) fn build(repo: &Repo, needed: &BTreeSet<&str>) -> Outcome<PathBuf> {
    let source = shared(repo).join("bench").join("limits");
    if !source.is_dir() {
        return Err(Fail::missing(format!(
            "no `{}`: set BAILIWICK_SHARED",
            source.display()
        )));
    }
    let target = generate::target_folder(repo).join("limits");
    let copied = target.join("source");
    copy(&source, &copied)?;
    let mut cargo = Command::new(process::cargo());
    cargo
        .current_dir(&copied)
        .args(["build", "--release", "--bins", "--target-dir"])
        .arg(&target);
    if !needed.contains(WITH_POLICY) {
        cargo.arg("--no-default-features");
    }
    if process::stream(&mut cargo)? {
        Ok(target.join("release"))
    } else {
        Err(Fail::broken("the floor programs do not build"))
    }
}

/// Copies files whose content differs, so that an unchanged source is not built again.
fn copy(from: &Path, to: &Path) -> Outcome<()> {
    fs::create_dir_all(to).map_err(|error| Fail::io("create", to, &error))?;
    let listing = fs::read_dir(from).map_err(|error| Fail::io("list", from, &error))?;
    for item in listing {
        let item = item.map_err(|error| Fail::io("list", from, &error))?;
        let (source, copy_of) = (item.path(), to.join(item.file_name()));
        if source.is_dir() {
            copy(&source, &copy_of)?;
            continue;
        }
        let bytes = fs::read(&source).map_err(|error| Fail::io("read", &source, &error))?;
        if fs::read(&copy_of).ok().as_ref() != Some(&bytes) {
            fs::write(&copy_of, bytes).map_err(|error| Fail::io("write", &copy_of, &error))?;
        }
    }
    Ok(())
}
