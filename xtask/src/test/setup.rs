//! The real peers of the tests: packages of Node and Python, Go, PostgreSQL, strace. What is missing
//! and can be installed, is; a stamp beside it says which lock file it was installed from.
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::postgres::Server;
use crate::fail::{Fail, Outcome};
use crate::generate;
use crate::process;
use crate::repo::Repo;

pub(super) const INTEROP: &str = "tests/interop";

pub struct Node {
    /// The installed packages.
    pub modules: PathBuf,
}

impl Node {
    /// `PATH` with the programs of the packages in front; among them may be a pinned Node.
    #[must_use]
    pub fn path_variable(&self) -> OsString {
        in_front(&[self.modules.join(".bin")])
    }
}

pub(crate) struct Peers {
    binary: PathBuf,
    pub(super) node: Outcome<Node>,
    pub(super) python: Outcome<PathBuf>,
    pub(super) go: Outcome<PathBuf>,
    pub(super) postgres: Outcome<Server>,
    pub(super) softhsm: Outcome<PathBuf>,
    pub(super) strace: Outcome<PathBuf>,
    pub(super) faketime: Outcome<PathBuf>,
    pub(super) ip: Outcome<PathBuf>,
}

impl Peers {
    pub(crate) fn prepare(repo: &Repo) -> Self {
        Self {
            binary: generate::target_folder(repo).join("debug").join("bailiwick"),
            postgres: Server::start(),
            node: node_packages(repo),
            python: python_packages(repo),
            go: process::find("go")
                .ok_or_else(|| Fail::missing("no `go` on the PATH: install Go 1.24 or newer")),
            softhsm: tool("softhsm2-util", "softhsm2"),
            strace: tool("strace", "strace"),
            faketime: tool("faketime", "faketime"),
            ip: tool("ip", "iproute2"),
        }
    }

    /// Tells a test runner where the peers are:
    ///
    /// - `PATH` begins with the folders of the Python and Node packages
    /// - `BAILIWICK_TEST_POSTGRES` URL of a database owned by a role without special rights
    /// - `BAILIWICK_TEST_POSTGRES_STRONG` the same database as a superuser, who must be refused
    /// - `INTEROP_BINARY` the built `bailiwick` (not `BAILIWICK_…`, which it would take for configuration)
    pub(crate) fn export(&self, command: &mut Command) {
        let mut folders = Vec::new();
        folders.extend(self.python.iter().cloned());
        folders.extend(self.node.iter().map(|node| node.modules.join(".bin")));
        command
            .env("PATH", in_front(&folders))
            .env("INTEROP_BINARY", &self.binary);
        if let Ok(server) = &self.postgres {
            command.env("BAILIWICK_TEST_POSTGRES", server.url());
            command.env("BAILIWICK_TEST_POSTGRES_STRONG", server.strong_url());
        }
    }

    /// What keeps a lane from running, if anything.
    pub(crate) fn lacks(&self, need: &str) -> Option<Fail> {
        match need {
            "faketime" => self.faketime.as_ref().err().map(Fail::again),
            "go" => self.go.as_ref().err().map(Fail::again),
            "ip" => self.ip.as_ref().err().map(Fail::again),
            "node" => self.node.as_ref().err().map(Fail::again),
            "postgres" => self.postgres.as_ref().err().map(Fail::again),
            "python" => self.python.as_ref().err().map(Fail::again),
            "softhsm" => self.softhsm.as_ref().err().map(Fail::again),
            "strace" => self.strace.as_ref().err().map(Fail::again),
            other => Some(Fail::broken(format!("no peer is called `{other}`"))),
        }
    }
}

/// Installs the packages of `tests/interop/package-lock.json`, once per state of that file.
pub fn node_packages(repo: &Repo) -> Outcome<Node> {
    let folder = repo.path(INTEROP);
    let modules = folder.join("node_modules");
    let lock = folder.join("package-lock.json");
    if !is_stamped(&modules, &lock) {
        let npm = process::find("npm").ok_or_else(|| Fail::missing("no `npm` on the PATH: install Node"))?;
        println!("installing the Node packages of {INTEROP}");
        let arguments = [
            "ci",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
        ];
        process::capture(&folder, npm, &arguments)?;
        stamp(&modules, &lock)?;
    }
    Ok(Node { modules })
}

/// Installs the packages of `tests/interop/requirements.txt`; gives the folder of their programs.
fn python_packages(repo: &Repo) -> Outcome<PathBuf> {
    let folder = repo.path(INTEROP);
    let environment = folder.join(".venv");
    let pins = folder.join("requirements.txt");
    let programs = environment.join("bin");
    if !is_stamped(&environment, &pins) {
        let python = process::find("python3").ok_or_else(|| Fail::missing("no `python3` on the PATH"))?;
        println!("installing the Python packages of {INTEROP}");
        process::capture(&folder, python, &["-m", "venv", ".venv"])
            .map_err(|fail| Fail::missing(format!("{fail}: install the venv module of Python")))?;
        let install = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--requirement",
        ];
        let mut arguments: Vec<OsString> = install.map(OsString::from).to_vec();
        arguments.push(pins.clone().into_os_string());
        process::capture(&folder, programs.join("python"), &arguments)?;
        stamp(&environment, &pins)?;
    }
    Ok(programs)
}

/// A program on the `PATH`; as root it is installed from the package of the distribution.
pub(super) fn tool(program: &str, package: &str) -> Outcome<PathBuf> {
    if process::find(program).is_none() {
        install(package)?;
    }
    process::find(program).ok_or_else(|| Fail::missing(format!("no `{program}` on the PATH")))
}

pub(super) fn install(package: &str) -> Outcome<()> {
    let lacking = |why: &str| Fail::missing(format!("`{package}` is not installed, and {why}"));
    if !process::is_root() {
        return Err(lacking("only root can install it"));
    }
    let apt = process::find("apt-get").ok_or_else(|| lacking("there is no apt-get"))?;
    println!("installing {package}");
    let once = |arguments: &[&str]| process::capture(Path::new("/"), &apt, arguments);
    let arguments = ["install", "--yes", "--quiet", "--no-install-recommends", package];
    if once(&arguments).is_ok() {
        return Ok(());
    }
    once(&["update", "--quiet"])
        .and_then(|_| once(&arguments))
        .map_err(|fail| lacking(&fail.to_string()))?;
    Ok(())
}

fn is_stamped(installed: &Path, lock: &Path) -> bool {
    let (Ok(stamp), Ok(lock)) = (fs::read(installed.join(".installed-from")), fs::read(lock)) else {
        return false;
    };
    stamp == lock
}

fn stamp(installed: &Path, lock: &Path) -> Outcome<()> {
    let stamp = installed.join(".installed-from");
    fs::copy(lock, &stamp)
        .map(|_| ())
        .map_err(|error| Fail::io("write", &stamp, &error))
}

fn in_front(folders: &[PathBuf]) -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = folders.iter().cloned().chain(std::env::split_paths(&path));
    std::env::join_paths(all).unwrap_or(path)
}
