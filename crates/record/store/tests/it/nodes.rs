//! Several nodes on one store: fences, the lead, invitations, and what each hears of the others.

use std::time::Duration;

use bailiwick_base::{Clock, Digest, Epoch, NodeName, TenantId, Time};
use bailiwick_node::Standing;
use bailiwick_store::{Once, OnceKind, Reach, StoreError, Tx};

use crate::bed::{self, Bed};

const LEASE: Duration = Duration::from_secs(5);

fn name(text: &str) -> NodeName {
    NodeName::parse(text).unwrap()
}

async fn beside(bed: &Bed) -> Bed {
    started(bed, 2).await
}

/// The second node, with ids that another start of it does not make again.
async fn started(bed: &Bed, seed: u64) -> Bed {
    Bed::node(bed.place.clone(), "node-2", seed).await
}

/// Runs a change of nodes; whether it did anything.
async fn changed<F>(bed: &Bed, mut body: F) -> bool
where
    F: AsyncFnMut(&mut Tx) -> Result<bool, StoreError> + Send + 'static,
{
    let ctx = bed.ctx(Reach::Installation);
    let answer = bed
        .store
        .transact(ctx, async move |tx: &mut Tx| {
            let done = body(tx).await?;
            Ok::<_, StoreError>(vec![u8::from(done)])
        })
        .await
        .unwrap();
    answer.answer == [1]
}

async fn standing(bed: &Bed, node: &str) -> Standing {
    let (rows, _) = bed.store.nodes().await.unwrap();
    rows.iter()
        .find(|row| row.word.node == name(node))
        .unwrap()
        .word
        .standing
}

pub(crate) async fn a_fenced_node_writes_nothing_until_it_is_let_in(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let other = beside(&bed).await;
    other.identity(&acme, "before").await;
    assert!(other.store.beat(Epoch(0), LEASE).await.unwrap().is_some());
    assert!(changed(&bed, async |tx| tx.node().fence(&name("node-2"), "stolen").await).await);
    assert!(!changed(&bed, async |tx| tx.node().fence(&name("node-2"), "again").await).await);
    assert_eq!(standing(&bed, "node-2").await, Standing::Fenced);
    let late = other
        .apply(&acme, other.registration(&acme, "late"))
        .await
        .unwrap_err();
    assert_eq!(late.code(), "store.fenced");
    assert_eq!(other.store.beat(Epoch(0), LEASE).await.unwrap(), None);
    other.store.close().await;
    let again = bed::open(&bed.place, "node-2", &other.clock, &other.sealer, None).await;
    assert_eq!(again.err().unwrap().code(), "store.not-admitted");
    assert!(
        changed(&bed, async |tx| tx
            .node()
            .readmit(&name("node-2"), "looked at")
            .await)
        .await
    );
    let other = started(&bed, 3).await;
    other.identity(&acme, "after").await;
    assert!(other.store.beat(Epoch(0), LEASE).await.unwrap().is_some());
    assert_eq!(standing(&bed, "node-2").await, Standing::Live);
}

pub(crate) async fn a_leaders_duty_is_refused_under_an_older_term(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let other = beside(&bed).await;
    let duty = async |of: &Bed, term: u64, who: &str| {
        let t = of.registration(&acme, who);
        let ctx = of.ctx(&acme).leading(term);
        let done = of.store.transact(ctx, async move |tx: &mut Tx| {
            tx.identity().apply(t.clone()).await?;
            Ok::<_, StoreError>(Vec::new())
        });
        done.await.map(drop)
    };
    assert_eq!(
        duty(&bed, 1, "early").await.unwrap_err().code(),
        "store.not-leading"
    );
    assert!(bed.store.take_lead(0).await.unwrap());
    assert!(!other.store.take_lead(0).await.unwrap(), "one of two");
    duty(&bed, 1, "mine").await.unwrap();
    assert_eq!(
        duty(&other, 1, "theirs").await.unwrap_err().code(),
        "store.not-leading"
    );
    assert!(other.store.take_lead(1).await.unwrap());
    assert!(!bed.store.take_lead(1).await.unwrap(), "the term went on");
    assert_eq!(
        duty(&bed, 1, "late").await.unwrap_err().code(),
        "store.not-leading"
    );
    duty(&other, 2, "now theirs").await.unwrap();
    let lead = bed.store.nodes().await.unwrap().1.unwrap();
    assert_eq!((lead.node, lead.term), (name("node-2"), 2));
}

