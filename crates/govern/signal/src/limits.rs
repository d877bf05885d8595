//! How much of everything.

/// Limits of subscriptions and transmitters.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Living subscriptions of a tenant. Default 64.
    pub subscriptions_max: usize,
    /// Living transmitters of a tenant. Default 32.
    pub transmitters_max: usize,
    /// Subjects a stream leaves out. Default 1,000.
    pub left_out_max: usize,
    /// Bytes of all of them: every stream is looked through whenever something happens. Default 64 KiB.
    pub left_out_bytes_max: usize,
    /// Subjects of a transmitter with the person each one is. Default 10,000.
    pub people_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            subscriptions_max: 64,
            transmitters_max: 32,
            left_out_max: 1_000,
            left_out_bytes_max: 64 * 1024,
            people_max: 10_000,
        }
    }
}

/// Bytes of a URL.
pub(crate) const URL_MAX: usize = 2_048;
/// Bytes of a description or reason.
pub(crate) const TEXT_MAX: usize = 512;
/// Bytes of a subject identifier in canonical form.
pub(crate) const SUBJECT_MAX: usize = 1_024;
/// Event types of one request.
pub(crate) const EVENTS_MAX: usize = 64;
/// Address ranges of one place.
pub(crate) const RANGES_MAX: usize = 16;
/// Bytes of a key set that is given.
pub(crate) const KEYS_MAX: usize = 256 * 1024;
