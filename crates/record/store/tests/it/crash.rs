//! Stops, races and failures.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bailiwick_base::{Clock, StatePos};
use bailiwick_inventory::activate;
use bailiwick_store::{StoreError, Tx};

use crate::bed::{self, Bed};

pub(crate) async fn a_crash_loses_nothing_that_was_answered(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let mut made = Vec::new();
    let mut bed = bed;
    for n in 0..3 {
        made.push(bed.identity(&acme, &format!("agent {n}")).await);
        // Not closed: the store is dropped while its writer still runs.
        bed = bed.reopened(false).await;
    }
    let mut reader = bed.store.reader(&acme).await.unwrap();
    for identity in &made {
        assert_eq!(
            reader.identity().lookup(&identity.id).await.unwrap().as_ref(),
            Some(identity)
        );
    }
    drop(reader);
    let recount = bed.store.recount(&acme, Default::default()).await.unwrap();
    assert_eq!((recount.entries, recount.counted.count.headline()), (4, 3));
}

pub(crate) async fn a_caller_that_goes_away_changes_nothing(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let (entered, is_in) = tokio::sync::oneshot::channel();
    let (go, going) = tokio::sync::oneshot::channel::<()>();
    let channels = Mutex::new(Some((entered, going)));
    let t = bed.registration(&acme, "reader");
    let body = async move |tx: &mut Tx| {
        tx.identity().apply(t.clone()).await?;
        let taken = channels.lock().unwrap().take();
        if let Some((entered, going)) = taken {
            entered.send(()).unwrap();
            going.await.unwrap();
        }
        Ok(())
    };
    {
        let call = bed.tx(&acme, body);
        tokio::pin!(call);
        tokio::select! {
            _ = &mut call => panic!("it waits for us"),
            held = is_in => held.unwrap(),
        }
        // The caller goes away in the middle of its transaction.
    }
    go.send(()).unwrap();
    // The transaction went on to its end, whole, and the writer works.
    bed.identity(&acme, "second").await;
    let mut reader = bed.store.reader(&acme).await.unwrap();
    assert!(reader.identity().find_by_name("reader").await.unwrap().is_some());
    assert_eq!(bed.store.position().await.unwrap().0, StatePos(3));
}

pub(crate) async fn a_panic_stops_one_command(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let t = bed.registration(&acme, "reader");
    let body = async move |tx: &mut Tx| {
        tx.identity().apply(t.clone()).await?;
        if tx.position() == StatePos(2) {
            panic!("planted: the next line says so");
        }
        Ok(())
    };
    assert_eq!(bed.tx(&acme, body).await.unwrap_err().code(), "store.panicked");
    assert_eq!(bed.store.position().await.unwrap().0, StatePos(1));
    bed.identity(&acme, "reader").await;
}

pub(crate) async fn a_closed_store_refuses(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let t = bed.registration(&acme, "reader");
    assert_eq!(Arc::strong_count(&bed.seen), 2, "the observer has it too");
    bed.store.close().await;
    bed.store.close().await;
    assert_eq!(
        Arc::strong_count(&bed.seen),
        1,
        "the observer is gone, and who waits for its end goes on"
    );
    assert_eq!(bed.apply(&acme, t).await.unwrap_err().code(), "store.stopped");
    assert!(bed.store.reader(&acme).await.is_err());
}

pub(crate) async fn two_writers_share_one_log(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let other = Bed::node(bed.place.clone(), "node-2", 2).await;
    let of = |bed: &Bed, who: &str| -> Vec<_> {
        (0..30)
            .map(|n| bed.registration(&acme, &format!("{who} {n}")))
            .collect()
    };
    let one = of(&bed, "one").into_iter().map(|t| bed.apply(&acme, t));
    let two = of(&other, "two").into_iter().map(|t| other.apply(&acme, t));
    let (one, two) = tokio::join!(
        futures_util::future::join_all(one),
        futures_util::future::join_all(two)
    );
    for result in one.iter().chain(&two) {
        assert!(result.is_ok(), "{result:?}");
    }
    let entries = bed.store.entries(0, 1_000).await.unwrap();
    assert_eq!(entries.len(), 61);
    let nodes = entries
        .iter()
        .filter(|e| e.leaf.windows(8).any(|w| w == b"\"node-2\""))
        .count();
    assert_eq!(nodes, 30);
    let recount = other.store.recount(&acme, Default::default()).await.unwrap();
    assert_eq!(
        recount.counted,
        bed.store.count(&acme, Default::default()).await.unwrap()
    );
    assert_eq!(recount.counted.count.headline(), 60);
}

pub(crate) async fn a_second_start_fences_the_first(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let second = Bed::node(bed.place.clone(), "node-1", 2).await;
    let refused = bed
        .apply(&acme, bed.registration(&acme, "late"))
        .await
        .unwrap_err();
    assert!(
        matches!(&refused, StoreError::Fenced { node } if node == "node-1"),
        "{refused}"
    );
    second.identity(&acme, "reader").await;
    let mut reader = second.store.reader(&acme).await.unwrap();
    assert_eq!(reader.identity().find_by_name("late").await.unwrap(), None);
}

