//! C2SP tlog-witness over HTTP, both sides: the door of a witness for logs of others, and the asker that gets
//! cosignatures of witnesses of others for our logs.
//!
//! Invariants
//! - A cosignature is kept only when it verifies under the key that was configured for its witness.
//! - Asking goes through the guarded way out, and holds up nothing else.
//!
//! It does not know what is in a log, who reads it, or which keys sign it.

#![warn(missing_docs)]

mod ask;
mod door;
mod open;

pub use ask::{AskError, AskedLog, Asker, Provable, require_askable};
pub use door::router;
pub use open::{OpenError, open};
