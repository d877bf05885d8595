//! Sidecars: invitations, words beside the log, anchors, and facts of some tenants alone.

use std::time::Duration;

use bailiwick_base::{Clock, Digest, Epoch, NodeName, TenantId, Time};
use bailiwick_decide::{Fact, Mark, MarkEffect, MarkScope};
use bailiwick_node::{Seat, Sidecar, SidecarSaid};
use bailiwick_store::{Reach, StoreError, Tx};

use crate::bed::{self, Bed};

fn name(text: &str) -> NodeName {
    NodeName::parse(text).unwrap()
}

fn invited(sidecar: &str, tenants: &[&TenantId], until: Time) -> Sidecar {
    Sidecar {
        name: name(sidecar),
        tenants: tenants.iter().map(|t| (*t).clone()).collect(),
        seat: Seat::Invited,
        key: None,
        vkey: None,
        invite: Some((Digest::of(b"token"), until)),
    }
}

/// Runs a change of sidecars; whether it did anything.
async fn changed<F>(bed: &Bed, mut body: F) -> bool
where
    F: AsyncFnMut(&mut Tx) -> Result<bool, StoreError> + Send + 'static,
{
    let ctx = bed.ctx(Reach::Installation);
    let answer = bed.store.transact(ctx, async move |tx: &mut Tx| {
        let done = body(tx).await?;
        Ok::<_, StoreError>(vec![u8::from(done)])
    });
    answer.await.unwrap().answer == [1]
}

async fn join_as(bed: &Bed, sidecar: &'static str, token: &'static [u8]) -> bool {
    changed(bed, async move |tx| {
        let own = ([7; 32], "log+key");
        let joined = tx.sidecar().join(&name(sidecar), &Digest::of(token), own).await?;
        Ok(joined.is_some())
    })
    .await
}

async fn join(bed: &Bed, token: &'static [u8]) -> bool {
    join_as(bed, "s1", token).await
}

fn said(bed: &Bed, epoch: u64, beat: u64) -> SidecarSaid {
    SidecarSaid {
        epoch: Epoch(epoch),
        position: 3,
        beat,
        node: Some(bed.store.name().clone()),
        heard_at: Some(bed.clock.now()),
        left: false,
    }
}

/// A sidecar that joined, said something and has an anchored log.
pub(crate) async fn a_sidecar_joins_once_and_stays_by_its_name(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let until = bed.clock.now().after(Duration::from_secs(600));
    let invite = |sidecar: Sidecar| {
        let bed = &bed;
        async move { changed(bed, async move |tx| tx.sidecar().invite(&sidecar).await).await }
    };
    assert!(
        !invite(invited("node-1", &[&acme], until)).await,
        "a node has the name"
    );
    assert!(invite(invited("s1", &[&acme], until)).await);
    assert!(
        invite(invited("s1", &[&acme], until.after(Duration::from_secs(1)))).await,
        "anew"
    );
    assert!(!join(&bed, b"another").await);
    assert!(join(&bed, b"token").await);
    assert!(!join(&bed, b"token").await, "it was used up");
    assert!(!invite(invited("s1", &[&acme], until)).await, "the name is taken");
    assert!(invite(invited("s2", &[&acme], until)).await);
    bed.clock.advance(Duration::from_secs(601));
    assert!(!join_as(&bed, "s2", b"token").await, "its time is over");

    bed.store
        .note_sidecars(&[(name("s1"), said(&bed, 5, 9))])
        .await
        .unwrap();
    let older = SidecarSaid {
        heard_at: Some(bed.clock.now().before(Duration::from_secs(1))),
        ..said(&bed, 1, 1)
    };
    bed.store.note_sidecars(&[(name("s1"), older)]).await.unwrap();
    let row = bed.store.sidecar(&name("s1")).await.unwrap().unwrap();
    assert_eq!(
        (row.said.clone(), row.anchor),
        (said(&bed, 5, 9), None),
        "only what is newer"
    );
    assert_eq!((row.sidecar.seat, row.sidecar.key), (Seat::Joined, Some([7; 32])));
    let anchor = async |size: u64| {
        changed(&bed, async move |tx| {
            tx.sidecar().anchor(&name("s1"), (size, [1; 32])).await
        })
        .await
    };
    assert!(anchor(7).await && !anchor(7).await && !anchor(6).await && anchor(8).await);
    let row = bed.store.sidecar(&name("s1")).await.unwrap().unwrap();
    assert_eq!(row.anchor, Some((8, [1; 32])));

    assert!(changed(&bed, async |tx| tx.sidecar().withdraw(&name("s2"), "late").await).await);
    assert!(!changed(&bed, async |tx| tx.sidecar().withdraw(&name("s2"), "again").await).await);
    assert!(!changed(&bed, async |tx| tx.sidecar().withdraw(&name("s9"), "typo").await).await);
    assert!(
        !invite(invited("s2", &[&acme], until)).await,
        "no name is given twice"
    );
    let all = bed.store.sidecars().await.unwrap();
    let seats: Vec<Seat> = all.iter().map(|row| row.sidecar.seat).collect();
    assert_eq!(seats, [Seat::Joined, Seat::Removed]);
    if !bed.store.is_shared() {
        let mut raw = bed.raw().await;
        raw.run("DELETE FROM sidecar").await.unwrap_err();
    }
}