pub(crate) async fn a_newer_schema_is_refused(bed: Bed) {
    bed.store.close().await;
    let mut raw = bed.raw().await;
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 SELECT 9999, 'from the future', success, checksum, 0 FROM _sqlx_migrations WHERE version = 1";
    assert_eq!(raw.run(newer).await.unwrap(), 1);
    let refused = bed::open(&bed.place, "node-1", &bed.clock, &bed.sealer, None)
        .await
        .err()
        .unwrap();
    assert!(
        matches!(
            refused,
            StoreError::NewerSchema {
                found: 9999,
                known: 18..9999
            }
        ),
        "{refused}"
    );
    raw.run("DELETE FROM _sqlx_migrations WHERE version = 9999")
        .await
        .unwrap();
    let twisted = "UPDATE _sqlx_migrations SET checksum = (SELECT m.checksum FROM _sqlx_migrations AS m \
                   WHERE m.version = 2) WHERE version = 1";
    assert_eq!(raw.run(twisted).await.unwrap(), 1);
    let refused = bed::open(&bed.place, "node-1", &bed.clock, &bed.sealer, None)
        .await
        .err()
        .unwrap();
    assert_eq!(refused.code(), "store.file-corrupt");
}

/// Another session touches the row between our read and our write. Where that is possible the transaction is
/// run again and ends well; where the file has one writer the other session is the one that waits.
pub(crate) async fn an_interrupted_commit_is_run_again(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let id = bed.identity(&acme, "reader").await.id;
    let mut raw = bed.raw().await;
    raw.see("acme").await;
    let several_sessions = raw.is_postgres();
    if !several_sessions {
        raw.run("PRAGMA busy_timeout = 0").await.unwrap();
    }
    let runs = Arc::new(AtomicU32::new(0));
    let (read, has_read) = tokio::sync::oneshot::channel();
    let (touched, is_touched) = tokio::sync::oneshot::channel::<()>();
    let channels = Mutex::new(Some((read, is_touched)));
    let (counted, target) = (Arc::clone(&runs), id.clone());
    let body = async move |tx: &mut Tx| {
        counted.fetch_add(1, Ordering::SeqCst);
        let identity = tx.identity().lookup(&target).await?.unwrap();
        let taken = channels.lock().unwrap().take();
        if let Some((read, is_touched)) = taken {
            read.send(()).unwrap();
            is_touched.await.unwrap();
        }
        let active = activate(identity, tx.now()).unwrap();
        tx.identity().apply(active).await
    };
    let meddling = async {
        has_read.await.unwrap();
        let result = raw.run("UPDATE identity SET name = name").await;
        assert_eq!(result.is_ok(), several_sessions);
        touched.send(()).unwrap();
    };
    let (receipt, ()) = tokio::join!(bed.tx(&acme, body), meddling);
    assert_eq!(receipt.unwrap().pos, StatePos(3));
    assert_eq!(runs.load(Ordering::SeqCst), if several_sessions { 2 } else { 1 });
    bed.clock.advance(Duration::from_secs(1));
    let recount = bed.store.recount(&acme, Default::default()).await.unwrap();
    assert_eq!(
        recount.entries,
        3,
        "nothing was recorded twice: {:?}",
        bed.clock.now()
    );
}

/// The server ends our session in the middle of a transaction: it is opened again and the batch runs again.
/// The embedded engine has no session to lose.
pub(crate) async fn a_lost_connection_is_opened_again(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let mut raw = bed.raw().await;
    let server = raw.is_postgres();
    let runs = Arc::new(AtomicU32::new(0));
    let (inside, is_inside) = tokio::sync::oneshot::channel();
    let (ended, is_ended) = tokio::sync::oneshot::channel::<()>();
    let channels = Mutex::new(Some((inside, is_ended)));
    let (t, counted) = (bed.registration(&acme, "reader"), Arc::clone(&runs));
    let body = async move |tx: &mut Tx| {
        counted.fetch_add(1, Ordering::SeqCst);
        let taken = channels.lock().unwrap().take();
        if let Some((inside, is_ended)) = taken {
            inside.send(()).unwrap();
            is_ended.await.unwrap();
        }
        tx.identity().apply(t.clone()).await
    };
    let ending = async {
        is_inside.await.unwrap();
        if server {
            let end = "SELECT count(*) FROM (SELECT pg_terminate_backend(pid, 1000) AS gone FROM pg_locks \
                       WHERE relation = 'epoch'::regclass AND mode = 'ExclusiveLock' AND granted) AS t WHERE gone";
            assert_eq!(raw.number(end).await, 1, "exactly the writer holds the lock");
        }
        ended.send(()).unwrap();
    };
    let (receipt, ()) = tokio::join!(bed.tx(&acme, body), ending);
    assert_eq!(receipt.unwrap().pos, StatePos(2));
    assert_eq!(runs.load(Ordering::SeqCst), if server { 2 } else { 1 });
    bed.identity(&acme, "second").await;
}
