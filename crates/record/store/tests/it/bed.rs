//! A store on a fresh database of either engine, and things to put into it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac;
use bailiwick_base::{
    Clock, Digest, Entropy, GrantId, IdentityId, Ids, ManualClock, NodeName, SealContext, SealError, Sealer,
    SeededEntropy, ServerName, Sha256, TaskId, TenantId, Time, ToolName, Transition,
};
use bailiwick_credential::{Task, TaskState};
use bailiwick_grant::{Condition, Grant, Literal, Operator as Comparison, Rate, Scope};
use bailiwick_inventory::{
    Identity, Kind, Labels, Limits, NewTenant, Owner, Registration, add_tenant, installation, register,
};
use bailiwick_store::{
    Actor, Context, Observer, Reach, Receipt, RequestId, Store, StoreConfig, StoreDeps, StoreError, Tx,
};

pub(crate) const START: i64 = 1_763_750_000_000_000;

/// AES-256-GCM with the context as associated data; one key for each tenant, unless it was erased.
#[derive(Default)]
pub(crate) struct TestSealer {
    erased: Mutex<Vec<TenantId>>,
}

impl TestSealer {
    pub(crate) fn erase(&self, tenant: &TenantId) {
        self.erased.lock().unwrap().push(tenant.clone());
    }

    fn key(&self, tenant: Option<&TenantId>, label: &str) -> Result<[u8; 32], SealError> {
        if let Some(tenant) = tenant
            && self.erased.lock().unwrap().contains(tenant)
        {
            return Err(SealError::NoKey(tenant.to_string()));
        }
        let mut sha = Sha256::new();
        sha.update_field(label.as_bytes());
        sha.update_field(tenant.map_or("", TenantId::as_str).as_bytes());
        Ok(sha.finish().0)
    }
}

fn associated(context: &SealContext<'_>) -> Vec<u8> {
    let mut sha = Sha256::new();
    sha.update_field(context.tenant.map_or("", TenantId::as_str).as_bytes());
    sha.update_field(context.table.as_bytes());
    sha.update_field(context.row);
    sha.update_field(context.column.as_bytes());
    sha.finish().0.to_vec()
}

impl Sealer for TestSealer {
    fn seal(&self, context: &SealContext<'_>, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let key = RandomizedNonceKey::new(&AES_256_GCM, &self.key(context.tenant, "seal")?).unwrap();
        let mut body = plain.to_vec();
        let nonce = key
            .seal_in_place_append_tag(Aad::from(associated(context)), &mut body)
            .unwrap();
        Ok([&nonce.as_ref()[..], &body].concat())
    }

    fn open(&self, context: &SealContext<'_>, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let lost = || SealError::DoesNotOpen {
            table: context.table,
            column: context.column,
        };
        let key = RandomizedNonceKey::new(&AES_256_GCM, &self.key(context.tenant, "seal")?).unwrap();
        let (nonce, body) = sealed.split_at_checked(12).ok_or_else(lost)?;
        let mut body = body.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| lost())?;
        let plain = key
            .open_in_place(nonce, Aad::from(associated(context)), &mut body)
            .map_err(|_| lost())?;
        Ok(plain.to_vec())
    }

    fn commit(&self, tenant: Option<&TenantId>, payload: &[u8]) -> Result<[u8; 32], SealError> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.key(tenant, "log")?);
        Ok(hmac::sign(&key, payload).as_ref().try_into().unwrap())
    }

    fn vouch(&self, purpose: &'static str, said: &[u8]) -> Result<Digest, SealError> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.key(None, purpose)?);
        Ok(Digest(hmac::sign(&key, said).as_ref().try_into().unwrap()))
    }
}

/// Which engine, and what must live as long as the database.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) config: StoreConfig,
    /// Deleted with the last clone.
    #[expect(dead_code, reason = "held for its Drop")]
    pub(crate) folder: Option<Arc<tempfile::TempDir>>,
}

/// A fresh SQLite file.
pub(crate) async fn sqlite() -> Option<Place> {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let config = StoreConfig::Sqlite {
        path: folder.path().join("state.db"),
    };
    Some(Place {
        config,
        folder: Some(folder),
    })
}

