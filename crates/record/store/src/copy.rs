//! A whole copy of the store, made beside a service that runs on it.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::engine::{Engine, Failure, StoreConfig};
use crate::error::StoreError;
use crate::row::args;

/// One transaction's view of everything, as a file that needs no other.
const COPY: &str = "VACUUM INTO $1";

/// Copies the store to the new file `to`, as it is at one moment; the service goes on meanwhile.
///
/// # Errors
/// [`StoreError::Unavailable`] for a store on a server, which has its own tools for that; else what the engine says.
pub async fn copy_to(config: &StoreConfig, to: &Path) -> Result<(), StoreError> {
    let failed = |detail: String| StoreError::Unavailable { detail };
    if !config.is_embedded() {
        return Err(failed(
            "a store on a server is copied with that server's tools".to_owned(),
        ));
    }
    let path = to
        .to_str()
        .ok_or_else(|| failed("the path of the copy is not UTF-8".to_owned()))?;
    let mut conn = Engine::inspect(config).await?.connect().await?;
    let copied = conn.execute(COPY, args![path]).await.map_err(Failure::into_error);
    conn.close().await;
    copied?;
    let make_durable = || {
        std::fs::set_permissions(to, std::fs::Permissions::from_mode(0o600))?;
        std::fs::File::open(to)?.sync_all()
    };
    make_durable().map_err(|error: std::io::Error| StoreError::Unreadable {
        path: to.to_owned(),
        detail: error.kind().to_string(),
    })
}
