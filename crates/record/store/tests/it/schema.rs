//! Both engines end with the same schema.

use std::collections::BTreeSet;
use std::sync::Arc;

use bailiwick_base::{ManualClock, Time};
use bailiwick_store::{StoreConfig, StoreError};

use crate::bed::{self, Bed, Place, Raw, TestSealer};

/// `table.column nullable-or-not key-position` of every table of ours.
async fn columns(bed: &Bed) -> BTreeSet<String> {
    let mut raw = bed.raw().await;
    let sql = if raw.is_postgres() {
        "SELECT c.table_name || '.' || c.column_name || ' ' || c.data_type || ' ' \
           || CASE c.is_nullable WHEN 'YES' THEN 'null' ELSE 'not-null' END || ' ' \
           || coalesce((SELECT k.ordinal_position::text FROM information_schema.key_column_usage AS k \
                JOIN information_schema.table_constraints AS t USING (constraint_schema, constraint_name) \
                WHERE t.constraint_type = 'PRIMARY KEY' AND k.table_schema = c.table_schema \
                  AND k.table_name = c.table_name AND k.column_name = c.column_name), '0') \
         FROM information_schema.columns AS c \
         WHERE c.table_schema = current_schema() AND c.table_name <> '_sqlx_migrations'"
    } else {
        "SELECT m.name || '.' || c.name || ' ' || lower(c.type) || ' ' \
           || CASE c.\"notnull\" WHEN 0 THEN 'null' ELSE 'not-null' END || ' ' || c.pk \
         FROM sqlite_master AS m JOIN pragma_table_info(m.name) AS c \
         WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' AND m.name <> '_sqlx_migrations'"
    };
    raw.texts(sql).await.into_iter().collect()
}

/// `table (columns) unique` of every index that was declared.
async fn indexes(bed: &Bed) -> BTreeSet<String> {
    let mut raw = bed.raw().await;
    let sql = if raw.is_postgres() {
        "SELECT t.relname || ' ' || i.relname || ' ' || CASE WHEN x.indisunique THEN 'unique' ELSE 'plain' END \
           || ' (' || (SELECT string_agg(a.attname, ',' ORDER BY k.n) FROM unnest(x.indkey::int[]) WITH ORDINALITY \
                AS k(attnum, n) JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = k.attnum) || ')' \
         FROM pg_index AS x JOIN pg_class AS i ON i.oid = x.indexrelid JOIN pg_class AS t ON t.oid = x.indrelid \
         JOIN pg_namespace AS n ON n.oid = t.relnamespace \
         WHERE n.nspname = current_schema() AND t.relname <> '_sqlx_migrations' \
           AND NOT EXISTS (SELECT 1 FROM pg_constraint AS c WHERE c.conindid = i.oid AND c.contype IN ('p', 'u'))"
    } else {
        "SELECT m.name || ' ' || i.name || ' ' || CASE i.\"unique\" WHEN 1 THEN 'unique' ELSE 'plain' END || ' (' \
           || (SELECT group_concat(name, ',') FROM (SELECT name FROM pragma_index_info(i.name) ORDER BY seqno)) || ')' \
         FROM sqlite_master AS m JOIN pragma_index_list(m.name) AS i \
         WHERE m.type = 'table' AND i.origin = 'c' AND m.name <> '_sqlx_migrations'"
    };
    raw.texts(sql).await.into_iter().collect()
}

#[tokio::test]
async fn both_engines_have_the_same_schema() {
    let sqlite = Bed::on(bed::sqlite().await.unwrap()).await;
    let ours = (columns(&sqlite).await, indexes(&sqlite).await);
    assert!(
        ours.0.contains("identity.identity bytea not-null 2"),
        "{:#?}",
        ours.0
    );
    assert!(
        ours.1
            .contains("identity identity_living_name unique (tenant,name)"),
        "{:#?}",
        ours.1
    );
    let Some(place) = bed::postgres().await else {
        return;
    };
    let postgres = Bed::on(place).await;
    assert_eq!(columns(&postgres).await, ours.0);
    assert_eq!(indexes(&postgres).await, ours.1);
}

#[tokio::test]
async fn row_security_is_forced_on_every_tenant_table() {
    let Some(place) = bed::postgres().await else {
        return;
    };
    let bed = Bed::on(place).await;
    let mut raw = bed.raw().await;
    let open = "SELECT relname::text FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace \
                WHERE n.nspname = current_schema() AND relkind = 'r' AND NOT (relrowsecurity AND relforcerowsecurity) \
                ORDER BY relname";
    let expected = ["_sqlx_migrations", "epoch", "lease", "log_entry", "node"];
    assert_eq!(
        raw.texts(open).await,
        expected,
        "a new table of a tenant must be in the guard migration"
    );
}

async fn refused(url: &str) -> StoreError {
    let config = StoreConfig::Postgres { url: url.to_owned() };
    let place = Place {
        config,
        ..bed::sqlite().await.unwrap()
    };
    let clock = Arc::new(ManualClock::at(Time::from_micros(bed::START)));
    let opened = bed::open(&place, "node-1", &clock, &Arc::new(TestSealer::default()), None).await;
    opened.err().expect("a refusal")
}

#[tokio::test]
async fn a_role_that_passes_by_row_security_is_refused() {
    let Some(url) = bed::strong_url() else { return };
    let error = refused(&url).await;
    assert!(
        matches!(
            error,
            StoreError::RoleTooStrong {
                right: "SUPERUSER",
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("NOSUPERUSER NOBYPASSRLS"), "{error}");
    let mut raw = Raw::open(&StoreConfig::Postgres { url: url.clone() }).await;
    raw.run("DROP ROLE IF EXISTS suite_bypass").await.unwrap();
    raw.run("CREATE ROLE suite_bypass LOGIN NOSUPERUSER BYPASSRLS")
        .await
        .unwrap();
    let mark = if url.contains('?') { '&' } else { '?' };
    let error = refused(&format!("{url}{mark}user=suite_bypass")).await;
    assert!(
        matches!(
            error,
            StoreError::RoleTooStrong {
                right: "BYPASSRLS",
                ..
            }
        ),
        "{error}"
    );
    raw.run("DROP ROLE suite_bypass").await.unwrap();
}
