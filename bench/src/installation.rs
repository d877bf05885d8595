//! A throw-away installation of the release binary, filled through its own doors.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use bailiwick_server::operator::{OperatorKey, claim, idempotency_key, session_token};
use bailiwick_wire as wire;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::http::{Connection, request};

const PATIENCE: Duration = Duration::from_secs(30);

/// A program that listens, stopped when this is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, and then there is nothing to stop.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }
}

/// A port that was free a moment ago.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?
        .local_addr()?
        .port())
}

impl Server {
    /// Starts `program` on a core and waits until it takes connections.
    pub(crate) fn start(program: &Path, arguments: &[&str], port: u16, core: usize) -> anyhow::Result<Self> {
        let mut command = pinned(program, core);
        command.args(arguments);
        Self::spawn(command, port)
    }

    pub(crate) fn spawn(command: Command, port: u16) -> anyhow::Result<Self> {
        Self::spawn_within(command, port, PATIENCE)
    }

    /// The same for one that may take long.
    pub(crate) fn spawn_within(mut command: Command, port: u16, patience: Duration) -> anyhow::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let mut server = Self {
            child,
            address: format!("127.0.0.1:{port}"),
        };
        let start = Instant::now();
        while std::net::TcpStream::connect(&server.address).is_err() {
            if let Some(status) = server.child.try_wait()? {
                bail!("{command:?} ended: {status}");
            }
            ensure!(
                start.elapsed() < patience,
                "{command:?} does not listen after {patience:?}"
            );
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(server)
    }

    /// Waits for an answer: connections are taken before anybody reads from them.
    pub(crate) async fn answers(&self) -> anyhow::Result<()> {
        let mut connection = Connection::open(&self.address).await?;
        let request = request("GET", &self.address, "/healthz", &[], "");
        let status = connection.exchange(&request).await?;
        ensure!(status == 200, "`/healthz` answered {status}");
        Ok(())
    }

    /// Asks it to end, and waits until it has.
    pub(crate) fn end(mut self) -> anyhow::Result<()> {
        let pid = self.pid().to_string();
        Command::new("kill").args(["-TERM", &pid]).status()?;
        self.child.wait()?;
        Ok(())
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Moves every thread of it to a core.
    pub(crate) fn pin(&self, core: usize) -> anyhow::Result<()> {
        pin(self.pid(), core)
    }
}

/// Moves every thread of a process to a core.
pub(crate) fn pin(pid: u32, core: usize) -> anyhow::Result<()> {
    let done = Command::new("taskset")
        .args(["-acp", &core.to_string(), &pid.to_string()])
        .stdout(Stdio::null())
        .status()
        .context("taskset is needed")?;
    ensure!(done.success(), "taskset cannot move process {pid}");
    Ok(())
}

/// A command that starts `program` on one core.
pub(crate) fn pinned(program: &Path, core: usize) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string()]).arg(program);
    command
}

/// The program of that name beside this one.
pub(crate) fn beside(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let found = own.parent().context("no folder")?.join(name);
    ensure!(found.is_file(), "`{}` is not built", found.display());
    Ok(found)
}

/// A claimed installation.
pub(crate) struct Installation {
    pub(crate) folder: PathBuf,
    pub(crate) base: String,
    pub(crate) service: Server,
    key: OperatorKey,
    operator: String,
}

/// The command that serves `data`.
pub(crate) fn serve(data: &Path, port: u16, base: &str, core: usize) -> anyhow::Result<Command> {
    let mut command = pinned(&beside("bailiwick")?, core);
    command.arg("serve").arg("--data").arg(data).args([
        "--listen",
        &format!("127.0.0.1:{port}"),
        "--base-url",
        base,
    ]);
    command.env("BAILIWICK_TOKENS__TTL_SECS", "3600");
    command.env("BAILIWICK_TELEMETRY__LEVEL", "warn");
    Ok(command)
}

