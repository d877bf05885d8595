//! Trust rules: added, found, withdrawn, and compared with what entries tell of them.

use bailiwick_base::{Clock, TenantId, Transition};
use bailiwick_credential::trust::{IssuerKeys, Method, Trust, TrustedIssuer, remove_trust};
use bailiwick_decide::Fact;
use bailiwick_store::{StoreError, Tx};

use crate::bed::Bed;

async fn added(bed: &Bed, acme: &TenantId) -> Trust {
    let identity = bed.identity(acme, "deployer").await;
    let named = |name: &str, value: &str| [(name.to_owned(), value.to_owned())].into();
    let trust = Trust {
        id: bed.ids.mint(acme).unwrap(),
        issuer: TrustedIssuer {
            method: Method::Github,
            url: "https://token.actions.githubusercontent.com".to_owned(),
            keys: IssuerKeys::Given("{\"keys\":[]}".to_owned()),
            allow_addresses: vec!["10.0.0.0/8".to_owned()],
            danger_plaintext: false,
        },
        realm: named("repository_owner_id", "7"),
        attributes: named("repository_id", "74"),
        identity: identity.id.clone(),
        created_at: bed.clock.now(),
        expires_at: identity.expires_at,
        removed_at: None,
    };
    apply(bed, Transition::made("trust.add", trust.clone()))
        .await
        .unwrap();
    trust
}

async fn apply(bed: &Bed, t: Transition<Trust>) -> Result<(), StoreError> {
    let tenant = t.after.id.tenant().clone();
    bed.tx(&tenant, async move |tx: &mut Tx| {
        tx.trust().apply(t.clone()).await
    })
    .await
    .map(drop)
}

async fn stored(bed: &Bed, trust: &Trust) -> Option<Trust> {
    let mut reader = bed.store.reader(trust.id.tenant()).await.unwrap();
    reader.trust().lookup(&trust.id).await.unwrap()
}

/// The rules a node would decide by after a start.
async fn loaded(bed: &Bed) -> Vec<Trust> {
    let facts = bed.store.facts().await.unwrap();
    let trusts = facts.into_iter().filter_map(|fact| match fact {
        Fact::Trust(trust) => Some(trust.as_ref().clone()),
        _ => None,
    });
    trusts.collect()
}

pub(crate) async fn a_rule_is_loaded_until_it_is_withdrawn_for_good(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let trust = added(&bed, &acme).await;
    assert_eq!(stored(&bed, &trust).await.as_ref(), Some(&trust));
    assert_eq!(loaded(&bed).await, std::slice::from_ref(&trust));
    let again = apply(&bed, Transition::made("trust.add", trust.clone())).await;
    assert!(matches!(again, Err(StoreError::Duplicate { field: "id", .. })));
    let mut wider = trust.clone();
    wider.attributes.clear();
    let widened = apply(&bed, Transition::changed("trust.add", trust.clone(), wider)).await;
    assert!(matches!(widened, Err(StoreError::Conflict { .. })));
    let withdrawn = remove_trust(trust.clone(), "moved away", bed.clock.now()).unwrap();
    apply(&bed, withdrawn.clone()).await.unwrap();
    assert_eq!(loaded(&bed).await, []);
    let kept = stored(&bed, &trust).await.unwrap();
    assert_eq!(kept, withdrawn.after);
    assert!(matches!(
        apply(&bed, withdrawn).await,
        Err(StoreError::Conflict { .. })
    ));
    let other = bed.tenant("globex").await;
    let mut reader = bed.store.reader(&other).await.unwrap();
    assert!(
        reader.trust().lookup(&trust.id).await.is_err(),
        "another tenant's"
    );
}

pub(crate) async fn a_rule_that_is_altered_is_named_at_a_start(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let trust = added(&bed, &acme).await;
    let shown = crate::compare::all_of_it(&bed).await;
    bed.store.compare(shown).await.unwrap();
    let mut raw = bed.raw().await;
    raw.see("acme").await;
    assert!(
        !matches!(raw.run("DELETE FROM trust").await, Ok(1..)),
        "no row goes"
    );
    let altered = "UPDATE trust SET digest = identity.digest FROM identity";
    assert_eq!(raw.run(altered).await.unwrap(), 1);
    let said = bed.store.compare(shown).await.unwrap_err().to_string();
    assert!(said.contains(&format!("`trust` `{}`", trust.id)), "{said}");
}
