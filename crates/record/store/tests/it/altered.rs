//! What an attacker with the file of a stopped installation may alter: every column of every table, one at a time. The
//! digest beside it stays right.

use std::collections::BTreeSet;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use bailiwick_audit::merkle::{Frontier, leaf_hash};
use bailiwick_base::{Clock, NodeName, Secret, SigningAlgorithm, Transition};
use bailiwick_credential::UpstreamCredential;
use bailiwick_credential::signing_key::{KeyHolder, SigningKey};
use bailiwick_store::{Compared, Inspection, Signed, StoreConfig, StoreDeps, StoreError};

use crate::bed::{self, Bed, Raw, TestSealer};
use crate::{aggregates, consent, kill_receipt, lease, sidecars, subscription, third_party, trust};

/// Tables that say nothing about what is permitted: who writes, answers to repeated commands, how far somebody was
/// told, and the schema, whose version every start looks at by itself.
const WITHOUT_AUTHORITY: [&str; 7] = [
    "_sqlx_migrations",
    "idempotency",
    "lease",
    // What a node says there is vouched for: `nodes::a_word_is_believed_only_as_a_node_said_it`.
    "node",
    // Sealed with its name in what is authenticated: whoever opens it notices.
    "shared_key",
    "subscription_progress",
    "used_once",
];

async fn a_signing_key(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let key = SigningKey {
        tenant: acme.clone(),
        kid: "k1".to_owned(),
        algorithm: SigningAlgorithm::Es256,
        holder: KeyHolder::File,
        created_at: bed.clock.now(),
        active_from: None,
        entry: None,
        retired_at: None,
        removed_at: None,
        floor: None,
    };
    let made = vec![Transition::made("signing-key.add", key)];
    bed.tx(&acme, async move |tx| tx.signing_key().apply(made.clone()).await)
        .await
        .unwrap();
}

async fn an_upstream_credential(bed: Bed) {
    let acme = bed.tenant("acme").await;
    let identity = bed.identity(&acme, "files").await;
    let known = UpstreamCredential {
        id: bed.ids.mint(&acme).unwrap(),
        identity: identity.id.clone(),
        fingerprint: "aa".to_owned(),
        created_at: bed.clock.now(),
        expires_at: identity.expires_at,
    };
    let made = Transition::made("credential.add", known);
    bed.tx(&acme, async move |tx| {
        let secret = Secret::new(b"correct horse".to_vec());
        tx.credential().seal(made.clone(), &secret).await
    })
    .await
    .unwrap();
}

struct Altered {
    folder: tempfile::TempDir,
    sealer: Arc<TestSealer>,
    clock: Arc<dyn Clock>,
    signed: Signed,
}

impl Altered {
    async fn compare(&self, file: &Path) -> Result<Compared, StoreError> {
        let deps = StoreDeps {
            clock: Arc::clone(&self.clock),
            sealer: Arc::clone(&self.sealer) as _,
            node: NodeName::parse("doctor").unwrap(),
            shelf: None,
            seat: Some("suite".to_owned()),
            observer: None,
        };
        let config = StoreConfig::Sqlite {
            path: file.to_owned(),
        };
        Inspection::open(&config, deps).await?.compare(self.signed).await
    }

    /// A copy with one cell of the last row altered, and what is said of it. None where the table is empty.
    async fn cell(&self, table: &str, column: &str) -> Option<Result<Compared, StoreError>> {
        // A name of its own: what SQLite keeps beside another copy until that is closed would be taken for this one's.
        let name = format!("{table}.{column}.db");
        let (whole, copy) = (self.folder.path().join("whole.db"), self.folder.path().join(name));
        std::fs::copy(whole, &copy).unwrap();
        let mut raw = Raw::open(&StoreConfig::Sqlite { path: copy.clone() }).await;
        raw.run("PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON")
            .await
            .unwrap();
        for trigger in raw
            .texts("SELECT name FROM sqlite_master WHERE type = 'trigger'")
            .await
        {
            raw.run(&format!("DROP TRIGGER {trigger}")).await.unwrap();
        }
        let last = format!("rowid = (SELECT max(rowid) FROM {table})");
        let sql = format!("SELECT typeof({column}) || ':' || hex({column}) FROM {table} WHERE {last}");
        let shown = raw.texts(&sql).await.into_iter().next()?;
        let (kind, hex) = shown.split_once(':').unwrap();
        let mut bytes: Vec<u8> = (0..hex.len() / 2)
            .map(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).unwrap())
            .collect();
        match bytes.last_mut() {
            Some(last) => *last ^= 1,
            None => bytes.push(b'x'),
        }
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let value = match kind {
            "integer" => format!("{column} + 1"),
            "text" => format!("CAST(x'{hex}' AS TEXT)"),
            "blob" => format!("x'{hex}'"),
            _ => "1".to_owned(),
        };
        let touched = raw
            .run(&format!("UPDATE {table} SET {column} = {value} WHERE {last}"))
            .await;
        assert_eq!(touched.unwrap(), 1, "{table}.{column}");
        drop(raw);
        Some(self.compare(&copy).await)
    }
}

