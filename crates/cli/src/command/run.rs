//! `bailiwick run`: a command with a task of its own. The task begins with it and ends with it, whatever ends it.
//!
//! The command never sees the operator's key, and no token stands in its arguments or its environment: there is the
//! path of a file that only this user may read, and the token in it is renewed in time.

mod child;
mod relay;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::task::Poll;
use std::time::Duration;

use bailiwick_wire::{
    CloseTask, NewTask, OpenedTask, Page, Server, Task, TaskHeartbeat, TaskLedger, Token, TokenBatch,
    TokenBatchRequest,
};
use rustix::process::Signal as To;
use tokio::process::Child;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

pub(super) use self::child::become_command;
use self::relay::{Relay, Shown, place_of};
use super::Done;
use super::id::encoded;
use super::serve::Folder;
use crate::args::{Global, Run};
use crate::client::Client;
use crate::files;
use crate::output::{Failure, Output, exit, tell};

/// What an id of a task begins with.
const TASK_ID: &str = "tsk_";
/// The name of the token's file.
const TOKEN_FILE: &str = "token";
/// How long closing the task may take at the end; after it the heartbeat that stopped ends it.
const CLOSING: Duration = Duration::from_secs(5);

/// How long each other word with the service may take.
const ASKING: Duration = Duration::from_secs(5);

/// A task with a token that is kept fresh.
struct Held<'a> {
    client: &'a Client,
    task: String,
    /// Requests of the task, `/v1/tenants/…/tasks/{id}`.
    path: String,
    token_file: PathBuf,
    shown: Shown,
    heartbeat: u64,
    /// When the next token is due.
    token_at: Instant,
    /// Whether it was said that the service cannot be reached.
    said: bool,
}

pub(crate) async fn run(command: Run, global: &Global, output: &Output) -> Done {
    if !(2..=300).contains(&command.heartbeat) {
        return Err(Failure::usage(format!(
            "--heartbeat {}: not 2 to 300",
            command.heartbeat
        )));
    }
    let client = Client::connect(global)?;
    let folder = Folder::private("bailiwick-run", command.runtime_dir.as_deref())?;
    // Before there is a task: what ends `run` from now on ends the task too.
    let mut told = Signals::listen()?;
    let (task, token) = begin(&client, &command, &mut told).await?;
    let mut held = Held {
        path: client.path(&format!("tasks/{}", encoded(&task)))?,
        client: &client,
        task,
        token_file: folder.path().join(TOKEN_FILE),
        shown: Shown::default(),
        heartbeat: command.heartbeat,
        token_at: Instant::now(),
        said: false,
    };
    output.note(&format!("task {}", held.task));
    let ended = attend(&mut held, token, told, &command, folder.path()).await;
    held.close(&ended).await;
    ended
}

/// From the first token to the end of the command.
async fn attend(held: &mut Held<'_>, token: Token, mut told: Signals, command: &Run, folder: &Path) -> Done {
    held.keep(&token)?;
    tokio::select! {
        begun = in_time(held.beat()) => begun?,
        signal = told.next() => return Ok(code_of_signal(signal)),
    }
    let relay = match command.no_proxy {
        true => None,
        false => {
            in_time(Relay::open(
                held.client,
                &held.shown,
                folder,
                command.also_trust.as_deref(),
            ))
            .await?
        }
    };
    match &relay {
        Some(_) => warn_of_neighbours(held).await,
        None if command.no_proxy => {}
        None => require_no_way(held, command).await?,
    }
    let mut child = child::start(command, held, relay.as_ref())?;
    let served = async {
        if let Some(relay) = relay {
            relay.serve().await;
        }
        std::future::pending::<()>().await;
    };
    // Beside the others, for it may have to wait for the service.
    let kept = held.keep_fresh();
    tokio::pin!(served, kept);
    loop {
        tokio::select! {
            ended = child.wait() => return ended.map(code_of).map_err(|e| broken("waiting for the command", &e)),
            signal = told.next() => forward(&child, signal),
            () = &mut kept => {}
            () = &mut served => {}
        }
    }
}

/// Without the egress proxy nothing stands between the command and the destinations of its task.
async fn require_no_way(held: &Held<'_>, command: &Run) -> Result<(), Failure> {
    let refused = |why: String| {
        Failure::new(
            exit::USAGE,
            "run.proxy-off",
            format!("{why}, and the service has no egress proxy"),
        )
        .hint("set `proxy.listen` in the file of `serve --config`, or give --no-proxy")
    };
    if let Some(name) = command.placeholders.first() {
        return Err(refused(format!("--placeholder {name} asks for one")));
    }
    match destinations(held).await?.first() {
        Some(server) => Err(refused(format!("`{}` is a destination", server.name))),
        None => Ok(()),
    }
}

