//! The embedded engine.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Decode, Executor, Row, Sqlite, SqliteConnection, SqlitePool, TypeInfo, ValueRef};

use super::Failure;
use crate::error::StoreError;
use crate::row::{Arg, Cell, Cells};

/// Makes the file with mode 0600 before the engine sees it; its journal files take the same mode.
pub(super) fn prepare(path: &Path) -> Result<(), StoreError> {
    let unreadable = |e: &io::Error| StoreError::Unreadable {
        path: path.to_owned(),
        detail: e.kind().to_string(),
    };
    let read_only = |e: &io::Error| StoreError::ReadOnly {
        path: path.to_owned(),
        detail: e.kind().to_string(),
    };
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(|e| match e.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => read_only(&e),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => full(path),
            _ => unreadable(&e),
        })?;
    let meta = file.metadata().map_err(|e| unreadable(&e))?;
    if !meta.is_file() {
        return Err(StoreError::Unreadable {
            path: path.to_owned(),
            detail: "not a file".to_owned(),
        });
    }
    if meta.permissions().mode() & 0o077 != 0 {
        file.set_permissions(std::fs::Permissions::from_mode(0o600))
            .map_err(|e| read_only(&e))?;
    }
    Ok(())
}

pub(super) fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .foreign_keys(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(5))
        .pragma("trusted_schema", "OFF")
        .pragma("cell_size_check", "ON")
        .pragma("secure_delete", "ON")
        .thread_name(|n| format!("store-sqlite-{n}"))
        .disable_statement_logging()
}

pub(super) async fn connect(
    options: &SqliteConnectOptions,
    path: &Path,
) -> Result<SqliteConnection, StoreError> {
    options.connect().await.map_err(|e| opening(e, path))
}

pub(super) fn pool(options: &SqliteConnectOptions, size: u32) -> SqlitePool {
    SqlitePoolOptions::new()
        .max_connections(size)
        .min_connections(0)
        .acquire_timeout(Duration::from_secs(5))
        .connect_lazy_with(options.clone().pragma("query_only", "ON"))
}

/// The largest file whose every page is read at the start.
const CHECKED_AT_START_MAX: u64 = 64 * 1024 * 1024;

/// Looks at the structure of a small file, so that damage shows at the start and not in the middle of a
/// command. Values have their own digests, and pages are checked as they are read.
pub(super) async fn integral(conn: &mut SqliteConnection, path: &Path) -> Result<(), StoreError> {
    if std::fs::metadata(path).is_ok_and(|meta| meta.len() > CHECKED_AT_START_MAX) {
        return Ok(());
    }
    let rows = fetch(conn, "PRAGMA quick_check(1)", Vec::new())
        .await
        .map_err(Failure::into_error)?;
    match rows.first().and_then(|cells| cells.first()) {
        Some(Cell::Text(text)) if text == "ok" => Ok(()),
        Some(Cell::Text(text)) => Err(StoreError::FileCorrupt {
            detail: bailiwick_base::limits::shown(text),
        }),
        _ => Err(StoreError::FileCorrupt {
            detail: "no answer to quick_check".to_owned(),
        }),
    }
}

pub(super) async fn script(conn: &mut SqliteConnection, sql: &'static str) -> Result<(), Failure> {
    execute(conn, sql, Vec::new()).await.map(drop)
}

pub(super) async fn execute(
    conn: &mut SqliteConnection,
    sql: &'static str,
    args: Vec<Arg>,
) -> Result<u64, Failure> {
    let done = conn
        .execute(sqlx::query_with(sql, bound(args)?))
        .await
        .map_err(error)?;
    Ok(done.rows_affected())
}

pub(super) async fn fetch(
    conn: &mut SqliteConnection,
    sql: &'static str,
    args: Vec<Arg>,
) -> Result<Vec<Cells>, Failure> {
    let mut rows = Vec::new();
    each(conn, sql, args, |row| {
        rows.push(row);
        Ok(())
    })
    .await?;
    Ok(rows)
}

pub(super) async fn each(
    conn: &mut SqliteConnection,
    sql: &'static str,
    args: Vec<Arg>,
    mut take: impl FnMut(Cells) -> Result<(), StoreError>,
) -> Result<(), Failure> {
    let mut rows = conn.fetch(sqlx::query_with(sql, bound(args)?));
    while let Some(row) = rows.try_next().await.map_err(error)? {
        take(cells(&row)?).map_err(Failure::plain)?;
    }
    Ok(())
}

