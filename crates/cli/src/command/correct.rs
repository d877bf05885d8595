//! `bailiwick credential correct`: what is given, over what is registered.

use bailiwick_wire::{
    AwsTarget, CorrectCredential, Credential as Row, GithubAppTarget, HttpTarget, RotationTarget,
};

use super::credential::parse_place;
use super::id::expiry;
use crate::args::CorrectCredential as Args;
use crate::files;
use crate::output::Failure;

/// The correction of `row`. A part of a target that is given stands in the whole target, as it is now.
pub(super) fn body_of(mut given: Args, row: Row) -> Result<CorrectCredential, Failure> {
    let aws = given.aws_user.is_some()
        || given.aws_key.is_some()
        || given.aws_region.is_some()
        || given.aws_lease_role.is_some()
        || (row.aws.is_some() && is_managed_otherwise(&given));
    let http = given.driver.is_some()
        || given.url.is_some()
        || given.key.is_some()
        || (has_ranges(&given) && given.target.is_none() && row.target.is_none())
        || (row.http.is_some() && is_managed_otherwise(&given));
    let pg = given.target.is_some()
        || given.role.is_some()
        || !given.logins.is_empty()
        || (!aws && !http && (is_managed_otherwise(&given) || has_ranges(&given)));
    let consumers = match (given.no_consumers, given.consumers.is_empty()) {
        (true, _) => Some(Vec::new()),
        (false, false) => Some(std::mem::take(&mut given.consumers)),
        (false, true) => None,
    };
    let app = given.github_app.take();
    Ok(CorrectCredential {
        identity: given.identity.take(),
        expires_at: given.expires.as_deref().map(expiry).transpose()?,
        every: given.every.map(|span| span.as_secs()),
        overlap: given.overlap.map(|span| span.as_secs()),
        consumers,
        github_app: app.map(|app| GithubAppTarget {
            app,
            danger_endpoint_override: row.github_app.and_then(|t| t.danger_endpoint_override),
        }),
        reason: given.reason.clone(),
        aws: aws.then(|| aws_of(&mut given, row.aws)).transpose()?,
        http: http.then(|| http_of(&mut given, row.http)).transpose()?,
        target: pg.then(|| pg_of(&mut given, row.target)).transpose()?,
    })
}

const fn has_ranges(given: &Args) -> bool {
    !given.allow_addresses.is_empty()
}

/// Those that are given, or else those that are registered.
fn ranges(given: &mut Args, before: Option<&Vec<String>>) -> Vec<String> {
    match std::mem::take(&mut given.allow_addresses) {
        none if none.is_empty() => before.cloned().unwrap_or_default(),
        ranges => ranges,
    }
}

const fn is_managed_otherwise(given: &Args) -> bool {
    given.manager.is_some() || given.manager_login.is_some() || given.allow_plaintext.is_some()
}

/// What is given, or else what is registered; nothing of both is a usage error that names the flag.
fn either(given: Option<String>, before: Option<String>, flag: &str) -> Result<String, Failure> {
    given.or(before).ok_or_else(|| {
        Failure::usage(format!(
            "the credential has no such target yet: give {flag} as well"
        ))
    })
}

fn pg_of(given: &mut Args, before: Option<RotationTarget>) -> Result<RotationTarget, Failure> {
    let place = given.target.take().map(|place| parse_place(&place)).transpose()?;
    let logins = match std::mem::take(&mut given.logins) {
        none if none.is_empty() => None,
        two => Some(
            <[String; 2]>::try_from(two)
                .map_err(|_| Failure::usage("two logins take turns: give --login twice"))?,
        ),
    };
    let b = before.as_ref();
    let (host, port, database) = place
        .or_else(|| b.map(|b| (b.host.clone(), b.port, b.database.clone())))
        .ok_or_else(|| Failure::usage("the credential has no such target yet: give --target as well"))?;
    Ok(RotationTarget {
        host,
        port,
        database,
        role: either(given.role.take(), b.map(|b| b.role.clone()), "--role")?,
        logins: logins
            .or_else(|| b.map(|b| b.logins.clone()))
            .ok_or_else(|| Failure::usage("two logins take turns: give --login twice"))?,
        manager_login: either(
            given.manager_login.take(),
            b.map(|b| b.manager_login.clone()),
            "--manager-login",
        )?,
        manager: either(given.manager.take(), b.map(|b| b.manager.clone()), "--manager")?,
        allow_addresses: ranges(given, b.map(|b| &b.allow_addresses)),
        allow_plaintext: given
            .allow_plaintext
            .unwrap_or(b.is_some_and(|b| b.allow_plaintext)),
    })
}

fn aws_of(given: &mut Args, before: Option<AwsTarget>) -> Result<AwsTarget, Failure> {
    let b = before.as_ref();
    Ok(AwsTarget {
        user: either(given.aws_user.take(), b.map(|b| b.user.clone()), "--aws-user")?,
        key: either(given.aws_key.take(), b.map(|b| b.key.clone()), "--aws-key")?,
        region: either(
            given.aws_region.take(),
            b.map(|b| b.region.clone()),
            "--aws-region",
        )?,
        manager_key: either(
            given.manager_login.take(),
            b.map(|b| b.manager_key.clone()),
            "--manager-login",
        )?,
        manager: either(given.manager.take(), b.map(|b| b.manager.clone()), "--manager")?,
        lease_role: given
            .aws_lease_role
            .take()
            .or_else(|| b.and_then(|b| b.lease_role.clone())),
        danger_endpoint_override: before.and_then(|b| b.danger_endpoint_override),
    })
}

fn http_of(given: &mut Args, before: Option<HttpTarget>) -> Result<HttpTarget, Failure> {
    let b = before.as_ref();
    let document = given
        .driver
        .take()
        .map(|file| files::read_text(&file))
        .transpose()?;
    Ok(HttpTarget {
        url: either(given.url.take(), b.map(|b| b.url.clone()), "--url")?,
        key: either(given.key.take(), b.map(|b| b.key.clone()), "--key")?,
        manager: either(given.manager.take(), b.map(|b| b.manager.clone()), "--manager")?,
        document: either(document, b.map(|b| b.document.clone()), "--driver")?,
        allow_addresses: ranges(given, b.map(|b| &b.allow_addresses)),
        allow_plaintext: given
            .allow_plaintext
            .unwrap_or(b.is_some_and(|b| b.allow_plaintext)),
    })
}
