//! Starting, running and stopping one node.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use anyhow::{Context, ensure};
use bailiwick_api::{Deps, DepsInner, JournalRecorder, Logs, Named, Secrets};
use bailiwick_base::{Clock, Entropy, Ids, NodeName};
use bailiwick_cosign::Asker;
use bailiwick_decide::Snapshot;
use bailiwick_inventory::{Limits, installation};
use bailiwick_journal::{DecisionLog, Disk, KillEntry, KillJournal, LogConfig, OsDisk, Slot, StateTiles};
use bailiwick_keys::{Keyring, SystemEntropy};
use bailiwick_mcp::launcher::Launcher;
use bailiwick_mcp::{Gateway, GatewayConfig, GatewayDeps};
use bailiwick_outbound::{Dialer, SendConfig, Sender};
use bailiwick_pep::token::{AssertionConfig, AssertionVerifier, KeySource, Verifier, VerifierConfig};
use bailiwick_pep::{Pep, SnapshotCell};
use bailiwick_proxy::Proxy;
use bailiwick_store::{Entry, Reach, Store, StoreConfig, StoreDeps};
use bailiwick_witness::{Examined, Keeper, LogFolder};
use metrics_exporter_prometheus::PrometheusHandle;
use rustix::fs::Mode;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::claiming;
use crate::clock::SystemClock;
use crate::config::Config;
use crate::evidence::VKEY_FILE;
use crate::http::{Front, Probes, router};
use crate::listener::Listener;
use crate::observer::observer;
use crate::ports::{Drift, Look, Tasks, Tokens};
use crate::telemetry::Signals;
use crate::{callers, drivers, keys, telemetry};

/// Where a running service can be reached.
#[derive(Debug, Clone)]
pub struct Listening {
    /// Base URL as clients see it.
    pub base_url: String,
    /// Where this node listens, as `scheme://address:port`.
    pub address: String,
    /// Data folder.
    pub data: PathBuf,
    /// Whether an operator exists.
    pub claimed: bool,
    /// Plaintext beyond loopback.
    pub insecure: bool,
}

/// What a node takes from the machine it runs on.
pub struct Machine {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Where both logs and the kill journal are.
    pub disk: Arc<dyn Disk>,
    /// The program that starts upstream programs when it is given the word `launcher`; without one, upstream
    /// servers on standard streams are unreachable.
    pub launcher: Option<PathBuf>,
}

impl Machine {
    /// The machine's clock; this binary again as the launcher.
    ///
    /// # Errors
    /// When the path of this binary is not known.
    pub fn this() -> anyhow::Result<Self> {
        Ok(Self {
            clock: Arc::new(SystemClock::new()),
            disk: Arc::new(OsDisk),
            launcher: Some(std::env::current_exe().context("own path not known")?),
        })
    }
}

/// How long background work may take to end.
const STOPPING: Duration = Duration::from_secs(10);

/// One node, bound and ready, not serving before [`Service::run`].
pub struct Service {
    listening: Listening,
    listener: Listener,
    router: axum::Router,
    claim: tokio::net::UnixListener,
    claim_router: axum::Router,
    workloads: Option<tokio::net::UnixListener>,
    deps: Deps,
    log: Arc<DecisionLog>,
    stop: CancellationToken,
    signals: Signals,
    publisher: (Arc<StateTiles>, UnboundedReceiver<Vec<Entry>>),
    asker: Asker,
    gateway: Arc<Gateway>,
    proxy: Option<Proxy>,
    telemetry: PrometheusHandle,
    /// When the reading began that the first snapshot was made of.
    asked: Duration,
    /// Ends with the service: dropping it ends the launcher and everything it started.
    _launcher: Option<tokio::process::Child>,
}

/// The parts that everything else is built on.
pub(crate) struct Ground {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    ids: Ids,
    pub(crate) keyring: Arc<Keyring>,
    cell: Arc<SnapshotCell>,
    store: Store,
    log: Arc<DecisionLog>,
    tiles: Arc<StateTiles>,
    logs: Logs,
    witness: Arc<Keeper>,
    kill_journal: Arc<KillJournal>,
    unsettled: Vec<(Slot, KillEntry)>,
    committed: UnboundedReceiver<Vec<Entry>>,
    issuers: Arc<KeySource>,
    pub(crate) dialer: Dialer,
    asked: Duration,
    nodes: bailiwick_api::Nodes,
}

