//! `/v1/tenants/{tenant}/keys`

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use bailiwick_credential::signing_key::{SigningKey, SigningState};
use bailiwick_store::Reach;
use bailiwick_wire as wire;
use http::StatusCode;

use crate::Deps;
use crate::body::Strict;
use crate::command::{CommandError, answer, committed, request_digest};
use crate::problem::RouteError;
use crate::query::Path;
use crate::session::Session;
use crate::signing_keys::{self, Wanted};

/// Which key signs, which is next, which are still published, and when that changes.
pub(crate) async fn status(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    _: Session,
) -> Result<Json<wire::KeyStatus>, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let snapshot = deps.cell.load();
    Ok(Json(to_wire(&deps, snapshot.signing_keys(&tenant))))
}

/// Lets the next key sign now.
pub(crate) async fn rotate(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    session: Session,
    Strict(body): Strict<wire::RotateKey>,
) -> Result<Response, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let context = deps.context(
        &session,
        Reach::from(&tenant),
        request_digest("keys/rotate", &body)?,
    )?;
    let wanted = Wanted {
        compromised: body.now,
        reason: body.reason.clone().unwrap_or_default(),
    };
    let receipt = signing_keys::rotate(&deps, context, wanted, shown).await?;
    // The key after that; where it cannot be made now, the schedule makes it later.
    if let Err(error) = signing_keys::advance(&deps, &tenant).await {
        tracing::warn!(%tenant, error = error.detail(), "no next signing key yet");
    }
    Ok(committed(&receipt, StatusCode::OK))
}

fn shown(deps: &Deps, keys: &[SigningKey]) -> Result<Vec<u8>, CommandError> {
    answer(&to_wire(deps, keys))
}

fn to_wire(deps: &Deps, keys: &[SigningKey]) -> wire::KeyStatus {
    let text = |time: Option<bailiwick_base::Time>| time.map(|t| t.to_string());
    let mut items: Vec<_> = keys.iter().collect();
    items.sort_by_key(|key| key.state());
    let last = keys
        .iter()
        .filter(|key| key.state() == SigningState::Active)
        .find_map(|key| Some((key.active_from?, key.entry?)));
    wire::KeyStatus {
        items: items
            .into_iter()
            .map(|key| wire::SigningKey {
                kid: key.kid.clone(),
                algorithm: key.algorithm.to_string(),
                holder: key.holder.to_string(),
                state: key.state().as_str().to_owned(),
                created_at: key.created_at.to_string(),
                active_from: text(key.active_from),
                retired_at: text(key.retired_at),
                published_until: text(key.published_until().filter(|_| key.removed_at.is_none())),
                removed_at: text(key.removed_at),
                compromised: key.floor.is_some(),
            })
            .collect(),
        next_rotation_at: text(deps.signing.schedule.due_at(keys)),
        rotation_possible_at: text(deps.signing.schedule.ready_at(keys)),
        last_rotation: last.map(|(at, entry)| wire::KeyRotation {
            at: at.to_string(),
            entry,
        }),
    }
}
