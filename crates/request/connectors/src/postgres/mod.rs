//! Two login roles of a database server that take turns, both members of the application's role.
//!
//! The new password is sent as its SCRAM-SHA-256 verifier, so that it stands in no statement, log or trace
//! there. The old login ends in this order: no new sessions, a last look, no password, no sessions. Where the last
//! look finds somebody it gets its password again with its way in, because the one before may have come further.

mod lease;
mod scram;

use std::collections::BTreeSet;
use std::time::Duration;

use bailiwick_base::{Entropy, Secret};
use bailiwick_credential::{Observed, PgTarget, ProbeAnswer, Seen, ThirdParty, plan};
use bailiwick_outbound::{AddressRule, Endpoint, Sender};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, Connection, Row};

use crate::driver::{Ended, Probed, Reachable, TargetError};

/// How long one deed may take.
const DEED: Duration = Duration::from_secs(20);
/// How often it is looked whether sessions have ended, and seconds between two looks: 5 s in all.
const ENDING_LOOKS: usize = 50;
const ENDING_PAUSE: &str = "0.1";
/// Consumers in one look.
const SEEN_MAX: usize = 10_000;
/// The name of our own sessions there.
const OURS: &str = "bailiwick-rotation";

/// Classes of SQLSTATE that speak of the moment and not of what was asked: the connection, a transaction that met
/// another one, what is used up, what somebody else holds, an operator, the machine.
const PASSING: [&str; 6] = ["08", "40", "53", "55", "57", "58"];

impl From<sqlx::Error> for TargetError {
    fn from(error: sqlx::Error) -> Self {
        if let sqlx::Error::Tls(cause) = &error {
            return Self::Unreachable(format!(
                "{cause}: give the server a certificate that the public roots vouch for, or register the credential \
                 anew with `--allow-plaintext`"
            ));
        }
        let Some(answer) = error.as_database_error() else {
            return Self::Unreachable(error.to_string());
        };
        let code = answer.code().unwrap_or_default().into_owned();
        if PASSING.iter().any(|class| code.starts_with(class)) {
            return Self::Unreachable(format!("{code}: {}", answer.message()));
        }
        Self::Refused {
            code,
            text: answer.message().to_owned(),
        }
    }
}

/// The manager's access to a target.
pub(crate) struct PgLogins<'a> {
    target: &'a PgTarget,
    password: &'a Secret<Vec<u8>>,
    with: &'a Reachable<'a>,
}

/// Where a server is, as the guarded way out judges it; `None` when its host is none.
#[must_use]
pub fn server_place(host: &str, port: u16) -> Option<Endpoint> {
    let host = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    Endpoint::parse(&format!("https://{host}:{port}"), false).ok()
}

/// What is connected to. Every address of the host is judged; without TLS that proves the name, the connection goes to
/// one that was judged, and with it the name's certificate decides.
async fn judged(target: &PgTarget, sender: &Sender) -> Result<String, TargetError> {
    let place = server_place(&target.host, target.port)
        .ok_or(TargetError::Unusable("its host is neither a name nor an address"))?;
    let rule = AddressRule::parse(&target.addresses)?;
    let found = sender.judged_addresses(&place, &rule).await?;
    match found.first() {
        Some(address) if target.allow_plaintext => Ok(address.to_string()),
        _ => Ok(target.host.clone()),
    }
}

/// A name that the room admitted: nothing in it needs escaping.
fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

async fn within<T>(deed: impl Future<Output = Result<T, TargetError>>) -> Result<T, TargetError> {
    tokio::time::timeout(DEED, deed).await.unwrap_or_else(|_| {
        Err(TargetError::Unreachable(format!(
            "no answer in {} s",
            DEED.as_secs()
        )))
    })
}

async fn connect(
    (target, sender): (&PgTarget, &Sender),
    login: &str,
    password: &Secret<Vec<u8>>,
) -> Result<PgConnection, TargetError> {
    let password = std::str::from_utf8(password.reveal())
        .map_err(|_| TargetError::Unusable("the password is not UTF-8 text"))?;
    let mode = if target.allow_plaintext {
        PgSslMode::Prefer
    } else {
        PgSslMode::VerifyFull
    };
    let options = PgConnectOptions::new_without_pgpass()
        .host(&judged(target, sender).await?)
        .port(target.port)
        .database(&target.database)
        .username(login)
        .password(password)
        .application_name(OURS)
        .ssl_mode(mode);
    Ok(PgConnection::connect_with(&options).await?)
}

