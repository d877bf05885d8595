//! `GET /v1/tenants/{tenant}/egress`: where the egress proxy is, and what its certificates stand on.

use axum::Json;
use axum::extract::State;
use bailiwick_wire as wire;

use crate::Deps;
use crate::problem::RouteError;
use crate::query::Path;
use crate::session::Session;

pub(crate) async fn find(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    _: Session,
) -> Result<Json<wire::Egress>, RouteError> {
    super::tenant(&deps, &slug)?;
    Ok(Json(deps.egress.clone()))
}
