//! Third-party credentials and the secrets of a rotation.

use std::collections::BTreeSet;
use std::time::Duration;

use bailiwick_base::{Clock, Secret, TenantId};
use bailiwick_credential::rotation::{self, NewThirdParty, register_third_party};
use bailiwick_credential::{
    Limits, Observed, PgTarget, ProbeAnswer, SecretKind, Seen, Target, ThirdParty, Turn,
};
use bailiwick_store::{DueCredential, Page, Sealing, StoreError, Tx};

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
            host: format!("{name}.acme.example"),
            port: 5_432,
            database: "orders".to_owned(),
            role: "orders_app".to_owned(),
            logins: ["orders_a".to_owned(), "orders_b".to_owned()],
            current: Turn::First,
            manager_login: "manager".to_owned(),
            manager: bed.ids.mint(acme).unwrap(),
            addresses: vec!["10.0.0.0/8".to_owned()],
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
        let due = reader.third_party().due(at, None, 10).await.unwrap();
        due.into_iter().map(|c| c.id).collect::<Vec<_>>()
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
    let running = due(begin).await;
    assert_eq!(
        running,
        std::slice::from_ref(&other.id),
        "what is under way is looked at at once"
    );
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

async fn step(bed: &Bed, t: bailiwick_base::Transition<ThirdParty>) -> Result<ThirdParty, StoreError> {
    let after = t.after.clone();
    bed.tx(after.id.tenant(), async move |tx: &mut Tx| {
        tx.third_party().apply(t.clone(), Sealing::Keep).await
    })
    .await?;
    Ok(after)
}

async fn watching(bed: &Bed, known: &ThirdParty) -> ThirdParty {
    let now = bed.clock.now();
    let begun = rotation::begin(known.clone(), Some("second".to_owned()), "now", now).unwrap();
    let staging = step(bed, begun).await.unwrap();
    step(bed, rotation::staged(staging, now).unwrap()).await.unwrap()
}

pub(crate) async fn what_is_to_end_comes_first_and_nothing_that_waits_hides_anything(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let mut waiting = Vec::new();
    for n in 0..33 {
        let known = registered(&bed, &acme, &format!("db-{n:02}")).await;
        waiting.push(watching(&bed, &known).await.id);
    }
    let leaked = registered(&bed, &acme, "leaked").await;
    let ending = step(&bed, rotation::end(leaked, "leaked").unwrap())
        .await
        .unwrap();
    let now = bed.clock.now();
    let mut reader = bed.store.reader(&acme).await.unwrap();
    let first = reader.third_party().due(now, None, 10).await.unwrap();
    assert_eq!(first[0].id, ending.id, "before everything that waits");
    assert!(first[0].is_ending() && !first[1].is_ending());
    assert_eq!(first[0].digest, DueCredential::digest_of(&ending).unwrap());
    // Page by page: each once.
    let mut found = first;
    loop {
        let page = reader.third_party().due(now, found.last(), 10).await.unwrap();
        let is_last = page.len() < 10;
        found.extend(page);
        if is_last {
            break;
        }
    }
    let found: Vec<_> = found.into_iter().skip(1).map(|c| c.id).collect();
    waiting.sort();
    assert_eq!(found, waiting);
}

pub(crate) async fn a_schedule_behind_the_expiry_is_never_due(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let known = registered(&bed, &acme, "orders-db").await;
    let late = known.expires_at.after(Duration::from_secs(1));
    let due = async || {
        let mut reader = bed.store.reader(&acme).await.unwrap();
        reader.third_party().due(late, None, 10).await.unwrap()
    };
    assert_eq!(due().await.len(), 1);
    // Its next rotation would be after it expired.
    let now = known.expires_at.before(Duration::from_secs(60));
    let begun = rotation::begin(known, Some("second".to_owned()), "now", now).unwrap();
    let staging = step(&bed, begun).await.unwrap();
    let back = step(&bed, rotation::roll_back(staging, "no").unwrap())
        .await
        .unwrap();
    assert_eq!(due().await.len(), 1);
    step(&bed, rotation::rolled_back(back, now).unwrap())
        .await
        .unwrap();
    assert_eq!(due().await, []);
}

pub(crate) async fn any_number_of_unknown_consumers_leaves_a_row_that_can_be_read(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let known = registered(&bed, &acme, "orders-db").await;
    let watched = watching(&bed, &known).await;
    let strangers = (0..2_000).map(|n| Seen {
        turn: Turn::First,
        consumer: format!("worker-{n:04}-{}", "x".repeat(50)),
    });
    let seen = Observed {
        seen: strangers.collect(),
        used: None,
    };
    let noted = rotation::observe(watched, &seen, bed.clock.now())
        .unwrap()
        .unwrap();
    let noted = step(&bed, noted).await.unwrap();
    assert_eq!(stored(&bed, &known).await, noted);
    let rotation = noted.rotation().unwrap();
    assert_eq!((rotation.strangers.len(), rotation.strangers_more), (64, 1_936));
    // What could not be read again is not written in the first place.
    let huge = ThirdParty {
        consumers: (0..2_000).map(|n| format!("{n:0200}")).collect(),
        ..noted.clone()
    };
    let refused = step(
        &bed,
        bailiwick_base::Transition::changed("credential.test", noted, huge),
    )
    .await;
    assert_eq!(refused.err().unwrap().code(), "store.limit");
}