impl Installation {
    /// Starts a new one with its data in `folder/data`, and claims it.
    pub(crate) async fn start(folder: &Path, core: usize) -> anyhow::Result<Self> {
        Self::start_on(folder, core, None).await
    }

    /// The same with its state in PostgreSQL, at this URL.
    pub(crate) async fn start_on(folder: &Path, core: usize, store: Option<&str>) -> anyhow::Result<Self> {
        let data = folder.join("data");
        make_private(&data)?;
        let port = free_port()?;
        let base = format!("http://127.0.0.1:{port}");
        let mut command = serve(&data, port, &base, core)?;
        if let Some(url) = store {
            let file = folder.join("store-url");
            fs::write(&file, url)?;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
            command.env("BAILIWICK_STORE__ENGINE", "postgres");
            command.env("BAILIWICK_STORE__URL_FILE", &file);
        }
        let service = Server::spawn(command, port)?;
        service.answers().await?;
        let key = OperatorKey::generate()?;
        let claimed = claim(&data.join("claim.sock"), "bench", &key).await;
        let operator = claimed.map_err(|problem| anyhow::anyhow!("claim: {}", problem.detail))?;
        Ok(Self {
            folder: data,
            base,
            service,
            key,
            operator: operator.id,
        })
    }

    /// A header that authenticates the operator for a minute.
    pub(crate) fn session(&self) -> anyhow::Result<String> {
        Ok(format!(
            "Bearer {}",
            session_token(&self.key, &self.operator, &self.base)?
        ))
    }

    /// The bytes of an operator's command.
    pub(crate) fn command<B: Serialize>(
        &self,
        method: &str,
        path: &str,
        body: &B,
    ) -> anyhow::Result<Vec<u8>> {
        let (session, once) = (self.session()?, idempotency_key()?);
        let headers = [
            ("authorization", session.as_str()),
            ("content-type", "application/json"),
            ("idempotency-key", &once),
        ];
        let body = serde_json::to_string(body)?;
        Ok(request(method, &self.service.address, path, &headers, &body))
    }