fn bound(args: Vec<Arg>) -> Result<SqliteArguments, Failure> {
    use sqlx::Arguments;
    let mut out = SqliteArguments::default();
    for arg in args {
        match arg {
            Arg::Bytes(v) => out.add(v),
            Arg::BytesOrNull(v) => out.add(v),
            Arg::Int(v) => out.add(v),
            Arg::IntOrNull(v) => out.add(v),
            Arg::Text(v) => out.add(v),
            Arg::TextOrNull(v) => out.add(v),
        }
        .map_err(|e| error(sqlx::Error::Encode(e)))?;
    }
    Ok(out)
}

fn cells(row: &SqliteRow) -> Result<Cells, Failure> {
    let mut out = Vec::with_capacity(row.len());
    for position in 0..row.len() {
        let raw = row.try_get_raw(position).map_err(error)?;
        let kind = raw.type_info().into_owned();
        let cell = if raw.is_null() {
            Ok(Cell::Null)
        } else {
            match kind.name() {
                "INTEGER" => <i64 as Decode<Sqlite>>::decode(raw).map(Cell::Int),
                "TEXT" => <String as Decode<Sqlite>>::decode(raw).map(Cell::Text),
                "BLOB" => <Vec<u8> as Decode<Sqlite>>::decode(raw).map(Cell::Bytes),
                _ => Ok(Cell::Other),
            }
        };
        // Text that is not UTF-8 is a damaged value, which the reader of the row names.
        out.push(cell.unwrap_or(Cell::Other));
    }
    Ok(out)
}

fn full(path: &Path) -> StoreError {
    let place = path.parent().unwrap_or(path).display().to_string();
    StoreError::DiskFull { place }
}

/// An error while a connection is opened, with the path.
pub(super) fn opening(e: sqlx::Error, path: &Path) -> StoreError {
    match (primary(&e), &e) {
        (Some(CANTOPEN | PERM | AUTH), _) => StoreError::Unreadable {
            path: path.to_owned(),
            detail: e.to_string(),
        },
        (Some(READONLY), _) => StoreError::ReadOnly {
            path: path.to_owned(),
            detail: e.to_string(),
        },
        (Some(FULL), _) => full(path),
        _ => error(e).into_error(),
    }
}

const PERM: i32 = 3;
const BUSY: i32 = 5;
const LOCKED: i32 = 6;
const READONLY: i32 = 8;
const IOERR: i32 = 10;
const CORRUPT: i32 = 11;
const FULL: i32 = 13;
const CANTOPEN: i32 = 14;
const AUTH: i32 = 23;
const NOTADB: i32 = 26;

pub(super) fn foreign_key(e: &sqlx::Error) -> bool {
    e.as_database_error()
        .is_some_and(|d| d.is_foreign_key_violation())
}

/// The primary result code (the low byte of the extended one).
fn primary(e: &sqlx::Error) -> Option<i32> {
    let code = e.as_database_error()?.code()?;
    Some(code.parse::<i32>().ok()? & 0xff)
}

pub(super) fn error(e: sqlx::Error) -> Failure {
    let detail = e.to_string();
    match primary(&e) {
        Some(BUSY | LOCKED) => {
            // The engine has waited for the lock already.
            Failure::plain(StoreError::Busy {
                what: "another process holds the database file",
            })
        }
        Some(FULL) => Failure::plain(StoreError::DiskFull {
            place: "the data folder".to_owned(),
        }),
        Some(READONLY) => Failure::plain(StoreError::ReadOnly {
            path: "the data folder".into(),
            detail,
        }),
        Some(IOERR | CANTOPEN) => Failure {
            error: StoreError::Unreadable {
                path: "the data folder".into(),
                detail,
            },
            again: false,
            lost: true,
        },
        Some(CORRUPT | NOTADB) => Failure {
            error: StoreError::FileCorrupt { detail },
            again: false,
            lost: true,
        },
        _ if foreign_key(&e) => Failure::plain(StoreError::Dangling),
        _ => {
            let lost = matches!(e, sqlx::Error::WorkerCrashed | sqlx::Error::PoolClosed);
            Failure {
                error: StoreError::Engine(Arc::new(e)),
                again: false,
                lost,
            }
        }
    }
}
