//! Evidence from an issuer that answers over real TLS, and everything that only looks like it.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test may fail loudly, and owns its runtime"
)]

mod issuer;
mod keys;
mod methods;
mod sts;
mod times;
mod told;
mod vendors;