/// The destinations that the task may go to.
async fn destinations(held: &Held<'_>) -> Result<Vec<Server>, Failure> {
    let task = held.client.get::<TaskLedger>(&held.path).await?.task;
    let mut page: Page<Server> = held.client.get(&held.client.path("servers")?).await?;
    page.items.retain(|server| {
        let begin = format!("{}:", server.name);
        server.connection.starts_with(&server.endpoint)
            && task.can.iter().any(|scope| scope.starts_with(&begin))
    });
    Ok(page.items)
}

/// The service is reached without the proxy, and some clients do not look at the port: they would go to a destination
/// on its host past the proxy too, where nothing is decided, recorded or put in.
async fn warn_of_neighbours(held: &Held<'_>) {
    let (_, host) = place_of(held.client.base_url());
    // Only a warning: what cannot be asked for now is not waited for again.
    for server in in_time(destinations(held)).await.unwrap_or_default() {
        if place_of(&server.endpoint).1.eq_ignore_ascii_case(host) {
            tell(&format!(
                "warning: destination `{}` is on `{host}`, as the service is, which NO_PROXY names: some clients go there \
                 past the egress proxy and get no secret; give one of them another host name",
                server.name
            ));
        }
    }
}

/// Opens a task, or takes the one that is named.
async fn begin(client: &Client, command: &Run, told: &mut Signals) -> Result<(String, Token), Failure> {
    if command.task.starts_with(TASK_ID) {
        if !command.can.is_empty() || command.identity.is_some() {
            return Err(Failure::usage(
                "an open task has its identity and its scopes: leave out --identity and --can",
            ));
        }
        let path = client.path(&format!("tasks/{}/tokens", encoded(&command.task)))?;
        let batch: TokenBatch = in_time(client.post(&path, &TokenBatchRequest { count: 1 })).await?;
        return Ok((command.task.clone(), first(batch.tokens)?));
    }
    let identity = command.identity.clone().ok_or_else(|| {
        Failure::usage("identity is missing: who does the work?").hint("add --identity NAME")
    })?;
    let body = NewTask {
        identity,
        purpose: command.task.clone(),
        can: command.can.clone(),
        authorization_details: Vec::new(),
        for_secs: command.window.as_secs(),
        requested_by: None,
        may_act: Vec::new(),
        issue: true,
        heartbeat_secs: Some(command.heartbeat),
    };
    let path = client.path("tasks")?;
    let opened: OpenedTask = tokio::select! {
        opened = in_time(client.post(&path, &body)) => opened?,
        // Whether it was opened is not known; if so, it ends without its second heartbeat.
        signal = told.next() => {
            let text = "told to end before the task was open";
            return Err(Failure::new(code_of_signal(signal), "run.failed", text));
        }
    };
    Ok((opened.task.id, first(opened.token)?))
}

fn first(tokens: impl IntoIterator<Item = Token>) -> Result<Token, Failure> {
    tokens
        .into_iter()
        .next()
        .ok_or_else(|| Failure::new(exit::ERROR, "cli.answer", "the service issued no token"))
}