impl Service {
    /// Opens everything, replays the kill journal, binds the listeners. Nothing is answered before.
    ///
    /// # Errors
    /// The first thing that is not as it must be, with the fix.
    pub async fn start(config: Config) -> anyhow::Result<Self> {
        Self::start_on(Machine::this()?, config).await
    }

    /// The same with another clock, disk or launcher.
    ///
    /// # Errors
    /// As [`Service::start`].
    pub async fn start_on(machine: Machine, config: Config) -> anyhow::Result<Self> {
        config.require_safe()?;
        let signals = Signals::start(&config.telemetry)?;
        let metrics = telemetry::metrics()?;
        // The programs it starts have files of their own kind; everything this process makes is its user's alone.
        let (launcher, launcher_process) = start_launcher(machine.launcher.as_deref());
        let _before = rustix::process::umask(Mode::RWXG | Mode::RWXO);
        // Ports that are taken are found before anything is made.
        let listener = Listener::bind(config.socket()?, &config.listen).await?;
        if let Some(proxy) = config.proxy_listen()? {
            std::net::TcpListener::bind(proxy)
                .with_context(|| format!("config key `proxy.listen`: cannot listen on {proxy}"))?;
        }
        make_data_folder(&config.data)?;
        let base_url = base_url(&config, &listener)?;
        let ground = ground(&config, &base_url, (machine.clock, &machine.disk)).await?;
        let stop = CancellationToken::new();
        let parts = wire(&config, &base_url, ground, launcher, &listener)?;
        parts
            .deps
            .replay_kills(parts.unsettled)
            .await
            .map_err(|e| anyhow::anyhow!("{}", e.text()))?;
        bailiwick_api::note_settings(&parts.deps, config.store.async_replica_waiver.as_deref()).await?;
        bailiwick_api::advance_keys(&parts.deps).await;
        let probes = Probes {
            deps: parts.deps.clone(),
            log: Arc::clone(&parts.log),
            metrics: metrics.clone(),
        };
        let claim = claiming::bind(&config.data)?;
        let workloads = bailiwick_spiffe::bind(config.spiffe.socket.as_deref())?;
        let insecure = listener.scheme() == "http" && !config.socket()?.ip().is_loopback();
        if insecure {
            bailiwick_api::note_insecure(&parts.deps, &config.listen.address).await?;
        }
        let listening = Listening {
            base_url,
            address: format!("{}://{}", listener.scheme(), listener.address()?),
            data: config.data.clone(),
            claimed: !parts.deps.operators.load().is_empty(),
            insecure,
        };
        let logs = (&parts.publisher.0, &parts.log);
        note_start(&listening, &listener, &parts.deps, (logs.0, logs.1))?;
        let sender = parts.deps.sender.clone();
        let asker = Asker::of_node(&config.witness, &config.data, (sender, &machine.disk), logs)?;
        parts.deps.pruning.wait_for(asker.lowest_of_decisions());
        Ok(Self {
            listening,
            listener,
            asker,
            router: router(&parts.deps, parts.gateway.router(), probes, parts.front),
            claim,
            workloads,
            claim_router: bailiwick_api::claim_router(parts.deps.clone()),
            deps: parts.deps,
            log: parts.log,
            stop,
            signals,
            publisher: parts.publisher,
            gateway: parts.gateway,
            proxy: parts.proxy,
            telemetry: metrics,
            asked: parts.asked,
            _launcher: launcher_process,
        })
    }

