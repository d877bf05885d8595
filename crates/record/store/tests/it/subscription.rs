//! Who is told: kept with its secret and its progress, and found by whoever sends.

use bailiwick_base::{Clock, Secret, TenantId, Time};
use bailiwick_signal::{
    Delivery, EventKind, Keys, Limits, NewSubscription, NewTransmitter, Place, Subscription, add_transmitter,
    remove_transmitter, renew_secret, subscribe, withdraw,
};
use bailiwick_store::{Progress, StoreError, Tx, WithSecret};

use crate::bed::Bed;

async fn added(bed: &Bed, acme: &TenantId) -> Subscription {
    let plan = NewSubscription {
        id: bed.ids.mint(acme).unwrap(),
        receiver: None,
        delivery: Delivery::Webhook(Place {
            url: "https://hooks.example/in".to_owned(),
            allow_addresses: vec!["10.0.0.0/8".to_owned()],
            danger_plaintext: false,
        }),
        asked: vec![EventKind::SessionRevoked.as_str().to_owned()],
        description: Some("first".to_owned()),
        has_secret: true,
    };
    let made = subscribe(plan, [], &Limits::default(), bed.clock.now()).unwrap();
    let subscription = made.after.clone();
    bed.tx(acme, async move |tx: &mut Tx| {
        let secret = Secret::new(b"one".to_vec());
        tx.subscription()
            .apply(made.clone(), WithSecret::Replace(&secret))
            .await
    })
    .await
    .unwrap();
    subscription
}

async fn revealed(bed: &Bed, subscription: &Subscription) -> Option<Vec<u8>> {
    let mut reader = bed.store.reader(subscription.id.tenant()).await.unwrap();
    let secret = reader.subscription().reveal(&subscription.id).await.unwrap();
    secret.map(|secret| secret.reveal().clone())
}

pub(crate) async fn a_subscription_keeps_its_secret_until_it_is_removed(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let subscription = added(&bed, &acme).await;
    assert_eq!(
        bed.store.subscriptions().await.unwrap(),
        std::slice::from_ref(&subscription)
    );
    assert_eq!(
        revealed(&bed, &subscription).await.as_deref(),
        Some(b"one".as_slice())
    );
    bed.clock.advance(std::time::Duration::from_secs(1));
    let renewed = renew_secret(subscription.clone(), bed.clock.now()).unwrap();
    let (change, after) = (renewed.clone(), renewed.after.clone());
    bed.tx(&acme, async move |tx: &mut Tx| {
        let secret = Secret::new(b"two".to_vec());
        tx.subscription()
            .apply(change.clone(), WithSecret::Replace(&secret))
            .await
    })
    .await
    .unwrap();
    assert_eq!(revealed(&bed, &after).await.as_deref(), Some(b"two".as_slice()));
    // What was changed meanwhile is not changed again from what it was.
    let stale = bed
        .tx(&acme, async move |tx: &mut Tx| {
            tx.subscription().apply(renewed.clone(), WithSecret::Keep).await
        })
        .await;
    assert!(matches!(stale, Err(StoreError::Conflict { .. })));
    let removed = withdraw(after.clone(), "over", bed.clock.now()).unwrap();
    bed.tx(&acme, async move |tx: &mut Tx| {
        tx.subscription().apply(removed.clone(), WithSecret::Forget).await
    })
    .await
    .unwrap();
    assert_eq!(bed.store.subscriptions().await.unwrap(), []);
    assert_eq!(revealed(&bed, &after).await, None);
    let other = bed.tenant("globex").await;
    let mut reader = bed.store.reader(&other).await.unwrap();
    let foreign = reader.subscription().lookup(&after.id).await;
    assert!(matches!(foreign, Err(StoreError::OtherTenant { .. })));
}

