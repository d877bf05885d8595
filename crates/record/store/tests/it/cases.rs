//! What the store promises about the log, tenants, order and damage.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bailiwick_audit::entry::{Leaf, TENANT_SEQ_FIRST};
use bailiwick_base::{Clock, Digest, StatePos, TenantId, Time, Transition};
use bailiwick_decide::{MarkEffect, MarkScope};
use bailiwick_inventory::{Identity, Refusal, State, activate, retire, suspend};
use bailiwick_store::{IdentityFilter, Lane, Page, Reach, Receipt, StoreError, Tx};

use crate::bed::Bed;

fn code<T: std::fmt::Debug>(result: Result<T, StoreError>) -> &'static str {
    result.expect_err("a refusal").code()
}

pub(crate) async fn the_log_has_no_gap(bed: Bed) {
    let (acme, other) = (bed.tenant("acme").await, bed.tenant("other").await);
    for n in 0..5 {
        bed.clock.advance(Duration::from_millis(3));
        bed.identity(&acme, &format!("a{n}")).await;
        // The clock goes back: the log does not.
        bed.clock
            .set(Time::from_micros(bed.clock.now().micros() - 1_000_000));
        bed.identity(&other, &format!("o{n}")).await;
        bed.clock.advance(Duration::from_secs(1));
    }
    let entries = bed.store.entries(0, 100).await.unwrap();
    assert_eq!(entries.len(), 12);
    let mut next = std::collections::BTreeMap::new();
    let mut last = 0;
    for (index, entry) in (0_u64..).zip(&entries) {
        let leaf = Leaf::decode(&entry.leaf).unwrap();
        let seq = next.entry(leaf.tenant_ref.to_owned()).or_insert(TENANT_SEQ_FIRST);
        assert_eq!(
            (entry.index, leaf.state_pos, leaf.tenant_seq),
            (index, index, *seq)
        );
        assert!(leaf.at >= last, "times never go back");
        assert_eq!(leaf.node, "node-1");
        *seq += 1;
        last = leaf.at;
    }
    assert_eq!(next.len(), 2);
    assert_eq!(bed.store.entries(10, 100).await.unwrap(), entries[10..]);
    assert_eq!(bed.store.entries(12, 100).await.unwrap(), []);
    assert_eq!(bed.store.position().await.unwrap().0, StatePos(12));
    assert_eq!(code(bed.store.entries(0, 0).await), "store.limit");
    assert_eq!(code(bed.store.entries(0, 10_001).await), "store.limit");
}

pub(crate) async fn a_repeated_command_is_one_command(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let request = Digest::of(b"POST /v1/tenants/acme/identities reader");
    let runs = Arc::new(Mutex::new(0));
    let command = |name: &str, request: Digest| {
        let (t, runs) = (bed.registration(&acme, name), Arc::clone(&runs));
        let ctx = bed.ctx(&acme).idempotent("key-1", request);
        bed.store
            .transact(ctx, async move |tx: &mut Tx| -> Result<Vec<u8>, StoreError> {
                *runs.lock().unwrap() += 1;
                tx.identity().apply(t.clone()).await?;
                Ok(format!("{} at {}", t.after.id, tx.position()).into_bytes())
            })
    };
    let first = command("reader", request).await.unwrap();
    bed.identity(&acme, "in between").await;
    let again = command("reader", request).await.unwrap();
    assert!(!first.replayed && again.replayed);
    assert_eq!((&first.answer, first.pos), (&again.answer, again.pos));
    assert!(again.entries.is_empty() && again.facts.is_empty());
    assert_eq!(*runs.lock().unwrap(), 1);
    let other = command("writer", Digest::of(b"something else")).await;
    assert_eq!(code(other), "idempotency.reused");
    // Kept per tenant: the same key of somebody else is another key.
    let elsewhere = bed.tenant("other").await;
    let t = bed.registration(&elsewhere, "reader");
    let ctx = bed
        .ctx(&elsewhere)
        .idempotent("key-1", Digest::of(b"something else"));
    let done = bed.store.transact(ctx, async move |tx: &mut Tx| {
        tx.identity().apply(t.clone()).await.map(|()| Vec::new())
    });
    assert!(!done.await.unwrap().replayed);
    // Kept over a restart, and until it is forgotten.
    let mut raw = bed.raw().await;
    raw.see("acme").await;
    assert_eq!(
        raw.number("SELECT count(*) FROM idempotency WHERE tenant = 'acme'")
            .await,
        1
    );
    bed.clock.advance(Duration::from_secs(86_401));
    let late = Digest::of(b"a day later");
    let (t, ctx) = (
        bed.registration(&acme, "late"),
        bed.ctx(&acme).idempotent("key-2", late),
    );
    let done = bed.store.transact(ctx, async move |tx: &mut Tx| {
        tx.identity().apply(t.clone()).await.map(|()| Vec::new())
    });
    done.await.unwrap();
    assert_eq!(
        raw.number("SELECT count(*) FROM idempotency WHERE tenant = 'acme'")
            .await,
        1
    );
    let ctx = bed.ctx(&acme).idempotent("key-1", late);
    let t = bed.registration(&acme, "again");
    let done = bed.store.transact(ctx, async move |tx: &mut Tx| {
        tx.identity().apply(t.clone()).await.map(|()| Vec::new())
    });
    assert!(!done.await.unwrap().replayed, "its key is free again");
}

