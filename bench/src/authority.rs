//! What an authority is asked besides new tokens: exchange against the raw signature rate, and how long
//! introspection and revocation take while tokens are issued (goals a4 to a6).

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bailiwick_wire as wire;

use crate::client::Clients;
use crate::gauge::figure;
use crate::http::{Connection, Load, Taken, request};
use crate::installation::Installation;
use crate::issue::floors;

const CORE: usize = 0;
const CONNECTIONS: usize = 32;
/// Connections that issue tokens while another one is measured.
const BUSY: usize = 8;
/// Most exchanges a second that are prepared.
const EXCHANGES_PER_S: f64 = 9_000.0;
/// Most introspections or revocations a second that are prepared: one connection asks.
const ASKED_PER_S: f64 = 3_000.0;
const TOKEN: &str = "urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token";
const FORM: [(&str, &str); 1] = [("content-type", "application/x-www-form-urlencoded")];

/// A tenant in which an agent acts for a user.
struct Tenant {
    slug: String,
    /// The agent's task.
    task: String,
    subject: String,
    /// A token of the agent for each of its clients.
    actors: Vec<String>,
    clients: Clients,
}

pub(crate) async fn run(folder: &Path, span: Duration) -> anyhow::Result<()> {
    let floors = floors()?;
    let installation = Installation::start(folder, CORE).await?;
    let mut tenants = Vec::new();
    for (algorithm, _) in &floors {
        let tenant = Tenant::add(&installation, algorithm.as_str(), span).await?;
        tenants.push((*algorithm, tenant));
    }
    // Assertions that could have been used before a server started are refused.
    tokio::time::sleep(Duration::from_secs(7)).await;
    for (algorithm, tenant) in &mut tenants {
        tenant.act(&installation).await?;
        let exchanged = tenant.exchanges(&installation, span)?;
        let mut taken = load(&installation, exchanged, CONNECTIONS, span).run().await?;
        let name = format!("exchange durable {algorithm}");
        figure(&format!("{name} rate"), taken.per_s, "tokens/s");
        figure(&format!("{name} cpu"), taken.cpu, "us");
        taken.sample.print(&name);
    }
    // The first is RS256, by which tokens are signed unless a tenant asks otherwise.
    if let Some((_, tenant)) = tenants.first_mut() {
        tenant.asked(&installation, span).await?;
    }
    Ok(())
}

fn load(installation: &Installation, requests: Vec<Vec<u8>>, connections: usize, span: Duration) -> Load {
    Load {
        address: installation.service.address.clone(),
        connections,
        warm: span / 5,
        span,
        requests: Rc::new(requests),
        once: true,
        server: Some(installation.service.pid()),
    }
}

fn prepared(span: Duration, per_s: f64) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number of requests"
    )]
    let wanted = (span.as_secs_f64() * 1.3 * per_s) as usize;
    wanted
}

impl Tenant {
    async fn add(installation: &Installation, algorithm: &str, span: Duration) -> anyhow::Result<Self> {
        let slug = algorithm.to_lowercase();
        installation.add_tenant(&slug, algorithm).await?;
        let user = installation.add_identity(&slug, "user").await?;
        let agent = installation.add_identity(&slug, "agent").await?;
        let (_, subject) = installation
            .open_task(&slug, &user, &["authzen:evaluate"], &[&agent])
            .await?;
        let can = ["authzen:evaluate", "token:exchange"];
        let (task, _) = installation.open_task(&slug, &agent, &can, &[]).await?;
        let wanted = prepared(span, EXCHANGES_PER_S + 2.0 * ASKED_PER_S);
        Ok(Self {
            clients: Clients::register(installation, &slug, &agent, wanted).await?,
            slug,
            task,
            subject,
            actors: Vec::new(),
        })
    }

    /// Has a token issued to each client: only whom it was issued to may show or end it.
    async fn act(&mut self, installation: &Installation) -> anyhow::Result<()> {
        let (address, path) = (&installation.service.address, format!("/t/{}/token", self.slug));
        let more = format!("grant_type=client_credentials&task={}", self.task);
        for turn in 0..self.clients.len() {
            let form = self.clients.form_of(turn, &more)?;
            let mut connection = Connection::open(address).await?;
            let status = connection
                .exchange(&request("POST", address, &path, &FORM, &form))
                .await?;
            let body = connection.reply().body;
            ensure!(status == 200, "{path}: {status} {body}");
            let token: wire::Token = serde_json::from_str(&body)?;
            self.actors.push(token.access_token);
        }
        Ok(())
    }

