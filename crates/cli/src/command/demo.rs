//! `bailiwick demo`: one governed agent, from registration to proof, on real MCP traffic.
//!
//! Every step is the operator's or the agent's own request to a running service; nothing is inserted beside
//! the doors, and every number was measured in this run.

mod agent;
mod story;

use std::path::PathBuf;

use bailiwick_server::{Service, WitnessConfig};
use serde::Serialize;

use super::Done;
use super::serve::{Folder, loopback_config};
use crate::args::{Demo, Global};
use crate::output::{Failure, Output, exit};

/// What the story measured.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Figures {
    /// `official filesystem server` or `built-in server`.
    pub(crate) upstream: String,
    /// Tools the server has.
    pub(crate) tools_pinned: usize,
    /// Tools the agent saw.
    pub(crate) tools_listed: usize,
    /// Calls that were let through.
    pub(crate) calls_permitted: u64,
    /// Calls that were refused.
    pub(crate) calls_refused: u64,
    /// Median of the permitted calls, client side, microseconds.
    pub(crate) call_p50_us: u64,
    /// Kill received → deny in memory, microseconds.
    pub(crate) kill_denied_us: u64,
    /// Kill received → durable, microseconds.
    pub(crate) kill_committed_us: u64,
    /// Entries in both logs, all verified.
    pub(crate) entries_verified: u64,
    /// The exact count.
    pub(crate) identities: u64,
}

pub(crate) fn run(command: Demo, global: &Global, output: &Output) -> Done {
    let folder = match &command.keep {
        Some(path) => Folder::kept(path)?,
        None => Folder::temporary("bailiwick-demo")?,
    };
    let data = folder.path().join("data");
    let files = folder.path().join("files");
    let mut config = loopback_config(&data, &command.listen)?;
    if command.keep.is_none() {
        config.witness = WitnessConfig::exempt();
    }
    let context = folder.path().join("operator.json");
    let global = Global {
        context: Some(context.clone()),
        tenant: Some("acme".to_owned()),
        ..global.clone()
    };
    let upstream = agent::Upstream::choose(&command, &files)?;
    bailiwick_server::run(async move {
        let service = Service::start(config).await?;
        let setting = story::Setting {
            data,
            files,
            global,
            upstream,
            seed: command.seed,
        };
        let stopper = service.stopper();
        let listening = service.listening().clone();
        let story = async {
            let told = story::tell(&setting, output).await;
            match (&told, command.once) {
                (Ok(_), false) => say_what_next(&listening.base_url, &context, output),
                _ => stopper.stop(),
            }
            told
        };
        let (figures, ()) = tokio::join!(story, service.run());
        let figures = figures?;
        if output.is_json() {
            output.result(&figures, |_| {});
        }
        Ok::<_, Failure>(exit::OK)
    })?
}

fn say_what_next(base_url: &str, context: &std::path::Path, output: &Output) {
    let program = own_path().map_or_else(|_| "bailiwick".to_owned(), |p| p.display().to_string());
    for line in [
        String::new(),
        format!(
            "The server is running on {}; Ctrl-C stops it. Four commands to try in another terminal:",
            base_url
        ),
        String::new(),
        format!(
            "  export BAILIWICK_CONTEXT={} BAILIWICK_TENANT=acme",
            context.display()
        ),
        format!("  {program} count --explain"),
        format!("  {program} log tail"),
        format!("  {program} check report-writer tools/call files:write_file"),
        format!("  {program} kill agent report-writer --dry-run"),
    ] {
        if !output.is_json() {
            crate::output::print(&line);
        }
    }
}

/// This binary, for the processes it starts of itself.
pub(crate) fn own_path() -> Result<PathBuf, Failure> {
    std::env::current_exe()
        .map_err(|error| Failure::new(exit::ERROR, "cli.program", format!("own path not known: {error}")))
}
