//! The server's side of the launcher.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use super::program::Program;
use super::protocol::{FRAME_MAX, Frame, Kind, Reader};
use crate::ports::Spawner;

/// What a started program sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Bytes of its standard output.
    Bytes(Bytes),
    /// It ended, or was never started; why.
    Ended(String),
    /// It runs.
    Started,
}

type Programs = Mutex<BTreeMap<u64, mpsc::UnboundedSender<Output>>>;

struct Wires {
    orders: mpsc::UnboundedSender<Frame>,
    programs: Programs,
    next: AtomicU64,
}

/// A connection to the launcher process. Cheap to clone.
#[derive(Clone)]
pub struct Launcher(Arc<Wires>);

impl Launcher {
    /// Speaks to a launcher over a byte stream.
    pub fn connect<R, W>(input: R, output: W, spawner: &dyn Spawner) -> Self
    where
        R: AsyncRead + Unpin + Send + 'static,
        W: AsyncWrite + Unpin + Send + 'static,
    {
        let (orders, waiting) = mpsc::unbounded_channel();
        let wires = Arc::new(Wires {
            orders,
            programs: Mutex::default(),
            next: AtomicU64::new(1),
        });
        spawner.spawn(Box::pin(write_orders(output, waiting)));
        spawner.spawn(Box::pin(read_outputs(input, Arc::downgrade(&wires))));
        Self(wires)
    }

    /// Starts `executable` with `args` as the launcher process and speaks to it over its standard streams. The
    /// process ends when the returned child is dropped, or with the last [`Launcher`].
    ///
    /// # Errors
    /// When the process cannot be started.
    pub fn start_process(
        executable: &Path,
        args: &[&str],
        spawner: &dyn Spawner,
    ) -> std::io::Result<(Self, tokio::process::Child)> {
        let mut child = tokio::process::Command::new(executable)
            .args(args)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()?;
        let (Some(input), Some(output)) = (child.stdout.take(), child.stdin.take()) else {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        };
        Ok((Self::connect(input, output, spawner), child))
    }

    /// Orders a start. The outcome comes as the first [`Output`].
    #[must_use]
    pub fn start(&self, program: &Program) -> Process {
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        let (sender, outputs) = mpsc::unbounded_channel();
        let text = serde_json::to_vec(program).unwrap_or_default();
        self.0
            .programs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(number, sender.clone());
        if self.0.orders.send(Frame::new(Kind::Start, number, text)).is_err() {
            // Without a launcher nothing starts.
            let _ = sender.send(Output::Ended("the launcher is not running".to_owned()));
        }
        Process {
            input: Input {
                wires: Arc::clone(&self.0),
                number,
            },
            outputs,
        }
    }
}

/// A started program. Dropping its [`Input`] ends it.
pub struct Process {
    /// Its standard input.
    pub input: Input,
    /// What it sends.
    pub outputs: mpsc::UnboundedReceiver<Output>,
}

/// The standard input of a program; dropped, the program is ended with everything it started.
pub struct Input {
    wires: Arc<Wires>,
    number: u64,
}

impl Input {
    /// Sends bytes; whether the launcher still runs.
    pub fn send(&self, bytes: &Bytes) -> bool {
        let mut rest = bytes.clone();
        while !rest.is_empty() {
            let part = rest.split_to(rest.len().min(FRAME_MAX));
            if self
                .wires
                .orders
                .send(Frame::new(Kind::Input, self.number, part))
                .is_err()
            {
                return false;
            }
        }
        true
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        self.wires
            .programs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.number);
        // When the launcher is gone, so is the program.
        let _ = self
            .wires
            .orders
            .send(Frame::new(Kind::Stop, self.number, Bytes::new()));
    }
}

async fn write_orders<W: AsyncWrite + Unpin>(mut output: W, mut waiting: mpsc::UnboundedReceiver<Frame>) {
    let mut buffer = BytesMut::with_capacity(16 * 1024);
    while let Some(frame) = waiting.recv().await {
        frame.write(&mut buffer);
        while buffer.len() < 256 * 1024
            && let Ok(more) = waiting.try_recv()
        {
            more.write(&mut buffer);
        }
        if output.write_all(&buffer).await.is_err() || output.flush().await.is_err() {
            return;
        }
        buffer.clear();
    }
}

async fn read_outputs<R: AsyncRead + Unpin>(input: R, wires: std::sync::Weak<Wires>) {
    let mut reader = Reader::new(input);
    while let Ok(Some(frame)) = reader.next().await {
        let Some(wires) = wires.upgrade() else { return };
        let (output, last) = match frame.kind {
            Kind::Started => (Output::Started, false),
            Kind::Output => (Output::Bytes(frame.payload), false),
            Kind::Refused | Kind::Ended => (
                Output::Ended(String::from_utf8_lossy(&frame.payload).into_owned()),
                true,
            ),
            _ => break,
        };
        let mut programs = wires.programs.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = programs
            .get(&frame.program)
            .is_some_and(|to| to.send(output).is_err());
        if gone || last {
            programs.remove(&frame.program);
        }
    }
    let Some(wires) = wires.upgrade() else { return };
    let programs = std::mem::take(&mut *wires.programs.lock().unwrap_or_else(PoisonError::into_inner));
    for sender in programs.into_values() {
        let _ = sender.send(Output::Ended("the launcher ended".to_owned()));
    }
}