/// The URL of a role that owns a database; `None` when there is none (said aloud; under CI an error).
pub(crate) fn postgres_url() -> Option<String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "tests are told by the environment where a server is"
    )]
    let (url, ci) = (
        std::env::var("BAILIWICK_TEST_POSTGRES").ok(),
        std::env::var("CI").ok(),
    );
    if url.is_none() {
        println!(
            "SKIPPED: store suite on PostgreSQL: set BAILIWICK_TEST_POSTGRES=postgres://role@host/database"
        );
        assert_ne!(
            ci.as_deref(),
            Some("true"),
            "BAILIWICK_TEST_POSTGRES is required under CI=true"
        );
    }
    url
}

/// The URL of a superuser of the same server, to be refused; said aloud when there is none.
pub(crate) fn strong_url() -> Option<String> {
    #[expect(
        clippy::disallowed_methods,
        reason = "tests are told by the environment where a server is"
    )]
    let url = std::env::var("BAILIWICK_TEST_POSTGRES_STRONG").ok();
    if url.is_none() {
        println!(
            "SKIPPED: roles that are too strong: set BAILIWICK_TEST_POSTGRES_STRONG to a superuser's URL"
        );
    }
    url
}

/// A fresh schema of its own in the database of `BAILIWICK_TEST_POSTGRES`.
pub(crate) async fn postgres() -> Option<Place> {
    let url = postgres_url()?;
    let mut random = [0_u8; 8];
    let path = tempfile::tempdir().unwrap();
    // The name of a temporary folder is unique on this machine.
    random.copy_from_slice(&Digest::of(path.path().as_os_str().as_encoded_bytes()).0[..8]);
    let schema = format!("suite_{:016x}", u64::from_be_bytes(random));
    let mut raw = Raw::open(&StoreConfig::Postgres { url: url.clone() }).await;
    raw.run(&format!("CREATE SCHEMA {schema}")).await.unwrap();
    let mark = if url.contains('?') { '&' } else { '?' };
    let config = StoreConfig::Postgres {
        url: format!("{url}{mark}options=-c%20search_path%3D{schema}"),
    };
    Some(Place { config, folder: None })
}

/// A connection beside the store, as an attacker or another process has it.
pub(crate) enum Raw {
    Postgres(sqlx::PgConnection),
    Sqlite(sqlx::SqliteConnection),
}

impl Raw {
    pub(crate) async fn open(config: &StoreConfig) -> Self {
        use sqlx::Connection;
        match config {
            StoreConfig::Postgres { url } => Self::Postgres(sqlx::PgConnection::connect(url).await.unwrap()),
            StoreConfig::Sqlite { path } => {
                let url = format!("sqlite://{}", path.display());
                Self::Sqlite(sqlx::SqliteConnection::connect(&url).await.unwrap())
            }
        }
    }

    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    /// Sees the rows of `tenant` where the engine asks.
    pub(crate) async fn see(&mut self, tenant: &str) {
        if self.is_postgres() {
            self.run(&format!("SET bailiwick.tenant = '{tenant}'"))
                .await
                .unwrap();
        }
    }

    /// Runs a statement; gives the number of rows it touched.
    pub(crate) async fn run(&mut self, sql: &str) -> Result<u64, sqlx::Error> {
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        match self {
            Self::Postgres(c) => sqlx::raw_sql(sql).execute(c).await.map(|r| r.rows_affected()),
            Self::Sqlite(c) => sqlx::raw_sql(sql).execute(c).await.map(|r| r.rows_affected()),
        }
    }

    /// The texts of the first column.
    pub(crate) async fn texts(&mut self, sql: &str) -> Vec<String> {
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        match self {
            Self::Postgres(c) => sqlx::query_scalar(sql).fetch_all(c).await.unwrap(),
            Self::Sqlite(c) => sqlx::query_scalar(sql).fetch_all(c).await.unwrap(),
        }
    }

