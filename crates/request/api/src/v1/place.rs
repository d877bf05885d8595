//! Where a third-party secret is accepted, as it comes and as it is shown.

use bailiwick_base::TenantId;
use bailiwick_credential::{AwsTarget, EndpointOverride, PgTarget, Target, ThirdParty, Turn};
use bailiwick_outbound::{AddressRule, Endpoint};
use bailiwick_wire as wire;

use super::credentials::known;
use crate::Deps;
use crate::problem::RouteError;

/// The place that a new credential names; none when a person replaces its secret.
pub(super) async fn of(
    deps: &Deps,
    tenant: &TenantId,
    body: &wire::NewCredential,
) -> Result<Option<Target>, RouteError> {
    match (&body.target, &body.aws) {
        (None, None) => Ok(None),
        (Some(target), None) => pg(deps, tenant, target).await.map(Some),
        (None, Some(aws)) => self::aws(deps, tenant, aws).await.map(Some),
        (Some(_), Some(_)) => Err(RouteError::invalid(
            "credential.two-targets",
            "`target` and `aws`: a credential has one place, give one of them",
        )),
    }
}

async fn manager(deps: &Deps, tenant: &TenantId, named: &str) -> Result<ThirdParty, RouteError> {
    known(deps, tenant, named)
        .await
        .map_err(|e| e.hint("register the manager's own credential first, and name it with --manager"))
}

async fn pg(deps: &Deps, tenant: &TenantId, target: &wire::RotationTarget) -> Result<Target, RouteError> {
    Ok(Target::Pg(PgTarget {
        host: target.host.clone(),
        port: target.port,
        database: target.database.clone(),
        role: target.role.clone(),
        logins: target.logins.clone(),
        current: Turn::First,
        manager_login: target.manager_login.clone(),
        manager: manager(deps, tenant, &target.manager).await?.id,
        allow_plaintext: target.allow_plaintext,
    }))
}

async fn aws(deps: &Deps, tenant: &TenantId, target: &wire::AwsTarget) -> Result<Target, RouteError> {
    let over = target.danger_endpoint_override.as_ref();
    Ok(Target::Aws(AwsTarget {
        user: target.user.clone(),
        key: target.key.clone(),
        region: target.region.clone(),
        manager_key: target.manager_key.clone(),
        manager: manager(deps, tenant, &target.manager).await?.id,
        lease_role: target.lease_role.clone(),
        danger_endpoint_override: over.map(endpoint_override).transpose()?,
    }))
}

/// Judged when it is registered, as far as its text tells, and again at each connection.
fn endpoint_override(over: &wire::EndpointOverride) -> Result<EndpointOverride, RouteError> {
    let wrong = |e: bailiwick_outbound::GuardError| {
        RouteError::invalid(
            "credential.endpoint-override",
            format!("`danger_endpoint_override`: {e}"),
        )
    };
    let endpoint = Endpoint::parse(&over.url, over.allow_plaintext).map_err(wrong)?;
    let rule = AddressRule::parse(&over.allow_addresses).map_err(wrong)?;
    rule.require_endpoint(&endpoint).map_err(wrong)?;
    Ok(EndpointOverride {
        url: over.url.clone(),
        addresses: over.allow_addresses.clone(),
        allow_plaintext: over.allow_plaintext,
    })
}

pub(super) fn pg_to_wire(target: &Target) -> Option<wire::RotationTarget> {
    let Target::Pg(t) = target else {
        return None;
    };
    Some(wire::RotationTarget {
        host: t.host.clone(),
        port: t.port,
        database: t.database.clone(),
        role: t.role.clone(),
        logins: t.logins.clone(),
        manager_login: t.manager_login.clone(),
        manager: t.manager.to_string(),
        allow_plaintext: t.allow_plaintext,
    })
}

pub(super) fn aws_to_wire(target: &Target) -> Option<wire::AwsTarget> {
    let Target::Aws(t) = target else {
        return None;
    };
    let over = t.danger_endpoint_override.as_ref();
    Some(wire::AwsTarget {
        user: t.user.clone(),
        key: t.key.clone(),
        region: t.region.clone(),
        manager_key: t.manager_key.clone(),
        manager: t.manager.to_string(),
        lease_role: t.lease_role.clone(),
        danger_endpoint_override: over.map(|o| wire::EndpointOverride {
            url: o.url.clone(),
            allow_addresses: o.addresses.clone(),
            allow_plaintext: o.allow_plaintext,
        }),
    })
}
