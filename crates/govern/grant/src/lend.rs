//! Whether a grant says that its task may hold leases of a credential.

use bailiwick_credential::LEASE_SCOPE;

use crate::model::{Condition, Grant, Literal, Operator, Scope};

/// The argument that the scope speaks of: `credential:lease(name = "orders-db")`.
const NAME: &str = "name";

/// Whether `grant` holds `credential:lease` for the credential `name`. A condition on anything else, or in another
/// form, holds for nothing.
#[must_use]
pub fn lends(grant: &Grant, name: &str) -> bool {
    grant.scopes.iter().any(|scope| scope_lends(scope, name))
}

fn scope_lends(scope: &Scope, name: &str) -> bool {
    let (server, action) = LEASE_SCOPE;
    scope.server.as_str() == server
        && scope.action.as_ref().is_none_or(|a| a.as_str() == action)
        && scope.rate.is_none()
        && scope.conditions.iter().all(|condition| names(condition, name))
}

fn names(condition: &Condition, name: &str) -> bool {
    condition.arg == NAME
        && matches!(condition.operator, Operator::Equal | Operator::In)
        && condition
            .values
            .iter()
            .any(|value| matches!(value, Literal::Text(text) if text == name))
}
