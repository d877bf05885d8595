//! Third-party credentials and the secrets of a rotation.

use std::time::Duration;

use bailiwick_base::{Clock, Secret, TenantId};
use bailiwick_credential::rotation::{self, NewThirdParty, register_third_party};
use bailiwick_credential::{
    Limits, Observed, PgTarget, ProbeAnswer, SecretKind, Seen, Target, ThirdParty, Turn,
};
use bailiwick_store::{Page, Sealing, StoreError, Tx};

use crate::bed::Bed;

pub(crate) async fn registered(bed: &Bed, acme: &TenantId, name: &str) -> ThirdParty {
    let identity = bed.identity(acme, name).await;
    let wanted = NewThirdParty {
        id: bed.ids.mint(acme).unwrap(),
        name: name.to_owned(),
        identity: identity.id.clone(),
        identity_expires_at: identity.expires_at,
        kind: SecretKind::PgLogin,
        fingerprint: "first".to_owned(),
        expires_at: None,
        every: Some(Duration::from_secs(3_600)),
        overlap: Some(Duration::ZERO),
        consumers: vec!["billing".to_owned()],
        target: Some(Target::Pg(PgTarget {
            host: "db.acme.example".to_owned(),
            port: 5_432,
            database: "orders".to_owned(),
            role: "orders_app".to_owned(),
            logins: ["orders_a".to_owned(), "orders_b".to_owned()],
            current: Turn::First,
            manager_login: "manager".to_owned(),
            manager: bed.ids.mint(acme).unwrap(),
            allow_plaintext: false,
        })),
    };
    let made = register_third_party(wanted, &Limits::default(), bed.clock.now()).unwrap();
    let after = made.after.clone();
    bed.tx(acme, async move |tx: &mut Tx| {
        tx.third_party().add(made.clone(), &secret("correct horse")).await
    })
    .await
    .unwrap();
    after
}

fn secret(text: &str) -> Secret<Vec<u8>> {
    Secret::new(text.as_bytes().to_vec())
}

/// Both secrets as they open.
async fn secrets(bed: &Bed, known: &ThirdParty) -> (Vec<u8>, Option<Vec<u8>>) {
    let mut reader = bed.store.reader(known.id.tenant()).await.unwrap();
    let used = reader.third_party().reveal(&known.id).await.unwrap().unwrap();
    let staged = reader.third_party().reveal_staged(&known.id).await.unwrap();
    (used.reveal().clone(), staged.map(|s| s.reveal().clone()))
}

async fn stored(bed: &Bed, known: &ThirdParty) -> ThirdParty {
    let mut reader = bed.store.reader(known.id.tenant()).await.unwrap();
    reader.third_party().lookup(&known.id).await.unwrap().unwrap()
}

pub(crate) async fn a_rotation_keeps_both_secrets_until_its_end(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let known = registered(&bed, &acme, "orders-db").await;
    assert_eq!(stored(&bed, &known).await, known);
    let now = bed.clock.now();
    let begun = rotation::begin(known.clone(), Some("second".to_owned()), "due", now).unwrap();
    let stale = begun.clone();
    let staging = begun.after.clone();
    bed.tx(&acme, async move |tx: &mut Tx| {
        let staged = secret("battery staple");
        tx.third_party()
            .apply(begun.clone(), Sealing::Stage(&staged))
            .await
    })
    .await
    .unwrap();
    assert_eq!(
        secrets(&bed, &known).await,
        (b"correct horse".to_vec(), Some(b"battery staple".to_vec()))
    );
    // Two rotations at once: the second was worked out from a row that is no more.
    let twice = bed
        .tx(&acme, async move |tx: &mut Tx| {
            tx.third_party().apply(stale.clone(), Sealing::Keep).await
        })
        .await;
    assert!(matches!(twice, Err(StoreError::Conflict { .. })));
    let watching = rotation::staged(staging.clone(), now).unwrap();
    let observed = Observed {
        seen: [Seen {
            turn: Turn::Second,
            consumer: "billing".to_owned(),
        }]
        .into(),
        used: None,
    };
    let closed = rotation::close(watching.after.clone(), &observed, now).unwrap();
    let revoked = rotation::revoked(closed.after.clone()).unwrap();
    for step in [watching, closed, revoked] {
        let after = step.after.clone();
        bed.tx(&acme, async move |tx: &mut Tx| {
            tx.third_party().apply(step.clone(), Sealing::Keep).await
        })
        .await
        .unwrap();
        assert_eq!(stored(&bed, &known).await, after);
    }
    let probing = stored(&bed, &known).await;
    let probe = ProbeAnswer {
        code: "28P01".to_owned(),
        text: "refused".to_owned(),
    };
    let receipt = bed
        .tx(&acme, async move |tx: &mut Tx| {
            let entry = tx.position().0;
            let ended = rotation::complete(probing.clone(), probe.clone(), entry, tx.now()).unwrap();
            tx.third_party().apply(ended, Sealing::Promote).await
        })
        .await
        .unwrap();
    assert_eq!(secrets(&bed, &known).await, (b"battery staple".to_vec(), None));
    let last = stored(&bed, &known).await.rotated.unwrap();
    assert_eq!(last.entry, receipt.entries[0].index, "it names its own entry");
    let leaf = String::from_utf8(receipt.entries[0].leaf.clone()).unwrap();
    assert!(leaf.contains("state.credential.rotation-complete"), "{leaf}");
}

