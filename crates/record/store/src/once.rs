//! What works once in the whole installation: each node asks here before it takes it, so that what one node took is
//! refused by every other. A node alone remembers for itself and asks nobody.

use bailiwick_base::{Digest, TenantId, Time};

use crate::engine::Failure;
use crate::error::StoreError;
use crate::row::{Cell, args};
use crate::store::Store;

/// The first one is noted; rows whose time is over go with it, a few for each that comes.
const TAKE: &str = "WITH over AS (SELECT kind, once FROM used_once WHERE tenant = $1 AND ends_at < $6 \
                    ORDER BY ends_at LIMIT 8 FOR UPDATE SKIP LOCKED), \
                    gone AS (DELETE FROM used_once USING over WHERE used_once.tenant = $1 \
                    AND used_once.kind = over.kind AND used_once.once = over.once) \
                    INSERT INTO used_once (tenant, kind, once, asked, ends_at) VALUES ($1, $2, $3, $4, $5) \
                    ON CONFLICT (tenant, kind, once) DO NOTHING";
const ASKED: &str = "SELECT asked FROM used_once WHERE tenant = $1 AND kind = $2 AND once = $3";

/// What is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnceKind {
    /// What a client or a workload proves itself with.
    Assertion,
    /// What an operator signed for one command.
    Session,
    /// What a sidecar signed for one word.
    Word,
}

impl OnceKind {
    const fn word(self) -> &'static str {
        match self {
            Self::Assertion => "assertion",
            Self::Session => "session",
            Self::Word => "word",
        }
    }
}

/// Something that works once.
#[derive(Debug, Clone, Copy)]
pub struct Once {
    /// What it is.
    pub kind: OnceKind,
    /// Its own name, as a digest.
    pub once: Digest,
    /// What it is used for, where the same may come again.
    pub asked: Option<Digest>,
    /// From when on it is refused anyway.
    pub ends_at: Time,
}

impl Store {
    /// Uses something up for every node; `false` when one of them took it before, for anything else than this.
    ///
    /// # Errors
    /// [`StoreError`] when the store does not answer: then nobody knows, and it must not be taken.
    pub async fn take_once(&self, tenant: &TenantId, what: Once, now: Time) -> Result<bool, StoreError> {
        if !self.is_shared() {
            return Ok(true);
        }
        let mut conn = self.engine().short().await?;
        let taken = async {
            conn.name_tenant(tenant.as_str()).await?;
            let (kind, once) = (what.kind.word(), what.once.to_string());
            let asked = what.asked.map(|asked| asked.to_string());
            let row = args![
                tenant.as_str(),
                kind,
                once.as_str(),
                asked.clone(),
                what.ends_at,
                now
            ];
            if conn.execute(TAKE, row).await? == 1 {
                return Ok(true);
            }
            let rows = conn
                .fetch(ASKED, args![tenant.as_str(), kind, once.as_str()])
                .await?;
            let before = rows.into_iter().next().and_then(|cells| cells.into_iter().next());
            Ok(matches!((before, asked), (Some(Cell::Text(before)), Some(asked)) if before == asked))
        };
        let taken: Result<bool, Failure> = taken.await;
        let taken = taken.map_err(Failure::into_error)?;
        conn.keep().await.map_err(Failure::into_error)?;
        Ok(taken)
    }
}
