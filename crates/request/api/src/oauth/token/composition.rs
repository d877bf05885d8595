//! What a client states about its composition, before anything is issued to it.

use bailiwick_base::{Composition, IdentityId};
use bailiwick_inventory as inventory;
use bailiwick_store::{Actor, Context, Reach, RequestId, Tx};

use crate::Deps;
use crate::command::CommandError;
use crate::issue::Requester;
use crate::oauth::error::{OauthError, refused};
use crate::problem::RouteError;

/// Writes that a client is made of something else than its identity has declared. Nothing is issued unless that is
/// written, and it is so whatever becomes of the request: the client has said it.
pub(super) async fn settle(deps: &Deps, requester: &Requester) -> Result<(), OauthError> {
    let Requester::Client(_, identity, Some(stated)) = requester else {
        return Ok(());
    };
    let is_other = deps.cell.load().identity(identity).is_some_and(|identity| {
        let declared = identity.composition.as_ref();
        declared.is_some_and(|composed| composed.present != *stated)
    });
    if !is_other {
        return Ok(());
    }
    recompose(deps, identity, stated)
        .await
        .map_err(|error| refused(&error))
}

async fn recompose(deps: &Deps, id: &IdentityId, stated: &Composition) -> Result<(), RouteError> {
    let request = deps
        .ids
        .uuid()
        .map_err(|e| RouteError::broken("randomness failed", &e))?;
    let reach = Reach::from(id.tenant());
    let context = Context::new(reach, Actor::Identity(id.clone()), RequestId(request));
    let (id, stated) = (id.clone(), stated.clone());
    let written = deps.store.transact(context, async move |tx: &mut Tx| {
        let Some(identity) = tx.identity().lookup(&id).await? else {
            return Ok(Vec::new());
        };
        match inventory::compose(identity, stated.clone(), tx.now()) {
            Ok(transition) => tx.identity().apply(transition).await?,
            // Another request of the same client was first, or the identity is over, which the decision will say.
            Err(inventory::Refusal::CompositionUnchanged | inventory::Refusal::Retired) => {}
            Err(refusal) => return Err(CommandError::from(refusal)),
        }
        Ok(Vec::new())
    });
    written.await.map_err(RouteError::from)?;
    metrics::counter!("bailiwick_composition_changes_total").increment(1);
    Ok(())
}
