//! The part of a third-party credential that says where its secret is accepted.

use bailiwick_base::{CredentialId, TenantId};
use bailiwick_credential::{
    AwsTarget, EndpointOverride, GithubAppTarget, HttpTarget, PgTarget, Target, Turn,
};
use serde_json::{Value, json};

use super::detail::{optional, text};

pub(super) fn to_json(target: &Target) -> Value {
    match target {
        Target::Aws(t) => json!({
            "system": "aws",
            "user": t.user,
            "key": t.key,
            "region": t.region,
            "manager_key": t.manager_key,
            "manager": t.manager.to_string(),
            "lease_role": t.lease_role,
            "danger_endpoint_override": t.danger_endpoint_override.as_ref().map(override_to_json),
        }),
        Target::GithubApp(t) => json!({
            "system": "github-app",
            "app": t.app,
            "danger_endpoint_override": t.danger_endpoint_override.as_ref().map(override_to_json),
        }),
        Target::Http(t) => json!({
            "system": "http",
            "url": t.url,
            "key": t.key,
            "manager": t.manager.to_string(),
            "document": t.document,
            "addresses": t.addresses,
            "allow_plaintext": t.allow_plaintext,
        }),
        Target::Pg(t) => pg_to_json(t),
    }
}

/// Rows of the first version name no system, and no address ranges.
fn pg_to_json(t: &PgTarget) -> Value {
    let mut value = json!({
        "host": t.host,
        "port": t.port,
        "database": t.database,
        "role": t.role,
        "logins": t.logins,
        "current": t.login(t.current),
        "manager_login": t.manager_login,
        "manager": t.manager.to_string(),
        "allow_plaintext": t.allow_plaintext,
    });
    if let Some(members) = value.as_object_mut().filter(|_| !t.addresses.is_empty()) {
        members.insert("addresses".to_owned(), json!(t.addresses));
    }
    value
}

pub(super) fn from_json(tenant: &TenantId, v: &Value) -> Option<Target> {
    match v.get("system").map(Value::as_str) {
        None => pg_from_json(tenant, v).map(Target::Pg),
        Some(Some("github-app")) => Some(Target::GithubApp(GithubAppTarget {
            app: text(v.get("app")?)?,
            danger_endpoint_override: optional(v.get("danger_endpoint_override")?, override_from_json)?,
        })),
        Some(Some("http")) => http_from_json(tenant, v).map(Target::Http),
        Some(Some("aws")) => aws_from_json(tenant, v).map(Target::Aws),
        Some(_) => None,
    }
}

fn override_to_json(o: &EndpointOverride) -> Value {
    json!({ "url": o.url, "addresses": o.addresses, "allow_plaintext": o.allow_plaintext })
}

fn addresses(v: &Value) -> Option<Vec<String>> {
    v.get("addresses")?.as_array()?.iter().map(text).collect()
}

fn http_from_json(tenant: &TenantId, v: &Value) -> Option<HttpTarget> {
    Some(HttpTarget {
        url: text(v.get("url")?)?,
        key: text(v.get("key")?)?,
        manager: manager(tenant, v)?,
        document: text(v.get("document")?)?,
        addresses: addresses(v)?,
        allow_plaintext: v.get("allow_plaintext")?.as_bool()?,
    })
}

fn override_from_json(v: &Value) -> Option<EndpointOverride> {
    Some(EndpointOverride {
        url: text(v.get("url")?)?,
        addresses: addresses(v)?,
        allow_plaintext: v.get("allow_plaintext")?.as_bool()?,
    })
}

fn manager(tenant: &TenantId, v: &Value) -> Option<CredentialId> {
    CredentialId::parse(tenant, v.get("manager")?.as_str()?).ok()
}

fn aws_from_json(tenant: &TenantId, v: &Value) -> Option<AwsTarget> {
    Some(AwsTarget {
        user: text(v.get("user")?)?,
        key: text(v.get("key")?)?,
        region: text(v.get("region")?)?,
        manager_key: text(v.get("manager_key")?)?,
        manager: manager(tenant, v)?,
        lease_role: optional(v.get("lease_role")?, text)?,
        danger_endpoint_override: optional(v.get("danger_endpoint_override")?, override_from_json)?,
    })
}

fn pg_from_json(tenant: &TenantId, v: &Value) -> Option<PgTarget> {
    let logins: [String; 2] = v
        .get("logins")?
        .as_array()?
        .iter()
        .map(text)
        .collect::<Option<Vec<_>>>()?
        .try_into()
        .ok()?;
    let current = v.get("current")?.as_str()?;
    let [first, second] = &logins;
    Some(PgTarget {
        host: text(v.get("host")?)?,
        port: u16::try_from(v.get("port")?.as_u64()?).ok()?,
        database: text(v.get("database")?)?,
        role: text(v.get("role")?)?,
        current: match current {
            name if name == first => Turn::First,
            name if name == second => Turn::Second,
            _ => return None,
        },
        logins,
        manager_login: text(v.get("manager_login")?)?,
        manager: manager(tenant, v)?,
        addresses: match v.get("addresses") {
            None => Vec::new(),
            Some(_) => addresses(v)?,
        },
        allow_plaintext: v.get("allow_plaintext")?.as_bool()?,
    })
}
