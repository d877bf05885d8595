//! Commits per second of the store: small transactions, each durable before its caller goes on.
//!
//! `cargo run -p bailiwick-store --example bench_store -- [SECONDS] [POSTGRES_URL]`
//!
//! Not a product path: the sealer is AES-256-GCM under one fixed key, so that its cost is in the figure.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::aead::{AES_256_GCM, Aad, RandomizedNonceKey};
use aws_lc_rs::hmac;
use bailiwick_base::{
    Clock, Digest, Ids, NodeName, SealContext, SealError, Sealer, SeededEntropy, SigningAlgorithm, TenantId,
    Time,
};
use bailiwick_decide::{MarkEffect, MarkScope};
use bailiwick_inventory::{Kind, Labels, Limits, NewTenant, Owner, Registration, add_tenant, register};
use bailiwick_store::{
    Actor, Context, Lane, Reach, RequestId, Store, StoreConfig, StoreDeps, StoreError, Tx,
};

struct FixedKey(RandomizedNonceKey, hmac::Key);

impl Sealer for FixedKey {
    fn seal(&self, _: &SealContext<'_>, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut body = plain.to_vec();
        let nonce = self
            .0
            .seal_in_place_append_tag(Aad::empty(), &mut body)
            .map_err(|_| SealError::NotOpen)?;
        body.extend_from_slice(nonce.as_ref());
        Ok(body)
    }
    fn open(&self, _: &SealContext<'_>, _: &[u8]) -> Result<Vec<u8>, SealError> {
        Err(SealError::NotOpen)
    }
    fn commit(&self, _: Option<&TenantId>, payload: &[u8]) -> Result<[u8; 32], SealError> {
        hmac::sign(&self.1, payload)
            .as_ref()
            .try_into()
            .map_err(|_| SealError::NotOpen)
    }

    fn vouch(&self, purpose: &'static str, said: &[u8]) -> Result<Digest, SealError> {
        self.commit(None, &[purpose.as_bytes(), said].concat())
            .map(Digest)
    }
}

struct MachineClock(Instant);

impl Clock for MachineClock {
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
    fn now(&self) -> Time {
        let since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Time::from_micros(i64::try_from(since.as_micros()).unwrap_or(0))
    }
    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

struct Bench {
    store: Store,
    ids: Ids,
    clock: Arc<MachineClock>,
    tenant: TenantId,
    named: AtomicU64,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

impl Bench {
    fn ctx(&self, reach: impl Into<Reach>) -> Result<Context, Failure> {
        Ok(Context::new(
            reach.into(),
            Actor::System("bench"),
            RequestId(self.ids.uuid()?),
        ))
    }

    async fn register(&self) -> Result<(), Failure> {
        let now = self.clock.now();
        let wanted = Registration {
            id: self.ids.mint(&self.tenant)?,
            kind: Kind::Agent,
            name: format!("agent {}", self.named.fetch_add(1, Ordering::Relaxed)),
            platform: "bailiwick".to_owned(),
            owner: Some(Owner {
                team: "finance".to_owned(),
                contact: "finance@example.com".to_owned(),
            }),
            application: None,
            purpose: Some("reads invoices".to_owned()),
            labels: Labels::default(),
            expires_at: Some(now.after(Duration::from_secs(86_400))),
        };
        let t = register(wanted, &Limits::default(), now)?;
        let body = async move |tx: &mut Tx| {
            tx.identity().apply(t.clone()).await?;
            Ok::<_, StoreError>(Vec::new())
        };
        self.store.transact(self.ctx(&self.tenant)?, body).await?;
        Ok(())
    }

