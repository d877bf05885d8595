//! The doors of the product over a copy of an installation's state, wired as the service wires them, but with
//! the recorder that does not wait for the flush. It exists for the figures called *queued* and nowhere else.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bailiwick_api::{BoxFuture, Deps, DepsInner, LogDoor, LogError, LookError, Pruning, ToolLook};
use bailiwick_base::{Clock, CredentialId, Entropy, Ids, NodeName, Secret, TenantId, Time};
use bailiwick_decide::{Bearer, Snapshot, UpstreamServer};
use bailiwick_inventory::{Limits, SeenTool};
use bailiwick_journal::{DecisionLog, KillJournal, LogConfig};
use bailiwick_keys::{Keyring, SystemEntropy, Unseal};
use bailiwick_mcp::{
    Authenticator, Gateway, GatewayConfig, GatewayDeps, PinReport, PinReportError, PinReporter, Spawner,
    UpstreamSecrets,
};
use bailiwick_pep::token::{
    AssertionConfig, AssertionVerifier, KeySource, Presented, ProofConfig, ProofVerifier, TokenError,
    TurnNonces, Verifier, VerifierConfig,
};
use bailiwick_pep::{Pep, SnapshotCell};
use bailiwick_store::{Store, StoreConfig, StoreDeps};
use bailiwick_wire::{LogEntry, NamedLog};
use tokio_util::sync::CancellationToken;

use crate::clock::Machine;
use crate::recorder::Queued;

pub(crate) fn run(data: &Path, port: u16, base: &str) -> anyhow::Result<()> {
    bailiwick_server::run(serve(data, port, base))?
}

async fn serve(data: &Path, port: u16, base: &str) -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(Machine::new());
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let ids = Ids::new(Arc::clone(&clock), Arc::clone(&entropy));
    let unseal = Unseal::File(data.join("unseal.key"));
    let keyring = Arc::new(Keyring::open(&data.join("keys"), unseal, Arc::clone(&entropy))?);
    let store = open_store(data, &clock, &keyring).await?;
    let cell = Arc::new(SnapshotCell::new(Snapshot::empty(), Duration::from_secs(86_400)));
    cell.publish(store.facts().await?)?;
    cell.heard(clock.monotonic() + Duration::from_micros(1));
    let issuers = Arc::new(KeySource::new());
    for (tenant, _) in cell.load().tenants() {
        let issuer = format!("{base}/t/{}", tenant.id);
        let published = keyring.jwks(&tenant.id)?;
        let published = published
            .iter()
            .map(|jwk| (jwk.kid().to_owned(), Arc::clone(jwk.key())));
        issuers.publish(&issuer, &tenant.id, &format!("{issuer}/mcp"), published);
    }
    let log = open_log(data, &clock, &keyring)?;
    let recorder = Arc::new(Queued::new(Arc::clone(&log), Arc::clone(&cell)));
    let budget = Duration::from_millis(250);
    let pep = Arc::new(Pep::new(
        Arc::clone(&cell),
        recorder,
        Arc::clone(&clock),
        ids.clone(),
        budget,
    ));
    let verifier = Arc::new(Verifier::new(issuers, VerifierConfig::default()));
    let mut secret = [0_u8; 32];
    entropy.fill(&mut secret)?;
    let proofs = Arc::new(ProofVerifier::new(
        ProofConfig::default(),
        base,
        TurnNonces::new(secret),
    ));
    let mut config = GatewayConfig::new(base)?;
    config.let_in_loopback(port);
    let gateway = Gateway::new(GatewayDeps {
        pep: Arc::clone(&pep),
        cell: Arc::clone(&cell),
        authenticator: Arc::new(Tokens(Arc::clone(&verifier), Arc::clone(&proofs))),
        secrets: Arc::new(Nothing),
        pins: Arc::new(Nothing),
        launcher: None,
        dialer: bailiwick_outbound::Dialer::of_system(),
        clock: Arc::clone(&clock),
        ids: ids.clone(),
        entropy: Arc::clone(&entropy),
        spawner: Arc::new(Tasks),
        config,
    });
    let assertions = Arc::new(AssertionVerifier::new(AssertionConfig::default(), clock.now()));
    let fetcher = || {
        bailiwick_outbound::Fetcher::new(
            bailiwick_outbound::Dialer::of_system(),
            Arc::clone(&clock),
            bailiwick_outbound::FetchConfig::default(),
        )
    };
    let attester = bailiwick_attest::Attester::new(Arc::new(fetcher()))?;
    let federation = Arc::new(bailiwick_api::Federation::new(attester, fetcher(), clock.now()));
    let (kill_journal, _) = KillJournal::open(&bailiwick_journal::OsDisk, &data.join("kill.journal"))?;
    let deps = Deps::from(DepsInner {
        base_url: base.to_owned(),
        trust_domain: "bench.example".to_owned(),
        limits: Limits::default(),
        credential_limits: bailiwick_credential::Limits {
            token_ttl_max: Duration::from_secs(3_600),
            ..bailiwick_credential::Limits::default()
        },
        nodes: bailiwick_api::Nodes::new(
            NodeName::parse("node-1")?,
            bailiwick_node::Bounds::of_secs(2, 5)?,
            "bench.invalid/state".to_owned(),
        ),
        signals: bailiwick_api::Signals::new(&bailiwick_api::SignalConfig::default())?,
        drills: bailiwick_api::Drills::new(&bailiwick_api::KillConfig::default()),
        signing: bailiwick_api::Signing::new(bailiwick_credential::signing_key::KeySchedule::default()),
        sender: bailiwick_outbound::Sender::new(
            bailiwick_outbound::Dialer::of_system(),
            bailiwick_outbound::SendConfig::default(),
        ),
        svids: bailiwick_api::IssuedSvids::since(clock.now()),
        clock,
        entropy,
        ids,
        store,
        keyring,
        cell,
        pep,
        verifier,
        proofs,
        certificates: false,
        assertions,
        federation,
        kill_journal: Arc::new(kill_journal),
        witness: bailiwick_witness::Keeper::exempt(),
        unsettled: bailiwick_api::Unsettled::default(),
        egress: bailiwick_wire::Egress::default(),
        heartbeats: bailiwick_api::Heartbeats::default(),
        waiting: bailiwick_api::WaitingList::default(),
        sessions: bailiwick_api::UsedSessions::default(),
        operators: arc_swap::ArcSwap::default(),
        tools: Arc::new(Nothing),
        logs: Arc::new(Nothing),
        pruning: Pruning::new(&log, &bailiwick_api::LogConfig::default()),
    });
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    bailiwick_server::doors::serve(address, &deps, gateway.router(), log, CancellationToken::new()).await
}

