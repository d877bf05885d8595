//! `GET /.well-known/ssf-configuration/t/{tenant}`

use axum::Json;
use axum::extract::State;
use serde_json::Value;

use crate::Deps;
use crate::oauth::metadata::served;
use crate::problem::RouteError;
use crate::query::Path;

pub(crate) async fn handler(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
) -> Result<Json<Value>, RouteError> {
    let tenant = served(&deps, &slug)?;
    Ok(Json(bailiwick_signals::metadata(&deps.issuer(&tenant))))
}