pub(crate) async fn how_far_somebody_is_has_no_entry_and_entries_come_from_there(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let subscription = added(&bed, &acme).await;
    let (before, _) = bed.store.position().await.unwrap();
    let progress = Progress {
        position: before.0,
        taken: [(before.0, 1), (before.0 + 2, 0)].into(),
        attempts: 3,
        retry_at: Time::from_secs(9),
        failing_since: Some(Time::from_secs(8)),
        verified_at: None,
        trouble: Some("status 503".to_owned()),
    };
    let (id, wanted) = (subscription.id.clone(), progress.clone());
    bed.tx(&acme, async move |tx: &mut Tx| {
        tx.subscription().proceed(&id, &wanted).await
    })
    .await
    .unwrap();
    assert_eq!(
        bed.store.position().await.unwrap().0,
        before,
        "nothing was entered"
    );
    let mut reader = bed.store.reader(&acme).await.unwrap();
    assert_eq!(
        reader.subscription().progress(&subscription.id).await.unwrap(),
        progress
    );
    drop(reader);
    let other = bed.tenant("globex").await;
    bed.identity(&other, "theirs").await;
    let ours = bed.identity(&acme, "ours").await;
    let (end, _) = bed.store.position().await.unwrap();
    let identities = |kind: &str| kind.starts_with("state.identity.");
    let found = bed
        .store
        .openings_since(&acme, (before.0, end.0), 100, identities)
        .await;
    let (found, upto) = found.unwrap();
    assert_eq!((found.len(), upto), (1, end.0));
    assert_eq!(found[0].value().unwrap()["objects"][0]["id"], ours.id.to_string());
    // A little at a time comes to the same.
    let (mut at, mut steps, mut seen) = (0, 0, 0);
    while at < end.0 {
        let (some, next) = bed
            .store
            .openings_since(&acme, (at, end.0), 1, |_| true)
            .await
            .unwrap();
        assert!(next > at);
        (at, steps, seen) = (next, steps + 1, seen + some.len());
    }
    let (all, _) = bed
        .store
        .openings_since(&acme, (0, end.0), 1_000, |_| true)
        .await
        .unwrap();
    assert_eq!(seen, all.len());
    assert!(steps > 1);
}

pub(crate) async fn a_transmitter_speaks_until_it_is_removed_and_for_one_tenant(bed: Bed) {
    let (acme, globex) = (bed.tenant("acme").await, bed.tenant("globex").await);
    let plan = NewTransmitter {
        id: bed.ids.mint(&acme).unwrap(),
        issuer: "https://idp.example".to_owned(),
        keys: Keys::Url("https://idp.example/jwks".to_owned()),
        allow_addresses: Vec::new(),
        danger_plaintext: false,
        people: [("u-1".to_owned(), "ann@acme.example".to_owned())].into(),
    };
    let now = bed.clock.now();
    let made = add_transmitter(plan.clone(), [], &Limits::default(), now).unwrap();
    let transmitter = made.after.clone();
    bed.tx(&acme, async move |tx: &mut Tx| {
        tx.transmitter().apply(made.clone()).await
    })
    .await
    .unwrap();
    for (tenant, expected) in [(&acme, Some(transmitter.clone())), (&globex, None)] {
        let mut reader = bed.store.reader(tenant).await.unwrap();
        let found = reader.transmitter().find_by_issuer("https://idp.example").await;
        assert_eq!(found.unwrap(), expected);
    }
    // A second one of the same issuer is not written, whoever missed the first.
    let second = NewTransmitter {
        id: bed.ids.mint(&acme).unwrap(),
        ..plan
    };
    let second = add_transmitter(second, [], &Limits::default(), now).unwrap();
    let twice = bed
        .tx(&acme, async move |tx: &mut Tx| {
            tx.transmitter().apply(second.clone()).await
        })
        .await;
    assert!(matches!(
        twice,
        Err(StoreError::Duplicate { field: "issuer", .. })
    ));
    let removed = remove_transmitter(transmitter.clone(), "left", now).unwrap();
    bed.tx(&acme, async move |tx: &mut Tx| {
        tx.transmitter().apply(removed.clone()).await
    })
    .await
    .unwrap();
    let mut reader = bed.store.reader(&acme).await.unwrap();
    assert_eq!(reader.transmitter().living().await.unwrap(), []);
    let kept = reader
        .transmitter()
        .lookup(&transmitter.id)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(kept.removed_at, Some(now));
}