    async fn kill(&self) -> Result<(), Failure> {
        let scope = MarkScope::Token(self.ids.mint(&self.tenant)?);
        let body = async move |tx: &mut Tx| {
            tx.mark().set(scope.clone(), MarkEffect::Kill, "bench").await?;
            Ok::<_, StoreError>(Vec::new())
        };
        self.store
            .transact(self.ctx(&self.tenant)?.lane(Lane::Kill), body)
            .await?;
        Ok(())
    }
}

async fn opened(config: StoreConfig, tenant: &str) -> Result<Arc<Bench>, Failure> {
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
    let clock = Arc::new(MachineClock(Instant::now()));
    let sealing = RandomizedNonceKey::new(&AES_256_GCM, &[7; 32]).map_err(|_| SealError::NotOpen)?;
    let sealer = Arc::new(FixedKey(sealing, hmac::Key::new(hmac::HMAC_SHA256, &[7; 32])));
    let node = NodeName::parse("bench")?;
    let store = Store::open(
        config,
        StoreDeps {
            clock: clock.clone(),
            sealer,
            node,
            shelf: None,
            seat: Some("suite".to_owned()),
            observer: None,
        },
    )
    .await?;
    let seed = u64::try_from(clock.now().micros())?;
    let ids = Ids::new(clock.clone(), Arc::new(SeededEntropy::new(seed)));
    let tenant = TenantId::parse(tenant)?;
    let reference = format!("{seed:016x}");
    let wanted = NewTenant {
        id: tenant.clone(),
        name: "Bench".to_owned(),
        employees: 1,
        reference,
    };
    let added = add_tenant(wanted, clock.now())?;
    let bench = Bench {
        store,
        ids,
        clock,
        tenant,
        named: AtomicU64::new(0),
    };
    let body = async move |tx: &mut Tx| {
        tx.tenant()
            .add(added.clone(), SigningAlgorithm::Rs256, Vec::new())
            .await?;
        Ok::<_, StoreError>(Vec::new())
    };
    bench.store.transact(bench.ctx(&bench.tenant)?, body).await?;
    Ok(Arc::new(bench))
}

/// `writers` callers, each waiting for its own durable answer, for `span`.
async fn measured(bench: &Arc<Bench>, writers: usize, span: Duration) -> Result<String, Failure> {
    let before = bench.store.stats();
    let start = bench.clock.monotonic();
    let callers = (0..writers).map(|_| async {
        let mut waits = Vec::new();
        while bench.clock.monotonic().saturating_sub(start) < span {
            let began = bench.clock.monotonic();
            bench.register().await?;
            waits.push(bench.clock.monotonic().saturating_sub(began));
        }
        Ok::<_, Failure>(waits)
    });
    let mut waits = Vec::new();
    for result in futures_util::future::join_all(callers).await {
        waits.extend(result?);
    }
    let took = bench.clock.monotonic().saturating_sub(start).as_secs_f64();
    let after = bench.store.stats();
    waits.sort_unstable();
    let at = |share: f64| {
        let index = (waits.len() as f64 * share) as usize;
        waits
            .get(index.min(waits.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    };
    let (commits, transactions) = (after.0 - before.0, after.1 - before.1);
    Ok(format!(
        "{writers:>4} writers: {:>7.0} transactions/s, {:>6.0} commits/s, {:>5.1} per commit, p50 {:?}, p99 {:?}",
        transactions as f64 / took,
        commits as f64 / took,
        transactions as f64 / commits as f64,
        at(0.5),
        at(0.99),
    ))
}

/// Kills, one at a time, while `writers` others keep the store busy.
async fn kills(bench: &Arc<Bench>, writers: usize, span: Duration) -> Result<String, Failure> {
    let start = bench.clock.monotonic();
    let running = || bench.clock.monotonic().saturating_sub(start) < span;
    let load = futures_util::future::join_all((0..writers).map(|_| async {
        while running() {
            bench.register().await?;
        }
        Ok::<_, Failure>(())
    }));
    let killing = async {
        let mut waits = Vec::new();
        while running() {
            let began = bench.clock.monotonic();
            bench.kill().await?;
            waits.push(bench.clock.monotonic().saturating_sub(began));
        }
        Ok::<_, Failure>(waits)
    };
    let (load, waits) = futures_util::future::join(load, killing).await;
    load.into_iter().collect::<Result<Vec<()>, _>>()?;
    let mut waits = waits?;
    waits.sort_unstable();
    let at = |of: usize, by: usize| waits.get(waits.len() * of / by).copied().unwrap_or_default();
    Ok(format!(
        "kill beside {writers} writers: {} kills, p50 {:?}, p99 {:?}",
        waits.len(),
        at(1, 2),
        at(99, 100)
    ))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let span = Duration::from_secs(args.next().map_or(Ok(2), |s| s.parse())?);
    let folder = tempfile::tempdir()?;
    let config = match args.next() {
        Some(url) => StoreConfig::Postgres { url },
        None => StoreConfig::Sqlite {
            path: folder.path().join("bench.db"),
        },
    };
    let bench = opened(config, &format!("bench-{}", std::process::id())).await?;
    for writers in [1, 16, 64, 256] {
        println!("{}", measured(&bench, writers, span).await?);
    }
    for writers in [0, 64] {
        println!("{}", kills(&bench, writers, span).await?);
    }
    bench.store.close().await;
    Ok(())
}
