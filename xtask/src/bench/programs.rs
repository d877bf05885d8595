//! Building, pinning and running the measuring programs.
use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::figures::{self, Figures};
use super::floors;
use super::peers::Peers;
use super::plan::{Plan, Run};
use crate::fail::{Fail, Outcome};
use crate::generate;
use crate::process;
use crate::repo::Repo;

const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Programs {
    root: PathBuf,
    shared: PathBuf,
    /// Why a kind of program is not there stays a message: the goals that need it say so.
    limits: Outcome<PathBuf>,
    ours: Outcome<PathBuf>,
    peers: Peers,
    scratch: PathBuf,
    quick: bool,
}

/// A server beside a measurement; stopped when the measurement is over, however it ends.
struct Beside(Child);

impl Drop for Beside {
    fn drop(&mut self) {
        // It may have ended by itself, and then there is nothing to stop.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Programs {
    pub(super) fn build(repo: &Repo, plan: &Plan, quick: bool) -> Outcome<Self> {
        let target = generate::target_folder(repo);
        let scratch = target.join("bench");
        fs::create_dir_all(&scratch).map_err(|error| Fail::io("create", &scratch, &error))?;
        Ok(Self {
            root: repo.root.clone(),
            shared: floors::shared(repo),
            peers: Peers::prepare(&target, &floors::shared(repo), plan),
            quick,
            limits: floors::build(repo, &plan.programs("limits")),
            ours: build_ours(repo, plan).map(|()| target.join("release")),
            scratch,
        })
    }

    pub(super) fn run(&self, run: &Run) -> Outcome<Figures> {
        if let Some(peer) = &run.needs {
            self.peers.require(peer)?;
        }
        let port = run.port.map_or_else(free_port, Ok)?;
        let folder = self.scratch.join(&run.name);
        if folder.exists() {
            fs::remove_dir_all(&folder).map_err(|error| Fail::io("empty", &folder, &error))?;
        }
        fs::create_dir_all(&folder).map_err(|error| Fail::io("create", &folder, &error))?;
        let mut beside = Vec::new();
        let values: Vec<(String, &str)> = run
            .values
            .iter()
            .map(|(name, (full, quick))| {
                (
                    format!("{{{name}}}"),
                    if self.quick { quick } else { full }.as_str(),
                )
            })
            .collect();
        let filled = |words: &[String]| -> Vec<String> {
            let fill = |word: &String| {
                values
                    .iter()
                    .fold(word.clone(), |word, (name, value)| word.replace(name, value))
            };
            words.iter().map(fill).collect()
        };
        if let Some(("peer", name)) = run.measure.first().and_then(|word| word.split_once('/')) {
            let shared = self.shared.to_string_lossy();
            let words = filled(&run.measure).into_iter();
            let words: Vec<String> = words.map(|word| word.replace("{shared}", &shared)).collect();
            return self.peers.measure(name, &words);
        }
        for words in &run.serve {
            let mut server = self.command(words, port, &folder, run.serve_cores.as_deref())?;
            let child = server.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
            beside.push(Beside(child.map_err(|error| {
                Fail::broken(format!("cannot start a server: {error}"))
            })?));
        }
        if !run.serve.is_empty() {
            wait_for(port)?;
        }
        let mut measure = self.command(&filled(&run.measure), port, &folder, run.measure_cores.as_deref())?;
        let mut output = String::new();
        let succeeded = process::stream_lines(&mut measure, |line| {
            output.push_str(line);
            output.push('\n');
            false
        })?;
        if !succeeded {
            return Err(Fail::broken(format!(
                "`{}` failed: {}",
                run.measure.join(" "),
                output.trim()
            )));
        }
        Ok(figures::read(&output))
    }

    fn command(&self, words: &[String], port: u16, folder: &Path, cores: Option<&str>) -> Outcome<Command> {
        let filled: Vec<String> = words
            .iter()
            .map(|word| word.replace("{port}", &port.to_string()))
            .map(|word| word.replace("{folder}", &folder.to_string_lossy()))
            .map(|word| word.replace("{shared}", &self.shared.to_string_lossy()))
            .map(|word| word.replace("{peers}", &self.peers.folder.to_string_lossy()))
            .map(|word| word.replace("{postgres}", &self.peers.postgres_url()))
            .collect();
        let filled = self.with_limits(filled)?;
        let (program, arguments) = filled
            .split_first()
            .ok_or_else(|| Fail::broken("an empty command"))?;
        let path = match program.split_once('/') {
            Some(("limits", name)) => self.limits.as_ref().map_err(Fail::again)?.join(name),
            Some(("ours", name)) => self.ours.as_ref().map_err(Fail::again)?.join(name),
            Some(("example", name)) => self
                .ours
                .as_ref()
                .map_err(Fail::again)?
                .join("examples")
                .join(name),
            _ => PathBuf::from(program),
        };
        let mut command = match (cores, process::find("taskset")) {
            (Some(cores), Some(taskset)) => {
                let mut pinned = Command::new(taskset);
                pinned.args(["-c", cores]).arg(path);
                pinned
            }
            _ => Command::new(path),
        };
        command.args(arguments).current_dir(&self.root);
        Ok(command)
    }

    fn with_limits(&self, words: Vec<String>) -> Outcome<Vec<String>> {
        const LIMITS: &str = "{limits}";
        if !words.iter().any(|word| word.contains(LIMITS)) {
            return Ok(words);
        }
        let limits = self.limits.as_ref().map_err(Fail::again)?.to_string_lossy();
        Ok(words.iter().map(|word| word.replace(LIMITS, &limits)).collect())
    }
}

fn build_ours(repo: &Repo, plan: &Plan) -> Outcome<()> {
    let (mut binaries, examples) = (plan.programs("ours"), plan.programs("example"));
    if binaries.is_empty() && examples.is_empty() {
        return Ok(());
    }
    // What our measuring programs start, from the folder that they stand in.
    binaries.insert("bailiwick");
    let mut cargo = Command::new(process::cargo());
    cargo
        .current_dir(&repo.root)
        .args(["build", "--release", "--workspace"]);
    for (kind, names) in [("--bin", binaries), ("--example", examples)] {
        for name in names {
            cargo.args([kind, name]);
        }
    }
    if process::stream(&mut cargo)? {
        Ok(())
    } else {
        Err(Fail::broken("our programs do not build"))
    }
}

fn free_port() -> Outcome<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0));
    let address = listener.and_then(|listener| listener.local_addr());
    address
        .map(|address| address.port())
        .map_err(|error| Fail::broken(format!("no free port: {error}")))
}

fn wait_for(port: u16) -> Outcome<()> {
    let start = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if start.elapsed() > PATIENCE {
            return Err(Fail::broken(format!(
                "nothing listens on port {port} after {PATIENCE:?}"
            )));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
