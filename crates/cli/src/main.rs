//! The binary: `serve` and every operator command.
//!
//! A command reads its arguments, makes one or two requests, prints. It decides nothing.

mod args;
mod client;
mod command;
mod files;
mod output;

use std::process::ExitCode;

use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::args::Cli;
use crate::output::{Failure, Output, exit};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let output = Output::new(&cli.common);
    match command::run(cli, &output) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            output.failure(&failure);
            ExitCode::from(if failure.exit == exit::OK {
                exit::ERROR
            } else {
                failure.exit
            })
        }
    }
}

/// Help and version go to standard output; a wrong word is exit code 2, in JSON mode as a document.
fn usage(error: &clap::Error) -> ExitCode {
    let wanted = std::env::args_os().any(|word| word == "--json");
    if error.kind() == ErrorKind::InvalidSubcommand
        && let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand)
    {
        let words = std::env::args_os().skip(1);
        let words: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
        let output = if wanted { Output::json() } else { Output::plain() };
        output.failure(&command::unknown(word, &words));
        return ExitCode::from(exit::USAGE);
    }
    if !error.use_stderr() || !wanted {
        // A reader that went away is no error of ours.
        let _gone = error.print();
        return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(exit::USAGE));
    }
    let text = error.render().to_string();
    let message = text
        .trim_start_matches("error: ")
        .lines()
        .next()
        .unwrap_or_default();
    let failure = Failure::usage(message).hint("see `bailiwick help`, or the command with --help");
    Output::json().failure(&failure);
    ExitCode::from(exit::USAGE)
}