pub(crate) async fn an_invitation_is_used_once_and_in_time(bed: Bed) {
    let (token, wrong) = (Digest::of(b"token"), Digest::of(b"another"));
    let until = bed.clock.now().after(Duration::from_secs(600));
    let node = name("node-9");
    let (invited, joining) = (node.clone(), node.clone());
    assert!(
        changed(&bed, async move |tx| tx
            .node()
            .invite(&invited, &token, until)
            .await)
        .await
    );
    assert_eq!(standing(&bed, "node-9").await, Standing::Invited);
    let refused = bed::open(&bed.place, "node-9", &bed.clock, &bed.sealer, None).await;
    assert_eq!(
        refused.err().unwrap().code(),
        "store.not-admitted",
        "it has not joined"
    );
    let of = joining.clone();
    let open = async |token: &Digest| {
        let now = bed.clock.now();
        bed.store.is_invited(&joining, token, now).await.unwrap()
    };
    assert!(open(&token).await && !open(&wrong).await);
    assert!(!changed(&bed, async move |tx| tx.node().join(&of, &wrong).await).await);
    bed.clock.advance(Duration::from_secs(601));
    assert!(!open(&token).await, "its time is over");
    let of = joining.clone();
    assert!(!changed(&bed, async move |tx| tx.node().join(&of, &token).await).await);
    let (of, until) = (joining.clone(), bed.clock.now().after(Duration::from_secs(600)));
    assert!(changed(&bed, async move |tx| tx.node().invite(&of, &token, until).await).await);
    let of = joining.clone();
    assert!(changed(&bed, async move |tx| tx.node().join(&of, &token).await).await);
    assert!(!open(&token).await, "it was used up");
    let of = joining.clone();
    assert!(!changed(&bed, async move |tx| tx.node().join(&of, &token).await).await);
    assert!(!changed(&bed, async move |tx| tx.node().invite(&node, &token, until).await).await);
    bed::open(&bed.place, "node-9", &bed.clock, &bed.sealer, None)
        .await
        .unwrap();
}

pub(crate) async fn what_others_committed_is_told_first_and_once(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let other = beside(&bed).await;
    bed.identity(&acme, "one").await;
    bed.identity(&acme, "two").await;
    // Its own write comes on top of what it had not heard.
    other.identity(&acme, "three").await;
    let told = |of: &Bed| -> Vec<Vec<u64>> {
        let seen = of.seen.lock().unwrap();
        seen.iter()
            .map(|r| r.entries.iter().map(|e| e.index).collect())
            .collect()
    };
    assert_eq!(told(&other), [vec![1, 2], vec![3]]);
    assert_eq!(told(&bed), [vec![0], vec![1], vec![2]]);
    // Reading alone tells it too, and nothing twice.
    bed.store.catch_up().await.unwrap();
    bed.store.catch_up().await.unwrap();
    bed.identity(&acme, "four").await;
    assert_eq!(told(&bed), [vec![0], vec![1], vec![2], vec![3], vec![4]]);
    other.store.catch_up().await.unwrap();
    assert_eq!(told(&other), [vec![1, 2], vec![3], vec![4]]);
}