impl Held<'_> {
    /// The token to its file, whole or not at all.
    fn keep(&mut self, token: &Token) -> Result<(), Failure> {
        files::replace_private(&self.token_file, token.access_token.as_bytes())?;
        self.shown.set(&token.access_token);
        let due = Duration::from_secs((token.expires_in * 2 / 3).max(1));
        self.token_at = Instant::now() + due;
        Ok(())
    }

    async fn beat(&self) -> Result<(), Failure> {
        let path = format!("{}/heartbeat", self.path);
        self.client
            .order(&path, &TaskHeartbeat { secs: self.heartbeat })
            .await
    }

    async fn renew_token(&mut self) -> Result<(), Failure> {
        let path = format!("{}/tokens", self.path);
        let batch: TokenBatch = self.client.post(&path, &TokenBatchRequest { count: 1 }).await?;
        self.keep(&first(batch.tokens)?)
    }

    /// The heartbeat at each third of its time, the token when two thirds of its own are over; each at once again
    /// after a second when it did not come about. It does not end.
    async fn keep_fresh(&mut self) {
        let third = Duration::from_secs((self.heartbeat / 3).max(1));
        let mut beat_at = Instant::now() + third;
        loop {
            let next = beat_at.min(self.token_at);
            let _due = tokio::time::timeout_at(next, std::future::pending::<()>()).await;
            let beats = Instant::now() >= beat_at;
            let done = match beats {
                true => in_time(self.beat()).await,
                false => in_time(self.renew_token()).await,
            };
            let again = Instant::now() + Duration::from_secs(1);
            match (beats, &done) {
                (true, Ok(())) => beat_at = Instant::now() + third,
                (true, Err(_)) => beat_at = again,
                (false, Ok(())) => {}
                (false, Err(_)) => self.token_at = again,
            }
            match done {
                Ok(()) => self.said = false,
                Err(failure) if !self.said => {
                    tell(&format!(
                        "task {}: {} ({})",
                        self.task, failure.message, failure.code
                    ));
                    self.said = true;
                }
                Err(_) => {}
            }
        }
    }

    /// Whatever came of the command, its tokens are dead afterwards.
    async fn close(&self, ended: &Done) {
        let reason = match ended {
            Ok(0) => "the command ended".to_owned(),
            Ok(code) => format!("the command ended with {code}"),
            Err(failure) => format!("the command could not be run: {}", failure.code),
        };
        let path = format!("{}/close", self.path);
        let body = CloseTask { reason: Some(reason) };
        let closed = tokio::time::timeout(CLOSING, self.client.post::<_, Task>(&path, &body)).await;
        match closed {
            Ok(Ok(_)) => {}
            // An operator, or the service without a heartbeat, was faster.
            Ok(Err(failure)) if failure.code == "task.closed" => {}
            Ok(Err(failure)) => tell(&format!(
                "task {} not closed: {}; it ends without its heartbeat",
                self.task, failure.message
            )),
            Err(_) => tell(&format!(
                "task {} not closed in time; it ends without its heartbeat",
                self.task
            )),
        }
    }
}

/// `asked`, unless the service takes too long.
async fn in_time<T>(asked: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::time::timeout(ASKING, asked).await.unwrap_or_else(|_| {
        let text = format!("the service did not answer within {} s", ASKING.as_secs());
        Err(Failure::new(exit::UNREACHABLE, "cli.unreachable", text))
    })
}

/// What is passed on to the command.
struct Signals(Vec<(Option<To>, Signal)>);

impl Signals {
    fn listen() -> Result<Self, Failure> {
        // What is typed reaches the command from its terminal; here it is only not to be died of.
        let typed = std::io::stdin().is_terminal();
        let wanted = [
            (Some(To::TERM), SignalKind::terminate()),
            (Some(To::HUP), SignalKind::hangup()),
            (Some(To::USR1), SignalKind::user_defined1()),
            (Some(To::USR2), SignalKind::user_defined2()),
            ((!typed).then_some(To::INT), SignalKind::interrupt()),
            ((!typed).then_some(To::QUIT), SignalKind::quit()),
        ];
        let heard = wanted
            .into_iter()
            .map(|(to, kind)| Ok((to, signal(kind)?)))
            .collect::<std::io::Result<_>>()
            .map_err(|e| broken("listening for signals", &e))?;
        Ok(Self(heard))
    }

    /// The next one; safe to drop and ask again.
    async fn next(&mut self) -> To {
        std::future::poll_fn(|cx| {
            for (to, heard) in &mut self.0 {
                while heard.poll_recv(cx).is_ready() {
                    if let Some(to) = to {
                        return Poll::Ready(*to);
                    }
                }
            }
            Poll::Pending
        })
        .await
    }
}

fn forward(child: &Child, signal: To) {
    let pid = child.id().and_then(|id| i32::try_from(id).ok());
    if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw)
        // The command ended meanwhile: that is told by waiting for it.
        && let Err(error) = rustix::process::kill_process(pid, signal)
        && error != rustix::io::Errno::SRCH
    {
        tell(&format!("signal not passed on: {error}"));
    }
}

/// As a shell tells it: the code, or 128 and the number of the signal.
fn code_of(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let code = match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => i32::from(exit::ERROR),
    };
    u8::try_from(code).unwrap_or(exit::ERROR)
}

/// As a shell tells it, of whoever ends by a signal.
fn code_of_signal(signal: To) -> u8 {
    u8::try_from(128_i32.saturating_add(signal.as_raw())).unwrap_or(exit::ERROR)
}

fn broken(what: &str, error: &std::io::Error) -> Failure {
    Failure::new(exit::ERROR, "run.failed", format!("{what}: {error}"))
}