/// Runs a case, and alters each column of what it left that no case before had rows for.
async fn alter<C>(case: impl FnOnce(Bed) -> C, done: &mut BTreeSet<String>)
where
    C: Future<Output = ()>,
{
    let place = bed::sqlite().await.unwrap();
    let bed = Bed::on(place.clone()).await;
    let (sealer, clock) = (Arc::clone(&bed.sealer), Arc::clone(&bed.clock));
    case(bed).await;
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("whole.db");
    let mut raw = Raw::open(&place.config).await;
    raw.run(&format!("VACUUM INTO '{}'", whole.display()))
        .await
        .unwrap();
    let mut tree = Frontier::new();
    for hex in raw
        .texts("SELECT hex(leaf) FROM log_entry ORDER BY log_index")
        .await
    {
        let leaf: Vec<u8> = (0..hex.len() / 2)
            .map(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).unwrap())
            .collect();
        tree.append(leaf_hash(&leaf)).unwrap();
    }
    let signed = Signed {
        size: tree.size(),
        root: tree.root(),
    };
    let altered = Altered {
        folder,
        sealer,
        clock,
        signed,
    };
    assert_eq!(
        altered.compare(&whole).await.unwrap().entries,
        signed.size,
        "whole, it passes"
    );
    let tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
    for table in raw.texts(tables).await {
        for column in raw
            .texts(&format!("SELECT name FROM pragma_table_info('{table}')"))
            .await
        {
            let place = format!("{table}.{column}");
            if WITHOUT_AUTHORITY.contains(&&*table) || done.contains(&place) {
                continue;
            }
            let Some(compared) = altered.cell(&table, &column).await else {
                continue;
            };
            assert!(compared.is_err(), "{place} was altered, and the store passes");
            done.insert(place);
        }
    }
}

#[tokio::test]
async fn no_column_of_any_row_is_altered_unnoticed() {
    let mut done = BTreeSet::new();
    alter(a_signing_key, &mut done).await;
    alter(aggregates::clients, &mut done).await;
    alter(an_upstream_credential, &mut done).await;
    alter(aggregates::identities, &mut done).await;
    alter(aggregates::marks, &mut done).await;
    alter(aggregates::operators, &mut done).await;
    alter(aggregates::policies, &mut done).await;
    alter(aggregates::servers, &mut done).await;
    alter(aggregates::tasks, &mut done).await;
    alter(consent::a_client_asks_until_it_is_removed_for_good, &mut done).await;
    alter(consent::a_consent_moves_one_step_at_a_time, &mut done).await;
    alter(
        kill_receipt::a_receipt_begins_with_its_mark_and_goes_on_from_what_was_read,
        &mut done,
    )
    .await;
    alter(lease::a_lease_keeps_its_secret_until_it_opens_nothing, &mut done).await;
    alter(sidecars::a_sidecar_joins_once_and_stays_by_its_name, &mut done).await;
    alter(
        subscription::a_transmitter_speaks_until_it_is_removed_and_for_one_tenant,
        &mut done,
    )
    .await;
    alter(
        subscription::how_far_somebody_is_has_no_entry_and_entries_come_from_there,
        &mut done,
    )
    .await;
    alter(third_party::a_rotation_is_due_by_its_schedule, &mut done).await;
    alter(
        third_party::a_rotation_keeps_both_secrets_until_its_end,
        &mut done,
    )
    .await;
    alter(trust::a_rule_is_loaded_until_it_is_withdrawn_for_good, &mut done).await;
    let place = bed::sqlite().await.unwrap();
    let bed = Bed::on(place).await;
    let tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
    for table in bed.raw().await.texts(tables).await {
        let looked_at = done.iter().any(|place| place.starts_with(&format!("{table}.")));
        assert_ne!(looked_at, WITHOUT_AUTHORITY.contains(&&*table), "{table}");
    }
    println!("columns that were altered one at a time: {}", done.len());
}

/// Whoever gives entries to a tenant that has no key would take what they tell of out of the comparison.
#[tokio::test]
async fn an_entry_is_not_taken_out_by_giving_it_to_nobody() {
    let place = bed::sqlite().await.unwrap();
    let bed = Bed::on(place).await;
    let acme = bed.tenant("acme").await;
    bed.identity(&acme, "reader").await;
    let signed = crate::compare::all_of_it(&bed).await;
    bed.sealer
        .erase(&bailiwick_base::TenantId::parse("ghost").unwrap());
    let mut raw = bed.raw().await;
    raw.run("DROP TRIGGER log_entry_no_update; DELETE FROM identity")
        .await
        .unwrap();
    for seq in ["1", "2"] {
        let sql = format!("UPDATE log_entry SET tenant = 'ghost', tenant_seq = {seq} WHERE log_index = 1");
        raw.run(&sql).await.unwrap();
        let error = bed.store.compare(signed).await.unwrap_err();
        assert!(
            matches!(error, StoreError::LogCorrupt { index: 1, .. }),
            "{error}"
        );
    }
}
