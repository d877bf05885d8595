//! Entry bundles: big-endian u16 length, then the entry, 256 times.

/// An entry does not fit the length prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an entry may have at most 65535 bytes, found `{found}`")]
pub struct EntryTooLongError {
    /// Length of the entry in bytes.
    pub found: usize,
}

/// A bundle ends inside an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bundle ends inside entry `{position}`, at byte `{offset}`")]
pub struct BundleError {
    /// Position of the cut entry in the bundle, from 0.
    pub position: usize,
    /// Where the cut entry begins in the bundle, in bytes.
    pub offset: usize,
}

/// Appends one entry to a bundle.
///
/// # Errors
/// [`EntryTooLongError`] above 65,535 bytes; the bundle is then unchanged.
pub fn push_entry(bundle: &mut Vec<u8>, entry: &[u8]) -> Result<(), EntryTooLongError> {
    let length = u16::try_from(entry.len()).map_err(|_| EntryTooLongError { found: entry.len() })?;
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
    Ok(())
}

/// The entries of a bundle, in order. After an error there is nothing more.
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    rest: &'a [u8],
    length: usize,
    position: usize,
}

impl<'a> Entries<'a> {
    /// Reads the entries of `bundle`.
    #[must_use]
    pub fn new(bundle: &'a [u8]) -> Self {
        Self {
            rest: bundle,
            length: bundle.len(),
            position: 0,
        }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<&'a [u8], BundleError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let cut = BundleError {
            position: self.position,
            offset: self.length - self.rest.len(),
        };
        let split = self
            .rest
            .split_first_chunk::<2>()
            .and_then(|(length, rest)| rest.split_at_checked(usize::from(u16::from_be_bytes(*length))));
        let Some((entry, rest)) = split else {
            self.rest = &[];
            return Some(Err(cut));
        };
        self.rest = rest;
        self.position += 1;
        Some(Ok(entry))
    }
}
