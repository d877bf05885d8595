//! A trust rule: whose workloads are who. Keys of issuers are public by nature.

use std::collections::BTreeMap;

use bailiwick_base::Time;
use bailiwick_credential::trust::{IssuerKeys, Method, Trust, TrustedIssuer};
use serde::{Deserialize, Serialize};

use super::{Form, at, id, id_text, tenant, word};
use crate::error::BodyError;

/// A trust rule.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrustForm {
    tenant: String,
    id: String,
    issuer: IssuerForm,
    realm: BTreeMap<String, String>,
    attributes: BTreeMap<String, String>,
    identity: String,
    created_at: i64,
    expires_at: i64,
    removed_at: Option<i64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct IssuerForm {
    method: String,
    url: String,
    keys: KeysForm,
    allow_addresses: Vec<String>,
    danger_plaintext: bool,
}

/// Where the issuer's keys are.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KeysForm {
    Discovery(Nothing),
    Given(String),
    Url(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

impl Form<Trust> for TrustForm {
    fn of(trust: &Trust) -> Result<Self, BodyError> {
        let issuer = &trust.issuer;
        Ok(Self {
            tenant: trust.id.tenant().to_string(),
            id: trust.id.to_string(),
            issuer: IssuerForm {
                method: issuer.method.as_str().to_owned(),
                url: issuer.url.clone(),
                keys: match &issuer.keys {
                    IssuerKeys::Discovery => KeysForm::Discovery(Nothing {}),
                    IssuerKeys::Given(set) => KeysForm::Given(set.clone()),
                    IssuerKeys::Url(url) => KeysForm::Url(url.clone()),
                },
                allow_addresses: issuer.allow_addresses.clone(),
                danger_plaintext: issuer.danger_plaintext,
            },
            realm: trust.realm.clone(),
            attributes: trust.attributes.clone(),
            identity: id_text("trust/identity", trust.id.tenant(), &trust.identity)?,
            created_at: trust.created_at.micros(),
            expires_at: trust.expires_at.micros(),
            removed_at: trust.removed_at.map(Time::micros),
        })
    }
}

impl TrustForm {
    pub(super) fn read(self) -> Result<Trust, BodyError> {
        let tenant = tenant("trust/tenant", &self.tenant)?;
        let issuer = self.issuer;
        Ok(Trust {
            id: id("trust/id", &tenant, &self.id)?,
            issuer: TrustedIssuer {
                method: word("trust/method", &issuer.method, Method::parse(&issuer.method))?,
                url: issuer.url,
                keys: match issuer.keys {
                    KeysForm::Discovery(Nothing {}) => IssuerKeys::Discovery,
                    KeysForm::Given(set) => IssuerKeys::Given(set),
                    KeysForm::Url(url) => IssuerKeys::Url(url),
                },
                allow_addresses: issuer.allow_addresses,
                danger_plaintext: issuer.danger_plaintext,
            },
            realm: self.realm,
            attributes: self.attributes,
            identity: id("trust/identity", &tenant, &self.identity)?,
            created_at: Time::from_micros(self.created_at),
            expires_at: Time::from_micros(self.expires_at),
            removed_at: at(self.removed_at),
        })
    }
}
