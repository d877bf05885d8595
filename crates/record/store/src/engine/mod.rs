//! The two engines behind one connection type. Nothing outside this folder knows which one runs.

mod postgres;
mod sqlite;

use std::path::PathBuf;

use sqlx::{PgConnection, PgPool, Postgres, Sqlite, SqliteConnection, SqlitePool, Transaction};

use crate::error::StoreError;
use crate::migrate;
use crate::row::{Arg, Cells};

/// A connection on which the file cannot grow.
#[cfg(test)]
pub(crate) fn full_disk(path: &std::path::Path) -> sqlx::sqlite::SqliteConnectOptions {
    sqlite::options(path).pragma("max_page_count", "1")
}

/// Where the store is.
#[derive(Clone)]
pub enum StoreConfig {
    /// A server for several nodes.
    Postgres {
        /// `postgres://role@host/database?sslmode=verify-full`; never printed.
        url: String,
    },
    /// A file inside the data folder.
    Sqlite {
        /// Path of the file; made with mode 0600 when it is not there.
        path: PathBuf,
    },
}

impl StoreConfig {
    /// The embedded engine, in a file of the data folder.
    #[must_use]
    pub fn embedded(path: PathBuf) -> Self {
        Self::Sqlite { path }
    }

    /// The engine that serves several nodes, at a URL.
    #[must_use]
    pub fn served(url: String) -> Self {
        Self::Postgres { url }
    }

    /// Whether all of it is one file here.
    pub(crate) const fn is_embedded(&self) -> bool {
        matches!(self, Self::Sqlite { .. })
    }
}

/// How to reach the engine again.
pub(crate) enum Engine {
    Postgres {
        options: Box<sqlx::postgres::PgConnectOptions>,
        readers: PgPool,
    },
    Sqlite {
        options: Box<sqlx::sqlite::SqliteConnectOptions>,
        readers: SqlitePool,
        path: PathBuf,
    },
}

const BEGIN_QUICK: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL synchronous_commit = off";
const HINT: &str = "NOTIFY bailiwick";

