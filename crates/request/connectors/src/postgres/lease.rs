//! Login roles for a single task: made with an end, a member of the application's role, dropped afterwards.

use bailiwick_base::{Entropy, Secret};
use bailiwick_credential::{Lease, ProbeAnswer};
use sqlx::Connection;

use super::{PgLogins, end_sessions, has_role, quoted, run, scram, within};
use crate::driver::{Back, Lent, TargetError};

/// SQLSTATE: something still belongs to the role.
const DEPENDENT: &str = "2BP01";

impl PgLogins<'_> {
    /// Makes a role whose password the server itself refuses after the lease's end.
    pub(crate) async fn lend(
        &self,
        lease: &Lease,
        given: &Secret<Vec<u8>>,
        entropy: &dyn Entropy,
    ) -> Result<Lent, TargetError> {
        let verifier = scram::verifier(given, entropy)?;
        let (login, role) = (quoted(&lease.handle), quoted(&self.target.role));
        within(async {
            let mut conn = self.connect().await?;
            // Several statements in one message are one transaction there.
            let statement = format!(
                "CREATE ROLE {login} LOGIN PASSWORD '{verifier}' VALID UNTIL '{}' IN ROLE {role}; \
                 ALTER ROLE {login} SET role = {role}",
                lease.expires_at
            );
            run(&mut conn, statement).await?;
            Ok(conn.close().await?)
        })
        .await?;
        Ok(Lent {
            secret: Secret::new(given.reveal().clone()),
            ends_at: None,
        })
    }

    /// No login, no session, no role; what it owns goes to the application's role.
    pub(crate) async fn take_back(
        &self,
        lease: &Lease,
        secret: Option<&Secret<Vec<u8>>>,
    ) -> Result<Back, TargetError> {
        let login = quoted(&lease.handle);
        within(async {
            let mut conn = self.connect().await?;
            if has_role(&mut conn, &lease.handle).await? {
                run(&mut conn, format!("ALTER ROLE {login} NOLOGIN PASSWORD NULL")).await?;
                end_sessions(&mut conn, &lease.handle).await?;
                match run(&mut conn, format!("DROP ROLE {login}")).await {
                    Err(TargetError::Refused { code, .. }) if code == DEPENDENT => {
                        run(&mut conn, self.bequeath(&login)).await?;
                    }
                    other => other?,
                }
            }
            Ok(conn.close().await?)
        })
        .await?;
        match secret {
            Some(secret) => self.refused(&lease.handle, secret).await,
            None => Ok(Back::Gone(None)),
        }
    }

    fn bequeath(&self, login: &str) -> String {
        let (role, manager) = (quoted(&self.target.role), quoted(&self.target.manager_login));
        format!(
            "GRANT {login} TO {manager}; REASSIGN OWNED BY {login} TO {role}; DROP OWNED BY {login}; DROP ROLE {login}"
        )
    }

    async fn refused(&self, login: &str, secret: &Secret<Vec<u8>>) -> Result<Back, TargetError> {
        match within(self.connect_as(login, secret)).await {
            Ok(conn) => {
                conn.close().await?;
                Err(TargetError::Unusable("the role of the lease still opens"))
            }
            // Class 28 of the SQL standard: invalid authorization specification.
            Err(TargetError::Refused { code, text }) if code.starts_with("28") => {
                Ok(Back::Gone(Some(ProbeAnswer { code, text })))
            }
            Err(error) => Err(error),
        }
    }
}