    /// The bound address.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn address(&self) -> anyhow::Result<std::net::SocketAddr> {
        self.listener.address()
    }

    /// Where it can be reached.
    #[must_use]
    pub fn listening(&self) -> &Listening {
        &self.listening
    }

    /// Serves until a signal or [`Stopper::stop`]; open calls get the drain time.
    pub async fn run(self) {
        let Self {
            listener,
            router,
            claim,
            claim_router,
            workloads,
            deps,
            log,
            stop,
            signals,
            publisher,
            asker,
            gateway,
            proxy,
            telemetry,
            listening,
            asked,
            ..
        } = self;
        let (tiles, committed) = publisher;
        let state = Arc::clone(&tiles);
        let mut running = JoinSet::new();
        // Open calls have their drain time: until it is over, whatever narrows is heard and ends them.
        let deaf = CancellationToken::new();
        running.spawn(bailiwick_api::publish_state(tiles, deps.clone(), committed));
        running.spawn(bailiwick_api::keep_word(
            deps.clone(),
            asked,
            deaf.clone().cancelled_owned(),
        ));
        running.spawn(asker.run(stop.clone().cancelled_owned()));
        let cell = Arc::clone(&deps.cell);
        let witness = Arc::clone(&deps.witness);
        running.spawn(witness.run(move || cell.load().epoch(), stop.clone().cancelled_owned()));
        running.spawn(bailiwick_spiffe::serve(
            workloads,
            Arc::new(bailiwick_api::Workloads(deps.clone())),
            Arc::new(crate::spawn),
            stop.clone().cancelled_owned(),
        ));
        running.spawn(drivers::reconcile(deps.clone(), stop.clone()));
        running.spawn(drivers::silent_tasks(deps.clone(), stop.clone()));
        running.spawn(drivers::sweep(deps.clone(), gateway, stop.clone()));
        if let Some(proxy) = proxy {
            running.spawn(proxy.serve(stop.clone()));
        }
        running.spawn(drivers::upkeep(telemetry, stop.clone()));
        running.spawn(claiming::serve(claim, claim_router, stop.clone()));
        running.spawn(stop_on_signal(stop.clone()));
        listener.serve(router, stop.clone()).await;
        stop.cancel();
        deaf.cancel();
        bailiwick_api::leave(&deps).await;
        // Closing the store ends its publisher, once everything committed is published.
        deps.store.close().await;
        drop(deps);
        if tokio::time::timeout(STOPPING, running.join_all()).await.is_err() {
            tracing::warn!("background work did not end in time; the next start catches up");
        }
        cover_all(&log);
        tracing::info!(
            base_url = %listening.base_url,
            state_entries = state.checkpoint().checkpoint().size,
            decision_entries = log.checkpoint().checkpoint().size,
            "stopped"
        );
        signals.flush();
    }

    /// A handle that stops it from elsewhere.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper(self.stop.clone())
    }
}

/// Stops a running service.
#[derive(Clone)]
pub struct Stopper(CancellationToken);

impl Stopper {
    /// Stops it; open calls get the drain time.
    pub fn stop(&self) {
        self.0.cancel();
    }
}

fn make_data_folder(data: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    if !data.exists() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(data)
            .with_context(|| {
                format!(
                    "data folder `{}` cannot be made: give one this user may write",
                    data.display()
                )
            })?;
    }
    ensure!(
        data.is_dir(),
        "data folder `{}` is no folder: give one, or a path where it can be made",
        data.display()
    );
    let mode = std::fs::metadata(data)
        .with_context(|| format!("data folder `{}` cannot be read", data.display()))?
        .permissions()
        .mode();
    ensure!(
        mode & 0o077 == 0,
        "data folder `{}` is open to others: chmod 700 {0}",
        data.display()
    );
    let probe = data.join(".writable");
    std::fs::write(&probe, b"")
        .and_then(|()| std::fs::remove_file(&probe))
        .with_context(|| {
            format!(
                "data folder `{}` cannot be written: make it writable for this user",
                data.display()
            )
        })
}

fn base_url(config: &Config, listener: &Listener) -> anyhow::Result<String> {
    if !config.base_url.is_empty() {
        return Ok(config.base_url.clone());
    }
    Ok(format!("{}://{}", listener.scheme(), listener.address()?))
}

/// `host/log` without the scheme, as origins are written.
fn origin(base_url: &str, log: &str) -> String {
    let host = base_url.split_once("://").map_or(base_url, |(_, host)| host);
    format!("{host}/{log}")
}

