//! What somebody decided for this start and has to stand in the state log.

use bailiwick_base::SealError;
use bailiwick_store::{Actor, Context, Reach, RequestId, StoreError, Tx};
use serde_json::{Value, json};

use crate::Deps;

/// That a replica which follows late may take over.
///
/// # Errors
/// When it cannot be recorded.
pub async fn note_waiver(deps: &Deps, waiver: Option<&str>) -> Result<(), StoreError> {
    let Some(text) = waiver.filter(|_| deps.store.is_shared()) else {
        return Ok(());
    };
    let actor = Actor::System("async-replica");
    note(deps, actor, "async-replica-waived", json!({ "waiver": text })).await
}

/// That plaintext is served at an address beyond loopback.
///
/// # Errors
/// When it cannot be recorded.
pub async fn note_insecure(deps: &Deps, address: &str) -> Result<(), StoreError> {
    let actor = Actor::System("insecure-listen");
    note(deps, actor, "insecure-listen", json!({ "address": address })).await
}

async fn note(deps: &Deps, actor: Actor, what: &'static str, detail: Value) -> Result<(), StoreError> {
    let request = deps
        .ids
        .uuid()
        .map_err(|_| StoreError::Seal(SealError::NotOpen))?;
    let context = Context::new(Reach::Installation, actor, RequestId(request));
    let noted = deps.store.transact(context, async move |tx: &mut Tx| {
        tx.note(what, detail.clone()).await?;
        Ok::<_, StoreError>(Vec::new())
    });
    noted.await.map(drop)
}
