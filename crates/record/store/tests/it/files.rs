//! The file of the embedded engine: rights, places that do not work, damage.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use bailiwick_base::{ManualClock, Time};
use bailiwick_store::{StoreConfig, StoreError};

use crate::bed::{self, Bed, Place, TestSealer};

async fn refused(place: &Place) -> StoreError {
    let clock = Arc::new(ManualClock::at(Time::from_micros(bed::START)));
    bed::open(place, "node-1", &clock, &Arc::new(TestSealer::default()), None)
        .await
        .err()
        .expect("a refusal")
}

fn at(place: &Place, path: std::path::PathBuf) -> Place {
    Place {
        config: StoreConfig::Sqlite { path },
        ..place.clone()
    }
}

#[tokio::test]
async fn files_are_for_their_owner_only() {
    let bed = Bed::on(bed::sqlite().await.unwrap()).await;
    bed.tenant("acme").await;
    let folder = bed::sqlite_path(&bed.place).parent().unwrap().to_owned();
    let mut seen = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let file = file.unwrap();
        assert_eq!(
            file.metadata().unwrap().permissions().mode() & 0o777,
            0o600,
            "{:?}",
            file.file_name()
        );
        seen += 1;
    }
    assert!(seen >= 2, "the database and its journal");
}

#[tokio::test]
async fn the_settings_hold() {
    let bed = Bed::on(bed::sqlite().await.unwrap()).await;
    let mut raw = bed.raw().await;
    assert_eq!(raw.texts("PRAGMA journal_mode").await, ["wal"]);
    // Of the writer's own connection the rest shows only in what it refuses: an orphan breaks a foreign key.
    let ghost = bailiwick_base::TenantId::parse("ghost").unwrap();
    assert!(
        bed.apply(&ghost, bed.registration(&ghost, "orphan"))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_missing_folder_is_named() {
    let place = bed::sqlite().await.unwrap();
    let gone = bed::sqlite_path(&place).parent().unwrap().join("gone/state.db");
    let error = refused(&at(&place, gone.clone())).await;
    assert_eq!(error.code(), "store.unreadable");
    assert!(error.to_string().contains(gone.to_str().unwrap()), "{error}");
}

#[tokio::test]
async fn a_folder_in_place_of_the_file_is_named() {
    let place = bed::sqlite().await.unwrap();
    let folder = bed::sqlite_path(&place).parent().unwrap().to_owned();
    assert_eq!(refused(&at(&place, folder)).await.code(), "store.unreadable");
}

#[tokio::test]
async fn a_read_only_folder_is_named() {
    let place = bed::sqlite().await.unwrap();
    let path = bed::sqlite_path(&place);
    let folder = path.parent().unwrap();
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o500)).unwrap();
    if std::fs::write(folder.join("probe"), b"").is_ok() {
        println!("SKIPPED: this user writes into read-only folders (root), so there is nothing to refuse");
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).unwrap();
        return;
    }
    let error = refused(&place).await;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(error.code(), "store.read-only");
    assert!(error.to_string().contains("0700"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_named() {
    let place = bed::sqlite().await.unwrap();
    std::fs::write(
        bed::sqlite_path(&place),
        b"This is a letter and not a database. ".repeat(200),
    )
    .unwrap();
    assert_eq!(refused(&place).await.code(), "store.file-corrupt");
}

#[tokio::test]
async fn a_damaged_page_is_named() {
    let bed = Bed::on(bed::sqlite().await.unwrap()).await;
    let acme = bed.tenant("acme").await;
    for n in 0..40 {
        bed.identity(&acme, &format!("agent {n}")).await;
    }
    bed.store.close().await;
    let path = bed::sqlite_path(&bed.place);
    let mut bytes = std::fs::read(&path).unwrap();
    let pages = bytes.len() / 4096;
    assert!(pages > 20);
    for page in (pages / 2)..(pages / 2 + 4) {
        bytes[page * 4096..page * 4096 + 64].fill(0xff);
    }
    std::fs::write(&path, bytes).unwrap();
    assert_eq!(refused(&bed.place).await.code(), "store.file-corrupt");
}

#[tokio::test]
async fn a_database_elsewhere_must_be_verified() {
    let place = bed::sqlite().await.unwrap();
    for url in [
        "postgres://bailiwick@db.example.com/bailiwick",
        "postgres://bailiwick@192.0.2.7/x?sslmode=require",
    ] {
        let place = Place {
            config: StoreConfig::Postgres { url: url.to_owned() },
            ..place.clone()
        };
        let error = refused(&place).await;
        assert_eq!(error.code(), "store.plaintext");
        assert!(error.to_string().contains("sslmode=verify-full"), "{error}");
    }
    let url = "postgres://bailiwick:hunter2@127.0.0.1:1/bailiwick".to_owned();
    let place = Place {
        config: StoreConfig::Postgres { url },
        ..place
    };
    let error = refused(&place).await;
    assert_eq!(error.code(), "store.unavailable");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
}
