//! What vendors promise about their claims, read from `content/attestors`.

use bailiwick_credential::trust::{Attestor, Attribute, AttributeForm, AttributeKind, Method, RefusedClaim};
use serde::Deserialize;

const FILES: [&str; 11] = [
    include_str!("../../../../content/attestors/aws.toml"),
    include_str!("../../../../content/attestors/aws-web-identity.toml"),
    include_str!("../../../../content/attestors/azure.toml"),
    include_str!("../../../../content/attestors/gcp.toml"),
    include_str!("../../../../content/attestors/generic-oidc.toml"),
    include_str!("../../../../content/attestors/github.toml"),
    include_str!("../../../../content/attestors/gitlab.toml"),
    include_str!("../../../../content/attestors/id-jag.toml"),
    include_str!("../../../../content/attestors/kubernetes.toml"),
    include_str!("../../../../content/attestors/spiffe-jwt.toml"),
    include_str!("../../../../content/attestors/unix-peer.toml"),
];

/// A file of attestors is not usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("attestor `{method}` is not usable: {rule}")]
pub struct ContentError {
    method: String,
    rule: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    method: String,
    issuer: Option<String>,
    #[serde(default)]
    issuers_like: Vec<String>,
    realm: Vec<String>,
    pins: Vec<String>,
    lifetime_max_s: u64,
    #[serde(default)]
    single_use: bool,
    #[serde(default)]
    single_use_if_named: bool,
    #[serde(default)]
    refused: Vec<FileRefused>,
    attribute: Vec<FileAttribute>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileRefused {
    claim: Vec<String>,
    values: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileAttribute {
    name: String,
    claim: Vec<String>,
    kind: String,
    form: Option<String>,
    #[serde(default)]
    optional: bool,
}

/// Every attestor.
///
/// # Errors
/// [`ContentError`] when a file contradicts itself: a pin or a realm that is no id, an id that a token may lack.
pub fn attestors() -> Result<Vec<Attestor>, ContentError> {
    FILES.iter().map(|text| read(text)).collect()
}

fn read(text: &str) -> Result<Attestor, ContentError> {
    let file: File = toml::from_str(text).map_err(|e| ContentError {
        method: String::new(),
        rule: e.to_string(),
    })?;
    let wrong = |rule: String| ContentError {
        method: file.method.clone(),
        rule,
    };
    let method = Method::parse(&file.method).ok_or_else(|| wrong("there is no such method".to_owned()))?;
    let attributes = file.attribute.iter().map(|a| attribute(a).map_err(&wrong));
    let attestor = Attestor {
        method,
        issuer: file.issuer.clone(),
        issuers_like: file.issuers_like.clone(),
        realm: file.realm.clone(),
        pins: file.pins.clone(),
        single_use: file.single_use,
        single_use_if_named: file.single_use_if_named,
        lifetime_max_s: file.lifetime_max_s,
        refused: file
            .refused
            .iter()
            .map(|r| RefusedClaim {
                claim: r.claim.clone(),
                values: r.values.clone(),
            })
            .collect(),
        attributes: attributes.collect::<Result<_, _>>()?,
    };
    for name in attestor.pins.iter().chain(&attestor.realm) {
        let is_id = attestor
            .attribute(name)
            .is_some_and(|a| a.kind == AttributeKind::Id && !a.optional);
        if !is_id {
            return Err(wrong(format!("`{name}` is not an id that every token has")));
        }
    }
    if attestor.pins.is_empty() {
        return Err(wrong("it pins nothing".to_owned()));
    }
    if let Some(name) = attestor.realm.iter().find(|name| !attestor.pins.contains(name)) {
        return Err(wrong(format!("`{name}` divides the issuer but is not pinned")));
    }
    Ok(attestor)
}

fn attribute(read: &FileAttribute) -> Result<Attribute, String> {
    let kind = match read.kind.as_str() {
        "context" => AttributeKind::Context,
        "id" => AttributeKind::Id,
        "name" => AttributeKind::Name,
        other => return Err(format!("`{other}` is no kind of attribute")),
    };
    let form = match (read.form.as_deref(), kind) {
        (Some("digits"), _) => AttributeForm::Digits,
        (Some("iam-arn"), _) => AttributeForm::IamArn,
        (Some("spiffe"), _) => AttributeForm::Spiffe,
        (Some("text"), _) => AttributeForm::Text,
        (None, AttributeKind::Context | AttributeKind::Name) => AttributeForm::Text,
        (Some("uuid"), _) => AttributeForm::Uuid,
        _ => return Err(format!("`{}` has no form", read.name)),
    };
    Ok(Attribute {
        name: read.name.clone(),
        claim: read.claim.clone(),
        kind,
        form,
        optional: read.optional,
    })
}

#[cfg(test)]
mod tests {
    use bailiwick_credential::trust::Method;

    #[test]
    fn there_is_one_whole_file_for_every_method() {
        let all = super::attestors().unwrap();
        let methods: Vec<Method> = all.iter().map(|a| a.method).collect();
        assert_eq!(methods, Method::ALL);
    }

    #[test]
    fn a_file_that_pins_a_name_is_refused() {
        let text = "method = \"gcp\"\nrealm = []\npins = [\"email\"]\nlifetime_max_s = 60\n\
                    [[attribute]]\nname = \"email\"\nclaim = [\"email\"]\nkind = \"name\"\n";
        let error = super::read(text).unwrap_err().to_string();
        assert!(error.contains("`email` is not an id"), "{error}");
    }
}
