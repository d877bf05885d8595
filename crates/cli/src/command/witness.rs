//! `bailiwick witness`.

use std::io::{BufRead, IsTerminal};

use bailiwick_server::{Config, ConfigSources, Machine, Service, SystemEntropy, cosign};
use serde_json::json;

use super::Done;
use super::serve::sources;
use crate::args::{Serve, Witness, WitnessAccept, WitnessServe};
use crate::output::{Failure, Output, exit};

pub(crate) fn run(command: Witness, output: &Output) -> Done {
    match command {
        Witness::Accept(accepted) => accept(*accepted, output),
        Witness::Serve(command) => serve(command, output),
    }
}

/// A C2SP tlog-witness: no store, no tenants, no operators.
fn serve(command: WitnessServe, output: &Output) -> Done {
    let mut config = Config::read(&ConfigSources {
        listen: Some(command.listen),
        insecure_listen: command.insecure_listen.then_some(true),
        ..ConfigSources::default()
    })?;
    config.listen.tls_certificate = command.tls_certificate;
    config.listen.tls_key = command.tls_key;
    let clock = Machine::this()?.clock;
    let cosigner = cosign::open(
        &command.name,
        &command.folder,
        &command.logs,
        clock,
        &SystemEntropy,
    )
    .map_err(|error| Failure::from(anyhow::Error::from(error)))?;
    let vkey = cosigner.key().vkey();
    let ready = |url: &str| {
        output.note(&format!("witness {} is ready on {url}", command.name));
        output.note(&format!("key {vkey}"));
    };
    bailiwick_server::run(async {
        bailiwick_server::serve_alone(&config, cosign::router(cosigner), ready).await
    })??;
    Ok(exit::OK)
}

fn accept(command: WitnessAccept, output: &Output) -> Done {
    let WitnessAccept { serve, reason, yes } = command;
    let reason = reason.trim().to_owned();
    if reason.is_empty() || reason.chars().any(char::is_control) {
        return Err(
            Failure::usage("the reason is empty, or more than one line").hint("say why: --reason TEXT")
        );
    }
    if !yes {
        confirm()?;
    }
    let mut config = Config::read(&sources(&serve))?;
    config.witness = config.witness.accepting(reason);
    // It starts to take the folder over, and serves nobody: what it records is of the service, not of this port.
    if config.base_url.is_empty() {
        let scheme = if config.listen.tls_certificate.is_some() {
            "https"
        } else {
            "http"
        };
        config.base_url = format!("{scheme}://{}", config.listen.address);
    }
    config.listen.address = "127.0.0.1:0".to_owned();
    (config.listen.tls_certificate, config.listen.tls_key) = (None, None);
    config.spiffe.socket = None;
    config.proxy.listen.clear();
    let data = config.data.clone();
    let again = flags(&serve);
    bailiwick_server::run(async move {
        let service = Service::start(config).await?;
        service.stopper().stop();
        service.run().await;
        Ok::<_, Failure>(())
    })??;
    output.result(&json!({"accepted": true, "data": data}), |paper| {
        paper.line("accepted and recorded; every token from before is dead");
        paper.line(format!("next: bailiwick serve{again}"));
    });
    Ok(exit::OK)
}

/// The flags by which the folder was found: a start with others could be of another one.
fn flags(serve: &Serve) -> String {
    let places = [
        ("--config", &serve.config),
        ("--data", &serve.data),
        ("--witness", &serve.witness),
    ];
    let mut out: String = places
        .into_iter()
        .filter_map(|(flag, place)| Some(format!(" {flag} {}", place.as_ref()?.display())))
        .collect();
    for (flag, text) in [("--listen", &serve.listen), ("--base-url", &serve.base_url)] {
        if let Some(text) = text {
            out.push_str(&format!(" {flag} {text}"));
        }
    }
    if serve.insecure_listen {
        out.push_str(" --insecure-listen");
    }
    out
}

/// What is accepted may be the loss of kills: without a terminal the command must carry `--yes`.
fn confirm() -> Result<(), Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage(
            "what happened since this data folder was copied is given up: kills, too",
        )
        .hint("look for a newer copy first; then add --yes"));
    }
    crate::output::tell("What happened since this data folder was copied is given up. Type `yes` to go on:");
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|error| Failure::usage(format!("no answer: {error}")))?;
    if line.trim() == "yes" {
        return Ok(());
    }
    Err(Failure::new(
        exit::ERROR,
        "cli.not-confirmed",
        "not confirmed; nothing was accepted",
    ))
}