    pub(crate) async fn send<B: Serialize, T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: &B,
    ) -> anyhow::Result<T> {
        let mut connection = Connection::open(&self.service.address).await?;
        let status = connection.exchange(&self.command(method, path, body)?).await?;
        let reply = connection.reply();
        ensure!(
            (200..300).contains(&status),
            "{method} {path}: {status} {}",
            reply.body
        );
        serde_json::from_str(&reply.body).with_context(|| format!("answer of {path}: {}", reply.body))
    }

    pub(crate) async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
    ) -> anyhow::Result<T> {
        self.send("POST", path, body).await
    }

    pub(crate) async fn add_tenant(&self, slug: &str, algorithm: &str) -> anyhow::Result<()> {
        let body = wire::NewTenant {
            tenant: slug.to_owned(),
            name: slug.to_owned(),
            employees: 100,
            algorithm: Some(algorithm.to_owned()),
        };
        let _added: wire::Tenant = self.post("/v1/tenants", &body).await?;
        Ok(())
    }

    /// An active identity; gives its id.
    pub(crate) async fn add_identity(&self, tenant: &str, name: &str) -> anyhow::Result<String> {
        let body = wire::NewIdentity {
            name: name.to_owned(),
            kind: "agent".to_owned(),
            owner: Some(owner()),
            application: None,
            purpose: Some("to be measured".to_owned()),
            expires_at: Some(next_month()),
            platform: None,
            labels: wire::Labels::default(),
        };
        let path = format!("/v1/tenants/{tenant}/identities");
        let added: wire::Identity = self.post(&path, &body).await?;
        let activate = format!("{path}/{}/activate", added.id);
        let active: wire::Identity = self.post(&activate, &wire::StateChange::default()).await?;
        Ok(active.id)
    }

    /// An upstream MCP server over plain HTTP on loopback.
    pub(crate) async fn add_server(&self, tenant: &str, name: &str, url: &str) -> anyhow::Result<()> {
        let body = wire::NewServer {
            destination: None,
            methods: Vec::new(),
            header: None,
            tunnel: false,
            destination_ca: None,
            name: name.to_owned(),
            url: Some(url.to_owned()),
            exec: None,
            args: Vec::new(),
            digests: Vec::new(),
            allow_addresses: vec!["127.0.0.0/8".to_owned()],
            allow_plaintext: true,
            credential: None,
            credential_from: None,
            owner: Some(owner()),
            purpose: Some("to be measured".to_owned()),
            expires_at: Some(next_month()),
        };
        let path = format!("/v1/tenants/{tenant}/servers");
        let _added: wire::Server = self.post(&path, &body).await?;
        Ok(())
    }

    /// A task that the identities `may_act` may be delegated; gives its id and first token.
    pub(crate) async fn open_task(
        &self,
        tenant: &str,
        identity: &str,
        can: &[&str],
        may_act: &[&str],
    ) -> anyhow::Result<(String, String)> {
        let body = wire::NewTask {
            identity: identity.to_owned(),
            purpose: "to be measured".to_owned(),
            can: can.iter().map(|&scope| scope.to_owned()).collect(),
            authorization_details: Vec::new(),
            for_secs: 7_200,
            requested_by: None,
            may_act: may_act.iter().map(|&id| id.to_owned()).collect(),
            issue: true,
            heartbeat_secs: None,
        };
        let opened: wire::OpenedTask = self.post(&format!("/v1/tenants/{tenant}/tasks"), &body).await?;
        let token = opened.token.context("no token came with the task")?;
        Ok((opened.task.id, token.access_token))
    }

    /// More tokens of a task.
    pub(crate) async fn tokens(&self, tenant: &str, task: &str, count: usize) -> anyhow::Result<Vec<String>> {
        let mut tokens = Vec::with_capacity(count);
        while tokens.len() < count {
            let next = u32::try_from((count - tokens.len()).min(256))?;
            let path = format!("/v1/tenants/{tenant}/tasks/{task}/tokens");
            let body = wire::TokenBatchRequest { count: next };
            let batch: wire::TokenBatch = self.post(&path, &body).await?;
            tokens.extend(batch.tokens.into_iter().map(|token| token.access_token));
        }
        Ok(tokens)
    }

    /// A second server over a copy of the same state, with the recorder that does not wait.
    pub(crate) async fn queued(&self, folder: &Path, core: usize) -> anyhow::Result<Server> {
        let copied = folder.join("queued");
        copy(&self.folder, &copied)?;
        let port = free_port()?;
        let mut command = pinned(&beside("bailiwick-bench")?, core);
        command.arg("serve-queued").arg("--folder").arg(&copied).args([
            "--port",
            &port.to_string(),
            "--base-url",
            &self.base,
        ]);
        let server = Server::spawn(command, port)?;
        server.answers().await?;
        Ok(server)
    }
}

fn owner() -> wire::Owner {
    wire::Owner {
        team: "bench".to_owned(),
        contact: "bench@example.com".to_owned(),
    }
}

fn next_month() -> String {
    bailiwick_server::now()
        .after(Duration::from_secs(30 * 86_400))
        .to_string()
}

pub(crate) fn make_private(folder: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("cannot make `{}`", folder.display()))
}

/// Copies the files of a data folder. The database is copied with its write-ahead log, while nobody writes.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    make_private(to)?;
    for item in fs::read_dir(from)? {
        let item = item?;
        let kind = item.file_type()?;
        let target = to.join(item.file_name());
        if kind.is_dir() {
            copy(&item.path(), &target)?;
        } else if kind.is_file() {
            match fs::copy(item.path(), &target) {
                // A draft that got its name meanwhile; what has the name is copied or was there before.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                copied => drop(copied.with_context(|| format!("`{}` is not copied", target.display()))?),
            }
        }
    }
    Ok(())
}