/// The origin a folder began with stays, whatever the address is today.
fn kept_origin(dir: &Path, wanted: String) -> anyhow::Result<String> {
    let file = dir.join("origin");
    match std::fs::read_to_string(&file) {
        Ok(kept) if kept.trim().is_empty() => anyhow::bail!(
            "`{}` is empty: write the origin of this log into it, as its checkpoint names it",
            file.display()
        ),
        Ok(kept) => return crate::intact::origin_of(&file, kept.trim()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).with_context(|| format!("`{}` cannot be read", file.display())),
    }
    std::fs::create_dir_all(dir).with_context(|| format!("`{}` cannot be made", dir.display()))?;
    write_whole(&file, format!("{wanted}\n").as_bytes())?;
    Ok(wanted)
}

/// A file of this user alone that is there whole or not at all. What is there already is not written anew.
fn write_whole(file: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if std::fs::read(file).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    let disk: &dyn Disk = &OsDisk;
    disk.replace(file, bytes)
        .with_context(|| format!("`{}` cannot be written", file.display()))
}

/// What this start found, in one line of the log.
fn note_start(
    listening: &Listening,
    listener: &Listener,
    deps: &Deps,
    (state, decisions): (&StateTiles, &DecisionLog),
) -> anyhow::Result<()> {
    tracing::info!(
        address = %listener.address()?,
        base_url = %listening.base_url,
        data = %listening.data.display(),
        tenants = deps.cell.load().tenants().count(),
        state_entries = state.checkpoint().checkpoint().size,
        decision_entries = decisions.checkpoint().checkpoint().size,
        "started"
    );
    Ok(())
}

async fn ground(
    config: &Config,
    base_url: &str,
    (clock, disk): (Arc<dyn Clock>, &Arc<dyn Disk>),
) -> anyhow::Result<Ground> {
    let began = crate::intact::Parts::look(&config.data)?;
    began.require_kill_journal()?;
    // First, for its lock: a second service on this folder must not get as far as the store, where it would
    // fence the one that runs.
    let (kill_journal, unsettled) =
        KillJournal::open(&**disk, &config.data.join("kill.journal")).context("kill journal")?;
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let ids = Ids::new(Arc::clone(&clock), Arc::clone(&entropy));
    let unseal = keys::unseal(config)?;
    let keyring = bailiwick_holders::keyring(&config.keys.holder, &config.data, unseal, (&clock, &entropy))?;
    let keyring = Arc::new(keyring);
    let lease = Duration::from_secs(config.freshness.refuse_secs);
    let cell = Arc::new(SnapshotCell::new(Snapshot::empty(), lease));
    let issuers = Arc::new(KeySource::new());
    let (entries, committed) = unbounded_channel();
    let deps = StoreDeps {
        clock: Arc::clone(&clock),
        sealer: Arc::clone(&keyring) as _,
        shelf: Some(Arc::clone(&keyring) as _),
        seat: bailiwick_journal::seat(&config.data),
        node: NodeName::parse(&config.node)?,
        observer: Some(observer(&cell, &keyring, &issuers, base_url, entries)),
    };
    if config.served_store().is_none() {
        began.require_store()?;
    }
    let store = Store::open(store_config(config)?, deps).await.context("store")?;
    let stored = store.position().await.context("store")?.0.0;
    began.require_logs(stored)?;
    if store.is_shared() {
        let origin = kept_origin(&config.data.join("log/state"), origin(base_url, "state"))?;
        let waiver = config.store.async_replica_waiver.as_deref();
        let older = config.witness.accepted().is_some();
        bailiwick_api::share_keys(&store, &keyring, &origin, (waiver, older)).await?;
    }
    let asked = bailiwick_api::first_word(&store, &cell, &*clock, config.bounds()?).await?;
    for (tenant, _) in cell.load().tenants() {
        match cell.load().signing_keys(&tenant.id) {
            [] => {}
            recorded => keys::follow(&keyring, &tenant.id, recorded)?,
        }
        keys::publish_issuer(&issuers, &keyring, base_url, &tenant.id)?;
    }
    let (logs, witness) =
        open_logs(config, base_url, (&clock, disk), (&keyring, &ids), &store, &cell).await?;
    let past = store.last_at().await.context("store")?.max(logs.log.last_at()?);
    let is_accepted = config.danger_clock_set_back;
    bailiwick_api::go_on_from(past.unwrap_or_default(), &*clock, (&store, &ids), is_accepted).await?;
    logs.settle_pruning(&ids, config.witness.accepted()).await?;
    bailiwick_keys::ceremony::mark_used(&config.data).context("keys")?;
    let origin = logs.state.origin.clone();
    Ok(Ground {
        nodes: bailiwick_api::Nodes::new(store.name().clone(), config.bounds()?, origin),
        log: Arc::clone(&logs.log),
        tiles: Arc::clone(&logs.tiles),
        kill_journal: Arc::new(kill_journal),
        clock,
        entropy,
        ids,
        keyring,
        cell,
        store,
        logs,
        witness,
        unsettled,
        committed,
        issuers,
        asked,
        dialer: Dialer::trusting(config.outbound.ca_file.as_deref()).context("outbound.ca_file")?,
    })
}