    pub(crate) async fn number(&mut self, sql: &str) -> i64 {
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        match self {
            Self::Postgres(c) => sqlx::query_scalar(sql).fetch_one(c).await.unwrap(),
            Self::Sqlite(c) => sqlx::query_scalar(sql).fetch_one(c).await.unwrap(),
        }
    }
}

/// A store and what it stands on.
pub(crate) struct Bed {
    pub(crate) place: Place,
    pub(crate) store: Store,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) sealer: Arc<TestSealer>,
    pub(crate) ids: Ids,
    /// Positions and replays as the observer was told them.
    pub(crate) seen: Arc<Mutex<Vec<Receipt>>>,
}

pub(crate) fn entropy(seed: u64) -> Arc<dyn Entropy> {
    Arc::new(SeededEntropy::new(seed))
}

impl Bed {
    pub(crate) async fn on(place: Place) -> Self {
        Self::node(place, "node-1", 1).await
    }

    pub(crate) async fn node(place: Place, node: &str, seed: u64) -> Self {
        let clock = Arc::new(ManualClock::at(Time::from_micros(START)));
        let sealer = Arc::new(TestSealer::default());
        let seen = Arc::new(Mutex::new(Vec::new()));
        let store = open(&place, node, &clock, &sealer, Some(&seen)).await.unwrap();
        let ids = Ids::new(clock.clone() as Arc<dyn Clock>, entropy(seed));
        Self {
            place,
            store,
            clock,
            sealer,
            ids,
            seen,
        }
    }

    /// The same database after a stop, in an orderly way or not.
    pub(crate) async fn reopened(self, orderly: bool) -> Self {
        if orderly {
            self.store.close().await;
        }
        drop(self.store);
        let store = open(&self.place, "node-1", &self.clock, &self.sealer, Some(&self.seen))
            .await
            .unwrap();
        Self { store, ..self }
    }

    pub(crate) async fn raw(&self) -> Raw {
        Raw::open(&self.place.config).await
    }

    pub(crate) fn ctx(&self, reach: impl Into<Reach>) -> Context {
        Context::new(
            reach.into(),
            Actor::System("suite"),
            RequestId(self.ids.uuid().unwrap()),
        )
    }

    pub(crate) async fn tenant(&self, slug: &str) -> TenantId {
        let id = TenantId::parse(slug).unwrap();
        let reference = Digest::of(slug.as_bytes()).to_string()[..16].to_owned();
        let wanted = NewTenant {
            id: id.clone(),
            name: slug.to_uppercase(),
            employees: 100,
            reference,
        };
        let added = add_tenant(wanted, self.clock.now()).unwrap();
        self.tx(&id, async move |tx| {
            tx.tenant()
                .add(added.clone(), Default::default(), Vec::new())
                .await
        })
        .await
        .unwrap();
        id
    }

    pub(crate) fn registration(&self, tenant: &TenantId, name: &str) -> Transition<Identity> {
        self.registration_of(tenant, name, Kind::Agent)
    }

    pub(crate) fn registration_of(&self, tenant: &TenantId, name: &str, kind: Kind) -> Transition<Identity> {
        let now = self.clock.now();
        let wanted = Registration {
            id: self.ids.mint(tenant).unwrap(),
            kind,
            name: name.to_owned(),
            platform: "bailiwick".to_owned(),
            owner: Some(Owner {
                team: "finance".to_owned(),
                contact: "finance@example.com".to_owned(),
            }),
            application: Some("ledger".to_owned()),
            purpose: Some("reads invoices".to_owned()),
            labels: Labels {
                agent: Some(bailiwick_base::AgentLabel::parse("invoices").unwrap()),
                workflow: None,
            },
            expires_at: Some(now.after(Duration::from_secs(30 * 86_400))),
        };
        register(wanted, &Limits::default(), now).unwrap()
    }

    pub(crate) async fn identity(&self, tenant: &TenantId, name: &str) -> Identity {
        let t = self.registration(tenant, name);
        let made = t.after.clone();
        self.apply(tenant, t).await.unwrap();
        made
    }

    pub(crate) async fn apply(
        &self,
        tenant: &TenantId,
        t: Transition<Identity>,
    ) -> Result<Arc<Receipt>, StoreError> {
        self.tx(tenant, async move |tx| tx.identity().apply(t.clone()).await)
            .await
    }