pub(crate) async fn a_rotation_is_due_by_its_schedule(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let known = registered(&bed, &acme, "orders-db").await;
    let other = registered(&bed, &acme, "other-db").await;
    let due = async |at| {
        let mut reader = bed.store.reader(known.id.tenant()).await.unwrap();
        reader.third_party().due(at, 10).await.unwrap()
    };
    let begin = other.created_at;
    assert_eq!(due(begin).await, []);
    assert_eq!(due(begin.after(Duration::from_secs(3_700))).await.len(), 2);
    let begun = rotation::begin(other.clone(), Some("second".to_owned()), "now", begin).unwrap();
    bed.tx(other.id.tenant(), async move |tx: &mut Tx| {
        tx.third_party()
            .apply(begun.clone(), Sealing::Stage(&secret("x")))
            .await
    })
    .await
    .unwrap();
    let running: Vec<String> = due(begin).await.into_iter().map(|c| c.name).collect();
    assert_eq!(running, ["other-db"], "what is under way is looked at at once");
    let mut reader = bed.store.reader(known.id.tenant()).await.unwrap();
    assert_eq!(reader.third_party().list(Page::first(10)).await.unwrap().len(), 2);
    let found = reader.third_party().find_by_name("orders-db").await.unwrap();
    assert_eq!(found, Some(known));
    let taken = rotation_name_taken(&bed, &other).await;
    assert!(matches!(taken, Err(StoreError::Duplicate { field: "name", .. })));
}

async fn rotation_name_taken(bed: &Bed, other: &ThirdParty) -> Result<(), StoreError> {
    let again = ThirdParty {
        id: bed.ids.mint(other.id.tenant()).unwrap(),
        ..other.clone()
    };
    let made = bailiwick_base::Transition::made("credential.register", again);
    bed.tx(other.id.tenant(), async move |tx: &mut Tx| {
        tx.third_party().add(made.clone(), &secret("x")).await
    })
    .await
    .map(drop)
}

pub(crate) async fn a_staged_secret_opens_in_its_own_place_only(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let known = registered(&bed, &acme, "orders-db").await;
    let mut raw = bed.raw().await;
    raw.see("acme").await;
    let moved = "UPDATE third_party SET staged = secret WHERE name = 'orders-db'";
    assert_eq!(raw.run(moved).await.unwrap(), 1);
    let mut reader = bed.store.reader(known.id.tenant()).await.unwrap();
    let opened = reader.third_party().reveal_staged(&known.id).await;
    assert_eq!(opened.err().unwrap().code(), "store.seal");
    drop(reader);
    let bent = "UPDATE third_party SET detail = secret WHERE name = 'orders-db'";
    assert_eq!(raw.run(bent).await.unwrap(), 1);
    let mut reader = bed.store.reader(known.id.tenant()).await.unwrap();
    let found = reader.third_party().lookup(&known.id).await.err().unwrap();
    assert!(
        matches!(found, StoreError::RowCorrupt { column: "detail", .. }),
        "{found}"
    );
}

pub(crate) async fn a_credential_that_is_gone_or_altered_is_named_at_a_start(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let known = registered(&bed, &acme, "orders-db").await;
    let shown = crate::compare::all_of_it(&bed).await;
    bed.store.compare(shown).await.unwrap();
    let mut raw = bed.raw().await;
    raw.see("acme").await;
    for altered in [
        "UPDATE third_party SET digest = identity.digest FROM identity",
        "DELETE FROM third_party",
    ] {
        assert_eq!(raw.run(altered).await.unwrap(), 1);
        let said = bed.store.compare(shown).await.unwrap_err().to_string();
        assert!(said.contains(&format!("`third_party` `{}`", known.id)), "{said}");
    }
}
