//! The launcher process itself.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsRawFd;
use std::pin::pin;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::program::Program;
use super::protocol::{Frame, Kind, Reader};

/// Programs at once.
const PROGRAMS_MAX: usize = 256;
/// How long the end of a program is waited for once its output is closed.
const LAST_WORDS: Duration = Duration::from_millis(500);
/// Frames that wait for one program's standard input.
const WAITING_MAX: usize = 1_024;

enum Order {
    Input(Bytes),
}

/// Runs the launcher over a byte stream until the stream ends, then ends every program it started.
///
/// # Errors
/// When the stream breaks or carries something else than launcher frames.
pub async fn serve<R, W>(input: R, output: W) -> io::Result<()>
where
    R: AsyncRead + Unpin + Send,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let mut reader = Reader::new(input);
    let (frames, waiting) = mpsc::channel(64);
    let mut work = JoinSet::new();
    work.spawn(write_frames(output, waiting));
    // Dropping a sender ends its program, so leaving this function ends them all.
    let mut running: BTreeMap<u64, mpsc::Sender<Order>> = BTreeMap::new();
    let mut programs = JoinSet::new();
    let ended = loop {
        let frame = match reader.next().await {
            Ok(Some(frame)) => frame,
            Ok(None) => break Ok(()),
            Err(e) => break Err(e),
        };
        running.retain(|_, orders| !orders.is_closed());
        while programs.try_join_next().is_some() {}
        match frame.kind {
            Kind::Start => {
                let (orders, taken) = mpsc::channel(WAITING_MAX);
                let full = running.len() >= PROGRAMS_MAX;
                running.insert(frame.program, orders);
                programs.spawn(run(frame, taken, frames.clone(), full));
            }
            Kind::Input => {
                let sent = running
                    .get(&frame.program)
                    .map(|orders| orders.try_send(Order::Input(frame.payload)));
                if matches!(sent, Some(Err(_))) {
                    running.remove(&frame.program);
                }
            }
            Kind::Stop => {
                running.remove(&frame.program);
            }
            _ => {
                break Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "a frame for the other side",
                ));
            }
        }
    };
    drop(running);
    drop(frames);
    while programs.join_next().await.is_some() {}
    work.abort_all();
    ended
}

async fn write_frames<W: AsyncWrite + Unpin>(mut output: W, mut waiting: mpsc::Receiver<Frame>) {
    let mut buffer = BytesMut::with_capacity(16 * 1024);
    while let Some(frame) = waiting.recv().await {
        frame.write(&mut buffer);
        while let Ok(more) = waiting.try_recv() {
            more.write(&mut buffer);
            if buffer.len() > 256 * 1024 {
                break;
            }
        }
        if output.write_all(&buffer).await.is_err() || output.flush().await.is_err() {
            return;
        }
        buffer.clear();
    }
}

async fn run(start: Frame, orders: mpsc::Receiver<Order>, frames: mpsc::Sender<Frame>, full: bool) {
    let number = start.program;
    let started = if full {
        Err("too many programs run already".to_owned())
    } else {
        launch(start.payload).await
    };
    let mut child = match started {
        Ok(child) => child,
        Err(reason) => {
            let _ = frames.send(Frame::new(Kind::Refused, number, reason)).await;
            return;
        }
    };
    let group = child.id();
    let _ = frames.send(Frame::new(Kind::Started, number, Bytes::new())).await;
    let why = carry(&mut child, number, orders, &frames).await;
    end_group(group);
    let _ = child.start_kill();
    let _ = child.wait().await;
    let _ = frames.send(Frame::new(Kind::Ended, number, why)).await;
}

/// Carries the streams until the program or its user ends.
async fn carry(
    child: &mut Child,
    number: u64,
    orders: mpsc::Receiver<Order>,
    frames: &mpsc::Sender<Frame>,
) -> String {
    let (Some(stdin), Some(stdout), Some(stderr)) =
        (child.stdin.take(), child.stdout.take(), child.stderr.take())
    else {
        return "its streams are not open".to_owned();
    };
    let last_words = Mutex::new(String::new());
    let mut fed = pin!(feed(stdin, orders));
    let mut collected = pin!(collect(stdout, number, frames));
    let mut drained = pin!(drain(stderr, &last_words));
    let mut silent = false;
    loop {
        tokio::select! {
            () = &mut fed => return "stopped".to_owned(),
            () = &mut collected => break,
            () = &mut drained, if !silent => silent = true,
        }
    }
    // Its output is closed; what it said last and how it ended arrive at about the same time.
    if !silent {
        let _ = tokio::time::timeout(LAST_WORDS, drained).await;
    }
    let status = tokio::time::timeout(LAST_WORDS, child.wait()).await;
    let status = status
        .ok()
        .and_then(Result::ok)
        .map_or_else(|| "closed its output".to_owned(), |s| s.to_string());
    let words = last_words.lock().unwrap_or_else(PoisonError::into_inner);
    if words.is_empty() {
        status
    } else {
        format!("{status}; its last words: {words}")
    }
}

async fn feed(mut stdin: ChildStdin, mut orders: mpsc::Receiver<Order>) {
    while let Some(Order::Input(bytes)) = orders.recv().await {
        if stdin.write_all(&bytes).await.is_err() || stdin.flush().await.is_err() {
            // The program reads no more; its output tells when it ends.
            while orders.recv().await.is_some() {}
            return;
        }
    }
}

async fn collect(mut stdout: ChildStdout, number: u64, frames: &mpsc::Sender<Frame>) {
    let mut buffer = BytesMut::with_capacity(64 * 1024);
    loop {
        buffer.reserve(16 * 1024);
        match stdout.read_buf(&mut buffer).await {
            Ok(count) if count > 0 => {
                let bytes = buffer.split().freeze();
                if frames
                    .send(Frame::new(Kind::Output, number, bytes))
                    .await
                    .is_err()
                {
                    return;
                }
            }
            _ => return,
        }
    }
}

/// Reads standard error so that the program never waits for it, and keeps the last line.
async fn drain(stderr: ChildStderr, last_words: &Mutex<String>) {
    let mut lines = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut lines).take(4_096).read_until(b'\n', &mut line).await;
        if !matches!(read, Ok(count) if count > 0) {
            return;
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim();
        if !text.is_empty() {
            *last_words.lock().unwrap_or_else(PoisonError::into_inner) = bailiwick_base::limits::shown(text);
        }
    }
}

async fn launch(payload: Bytes) -> Result<Child, String> {
    let program: Program = bailiwick_base::json::parse_as(&payload, 256 * 1024)
        .map_err(|e| format!("the order is malformed: {e}"))?;
    let verified = tokio::task::spawn_blocking(move || program.open_verified().map(|file| (file, program)));
    let (file, program) = verified
        .await
        .map_err(|e| e.to_string())?
        .map_err(|e| e.to_string())?;
    // What was digested is started, whatever the path names by now. The descriptor closes as the program starts.
    Command::new(format!("/proc/self/fd/{}", file.as_raw_fd()))
        .arg0(&program.path)
        .args(&program.args)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| {
            format!(
                "program `{}` does not start: {}",
                bailiwick_base::limits::shown(&program.path),
                e.kind()
            )
        })
}

/// Ends the program and whatever it started.
fn end_group(leader: Option<u32>) {
    let group = leader
        .and_then(|id| i32::try_from(id).ok())
        .and_then(rustix::process::Pid::from_raw);
    if let Some(group) = group {
        // The group may be gone already.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}
