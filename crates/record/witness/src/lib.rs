//! The witness of an installation: a small file outside the data folder with the revocation epoch and the signed
//! checkpoints of the logs. It is written before a kill is `contained` and at each new epoch, and a data folder that
//! is older than its witness, or tells another history, does not start.
//!
//! Words: *word* (what the file says), *keeper* (who writes it while a node runs), *acceptance* (an operator's recorded
//! command to go on from an older folder; it ends every token).
//!
//! | module | holds |
//! |---|---|
//! | [`WitnessConfig`] | where the file is |
//! | [`Word`] | what it says, as bytes |
//! | [`Examined`] | the logs of a data folder against it |
//! | [`cosigner`] | a witness for logs of others, which cosigns (C2SP tlog-witness) |
//! | [`Keeper`] | writing it while a node runs |
//!
//! # Invariants
//!
//! 1. **Never ahead.** The word holds only what is durable in the data folder: an epoch that was committed and
//!    checkpoints that are shown.
//! 2. **Never back.** A keeper writes no older epoch and no smaller checkpoint than it read or wrote before.
//! 3. **Whole or not at all.** The file is replaced, and durable when [`Keeper::hold`] returns.
//!
//! # What it does not know
//!
//! HTTP, tenants, and who may accept an older folder.

#![warn(missing_docs)]

mod config;
pub mod cosigner;
mod error;
mod examine;
mod keeper;
mod word;

pub use config::{CosignerPlace, WitnessConfig, begin_joined};
pub use error::{Refused, WitnessError};
pub use examine::{ASIDE, Examined, LogFolder};
pub use keeper::{Keeper, NotHeld};
pub use word::Word;
