//! Issuing over HTTP (goals a1 and a2): with a client assertion, with a living token of the task, and 64 at a
//! time; for each algorithm beside the bare signature of the same run.

use std::hint::black_box;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    ParsedPublicKey, RSA_PKCS1_SHA256, RsaKeyPair,
};
use bailiwick_base::SigningAlgorithm;

use crate::client::Clients;
use crate::gauge::{self, figure};
use crate::http::{Load, request};
use crate::installation::{Installation, Server};

const CONNECTIONS: usize = 32;
const BATCH: u32 = 64;
const CORE: usize = 0;
/// Most assertions a second that are prepared.
const ASSERTIONS_PER_S: f64 = 16_000.0;
const SAMPLES: usize = 5;
const SPAN: Duration = Duration::from_millis(100);

/// Microseconds of CPU of a bare signature of 600 bytes, and of an ES256 verification.
pub(crate) fn floors() -> anyhow::Result<Vec<(SigningAlgorithm, f64)>> {
    let (random, message) = (SystemRandom::new(), [7_u8; 600]);
    let broken = |_| anyhow::anyhow!("aws-lc failed");
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).map_err(broken)?;
    let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(broken)?;
    let ed = Ed25519KeyPair::generate().map_err(broken)?;
    let mut signature = vec![0; rsa.public_modulus_len()];
    let rs256 = gauge::cpu("bare sign RS256", SAMPLES, SPAN, || {
        let _ = black_box(rsa.sign(&RSA_PKCS1_SHA256, &random, &message, &mut signature));
    });
    let es256 = gauge::cpu("bare sign ES256", SAMPLES, SPAN, || {
        let _ = black_box(ec.sign(&random, &message));
    });
    let eddsa = gauge::cpu("bare sign EdDSA", SAMPLES, SPAN, || {
        black_box(ed.sign(&message));
    });
    let signed = ec.sign(&random, &message).map_err(broken)?;
    let public = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, ec.public_key().as_ref())
        .map_err(|_| anyhow::anyhow!("aws-lc refused its own key"))?;
    let verify = gauge::cpu("bare verify ES256", SAMPLES, SPAN, || {
        let _ = black_box(public.verify_sig(&message, signed.as_ref()));
    });
    let floors = vec![
        (SigningAlgorithm::Rs256, rs256),
        (SigningAlgorithm::Es256, es256),
        (SigningAlgorithm::EdDsa, eddsa),
    ];
    for (algorithm, sign) in &floors {
        figure(&format!("sign rate {algorithm}"), 1e6 / sign, "tokens/s");
        // What a request costs that shows an assertion: its verification and the signature.
        figure(
            &format!("verify and sign rate {algorithm}"),
            1e6 / (sign + verify),
            "tokens/s",
        );
    }
    Ok(floors)
}

/// A tenant with a task and the clients of its identity.
struct Tenant {
    slug: String,
    task: String,
    token: String,
    clients: Clients,
}

pub(crate) async fn run(folder: &Path, span: Duration) -> anyhow::Result<()> {
    let floors = floors()?;
    let installation = Installation::start(folder, CORE).await?;
    // A scope needs a server; the door of AuthZEN is always there.
    let mut tenants = Vec::new();
    for (algorithm, _) in &floors {
        tenants.push((*algorithm, Tenant::add(&installation, *algorithm, span).await?));
    }
    let queued = installation.queued(folder, CORE).await?;
    // Assertions that could have been used before a server started are refused.
    tokio::time::sleep(Duration::from_secs(7)).await;
    let servers = [("queued", &queued), ("durable", &installation.service)];
    for (algorithm, tenant) in &mut tenants {
        for (name, server) in servers {
            let asserted = tenant.asserted(server, span)?;
            let name = format!("issue {name} {algorithm}");
            measure(server, asserted, true, span, &format!("{name} asserted"), 1).await?;
            let renewed = vec![tenant.renewed(server, 1)];
            measure(server, renewed, false, span, &format!("{name} renewed"), 1).await?;
            let batch = vec![tenant.renewed(server, BATCH)];
            measure(server, batch, false, span, &format!("{name} batch"), BATCH).await?;
        }
    }
    Ok(())
}

/// With the state in PostgreSQL: an assertion is used up there, for every node, before it is taken. That is one more
/// commit than on a node alone.
pub(crate) async fn run_on(folder: &Path, span: Duration, store: &str) -> anyhow::Result<()> {
    let installation = Installation::start_on(folder, CORE, Some(store)).await?;
    let algorithm = SigningAlgorithm::Es256;
    let mut tenant = Tenant::add(&installation, algorithm, span).await?;
    let asserted = tenant.asserted(&installation.service, span)?;
    let name = format!("issue postgresql {algorithm} asserted");
    measure(&installation.service, asserted, true, span, &name, 1).await
}

async fn measure(
    server: &Server,
    requests: Vec<Vec<u8>>,
    once: bool,
    span: Duration,
    name: &str,
    tokens: u32,
) -> anyhow::Result<()> {
    let load = Load {
        address: server.address.clone(),
        connections: CONNECTIONS,
        warm: span / 5,
        span,
        requests: Rc::new(requests),
        once,
        server: Some(server.pid()),
    };
    let mut taken = load.run().await?;
    let tokens = f64::from(tokens);
    figure(&format!("{name} rate"), taken.per_s * tokens, "tokens/s");
    figure(&format!("{name} cpu"), taken.cpu / tokens, "us");
    taken.sample.print(name);
    Ok(())
}

impl Tenant {
    async fn add(
        installation: &Installation,
        algorithm: SigningAlgorithm,
        span: Duration,
    ) -> anyhow::Result<Self> {
        let slug = algorithm.as_str().to_lowercase();
        installation.add_tenant(&slug, algorithm.as_str()).await?;
        let identity = installation.add_identity(&slug, "worker").await?;
        let (task, token) = installation
            .open_task(&slug, &identity, &["authzen:evaluate"], &[])
            .await?;
        let clients = Clients::register(installation, &slug, &identity, 2 * prepared(span)).await?;
        Ok(Self {
            slug,
            task,
            token,
            clients,
        })
    }

    fn asserted(&mut self, server: &Server, span: Duration) -> anyhow::Result<Vec<Vec<u8>>> {
        let more = format!("grant_type=client_credentials&task={}", self.task);
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let path = format!("/t/{}/token", self.slug);
        let mut requests = Vec::new();
        for _ in 0..prepared(span) {
            let body = self.clients.form(|_| more.clone())?;
            requests.push(request("POST", &server.address, &path, &headers, &body));
        }
        Ok(requests)
    }

    /// Tokens of the task for the bearer of one.
    fn renewed(&self, server: &Server, count: u32) -> Vec<u8> {
        let authorization = format!("Bearer {}", self.token);
        let headers = [
            ("authorization", authorization.as_str()),
            ("content-type", "application/json"),
        ];
        let path = format!("/v1/tenants/{}/tasks/{}/tokens", self.slug, self.task);
        let body = format!("{{\"count\":{count}}}");
        request("POST", &server.address, &path, &headers, &body)
    }
}

fn prepared(span: Duration) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a number of requests"
    )]
    let wanted = (span.as_secs_f64() * 1.3 * ASSERTIONS_PER_S) as usize;
    wanted
}
