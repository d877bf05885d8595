//! Leases: recorded before they are made, their secret sealed until they open nothing.

use std::time::Duration;

use bailiwick_base::{Clock, Secret, TenantId, Time};
use bailiwick_credential::lease::{self, NewLease};
use bailiwick_credential::{Lease, LeaseStanding, Limits, ProbeAnswer, TaskPlan, open_task};
use bailiwick_grant::Grant;
use bailiwick_store::{OpenLease, StoreError, Tx};

use crate::bed::Bed;
use crate::third_party::registered;

fn secret(text: &str) -> Secret<Vec<u8>> {
    Secret::new(text.as_bytes().to_vec())
}

/// A task with a lease that is to be made.
async fn asked(bed: &Bed, acme: &TenantId) -> Lease {
    let source = registered(bed, acme, "orders-db").await;
    let now = bed.clock.now();
    let plan = TaskPlan {
        id: bed.ids.mint(acme).unwrap(),
        identity: source.identity.clone(),
        identity_expires_at: source.expires_at,
        purpose: "month end".to_owned(),
        requested_by: "operator:ada".to_owned(),
        opens_at: None,
        closes_at: now.after(Duration::from_secs(900)),
        may_act: Vec::new(),
    };
    let opened = open_task(plan, &Limits::default(), now).unwrap();
    let wanted = NewLease {
        id: bed.ids.mint(acme).unwrap(),
        span: Duration::from_secs(600),
        reason: "month end".to_owned(),
        requested_by: "operator:ada".to_owned(),
        is_granted: true,
        beyond_scope: false,
        held: 0,
    };
    let made = lease::ask(wanted, &opened.after, &source, now).unwrap();
    let granted = Grant {
        id: bed.ids.mint(acme).unwrap(),
        task: opened.after.id.clone(),
        identity: opened.after.identity.clone(),
        scopes: vec![bailiwick_grant::parse_scope("credential:lease").unwrap()],
        expires_at: opened.after.closes_at,
    };
    let after = made.after.clone();
    bed.tx(acme, async move |tx: &mut Tx| {
        tx.task().open(opened.clone(), granted.clone()).await?;
        tx.lease()
            .apply(made.clone(), Some(&secret("correct horse")))
            .await
    })
    .await
    .unwrap();
    after
}

async fn apply(
    bed: &Bed,
    t: bailiwick_base::Transition<Lease>,
    with: Option<&'static str>,
) -> Result<Lease, StoreError> {
    let after = t.after.clone();
    bed.tx(after.id.tenant(), async move |tx: &mut Tx| {
        tx.lease().apply(t.clone(), with.map(secret).as_ref()).await
    })
    .await?;
    Ok(after)
}

async fn kept(bed: &Bed, lease: &Lease) -> (Lease, Option<Vec<u8>>) {
    let mut reader = bed.store.reader(lease.id.tenant()).await.unwrap();
    let found = reader.lease().lookup(&lease.id).await.unwrap().unwrap();
    let opened = reader.lease().reveal(&lease.id).await.unwrap();
    (found, opened.map(|s| s.reveal().clone()))
}

pub(crate) async fn a_lease_keeps_its_secret_until_it_opens_nothing(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let made = asked(&bed, &acme).await;
    assert_eq!(
        kept(&bed, &made).await,
        (made.clone(), Some(b"correct horse".to_vec()))
    );
    let holding = lease::held(made.clone(), "f".to_owned(), None).unwrap();
    let late = lease::give_back(made.clone(), "too slow").unwrap();
    let held = apply(&bed, holding, Some("battery staple")).await.unwrap();
    // Two at once: the second was worked out from a row that is no more.
    let twice = apply(&bed, late, None).await;
    assert!(matches!(twice, Err(StoreError::Conflict { .. })));
    assert_eq!(
        kept(&bed, &held).await,
        (held.clone(), Some(b"battery staple".to_vec()))
    );
    let returning = apply(&bed, lease::give_back(held, "done").unwrap(), None)
        .await
        .unwrap();
    assert_eq!(kept(&bed, &returning).await.1, Some(b"battery staple".to_vec()));
    let trouble = apply(&bed, lease::trouble(returning, "not reached").unwrap(), None)
        .await
        .unwrap();
    let probe = ProbeAnswer {
        code: "28P01".to_owned(),
        text: "refused".to_owned(),
    };
    let until = trouble.expires_at;
    let barred = apply(&bed, lease::barred(trouble, probe, until).unwrap(), None)
        .await
        .unwrap();
    assert_eq!(
        kept(&bed, &barred).await,
        (barred.clone(), None),
        "the secret is forgotten"
    );
    let back = lease::returned(barred, None, 7, bed.clock.now()).unwrap();
    let back = apply(&bed, back, None).await.unwrap();
    assert!(matches!(&back.standing, LeaseStanding::Returned { probe: Some(p), .. } if p.code == "28P01"));
    let (stored, none) = kept(&bed, &back).await;
    assert_eq!((&stored, none), (&back, None));
    let mut reader = bed.store.reader(&acme).await.unwrap();
    assert_eq!(reader.lease().of_task(&back.task).await.unwrap(), [back]);
}

pub(crate) async fn a_lease_is_found_until_nothing_is_left_of_it_and_one_that_is_altered_is_named(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let made = asked(&bed, &acme).await;
    let open = async || {
        let mut reader = bed.store.reader(&acme).await.unwrap();
        let open = reader.lease().open(None, 10).await.unwrap();
        assert!(open.iter().all(|l| l.task == made.task));
        let open = open.into_iter().map(|l| (l.id, l.due_at, l.digest));
        open.collect::<Vec<_>>()
    };
    let as_found = |l: &Lease, due_at| [(l.id.clone(), due_at, OpenLease::digest_of(l).unwrap())];
    let dead = made.created_at.after(Duration::from_secs(30));
    assert_eq!(open().await, as_found(&made, dead));
    let held = lease::held(made.clone(), "f".to_owned(), None).unwrap();
    let held = apply(&bed, held, Some("battery staple")).await.unwrap();
    assert_eq!(open().await, as_found(&held, held.expires_at));
    let returning = lease::give_back(held, "done").unwrap();
    let returning = apply(&bed, returning, None).await.unwrap();
    assert_eq!(open().await, as_found(&returning, Time::from_micros(0)));
    let back = lease::returned(returning, None, 7, bed.clock.now()).unwrap();
    let back = apply(&bed, back, None).await.unwrap();
    assert_eq!(open().await, []);
    let shown = crate::compare::all_of_it(&bed).await;
    bed.store.compare(shown).await.unwrap();
    let mut raw = bed.raw().await;
    raw.see("acme").await;
    assert!(
        !matches!(raw.run("DELETE FROM credential_lease").await, Ok(1..)),
        "it is never removed"
    );
    let altered = "UPDATE credential_lease SET digest = identity.digest FROM identity";
    assert_eq!(raw.run(altered).await.unwrap(), 1);
    let said = bed.store.compare(shown).await.unwrap_err().to_string();
    assert!(said.contains(&format!("`lease` `{}`", back.id)), "{said}");
}