pub(crate) async fn tenants_do_not_see_each_other(bed: Bed) {
    let (acme, other) = (bed.tenant("acme").await, bed.tenant("other").await);
    let foreign = bed.identity(&other, "reader").await;
    let (opened, grant) = bed.task(&foreign.id);
    let mut reader = bed.store.reader(&acme).await.unwrap();
    assert_eq!(
        code(reader.identity().lookup(&foreign.id).await),
        "store.other-tenant"
    );
    assert_eq!(
        code(reader.task().lookup(&opened.after.id).await),
        "store.other-tenant"
    );
    assert_eq!(code(reader.tenant().lookup(&other).await), "store.other-tenant");
    assert_eq!(reader.identity().find_by_name("reader").await.unwrap(), None);
    assert_eq!(
        reader
            .identity()
            .list(&IdentityFilter::default(), Page::first(9))
            .await
            .unwrap(),
        []
    );
    assert_eq!(reader.tenant().list().await.unwrap().len(), 1);
    drop(reader);
    let change = suspend(foreign.clone(), "mischief", bed.clock.now()).unwrap();
    assert_eq!(code(bed.apply(&acme, change).await), "store.other-tenant");
    let open = async move |tx: &mut Tx| tx.task().open(opened.clone(), grant.clone()).await;
    assert_eq!(code(bed.tx(&acme, open).await), "store.other-tenant");
    let mark = MarkScope::Identity(foreign.id.clone());
    let kill = async move |tx: &mut Tx| tx.mark().set(mark.clone(), MarkEffect::Kill, "x").await.map(drop);
    assert_eq!(code(bed.tx(&acme, kill).await), "store.other-tenant");
    // The same id bytes under one's own tenant name nothing.
    let guessed = bailiwick_base::IdentityId::from_parts(acme.clone(), foreign.id.uuid());
    let mut reader = bed.store.reader(&acme).await.unwrap();
    assert_eq!(reader.identity().lookup(&guessed).await.unwrap(), None);
    row_security_holds(&bed).await;
}

/// Where the engine has row security it holds without our statements.
async fn row_security_holds(bed: &Bed) {
    let mut raw = bed.raw().await;
    if !raw.is_postgres() {
        return;
    }
    let identities = "SELECT count(*) FROM identity";
    assert_eq!(raw.number(identities).await, 0, "no tenant named, no row");
    raw.see("acme").await;
    assert_eq!(raw.number(identities).await, 0);
    assert_eq!(raw.run("UPDATE identity SET purpose = 'mine'").await.unwrap(), 0);
    assert_eq!(
        raw.run("DELETE FROM tenant WHERE tenant = 'other'")
            .await
            .unwrap(),
        0
    );
    raw.see("other").await;
    assert_eq!(raw.number(identities).await, 1);
    let moved = raw.run("UPDATE identity SET tenant = 'acme'").await.unwrap_err();
    assert!(moved.to_string().contains("row-level security"), "{moved}");
    raw.see("*").await;
    assert_eq!(raw.number("SELECT count(*) FROM tenant").await, 2);
    let written = raw.run("UPDATE identity SET purpose = 'mine'").await.unwrap();
    assert_eq!(written, 0, "all may be read, none written");
    let rights = "SELECT (rolsuper OR rolbypassrls)::int::bigint FROM pg_roles WHERE rolname = current_user";
    assert_eq!(
        raw.number(rights).await,
        0,
        "the role of the suite has no superuser and no BYPASSRLS"
    );
}

