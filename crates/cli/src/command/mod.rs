//! One file per noun. Each command: arguments → request → answer → print.

mod backup;
mod check;
mod claim;
mod client;
mod composition;
mod config;
mod consent;
mod correct;
mod count;
mod credential;
mod demo;
mod doctor;
mod entry;
mod evidence;
mod fetched;
mod help;
mod id;
mod keys;
mod kill;
mod lease;
mod log;
mod node;
mod operator;
mod policy;
mod receipt;
mod receipt_proof;
mod run;
mod scan;
mod serve;
mod server;
mod sidecar;
mod sidecar_run;
mod signal;
mod task;
mod tenant;
mod token;
mod trust;
mod trust_lint;
mod witness;

use std::future::Future;

use crate::args::{Cli, Command};
use crate::output::{Failure, Output, exit};

/// What a command ends with: an exit code, or why it failed.
pub(crate) type Done = Result<u8, Failure>;

pub(crate) use self::help::unknown;

pub(crate) fn run(cli: Cli, output: &Output) -> Done {
    let global = cli.common;
    let Some(command) = cli.command else {
        return help::first_screen(output);
    };
    match command {
        Command::Demo(demo) => demo::run(demo, &global, output),
        Command::Dev(dev) => serve::dev(dev, &global, output),
        Command::Run(run) => asynchronous(run::run(*run, &global, output)),
        Command::RunChild(child) => run::become_command(&child),
        Command::Serve(serve) => serve::serve(&serve, output),
        Command::Claim(claim) => asynchronous(claim::run(claim, &global, output)),
        Command::Count(count) => asynchronous(count::run(count, &global, output)),
        Command::Scan(scan) => scan::run(&scan, output),
        Command::Check(check) => asynchronous(check::run(check, &global, output)),
        Command::Kill(stop) => asynchronous(kill::run(stop, kill::Verb::Kill, &global, output)),
        Command::Suspend(stop) => asynchronous(kill::run(stop, kill::Verb::Suspend, &global, output)),
        Command::Resume(stop) => asynchronous(kill::run(stop, kill::Verb::Resume, &global, output)),
        Command::Operator(command) => asynchronous(operator::run(command, &global, output)),
        Command::Tenant(tenant) => asynchronous(tenant::run(tenant, &global, output)),
        Command::Id(id) => asynchronous(id::run(id, &global, output)),
        Command::Client(client) => asynchronous(client::run(client, &global, output)),
        Command::Consent(consent) => asynchronous(consent::run(consent, &global, output)),
        Command::Credential(credential) => asynchronous(credential::run(credential, &global, output)),
        Command::Trust(trust) => asynchronous(trust::run(trust, &global, output)),
        Command::Keys(command) => asynchronous(keys::run(command, &global, output)),
        Command::Signal(signal) => asynchronous(signal::run(signal, &global, output)),
        Command::Node(command) => asynchronous(node::run(command, &global, output)),
        Command::Sidecar(command) => sidecar::run(command, &global, output),
        Command::Task(task) => asynchronous(task::run(task, &global, output)),
        Command::Server(server) => asynchronous(server::run(server, &global, output)),
        Command::Policy(policy) => policy::run(policy, &global, output),
        Command::Log(log) => asynchronous(log::run(log, &global, output)),
        Command::Verify(verify) => log::verify_file(&verify, output),
        Command::Evidence(command) => asynchronous(evidence::run(command, &global, output)),
        Command::Backup(command) => asynchronous(backup::make(command, &global, output)),
        Command::Restore(command) => backup::restore(&command, output),
        Command::Witness(command) => witness::run(command, output),
        Command::Token(token) => token::run(token, output),
        Command::Config(config) => config::run(config, output),
        Command::Doctor(doctor) => doctor::run(&doctor, &global, output),
        Command::Completions { shell } => help::completions(shell, output),
        Command::Version => help::version(output),
        Command::Help => help::tree(output),
        Command::Codes => help::codes(output),
        Command::Launcher => serve::launcher(),
        Command::BuiltinMcp { root } => serve::builtin_mcp(&root),
    }
}

/// Runs the requests of one command on a small runtime.
fn asynchronous(command: impl Future<Output = Done>) -> Done {
    bailiwick_server::install_crypto();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(exit::ERROR, "cli.runtime", format!("cannot start: {error}")))?;
    runtime.block_on(command)
}
