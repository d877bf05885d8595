//! `bailiwick sidecar join` and `run`: the process of a sidecar.

use std::path::Path;
use std::sync::Arc;

use bailiwick_server::sidecar::{self, JoinPlan, SidecarError};
use bailiwick_server::{Config, ConfigSources, SystemEntropy};
use rustix::fs::Mode;
use serde_json::json;

use super::Done;
use crate::args::{Global, SidecarJoin, SidecarRun};
use crate::files;
use crate::output::{Failure, Output, exit};

/// What a person reads: the error with its causes, and its code.
fn failed(error: &SidecarError) -> Failure {
    let (mut text, mut source) = (error.to_string(), std::error::Error::source(error));
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    match error {
        SidecarError::Answer { code, .. } => Failure::new(exit::ERROR, code, text),
        SidecarError::Removed(_) => Failure::new(exit::DENIED, error.code(), text).hint(
            "remove its data folder once its log is kept; a new one: `bailiwick sidecar invite NAME` at a node, then \
             `bailiwick sidecar join` with another --data",
        ),
        SidecarError::Unreachable { .. } => Failure::new(exit::UNREACHABLE, error.code(), text),
        _ => Failure::new(exit::ERROR, error.code(), text),
    }
}

fn configured(data: &Path, listen: Option<String>, insecure: bool) -> Result<Config, Failure> {
    Ok(Config::read(&ConfigSources {
        data: Some(data.to_owned()),
        listen,
        insecure_listen: insecure.then_some(true),
        ..ConfigSources::default()
    })?)
}

/// Every file that this process makes is its user's alone.
fn machine() -> Result<sidecar::Machine, Failure> {
    let _before = rustix::process::umask(Mode::RWXG | Mode::RWXO);
    let machine = bailiwick_server::Machine::this()?;
    Ok(sidecar::Machine {
        clock: machine.clock,
        disk: machine.disk,
        entropy: Arc::new(SystemEntropy),
    })
}

pub(crate) async fn join(command: SidecarJoin, global: &Global, output: &Output) -> Done {
    let config = configured(&command.data, None, false)?;
    let ca = global.ca.as_deref().map(files::read_text).transpose()?;
    let machine = machine()?;
    let plan = JoinPlan {
        url: command.url.trim_end_matches('/').to_owned(),
        name: command.name,
        token: files::read_text(&command.token_file)?.trim().to_owned(),
        data: command.data.clone(),
        ca,
        unseal: bailiwick_server::unseal(&config)?,
    };
    let joined = sidecar::join(plan, &machine).await.map_err(|e| failed(&e))?;
    let shown = json!({
        "sidecar": joined.sidecar, "base_url": joined.base_url, "tenants": joined.tenants,
        "vkey": joined.vkey, "data": command.data,
    });
    output.result(&shown, |paper| {
        paper.pairs(&[
            ("sidecar", joined.sidecar.clone()),
            ("tenants", joined.tenants.join(", ")),
            ("base URL", joined.base_url.clone()),
            ("key of its log", joined.vkey.clone()),
            ("data folder", command.data.display().to_string()),
        ]);
        paper.line(format!(
            "next: bailiwick sidecar run --data {}",
            command.data.display()
        ));
    });
    Ok(exit::OK)
}

pub(crate) fn serve(command: SidecarRun, output: &Output) -> Done {
    let mut config = configured(&command.data, Some(command.listen), command.insecure_listen)?;
    config.listen.tls_certificate = command.tls_certificate;
    config.listen.tls_key = command.tls_key;
    config.require_safe()?;
    let address = config.socket()?;
    let render = bailiwick_server::observe(&config)?;
    let machine = machine()?;
    let unseal = bailiwick_server::unseal(&config)?;
    bailiwick_server::run(async {
        let sidecar = sidecar::open(&command.data, unseal, &machine).map_err(|e| failed(&e))?;
        let router = sidecar.router(address, render);
        let name = sidecar.name().to_owned();
        let ready = |url: &str| {
            output.note(&format!(
                "sidecar {name} is ready on {url} (it refuses everything until it has heard its node)"
            ))
        };
        let serving = bailiwick_server::serve_alone(&config, router, ready);
        sidecar.run(serving).await.map_err(|e| failed(&e))??;
        Ok::<_, Failure>(exit::OK)
    })?
}
