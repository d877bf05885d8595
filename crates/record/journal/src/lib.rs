//! The decision log of one node, as files: segments with group commit, the kill journal, and the publisher
//! that turns durable entries into tiles and signed checkpoints.
//!
//! Words: *record* (what a caller wants kept), *entry* (a record with its index), *leaf* (the canonical bytes
//! in the tree), *sealed payload* (the encrypted rest beside it), *sequenced* (durable, has an index: what a
//! permit waits for), *integrated* (covered by a signed checkpoint), *segment*, *frame* (an entry as bytes in
//! a segment), *kill journal*.
//!
//! # What is here
//!
//! | module | holds |
//! |---|---|
//! | [`payload`] | canonical payloads of decisions, outcomes and issued tokens |
//! | [`DecisionLog`] | append with group commit, proofs, checkpoints |
//! | [`SteppedLog`] | the same without threads, for a simulation |
//! | [`StateTiles`] | the same tiles and checkpoints for the state log, fed by the store |
//! | [`KillJournal`] | the prewritten file that makes a kill survive a crash |
//! | [`LogReader`], [`export`] | entries back out of the segments; the log as an auditor gets it |
//! | [`Base`], [`Plan`] | where a pruned log begins, and what pruning it would remove |
//!
//! # Invariants
//!
//! 1. **Acknowledged means flushed.** A waiting caller is woken only after the `fdatasync` that covers its
//!    frame.
//! 2. **A frame passes only in its place.** Its checksum covers the frame before it, so stale, reordered or
//!    foreign bytes never become entries.
//! 3. **A torn tail is cut, damage is refused.** What was never acknowledged is cut and reported; anything
//!    else that does not verify keeps the log closed, with the position.
//! 4. **No second chance after a failed write.** A write or flush that failed closes the log until it is
//!    opened again.
//! 5. **Entry, tile, checkpoint.** A checkpoint is shown only when its tiles and the entries under them are
//!    durable.
//! 6. **Nothing is removed that its base does not stand for.** A base is durable before the first file goes, and
//!    every checkpoint that is shown still comes out of what is left.
//!
//! # What it does not know
//!
//! SQL, HTTP, which tenant has which key, what a policy is, or what an answer to a caller looks like.

#![warn(missing_docs)]

mod base;
mod cursor;
mod disk;
mod error;
mod export;
mod folder;
mod frame;
mod json;
mod kill;
mod log;
pub mod payload;
mod prune;
mod publish;
mod queue;
mod reader;
mod replay;
mod seat;
mod segment;
mod state;
mod stepped;
mod write;

pub use base::{BASE, Base, KeptBase, read_base};
pub use disk::{Disk, DiskFile, Open, OsDisk};
pub use error::{JournalError, NotAppended};
pub use export::{Exported, OPENINGS, Openings, export};
pub use folder::{TileFolder, WITNESSED};
pub use kill::{KillEntry, KillJournal, KillJournalError, KillMark, Slot};
pub use log::{Appending, DecisionLog, Deps, INSTALLATION_REF, LogConfig, NoteKey, PAYLOAD_MAX, Record};
pub use prune::{Plan, Why};
pub use reader::{LogEntry, LogReader, Passed, verify_segments};
pub use replay::{Cut, Recovery};
pub use seat::seat;
pub use state::StateTiles;
pub use stepped::SteppedLog;
