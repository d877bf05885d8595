//! Who is at the other end of the socket, as the kernel says.

use tokio::net::UnixStream;

/// The process that connected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its user.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its process id when it connected.
    pub pid: Option<i32>,
    /// The program it ran when it connected, where that can be seen.
    pub exe: Option<String>,
}

impl Peer {
    /// `SO_PEERCRED`, and the program of that process. It is read once, right after the connection: what the
    /// process runs later under the same id is not looked at.
    pub(crate) fn of(stream: &UnixStream) -> Option<Self> {
        let credentials = stream.peer_cred().ok()?;
        let pid = credentials.pid();
        // A program that was replaced on disk is shown as `… (deleted)` and so is none that a rule names.
        let exe = pid
            .and_then(|pid| std::fs::read_link(format!("/proc/{pid}/exe")).ok())
            .and_then(|path| path.into_os_string().into_string().ok());
        Some(Self {
            uid: credentials.uid(),
            gid: credentials.gid(),
            pid,
            exe,
        })
    }
}