pub(crate) async fn all_tenants_are_read_with_an_entry(bed: Bed) {
    let (acme, _) = (bed.tenant("acme").await, bed.tenant("other").await);
    let refused = bed.store.reader(Reach::DangerAllTenants).await.err().unwrap();
    assert_eq!(refused.code(), "store.write-across-tenants");
    let seen = Arc::new(Mutex::new(Vec::new()));
    let found = Arc::clone(&seen);
    let read = async move |tx: &mut Tx| {
        *found.lock().unwrap() = tx.tenant().list().await?;
        Ok(())
    };
    let ctx = bed.ctx(Reach::DangerAllTenants).idempotent("k", Digest::of(b"r"));
    let receipt = bed
        .store
        .transact(ctx, async move |tx: &mut Tx| read(tx).await.map(|()| Vec::new()))
        .await;
    let receipt: Arc<Receipt> = receipt.map_err(|e: StoreError| e).unwrap();
    assert_eq!(seen.lock().unwrap().len(), 2);
    assert_eq!(receipt.entries.len(), 1);
    let entry = bed
        .store
        .opening(Reach::Installation, receipt.entries[0].index)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(entry.kind, "state.all-tenants.read");
    let t = bed.registration(&acme, "reader");
    let write = async move |tx: &mut Tx| tx.identity().apply(t.clone()).await;
    assert_eq!(
        code(bed.tx(Reach::DangerAllTenants, write).await),
        "store.write-across-tenants"
    );
    assert_eq!(bed.store.position().await.unwrap().0, receipt.pos);
}

pub(crate) async fn a_name_is_unique_among_the_living(bed: Bed) {
    let (acme, other) = (bed.tenant("acme").await, bed.tenant("other").await);
    let first = bed.identity(&acme, "reader").await;
    assert_eq!(
        code(bed.apply(&acme, bed.registration(&acme, "reader")).await),
        "store.duplicate"
    );
    bed.identity(&other, "reader").await;
    bed.apply(&acme, retire(first.clone(), "done", bed.clock.now()).unwrap())
        .await
        .unwrap();
    let second = bed.identity(&acme, "reader").await;
    assert_ne!(first.id, second.id);
    let again = Transition::made(
        "identity.register",
        Identity {
            name: "third".to_owned(),
            ..first
        },
    );
    assert_eq!(
        code(bed.apply(&acme, again).await),
        "store.duplicate",
        "an id is never used again"
    );
    let mut reader = bed.store.reader(&acme).await.unwrap();
    assert_eq!(
        reader
            .identity()
            .find_by_name("reader")
            .await
            .unwrap()
            .unwrap()
            .id,
        second.id
    );
}

pub(crate) async fn a_stale_transition_is_refused(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let made = bed.identity(&acme, "reader").await;
    let now = bed.clock.now();
    bed.apply(&acme, activate(made.clone(), now).unwrap())
        .await
        .unwrap();
    let stale = retire(made.clone(), "based on what it was", now).unwrap();
    assert_eq!(code(bed.apply(&acme, stale).await), "store.conflict");
    let never = Identity {
        id: bed.ids.mint(&acme).unwrap(),
        ..made
    };
    assert_eq!(
        code(bed.apply(&acme, activate(never, now).unwrap()).await),
        "store.conflict"
    );
    let nobody = bed
        .store
        .reader(&bed_tenant("nobody"))
        .await
        .unwrap()
        .tenant()
        .require(&bed_tenant("nobody"))
        .await;
    assert_eq!(code(nobody), "tenant.unknown");
    let orphan = bed.registration(&bed_tenant("nobody"), "orphan");
    assert_eq!(
        code(bed.apply(&bed_tenant("nobody"), orphan).await),
        "store.dangling"
    );
}