/// A connection that speaks either dialect.
pub(crate) enum Conn {
    Postgres(PgConnection),
    PostgresRead(Transaction<'static, Postgres>),
    Sqlite(SqliteConnection),
    SqliteRead(Transaction<'static, Sqlite>),
    /// Inside a transaction that runs; nothing can be done through this one.
    Lent,
}

const BEGIN_SQLITE: &str = "BEGIN IMMEDIATE";
/// The lock comes before the first snapshot, so writers of several nodes queue instead of failing.
const BEGIN_POSTGRES: &str = "BEGIN ISOLATION LEVEL SERIALIZABLE; LOCK TABLE epoch IN EXCLUSIVE MODE";

/// Hears hints of other nodes.
pub(crate) struct Ear(postgres::Listener);

impl Ear {
    pub(crate) async fn next(&mut self) {
        self.0.next().await;
    }
}

/// Runs `$body` with the plain connection inside.
macro_rules! on {
    ($conn:expr, $sqlite:ident => $one:expr, $postgres:ident => $other:expr) => {
        match $conn {
            Conn::Postgres($postgres) => $other,
            Conn::PostgresRead(tx) => {
                let $postgres = &mut **tx;
                $other
            }
            Conn::Sqlite($sqlite) => $one,
            Conn::SqliteRead(tx) => {
                let $sqlite = &mut **tx;
                $one
            }
            Conn::Lent => Err(Failure::plain(StoreError::Panicked {
                what: "its connection is in use elsewhere",
            })),
        }
    };
}

impl Engine {
    /// Opens the engine, brings its schema up to date, and makes the pool of readers.
    pub(crate) async fn open(config: &StoreConfig, readers: u32) -> Result<Self, StoreError> {
        match config {
            StoreConfig::Postgres { url } => {
                let options = postgres::options(url)?;
                let mut first = postgres::connect(&options).await?;
                postgres::require_role(&mut first).await?;
                migrate::postgres(&mut first).await?;
                let readers = postgres::pool(&options, readers);
                Ok(Self::Postgres {
                    options: Box::new(options),
                    readers,
                })
            }
            StoreConfig::Sqlite { path } => {
                sqlite::prepare(path)?;
                let options = sqlite::options(path);
                let mut first = sqlite::connect(&options, path).await?;
                migrate::sqlite(&mut first).await?;
                sqlite::integral(&mut first, path).await?;
                let readers = sqlite::pool(&options, readers);
                Ok(Self::Sqlite {
                    options: Box::new(options),
                    readers,
                    path: path.clone(),
                })
            }
        }
    }

    /// Opens what is there to be looked at: nothing is made or brought up to date.
    pub(crate) async fn inspect(config: &StoreConfig) -> Result<Self, StoreError> {
        match config {
            StoreConfig::Postgres { url } => {
                let options = postgres::options(url)?;
                let readers = postgres::pool(&options, 1);
                Ok(Self::Postgres {
                    options: Box::new(options),
                    readers,
                })
            }
            StoreConfig::Sqlite { path } => {
                let options = sqlite::options(path);
                let mut first = sqlite::connect(&options, path).await?;
                sqlite::integral(&mut first, path).await?;
                let readers = sqlite::pool(&options, 1);
                Ok(Self::Sqlite {
                    options: Box::new(options),
                    readers,
                    path: path.clone(),
                })
            }
        }
    }

    /// The same store with one reader of its own, which no other waits for.
    pub(crate) fn apart(&self) -> Self {
        match self {
            Self::Postgres { options, .. } => Self::Postgres {
                options: options.clone(),
                readers: postgres::pool(options, 1),
            },
            Self::Sqlite { options, path, .. } => Self::Sqlite {
                options: options.clone(),
                readers: sqlite::pool(options, 1),
                path: path.clone(),
            },
        }
    }

    /// Whether other nodes may be on this store.
    pub(crate) fn is_shared(&self) -> bool {
        matches!(self, Self::Postgres { .. })
    }

    /// A listener for hints of other nodes.
    pub(crate) async fn ear(&self) -> Option<Ear> {
        match self {
            Self::Postgres { options, .. } => Some(Ear(postgres::Listener::new(options.as_ref().clone()))),
            Self::Sqlite { .. } => None,
        }
    }

    /// A connection for the writer.
    pub(crate) async fn connect(&self) -> Result<Conn, StoreError> {
        Ok(match self {
            Self::Postgres { options, .. } => Conn::Postgres(postgres::connect(options).await?),
            Self::Sqlite { options, path, .. } => Conn::Sqlite(sqlite::connect(options, path).await?),
        })
    }

    /// A connection with one consistent view that reads the rows of `tenant` (`*` for all).
    pub(crate) async fn read(&self, tenant: &str) -> Result<Conn, StoreError> {
        match self {
            Self::Postgres { readers, .. } => {
                let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
                let beginning = async { readers.begin_with(begin).await.map_err(postgres::error) };
                let began = postgres::answered(beginning).await.map_err(Failure::into_error)?;
                let mut conn = Conn::PostgresRead(began);
                conn.name_tenant(tenant).await.map_err(Failure::into_error)?;
                Ok(conn)
            }
            Self::Sqlite { readers, path, .. } => {
                let tx = readers
                    .begin_with("BEGIN")
                    .await
                    .map_err(|e| sqlite::opening(e, path))?;
                Ok(Conn::SqliteRead(tx))
            }
        }
    }

    /// A transaction beside the writer's, on a connection that is kept for the next; ends with [`Conn::keep`].
    pub(crate) async fn short(&self) -> Result<Conn, StoreError> {
        match self {
            Self::Postgres { readers, .. } => {
                let begin = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";
                let begun = readers.begin_with(begin).await;
                Ok(Conn::PostgresRead(
                    begun.map_err(|e| postgres::error(e).into_error())?,
                ))
            }
            Self::Sqlite { .. } => self.connect().await,
        }
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Postgres { readers, .. } => readers.close().await,
            Self::Sqlite { readers, .. } => readers.close().await,
        }
    }
}

/// A failed statement: the error, and whether running the whole transaction again may help.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) error: StoreError,
    pub(crate) again: bool,
    /// The connection cannot be used any more.
    pub(crate) lost: bool,
}