async fn run(conn: &mut PgConnection, statement: String) -> Result<(), TargetError> {
    // Names are of the room's grammar and quoted; passwords are verifiers in base64.
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(conn).await?;
    Ok(())
}

async fn end_sessions(conn: &mut PgConnection, login: &str) -> Result<(), TargetError> {
    // Every one is told at once, so that one that hangs does not keep the others; and again, because one that was
    // on its way in may only be seen now.
    let tell = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename::text = $1";
    for _ in 0..ENDING_LOOKS {
        let told: i64 = sqlx::query(tell)
            .bind(login)
            .fetch_one(&mut *conn)
            .await?
            .try_get(0)?;
        if told == 0 {
            return Ok(());
        }
        run(conn, format!("SELECT pg_sleep({ENDING_PAUSE})")).await?;
    }
    Err(TargetError::Unusable("sessions of the login did not end"))
}

/// No way in with this login, if there is one of the name.
async fn close(conn: &mut PgConnection, login: &str) -> Result<(), TargetError> {
    if has_role(conn, login).await? {
        let login = quoted(login);
        run(conn, format!("ALTER ROLE {login} NOLOGIN PASSWORD NULL")).await?;
    }
    Ok(())
}

async fn has_role(conn: &mut PgConnection, login: &str) -> Result<bool, TargetError> {
    let found = sqlx::query("SELECT 1 FROM pg_roles WHERE rolname = $1")
        .bind(login)
        .fetch_optional(conn)
        .await?;
    Ok(found.is_some())
}

impl<'a> PgLogins<'a> {
    /// The manager of `target`.
    #[must_use]
    pub(crate) const fn new(
        target: &'a PgTarget,
        password: &'a Secret<Vec<u8>>,
        with: &'a Reachable<'a>,
    ) -> Self {
        Self {
            target,
            password,
            with,
        }
    }

    async fn connect(&self) -> Result<PgConnection, TargetError> {
        self.connect_as(&self.target.manager_login, self.password).await
    }

    async fn connect_as(&self, login: &str, password: &Secret<Vec<u8>>) -> Result<PgConnection, TargetError> {
        connect((self.target, self.with.sender), login, password).await
    }

    fn old(&self) -> &str {
        self.target.login(self.target.current)
    }

    fn new_login(&self) -> &str {
        self.target.login(self.target.current.next())
    }

    /// Makes `secret` valid for the login whose turn is next.
    ///
    /// # Errors
    /// [`TargetError`].
    pub(crate) async fn stage(
        &self,
        secret: &Secret<Vec<u8>>,
        entropy: &dyn Entropy,
    ) -> Result<(), TargetError> {
        let verifier = scram::verifier(secret, entropy)?;
        let (login, role) = (quoted(self.new_login()), quoted(&self.target.role));
        within(async {
            let mut conn = self.connect().await?;
            let make = if has_role(&mut conn, self.new_login()).await? {
                String::new()
            } else {
                format!("CREATE ROLE {login} NOLOGIN;")
            };
            // Several statements in one message are one transaction there.
            let statement = format!(
                "{make} GRANT {role} TO {login}; ALTER ROLE {login} SET role = {role}; \
                 ALTER ROLE {login} LOGIN PASSWORD '{verifier}'"
            );
            run(&mut conn, statement).await?;
            Ok(conn.close().await?)
        })
        .await
    }

    /// Who is connected with either login, in any database of the server.
    ///
    /// # Errors
    /// [`TargetError`].
    pub(crate) async fn look(&self) -> Result<Observed, TargetError> {
        within(async {
            let mut conn = self.connect().await?;
            let seen = self.seen(&mut conn).await?;
            conn.close().await?;
            Ok(seen)
        })
        .await
    }

    async fn seen(&self, conn: &mut PgConnection) -> Result<Observed, TargetError> {
        let sql = "SELECT DISTINCT usename::text, coalesce(application_name, '') FROM pg_stat_activity \
                   WHERE usename::text = $1 OR usename::text = $2 LIMIT 10001";
        let rows = sqlx::query(sql)
            .bind(self.old())
            .bind(self.new_login())
            .fetch_all(conn)
            .await?;
        if rows.len() > SEEN_MAX {
            return Err(TargetError::Unusable(
                "more than 10,000 consumers are connected: register them in groups",
            ));
        }
        let mut seen = BTreeSet::new();
        for row in rows {
            let (login, consumer): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            let turn = if login == self.old() {
                self.target.current
            } else {
                self.target.current.next()
            };
            if consumer != OURS || turn == self.target.current {
                seen.insert(Seen { turn, consumer });
            }
        }
        Ok(Observed { seen, used: None })
    }

