//! Clients without a key, and consents: written, used one step at a time, and compared with what entries tell of them.

use std::time::Duration;

use bailiwick_base::{Clock, Digest, Epoch, TenantId, Transition};
use bailiwick_credential::ScopeSet;
use bailiwick_credential::consent::{
    Challenge, ClientSource, Consent, PublicClient, redeem, remove_public_client, renew,
};
use bailiwick_decide::Fact;
use bailiwick_store::{Page, StoreError, Tx};

use crate::bed::Bed;

async fn client(bed: &Bed, t: Transition<PublicClient>) -> Result<(), StoreError> {
    let tenant = t.after.id.tenant().clone();
    bed.tx(&tenant, async move |tx: &mut Tx| {
        tx.public_client().apply(t.clone()).await
    })
    .await
    .map(drop)
}

async fn apply(bed: &Bed, t: Transition<Consent>) -> Result<(), StoreError> {
    let tenant = t.after.id.tenant().clone();
    bed.tx(&tenant, async move |tx: &mut Tx| {
        tx.consent().apply(t.clone()).await
    })
    .await
    .map(drop)
}

async fn given(bed: &Bed, acme: &TenantId) -> Consent {
    let identity = bed.identity(acme, "worker").await;
    let (opened, grant) = bed.task(&identity.id);
    let task = opened.after.clone();
    bed.tx(acme, async move |tx: &mut Tx| {
        tx.task().open(opened.clone(), grant.clone()).await
    })
    .await
    .unwrap();
    let now = bed.clock.now();
    let consent = Consent {
        id: bed.ids.mint(acme).unwrap(),
        token: bed.ids.mint(acme).unwrap(),
        client: "https://app.example/client.json".to_owned(),
        redirect: "http://127.0.0.1:1/cb".to_owned(),
        challenge: Challenge::parse("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM").unwrap(),
        task: task.id.clone(),
        identity: identity.id.clone(),
        scopes: ScopeSet::parse("files:echo"),
        epoch: Epoch(3),
        composition: Some(Digest::of(b"composition")),
        given_by: "operator:opr_1".to_owned(),
        created_at: now,
        expires_at: task.closes_at,
        code_until: now.after(Duration::from_secs(60)),
        redeemed_at: None,
        generation: 0,
        refresh: None,
    };
    apply(bed, Transition::made("consent.give", consent.clone()))
        .await
        .unwrap();
    consent
}

async fn stored(bed: &Bed, consent: &Consent) -> Option<Consent> {
    let mut reader = bed.store.reader(consent.id.tenant()).await.unwrap();
    reader.consent().lookup(&consent.id).await.unwrap()
}

pub(crate) async fn a_client_asks_until_it_is_removed_for_good(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let sources = [
        ClientSource::Registered {
            redirects: vec!["http://127.0.0.1/cb".to_owned()],
        },
        ClientSource::Documents {
            below: "https://app.example/".to_owned(),
            allow_addresses: vec!["10.0.0.0/8".to_owned()],
            danger_plaintext: true,
        },
    ];
    for source in sources {
        let public = PublicClient {
            id: bed.ids.mint(&acme).unwrap(),
            name: "Notebook".to_owned(),
            source,
            created_at: bed.clock.now(),
            expires_at: bed.clock.now().after(Duration::from_secs(60)),
            removed_at: None,
        };
        let made = Transition::made("public-client.register", public.clone());
        client(&bed, made.clone()).await.unwrap();
        assert!(matches!(
            client(&bed, made).await,
            Err(StoreError::Duplicate { .. })
        ));
        let told = |facts: Vec<Fact>| {
            facts
                .into_iter()
                .any(|fact| matches!(fact, Fact::PublicClient(c) if *c == public))
        };
        assert!(told(bed.store.facts().await.unwrap()));
        let renamed = PublicClient {
            name: "Other".to_owned(),
            ..public.clone()
        };
        let changed = Transition::changed("public-client.register", public.clone(), renamed);
        assert!(matches!(
            client(&bed, changed).await,
            Err(StoreError::Conflict { .. })
        ));
        let removed = remove_public_client(public.clone(), "gone", bed.clock.now()).unwrap();
        client(&bed, removed.clone()).await.unwrap();
        assert!(matches!(
            client(&bed, removed).await,
            Err(StoreError::Conflict { .. })
        ));
        assert!(!told(bed.store.facts().await.unwrap()));
    }
}

pub(crate) async fn a_consent_moves_one_step_at_a_time(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let consent = given(&bed, &acme).await;
    assert_eq!(stored(&bed, &consent).await.as_ref(), Some(&consent));
    let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
    let redeemed = redeem(consent.clone(), one, bed.clock.now()).unwrap();
    apply(&bed, redeemed.clone()).await.unwrap();
    // Whoever worked from the same row comes too late.
    assert!(matches!(
        apply(&bed, redeemed.clone()).await,
        Err(StoreError::Conflict { .. })
    ));
    let renewed = renew(redeemed.after.clone(), 1, one, two).unwrap();
    apply(&bed, renewed.clone()).await.unwrap();
    assert!(matches!(
        apply(&bed, renewed.clone()).await,
        Err(StoreError::Conflict { .. })
    ));
    assert_eq!(stored(&bed, &consent).await.as_ref(), Some(&renewed.after));
    let wider = Consent {
        scopes: ScopeSet::parse("files:*"),
        ..renewed.after.clone()
    };
    let widened = Transition::changed("consent.renew", renewed.after.clone(), wider);
    assert!(matches!(
        apply(&bed, widened).await,
        Err(StoreError::Conflict { .. })
    ));
    let mut reader = bed.store.reader(&acme).await.unwrap();
    let list = reader
        .consent()
        .list(Page::first(10), bed.clock.now())
        .await
        .unwrap();
    assert_eq!(list, [renewed.after]);
    let over = reader
        .consent()
        .list(Page::first(10), consent.expires_at)
        .await
        .unwrap();
    assert_eq!(over, []);
    let other = bed.tenant("globex").await;
    let mut reader = bed.store.reader(&other).await.unwrap();
    assert!(
        reader.consent().lookup(&consent.id).await.is_err(),
        "another tenant's"
    );
}

pub(crate) async fn a_consent_that_is_altered_is_named_at_a_start(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let consent = given(&bed, &acme).await;
    let shown = crate::compare::all_of_it(&bed).await;
    bed.store.compare(shown).await.unwrap();
    let mut raw = bed.raw().await;
    raw.see("acme").await;
    assert!(
        !matches!(raw.run("DELETE FROM consent").await, Ok(1..)),
        "no row goes"
    );
    let altered = "UPDATE consent SET digest = identity.digest FROM identity";
    assert_eq!(raw.run(altered).await.unwrap(), 1);
    let said = bed.store.compare(shown).await.unwrap_err().to_string();
    assert!(said.contains(&format!("`consent` `{}`", consent.id)), "{said}");
}