impl Failure {
    pub(crate) fn plain(error: StoreError) -> Self {
        Self {
            error,
            again: false,
            lost: false,
        }
    }

    /// There is no connection to begin with; waiting is left to the caller.
    pub(crate) fn of_connection(error: StoreError) -> Self {
        Self {
            error,
            again: false,
            lost: true,
        }
    }

    pub(crate) fn into_error(self) -> StoreError {
        self.error
    }
}

impl Conn {
    /// Runs a statement and gives its rows.
    pub(crate) async fn fetch(&mut self, sql: &'static str, args: Vec<Arg>) -> Result<Vec<Cells>, Failure> {
        on!(self, c => sqlite::fetch(c, sql, args).await, c => postgres::fetch(c, sql, args).await)
    }

    /// Runs a statement and hands over its rows one by one: however many there are, few are in memory.
    pub(crate) async fn each(
        &mut self,
        sql: &'static str,
        args: Vec<Arg>,
        take: impl FnMut(Cells) -> Result<(), StoreError>,
    ) -> Result<(), Failure> {
        on!(self, c => sqlite::each(c, sql, args, take).await, c => postgres::each(c, sql, args, take).await)
    }

    /// Runs a statement and gives the number of rows it touched.
    pub(crate) async fn execute(&mut self, sql: &'static str, args: Vec<Arg>) -> Result<u64, Failure> {
        on!(self, c => sqlite::execute(c, sql, args).await, c => postgres::execute(c, sql, args).await)
    }

    /// Begins the transaction of a batch and takes the lock of the writer.
    pub(crate) async fn begin(&mut self) -> Result<(), Failure> {
        on!(self, c => sqlite::script(c, BEGIN_SQLITE).await, c => postgres::script(c, BEGIN_POSTGRES).await)
    }

    /// Begins a transaction that takes no lock of the writer and need not survive a crash of the server.
    pub(crate) async fn begin_quick(&mut self) -> Result<(), Failure> {
        on!(self, c => sqlite::script(c, BEGIN_SQLITE).await, c => postgres::script(c, BEGIN_QUICK).await)
    }

    /// Tells other nodes, once the transaction commits, that there is something new.
    pub(crate) async fn hint(&mut self) -> Result<(), Failure> {
        on!(self, _c => Ok(()), c => postgres::script(c, HINT).await)
    }

    /// Runs several statements in one message; no parameters.
    pub(crate) async fn script(&mut self, sql: &'static str) -> Result<(), Failure> {
        on!(self, c => sqlite::script(c, sql).await, c => postgres::script(c, sql).await)
    }

    /// Names the tenant whose rows the following statements may see. Where the engine has no row security
    /// every statement names its tenant itself.
    pub(crate) async fn name_tenant(&mut self, tenant: &str) -> Result<(), Failure> {
        on!(self, _c => Ok(()), c => postgres::name_tenant(c, tenant).await)
    }

    /// Commits a transaction of [`Engine::short`].
    pub(crate) async fn keep(self) -> Result<(), Failure> {
        match self {
            Self::PostgresRead(tx) => tx.commit().await.map_err(postgres::error),
            other => {
                other.close().await;
                Ok(())
            }
        }
    }

    pub(crate) async fn close(self) {
        // A failed close changes nothing: what was committed is durable, the rest is rolled back.
        match self {
            Self::Postgres(conn) => drop(sqlx::Connection::close(conn).await),
            Self::Sqlite(conn) => drop(sqlx::Connection::close(conn).await),
            Self::Lent | Self::PostgresRead(_) | Self::SqliteRead(_) => {}
        }
    }
}
