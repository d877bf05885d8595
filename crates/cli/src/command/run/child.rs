//! The command's process: what it is started with, and that it does not outlive its keeper.

use std::io::ErrorKind;
use std::os::unix::process::CommandExt;

use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
use tokio::process::{Child, Command};

use super::relay::Relay;
use super::{Held, broken};
use crate::args::{Run, RunChild};
use crate::command::Done;
use crate::output::{Failure, exit};

/// What a variable holds whose value the proxy puts in.
const PLACEHOLDER: &str = "bailiwick-placeholder";
/// As a shell tells it.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// Starts the command behind a process of ours that binds it to this one and then becomes it.
pub(super) fn start(command: &Run, held: &Held<'_>, relay: Option<&Relay>) -> Result<Child, Failure> {
    let own = std::env::current_exe().map_err(|e| broken("own path not known", &e))?;
    let mut process = Command::new(own);
    // The operator's context and whatever else is ours stays here.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("BAILIWICK_") {
            process.env_remove(name);
        }
    }
    process.env("BAILIWICK_TOKEN_FILE", &held.token_file);
    process.env("BAILIWICK_TASK", &held.task);
    process.env("BAILIWICK_URL", held.client.base_url());
    for name in &command.placeholders {
        process.env(name, PLACEHOLDER);
    }
    if let Some(relay) = relay {
        relay.furnish(&mut process, held.client);
    }
    process.arg("run-child");
    process.arg(format!("--parent={}", std::process::id()));
    process.arg("--").args(&command.command);
    process.kill_on_drop(true);
    process.spawn().map_err(|e| broken("starting the command", &e))
}

/// Becomes the command. When the process that started this one ends, however it ends, the kernel kills this one.
pub(crate) fn become_command(child: &RunChild) -> Done {
    let bound = set_parent_process_death_signal(Some(Signal::KILL));
    bound.map_err(|e| broken("binding the command to its keeper", &e.into()))?;
    // It may have ended before it was bound to.
    if getppid() != Pid::from_raw(child.parent) {
        return Err(Failure::new(
            exit::ERROR,
            "run.orphan",
            "whoever started this is gone",
        ));
    }
    let Some((program, arguments)) = child.command.split_first() else {
        return Err(Failure::usage("no command is given: put it behind --"));
    };
    let error = std::process::Command::new(program).args(arguments).exec();
    let code = match error.kind() {
        ErrorKind::NotFound => NOT_FOUND,
        _ => NOT_EXECUTABLE,
    };
    let shown = bailiwick_base::limits::shown(&program.to_string_lossy());
    Err(Failure::new(
        code,
        "run.command",
        format!("`{shown}` cannot be started: {error}"),
    ))
}