/// Both logs, the state log caught up with the store.
async fn open_logs(
    config: &Config,
    base_url: &str,
    (clock, disk): (&Arc<dyn Clock>, &Arc<dyn Disk>),
    (keyring, ids): (&Arc<Keyring>, &Ids),
    store: &Store,
    cell: &Arc<SnapshotCell>,
) -> anyhow::Result<(Logs, Arc<Keeper>)> {
    let node = NodeName::parse(&config.node)?;
    let folder = config.data.join("log");
    let (state_dir, decisions_dir) = (folder.join("state"), folder.join("decisions"));
    let state_origin = kept_origin(&state_dir, origin(base_url, "state"))?;
    let decisions_origin = kept_origin(&decisions_dir, origin(base_url, &format!("decisions/{node}")))?;
    let state_key = keys::note_key(keyring, &state_origin)?;
    let decisions_key = keys::note_key(keyring, &decisions_origin)?;
    let state = named(state_dir, state_origin, &state_key)?;
    let decisions = named(decisions_dir, decisions_origin, &decisions_key)?;
    let watched = [
        LogFolder::new("state", &state.dir, &state_key),
        LogFolder::new("decisions", &decisions.dir, &decisions_key),
    ];
    let mut seen = Examined::new(&config.witness, &config.data, disk, &watched, store).await?;
    let tiles = Arc::new(
        StateTiles::open(Arc::clone(disk), &state.dir, &state.origin, state_key).context("state log")?,
    );
    crate::intact::compare(&tiles, store).await?;
    let epoch = seen.require_epoch(store, ids).await?;
    bailiwick_api::catch_up(&tiles, store)
        .await
        .context("state log cannot be brought up to the store")?;
    let log = open_log(config, node, &decisions, (clock, disk), keyring, decisions_key)?;
    let log = Arc::new(log);
    let witness = Keeper::begin(seen, &tiles, &log, epoch)?;
    let logs = Logs {
        state,
        decisions,
        tiles,
        log,
        passed: Arc::default(),
        store: store.clone(),
        keyring: Arc::clone(keyring),
        cell: Arc::clone(cell),
    };
    Ok((logs, witness))
}

fn open_log(
    config: &Config,
    node: NodeName,
    named: &Named,
    (clock, disk): (&Arc<dyn Clock>, &Arc<dyn Disk>),
    keyring: &Arc<Keyring>,
    key: bailiwick_journal::NoteKey,
) -> anyhow::Result<DecisionLog> {
    let mut settings = LogConfig::new(node, named.origin.clone());
    settings.queue_records_max = config.log.queue_max;
    settings.segment_age_max = Some(config.log.segment_age_max());
    let deps = bailiwick_journal::Deps {
        clock: Arc::clone(clock),
        sealer: Arc::clone(keyring) as _,
        key,
        disk: Arc::clone(disk),
    };
    let (log, recovery) = DecisionLog::open(&named.dir, settings, deps).context("decision log")?;
    if let Some(cut) = &recovery.cut {
        tracing::warn!(
            ?cut,
            "the last flush was torn; its records were never acknowledged and are cut"
        );
    }
    Ok(log)
}

