//! The protocol between the nodes of one installation, as a machine without I/O: events and the time go in, actions
//! come out. Whoever drives it owns the shared store, the snapshot and the clock.
//!
//! **Word.** A node goes by what it read from the shared store. It reads what is new, takes it into memory, and only
//! then writes its *beat*: a number that rises, and the epoch that is in its memory. A beat that was written makes its
//! word as fresh as the moment at which that reading began. So the row of a node never promises what its memory does
//! not hold, and a node that cannot write its beat grows stale like one that cannot read.
//!
//! **Containment.** A node is done with a stop of epoch `e` when its row names `e` or more, or when it cannot be fresh
//! any more: whatever it began to read before the commit lets it answer for its lease from the commit at most. A
//! conversation with the store that takes longer than two seconds, or the lease, counts as none, though its beat may
//! stand in the row; so a node whose row did not move for that long after the commit is done a lease after its last
//! beat was first seen. No clock is compared with another; a span is lengthened by a fiftieth, because clocks do not
//! run alike.
//!
//! **Lead.** One node holds the lead: it publishes the state log and looks after what is due. Another takes it by
//! comparing and setting when the holder left, is drained or fenced, or its word is over. The term rises with each
//! change, and the store refuses a leader's writes under an older term.
//!
//! **Sidecars** hear at one node, which speaks for them: its beat names the oldest epoch on which one of them may be
//! fresh. Nobody else has to know them.
//!
//! A hint only brings the next reading forward. Lost, doubled or late hints change no answer.

#![warn(missing_docs)]

mod contain;
mod member;
mod sidecar;
mod word;

pub use contain::{End, PointEnd};
pub use member::{Action, Happened, Member};
pub use sidecar::{Attachments, Seat, Sidecar, SidecarEnd, SidecarSaid};
pub use word::{Bounds, BoundsError, Lead, Standing, Word, Words};
