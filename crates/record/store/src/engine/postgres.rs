//! The engine of several nodes.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use futures_util::future::BoxFuture;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgListener, PgPoolOptions, PgRow, PgSslMode};
use sqlx::{
    ConnectOptions, Connection, Decode, Executor, PgConnection, PgPool, Postgres, Row, TypeInfo, ValueRef,
};

use super::Failure;
use crate::error::StoreError;
use crate::row::{Arg, Cell, Cells, args};

pub(super) fn options(url: &str) -> Result<PgConnectOptions, StoreError> {
    let parsed = PgConnectOptions::from_str(url).map_err(|_| StoreError::Unavailable {
        detail: "the URL is not of the form postgres://role@host/database".to_owned(),
    })?;
    let host = parsed.get_host().to_owned();
    let local = parsed.get_socket().is_some()
        || host.starts_with('/')
        || host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    if !local && !matches!(parsed.get_ssl_mode(), PgSslMode::VerifyFull) {
        return Err(StoreError::Plaintext { host });
    }
    Ok(parsed
        .application_name("bailiwick")
        .options([
            ("statement_timeout", "5s"),
            ("lock_timeout", "2s"),
            ("idle_in_transaction_session_timeout", "5s"),
            ("synchronous_commit", "on"),
            ("default_transaction_isolation", "serializable"),
            ("bailiwick.tenant", ""),
        ])
        .disable_statement_logging())
}

/// How long an answer may take. The server ends a statement by itself before that, so that a later answer means
/// that there is nobody at the other end any more.
const ANSWER_MAX: Duration = Duration::from_secs(6);
/// How long a connection that comes back to the pool may take to say that it can be used again.
const RETURN_MAX: Duration = Duration::from_secs(1);

/// Ends what waits for an answer that does not come.
pub(super) async fn answered<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    match tokio::time::timeout(ANSWER_MAX, work).await {
        Ok(done) => done,
        Err(_) => Err(Failure::of_connection(StoreError::Unavailable {
            detail: "no answer within 6 s".to_owned(),
        })),
    }
}

pub(super) async fn connect(options: &PgConnectOptions) -> Result<PgConnection, StoreError> {
    let connecting = options.connect();
    match tokio::time::timeout(Duration::from_secs(5), connecting).await {
        Ok(conn) => conn.map_err(|e| error(e).into_error()),
        Err(_) => Err(StoreError::Unavailable {
            detail: "no connection within 5 s".to_owned(),
        }),
    }
}

pub(super) fn pool(options: &PgConnectOptions, size: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(size)
        .min_connections(0)
        .acquire_timeout(Duration::from_secs(5))
        .after_release(|conn, _| {
            // Without this a connection that nobody answers on keeps its place for ever.
            Box::pin(async move {
                tokio::time::timeout(RETURN_MAX, conn.ping())
                    .await
                    .map_err(|_| sqlx::Error::PoolTimedOut)?
                    .map(|()| true)
            })
        })
        .connect_lazy_with(options.clone())
}

/// How long to wait before listening is tried again.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

type Opening = BoxFuture<'static, Result<PgListener, sqlx::Error>>;

/// Listens on a connection of its own, which is made anew when it breaks.
pub(super) struct Listener {
    options: PgConnectOptions,
    open: Option<PgListener>,
    /// Kept here, because whoever waits for a hint gives up often.
    opening: Option<Opening>,
}

impl Listener {
    pub(super) fn new(options: PgConnectOptions) -> Self {
        Self {
            options,
            open: None,
            opening: None,
        }
    }

    /// Resolves at the next notification. A connection that had to be made anew counts as one: something may have
    /// been said meanwhile.
    pub(super) async fn next(&mut self) {
        if let Some(open) = &mut self.open {
            if open.recv().await.is_ok() {
                // One reading answers all that were said meanwhile.
                while open.next_buffered().is_some() {}
                return;
            }
            self.open = None;
        }
        loop {
            let options = &self.options;
            let opening = self
                .opening
                .get_or_insert_with(|| Box::pin(listen(options.clone(), Duration::ZERO)));
            match opening.await {
                Ok(listener) => {
                    self.opening = None;
                    self.open = Some(listener);
                    return;
                }
                Err(error) => {
                    tracing::debug!(%error, "hints of other nodes are not heard; polling goes on");
                    self.opening = Some(Box::pin(listen(self.options.clone(), LISTEN_AGAIN)));
                }
            }
        }
    }
}

async fn listen(options: PgConnectOptions, after: Duration) -> Result<PgListener, sqlx::Error> {
    // Nothing waits for this but the next attempt.
    drop(tokio::time::timeout(after, std::future::pending::<()>()).await);
    let mut listener = PgListener::connect_with(&pool(&options, 1)).await?;
    listener.listen("bailiwick").await?;
    Ok(listener)
}

