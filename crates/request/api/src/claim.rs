//! The data folder's socket: `POST /claim`, the first operator, which is never on a network, and the stops, so that
//! a kill works when nobody gets through to the listener.

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use bailiwick_base::{OperatorId, PublicKey};
use bailiwick_inventory::{self as inventory, installation};
use bailiwick_store::{Actor, Context, Reach, RequestId, Tx};
use bailiwick_wire as wire;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;

use crate::Deps;
use crate::body::Strict;
use crate::command::{CommandError, answer, committed};
use crate::problem::RouteError;
use crate::table::Doors;

/// The socket's routes. A stop needs an operator's session here as on the network, and goes the same way.
pub fn claim_router(deps: Deps) -> Router {
    let stops = crate::stop_doors(Doors::default()).router;
    stops.route("/claim", post(claim)).with_state(deps)
}

async fn claim(
    State(deps): State<Deps>,
    Strict(body): Strict<wire::ClaimRequest>,
) -> Result<Response, RouteError> {
    let key = public_key(&body.public_key)?;
    let id: OperatorId = deps
        .ids
        .mint(&installation())
        .map_err(|e| RouteError::broken("randomness failed", &e))?;
    let transition = inventory::claim(id, &body.name, key, deps.clock.now())
        .map_err(|refusal| RouteError::refused(refusal.code(), &refusal))?;
    let request = deps
        .ids
        .uuid()
        .map_err(|e| RouteError::broken("randomness failed", &e))?;
    let context = Context::new(
        Reach::Installation,
        Actor::System("claim-socket"),
        RequestId(request),
    );
    let shown = wire::Operator {
        id: transition.after.id.to_string(),
        name: transition.after.name.clone(),
        created_at: transition.after.created_at.to_string(),
        base: deps.base_url.clone(),
    };
    let claimed = transition.after.clone();
    let receipt = deps
        .store
        .transact(context, async move |tx: &mut Tx| {
            // The socket registers the first operator only; there is no way yet to add others.
            if tx.operator().count().await? > 0 {
                return Err(CommandError::from(already()));
            }
            tx.operator().claim(transition.clone()).await?;
            answer(&shown)
        })
        .await
        .map_err(RouteError::from)?;
    deps.know_operators(&[claimed]);
    Ok(committed(&receipt, StatusCode::CREATED))
}

/// The key of an operator.
pub(crate) fn public_key(text: &str) -> Result<[u8; 32], RouteError> {
    URL_SAFE_NO_PAD
        .decode(text)
        .ok()
        .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
        // A point of low order verifies signatures that nobody made.
        .filter(|bytes| PublicKey::ed25519(*bytes).is_ok())
        .ok_or_else(|| {
            RouteError::invalid(
                "claim.public-key",
                "`public_key` is not an Ed25519 key: 32 bytes in base64url without padding",
            )
        })
}

fn already() -> RouteError {
    RouteError::new(
        StatusCode::CONFLICT,
        "claim.done",
        "this installation has an operator already",
    )
    .hint("use the context file that the first claim wrote: --context FILE")
}
