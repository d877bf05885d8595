//! Many third-party credentials and many refresh tokens (goals a7 and a8): what one takes in the memory of the service
//! and on disk, and how long it takes to find one among them.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bailiwick_base::{
    Clock, ConsentId, CredentialId, Digest, Entropy, Epoch, Ids, Secret, TaskId, TenantId, TokenId,
};
use bailiwick_credential::consent::{Challenge, ConsentPlan, give_consent, redeem};
use bailiwick_credential::rotation::{NewThirdParty, register_third_party};
use bailiwick_credential::{Limits, ScopeSet, SecretKind, Task};
use bailiwick_keys::{Keyring, SystemEntropy, Unseal};
use bailiwick_store::{Actor, Context, Reach, RequestId, Store, StoreError};

use crate::clock::Machine;
use crate::gauge::{Sample, count, figure, micros, resident};
use crate::installation::{Installation, Server, free_port, serve};
use crate::queued::open_store;

const TENANT: &str = "acme";
const CORE: usize = 1;
/// Holdings of one transaction: more would hold the writer too long for others.
const STEP: usize = 200;
const LOOKUPS: usize = 20_000;
/// How long a process is left alone before its memory is read.
const SETTLE: Duration = Duration::from_secs(1);
/// A start reads the state log from its beginning.
const START: Duration = Duration::from_secs(900);
/// What a code has to be proven with (RFC 7636, appendix B).
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// The store of an installation, and what everything in it hangs on.
struct World {
    store: Store,
    ids: Ids,
    keyring: Arc<Keyring>,
    task: Task,
}

pub(crate) async fn run(folder: &Path, wanted: usize) -> anyhow::Result<()> {
    measured(
        &folder.join("credentials"),
        "holdings",
        wanted,
        add_credentials,
        find_credentials,
    )
    .await?;
    measured(
        &folder.join("refresh"),
        "refresh",
        wanted,
        add_refresh_tokens,
        find_refresh_tokens,
    )
    .await
}

/// Fills an installation with `wanted` of a kind; `name` begins the figures.
async fn measured<K>(
    folder: &Path,
    name: &str,
    wanted: usize,
    add: impl AsyncFn(&World, usize, usize) -> anyhow::Result<Vec<K>>,
    find: impl AsyncFn(&World, &[K]) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    let installation = Installation::start(folder, CORE).await?;
    installation.add_tenant(TENANT, "ES256").await?;
    let identity = installation.add_identity(TENANT, "holder").await?;
    let (task, _) = installation
        .open_task(TENANT, &identity, &["authzen:evaluate"], &[])
        .await?;
    let (data, base) = (installation.folder.clone(), installation.base.clone());
    drop(installation);
    let (empty, _) = restarted(&data, &base).await?;
    let before = size(&data)?;
    let world = World::open(&data, &task).await?;
    let begun = Instant::now();
    let mut known = Vec::with_capacity(wanted);
    while known.len() < wanted {
        let step = STEP.min(wanted - known.len());
        known.extend(add(&world, known.len(), step).await?);
    }
    let rate = count(wanted) / begun.elapsed().as_secs_f64();
    figure(&format!("{name} add rate"), rate, "per s");
    find(&world, &known).await?;
    drop(world);
    figure(
        &format!("{name} disk"),
        (size(&data)? - before) / count(wanted),
        "bytes",
    );
    let (full, start) = restarted(&data, &base).await?;
    figure(&format!("{name} memory"), (full - empty) / count(wanted), "bytes");
    figure(&format!("{name} start"), start.as_secs_f64(), "s");
    Ok(())
}

impl World {
    async fn open(data: &Path, task: &str) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(Machine::new());
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let ids = Ids::new(Arc::clone(&clock), Arc::clone(&entropy));
        let unseal = Unseal::File(data.join("unseal.key"));
        let keyring = Arc::new(Keyring::open(&data.join("keys"), unseal, entropy)?);
        let store = open_store(data, &clock, &keyring).await?;
        let tenant = TenantId::parse(TENANT)?;
        let task = TaskId::parse(&tenant, task)?;
        let found = store.reader(&tenant).await?.task().lookup(&task).await?;
        let (task, _) = found.context("the task is not there")?;
        Ok(Self {
            store,
            ids,
            keyring,
            task,
        })
    }

    fn tenant(&self) -> &TenantId {
        self.task.id.tenant()
    }

    fn context(&self) -> anyhow::Result<Context> {
        Ok(Context::new(
            Reach::from(self.tenant()),
            Actor::System("bench"),
            RequestId(self.ids.uuid()?),
        ))
    }
}

/// Registers `step` credentials, numbered from `first`, in one transaction.
async fn add_credentials(
    world: &World,
    first: usize,
    step: usize,
) -> anyhow::Result<Vec<(CredentialId, String)>> {
    let (mut wanted, mut known) = (Vec::with_capacity(step), Vec::with_capacity(step));
    for n in first..first + step {
        let secret = Secret::new(format!("key-{n:032}").into_bytes());
        let id: CredentialId = world.ids.mint(world.tenant())?;
        let now = bailiwick_server::now();
        let plan = NewThirdParty {
            id,
            name: format!("service-{n}"),
            identity: world.task.identity.clone(),
            identity_expires_at: now.after(Duration::from_secs(30 * 86_400)),
            kind: SecretKind::ApiKey,
            fingerprint: world.keyring.fingerprint(world.tenant(), secret.reveal())?,
            expires_at: None,
            every: None,
            overlap: None,
            consumers: vec!["billing".to_owned()],
            target: None,
        };
        known.push((plan.id.clone(), plan.name.clone()));
        wanted.push((register_third_party(plan, &Limits::default(), now)?, secret));
    }
    let wanted = Arc::new(wanted);
    let write = async move |tx: &mut bailiwick_store::Tx| {
        for (made, secret) in wanted.iter() {
            tx.third_party().add(made.clone(), secret).await?;
        }
        Ok::<_, StoreError>(Vec::new())
    };
    world.store.transact(world.context()?, write).await?;
    Ok(known)
}