pub(crate) async fn a_node_that_left_says_so(bed: Bed) {
    let other = beside(&bed).await;
    assert_eq!(standing(&bed, "node-2").await, Standing::Live);
    assert!(
        changed(&bed, async |tx| tx
            .node()
            .drain(&name("node-2"), true, "upgrade")
            .await)
        .await
    );
    assert_eq!(standing(&bed, "node-2").await, Standing::Draining);
    assert!(
        changed(&bed, async |tx| tx
            .node()
            .drain(&name("node-2"), false, "done")
            .await)
        .await
    );
    assert_eq!(standing(&bed, "node-2").await, Standing::Live);
    assert!(
        !changed(&bed, async |tx| tx
            .node()
            .drain(&name("nobody"), true, "typo")
            .await)
        .await
    );
    // Also one that is being drained says that it stopped, and says nothing after that.
    assert!(
        changed(&bed, async |tx| tx
            .node()
            .drain(&name("node-2"), true, "update")
            .await)
        .await
    );
    other.store.leave().await.unwrap();
    if other.store.is_shared() {
        other.store.beat(Epoch(1), LEASE).await.unwrap_err();
    }
    let expected = if other.store.is_shared() {
        Standing::Left
    } else {
        Standing::Draining
    };
    assert_eq!(standing(&bed, "node-2").await, expected);
}

/// What it wanted to write is refused for now and not for good: a stop stays in force in its memory.
pub(crate) async fn a_node_far_behind_does_not_refuse_what_it_cannot_write(bed: Bed) {
    let other = beside(&bed).await;
    for _ in 0..3 {
        bed.tx(Reach::Installation, async |tx: &mut Tx| {
            for _ in 0..3_400 {
                tx.mark().raise_floor("far", Epoch(0)).await?;
            }
            Ok(())
        })
        .await
        .unwrap();
    }
    let late = other
        .tx(Reach::Installation, async |tx: &mut Tx| {
            tx.mark().raise_floor("late", Epoch(0)).await.map(drop)
        })
        .await;
    assert_eq!(late.unwrap_err().code(), "store.unavailable");
}

/// What another node hears of `node-2`.
async fn heard(bed: &Bed) -> bailiwick_node::Word {
    let words = bed.store.beat(Epoch(1), LEASE).await.unwrap().unwrap();
    words
        .nodes
        .into_iter()
        .find(|word| word.node == name("node-2"))
        .unwrap()
}

pub(crate) async fn a_word_is_believed_only_as_a_node_said_it(bed: Bed) {
    let other = beside(&bed).await;
    if !other.store.is_shared() {
        return;
    }
    assert_eq!(heard(&bed).await.epoch, Epoch(0), "it has said nothing yet");
    other.store.beat(Epoch(5), LEASE).await.unwrap();
    let said = heard(&bed).await;
    assert_eq!(
        (said.epoch, said.lease, said.standing),
        (Epoch(5), LEASE, Standing::Live)
    );
    let mut raw = bed.raw().await;
    for change in [
        "epoch = 9",
        "beat = beat + 1",
        "lease_ms = 1",
        "standing = 'left'",
        "standing = 'invited'",
        "fence = 0",
        "vouched = NULL",
        "vouched = (SELECT vouched FROM node WHERE node = 'node-1')",
    ] {
        raw.run("CREATE TEMP TABLE kept AS SELECT * FROM node WHERE node = 'node-2'")
            .await
            .unwrap();
        raw.run(&format!("UPDATE node SET {change} WHERE node = 'node-2'"))
            .await
            .unwrap();
        let altered = heard(&bed).await;
        assert_eq!(
            (altered.epoch, altered.standing),
            (Epoch(0), Standing::Live),
            "{change}"
        );
        assert_eq!(altered.lease, Duration::from_secs(30), "{change}");
        raw.run(
            "UPDATE node SET (epoch, beat, fence, lease_ms, standing, vouched) = \
                 (SELECT epoch, beat, fence, lease_ms, standing, vouched FROM kept) WHERE node = 'node-2'",
        )
        .await
        .unwrap();
        raw.run("DROP TABLE kept").await.unwrap();
        assert_eq!(heard(&bed).await, said, "{change}");
    }
    an_operator_says_the_rest(&bed).await;
}