fn bed_tenant(slug: &str) -> bailiwick_base::TenantId {
    bailiwick_base::TenantId::parse(slug).unwrap()
}

#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Store(#[from] StoreError),
}

pub(crate) async fn a_refusal_leaves_nothing(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let made = bed.identity(&acme, "reader").await;
    let before = bed.store.position().await.unwrap();
    let (other, id) = (bed.registration(&acme, "second"), made.id.clone());
    let ctx = bed.ctx(&acme).idempotent("k", Digest::of(b"r"));
    let refused = bed
        .store
        .transact(ctx, async move |tx: &mut Tx| -> Result<Vec<u8>, CommandError> {
            tx.identity().apply(other.clone()).await?;
            let identity = tx.identity().lookup(&id).await?.expect("it was made");
            let active = activate(identity, tx.now())?;
            tx.identity().apply(active.clone()).await?;
            activate(active.after, tx.now())?;
            Ok(Vec::new())
        });
    let error = refused.await.unwrap_err();
    assert!(
        matches!(error, CommandError::Refused(Refusal::AlreadyActive)),
        "{error}"
    );
    assert_eq!(bed.store.position().await.unwrap(), before);
    let mut reader = bed.store.reader(&acme).await.unwrap();
    assert_eq!(reader.identity().find_by_name("second").await.unwrap(), None);
    assert_eq!(
        reader.identity().lookup(&made.id).await.unwrap().unwrap().state,
        State::Probation
    );
    drop(reader);
    let mut raw = bed.raw().await;
    raw.see("acme").await;
    assert_eq!(
        raw.number("SELECT count(*) FROM idempotency").await,
        0,
        "a refusal is no first answer"
    );
    // An error that the closure swallows is not forgotten.
    let long = "x".repeat(1024 * 1024 + 1);
    let t = bed.registration(&bed_tenant("ghost"), "g");
    let swallowed = async move |tx: &mut Tx| {
        tx.identity().apply(t.clone()).await.unwrap_or_default();
        tx.policy().replace(&long).await.map(drop).unwrap_or_default();
        Ok(())
    };
    let result = bed.tx(&bed_tenant("ghost"), swallowed).await;
    assert!(result.is_err(), "a failed statement cannot be committed around");
}

pub(crate) async fn nothing_done_is_nothing_recorded(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let made = bed.identity(&acme, "reader").await;
    let before = bed.store.position().await.unwrap();
    let same = Transition::changed("identity.nothing", made.clone(), made);
    assert_eq!(code(bed.apply(&acme, same).await), "store.unchanged");
    let receipt = bed.tx(&acme, async |_: &mut Tx| Ok(())).await.unwrap();
    assert!(receipt.entries.is_empty() && receipt.facts.is_empty());
    assert_eq!((receipt.pos, receipt.epoch), before);
    assert_eq!(bed.store.position().await.unwrap(), before);
    // A note is an entry that stands for no change.
    let note = async |tx: &mut Tx| {
        tx.note("insecure-listen", serde_json::json!({ "address": "0.0.0.0:80" }))
            .await
    };
    let receipt = bed.tx(Reach::Installation, note).await.unwrap();
    let entry = bed
        .store
        .opening(Reach::Installation, receipt.entries[0].index)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(entry.value().unwrap()["detail"]["address"], "0.0.0.0:80");
    let bad = async |tx: &mut Tx| tx.note("No Such Kind", serde_json::Value::Null).await;
    assert_eq!(code(bed.tx(Reach::Installation, bad).await), "store.leaf");
}

