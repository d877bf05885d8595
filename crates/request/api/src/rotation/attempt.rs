//! The manager's login, tried when a credential is registered: what could never rotate is said then, and not when its
//! time has come.

use bailiwick_connectors::{Driver, Reachable, TargetError};
use bailiwick_credential::{Target, ThirdParty};
use http::StatusCode;

use super::manager;
use crate::Deps;
use crate::problem::RouteError;

/// Looks as the manager at the logins of `credential`, which changes nothing there. Other systems are not asked.
///
/// # Errors
/// `credential.manager-refused` with the driver's reason.
pub(crate) async fn require_manager(deps: &Deps, credential: &ThirdParty) -> Result<(), RouteError> {
    let Some(Target::Pg(target)) = &credential.target else {
        return Ok(());
    };
    let (secret, handle) = manager(deps, credential)
        .await
        .map_err(|e| refused(&e.to_string(), UNTRIED))?;
    let with = Reachable {
        sender: &deps.sender,
        entropy: deps.entropy.as_ref(),
        now: deps.clock.now(),
    };
    let Some(driver) = Driver::of(credential, &secret, handle.as_deref(), &with) else {
        return Ok(());
    };
    driver.look().await.map(drop).map_err(|error| {
        let place = format!("{}:{}/{}", target.host, target.port, target.database);
        let login = &target.manager_login;
        refused(&format!("`{login}` at {place}: {error}"), mend(&error))
    })
}

const UNTRIED: &str = "register it without trying: --no-try";

fn mend(error: &TargetError) -> &'static str {
    match error {
        // Class 28 of the SQL standard: invalid authorization specification.
        TargetError::Refused { code, .. } if code.starts_with("28") => {
            "give the manager's present password with `bailiwick credential replace MANAGER --secret-file FILE`, or \
             register it without trying: --no-try"
        }
        TargetError::Refused { .. } => {
            "let the manager's login do it there, or register it without trying: --no-try"
        }
        TargetError::Unreachable(_) | TargetError::Unusable(_) => {
            "mend the way to it, or register it without trying: --no-try"
        }
    }
}

fn refused(why: &str, next: &str) -> RouteError {
    let detail = format!("the manager's login does not work: {why}");
    RouteError::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "credential.manager-refused",
        detail,
    )
    .hint(next)
}