/// One reader for each, as for each request.
async fn find_credentials(world: &World, known: &[(CredentialId, String)]) -> anyhow::Result<()> {
    let (store, tenant) = (&world.store, world.tenant());
    let (mut by_id, mut by_name) = (Sample::default(), Sample::default());
    for (id, name) in walk(known) {
        let start = Instant::now();
        let found = store.reader(tenant).await?.third_party().lookup(id).await?;
        by_id.push(micros(start.elapsed()));
        anyhow::ensure!(found.is_some(), "{id} is not found");
        let start = Instant::now();
        let mut reader = store.reader(tenant).await?;
        let found = reader.third_party().find_by_name(name).await?;
        by_name.push(micros(start.elapsed()));
        anyhow::ensure!(found.is_some(), "{name} is not found");
    }
    by_id.print("holdings by id");
    by_name.print("holdings by name");
    Ok(())
}

/// A refresh token as its holder shows it: the random part of one.
type Shown = [u8; 32];

fn kept(world: &World, shown: &Shown) -> anyhow::Result<Digest> {
    Ok(world
        .keyring
        .keyed_digest(world.tenant(), "refresh-token-kept", shown)?)
}

/// Adds `step` redeemed consents, each with a refresh token, in one transaction.
async fn add_refresh_tokens(
    world: &World,
    first: usize,
    step: usize,
) -> anyhow::Result<Vec<(ConsentId, Shown)>> {
    let scopes: ScopeSet = ["authzen:evaluate".to_owned()].into_iter().collect();
    let challenge = Challenge::parse(CHALLENGE).context("the challenge is malformed")?;
    let (mut wanted, mut known) = (Vec::with_capacity(step), Vec::with_capacity(step));
    for n in first..first + step {
        let id: ConsentId = world.ids.mint(world.tenant())?;
        let token: TokenId = world.ids.mint(world.tenant())?;
        let now = bailiwick_server::now();
        let plan = ConsentPlan {
            id: id.clone(),
            token,
            client: format!("https://client.example/{n}"),
            redirect: "http://127.0.0.1:3000/callback".to_owned(),
            challenge: challenge.clone(),
            task: &world.task,
            granted: &scopes,
            requested: None,
            epoch: Epoch(0),
            composition: None,
            given_by: "ada".to_owned(),
            code_ttl: Duration::from_secs(60),
        };
        let given = give_consent(plan, now)?;
        let shown = Digest::of(&n.to_be_bytes()).0;
        let redeemed = redeem(given.after.clone(), kept(world, &shown)?, now)?;
        known.push((id, shown));
        wanted.push((given, redeemed));
    }
    let wanted = Arc::new(wanted);
    let write = async move |tx: &mut bailiwick_store::Tx| {
        for (given, redeemed) in wanted.iter() {
            tx.consent().apply(given.clone()).await?;
            tx.consent().apply(redeemed.clone()).await?;
        }
        Ok::<_, StoreError>(Vec::new())
    };
    world.store.transact(world.context()?, write).await?;
    Ok(known)
}

/// From the token that is shown to the verdict that it is the one that serves.
async fn find_refresh_tokens(world: &World, known: &[(ConsentId, Shown)]) -> anyhow::Result<()> {
    let mut found = Sample::default();
    for (id, shown) in walk(known) {
        let start = Instant::now();
        let digest = kept(world, shown)?;
        let mut reader = world.store.reader(world.tenant()).await?;
        let consent = reader.consent().lookup(id).await?;
        let serves = consent.is_some_and(|consent| consent.refresh == Some(digest));
        found.push(micros(start.elapsed()));
        anyhow::ensure!(serves, "{id} is not found");
    }
    found.print("refresh by token");
    Ok(())
}

/// A fixed walk that touches every part of a list.
fn walk<K>(known: &[K]) -> impl Iterator<Item = &K> {
    let mut place = 1;
    (0..LOOKUPS).filter_map(move |_| {
        place = (place * 48_271 + 11) % known.len();
        known.get(place)
    })
}

/// Resident bytes of a service that was started on the folder, and how long the start took.
async fn restarted(data: &Path, base: &str) -> anyhow::Result<(f64, Duration)> {
    let port = free_port()?;
    let begun = Instant::now();
    let server = Server::spawn_within(serve(data, port, base, CORE)?, port, START)?;
    server.answers().await?;
    let took = begun.elapsed();
    std::thread::sleep(SETTLE);
    let bytes = resident(server.pid())?;
    server.end()?;
    Ok((bytes, took))
}

/// Bytes of the state: rows, their index and the log of their changes.
fn size(folder: &Path) -> anyhow::Result<f64> {
    let mut sum = 0.0;
    for item in std::fs::read_dir(folder)? {
        let item = item?;
        let about = item.metadata()?;
        #[expect(
            clippy::cast_precision_loss,
            reason = "bytes of a benchmark are far below 2^52"
        )]
        let bytes = about.len() as f64;
        sum += if about.is_dir() {
            size(&item.path())?
        } else {
            bytes
        };
    }
    Ok(sum)
}
