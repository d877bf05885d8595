//! What only the inside can try: half a transaction, and a disk without room.

use std::sync::Arc;

use bailiwick_base::{
    Digest, ManualClock, NodeName, SealContext, SealError, Sealer, StatePos, TenantId, Time,
};
use sqlx::ConnectOptions;
use uuid::Uuid;

use crate::engine::full_disk;
use crate::row::args;
use crate::{Actor, Context, Reach, RequestId, Store, StoreConfig, StoreDeps, StoreError, Tx};

/// Nothing here is secret; sealing is tried from outside, with a cipher.
struct Open;

impl Sealer for Open {
    fn seal(&self, _: &SealContext<'_>, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        Ok(plain.to_vec())
    }
    fn open(&self, _: &SealContext<'_>, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        Ok(sealed.to_vec())
    }
    fn commit(&self, _: Option<&TenantId>, payload: &[u8]) -> Result<[u8; 32], SealError> {
        Ok(Digest::of(payload).0)
    }

    fn vouch(&self, purpose: &'static str, said: &[u8]) -> Result<Digest, SealError> {
        Ok(Digest::of(&[purpose.as_bytes(), said].concat()))
    }
}

async fn store(folder: &tempfile::TempDir) -> Store {
    let config = StoreConfig::Sqlite {
        path: folder.path().join("state.db"),
    };
    let clock = Arc::new(ManualClock::at(Time::from_secs(1_763_750_000)));
    let node = NodeName::parse("node-1").unwrap();
    Store::open(
        config,
        StoreDeps {
            clock,
            sealer: Arc::new(Open),
            node,
            shelf: None,
            seat: Some("suite".to_owned()),
            observer: None,
        },
    )
    .await
    .unwrap()
}

fn ctx() -> Context {
    Context::new(
        Reach::Installation,
        Actor::System("inside"),
        RequestId(Uuid::from_u128(1)),
    )
}

const WRITE: &str = "INSERT INTO operator (tenant, operator, name, public_key, created_at, digest) \
                     VALUES ('installation', $1, 'ghost', $1, 0, $1)";

#[tokio::test]
async fn state_without_entry_does_not_commit() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let ghost = async |tx: &mut Tx| -> Result<Vec<u8>, StoreError> {
        tx.write(WRITE, args![Uuid::from_u128(2)]).await?;
        Ok(Vec::new())
    };
    assert_eq!(
        store.transact(ctx(), ghost).await.unwrap_err().code(),
        "store.state-without-entry"
    );
    let mut reader = store.reader(Reach::Installation).await.unwrap();
    assert_eq!(reader.operator().count().await.unwrap(), 0);
    assert_eq!(store.position().await.unwrap().0, StatePos(0));
}

#[tokio::test]
async fn entry_without_state_does_not_commit() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let boast = async |tx: &mut Tx| -> Result<Vec<u8>, StoreError> {
        tx.enter("operator.claim", None, Vec::new()).await?;
        Ok(Vec::new())
    };
    assert_eq!(
        store.transact(ctx(), boast).await.unwrap_err().code(),
        "store.entry-without-change"
    );
    assert_eq!(store.entries(0, 10).await.unwrap(), []);
    let both = async |tx: &mut Tx| -> Result<Vec<u8>, StoreError> {
        tx.write(WRITE, args![Uuid::from_u128(2)]).await?;
        tx.enter("operator.claim", None, Vec::new()).await?;
        Ok(Vec::new())
    };
    assert_eq!(store.transact(ctx(), both).await.unwrap().pos, StatePos(1));
}

/// The limit on pages stands for a disk that is full: the engine gives the same answer.
#[tokio::test]
async fn a_full_disk_is_named_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let store = store(&folder).await;
    store.close().await;
    let mut conn = full_disk(&path)
        .connect()
        .await
        .map(crate::engine::Conn::Sqlite)
        .unwrap();
    conn.begin().await.unwrap();
    let fill = async |conn: &mut crate::engine::Conn| loop {
        let row = args![Uuid::from_u128(2), vec![7_u8; 100_000]];
        let sql = "INSERT INTO mark (tenant, scope, effect, epoch, at, digest) \
                   SELECT 'installation', hex(randomblob(16)), hex($1), 0, 0, $2";
        if let Err(failure) = conn.execute(sql, row).await {
            return failure;
        }
    };
    let failure = fill(&mut conn).await;
    assert_eq!(failure.error.code(), "store.disk-full");
    assert!(
        failure.error.to_string().contains("nothing was changed"),
        "{}",
        failure.error
    );
    assert!(!failure.again && !failure.lost);
    // The engine has rolled back by itself, or does so now.
    drop(conn.execute("ROLLBACK", Vec::new()).await);
    let rows = conn.fetch("SELECT count(*) FROM mark", Vec::new()).await.unwrap();
    assert_eq!(rows, [[crate::row::Cell::Int(0)]]);
}

/// Whoever reads much must not make the node look as if it had lost its store.
#[tokio::test]
async fn the_heartbeat_waits_behind_nobody_who_reads() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let mut readers = Vec::new();
    for _ in 0..4 {
        readers.push(store.every().await.unwrap());
    }
    let asked = tokio::time::timeout(std::time::Duration::from_secs(1), store.position()).await;
    assert_eq!(asked.unwrap().unwrap().0, StatePos(0));
    drop(readers);
    store.close().await;
    assert!(
        store.position().await.is_err(),
        "a closed store gives no heartbeat"
    );
}
