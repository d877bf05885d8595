//! Clients of one identity, and assertions that are signed before the clock runs.

use std::time::Duration;

use anyhow::Context as _;
use bailiwick_base::SigningAlgorithm;
use bailiwick_keys::{AssertionPlan, ClientKey, SystemEntropy};
use bailiwick_wire as wire;
use serde_json::Value;

use crate::installation::Installation;

/// Assertions of one client that the service remembers; another client takes over before.
const PER_CLIENT: usize = 16_000;

/// What a form has besides an assertion.
const ASSERTION_TYPE: &str = "client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_assertion=";

/// Clients of one identity that sign in turn.
pub(crate) struct Clients {
    issuer: String,
    clients: Vec<(String, ClientKey)>,
    number: usize,
}

impl Clients {
    /// As many as `assertions` need.
    pub(crate) async fn register(
        installation: &Installation,
        tenant: &str,
        identity: &str,
        assertions: usize,
    ) -> anyhow::Result<Self> {
        let mut clients = Vec::new();
        for _ in 0..=(assertions / PER_CLIENT) {
            let key = ClientKey::generate(SigningAlgorithm::Es256, &SystemEntropy)?;
            let body = wire::NewClient {
                identity: identity.to_owned(),
                jwk: Value::Object(key.public_jwk().to_json()),
                proof: Some("none".to_owned()),
                certificate: None,
                expires_at: None,
            };
            let path = format!("/v1/tenants/{tenant}/clients");
            let client: wire::Client = installation.post(&path, &body).await?;
            clients.push((client.client_id, key));
        }
        Ok(Self {
            issuer: format!("{}/t/{tenant}", installation.base),
            clients,
            number: 0,
        })
    }

    pub(crate) fn len(&self) -> usize {
        self.clients.len()
    }

    /// A form with an assertion that nobody has used; `more` is told whose turn it is.
    pub(crate) fn form(&mut self, more: impl FnOnce(usize) -> String) -> anyhow::Result<String> {
        let turn = (self.number / (PER_CLIENT / 2)) % self.clients.len().max(1);
        self.form_of(turn, &more(turn))
    }

    /// The same of one of them.
    pub(crate) fn form_of(&mut self, turn: usize, more: &str) -> anyhow::Result<String> {
        let (client, key) = self.clients.get(turn).context("no client")?;
        self.number += 1;
        let plan = AssertionPlan {
            issuer: &self.issuer,
            client,
            token: &format!("bench-{}", self.number),
            now: bailiwick_server::now(),
            ttl: Duration::from_secs(120),
        };
        let assertion = key.sign_assertion(&plan)?;
        Ok(format!("{ASSERTION_TYPE}{assertion}&{more}"))
    }
}