/// Holds the writer inside a transaction until the sender is dropped; tells when it is held.
fn holding(
    bed: &Bed,
) -> (
    tokio::sync::oneshot::Receiver<()>,
    tokio::sync::oneshot::Sender<()>,
    impl Future<Output = ()>,
) {
    let (held, is_held) = tokio::sync::oneshot::channel();
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    let channels = Mutex::new(Some((held, released)));
    let ctx = bed.ctx(Reach::Installation);
    let store = bed.store.clone();
    let done = async move {
        let body = async move |_: &mut Tx| -> Result<Vec<u8>, StoreError> {
            let taken = channels.lock().unwrap().take();
            if let Some((held, released)) = taken {
                held.send(()).unwrap();
                released.await.unwrap_err();
            }
            Ok(Vec::new())
        };
        store.transact(ctx, body).await.map(drop).unwrap();
    };
    (is_held, release, done)
}

pub(crate) async fn one_commit_serves_many(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let (held, release, first) = holding(&bed);
    let waiting = (0..100)
        .map(|n| bed.registration(&acme, &format!("agent {n}")))
        .map(|t| bed.apply(&acme, t));
    let all = futures_util::future::join_all(waiting);
    let before = bed.store.stats();
    let letting_go = async {
        held.await.unwrap();
        // `all` is polled after this future's first turn: by then every command is queued.
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        drop(release);
    };
    let ((), all, ()) = tokio::join!(first, all, letting_go);
    assert!(all.iter().all(Result::is_ok));
    let after = bed.store.stats();
    assert_eq!(
        (after.0 - before.0, after.1 - before.1),
        (1, 101),
        "one commit for all that waited"
    );
    assert_eq!(bed.store.position().await.unwrap().0, StatePos(101));
    let recount = bed.store.recount(&acme, Default::default()).await.unwrap();
    assert_eq!(recount.counted.count.headline(), 100);
}

pub(crate) async fn a_kill_goes_first(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let identity = bed.identity(&acme, "reader").await;
    let (held, release, first) = holding(&bed);
    let waiting = (0..50)
        .map(|n| bed.registration(&acme, &format!("agent {n}")))
        .map(|t| bed.apply(&acme, t));
    let all = futures_util::future::join_all(waiting);
    let kill = async {
        let ctx = bed.ctx(&acme).lane(Lane::Kill);
        let scope = MarkScope::Identity(identity.id.clone());
        let body = async move |tx: &mut Tx| {
            tx.mark()
                .set(scope.clone(), MarkEffect::Kill, "now")
                .await
                .map(|_| Vec::new())
        };
        let receipt: Result<_, StoreError> = bed.store.transact(ctx, body).await;
        receipt.unwrap()
    };
    let letting_go = async {
        held.await.unwrap();
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        drop(release);
    };
    let ((), all, receipt, ()) = tokio::join!(first, all, kill, letting_go);
    assert!(all.iter().all(Result::is_ok));
    assert_eq!(receipt.pos, StatePos(3), "before everything that waited longer");
}

pub(crate) async fn commits_are_observed_in_order(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let waiting = (0..40)
        .map(|n| bed.registration(&acme, &format!("agent {n}")))
        .map(|t| async {
            let receipt = bed.apply(&acme, t).await.unwrap();
            let told = bed.seen.lock().unwrap().iter().any(|r| r.pos == receipt.pos);
            assert!(told, "the observer knows before the caller does");
        });
    futures_util::future::join_all(waiting).await;
    let seen = bed.seen.lock().unwrap();
    let positions: Vec<u64> = seen.iter().map(|r| r.pos.0).collect();
    assert_eq!(positions, (1..=41).collect::<Vec<_>>());
    let entries: Vec<u64> = seen
        .iter()
        .flat_map(|r| r.entries.iter().map(|e| e.index))
        .collect();
    assert_eq!(entries, (0..41).collect::<Vec<_>>());
}

pub(crate) async fn pages_follow_ids(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let mut made = Vec::new();
    for n in 0..25 {
        bed.clock.advance(Duration::from_millis(2));
        made.push(bed.identity(&acme, &format!("agent {n}")).await.id);
    }
    let mut reader = bed.store.reader(&acme).await.unwrap();
    let (mut found, mut page) = (Vec::new(), Page::first(10));
    loop {
        let rows = reader
            .identity()
            .list(&IdentityFilter::default(), page)
            .await
            .unwrap();
        let Some(last) = rows.last() else { break };
        page = Page::after(&last.id, 10);
        found.extend(rows.into_iter().map(|i| i.id));
    }
    assert_eq!(found, made, "the order of making, each once");
    assert_eq!(
        code(
            reader
                .identity()
                .list(&IdentityFilter::default(), Page::first(0))
                .await
        ),
        "store.limit"
    );
    assert_eq!(
        code(
            reader
                .identity()
                .list(&IdentityFilter::default(), Page::first(1_001))
                .await
        ),
        "store.limit"
    );
}

