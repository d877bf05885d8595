//! `GET /.well-known/authzen-configuration/t/{tenant}`

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use crate::Deps;
use crate::oauth::metadata::served;
use crate::problem::RouteError;
use crate::query::Path;

pub(crate) async fn handler(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
) -> Result<Json<Value>, RouteError> {
    let tenant = served(&deps, &slug)?;
    let decision_point = deps.issuer(&tenant);
    Ok(Json(json!({
        "policy_decision_point": decision_point,
        "access_evaluation_endpoint": format!("{decision_point}/access/v1/evaluation"),
        "access_evaluations_endpoint": format!("{decision_point}/access/v1/evaluations"),
    })))
}
