//! Pages: in the order of ids, which is the order of making.

use bailiwick_base::Id;
use uuid::Uuid;

use crate::error::StoreError;
use crate::row::{Arg, signed};

/// The most rows in one page.
pub(crate) const PAGE_MAX: u32 = 1_000;

/// Which part of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    after: Option<Uuid>,
    limit: u32,
}

impl Page {
    /// The first `limit` (1 to 1,000).
    #[must_use]
    pub const fn first(limit: u32) -> Self {
        Self { after: None, limit }
    }

    /// The next `limit` behind `after`.
    #[must_use]
    pub fn after<K: bailiwick_base::IdKind>(after: &Id<K>, limit: u32) -> Self {
        Self {
            after: Some(after.uuid()),
            limit,
        }
    }

    /// The two parameters of a statement.
    pub(crate) fn args(self) -> Result<[Arg; 2], StoreError> {
        if self.limit == 0 || self.limit > PAGE_MAX {
            return Err(StoreError::Limit {
                what: "limit",
                found: self.limit.into(),
                max: PAGE_MAX.into(),
            });
        }
        // No bytes stand before every id.
        let after = self.after.map_or_else(Vec::new, |id| id.as_bytes().to_vec());
        Ok([Arg::Bytes(after), Arg::Int(signed(self.limit.into()))])
    }
}
