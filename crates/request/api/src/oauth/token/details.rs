//! What a token request narrows its task to: `scope` (RFC 6749 §3.3) and `authorization_details` (RFC 9396).

use bailiwick_base::{IdentityId, TaskId, json};
use bailiwick_credential::ScopeSet;
use bailiwick_grant as grant;
use bailiwick_wire as wire;

use crate::Deps;
use crate::issue::Requester;
use crate::oauth::error::{OauthError, bad};
use crate::oauth::form::Form;

/// Bytes of `authorization_details`.
const DETAILS_MAX: usize = 32 * 1024;

/// The coarse scopes that the token may carry at most; none when nothing narrows.
///
/// With both parameters the token says no more than either (RFC 9396 §3.1).
pub(super) fn requested(
    deps: &Deps,
    form: &Form,
    task: &TaskId,
    requester: &Requester,
) -> Result<Option<ScopeSet>, OauthError> {
    let scope = form.get("scope").map(crate::ssf::spelled_here);
    let scope = scope.as_deref().map(ScopeSet::parse);
    if scope.as_ref().is_some_and(ScopeSet::is_empty) {
        return Err(bad(
            "invalid_scope",
            "`scope` is blank: leave it out to ask for everything",
        ));
    }
    let Some(text) = form.get("authorization_details") else {
        return Ok(scope);
    };
    let wrong = |text: String| bad("invalid_authorization_details", text);
    let details = json::parse(text.as_bytes(), DETAILS_MAX)
        .map_err(|e| wrong(format!("`authorization_details`: {e}")))?;
    let asked = grant::from_authorization_details(&details)
        .map_err(|e| wrong(format!("`authorization_details`{e}")))?;
    let snapshot = deps.cell.load();
    // What somebody else's task grants is not told here: issuing answers that there is no such task.
    let Some((_, granted)) = snapshot
        .task(task)
        .filter(|(open, _)| Some(&open.identity) == identity(requester))
    else {
        return Ok(scope);
    };
    let narrowed =
        grant::narrow(&granted.scopes, &asked).map_err(|e| wrong(format!("`authorization_details`: {e}")))?;
    let Some(scope) = scope else {
        return Ok(Some(narrowed));
    };
    if let Some(wider) = scope.iter().find(|s| !narrowed.covers(s)) {
        let shown = bailiwick_base::limits::shown(wider);
        let text = format!("`scope`: `{shown}` is not within `authorization_details`");
        return Err(bad("invalid_scope", text));
    }
    Ok(Some(scope))
}

fn identity(requester: &Requester) -> Option<&IdentityId> {
    match requester {
        Requester::Client(_, identity, _) | Requester::Workload(_, identity, _) => Some(identity),
        Requester::Consent(bearer, _) | Requester::Holder(bearer) => Some(&bearer.claims.nhi),
        Requester::Operator => None,
    }
}

/// RFC 9396 §7: whoever asked with details is told what the token allows in the same form.
pub(super) fn told(deps: &Deps, form: &Form, task: &TaskId, token: wire::Token) -> wire::Token {
    let snapshot = deps.cell.load();
    let details = form
        .get("authorization_details")
        .and_then(|_| snapshot.task(task))
        .map(|(_, granted)| grant::held(&granted.scopes, &ScopeSet::parse(&token.scope)))
        .map(|held| grant::to_authorization_details(&held));
    wire::Token {
        authorization_details: details,
        ..token
    }
}
