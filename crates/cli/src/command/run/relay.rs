//! The command's way to the egress proxy: a port on loopback that shows the task's token for it.
//!
//! A stock client knows a proxy by an URL in its environment, and a password in that URL would be a secret in the
//! environment. So the URL holds none: this relay puts the token of the moment into the first head of each connection
//! and passes everything else on as it came. Who may use the relay is who may read the token's file: the same user,
//! told by the kernel's table of connections.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bailiwick_wire::Egress;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use zeroize::Zeroizing;

use super::broken;
use crate::client::Client;
use crate::files;
use crate::output::{Failure, exit};

/// Connections of the command at once.
const CONNECTIONS_MAX: usize = 512;
/// The longest first head.
const HEAD_MAX: usize = 64 * 1024;
/// How long a first head may take, and the proxy to be connected to.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// What the command trusts.
const CA_FILE: &str = "egress-ca.pem";
/// The kernel's table of connections.
const TABLE: &str = "/proc/self/net/tcp";
/// What a connection hears that may not use this relay, or that the proxy does not take.
const FORBIDDEN: &[u8] = b"HTTP/1.1 403 Forbidden\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
const NO_PROXY: &[u8] = b"HTTP/1.1 502 Bad Gateway\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

/// The present token, shared with whoever shows it.
#[derive(Clone, Default)]
pub(super) struct Shown(Arc<Mutex<Zeroizing<String>>>);

impl Shown {
    pub(super) fn set(&self, token: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Zeroizing::new(token.to_owned());
    }

    fn line(&self) -> Zeroizing<String> {
        let token = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Zeroizing::new(format!("Proxy-Authorization: Bearer {}\r\n", token.as_str()))
    }
}

/// `host:port` of an URL, and its host.
pub(super) fn place_of(url: &str) -> (&str, &str) {
    let place = url.split_once("://").map_or(url, |(_, rest)| rest);
    let place = place.split_once('/').map_or(place, |(place, _)| place);
    let port = place.rsplit_once(':').filter(|(_, port)| !port.ends_with(']'));
    (place, port.map_or(place, |(host, _)| host))
}

/// A listening relay.
pub(super) struct Relay {
    listener: TcpListener,
    address: SocketAddrV4,
    proxy: SocketAddr,
    shown: Shown,
    ca_file: PathBuf,
}

impl Relay {
    /// Listens on loopback and writes what the command is to trust. `None` when the service has no egress proxy.
    pub(super) async fn open(
        client: &Client,
        shown: &Shown,
        folder: &Path,
        also_trust: Option<&Path>,
    ) -> Result<Option<Self>, Failure> {
        let egress: Egress = client.get(&client.path("egress")?).await?;
        let (Some(proxy), Some(mut trusted)) = (egress.proxy, egress.ca) else {
            return Ok(None);
        };
        let proxy: SocketAddr = proxy.parse().map_err(|_| {
            Failure::new(
                exit::ERROR,
                "cli.answer",
                format!("`{proxy}` is not ADDRESS:PORT"),
            )
        })?;
        if let Some(file) = also_trust {
            // Read as certificates, so that a slip is told here and not by the command.
            crate::client::certificates(file)?;
            trusted.push_str(&files::read_text(file)?);
        }
        let ca_file = folder.join(CA_FILE);
        files::replace_private(&ca_file, trusted.as_bytes())?;
        let failed = |e: std::io::Error| broken("listening for the command", &e);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        Ok(Some(Self {
            listener,
            address: SocketAddrV4::new(Ipv4Addr::LOCALHOST, port),
            proxy,
            shown: shown.clone(),
            ca_file,
        }))
    }

