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
    CloseTask, NewTask, OpenedTask, Task, TaskHeartbeat, Token, TokenBatch, TokenBatchRequest,
};
use rustix::process::Signal as To;
use tokio::process::Child;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::MissedTickBehavior;

pub(super) use self::child::become_command;
use self::relay::{Relay, Shown};
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

/// A task with a token that is kept fresh.
struct Held<'a> {
    client: &'a Client,
    task: String,
    /// Requests of the task, `/v1/tenants/…/tasks/{id}`.
    path: String,
    token_file: PathBuf,
    shown: Shown,
    heartbeat: u64,
    /// Seconds the present token lives.
    expires_in: u64,
    /// Seconds since it was issued.
    age: u64,
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
    let (task, token) = begin(&client, &command).await?;
    let mut held = Held {
        path: client.path(&format!("tasks/{}", encoded(&task)))?,
        client: &client,
        task,
        token_file: folder.path().join(TOKEN_FILE),
        shown: Shown::default(),
        heartbeat: command.heartbeat,
        expires_in: 0,
        age: 0,
        said: false,
    };
    output.note(&format!("task {}", held.task));
    let ended = attend(&mut held, token, &command, folder.path()).await;
    held.close(&ended).await;
    ended
}

/// From the first token to the end of the command.
async fn attend(held: &mut Held<'_>, token: Token, command: &Run, folder: &Path) -> Done {
    held.keep(&token)?;
    held.beat().await?;
    let mut told = Signals::listen()?;
    let relay = match command.no_proxy {
        true => None,
        false => Relay::open(held.client, &held.shown, folder, command.also_trust.as_deref()).await?,
    };
    let mut child = child::start(command, held, relay.as_ref())?;
    let served = async {
        if let Some(relay) = relay {
            relay.serve().await;
        }
        std::future::pending::<()>().await;
    };
    tokio::pin!(served);
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            ended = child.wait() => return ended.map(code_of).map_err(|e| broken("waiting for the command", &e)),
            signal = told.next() => forward(&child, signal),
            _ = second.tick() => held.tick().await,
            () = &mut served => {}
        }
    }
}

/// Opens a task, or takes the one that is named.
async fn begin(client: &Client, command: &Run) -> Result<(String, Token), Failure> {
    if command.task.starts_with(TASK_ID) {
        if !command.can.is_empty() || command.identity.is_some() {
            return Err(Failure::usage(
                "an open task has its identity and its scopes: leave out --identity and --can",
            ));
        }
        let path = client.path(&format!("tasks/{}/tokens", encoded(&command.task)))?;
        let batch: TokenBatch = client.post(&path, &TokenBatchRequest { count: 1 }).await?;
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
    };
    let opened: OpenedTask = client.post(&client.path("tasks")?, &body).await?;
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
        (self.expires_in, self.age) = (token.expires_in, 0);
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

    /// Once a second: the heartbeat at a third of its time, the token when two thirds of its time are over.
    async fn tick(&mut self) {
        self.age += 1;
        let mut done = Ok(());
        if self.age.is_multiple_of((self.heartbeat / 3).max(1)) {
            done = self.beat().await;
        }
        if done.is_ok() && self.age >= (self.expires_in * 2 / 3).max(1) {
            done = self.renew_token().await;
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

fn broken(what: &str, error: &std::io::Error) -> Failure {
    Failure::new(exit::ERROR, "run.failed", format!("{what}: {error}"))
}
