//! `/v1/tenants/{tenant}/policies`

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use bailiwick_base::Digest;
use bailiwick_store::Tx;
use bailiwick_wire as wire;
use http::StatusCode;

use crate::Deps;
use crate::body::Strict;
use crate::command::{answer, committed, store_error};
use crate::problem::RouteError;
use crate::query::Path;
use crate::session::Session;

/// Replaces the tenant's policies; refused with line and column when they do not fit the schema.
pub(crate) async fn write(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    session: Session,
    Strict(body): Strict<wire::PolicyText>,
) -> Result<Response, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    bailiwick_decide::policy::validate(&body.cedar)
        .map_err(|e| RouteError::new(StatusCode::UNPROCESSABLE_ENTITY, "policy.invalid", e.to_string()))?;
    let digest = Digest::of(body.cedar.as_bytes()).to_string();
    let text = body.cedar.clone();
    let receipt = deps
        .command(
            &session,
            &tenant,
            ("policies", &body),
            async move |tx: &mut Tx| {
                tx.policy().replace(&text).await?;
                answer(&wire::PolicyWritten {
                    position: tx.position().0,
                    digest: digest.clone(),
                })
            },
        )
        .await?;
    Ok(committed(&receipt, StatusCode::OK))
}

pub(crate) async fn read(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    _: Session,
) -> Result<Json<wire::PolicyText>, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let mut reader = deps.store.reader(&tenant).await.map_err(|e| store_error(&e))?;
    let latest = reader.policy().latest().await.map_err(|e| store_error(&e))?;
    Ok(Json(wire::PolicyText {
        cedar: latest.map(|set| set.body.to_string()).unwrap_or_default(),
    }))
}
