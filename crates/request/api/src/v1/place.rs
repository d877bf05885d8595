//! Where a third-party secret is accepted, as it comes and as it is shown.

use bailiwick_base::TenantId;
use bailiwick_connectors::{HttpDocument, server_place};
use bailiwick_credential::{
    AwsTarget, EndpointOverride, GithubAppTarget, HttpTarget, PgTarget, Refusal, Target, ThirdParty, Turn,
};
use bailiwick_outbound::{AddressRule, Endpoint};
use bailiwick_wire as wire;

use super::credentials::known;
use crate::Deps;
use crate::problem::RouteError;

/// The places that a request may name, one at most.
pub(super) struct Named<'a> {
    target: Option<&'a wire::RotationTarget>,
    aws: Option<&'a wire::AwsTarget>,
    github_app: Option<&'a wire::GithubAppTarget>,
    http: Option<&'a wire::HttpTarget>,
}

impl<'a> Named<'a> {
    pub(super) const fn of(body: &'a wire::NewCredential) -> Self {
        Self {
            target: body.target.as_ref(),
            aws: body.aws.as_ref(),
            github_app: body.github_app.as_ref(),
            http: body.http.as_ref(),
        }
    }

    pub(super) const fn of_correction(body: &'a wire::CorrectCredential) -> Self {
        Self {
            target: body.target.as_ref(),
            aws: body.aws.as_ref(),
            github_app: body.github_app.as_ref(),
            http: body.http.as_ref(),
        }
    }
}

/// The place that a request names; none when a person replaces the secret.
pub(super) async fn of(
    deps: &Deps,
    tenant: &TenantId,
    body: Named<'_>,
) -> Result<Option<Target>, RouteError> {
    match (body.target, body.aws, body.github_app, body.http) {
        (None, None, None, None) => Ok(None),
        (Some(target), None, None, None) => pg(deps, tenant, target).await.map(Some),
        (None, Some(aws), None, None) => self::aws(deps, tenant, aws).await.map(Some),
        (None, None, Some(app), None) => self::app(app).map(Some),
        (None, None, None, Some(http)) => self::http(deps, tenant, http).await.map(Some),
        _ => Err(RouteError::invalid(
            "credential.two-targets",
            "`target`, `aws`, `github_app`, `http`: a credential has one place, give one of them",
        )),
    }
}

fn app(target: &wire::GithubAppTarget) -> Result<Target, RouteError> {
    let over = target.danger_endpoint_override.as_ref();
    Ok(Target::GithubApp(GithubAppTarget {
        app: target.app.clone(),
        danger_endpoint_override: over
            .map(|o| endpoint_override(o, "danger_endpoint_override"))
            .transpose()?,
    }))
}

async fn http(deps: &Deps, tenant: &TenantId, target: &wire::HttpTarget) -> Result<Target, RouteError> {
    HttpDocument::parse(&target.document)
        .map_err(|e| RouteError::invalid("credential.driver-document", format!("driver: {e}")))?;
    let place = wire::EndpointOverride {
        url: target.url.clone(),
        allow_addresses: target.allow_addresses.clone(),
        allow_plaintext: target.allow_plaintext,
    };
    let place = endpoint_override(&place, "url")?;
    Ok(Target::Http(HttpTarget {
        url: place.url,
        key: target.key.clone(),
        manager: manager(deps, tenant, &target.manager).await?.id,
        document: target.document.clone(),
        addresses: place.addresses,
        allow_plaintext: place.allow_plaintext,
    }))
}

pub(super) fn app_to_wire(target: &Target) -> Option<wire::GithubAppTarget> {
    let Target::GithubApp(t) = target else {
        return None;
    };
    Some(wire::GithubAppTarget {
        app: t.app.clone(),
        danger_endpoint_override: t.danger_endpoint_override.as_ref().map(override_to_wire),
    })
}

pub(super) fn http_to_wire(target: &Target) -> Option<wire::HttpTarget> {
    let Target::Http(t) = target else {
        return None;
    };
    Some(wire::HttpTarget {
        url: t.url.clone(),
        key: t.key.clone(),
        manager: t.manager.to_string(),
        document: t.document.clone(),
        allow_addresses: t.addresses.clone(),
        allow_plaintext: t.allow_plaintext,
    })
}

fn override_to_wire(over: &EndpointOverride) -> wire::EndpointOverride {
    wire::EndpointOverride {
        url: over.url.clone(),
        allow_addresses: over.addresses.clone(),
        allow_plaintext: over.allow_plaintext,
    }
}

async fn manager(deps: &Deps, tenant: &TenantId, named: &str) -> Result<ThirdParty, RouteError> {
    known(deps, tenant, named)
        .await
        .map_err(|e| e.hint("register the manager's own credential first, and name it with --manager"))
}

async fn pg(deps: &Deps, tenant: &TenantId, target: &wire::RotationTarget) -> Result<Target, RouteError> {
    let place = server_place(&target.host, target.port).ok_or_else(|| {
        let refusal = Refusal::TargetAddress(bailiwick_base::limits::shown(&target.host));
        RouteError::refused(refusal.code(), &refusal)
    })?;
    let rule = AddressRule::parse(&target.allow_addresses);
    rule.and_then(|rule| rule.require_endpoint(&place)).map_err(|e| {
        RouteError::invalid("credential.endpoint-override", format!("`target`: {e}"))
            .hint("--allow-address RANGE gives leave for an address that is not public")
    })?;
    Ok(Target::Pg(PgTarget {
        host: target.host.clone(),
        port: target.port,
        database: target.database.clone(),
        role: target.role.clone(),
        logins: target.logins.clone(),
        current: Turn::First,
        manager_login: target.manager_login.clone(),
        manager: manager(deps, tenant, &target.manager).await?.id,
        addresses: target.allow_addresses.clone(),
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
        danger_endpoint_override: over
            .map(|o| endpoint_override(o, "danger_endpoint_override"))
            .transpose()?,
    }))
}

/// Judged when it is registered, as far as its text tells, and again at each connection.
fn endpoint_override(over: &wire::EndpointOverride, field: &str) -> Result<EndpointOverride, RouteError> {
    let wrong = |e: bailiwick_outbound::GuardError| {
        RouteError::invalid(
            "credential.endpoint-override",
            format!("`{field}`: {e}"),
        )
        .hint("--allow-plaintext gives leave for plain HTTP, --allow-address RANGE for an address that is not public")
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
        allow_addresses: t.addresses.clone(),
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
        danger_endpoint_override: over.map(override_to_wire),
    })
}
