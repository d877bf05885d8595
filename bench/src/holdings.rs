//! Many third-party credentials (goals a7 and a8): what one takes in the memory of the service and on disk, and how
//! long it takes to find one among them.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bailiwick_base::{Clock, CredentialId, Entropy, IdentityId, Ids, Secret, TenantId};
use bailiwick_credential::rotation::{NewThirdParty, register_third_party};
use bailiwick_credential::{Limits, SecretKind};
use bailiwick_keys::{Keyring, SystemEntropy, Unseal};
use bailiwick_store::{Actor, Context, Reach, RequestId, Store, StoreError};

use crate::clock::Machine;
use crate::gauge::{Sample, count, figure, micros, resident};
use crate::installation::{Installation, Server, free_port, serve};
use crate::queued::open_store;

const TENANT: &str = "acme";
const CORE: usize = 1;
/// Credentials of one transaction: more would hold the writer too long for others.
const STEP: usize = 200;
const LOOKUPS: usize = 20_000;
/// How long a process is left alone before its memory is read.
const SETTLE: Duration = Duration::from_secs(1);
/// A start reads the state log from its beginning.
const START: Duration = Duration::from_secs(900);

pub(crate) async fn run(folder: &Path, wanted: usize) -> anyhow::Result<()> {
    let installation = Installation::start(folder, CORE).await?;
    installation.add_tenant(TENANT, "ES256").await?;
    let identity = installation.add_identity(TENANT, "holder").await?;
    let (data, base) = (installation.folder.clone(), installation.base.clone());
    drop(installation);
    let (empty, _) = restarted(&data, &base).await?;
    let before = size(&data)?;
    let clock: Arc<dyn Clock> = Arc::new(Machine::new());
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    let ids = Ids::new(Arc::clone(&clock), Arc::clone(&entropy));
    let unseal = Unseal::File(data.join("unseal.key"));
    let keyring = Arc::new(Keyring::open(&data.join("keys"), unseal, entropy)?);
    let store = open_store(&data, &clock, &keyring).await?;
    let tenant = TenantId::parse(TENANT)?;
    let identity = IdentityId::parse(&tenant, &identity)?;
    let begun = Instant::now();
    let mut known = Vec::with_capacity(wanted);
    while known.len() < wanted {
        let step = STEP.min(wanted - known.len());
        let added = add(&store, &ids, &keyring, &identity, (known.len(), step)).await?;
        known.extend(added);
    }
    figure(
        "holdings add rate",
        count(wanted) / begun.elapsed().as_secs_f64(),
        "credentials/s",
    );
    lookups(&store, &tenant, &known).await?;
    drop(store);
    figure("holdings disk", (size(&data)? - before) / count(wanted), "bytes");
    let (full, start) = restarted(&data, &base).await?;
    figure("holdings memory", (full - empty) / count(wanted), "bytes");
    figure("holdings start", start.as_secs_f64(), "s");
    Ok(())
}

/// Registers `step` credentials, numbered from `first`, in one transaction.
async fn add(
    store: &Store,
    ids: &Ids,
    keyring: &Keyring,
    identity: &IdentityId,
    (first, step): (usize, usize),
) -> anyhow::Result<Vec<(CredentialId, String)>> {
    let tenant = identity.tenant();
    let (mut wanted, mut known) = (Vec::with_capacity(step), Vec::with_capacity(step));
    for n in first..first + step {
        let secret = Secret::new(format!("key-{n:032}").into_bytes());
        let id: CredentialId = ids.mint(tenant)?;
        let now = bailiwick_server::now();
        let plan = NewThirdParty {
            id,
            name: format!("service-{n}"),
            identity: identity.clone(),
            identity_expires_at: now.after(Duration::from_secs(30 * 86_400)),
            kind: SecretKind::ApiKey,
            fingerprint: keyring.fingerprint(tenant, secret.reveal())?,
            expires_at: None,
            every: None,
            overlap: None,
            consumers: vec!["billing".to_owned()],
            target: None,
        };
        known.push((plan.id.clone(), plan.name.clone()));
        wanted.push((register_third_party(plan, &Limits::default(), now)?, secret));
    }
    let context = Context::new(
        Reach::from(tenant),
        Actor::System("bench"),
        RequestId(ids.uuid()?),
    );
    let wanted = Arc::new(wanted);
    store
        .transact(context, async move |tx| {
            for (made, secret) in wanted.iter() {
                tx.third_party().add(made.clone(), secret).await?;
            }
            Ok::<_, StoreError>(Vec::new())
        })
        .await?;
    Ok(known)
}

/// One reader for each, as for each request.
async fn lookups(store: &Store, tenant: &TenantId, known: &[(CredentialId, String)]) -> anyhow::Result<()> {
    let (mut by_id, mut by_name) = (Sample::default(), Sample::default());
    let mut place = 1;
    for _ in 0..LOOKUPS {
        // A fixed walk that touches every part of the list.
        place = (place * 48_271 + 11) % known.len();
        let (id, name) = known.get(place).context("no credential")?;
        let start = Instant::now();
        let found = store.reader(tenant).await?.third_party().lookup(id).await?;
        by_id.push(micros(start.elapsed()));
        anyhow::ensure!(found.is_some(), "{id} is not found");
        let start = Instant::now();
        let found = store
            .reader(tenant)
            .await?
            .third_party()
            .find_by_name(name)
            .await?;
        by_name.push(micros(start.elapsed()));
        anyhow::ensure!(found.is_some(), "{name} is not found");
    }
    by_id.print("holdings by id");
    by_name.print("holdings by name");
    Ok(())
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