    /// Ends the old login, unless somebody would be cut off at the last look. Then `secret` opens it as before, also
    /// if an attempt that died had taken the password away.
    ///
    /// # Errors
    /// [`TargetError`].
    pub(crate) async fn revoke(
        &self,
        credential: &ThirdParty,
        secret: &Secret<Vec<u8>>,
        entropy: &dyn Entropy,
    ) -> Result<Ended, TargetError> {
        let old = quoted(self.old());
        let verifier = scram::verifier(secret, entropy)?;
        within(async {
            let mut conn = self.connect().await?;
            run(&mut conn, format!("ALTER ROLE {old} NOLOGIN")).await?;
            let seen = self.seen(&mut conn).await?;
            if plan::would_cut_off(credential, &seen, self.with.now) {
                let reopen = format!("ALTER ROLE {old} LOGIN PASSWORD '{verifier}'");
                run(&mut conn, reopen).await?;
                conn.close().await?;
                return Ok(Ended::Reopened(seen));
            }
            run(&mut conn, format!("ALTER ROLE {old} PASSWORD NULL")).await?;
            end_sessions(&mut conn, self.old()).await?;
            conn.close().await?;
            Ok(Ended::Done)
        })
        .await
    }

    /// Makes the new secret invalid and ends what it opened: it may be taken back because somebody else has it.
    ///
    /// # Errors
    /// [`TargetError`].
    pub(crate) async fn unstage(&self) -> Result<(), TargetError> {
        within(async {
            let mut conn = self.connect().await?;
            close(&mut conn, self.new_login()).await?;
            end_sessions(&mut conn, self.new_login()).await?;
            Ok(conn.close().await?)
        })
        .await
    }
}

impl PgLogins<'_> {
    /// Ends both logins; who is connected with them is cut off. Both are closed before anybody is waited for, the
    /// one in use first, and each is tried whatever became of the other.
    pub(crate) async fn end_all(&self, secret: &Secret<Vec<u8>>) -> Result<ProbeAnswer, TargetError> {
        let logins = [self.old(), self.new_login()];
        let closed = within(async {
            let mut conn = self.connect().await?;
            let mut done = Ok(());
            for login in logins {
                done = done.and(close(&mut conn, login).await);
            }
            conn.close().await?;
            done
        });
        let closed = closed.await;
        let ended = within(async {
            let mut conn = self.connect().await?;
            let mut done = Ok(());
            for login in logins {
                done = done.and(end_sessions(&mut conn, login).await);
            }
            conn.close().await?;
            done
        });
        closed.and(ended.await)?;
        match within(self.connect_as(self.old(), secret)).await {
            Ok(conn) => {
                conn.close().await?;
                Err(TargetError::Unusable("the login still opens"))
            }
            Err(TargetError::Refused { code, text }) if code.starts_with("28") => {
                Ok(ProbeAnswer { code, text })
            }
            Err(error) => Err(error),
        }
    }
}

impl PgLogins<'_> {
    /// Tries both secrets from here, see [`Probed`]: the new one must open, the old one must not. Needs no manager; it
    /// is here with the other deeds.
    ///
    /// # Errors
    /// [`TargetError`] when the new secret does not open, or the old one got no answer.
    pub(crate) async fn probe(
        &self,
        old: &Secret<Vec<u8>>,
        new: &Secret<Vec<u8>>,
    ) -> Result<Probed, TargetError> {
        within(self.connect_as(self.new_login(), new))
            .await?
            .close()
            .await?;
        match within(self.connect_as(self.old(), old)).await {
            Ok(conn) => {
                conn.close().await?;
                Ok(Probed::Accepted)
            }
            // Class 28 of the SQL standard: invalid authorization specification.
            Err(TargetError::Refused { code, text }) if code.starts_with("28") => {
                Ok(Probed::Refused(ProbeAnswer { code, text }))
            }
            Err(error) => Err(error),
        }
    }
}
