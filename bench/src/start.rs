//! Start-up and idle memory (goal g): from exec to the first answer, in turns with bare axum.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use crate::gauge::{Sample, count, figure, resident, threads};
use crate::installation::{beside, free_port, make_private, pinned, serve};

const PATIENCE: Duration = Duration::from_secs(30);
/// How long a process is left alone before its memory is read.
const SETTLE: Duration = Duration::from_millis(400);
const CORE: usize = 1;

struct Started {
    child: Child,
    millis: f64,
}

/// Starts a command and waits for the first answer to `GET path`.
fn start(mut command: Command, port: u16, path: &str) -> anyhow::Result<Started> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let begun = Instant::now();
    let mut child = command.spawn()?;
    loop {
        if answers(port, path) {
            break;
        }
        if let Some(status) = child.try_wait()? {
            anyhow::bail!("{command:?} ended: {status}");
        }
        ensure!(begun.elapsed() < PATIENCE, "{command:?} does not answer");
        std::thread::sleep(Duration::from_micros(300));
    }
    Ok(Started {
        child,
        millis: begun.elapsed().as_secs_f64() * 1e3,
    })
}

fn answers(port: u16, path: &str) -> bool {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else {
        return false;
    };
    let request = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\nconnection: close\r\n\r\n");
    let mut answer = [0; 64];
    stream.write_all(request.as_bytes()).is_ok() && stream.read(&mut answer).is_ok_and(|read| read > 0)
}

fn stop(mut started: Started) -> anyhow::Result<()> {
    let pid = started.child.id().to_string();
    Command::new("kill").args(["-TERM", &pid]).status()?;
    started.child.wait()?;
    Ok(())
}

pub(crate) fn run(folder: &Path, limits: &Path, rounds: usize) -> anyhow::Result<()> {
    let data = folder.join("data");
    make_private(&data)?;
    let port = free_port()?;
    let base = format!("http://127.0.0.1:{port}");
    let axum = |port: u16| {
        let mut command = pinned(&limits.join("httpd"), CORE);
        command.args(["--kind", "axum", "--port", &port.to_string()]);
        command
    };
    // The first start makes the keys and the empty store; it is told apart.
    let first = start(serve(&data, port, &base, CORE)?, port, "/healthz")?;
    figure("start first", first.millis, "ms");
    stop(first)?;
    let (mut ours, mut bare) = (Sample::default(), Sample::default());
    let (mut memory, mut floor) = (Sample::default(), Sample::default());
    for _ in 0..rounds {
        let started = start(axum(port), port, "/")?;
        bare.push(started.millis);
        std::thread::sleep(SETTLE / 4);
        floor.push(resident(started.child.id())? / 1024.0 / 1024.0);
        stop(started)?;
        let started = start(serve(&data, port, &base, CORE)?, port, "/healthz")?;
        ours.push(started.millis);
        std::thread::sleep(SETTLE);
        let pid = started.child.id();
        memory.push(resident(pid)? / 1024.0 / 1024.0);
        figure("start threads", count(threads(pid)?), "threads");
        if let Some(launcher) = child_of(pid)? {
            figure(
                "start launcher memory",
                resident(launcher)? / 1024.0 / 1024.0,
                "MiB",
            );
        }
        stop(started)?;
    }
    figure("start axum", bare.quantile(0.5), "ms");
    figure("start ours", ours.quantile(0.5), "ms");
    figure("idle axum", floor.quantile(0.5), "MiB");
    figure("idle ours", memory.quantile(0.5), "MiB");
    let binary = std::fs::metadata(beside("bailiwick")?)?.len();
    #[expect(clippy::cast_precision_loss, reason = "a file's size is far below 2^52")]
    figure("binary", binary as f64 / 1024.0 / 1024.0, "MiB");
    Ok(())
}

/// The first child of a process.
fn child_of(pid: u32) -> anyhow::Result<Option<u32>> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let text = std::fs::read_to_string(&path).with_context(|| format!("no `{path}`"))?;
    Ok(text.split_whitespace().next().and_then(|word| word.parse().ok()))
}
