//! `/v1/operators`: who may command the installation. One operator adds another; both stand in the record.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::Response;
use bailiwick_inventory::{self as inventory, Operator, installation};
use bailiwick_store::{Reach, Tx};
use bailiwick_wire as wire;
use http::StatusCode;

use crate::Deps;
use crate::body::Strict;
use crate::claim::public_key;
use crate::command::{CommandError, answer, committed, request_digest};
use crate::problem::RouteError;
use crate::session::Session;

/// Operators of one installation.
const OPERATORS_MAX: u64 = 256;

impl Deps {
    /// Takes operators into memory. Nobody is ever removed, so whoever reads beside somebody who adds forgets nobody and
    /// counts nobody twice.
    pub(crate) fn know_operators(&self, read: &[Operator]) {
        self.operators.rcu(|known| {
            let mut all = Vec::clone(known);
            for operator in read {
                match all.iter_mut().find(|known| known.id == operator.id) {
                    Some(known) => known.clone_from(operator),
                    None => all.push(operator.clone()),
                }
            }
            Arc::new(all)
        });
    }
}

fn to_wire(deps: &Deps, operator: &Operator) -> wire::Operator {
    wire::Operator {
        id: operator.id.to_string(),
        name: operator.name.clone(),
        created_at: operator.created_at.to_string(),
        base: deps.base_url.clone(),
    }
}

pub(crate) async fn list(State(deps): State<Deps>, _: Session) -> Json<wire::Page<wire::Operator>> {
    let operators = deps.operators.load();
    Json(wire::Page::whole(
        operators.iter().map(|o| to_wire(&deps, o)).collect(),
    ))
}

pub(crate) async fn add(
    State(deps): State<Deps>,
    session: Session,
    Strict(body): Strict<wire::ClaimRequest>,
) -> Result<Response, RouteError> {
    let key = public_key(&body.public_key)?;
    let id = deps.mint(&installation())?;
    let added = inventory::add_operator(id, &body.name, key, deps.clock.now())
        .map_err(|refusal| RouteError::refused(refusal.code(), &refusal))?;
    let shown = to_wire(&deps, &added.after);
    let (operator, doors) = (added.after.clone(), deps.clone());
    let context = deps.context(&session, Reach::Installation, request_digest("operators", &body)?)?;
    let receipt = deps
        .store
        .transact(context, async move |tx: &mut Tx| {
            if tx.operator().count().await? >= OPERATORS_MAX {
                let detail = format!("more than {OPERATORS_MAX} operators");
                let refused = RouteError::invalid("operator.too-many", detail);
                return Err(CommandError::from(refused));
            }
            tx.operator().claim(added.clone()).await?;
            answer(&shown)
        })
        .await
        .map_err(|e: CommandError| RouteError::from(e))?;
    if !receipt.replayed {
        doors.know_operators(&[operator]);
    }
    Ok(committed(&receipt, StatusCode::CREATED))
}
