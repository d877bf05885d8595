//! Building the binary and asking it questions.
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::fail::{Fail, Outcome};
use crate::process;
use crate::repo::Repo;

/// Builds `bailiwick` in the development profile and returns where it lies.
pub fn built(repo: &Repo) -> Outcome<PathBuf> {
    let mut build = Command::new(process::cargo());
    build.current_dir(&repo.root).args([
        "build",
        "--quiet",
        "--package",
        "bailiwick-cli",
        "--bin",
        "bailiwick",
    ]);
    if !process::stream(&mut build)? {
        return Err(Fail::broken("`bailiwick` does not build"));
    }
    Ok(target_folder(repo).join("debug").join("bailiwick"))
}

/// `CARGO_TARGET_DIR`, or `target` in the workspace.
#[must_use]
pub fn target_folder(repo: &Repo) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| repo.path("target"), |folder| repo.root.join(folder))
}

/// The JSON that a command prints. A command that the binary does not know is an error: a document
/// that nobody can regenerate any more must not stay behind.
pub(super) fn ask(program: &Path, arguments: &[&str]) -> Outcome<Value> {
    let shown = format!("bailiwick {}", arguments.join(" "));
    let mut command = Command::new(program);
    // A document must not depend on who writes it.
    let ours = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("BAILIWICK_"));
    for (name, _) in ours {
        command.env_remove(name);
    }
    let output = command
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Fail::broken(format!("cannot start `{}`: {error}", program.display())))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Fail::broken(format!(
            "`{shown}` failed ({}): {}",
            output.status,
            said.trim()
        )));
    }
    serde_json::from_slice(&output.stdout)
        .map_err(|error| Fail::broken(format!("`{shown}` printed no JSON: {error}")))
}