    /// The environment by which stock clients find the relay and trust the egress CA. No value is a secret.
    pub(super) fn furnish(&self, process: &mut Command, client: &Client) {
        let url = format!("http://{}", self.address);
        for name in ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"] {
            process.env(name, &url);
        }
        for name in ["ALL_PROXY", "all_proxy"] {
            process.env_remove(name);
        }
        // The gateway is reached without the proxy, with the token of the file.
        let (service, host) = place_of(client.base_url());
        let mut direct = service.to_owned();
        // Of an address some clients do not look at the port.
        if host.parse::<IpAddr>().is_ok() {
            direct = format!("{service},{host}");
        }
        for name in ["NO_PROXY", "no_proxy"] {
            process.env(name, &direct);
        }
        // Node's own fetch and http look at these variables only when they are told to.
        process.env("NODE_USE_ENV_PROXY", "1");
        for name in [
            "SSL_CERT_FILE",
            "NODE_EXTRA_CA_CERTS",
            "REQUESTS_CA_BUNDLE",
            "CURL_CA_BUNDLE",
            "GIT_SSL_CAINFO",
            "AWS_CA_BUNDLE",
        ] {
            process.env(name, &self.ca_file);
        }
        process.env_remove("SSL_CERT_DIR");
    }

    /// Serves for as long as it is polled.
    pub(super) async fn serve(self) {
        let mut open = FuturesUnordered::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept(), if open.len() < CONNECTIONS_MAX => {
                    if let Ok((stream, SocketAddr::V4(peer))) = accepted {
                        open.push(self.connection(stream, peer));
                    }
                }
                Some(()) = open.next(), if !open.is_empty() => {}
            }
        }
    }

    /// A connection that breaks is the command's to notice.
    async fn connection(&self, mut stream: TcpStream, peer: SocketAddrV4) {
        if !is_own(peer, self.address) {
            let _unheard = stream.write_all(FORBIDDEN).await;
            return;
        }
        let Ok(Some(head)) = tokio::time::timeout(HEAD_TIME, first_head(&mut stream)).await else {
            return;
        };
        let connected = tokio::time::timeout(HEAD_TIME, TcpStream::connect(self.proxy)).await;
        let Ok(Ok(mut proxy)) = connected else {
            let _unheard = stream.write_all(NO_PROXY).await;
            return;
        };
        let _slower = (stream.set_nodelay(true), proxy.set_nodelay(true));
        if proxy.write_all(&with_token(&head, &self.shown)).await.is_ok() {
            let _ended = copy_bidirectional(&mut stream, &mut proxy).await;
        }
    }
}

/// Everything up to and behind the first empty line, as far as it came with it.
async fn first_head(stream: &mut TcpStream) -> Option<Zeroizing<Vec<u8>>> {
    let mut head = Zeroizing::new(Vec::with_capacity(4 * 1024));
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        if head.len() >= HEAD_MAX || stream.read_buf(&mut *head).await.ok()? == 0 {
            return None;
        }
    }
    Some(head)
}

/// The token's line behind the request line.
fn with_token(head: &[u8], shown: &Shown) -> Zeroizing<Vec<u8>> {
    let first = head
        .windows(2)
        .position(|two| two == b"\r\n")
        .map_or(head.len(), |at| at + 2);
    let (line, rest) = head.split_at(first.min(head.len()));
    let token = shown.line();
    let mut out = Zeroizing::new(Vec::with_capacity(head.len() + token.len()));
    out.extend_from_slice(line);
    out.extend_from_slice(token.as_bytes());
    out.extend_from_slice(rest);
    out
}

/// Whether the other end of a connection to `own` belongs to this user.
fn is_own(peer: SocketAddrV4, own: SocketAddrV4) -> bool {
    let table = std::fs::read_to_string(TABLE).unwrap_or_default();
    let user = rustix::process::geteuid().as_raw();
    owner_of(&table, peer, own) == Some(user)
}

/// The user of the connection from `local` to `remote`. Columns: number, local, remote, state, queues, timer,
/// retransmits, user (proc_pid_net(5)).
fn owner_of(table: &str, local: SocketAddrV4, remote: SocketAddrV4) -> Option<u32> {
    let written = |a: SocketAddrV4| format!("{:08X}:{:04X}", u32::from_le_bytes(a.ip().octets()), a.port());
    let (local, remote) = (written(local), written(remote));
    table.lines().find_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let found = words.nth(1)? == local && words.next()? == remote;
        found.then(|| words.nth(4)?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_stands_behind_the_request_line_and_nothing_else_changes() {
        let shown = Shown::default();
        shown.set("abc");
        let head = b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\nrest";
        let sent = with_token(head, &shown);
        assert_eq!(
            sent.as_slice(),
            b"CONNECT a.example:443 HTTP/1.1\r\nProxy-Authorization: Bearer abc\r\nHost: a.example:443\r\n\r\nrest"
        );
    }

    #[tokio::test]
    async fn the_kernel_tells_whose_a_connection_is() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let SocketAddr::V4(own) = listener.local_addr().unwrap() else {
            panic!("IPv4 was asked for")
        };
        let _client = TcpStream::connect(own).await.unwrap();
        let (_stream, peer) = listener.accept().await.unwrap();
        let SocketAddr::V4(peer) = peer else {
            panic!("IPv4 was asked for")
        };
        assert!(is_own(peer, own));
        let stranger = SocketAddrV4::new(*peer.ip(), peer.port().wrapping_add(1));
        assert!(!is_own(stranger, own), "no such connection");
        let line = "   7: 0100007F:1F90 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1001        0 4242 1";
        let at = |port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        assert_eq!(owner_of(line, at(8080), at(50_000)), Some(1001));
        assert_eq!(owner_of(line, at(50_000), at(8080)), None, "the other direction");
    }
}