/// What an operator says of a node has an entry, and changes nothing of what it said itself.
async fn an_operator_says_the_rest(bed: &Bed) {
    assert!(
        changed(bed, async |tx| tx
            .node()
            .drain(&name("node-2"), true, "upgrade")
            .await)
        .await
    );
    assert_eq!(heard(bed).await.epoch, Epoch(5));
    assert!(
        changed(bed, async |tx| tx
            .node()
            .drain(&name("node-2"), false, "done")
            .await)
        .await
    );
    assert!(changed(bed, async |tx| tx.node().fence(&name("node-2"), "stolen").await).await);
    let fenced = heard(bed).await;
    assert_eq!(
        (fenced.epoch, fenced.lease, fenced.standing),
        (Epoch(0), LEASE, Standing::Fenced)
    );
    assert!(
        changed(bed, async |tx| tx
            .node()
            .readmit(&name("node-2"), "looked at")
            .await)
        .await
    );
    assert_eq!(heard(bed).await.standing, Standing::Left);
}

pub(crate) async fn a_second_process_under_a_name_is_refused_while_the_first_lives(bed: Bed) {
    let other = beside(&bed).await;
    if !other.store.is_shared() {
        return;
    }
    let lease = Duration::from_secs(1);
    other.store.beat(Epoch(0), lease).await.unwrap();
    let elsewhere = || bed::seated(&bed.place, ("node-2", "elsewhere"), &bed.clock, &bed.sealer);
    let beating = async {
        loop {
            drop(tokio::time::timeout(Duration::from_millis(100), std::future::pending::<()>()).await);
            assert!(
                other.store.beat(Epoch(0), lease).await.unwrap().is_some(),
                "it goes on"
            );
        }
    };
    let refused = tokio::select! {
        refused = elsewhere() => refused,
        () = beating => unreachable!("it beats for ever"),
    };
    assert_eq!(refused.err().unwrap().code(), "store.node-runs");
    // Silent for as long as it may answer: it cannot any more, and writes nothing from here on.
    let second = elsewhere().await.unwrap();
    assert_eq!(other.store.beat(Epoch(0), lease).await.unwrap(), None);
    assert!(second.beat(Epoch(0), lease).await.unwrap().is_some());
    // Whoever left said so, and is followed at once, from anywhere.
    second.leave().await.unwrap();
    second.close().await;
    bed::seated(&bed.place, ("node-2", "third"), &bed.clock, &bed.sealer)
        .await
        .unwrap();
}

pub(crate) async fn what_one_node_took_works_at_no_other(bed: Bed) {
    let (acme, globex) = (bed.tenant("acme").await, bed.tenant("globex").await);
    let other = beside(&bed).await;
    let now = bed.clock.now();
    let once = |text: &str, asked: Option<&str>| Once {
        kind: OnceKind::Assertion,
        once: Digest::of(text.as_bytes()),
        asked: asked.map(|asked| Digest::of(asked.as_bytes())),
        ends_at: now.after(Duration::from_secs(60)),
    };
    let take = async |of: &Bed, tenant: &TenantId, once: Once, at: Time| {
        of.store.take_once(tenant, once, at).await.unwrap()
    };
    let shared = other.store.is_shared();
    assert!(take(&bed, &acme, once("a", None), now).await);
    assert_eq!(take(&other, &acme, once("a", None), now).await, !shared);
    assert_eq!(take(&other, &acme, once("a", Some("x")), now).await, !shared);
    // Another tenant's, another kind's, or another one.
    assert!(take(&other, &globex, once("a", None), now).await);
    let session = Once {
        kind: OnceKind::Session,
        ..once("a", None)
    };
    assert!(take(&other, &acme, session, now).await);
    assert!(take(&bed, &acme, once("b", Some("x")), now).await);
    let again = take(&other, &acme, once("b", Some("x")), now).await;
    assert!(again, "the same again");
    assert_eq!(take(&other, &acme, once("b", Some("y")), now).await, !shared);
    if shared {
        // What is over goes with the next that comes.
        let later = now.after(Duration::from_secs(61));
        let next = Once {
            ends_at: later.after(Duration::from_secs(60)),
            ..once("c", None)
        };
        assert!(bed.store.take_once(&acme, next, later).await.unwrap());
        let mut raw = bed.raw().await;
        raw.see("acme").await;
        assert_eq!(
            raw.number("SELECT count(*) FROM used_once WHERE tenant = 'acme'")
                .await,
            1
        );
    }
}
