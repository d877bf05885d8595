//! A throw-away PostgreSQL: its own cluster in a temporary folder, reached through a Unix socket only.
//!
//! A small shell stays beside the server and holds our pipe as its input. When this process ends, in
//! whatever way, the pipe closes, the shell stops the server and removes the folder.
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::setup;
use crate::fail::{Fail, Outcome};
use crate::process;

const DATABASE: &str = "bailiwick";
/// What the product has to get along with: no superuser, no way around row security.
const ROLE: &str = "bailiwick_app";
const PATIENCE: Duration = Duration::from_secs(30);

const KEEPER: &str = r#"
"$1/postgres" -D "$2/cluster" -k "$2" -c listen_addresses= -c max_connections=200 >"$2/server.log" 2>&1 &
server=$!
cat >/dev/null
kill -INT "$server" 2>/dev/null
wait "$server"
rm -rf "$2"
"#;

pub(crate) struct Server {
    folder: PathBuf,
    keeper: Child,
}

/// A user and a group of this machine.
#[derive(Clone, Copy)]
struct Owner {
    user: u32,
    group: u32,
}

impl Server {
    pub(crate) fn start() -> Outcome<Self> {
        let programs = programs()?;
        let owner = if process::is_root() {
            Some(unprivileged()?)
        } else {
            None
        };
        let folder = fresh_folder(owner)?;
        let cluster = folder.join("cluster");
        let mut initdb = as_owner(&programs.join("initdb"), owner);
        initdb.current_dir(&folder).arg("--pgdata").arg(&cluster);
        initdb.args([
            "--username=postgres",
            "--auth=trust",
            "--no-sync",
            "--locale=C",
            "--encoding=UTF8",
        ]);
        quietly(&mut initdb)?;
        let mut keeper = as_owner(Path::new("/bin/sh"), owner);
        keeper
            .current_dir(&folder)
            .args(["-c", KEEPER, "sh"])
            .arg(&programs)
            .arg(&folder);
        // Its own group: a signal to ours, such as Ctrl-C, must not stop it before it has cleaned up.
        let keeper = keeper
            .process_group(0)
            .stdin(Stdio::piped())
            .spawn()
            .map_err(|error| Fail::broken(format!("cannot start PostgreSQL: {error}")))?;
        let server = Self { folder, keeper };
        server.wait_until_ready(&programs)?;
        let role =
            format!("CREATE ROLE {ROLE} LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOREPLICATION CREATEDB");
        for statement in [role, format!("CREATE DATABASE {DATABASE} OWNER {ROLE}")] {
            let mut psql = Command::new(programs.join("psql"));
            psql.args([
                "--no-psqlrc",
                "--quiet",
                "--set=ON_ERROR_STOP=1",
                "--username=postgres",
                "--dbname=postgres",
            ]);
            psql.arg("--host")
                .arg(&server.folder)
                .arg("--command")
                .arg(statement);
            quietly(&mut psql)?;
        }
        Ok(server)
    }

    /// A URL as libpq and sqlx read it.
    pub(crate) fn url(&self) -> String {
        format!(
            "postgresql:///{DATABASE}?host={}&user={ROLE}",
            self.folder.display()
        )
    }

    /// The same database as the superuser, whom the product must refuse.
    pub(super) fn strong_url(&self) -> String {
        format!(
            "postgresql:///{DATABASE}?host={}&user=postgres",
            self.folder.display()
        )
    }

    fn wait_until_ready(&self, programs: &Path) -> Outcome<()> {
        let start = Instant::now();
        loop {
            let mut ready = Command::new(programs.join("pg_isready"));
            ready
                .args(["--quiet", "--host"])
                .arg(&self.folder)
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            if ready.status().is_ok_and(|status| status.success()) {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                let log = fs::read_to_string(self.folder.join("server.log")).unwrap_or_default();
                return Err(Fail::broken(format!(
                    "PostgreSQL did not start in {PATIENCE:?}: {log}"
                )));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        // Nobody is left to tell when stopping fails.
        let _ = self.keeper.wait();
    }
}

/// The folder with `initdb` and `postgres`: the newest version of the distribution, or the `PATH`.
fn programs() -> Outcome<PathBuf> {
    if let Some(found) = installed() {
        return Ok(found);
    }
    setup::install("postgresql")?;
    installed().ok_or_else(|| Fail::missing("no `initdb` of PostgreSQL found"))
}

fn installed() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let mut versions: Vec<(u32, PathBuf)> = versions
        .filter_map(|version| {
            Some((
                version.file_name().to_str()?.parse().ok()?,
                version.path().join("bin"),
            ))
        })
        .filter(|(_, bin)| bin.join("initdb").is_file())
        .collect();
    versions.sort();
    let newest = versions.pop().map(|(_, bin)| bin);
    newest.or_else(|| process::find("postgres")?.parent().map(Path::to_path_buf))
}

/// PostgreSQL refuses to run as root; its package brings a user for it.
fn unprivileged() -> Outcome<Owner> {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let line = users.lines().find(|line| line.starts_with("postgres:"));
    let owner = line.and_then(|line| {
        let mut fields = line.split(':').skip(2);
        Some(Owner {
            user: fields.next()?.parse().ok()?,
            group: fields.next()?.parse().ok()?,
        })
    });
    owner.ok_or_else(|| Fail::missing("PostgreSQL does not run as root, and there is no user `postgres`"))
}

fn fresh_folder(owner: Option<Owner>) -> Outcome<PathBuf> {
    let name = format!("bailiwick-postgres-{}", std::process::id());
    let folder = std::env::temp_dir().join(name);
    fs::create_dir(&folder).map_err(|error| Fail::io("create", &folder, &error))?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))
        .map_err(|error| Fail::io("close", &folder, &error))?;
    if let Some(owner) = owner {
        chown(&folder, Some(owner.user), Some(owner.group))
            .map_err(|error| Fail::io("give away", &folder, &error))?;
    }
    Ok(folder)
}

fn as_owner(program: &Path, owner: Option<Owner>) -> Command {
    let mut command = Command::new(program);
    if let Some(owner) = owner {
        command.uid(owner.user).gid(owner.group);
    }
    command
}

fn quietly(command: &mut Command) -> Outcome<()> {
    let shown = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Fail::broken(format!("cannot start `{shown}`: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Fail::broken(format!(
        "`{shown}` failed ({}): {}",
        output.status,
        said.trim()
    )))
}