    /// A transaction without an answer.
    pub(crate) async fn tx<F>(&self, reach: impl Into<Reach>, mut body: F) -> Result<Arc<Receipt>, StoreError>
    where
        F: AsyncFnMut(&mut Tx) -> Result<(), StoreError> + Send + 'static,
    {
        let ctx = self.ctx(reach);
        self.store
            .transact(ctx, async move |tx: &mut Tx| body(tx).await.map(|()| Vec::new()))
            .await
    }

    pub(crate) fn task(&self, identity: &IdentityId) -> (Transition<Task>, Grant) {
        let (tenant, now) = (identity.tenant(), self.clock.now());
        let id: TaskId = self.ids.mint(tenant).unwrap();
        let grant_id: GrantId = self.ids.mint(tenant).unwrap();
        let closes_at = now.after(Duration::from_secs(3_600));
        let task = Task {
            id: id.clone(),
            identity: identity.clone(),
            purpose: "read this month's invoices".to_owned(),
            requested_by: "suite".to_owned(),
            opens_at: now,
            closes_at,
            state: TaskState::Open,
            may_act: Vec::new(),
        };
        let condition = |arg: &str, operator, values| Condition {
            arg: arg.to_owned(),
            operator,
            values,
        };
        let scope = Scope {
            server: ServerName::parse("filesystem").unwrap(),
            action: Some(ToolName::parse("read_text_file").unwrap()),
            conditions: vec![
                condition(
                    "path",
                    Comparison::Under,
                    vec![Literal::Text("/srv/\"invoices\"\u{1F980}".to_owned())],
                ),
                condition(
                    "n",
                    Comparison::In,
                    vec![Literal::Integer(i64::MAX), Literal::Bool(true)],
                ),
                condition("x", Comparison::AtMost, vec![Literal::Decimal(i64::MIN)]),
            ],
            rate: Some(Rate {
                calls: 10,
                window: Duration::from_secs(60),
            }),
        };
        let any = Scope {
            action: None,
            conditions: Vec::new(),
            rate: None,
            ..scope.clone()
        };
        let grant = Grant {
            id: grant_id,
            task: id,
            identity: identity.clone(),
            scopes: vec![scope, any],
            expires_at: closes_at,
        };
        (Transition::made("task.open", task), grant)
    }
}

pub(crate) async fn open(
    place: &Place,
    node: &str,
    clock: &Arc<ManualClock>,
    sealer: &Arc<TestSealer>,
    seen: Option<&Arc<Mutex<Vec<Receipt>>>>,
) -> Result<Store, StoreError> {
    opened(place, (node, "suite"), (clock, sealer), seen).await
}

/// The same process name at another place.
pub(crate) async fn seated(
    place: &Place,
    who: (&str, &str),
    clock: &Arc<ManualClock>,
    sealer: &Arc<TestSealer>,
) -> Result<Store, StoreError> {
    opened(place, who, (clock, sealer), None).await
}

async fn opened(
    place: &Place,
    (node, seat): (&str, &str),
    (clock, sealer): (&Arc<ManualClock>, &Arc<TestSealer>),
    seen: Option<&Arc<Mutex<Vec<Receipt>>>>,
) -> Result<Store, StoreError> {
    let observer = seen
        .cloned()
        .map(|seen| -> Observer { Box::new(move |receipt| seen.lock().unwrap().push(receipt.clone())) });
    let deps = StoreDeps {
        clock: clock.clone(),
        sealer: sealer.clone(),
        node: NodeName::parse(node).unwrap(),
        shelf: None,
        seat: Some(seat.to_owned()),
        observer,
    };
    Store::open(place.config.clone(), deps).await
}

pub(crate) fn sqlite_path(place: &Place) -> PathBuf {
    match &place.config {
        StoreConfig::Sqlite { path } => path.clone(),
        StoreConfig::Postgres { .. } => panic!("not a file"),
    }
}

pub(crate) fn whole_installation() -> TenantId {
    installation()
}