/// Writes the verifier key beside the log, for those who verify the folder without us.
fn named(dir: PathBuf, origin: String, key: &bailiwick_journal::NoteKey) -> anyhow::Result<Named> {
    let vkey = key.verifier.vkey();
    write_whole(&dir.join(VKEY_FILE), format!("{vkey}\n").as_bytes())?;
    Ok(Named { origin, vkey, dir })
}

fn store_config(config: &Config) -> anyhow::Result<StoreConfig> {
    let Some(file) = config.served_store() else {
        return Ok(StoreConfig::embedded(config.data.join("state.db")));
    };
    crate::listener::require_private(file)?;
    let url = std::fs::read_to_string(file).with_context(|| format!("cannot read `{}`", file.display()))?;
    Ok(StoreConfig::served(url.trim().to_owned()))
}

struct Parts {
    deps: Deps,
    log: Arc<DecisionLog>,
    gateway: Arc<Gateway>,
    proxy: Option<Proxy>,
    publisher: (Arc<StateTiles>, UnboundedReceiver<Vec<Entry>>),
    unsettled: Vec<(Slot, KillEntry)>,
    front: Front,
    asked: Duration,
}

fn front(config: &Config, gateway: &GatewayConfig) -> Front {
    let traced = !config.telemetry.otlp_endpoint.is_empty();
    Front::new(gateway, traced, config.listen.body_mib_max)
}

/// Puts the last records under a checkpoint.
fn cover_all(log: &DecisionLog) {
    if let Err(why) = tokio::task::block_in_place(|| log.integrate()) {
        tracing::warn!(
            why,
            "the last records have no checkpoint yet; the next start publishes them"
        );
    }
}

/// The enforcement point that every door asks, with the rates that the log remembers.
fn enforcement(config: &Config, ground: &Ground) -> anyhow::Result<Arc<Pep>> {
    let recorder = JournalRecorder::new(Arc::clone(&ground.log), Arc::clone(&ground.cell));
    let pep = Arc::new(Pep::new(
        Arc::clone(&ground.cell),
        Arc::new(recorder),
        Arc::clone(&ground.clock),
        ground.ids.clone(),
        config.record_budget(),
    ));
    bailiwick_api::recount_rates(&pep, &ground.log, &*ground.keyring, ground.clock.now())
        .context("decision log")?;
    Ok(pep)
}

fn wire(
    config: &Config,
    base_url: &str,
    ground: Ground,
    launcher: Option<Launcher>,
    listener: &Listener,
) -> anyhow::Result<Parts> {
    let pep = enforcement(config, &ground)?;
    let issuers = Arc::clone(&ground.issuers);
    let verifier = Arc::new(Verifier::new(issuers, VerifierConfig::default()));
    let proofs = callers::proofs(base_url, &*ground.entropy)?;
    let assertions = AssertionVerifier::new(AssertionConfig::default(), ground.clock.now());
    let (store, cell) = (ground.store.clone(), Arc::clone(&ground.cell));
    let secrets = Arc::new(Secrets::new(store, cell, base_url, Arc::clone(&ground.clock)));
    let (later, doors): (Arc<OnceLock<Weak<Gateway>>>, Arc<OnceLock<Deps>>) = Default::default();
    let gateway_config = gateway_config(config, base_url, listener)?;
    let front = front(config, &gateway_config);
    let ports = GatewayPorts {
        pep: Arc::clone(&pep),
        tokens: Tokens(Arc::clone(&verifier), Arc::clone(&proofs)),
        secrets: Arc::clone(&secrets),
        doors: Arc::clone(&doors),
        launcher,
    };
    let gateway = gateway(&ground, ports, gateway_config);
    let _first = later.set(Arc::downgrade(&gateway));
    let (proxy, egress) = crate::egress::proxy(config, &ground, (&pep, &verifier, &secrets))?.unzip();
    let deps = Deps::from(DepsInner {
        federation: callers::federation(&ground.dialer, &ground.clock)?,
        base_url: base_url.to_owned(),
        trust_domain: config.spiffe.trust_domain_at(base_url),
        limits: Limits::default(),
        credential_limits: config.tokens.limits(),
        svids: bailiwick_api::IssuedSvids::since(ground.clock.now()),
        clock: ground.clock,
        entropy: ground.entropy,
        ids: ground.ids,
        waiting: bailiwick_api::WaitingList::default(),
        signals: bailiwick_api::Signals::new(&config.signals)?,
        unsettled: bailiwick_api::Unsettled::default(),
        nodes: ground.nodes,
        drills: bailiwick_api::Drills::new(&config.kill),
        heartbeats: bailiwick_api::Heartbeats::default(),
        sessions: bailiwick_api::UsedSessions::default(),
        operators: arc_swap::ArcSwap::default(),
        store: ground.store,
        keyring: ground.keyring,
        cell: ground.cell,
        pep,
        verifier,
        proofs,
        certificates: listener.scheme() == "https",
        assertions: Arc::new(assertions),
        signing: bailiwick_api::Signing::new(config.keys.schedule()),
        egress: egress.unwrap_or_default(),
        sender: Sender::new(ground.dialer.clone(), SendConfig::default()),
        kill_journal: ground.kill_journal,
        witness: ground.witness,
        tools: Arc::new(Look::new(later, secrets)),
        logs: Arc::new(ground.logs),
        pruning: bailiwick_api::Pruning::new(&ground.log, &config.log),
    });
    read_operators(&deps)?;
    let _first = doors.set(deps.clone());
    Ok(Parts {
        deps,
        log: ground.log,
        gateway,
        proxy,
        publisher: (ground.tiles, ground.committed),
        unsettled: ground.unsettled,
        front,
        asked: ground.asked,
    })
}