pub(crate) async fn a_damaged_row_is_due_and_hides_no_other(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let bent = registered(&bed, &acme, "bent").await;
    let good = registered(&bed, &acme, "good").await;
    let mut raw = bed.raw().await;
    raw.see("acme").await;
    let sql = "UPDATE third_party SET detail = secret WHERE name = 'bent'";
    assert_eq!(raw.run(sql).await.unwrap(), 1);
    let later = bed.clock.now().after(Duration::from_secs(3_700));
    let mut reader = bed.store.reader(&acme).await.unwrap();
    let due = reader.third_party().due(later, None, 10).await.unwrap();
    let due: BTreeSet<_> = due.into_iter().map(|c| c.id).collect();
    assert_eq!(due, BTreeSet::from([bent.id.clone(), good.id.clone()]));
    assert!(reader.third_party().lookup(&bent.id).await.is_err());
    assert_eq!(reader.third_party().lookup(&good.id).await.unwrap(), Some(good));
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
        if altered.starts_with("DELETE") {
            raw.run("DELETE FROM third_party_slot").await.unwrap();
        }
        assert_eq!(raw.run(altered).await.unwrap(), 1);
        let said = bed.store.compare(shown).await.unwrap_err().to_string();
        assert!(said.contains(&format!("`third_party` `{}`", known.id)), "{said}");
    }
}

pub(crate) async fn a_slot_has_one_credential_until_that_is_revoked_removed_or_corrected(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let first = registered(&bed, &acme, "orders-db").await;
    let rival = async |wanted: &ThirdParty| {
        let mut reader = bed.store.reader(wanted.id.tenant()).await.unwrap();
        let found = reader.third_party().rival(wanted).await.unwrap();
        found.map(|found| found.name)
    };
    let of = |tenant: &TenantId, id: u8| ThirdParty {
        id: bed.ids.mint(tenant).unwrap(),
        name: format!("rival-{id}"),
        ..first.clone()
    };
    assert_eq!(rival(&first).await, None, "nobody is his own rival");
    assert_eq!(rival(&of(&acme, 1)).await.as_deref(), Some("orders-db"));
    let bolt = bed.tenant("bolt").await;
    assert_eq!(
        rival(&of(&bolt, 2)).await,
        None,
        "what another tenant has is not told"
    );
    // Corrected to another place: the one before is free, the new one is taken.
    let moved = |host: &str| {
        let Some(Target::Pg(mut pg)) = first.target.clone() else {
            panic!("it has logins")
        };
        host.clone_into(&mut pg.host);
        Some(Target::Pg(pg))
    };
    let elsewhere = ThirdParty {
        target: moved("db.bolt.example"),
        ..first.clone()
    };
    let correct = bailiwick_base::Transition::changed("credential.correct", first.clone(), elsewhere.clone());
    step(&bed, correct).await.unwrap();
    assert_eq!(stored(&bed, &first).await, elsewhere);
    assert_eq!(rival(&of(&acme, 3)).await, None);
    let there = ThirdParty {
        target: moved("DB.bolt.example"),
        ..of(&acme, 4)
    };
    assert_eq!(rival(&there).await.as_deref(), Some("orders-db"));
    // Revoked: it keeps nobody from anything.
    let now = bed.clock.now();
    let ending = step(&bed, rotation::end(elsewhere, "leaked").unwrap())
        .await
        .unwrap();
    assert_eq!(rival(&there).await.as_deref(), Some("orders-db"));
    let over = step(&bed, rotation::ended(ending, None, 1, now).unwrap())
        .await
        .unwrap();
    assert_eq!(rival(&there).await, None);
    // Removed: the row is gone, what is recorded is whole, and a second removal conflicts.
    let out = bailiwick_credential::correct::withdraw(over, "not needed").unwrap();
    let twice = out.clone();
    bed.tx(&acme, async move |tx: &mut Tx| {
        tx.third_party().withdraw(out.clone()).await
    })
    .await
    .unwrap();
    let mut reader = bed.store.reader(&acme).await.unwrap();
    assert_eq!(reader.third_party().lookup(&first.id).await.unwrap(), None);
    drop(reader);
    let again = bed
        .tx(&acme, async move |tx: &mut Tx| {
            tx.third_party().withdraw(twice.clone()).await
        })
        .await;
    assert_eq!(again.err().unwrap().code(), "store.conflict");
    let shown = crate::compare::all_of_it(&bed).await;
    bed.store.compare(shown).await.unwrap();
}
