//! The socket through which the first operator claims the data folder.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context;
use axum::Router;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

pub(crate) fn bind(data: &Path) -> anyhow::Result<UnixListener> {
    let path = data.join("claim.sock");
    if path.exists() {
        fs::remove_file(&path)
            .with_context(|| format!("old socket `{}` cannot be removed", path.display()))?;
    }
    // The folder is 0700 already; the socket is narrowed as well.
    let listener = UnixListener::bind(&path).with_context(|| {
        format!(
            "socket `{}` cannot be made: is the path shorter than 100 bytes?",
            path.display()
        )
    })?;
    fs::set_permissions(&path, Permissions::from_mode(0o600))
        .with_context(|| format!("socket `{}` cannot be narrowed", path.display()))?;
    Ok(listener)
}

pub(crate) async fn serve(listener: UnixListener, router: Router, stop: CancellationToken) {
    let served = axum::serve(listener, router).with_graceful_shutdown(async move { stop.cancelled().await });
    if let Err(error) = served.await {
        tracing::error!(%error, "the claim socket ended");
    }
}