/// Refuses a role that row security does not bind.
pub(super) async fn require_role(conn: &mut PgConnection) -> Result<(), StoreError> {
    let sql = "SELECT rolname::text, rolsuper::int::bigint, rolbypassrls::int::bigint FROM pg_roles \
               WHERE rolname = current_user";
    let rows = fetch(conn, sql, Vec::new()).await.map_err(Failure::into_error)?;
    match rows.first().map(Vec::as_slice) {
        Some([Cell::Text(_), Cell::Int(0), Cell::Int(0)]) => Ok(()),
        Some([Cell::Text(role), Cell::Int(0), _]) => Err(StoreError::RoleTooStrong {
            role: role.clone(),
            right: "BYPASSRLS",
        }),
        Some([Cell::Text(role), ..]) => Err(StoreError::RoleTooStrong {
            role: role.clone(),
            right: "SUPERUSER",
        }),
        _ => Err(StoreError::Unavailable {
            detail: "the database does not tell the rights of the role".to_owned(),
        }),
    }
}

pub(super) async fn name_tenant(conn: &mut PgConnection, tenant: &str) -> Result<(), Failure> {
    fetch(
        conn,
        "SELECT set_config('bailiwick.tenant', $1, true)",
        args![tenant],
    )
    .await
    .map(drop)
}

/// Several statements in one message; no parameters.
pub(super) async fn script(conn: &mut PgConnection, sql: &'static str) -> Result<(), Failure> {
    answered(async { conn.execute(sqlx::raw_sql(sql)).await.map_err(error) })
        .await
        .map(drop)
}

pub(super) async fn execute(
    conn: &mut PgConnection,
    sql: &'static str,
    args: Vec<Arg>,
) -> Result<u64, Failure> {
    let statement = sqlx::query_with(sql, bound(args)?);
    let done = answered(async { conn.execute(statement).await.map_err(error) }).await?;
    Ok(done.rows_affected())
}

pub(super) async fn fetch(
    conn: &mut PgConnection,
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
    conn: &mut PgConnection,
    sql: &'static str,
    args: Vec<Arg>,
    mut take: impl FnMut(Cells) -> Result<(), StoreError>,
) -> Result<(), Failure> {
    let mut rows = conn.fetch(sqlx::query_with(sql, bound(args)?));
    while let Some(row) = answered(async { rows.try_next().await.map_err(error) }).await? {
        take(cells(&row)?).map_err(Failure::plain)?;
    }
    Ok(())
}

fn bound(args: Vec<Arg>) -> Result<PgArguments, Failure> {
    use sqlx::Arguments;
    let mut out = PgArguments::default();
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

fn cells(row: &PgRow) -> Result<Cells, Failure> {
    let mut out = Vec::with_capacity(row.len());
    for position in 0..row.len() {
        let raw = row.try_get_raw(position).map_err(error)?;
        let kind = raw.type_info().into_owned();
        let cell = if raw.is_null() {
            Ok(Cell::Null)
        } else {
            match kind.name() {
                "INT8" => <i64 as Decode<Postgres>>::decode(raw).map(Cell::Int),
                "TEXT" | "VARCHAR" | "NAME" => <String as Decode<Postgres>>::decode(raw).map(Cell::Text),
                "BYTEA" => <Vec<u8> as Decode<Postgres>>::decode(raw).map(Cell::Bytes),
                _ => Ok(Cell::Other),
            }
        };
        out.push(cell.unwrap_or(Cell::Other));
    }
    Ok(out)
}

pub(super) fn error(e: sqlx::Error) -> Failure {
    let code = e
        .as_database_error()
        .and_then(|d| d.code())
        .map(|c| c.into_owned())
        .unwrap_or_default();
    let class = code.get(..2).unwrap_or_default();
    match (code.as_str(), class) {
        // serialization_failure, deadlock_detected
        ("40001" | "40P01", _) => Failure {
            error: StoreError::Busy {
                what: "another transaction was first",
            },
            again: true,
            lost: false,
        },
        ("23503", _) => Failure::plain(StoreError::Dangling),
        ("55P03", _) => Failure::plain(StoreError::Busy {
            what: "a lock was not free in time",
        }),
        ("57014", _) => Failure::plain(StoreError::Busy {
            what: "a statement took too long",
        }),
        // insufficient_resources: disk full, out of memory, too many connections
        ("53100", _) => Failure::plain(StoreError::DiskFull {
            place: "the database server".to_owned(),
        }),
        ("25006", _) => Failure::plain(StoreError::ReadOnly {
            path: "the database".into(),
            detail: "it is a replica or was set read-only".to_owned(),
        }),
        // data_corrupted, index_corrupted
        ("XX001" | "XX002", _) => Failure::plain(StoreError::FileCorrupt { detail: code }),
        // A session that stood still in its transaction was ended, so that no other waits for its lock.
        ("25P03", _) | (_, "08" | "53" | "57" | "28" | "3D") => unavailable(&e),
        _ => match &e {
            sqlx::Error::Database(_) => Failure::plain(StoreError::Engine(Arc::new(e))),
            sqlx::Error::PoolTimedOut => Failure::plain(StoreError::Busy {
                what: "no connection was free in time",
            }),
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) | sqlx::Error::PoolClosed => {
                unavailable(&e)
            }
            _ => Failure {
                error: StoreError::Engine(Arc::new(e)),
                again: false,
                lost: true,
            },
        },
    }
}

fn unavailable(e: &sqlx::Error) -> Failure {
    let detail = e
        .as_database_error()
        .map_or_else(|| e.to_string(), |d| d.message().to_owned());
    Failure {
        error: StoreError::Unavailable { detail },
        again: true,
        lost: true,
    }
}
