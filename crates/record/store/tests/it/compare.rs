//! The rows against the log: what entries tell of must be there, and nothing else.

use bailiwick_audit::merkle::{Frontier, RootHash, leaf_hash};
use bailiwick_decide::{MarkEffect, MarkScope};
use bailiwick_store::{Signed, StoreError, Tx};

use crate::bed::{self, Bed};

/// The checkpoint over the first `size` entries.
async fn signed(bed: &Bed, size: usize) -> Signed {
    let mut tree = Frontier::new();
    for entry in bed.store.entries(0, 1000).await.unwrap().iter().take(size) {
        tree.append(leaf_hash(&entry.leaf)).unwrap();
    }
    Signed {
        size: tree.size(),
        root: tree.root(),
    }
}

pub(crate) async fn all_of_it(bed: &Bed) -> Signed {
    signed(bed, usize::MAX).await
}

/// A tenant with an identity whose server was killed and which was suspended and resumed itself.
async fn lived() -> Bed {
    let bed = Bed::on(bed::sqlite().await.unwrap()).await;
    let acme = bed.tenant("acme").await;
    let identity = bed.identity(&acme, "reader").await;
    let (tenant, own) = (
        MarkScope::Tenant(acme.clone()),
        MarkScope::Identity(identity.id.clone()),
    );
    let stops = async move |tx: &mut Tx| {
        tx.mark()
            .set(tenant.clone(), MarkEffect::Suspend, "drill")
            .await?;
        tx.mark().set(tenant.clone(), MarkEffect::Kill, "drill").await?;
        tx.mark().set(own.clone(), MarkEffect::Suspend, "drill").await?;
        tx.mark().lift(&own, None).await
    };
    bed.tx(&acme, stops).await.unwrap();
    bed
}

#[tokio::test]
async fn a_whole_store_is_what_its_log_tells() {
    let bed = lived().await;
    for size in 0..=6 {
        let compared = bed.store.compare(signed(&bed, size).await).await.unwrap();
        assert_eq!((compared.entries, compared.erased), (6, 0));
    }
    bed.sealer
        .erase(&bailiwick_base::TenantId::parse("acme").unwrap());
    let compared = bed.store.compare(signed(&bed, 6).await).await.unwrap();
    assert_eq!((compared.entries, compared.erased), (6, 6));
}

#[tokio::test]
async fn a_store_that_is_older_or_other_than_what_was_signed_is_named() {
    let bed = lived().await;
    let ahead = Signed {
        size: 9,
        ..signed(&bed, 6).await
    };
    let older = bed.store.compare(ahead).await.unwrap_err();
    assert!(
        matches!(older, StoreError::OlderThanLog { stored: 6, signed: 9 }),
        "{older}"
    );
    for size in 1..=6 {
        let mut other = signed(&bed, size).await;
        other.root = RootHash([7; 32]);
        let other = bed.store.compare(other).await.unwrap_err();
        assert!(
            matches!(other, StoreError::OtherThanSigned { size: s } if s == size as u64),
            "{other}"
        );
    }
}

#[tokio::test]
async fn a_row_that_is_deleted_altered_or_added_is_named() {
    // Each with what must be said of it.
    let cases = [
        (
            "DELETE FROM mark WHERE effect = 'kill'",
            "`mark` `kill tenant:` of `acme`, recorded by entry 3",
        ),
        (
            "DELETE FROM mark",
            "`mark` `suspend tenant:` of `acme`, recorded by entry 2",
        ),
        (
            "UPDATE mark SET digest = zeroblob(32)",
            "`mark` `suspend tenant:`",
        ),
        (
            "UPDATE mark SET effect = 'suspend', scope = 'all:', digest = randomblob(32) WHERE effect = 'suspend'",
            "`mark` `suspend tenant:` of `acme`, recorded by entry 2",
        ),
        ("DELETE FROM identity", "recorded by entry 1"),
        (
            "INSERT INTO operator VALUES ('installation', x'00', 'eve', x'00', 0, zeroblob(32))",
            "a row of `operator`",
        ),
        ("UPDATE epoch SET epoch_floor = 1", "`epoch`"),
        ("UPDATE epoch SET epoch = 0", "`epoch`"),
        ("UPDATE epoch SET log_size = 3", "older than its log"),
    ];
    for (sql, said) in cases {
        let bed = lived().await;
        let shown = signed(&bed, 6).await;
        assert!(bed.raw().await.run(sql).await.unwrap() > 0, "{sql}");
        let error = bed.store.compare(shown).await.unwrap_err().to_string();
        assert!(error.contains(said), "{sql}: {error}");
    }
}