pub(crate) async fn a_corrupt_row_is_named(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let identity = bed.identity(&acme, "reader").await;
    let (opened, grant) = bed.task(&identity.id);
    let task = opened.after.id.clone();
    bed.tx(&acme, async move |tx| {
        tx.task().open(opened.clone(), grant.clone()).await
    })
    .await
    .unwrap();
    let mut raw = bed.raw().await;
    raw.see("acme").await;
    let flips = [
        (
            "identity",
            "digest",
            "UPDATE identity SET purpose = 'exports everything'",
        ),
        ("identity", "kind", "UPDATE identity SET kind = 'human'"),
        (
            "identity",
            "state",
            "UPDATE identity SET state = 'retired', state_reason = NULL",
        ),
        ("identity", "agent", "UPDATE identity SET agent = ''"),
        (
            "identity",
            "digest",
            "UPDATE identity SET expires_at = expires_at + 1",
        ),
    ];
    for (table, column, flip) in flips {
        assert_eq!(raw.run(flip).await.unwrap(), 1);
        let mut reader = bed.store.reader(&acme).await.unwrap();
        let found = reader.identity().lookup(&identity.id).await.unwrap_err();
        let named = matches!(&found, StoreError::RowCorrupt { table: t, column: c, row } if (*t, *c) == (table, column) && !row.is_empty());
        assert!(named, "{flip}: {found}");
        assert_eq!(
            code(bed.store.facts().await.map(drop)),
            "store.row-corrupt",
            "nobody decides on half a snapshot"
        );
        let id = identity.id.clone();
        let touched = async move |tx: &mut Tx| tx.identity().lookup(&id).await.map(drop);
        assert_eq!(code(bed.tx(&acme, touched).await), "store.row-corrupt");
        let heal = "UPDATE identity SET purpose = 'reads invoices', kind = 'agent', state = 'probation', \
                    state_reason = NULL, agent = 'invoices'";
        raw.run(heal).await.unwrap();
    }
    raw.run("UPDATE identity SET expires_at = expires_at - 1")
        .await
        .unwrap();
    let mut reader = bed.store.reader(&acme).await.unwrap();
    assert!(
        reader.identity().lookup(&identity.id).await.unwrap().is_some(),
        "healed"
    );
    drop(reader);
    raw.run("UPDATE task_grant SET scopes = digest").await.unwrap();
    let mut reader = bed.store.reader(&acme).await.unwrap();
    let found = reader.task().lookup(&task).await.unwrap_err();
    assert!(
        matches!(found, StoreError::RowCorrupt { column: "scopes", .. }),
        "{found}"
    );
}

pub(crate) async fn the_log_only_grows(bed: Bed) {
    let acme = bed.tenant("acme").await;
    bed.identity(&acme, "reader").await;
    let mut raw = bed.raw().await;
    for change in [
        "UPDATE log_entry SET at = 0",
        "DELETE FROM log_entry WHERE log_index = 0",
    ] {
        let refused = raw.run(change).await.unwrap_err().to_string();
        assert!(refused.contains("only grows"), "{refused}");
    }
    assert_eq!(bed.store.entries(0, 10).await.unwrap().len(), 2);
}

/// Takes the guard away that the engine has, as somebody with the file could.
async fn tamper(bed: &Bed, change: &str) {
    let mut raw = bed.raw().await;
    let guard = if raw.is_postgres() {
        "ALTER TABLE log_entry DISABLE TRIGGER USER"
    } else {
        "DROP TRIGGER IF EXISTS log_entry_no_update; DROP TRIGGER IF EXISTS log_entry_no_delete"
    };
    raw.run(guard).await.unwrap();
    assert_eq!(raw.run(change).await.unwrap(), 1, "{change}");
}

