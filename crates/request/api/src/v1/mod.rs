//! Administration (PAP): every command is one transaction with its own entry in the state log.

mod arguments;
pub(crate) mod check;
pub(crate) mod clients;
pub(crate) mod composition;
pub(crate) mod consents;
pub(crate) mod count;
pub(crate) mod credential_change;
pub(crate) mod credentials;
pub(crate) mod egress;
pub(crate) mod identities;
pub(crate) mod keys;
pub(crate) mod kill;
pub(crate) mod logs;
pub(crate) mod marks;
pub(crate) mod nodes;
pub(crate) mod operators;
mod place;
pub(crate) mod policies;
pub(crate) mod prune;
pub(crate) mod public_clients;
pub(crate) mod reads;
pub(crate) mod receipts;
pub(crate) mod server_credential;
pub(crate) mod servers;
pub(crate) mod sidecars;
pub(crate) mod subscriptions;
pub(crate) mod tasks;
pub(crate) mod tenants;
pub(crate) mod transmitters;
pub(crate) mod trusts;
pub(crate) mod webhooks;

use bailiwick_base::{IdentityId, TenantId, Time, nearest};
use bailiwick_inventory::Owner;

use crate::Deps;
use crate::problem::RouteError;

/// The tenant of the path, when it exists.
pub(crate) fn tenant(deps: &Deps, slug: &str) -> Result<TenantId, RouteError> {
    let tenant = TenantId::parse(slug).map_err(|e| RouteError::invalid("tenant.malformed", e.to_string()))?;
    if deps.cell.load().tenant(&tenant).is_some() {
        Ok(tenant)
    } else {
        Err(RouteError::not_found("tenant"))
    }
}

/// An identity by id, or by the name of a living one.
pub(crate) fn identity(deps: &Deps, tenant: &TenantId, named: &str) -> Result<IdentityId, RouteError> {
    let snapshot = deps.cell.load();
    if let Ok(id) = IdentityId::parse(tenant, named)
        && snapshot.identity(&id).is_some()
    {
        return Ok(id);
    }
    let mut found: Vec<_> = snapshot.identities(tenant).filter(|i| i.name == named).collect();
    found.sort_by_key(|i| i.state.as_str() == "retired");
    match found.first() {
        Some(identity) => Ok(identity.id.clone()),
        None => {
            let near = nearest(named, snapshot.identities(tenant).map(|i| i.name.as_str()));
            let error = RouteError::not_found("identity");
            Err(match near {
                Some(near) => error.hint(format!("did you mean `{near}`?")),
                None => error.hint(format!(
                    "list them with `bailiwick -t {tenant} id ls`, or add it with `bailiwick -t {tenant} id add`"
                )),
            })
        }
    }
}

/// The name of an identity, for people.
pub(crate) fn name_of(deps: &Deps, id: &IdentityId) -> Option<String> {
    deps.cell
        .load()
        .identity(id)
        .map(|identity| identity.name.clone())
}

pub(crate) fn time(field: &str, text: &str) -> Result<Time, RouteError> {
    Time::parse(text).map_err(|e| RouteError::invalid("request.time", format!("`{field}`: {e}")))
}

pub(crate) fn owner(owner: Option<bailiwick_wire::Owner>) -> Option<Owner> {
    owner.map(|o| Owner {
        team: o.team,
        contact: o.contact,
    })
}
