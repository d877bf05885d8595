//! The socket itself.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// Every process of the machine may connect; who it is, the kernel says.
const MODE: u32 = 0o666;

/// The socket cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Something went wrong there.
    #[error("config key `spiffe.socket`: `{}` cannot be made: {}", .0.display(), .1)]
    Io(PathBuf, io::Error),
    /// There is something else.
    #[error("config key `spiffe.socket`: `{}` is there and is no socket: name another place", .0.display())]
    NoSocket(PathBuf),
}

/// Listens at `path`, where there is one, in the place of a socket that a life before this one left there.
///
/// # Errors
/// [`SocketError`].
pub fn bind(path: Option<&Path>) -> Result<Option<UnixListener>, SocketError> {
    let Some(path) = path else {
        return Ok(None);
    };
    let failed = |error| SocketError::Io(path.to_owned(), error);
    match std::fs::symlink_metadata(path) {
        Ok(there) if there.file_type().is_socket() => std::fs::remove_file(path).map_err(failed)?,
        Ok(_) => return Err(SocketError::NoSocket(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error)),
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(MODE)).map_err(failed)?;
    Ok(Some(listener))
}
