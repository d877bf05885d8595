//! The isolation border.

use std::fmt;
use std::sync::Arc;

/// A tenant's slug: `[a-z0-9-]{2,40}`, immutable and never reused. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(Arc<str>);

/// Why a text is not a tenant slug.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("tenant `{found}` is not a slug: use 2 to 40 of a-z, 0-9 and -, neither first nor last a -")]
pub struct TenantError {
    found: String,
}

impl TenantId {
    /// Parses a slug.
    ///
    /// # Errors
    /// [`TenantError`] when the text is not `[a-z0-9-]{2,40}` or starts or ends with `-`.
    pub fn parse(text: &str) -> Result<Self, TenantError> {
        let grammar = text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if grammar && (2..=40).contains(&text.len()) && !text.starts_with('-') && !text.ends_with('-') {
            return Ok(Self(Arc::from(text)));
        }
        Err(TenantError {
            found: crate::limits::shown(text),
        })
    }

    /// The slug.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
