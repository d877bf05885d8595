//! The other programs that are measured beside ours: installed into a folder of their own with the package
//! managers that they come with. One that cannot be had is told and skipped.
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::figures::Figures;
use super::plan::Plan;
use crate::fail::{Fail, Outcome};
use crate::process;
use crate::test::postgres::Server;

const OIDC_PROVIDER: &str = "oidc-provider@9.13.3";
const FASTMCP: &str = "fastmcp==4.1.2";

/// The rows of the shared insert, one to a transaction.
const TABLE: &str = "CREATE TABLE audit (id bigserial PRIMARY KEY, at timestamptz NOT NULL, agent text NOT NULL, body text NOT NULL)";

pub(super) struct Peers {
    pub(super) folder: PathBuf,
    prepared: BTreeMap<String, Outcome<()>>,
    postgres: Option<Server>,
}

impl Peers {
    /// Prepares what the runs of the plan need.
    pub(super) fn prepare(target: &Path, shared: &Path, plan: &Plan) -> Self {
        let mut peers = Self {
            folder: target.join("bench-peers"),
            prepared: BTreeMap::new(),
            postgres: None,
        };
        let needed: BTreeSet<&str> = plan.runs.iter().filter_map(|run| run.needs.as_deref()).collect();
        for name in needed {
            let scripts = shared.join("bench").join("limits").join("peers");
            let prepared = fs::create_dir_all(&peers.folder)
                .map_err(|error| Fail::io("create", &peers.folder, &error))
                .and_then(|()| match name {
                    "oidc-provider" => oidc_provider(&peers.folder, &scripts),
                    "fastmcp" => fastmcp(&peers.folder, &scripts),
                    "postgresql" => peers.start_postgres(),
                    other => Err(Fail::broken(format!("no peer is called `{other}`"))),
                });
            peers.prepared.insert(name.to_owned(), prepared);
        }
        peers
    }

    pub(super) fn require(&self, name: &str) -> Outcome<()> {
        match self.prepared.get(name) {
            Some(Ok(())) => Ok(()),
            Some(Err(fail)) => Err(fail.again()),
            None => Err(Fail::broken(format!("peer `{name}` was not prepared"))),
        }
    }

    /// Peers that are driven by their own load generator.
    pub(super) fn measure(&self, name: &str, words: &[String]) -> Outcome<Figures> {
        match (name, words) {
            ("pgbench", [_, script, clients, secs]) => self.pgbench(script, clients, secs),
            _ => Err(Fail::broken(format!("`peer/{name}` is not known in this form"))),
        }
    }

    /// Where the server is that was prepared; nowhere when it was not.
    pub(super) fn postgres_url(&self) -> String {
        self.postgres.as_ref().map(Server::url).unwrap_or_default()
    }

    fn start_postgres(&mut self) -> Outcome<()> {
        let server = Server::start()?;
        process::capture(
            &self.folder,
            "psql",
            &[
                "--no-psqlrc",
                "--quiet",
                "--set=ON_ERROR_STOP=1",
                &server.url(),
                "--command",
                TABLE,
            ],
        )?;
        self.postgres = Some(server);
        Ok(())
    }

    fn pgbench(&self, script: &str, clients: &str, secs: &str) -> Outcome<Figures> {
        let server = self
            .postgres
            .as_ref()
            .ok_or_else(|| Fail::broken("PostgreSQL is not running"))?;
        let output = process::capture(
            &self.folder,
            "pgbench",
            &[
                "--no-vacuum",
                "--protocol=prepared",
                "--jobs=2",
                "--file",
                script,
                "--client",
                clients,
                "--time",
                secs,
                &server.url(),
            ],
        )?;
        let rate = output
            .lines()
            .find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok())
            .ok_or_else(|| Fail::broken(format!("pgbench told no rate: {output}")))?;
        Ok(Figures::from([("tps".to_owned(), rate)]))
    }
}

/// A command of a package manager; what it cannot bring is missing, not broken.
fn install(mut command: Command) -> Outcome<()> {
    println!("peer     {command:?}");
    let output = command
        .output()
        .map_err(|error| Fail::missing(format!("cannot run {command:?}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().last().unwrap_or_default();
    Err(Fail::missing(format!("{command:?} failed: {last}")))
}

fn copy(from: &Path, to: &Path) -> Outcome<()> {
    let text = fs::read(from).map_err(|error| Fail::io("read", from, &error))?;
    fs::write(to, text).map_err(|error| Fail::io("write", to, &error))
}

fn oidc_provider(folder: &Path, scripts: &Path) -> Outcome<()> {
    if !folder.join("node_modules").join("oidc-provider").is_dir() {
        let npm = process::find("npm").ok_or_else(|| Fail::missing("no `npm` on the PATH"))?;
        let mut command = Command::new(npm);
        command
            .args(["install", "--no-audit", "--no-fund", "--prefix"])
            .arg(folder)
            .arg(OIDC_PROVIDER);
        install(command)?;
    }
    copy(
        &scripts.join("oidc_provider.mjs"),
        &folder.join("oidc_provider.mjs"),
    )
}

fn fastmcp(folder: &Path, scripts: &Path) -> Outcome<()> {
    let home = folder.join("python");
    if !home.join("bin").join("fastmcp").is_file() {
        let python = process::find("python3").ok_or_else(|| Fail::missing("no `python3` on the PATH"))?;
        let mut command = Command::new(python);
        command.args(["-m", "venv"]).arg(&home);
        install(command)?;
        let mut command = Command::new(home.join("bin").join("pip"));
        command.args(["install", "--quiet", FASTMCP]);
        install(command)?;
    }
    copy(
        &scripts.join("fastmcp_proxy.py"),
        &folder.join("fastmcp_proxy.py"),
    )
}
