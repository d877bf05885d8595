//! OAuth clients, with a key and without.

use bailiwick_base::{Digest, PublicKey, SigningAlgorithm, Time};
use bailiwick_credential::consent::{ClientSource, PublicClient};
use bailiwick_credential::{Client, ClientProof};
use serde::{Deserialize, Serialize};

use super::{Form, at, id, id_text, read, tenant, text_of, word};
use crate::error::BodyError;

/// A client with a key.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClientForm {
    tenant: String,
    id: String,
    identity: String,
    algorithm: String,
    jwk: String,
    created_at: i64,
    expires_at: i64,
    proof: String,
    certificate: Option<String>,
}

/// A private half must not be written, whatever a row holds.
fn require_public(jwk: &str) -> Result<(), BodyError> {
    read("client/jwk", PublicKey::parse_jwk(jwk.as_bytes())).map(drop)
}

impl Form<Client> for ClientForm {
    fn of(client: &Client) -> Result<Self, BodyError> {
        let jwk = text_of("client/jwk", &client.jwk)?;
        require_public(&jwk)?;
        Ok(Self {
            tenant: client.id.tenant().to_string(),
            id: client.id.to_string(),
            identity: id_text("client/identity", client.id.tenant(), &client.identity)?,
            algorithm: client.algorithm.as_str().to_owned(),
            jwk,
            created_at: client.created_at.micros(),
            expires_at: client.expires_at.micros(),
            proof: client.proof.as_str().to_owned(),
            certificate: client.certificate.as_ref().map(Digest::to_string),
        })
    }
}

impl ClientForm {
    pub(super) fn read(self) -> Result<Client, BodyError> {
        let tenant = tenant("client/tenant", &self.tenant)?;
        let algorithm = SigningAlgorithm::parse(&self.algorithm);
        let certificate = |text: String| word("client/certificate", &text, Digest::from_hex(&text));
        require_public(&self.jwk)?;
        Ok(Client {
            id: id("client/id", &tenant, &self.id)?,
            identity: id("client/identity", &tenant, &self.identity)?,
            algorithm: word("client/algorithm", &self.algorithm, algorithm)?,
            jwk: self.jwk.into_bytes(),
            created_at: Time::from_micros(self.created_at),
            expires_at: Time::from_micros(self.expires_at),
            proof: word("client/proof", &self.proof, ClientProof::parse(&self.proof))?,
            certificate: self.certificate.map(certificate).transpose()?,
        })
    }
}

/// A client without a key.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PublicClientForm {
    tenant: String,
    id: String,
    name: String,
    source: SourceForm,
    created_at: i64,
    expires_at: i64,
    removed_at: Option<i64>,
}

/// How it is known.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum SourceForm {
    Documents(DocumentsForm),
    Registered(RegisteredForm),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DocumentsForm {
    below: String,
    allow_addresses: Vec<String>,
    danger_plaintext: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RegisteredForm {
    redirects: Vec<String>,
}

impl Form<PublicClient> for PublicClientForm {
    fn of(client: &PublicClient) -> Result<Self, BodyError> {
        Ok(Self {
            tenant: client.id.tenant().to_string(),
            id: client.id.to_string(),
            name: client.name.clone(),
            source: match &client.source {
                ClientSource::Documents {
                    below,
                    allow_addresses,
                    danger_plaintext,
                } => SourceForm::Documents(DocumentsForm {
                    below: below.clone(),
                    allow_addresses: allow_addresses.clone(),
                    danger_plaintext: *danger_plaintext,
                }),
                ClientSource::Registered { redirects } => SourceForm::Registered(RegisteredForm {
                    redirects: redirects.clone(),
                }),
            },
            created_at: client.created_at.micros(),
            expires_at: client.expires_at.micros(),
            removed_at: client.removed_at.map(Time::micros),
        })
    }
}

impl PublicClientForm {
    pub(super) fn read(self) -> Result<PublicClient, BodyError> {
        let tenant = tenant("public_client/tenant", &self.tenant)?;
        Ok(PublicClient {
            id: id("public_client/id", &tenant, &self.id)?,
            name: self.name,
            source: match self.source {
                SourceForm::Documents(form) => ClientSource::Documents {
                    below: form.below,
                    allow_addresses: form.allow_addresses,
                    danger_plaintext: form.danger_plaintext,
                },
                SourceForm::Registered(form) => ClientSource::Registered {
                    redirects: form.redirects,
                },
            },
            created_at: Time::from_micros(self.created_at),
            expires_at: Time::from_micros(self.expires_at),
            removed_at: at(self.removed_at),
        })
    }
}
