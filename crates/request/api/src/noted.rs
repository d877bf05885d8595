//! What somebody decided for this start and has to stand in the state log.

use bailiwick_base::SealError;
use bailiwick_store::{Actor, Context, Reach, RequestId, StoreError, Tx};
use serde_json::{Value, json};

use crate::Deps;

/// That a replica which follows late may take over, and that the decision log of this node is held as it is.
///
/// # Errors
/// When it cannot be recorded.
pub async fn note_settings(deps: &Deps, waiver: Option<&str>) -> Result<(), StoreError> {
    if let Some(text) = waiver.filter(|_| deps.store.is_shared()) {
        let actor = Actor::System("async-replica");
        note(deps, actor, "async-replica-waived", json!({ "waiver": text })).await?;
    }
    if let (_, Some(text)) = deps.pruning.shown() {
        let detail = json!({ "node": deps.nodes.node.to_string(), "hold": text });
        note(deps, Actor::System("legal-hold"), "log.hold", detail).await?;
    }
    Ok(())
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
