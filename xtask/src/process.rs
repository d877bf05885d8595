//! Running other programs: captured, streamed, or found.
use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::fail::{Fail, Outcome};

/// The cargo that started us, so that a toolchain override stays in force.
#[must_use]
pub fn cargo() -> PathBuf {
    std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}

/// Standard output of a command that must succeed.
pub fn capture<S: AsRef<OsStr>>(
    folder: &Path,
    program: impl AsRef<OsStr>,
    arguments: &[S],
) -> Outcome<String> {
    let program = program.as_ref();
    let shown = program.to_string_lossy().into_owned();
    let output = Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Fail::broken(format!("cannot start `{shown}`: {error}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Fail::broken(format!(
            "`{shown}` failed ({}): {}",
            output.status,
            said.trim()
        )));
    }
    String::from_utf8(output.stdout)
        .map_err(|_| Fail::broken(format!("`{shown}` printed something that is not UTF-8")))
}

/// Runs a command with our own standard streams; true when it succeeded.
pub fn stream(command: &mut Command) -> Outcome<bool> {
    let shown = command.get_program().to_string_lossy().into_owned();
    let status = command
        .status()
        .map_err(|error| Fail::broken(format!("cannot start `{shown}`: {error}")))?;
    Ok(status.success())
}

/// Runs a command and hands each line of its standard output to `shows` as it comes; the line is
/// printed where the answer is true.
pub fn stream_lines(command: &mut Command, mut shows: impl FnMut(&str) -> bool) -> Outcome<bool> {
    let shown = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| Fail::broken(format!("cannot start `{shown}`: {error}")))?;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).split(b'\n') {
            let line =
                line.map_err(|error| Fail::broken(format!("lost the output of `{shown}`: {error}")))?;
            let line = String::from_utf8_lossy(&line);
            if shows(&line) {
                println!("{line}");
            }
        }
    }
    let status = child
        .wait()
        .map_err(|error| Fail::broken(format!("lost `{shown}`: {error}")))?;
    Ok(status.success())
}

/// The first folder of `PATH` that holds `program`.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

/// True when the build server asks for strictness: `CI` is set to anything but nothing, `0` or `false`.
#[must_use]
pub fn is_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| !matches!(value.as_str(), "" | "0" | "false"))
}

/// True when we run as root, by the owner of our own process folder.
#[must_use]
pub fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}
