//! The schema: forward only, one purpose each, the same text for both engines but for declared twins.

use std::sync::Arc;

use sqlx::migrate::{Migrate, MigrateError, Migration, MigrationType, Migrator};
use sqlx::{PgConnection, SqlSafeStr, SqliteConnection};

use crate::error::StoreError;

struct Step {
    version: i64,
    name: &'static str,
    sqlite: &'static str,
    postgres: &'static str,
}

macro_rules! shared {
    ($version:literal, $name:literal, $file:literal) => {{
        const TEXT: &str = include_str!(concat!("../../../../migrations/", $file, ".sql"));
        Step {
            version: $version,
            name: $name,
            sqlite: TEXT,
            postgres: TEXT,
        }
    }};
}
macro_rules! twin {
    ($version:literal, $name:literal, $file:literal) => {
        Step {
            version: $version,
            name: $name,
            sqlite: include_str!(concat!("../../../../migrations/", $file, ".sqlite.sql")),
            postgres: include_str!(concat!("../../../../migrations/", $file, ".postgres.sql")),
        }
    };
}

const STEPS: [Step; 35] = [
    shared!(1, "create epoch", "0001_create_epoch"),
    shared!(2, "create node", "0002_create_node"),
    shared!(3, "create log entry", "0003_create_log_entry"),
    shared!(4, "create tenant", "0004_create_tenant"),
    shared!(5, "create identity", "0005_create_identity"),
    shared!(6, "create client", "0006_create_client"),
    shared!(7, "create task", "0007_create_task"),
    shared!(8, "create server", "0008_create_server"),
    shared!(9, "create credential", "0009_create_credential"),
    shared!(10, "create policy", "0010_create_policy"),
    shared!(11, "create mark", "0011_create_mark"),
    shared!(12, "create operator", "0012_create_operator"),
    shared!(13, "create idempotency", "0013_create_idempotency"),
    twin!(14, "guard rows", "0014_guard_rows"),
    twin!(15, "create third party", "0015_create_third_party"),
    shared!(16, "add task may act", "0016_add_task_may_act"),
    shared!(17, "create trust", "0017_create_trust"),
    twin!(18, "guard trust", "0018_guard_trust"),
    shared!(19, "add client proof", "0019_add_client_proof"),
    shared!(20, "add client certificate", "0020_add_client_certificate"),
    shared!(21, "create public client", "0021_create_public_client"),
    shared!(22, "create consent", "0022_create_consent"),
    twin!(23, "guard consent", "0023_guard_consent"),
    twin!(24, "create credential lease", "0024_create_credential_lease"),
    twin!(29, "create signing key", "0029_create_signing_key"),
    shared!(32, "add identity composition", "0032_add_identity_composition"),
    shared!(
        33,
        "index third party identity",
        "0033_index_third_party_identity"
    ),
    twin!(34, "create third party slot", "0034_create_third_party_slot"),
    twin!(35, "create subscription", "0035_create_subscription"),
    shared!(36, "add node word", "0036_add_node_word"),
    twin!(37, "create shared key", "0037_create_shared_key"),
    twin!(38, "create kill receipt", "0038_create_kill_receipt"),
    shared!(39, "add node seat", "0039_add_node_seat"),
    twin!(40, "create used once", "0040_create_used_once"),
    twin!(41, "create sidecar", "0041_create_sidecar"),
];

fn migrator(text: impl Fn(&Step) -> &'static str) -> Migrator {
    let migration = |step: &Step| {
        let sql = text(step).into_sql_str();
        Migration::new(step.version, step.name.into(), MigrationType::Simple, sql, false)
    };
    Migrator::with_migrations(STEPS.iter().map(migration).collect())
}

fn failed(e: MigrateError) -> StoreError {
    match e {
        MigrateError::VersionMissing(found) => StoreError::NewerSchema {
            found,
            known: STEPS.last().map_or(0, |s| s.version),
        },
        MigrateError::VersionMismatch(version) => StoreError::FileCorrupt {
            detail: format!("migration {version} was applied with another text than this version has"),
        },
        other => StoreError::Engine(Arc::new(sqlx::Error::Migrate(Box::new(other)))),
    }
}

pub(crate) async fn sqlite(conn: &mut SqliteConnection) -> Result<(), StoreError> {
    run(&migrator(|step| step.sqlite), conn).await
}

pub(crate) async fn postgres(conn: &mut PgConnection) -> Result<(), StoreError> {
    run(&migrator(|step| step.postgres), conn).await
}

async fn run<C: Migrate>(migrator: &Migrator, conn: &mut C) -> Result<(), StoreError> {
    migrator.run_direct(None, conn, false).await.map_err(failed)
}