pub(crate) async fn of_a_sidecar_nothing_is_believed_that_no_node_wrote(bed: Bed) {
    let acme = bed.tenant("acme").await;
    bed.tenant("globex").await;
    let until = bed.clock.now().after(Duration::from_secs(600));
    let sidecar = invited("s1", &[&acme], until);
    assert!(changed(&bed, async move |tx| tx.sidecar().invite(&sidecar).await).await);
    assert!(join(&bed, b"token").await);
    bed.store
        .note_sidecars(&[(name("s1"), said(&bed, 5, 9))])
        .await
        .unwrap();
    assert!(
        changed(&bed, async |tx| tx
            .sidecar()
            .anchor(&name("s1"), (7, [1; 32]))
            .await)
        .await
    );
    let mut raw = bed.raw().await;
    raw.see(bed::whole_installation().as_str()).await;
    for (change, back) in [
        ("tenants = 'acme globex'", "tenants = 'acme'"),
        ("standing = 'removed'", "standing = 'joined'"),
        ("vkey = 'another'", "vkey = 'log+key'"),
        ("log_size = 1", "log_size = 7"),
    ] {
        let touched = raw.run(&format!("UPDATE sidecar SET {change}")).await.unwrap();
        assert_eq!(touched, 1);
        let error = bed.store.sidecar(&name("s1")).await.unwrap_err();
        assert_eq!(error.code(), "store.row-corrupt", "{change}");
        raw.run(&format!("UPDATE sidecar SET {back}")).await.unwrap();
    }
    for change in [
        "epoch = 9",
        "beat = 10",
        "has_left = 1",
        "vouched = NULL",
        "position = 0",
    ] {
        let kept = bed.store.sidecar(&name("s1")).await.unwrap().unwrap().said;
        let touched = raw.run(&format!("UPDATE sidecar SET {change}")).await.unwrap();
        assert_eq!(touched, 1);
        let found = bed.store.sidecar(&name("s1")).await.unwrap().unwrap().said;
        assert_eq!(
            (found.epoch, found.left, found.beat),
            (Epoch(0), false, 0),
            "{change}"
        );
        assert_eq!(found.node, kept.node, "somebody may have to wait for it");
        bed.store.note_sidecars(&[(name("s1"), kept)]).await.unwrap();
    }
}

pub(crate) async fn facts_of_some_tenants_are_theirs_alone(bed: Bed) {
    let (acme, globex) = (bed.tenant("acme").await, bed.tenant("globex").await);
    let ours = bed.identity(&acme, "worker").await;
    let theirs = bed.identity(&globex, "worker").await;
    for id in [ours.id.clone(), theirs.id.clone()] {
        let home = id.tenant().clone();
        bed.tx(&home, async move |tx: &mut Tx| {
            let scope = MarkScope::Identity(id.clone());
            tx.mark().set(scope, MarkEffect::Suspend, "drill").await.map(drop)
        })
        .await
        .unwrap();
    }
    let facts = bed.store.facts_of(std::slice::from_ref(&acme)).await.unwrap();
    assert!(matches!(facts.first(), Some(Fact::EpochFloor(_))));
    assert!(matches!(facts.last(), Some(Fact::Position(..))));
    let text = format!("{facts:?}");
    assert!(text.contains(&ours.id.to_string()) && !text.contains(&theirs.id.to_string()));
    let marks: Vec<&Mark> = facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::Mark(mark) => Some(mark),
            _ => None,
        })
        .collect();
    assert_eq!(marks.len(), 1);
    // Of both, it is what the snapshot starts from, whatever the order.
    let sorted = |facts: Vec<Fact>| {
        let mut lines: Vec<String> = facts.iter().map(|fact| format!("{fact:?}")).collect();
        lines.sort();
        lines
    };
    let both = bed.store.facts_of(&[acme.clone(), globex.clone()]).await.unwrap();
    assert_eq!(sorted(both), sorted(bed.store.facts().await.unwrap()));
    // What was written for one concerns that one alone; what is said of sidecars, nobody.
    let from = bed.store.position().await.unwrap().0.0;
    bed.identity(&globex, "second").await;
    let to = bed.store.position().await.unwrap().0.0;
    let (acme, globex) = ([acme], [globex]);
    assert!(!bed.store.concerns(&acme, (from, to)).await.unwrap());
    assert!(bed.store.concerns(&globex, (from, to)).await.unwrap());
    let until = bed.clock.now().after(Duration::from_secs(600));
    let sidecar = invited("s1", &[&acme[0]], until);
    assert!(changed(&bed, async move |tx| tx.sidecar().invite(&sidecar).await).await);
    assert!(!bed.store.concerns(&acme, (to, to + 1)).await.unwrap());
}
