//! A small keep-alive HTTP/1.1 client and load generator on one thread, as `loadgen` of the floor programs,
//! but with requests that differ from each other.

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use crate::gauge::{Sample, count, micros, process_cpu};

/// A request as bytes.
pub(crate) fn request(
    method: &str,
    address: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Vec<u8> {
    let mut text = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        text.push_str(name);
        text.push_str(": ");
        text.push_str(value);
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    text.push_str(body);
    text.into_bytes()
}

/// An answer: head and body as text.
pub(crate) struct Reply {
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    body_at: usize,
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

impl Connection {
    pub(crate) async fn open(address: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address)
            .await
            .with_context(|| format!("nobody listens on {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::with_capacity(64 * 1024),
            body_at: 0,
        })
    }

    /// Sends a request and reads the whole answer; gives its status.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<u16> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let mut ends: Option<(usize, Option<usize>)> = None;
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the connection was closed");
            }
            if ends.is_none()
                && let Some(head) = find(&self.buffer, b"\r\n\r\n")
            {
                let text =
                    String::from_utf8_lossy(self.buffer.get(..head).unwrap_or_default()).to_ascii_lowercase();
                let length = text
                    .split("\r\ncontent-length:")
                    .nth(1)
                    .and_then(|rest| rest.split('\r').next()?.trim().parse::<usize>().ok());
                let chunked = text.contains("transfer-encoding: chunked");
                ends = Some((head + 4, if chunked { None } else { Some(length.unwrap_or(0)) }));
            }
            if let Some((body_at, length)) = ends {
                let done = match length {
                    Some(length) => self.buffer.len() >= body_at + length,
                    None => self.buffer.ends_with(b"0\r\n\r\n"),
                };
                if done {
                    self.body_at = body_at;
                    let status = self.buffer.get(9..12).unwrap_or_default();
                    return std::str::from_utf8(status)?.parse().context("no status");
                }
            }
        }
    }

    /// The last answer.
    pub(crate) fn reply(&self) -> Reply {
        let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
        Reply {
            head: text(self.buffer.get(..self.body_at)),
            body: text(self.buffer.get(self.body_at..)),
        }
    }

    pub(crate) fn body(&self) -> &[u8] {
        self.buffer.get(self.body_at..).unwrap_or_default()
    }
}

/// Requests, and how they are sent.
pub(crate) struct Load {
    pub(crate) address: String,
    pub(crate) connections: usize,
    pub(crate) warm: Duration,
    pub(crate) span: Duration,
    /// Sent in turn; each once only when `once`.
    pub(crate) requests: Rc<Vec<Vec<u8>>>,
    pub(crate) once: bool,
    /// Whose CPU time is counted.
    pub(crate) server: Option<u32>,
}

/// What a load run found.
pub(crate) struct Taken {
    pub(crate) per_s: f64,
    pub(crate) sample: Sample,
    /// CPU microseconds of the server for each request.
    pub(crate) cpu: f64,
}

struct Shared {
    load: Load,
    next: std::cell::Cell<usize>,
    sent: std::cell::Cell<usize>,
    started: Instant,
}

impl Load {
    /// Runs the load. Every answer has to be a success.
    pub(crate) async fn run(self) -> anyhow::Result<Taken> {
        let (warm, span) = (self.warm, self.span);
        let (connections, server) = (self.connections, self.server);
        let before = server.map(process_cpu).transpose()?;
        let shared = Rc::new(Shared {
            load: self,
            next: Default::default(),
            sent: Default::default(),
            started: Instant::now(),
        });
        let mut sample = Sample::default();
        let local = LocalSet::new();
        let workers: Vec<_> = (0..connections)
            .map(|_| local.spawn_local(worker(Rc::clone(&shared))))
            .collect();
        local.await;
        // Requests that are sent once only may end before the time does.
        let measured = shared.started.elapsed().saturating_sub(warm).min(span);
        for worker in workers {
            sample.extend(worker.await??);
        }
        let after = server.map(process_cpu).transpose()?;
        let used = match (before, after) {
            (Some(before), Some(after)) => micros(after.saturating_sub(before)),
            _ => f64::NAN,
        };
        Ok(Taken {
            per_s: count(sample.len()) / measured.as_secs_f64(),
            cpu: used / count(shared.sent.get().max(1)),
            sample,
        })
    }
}

async fn worker(shared: Rc<Shared>) -> anyhow::Result<Sample> {
    let load = &shared.load;
    let mut connection = Connection::open(&load.address).await?;
    let mut sample = Sample::default();
    while shared.started.elapsed() < load.warm + load.span {
        let turn = shared.next.replace(shared.next.get() + 1);
        if load.once && turn >= load.requests.len() {
            break;
        }
        let request = load
            .requests
            .get(turn % load.requests.len().max(1))
            .context("no request")?;
        let start = Instant::now();
        let status = connection.exchange(request).await?;
        if !(200..300).contains(&status) {
            let reply = connection.reply();
            bail!("answered {status}: {}{}", reply.head, reply.body);
        }
        shared.sent.set(shared.sent.get() + 1);
        if shared.started.elapsed() > load.warm {
            sample.push(micros(start.elapsed()));
        }
    }
    Ok(sample)
}