/// What the gateway is given beside the ground.
struct GatewayPorts {
    pep: Arc<Pep>,
    tokens: Tokens,
    secrets: Arc<Secrets>,
    doors: Arc<OnceLock<Deps>>,
    launcher: Option<Launcher>,
}

fn gateway_config(config: &Config, base_url: &str, listener: &Listener) -> anyhow::Result<GatewayConfig> {
    let mut gateway = GatewayConfig::new(base_url)?;
    gateway.call_max = Duration::from_secs(config.gateway.call_max_secs);
    gateway.let_in_loopback(listener.address()?.port());
    for host in &config.listen.allowed_hosts {
        gateway.let_in("https", host);
    }
    Ok(gateway)
}

fn gateway(ground: &Ground, ports: GatewayPorts, config: GatewayConfig) -> Arc<Gateway> {
    Gateway::new(GatewayDeps {
        pep: ports.pep,
        cell: Arc::clone(&ground.cell),
        authenticator: Arc::new(ports.tokens),
        secrets: ports.secrets,
        pins: Arc::new(Drift {
            deps: ports.doors,
            limits: Limits::default(),
        }),
        launcher: ports.launcher,
        dialer: ground.dialer.clone(),
        clock: Arc::clone(&ground.clock),
        ids: ground.ids.clone(),
        entropy: Arc::clone(&ground.entropy),
        spawner: Arc::new(Tasks),
        config,
    })
}

fn read_operators(deps: &Deps) -> anyhow::Result<()> {
    let read = async {
        let mut reader = deps.store.reader(Reach::Installation).await?;
        reader.operator().list().await
    };
    let operators = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(read))
        .context("operators cannot be read")?;
    debug_assert!(operators.iter().all(|o| o.id.tenant() == &installation()));
    deps.operators.store(Arc::new(operators));
    Ok(())
}

/// Without a launcher standard-stream servers are unreachable and say so.
fn start_launcher(program: Option<&Path>) -> (Option<Launcher>, Option<tokio::process::Child>) {
    let Some(program) = program else {
        return (None, None);
    };
    match Launcher::start_process(program, &["launcher"], &Tasks) {
        Ok((launcher, child)) => (Some(launcher), Some(child)),
        Err(error) => {
            tracing::warn!(%error, "no launcher: upstream programs cannot be started");
            (None, None)
        }
    }
}

pub(crate) async fn stop_on_signal(stop: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be heard; stop with SIGKILL");
        return;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
        () = stop.cancelled() => {}
    }
    stop.cancel();
}
