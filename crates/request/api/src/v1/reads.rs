//! `POST /v1/tenants/{tenant}/servers/{name}/reads`: which tools only read, in an operator's word.

use axum::extract::State;
use axum::response::Response;
use bailiwick_base::{ServerName, ToolName};
use bailiwick_inventory as inventory;
use bailiwick_store::Tx;
use bailiwick_wire as wire;
use http::StatusCode;

use crate::Deps;
use crate::body::Strict;
use crate::command::{answer, committed};
use crate::problem::RouteError;
use crate::query::Path;
use crate::session::Session;

pub(crate) async fn say(
    State(deps): State<Deps>,
    Path((slug, named)): Path<(String, String)>,
    session: Session,
    Strict(body): Strict<wire::ReadsRequest>,
) -> Result<Response, RouteError> {
    let tenant = super::tenant(&deps, &slug)?;
    let name = ServerName::parse(&named).map_err(|_| RouteError::not_found("server"))?;
    let tools: Vec<ToolName> = body
        .tools
        .iter()
        .map(|tool| {
            ToolName::parse(tool).map_err(|e| RouteError::invalid("server.tool-unknown", e.to_string()))
        })
        .collect::<Result<_, _>>()?;
    let (doors, hinted) = (deps.clone(), body.hinted);
    let receipt = deps
        .command(
            &session,
            &tenant,
            (&format!("servers/{name}/reads"), &body),
            async move |tx: &mut Tx| {
                let server = tx
                    .server()
                    .lookup(&name)
                    .await?
                    .ok_or_else(|| RouteError::not_found("server"))?;
                let transition = inventory::say_reads(server, &tools, hinted)?;
                let shown = super::servers::to_wire(&doors, &transition.after, None);
                tx.server().apply(transition).await?;
                answer(&shown)
            },
        )
        .await?;
    Ok(committed(&receipt, StatusCode::OK))
}
