//! Deriving a grant that can only do less.

use crate::model::{Condition, Grant, Literal, Operator, Rate, Scope};

/// Why a child is not provably within its parent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wider {
    /// The child lives longer.
    #[error("the child ends at {child}, after its parent's {parent}")]
    Expiry {
        /// End of the child.
        child: bailiwick_base::Time,
        /// End of the parent.
        parent: bailiwick_base::Time,
    },
    /// A scope of the child is not within any scope of the parent.
    #[error("scope `{scope}` is not within any scope of the parent")]
    Scope {
        /// The scope, as text.
        scope: String,
    },
}

/// Whether `child` can do nothing that `parent` cannot.
///
/// The answer is conservative: each scope of the child must lie within one single scope of the parent, each
/// condition of that parent scope must follow from one condition of the child scope on the same argument, and
/// two scopes of the child never share a rate of the parent (each would have a meter of its own).
///
/// # Errors
/// [`Wider`] names what goes beyond the parent, or cannot be shown not to.
pub fn attenuate(parent: &Grant, child: &Grant) -> Result<(), Wider> {
    if child.expires_at > parent.expires_at {
        return Err(Wider::Expiry {
            child: child.expires_at,
            parent: parent.expires_at,
        });
    }
    let mut spent = vec![false; parent.scopes.len()];
    for scope in &child.scopes {
        let found = parent
            .scopes
            .iter()
            .zip(spent.iter_mut())
            .find(|(wide, spent)| within(wide, scope) && !(wide.rate.is_some() && **spent));
        match found {
            Some((_, spent)) => *spent = true,
            None => {
                return Err(Wider::Scope {
                    scope: scope.to_string(),
                });
            }
        }
    }
    Ok(())
}

fn within(parent: &Scope, child: &Scope) -> bool {
    parent.server == child.server
        && (parent.action == child.action || parent.action.is_none())
        && parent
            .conditions
            .iter()
            .all(|wide| child.conditions.iter().any(|c| implies(c, wide)))
        && slower(parent.rate.as_ref(), child.rate.as_ref())
}

/// A child's rate holds its parent's when it gives no more calls in a window that is no shorter.
fn slower(parent: Option<&Rate>, child: Option<&Rate>) -> bool {
    match (parent, child) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(p), Some(c)) => c.calls <= p.calls && c.window >= p.window,
    }
}

/// Whether `wide` holds whenever `narrow` does.
fn implies(narrow: &Condition, wide: &Condition) -> bool {
    if narrow.require_valid().is_err() || wide.require_valid().is_err() || narrow.arg != wide.arg {
        return false;
    }
    if narrow == wide {
        return true;
    }
    let (Some(n), Some(w)) = (narrow.values.first(), wide.values.first()) else {
        return false;
    };
    match (narrow.operator, wide.operator) {
        (Operator::Equal | Operator::In, Operator::Equal | Operator::In) => {
            // A list of texts satisfies `in` but never `=`.
            let lists = narrow.operator == Operator::In
                && wide.operator == Operator::Equal
                && matches!(n, Literal::Text(_));
            !lists && narrow.values.iter().all(|v| wide.values.contains(v))
        }
        (Operator::Equal | Operator::In, Operator::AtMost) => narrow.values.iter().all(|v| at_most(v, w)),
        (Operator::Equal | Operator::In, Operator::AtLeast) => narrow.values.iter().all(|v| at_most(w, v)),
        (Operator::AtMost, Operator::AtMost) => at_most(n, w),
        (Operator::AtLeast, Operator::AtLeast) => at_most(w, n),
        (Operator::Equal | Operator::In | Operator::Under, Operator::Under) => {
            narrow.values.iter().all(|v| below(v, w, narrow.operator))
        }
        _ => false,
    }
}

/// Same kind of number only: a whole number is no decimal and the other way round.
fn at_most(a: &Literal, b: &Literal) -> bool {
    match (a, b) {
        (Literal::Integer(a), Literal::Integer(b)) | (Literal::Decimal(a), Literal::Decimal(b)) => a <= b,
        _ => false,
    }
}

fn below(narrow: &Literal, wide: &Literal, operator: Operator) -> bool {
    let (Literal::Text(narrow), Literal::Text(wide)) = (narrow, wide) else {
        return false;
    };
    let wide = wide.strip_suffix('/').unwrap_or(wide);
    let clean = operator == Operator::Under
        || !(narrow.contains(['\0', '\\', '%', '?', '#']) || narrow.split('/').any(|s| s == ".."));
    let narrow = narrow.strip_suffix('/').unwrap_or(narrow);
    // `in` is also satisfied by a list, which the wide one then judges by its common path: the same answer,
    // because every path of the list is below.
    let inside = narrow
        .strip_prefix(wide)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    clean && inside && narrow.starts_with('/')
}
