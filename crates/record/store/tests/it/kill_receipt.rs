//! Receipts of stops, and marks that stop only a part.

use bailiwick_base::Epoch;
use bailiwick_decide::{Fact, MarkEffect, MarkScope};
use bailiwick_store::{KeptReceipt, Reach, ReceiptState, StoreError, Tx};
use serde_json::json;

use crate::bed::Bed;

fn code<T: std::fmt::Debug>(result: Result<T, StoreError>) -> &'static str {
    result.expect_err("a refusal").code()
}

pub(crate) async fn a_receipt_begins_with_its_mark_and_goes_on_from_what_was_read(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let scope = MarkScope::Tenant(acme.clone());
    let press = async move |tx: &mut Tx| {
        tx.mark().set(scope.clone(), MarkEffect::Kill, "drill").await?;
        let body = json!({"by": "ada"});
        let kept = tx
            .kill_receipt()
            .begin(scope.clone(), MarkEffect::Kill, ReceiptState::Committed, body)
            .await?;
        assert_eq!(kept.epoch, Epoch(1));
        Ok(())
    };
    let receipt = bed.tx(&acme, press).await.unwrap();
    let marked = receipt.entries[0].index;
    let mut reader = bed.store.reader(&acme).await.unwrap();
    let kept = reader.kill_receipt().lookup(Epoch(1)).await.unwrap().unwrap();
    assert_eq!(
        (kept.entry, kept.told),
        (marked, marked + 1),
        "the mark, then its receipt"
    );
    assert_eq!(reader.kill_receipt().lookup(Epoch(2)).await.unwrap(), None);
    let open = reader.kill_receipt().unclosed(Epoch(0), 10).await.unwrap();
    assert_eq!(open.as_slice(), std::slice::from_ref(&kept));
    assert_eq!(reader.kill_receipt().unclosed(Epoch(1), 10).await.unwrap(), []);
    drop(reader);

    let close = |before: KeptReceipt| {
        async move |tx: &mut Tx| {
            let body = json!({"by": "ada", "points": [1]});
            let after = tx
                .kill_receipt()
                .advance("kill.contain", &before, ReceiptState::Closed, body)
                .await?;
            assert_eq!(after.state, ReceiptState::Closed);
            Ok(())
        }
    };
    let advanced = bed.tx(&acme, close(kept.clone())).await.unwrap();
    assert_eq!(
        code(bed.tx(&acme, close(kept.clone())).await),
        "store.conflict",
        "it changed meanwhile"
    );
    let mut reader = bed.store.reader(&acme).await.unwrap();
    let closed = reader.kill_receipt().lookup(Epoch(1)).await.unwrap().unwrap();
    assert_eq!((closed.entry, closed.told), (marked, advanced.entries[0].index));
    assert_eq!(closed.body, json!({"by": "ada", "points": [1]}));
    assert_eq!(reader.kill_receipt().unclosed(Epoch(0), 10).await.unwrap(), []);
    assert_eq!(reader.kill_receipt().newest(None, 10).await.unwrap(), [closed]);
    drop(reader);

    let other = bed.tenant("other").await;
    let mut reader = bed.store.reader(&other).await.unwrap();
    assert_eq!(
        reader.kill_receipt().lookup(Epoch(1)).await.unwrap(),
        None,
        "it is its tenant's"
    );
    drop(reader);
    let foreign = async move |tx: &mut Tx| {
        tx.kill_receipt()
            .advance("kill.contain", &kept, ReceiptState::Open, json!({}))
            .await
            .map(drop)
    };
    assert_eq!(code(bed.tx(&other, foreign).await), "store.other-tenant");
}

pub(crate) async fn a_mark_on_everything_has_its_receipt_with_the_installation(bed: Bed) {
    let press = async |tx: &mut Tx| {
        tx.mark()
            .set(MarkScope::All, MarkEffect::Observe, "drill")
            .await?;
        tx.kill_receipt()
            .begin(
                MarkScope::All,
                MarkEffect::Observe,
                ReceiptState::Committed,
                json!({}),
            )
            .await
            .map(drop)
    };
    bed.tx(Reach::Installation, press).await.unwrap();
    let mut reader = bed.store.reader(Reach::Installation).await.unwrap();
    let kept = reader.kill_receipt().newest(None, 10).await.unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].effect, MarkEffect::Observe);
}

pub(crate) async fn lifting_takes_every_milder_mark_along_and_leaves_a_kill(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let scope = MarkScope::Tenant(acme.clone());
    let wanted = scope.clone();
    let everything = async move |tx: &mut Tx| {
        for effect in MarkEffect::ALL {
            tx.mark().set(wanted.clone(), effect, "drill").await?;
        }
        tx.mark().lift(&wanted, Some("seen")).await
    };
    let receipt = bed.tx(&acme, everything).await.unwrap();
    assert_eq!(receipt.epoch, Epoch(5));
    assert_eq!(
        receipt.entries.len(),
        6,
        "one for each mark, one for all that is lifted"
    );
    let lifts = |fact: &Fact| matches!(fact, Fact::MarkLifted(lifted) if *lifted == scope);
    assert!(receipt.facts.iter().any(lifts));
    let mut reader = bed.store.reader(&acme).await.unwrap();
    let left = reader.mark().lookup(&scope).await.unwrap();
    let left: Vec<_> = left.iter().map(|m| m.mark.effect).collect();
    assert_eq!(left, [MarkEffect::Kill]);
    drop(reader);
    // The rows are what the entries lead to.
    let bed = bed.reopened(true).await;
    let mut reader = bed.store.reader(&acme).await.unwrap();
    assert_eq!(reader.mark().newest(100).await.unwrap().0.len(), 1);
}
