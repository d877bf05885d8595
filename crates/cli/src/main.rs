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

use crate::args::Cli;
use crate::output::{Output, exit};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
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