pub(crate) async fn a_payload_belongs_to_its_leaf(bed: Bed) {
    let acme = bed.tenant("acme").await;
    for n in 0..4 {
        bed.identity(&acme, &format!("agent {n}")).await;
    }
    let opened = bed.store.opening(&acme, 2).await.unwrap().unwrap();
    let payload = opened.value().unwrap();
    assert_eq!(
        (payload["command"].as_str(), payload["actor"].as_str()),
        (Some("identity.register"), Some("system:suite"))
    );
    assert_eq!(payload["objects"][0]["after"]["kind"], "agent");
    assert_eq!(payload["objects"][0]["before"], serde_json::Value::Null);
    let swap = "UPDATE log_entry SET payload = (SELECT e.payload FROM log_entry AS e WHERE e.log_index = 3) WHERE log_index = 2";
    tamper(&bed, swap).await;
    assert_eq!(code(bed.store.opening(&acme, 2).await), "store.seal");
    let swap = "UPDATE log_entry SET leaf = (SELECT e.leaf FROM log_entry AS e WHERE e.log_index = 4) WHERE log_index = 3";
    tamper(&bed, swap).await;
    assert_eq!(code(bed.store.opening(&acme, 3).await), "store.log-corrupt");
    tamper(&bed, "DELETE FROM log_entry WHERE log_index = 1").await;
    let missing = bed.store.entries(0, 10).await.unwrap_err();
    assert!(
        matches!(missing, StoreError::LogCorrupt { index: 1, .. }),
        "{missing}"
    );
    let recount = bed
        .store
        .recount(Reach::DangerAllTenants, Default::default())
        .await
        .unwrap_err();
    assert!(
        matches!(recount, StoreError::LogCorrupt { index: 1, .. }),
        "{recount}"
    );
}

/// Who set a mark is unknown only when the tenant was erased: an entry that was altered is said to be.
pub(crate) async fn an_altered_order_is_an_error_and_an_erased_one_unknown(bed: Bed) {
    let acme = bed.tenant("acme").await;
    for _ in 0..2 {
        let stop = async |tx: &mut Tx| {
            let scope = MarkScope::Tenant(TenantId::parse("acme").unwrap());
            tx.mark().set(scope, MarkEffect::Suspend, "drill").await.map(drop)
        };
        bed.tx(&acme, stop).await.unwrap();
    }
    let order = async || {
        let mut reader = bed.store.reader(&acme).await.unwrap();
        let marks = reader.mark().newest(100).await.unwrap().0;
        reader.mark().order(&marks[0]).await
    };
    assert_eq!(order().await.unwrap().unwrap().reason.as_deref(), Some("drill"));
    let swap = "UPDATE log_entry SET payload = (SELECT e.payload FROM log_entry AS e WHERE e.log_index = 1) WHERE log_index = 2";
    tamper(&bed, swap).await;
    assert_eq!(code(order().await), "store.seal");
    bed.sealer.erase(&acme);
    assert_eq!(order().await.unwrap(), None);
}

pub(crate) async fn an_opening_belongs_to_its_tenant(bed: Bed) {
    let (acme, other) = (bed.tenant("acme").await, bed.tenant("other").await);
    assert_eq!(
        bed.store.opening(&acme, 0).await.unwrap().unwrap().kind,
        "state.tenant.add"
    );
    assert_eq!(code(bed.store.opening(&acme, 1).await), "store.other-tenant");
    assert_eq!(
        code(bed.store.opening(Reach::Installation, 1).await),
        "store.other-tenant"
    );
    assert_eq!(bed.store.opening(&other, 9).await.unwrap(), None);
    let all = bed
        .store
        .opening(Reach::DangerAllTenants, 1)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(all.tenant, other);
    bed.sealer.erase(&other);
    assert_eq!(code(bed.store.opening(&other, 1).await), "store.seal");
    let recount = bed
        .store
        .recount(Reach::DangerAllTenants, Default::default())
        .await
        .unwrap();
    assert_eq!(
        (recount.entries, recount.erased),
        (2, 1),
        "an erased tenant keeps its place in the log"
    );
}