    fn actor(&self, turn: usize) -> anyhow::Result<&str> {
        self.actors.get(turn).map(String::as_str).context("no token")
    }

    /// The door, asked by the clients in turn, with what `more` says.
    fn asking(
        &mut self,
        installation: &Installation,
        door: &str,
        count: usize,
        more: impl Fn(&str) -> String,
    ) -> anyhow::Result<Vec<Vec<u8>>> {
        let (address, path) = (&installation.service.address, format!("/t/{}/{door}", self.slug));
        let mut requests = Vec::with_capacity(count);
        for _ in 0..count {
            let actors = &self.actors;
            let form = self
                .clients
                .form(|turn| more(actors.get(turn).map_or("", String::as_str)))?;
            requests.push(request("POST", address, &path, &FORM, &form));
        }
        Ok(requests)
    }

    fn exchanges(&mut self, installation: &Installation, span: Duration) -> anyhow::Result<Vec<Vec<u8>>> {
        let subject = self.subject.clone();
        let audience = format!("{}/t/{}/mcp", installation.base, self.slug)
            .replace(':', "%3A")
            .replace('/', "%2F");
        self.asking(installation, "token", prepared(span, EXCHANGES_PER_S), |actor| {
            format!(
                "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&subject_token={subject}&subject_token_type={TOKEN}&actor_token={actor}&actor_token_type={TOKEN}&scope=authzen%3Aevaluate&audience={audience}"
            )
        })
    }

    /// Revocations, each of a token of its own, by the client it was issued to.
    async fn ending(&mut self, installation: &Installation, count: usize) -> anyhow::Result<Vec<Vec<u8>>> {
        let (address, path) = (&installation.service.address, format!("/t/{}/revoke", self.slug));
        let mut requests = Vec::with_capacity(count);
        while requests.len() < count {
            let mut connection = Connection::open(address).await?;
            let status = connection.exchange(&self.renewed(installation, 256)?).await?;
            let body = connection.reply().body;
            ensure!(status == 200, "renewal: {status} {body}");
            let batch: wire::TokenBatch = serde_json::from_str(&body)?;
            for token in batch.tokens {
                let form = self
                    .clients
                    .form_of(0, &format!("token={}", token.access_token))?;
                requests.push(request("POST", address, &path, &FORM, &form));
            }
        }
        Ok(requests)
    }

    /// Tokens of the agent's task for the first client.
    fn renewed(&self, installation: &Installation, count: u32) -> anyhow::Result<Vec<u8>> {
        let authorization = format!("Bearer {}", self.actor(0)?);
        let headers = [
            ("authorization", authorization.as_str()),
            ("content-type", "application/json"),
        ];
        let path = format!("/v1/tenants/{}/tasks/{}/tokens", self.slug, self.task);
        let body = format!("{{\"count\":{count}}}");
        Ok(request(
            "POST",
            &installation.service.address,
            &path,
            &headers,
            &body,
        ))
    }

    /// Introspection and revocation by one connection, alone and while others have tokens issued.
    async fn asked(&mut self, installation: &Installation, span: Duration) -> anyhow::Result<()> {
        let count = prepared(span, ASKED_PER_S) / 2;
        for (name, busy) in [("idle", false), ("busy", true)] {
            let asked = self.asking(installation, "introspect", count, |actor| {
                format!("token={actor}")
            })?;
            let mut taken = self.beside(installation, asked, busy, span).await?;
            taken.sample.print(&format!("introspect {name}"));
            let asked = self.ending(installation, count / 4).await?;
            let mut taken = self.beside(installation, asked, busy, span).await?;
            taken.sample.print(&format!("revoke {name}"));
        }
        Ok(())
    }

    async fn beside(
        &self,
        installation: &Installation,
        asked: Vec<Vec<u8>>,
        busy: bool,
        span: Duration,
    ) -> anyhow::Result<Taken> {
        let asked = load(installation, asked, 1, span);
        if !busy {
            return asked.run().await;
        }
        let renewed = self.renewed(installation, 1)?;
        let others = Load {
            once: false,
            ..load(installation, vec![renewed], BUSY, span)
        };
        let (taken, others) = tokio::join!(asked.run(), others.run());
        figure("issue beside rate", others?.per_s, "tokens/s");
        taken
    }
}
