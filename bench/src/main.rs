//! The measuring programs behind `cargo xtask bench`: one scenario a run, one round of figures each, printed
//! as `metric NAME = VALUE UNIT`. Nothing here is part of the product.
#![expect(clippy::too_many_lines, reason = "a measuring run is one list of steps")]
#![expect(
    clippy::disallowed_methods,
    reason = "a measuring program reads the machine's clock, waits, and starts tasks of its own"
)]

mod authority;
mod authzen;
mod client;
mod clock;
mod decide;
mod gateway;
mod gauge;
mod holdings;
mod http;
mod installation;
mod issue;
mod kill;
mod note;
mod queued;
mod recorder;
mod start;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;

/// The allocator of the product, so that both are measured alike.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The value of `--NAME`.
fn option(words: &[String], name: &str) -> Option<String> {
    let place = words.iter().position(|word| *word == format!("--{name}"))?;
    words.get(place + 1).cloned()
}

/// The number after `--NAME`.
fn number<T: std::str::FromStr>(words: &[String], name: &str, otherwise: T) -> anyhow::Result<T> {
    match option(words, name) {
        None => Ok(otherwise),
        Some(text) => text
            .parse()
            .ok()
            .with_context(|| format!("`--{name}` is not a number")),
    }
}

fn run(words: &[String]) -> anyhow::Result<()> {
    let path = |name: &str| option(words, name).map(PathBuf::from);
    let folder = path("folder").unwrap_or_else(|| PathBuf::from("."));
    let limits = path("limits").unwrap_or_else(|| PathBuf::from("target/limits/release"));
    let span = Duration::from_secs_f64(number(words, "secs", 1.5)?);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match words.first().map(String::as_str) {
        Some("authority") => runtime.block_on(authority::run(&folder, span)),
        Some("authzen") => runtime.block_on(authzen::run(&folder, &limits, span)),
        Some("decide") => decide::run(&folder),
        Some("gateway") => runtime.block_on(gateway::run(&folder, &limits, span)),
        Some("holdings") => runtime.block_on(holdings::run(&folder, number(words, "credentials", 1_000)?)),
        Some("issue") => match option(words, "postgres") {
            Some(store) => runtime.block_on(issue::run_on(&folder, span, &store)),
            None => runtime.block_on(issue::run(&folder, span)),
        },
        Some("kill") => {
            let (kills, calls) = (number(words, "kills", 200)?, number(words, "calls", 100_000)?);
            runtime.block_on(kill::run(&folder, &limits, kills, calls))
        }
        Some("serve-queued") => {
            let base = option(words, "base-url").context("`--base-url` is missing")?;
            queued::run(&folder, number(words, "port", 0)?, &base)
        }
        Some("sessions") => runtime.block_on(gateway::sessions(&folder, &limits)),
        Some("start") => start::run(&folder, &limits, number(words, "times", 7)?),
        _ => anyhow::bail!(
            "name a scenario: authority, authzen, decide, gateway, holdings, issue, kill, serve-queued, sessions or start"
        ),
    }
}
