//! `PUT /v1/tenants/{tenant}/identities/{id}/composition`

use axum::extract::State;
use axum::response::Response;
use bailiwick_base::{Composition, Digest};
use bailiwick_inventory::{self as inventory, Composed};
use bailiwick_store::Tx;
use bailiwick_wire as wire;
use http::StatusCode;

use super::identities;
use crate::Deps;
use crate::body::Strict;
use crate::command::{answer, committed};
use crate::problem::RouteError;
use crate::query::Path;
use crate::session::Session;

pub(crate) async fn declare(
    State(deps): State<Deps>,
    Path((slug, named)): Path<(String, String)>,
    session: Session,
    Strict(body): Strict<wire::Composition>,
) -> Result<Response, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let id = super::identity(&deps, &tenant, &named)?;
    let composition = from_wire(&body)?;
    let asked = format!("identities/{id}/composition");
    let doors = deps.clone();
    let receipt = deps
        .command(&session, &tenant, (&asked, &body), async move |tx: &mut Tx| {
            let identity = tx
                .identity()
                .lookup(&id)
                .await?
                .ok_or_else(|| RouteError::not_found("identity"))?;
            let transition = inventory::compose(identity, composition.clone(), tx.now())?;
            let shown = identities::to_wire(&doors, &transition.after);
            tx.identity().apply(transition).await?;
            answer(&shown)
        })
        .await?;
    Ok(committed(&receipt, StatusCode::OK))
}

fn from_wire(body: &wire::Composition) -> Result<Composition, RouteError> {
    let value = serde_json::to_value(body).map_err(|e| RouteError::broken("composition not read", &e))?;
    Composition::from_json(&value).map_err(|e| RouteError::invalid("composition.malformed", e.to_string()))
}

pub(super) fn digest(text: &str) -> Result<Digest, RouteError> {
    let rule = "`composition` has to be a digest as `id get` shows it, 43 characters of base64url";
    Digest::from_base64url(text).ok_or_else(|| RouteError::invalid("composition.malformed", rule))
}

pub(crate) fn to_wire(composed: &Composed) -> wire::Composed {
    wire::Composed {
        digest: composed.present.digest().to_base64url(),
        parts: parts(&composed.present),
        since: composed.since.to_string(),
        former: composed.former.as_ref().map(parts),
    }
}

fn parts(composition: &Composition) -> wire::Composition {
    let of = |name: &str| {
        let mut parts = composition.parts();
        parts
            .find(|(part, _)| *part == name)
            .map(|(_, digest)| digest.to_base64url())
    };
    wire::Composition {
        code: of("code"),
        model: of("model"),
        prompt: of("prompt"),
        tools: of("tools"),
    }
}