pub(crate) async fn open_store(
    data: &Path,
    clock: &Arc<dyn Clock>,
    keyring: &Arc<Keyring>,
) -> anyhow::Result<Store> {
    let config = StoreConfig::Sqlite {
        path: data.join("state.db"),
    };
    let deps = StoreDeps {
        clock: Arc::clone(clock),
        sealer: Arc::clone(keyring) as _,
        node: NodeName::parse("node-1")?,
        seat: None,
        observer: None,
        shelf: None,
    };
    Store::open(config, deps).await.context("store")
}

fn open_log(data: &Path, clock: &Arc<dyn Clock>, keyring: &Arc<Keyring>) -> anyhow::Result<Arc<DecisionLog>> {
    let origin = "bench.invalid/decisions/queued";
    let mut config = LogConfig::new(NodeName::parse("node-1")?, origin);
    config.queue_records_max = 65_536;
    let deps = bailiwick_journal::Deps {
        clock: Arc::clone(clock),
        sealer: Arc::clone(keyring) as _,
        key: crate::note::key(keyring, origin)?,
        disk: Arc::new(bailiwick_journal::OsDisk),
    };
    let (log, _) = DecisionLog::open(&data.join("queued-log"), config, deps)?;
    Ok(Arc::new(log))
}

/// The token verifier as the gateway calls it.
struct Tokens(Arc<Verifier>, Arc<ProofVerifier>);

impl Authenticator for Tokens {
    fn verify(&self, tenant: &TenantId, presented: &Presented<'_>, now: Time) -> Result<Bearer, TokenError> {
        let verified = self.0.verify_presented(&self.1, Some(tenant), presented, now)?;
        Ok(verified.bearer())
    }

    fn nonce(&self, now: Time) -> String {
        self.1.nonce(now)
    }
}

struct Tasks;

impl Spawner for Tasks {
    fn spawn(&self, work: bailiwick_mcp::BoxFuture<'static, ()>) {
        drop(tokio::spawn(work));
    }
}

/// The ports that no measured request uses: each refuses.
struct Nothing;

impl Nothing {
    fn unread() -> LogError {
        LogError::Failed("this server only measures".to_owned())
    }

    fn refusal() -> LookError {
        LookError("this server only measures".to_owned())
    }
}

impl UpstreamSecrets for Nothing {
    fn secret<'a>(&'a self, _: &'a CredentialId) -> bailiwick_mcp::BoxFuture<'a, Option<Secret<Vec<u8>>>> {
        Box::pin(std::future::ready(None))
    }
}

impl PinReporter for Nothing {
    fn report(&self, _: PinReport) -> bailiwick_mcp::BoxFuture<'_, Result<(), PinReportError>> {
        Box::pin(async { Err(PinReportError("this server only measures".to_owned())) })
    }
}

impl ToolLook for Nothing {
    fn look<'a>(
        &'a self,
        _: &'a UpstreamServer,
        _: Option<&'a [u8]>,
    ) -> BoxFuture<'a, Result<Vec<SeenTool>, LookError>> {
        Box::pin(async { Err(Self::refusal()) })
    }
}

impl LogDoor for Nothing {
    fn list(&self) -> Vec<NamedLog> {
        Vec::new()
    }
    fn prove<'a>(&'a self, _: &'a str, _: u64, _: bool) -> BoxFuture<'a, Result<Option<Vec<u8>>, LogError>> {
        Box::pin(async { Err(Self::unread()) })
    }
    fn index_of<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<u64>, LogError>> {
        Box::pin(async { Err(Self::unread()) })
    }
    fn entries<'a>(
        &'a self,
        _: &'a str,
        _: u64,
        _: usize,
        _: Option<&'a TenantId>,
    ) -> BoxFuture<'a, Result<Vec<LogEntry>, LogError>> {
        Box::pin(async { Err(Self::unread()) })
    }
    fn openings<'a>(&'a self, _: &'a str, _: u64, _: usize) -> BoxFuture<'a, Result<Vec<u8>, LogError>> {
        Box::pin(async { Err(Self::unread()) })
    }
}
