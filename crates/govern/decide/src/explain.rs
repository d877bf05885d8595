//! What a person reads when nothing permits a call: which condition failed, and what would pass.

use bailiwick_base::limits::shown;
use bailiwick_grant::{Condition, Scope, lookup};
use serde_json::{Map, Value};
use smallvec::SmallVec;

use crate::decide::{Established, Refused};
use crate::policy::compiled::Compiled;
use crate::reason::DenyReason;
use crate::view::Aim;

/// How old the meter's reading may be.
const READING_MAX: std::time::Duration = std::time::Duration::from_secs(5);

fn scope<'a>(found: &Established<'a>, position: usize) -> Option<&'a Scope> {
    found.task.and_then(|t| t.grant.scopes.get(position))
}

/// Whether the rate of a scope is used up. A rate that was not read, or not just now, counts as used up.
pub(crate) fn exceeds(found: &Established<'_>, position: usize) -> bool {
    let Some(rate) = scope(found, position).and_then(|s| s.rate) else {
        return false;
    };
    let fresh = |at| found.now.since(at) <= READING_MAX && at <= found.now.after(READING_MAX);
    !found
        .call
        .rates
        .iter()
        .any(|r| r.scope == position && fresh(r.at) && r.calls <= rate.calls)
}

/// Which rate, and how much of it is used.
pub(crate) fn rate(found: &Established<'_>, position: usize) -> String {
    let Some((scope, rate)) = scope(found, position).and_then(|s| Some((s, s.rate?))) else {
        return "the rate of the grant is used up".to_owned();
    };
    let limit = format!(
        "`{}` permits {} calls in {} s",
        scope.coarse(),
        rate.calls,
        rate.window.as_secs()
    );
    match found.call.rates.iter().find(|r| r.scope == position) {
        Some(reading) => format!("{limit}, this is number {}", reading.calls),
        None => format!("{limit}, and the meter was not read"),
    }
}

/// Why nothing granted the call.
pub(crate) fn ungranted(found: &Established<'_>, grants: &[(usize, &Compiled)]) -> Refused {
    let scopes: SmallVec<[(&Scope, &str); 4]> = grants
        .iter()
        .filter_map(|(n, c)| Some((scope(found, *n)?, c.id.as_str())))
        .collect();
    let arguments = match &found.aim {
        Aim::Item(item) => item.arguments(found.call),
        Aim::Server(server, _) if !found.scoped => {
            return Refused::new(
                DenyReason::ScopeMissing,
                format!("the caller holds no scope on server `{server}`"),
            );
        }
        _ => return Refused::new(DenyReason::NoGrant, "no policy permits it"),
    };
    // Of several scopes the one that comes closest is explained.
    let closest = scopes
        .iter()
        .min_by_key(|(scope, _)| failing(scope, &arguments).count());
    let failed = closest.and_then(|(scope, id)| Some((id, failing(scope, &arguments).next()?)));
    match failed {
        Some((id, condition)) => Refused {
            reason: DenyReason::ArgumentOutOfScope,
            policies: std::iter::once((*id).to_owned()).collect(),
            text: sentence(condition, &arguments),
        },
        None => {
            let name = found
                .aim
                .scope_name()
                .map_or_else(String::new, |(s, n)| format!("{s}:{}", shown(n)));
            let text = match found.task {
                Some(task) => format!("no scope of task `{}` names `{name}`", task.text),
                None => format!("nothing grants `{name}` without a task"),
            };
            Refused::new(DenyReason::NoGrant, text)
        }
    }
}

fn failing<'a>(scope: &'a Scope, args: &'a Map<String, Value>) -> impl Iterator<Item = &'a Condition> {
    scope.conditions.iter().filter(|c| !c.holds(args))
}

/// `argument `path` is "/etc/passwd", the grant wants path under "/srv/invoices"`.
fn sentence(condition: &Condition, args: &Map<String, Value>) -> String {
    let arg = shown(&condition.arg);
    let wanted = shown(&condition.to_string());
    match lookup(args, &condition.arg) {
        None => format!("argument `{arg}` is missing, the grant wants {wanted}"),
        Some(value) => format!(
            "argument `{arg}` is {}, the grant wants {wanted}",
            shown(&value.to_string())
        ),
    }
}
