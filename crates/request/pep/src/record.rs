//! Recording as a port: `server` connects it to the journal.

use std::future::Future;
use std::pin::Pin;

use bailiwick_decide::{Call, Decision};

/// The durable place of a record: what a permit waits for. The signed checkpoint follows later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sequenced {
    /// Index in this node's decision log.
    pub index: u64,
}

/// A value whose record is durable. Only this crate can make one.
#[derive(Debug)]
pub struct Recorded<T> {
    value: T,
    sequenced: Sequenced,
}

impl<T> Recorded<T> {
    pub(crate) fn new(value: T, sequenced: Sequenced) -> Self {
        Self { value, sequenced }
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> &T {
        &self.value
    }

    /// Where the record is.
    #[must_use]
    pub fn sequenced(&self) -> Sequenced {
        self.sequenced
    }

    pub(crate) fn into_parts(self) -> (T, Sequenced) {
        (self.value, self.sequenced)
    }
}

/// The record could not be made durable in time. A denial, never an error to be retried inside.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotRecorded {
    /// The queue of the log is full.
    #[error("the decision log's queue is full")]
    QueueFull,
    /// The log is not writable, or was not in time.
    #[error("the decision log is not writable: {0}")]
    Unwritable(String),
}

/// How a permitted call ended; a separate entry that nobody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Stopped by a kill, or by the caller, after it may have gone out.
    Cancelled,
    /// The upstream server failed or was not reachable.
    Failed,
    /// A mark was set while its record was written: it never went out.
    Overtaken,
    /// The upstream server took it and answered.
    Returned,
}

/// A boxed future, so that the port can be a trait object.
pub type RecordFuture<'a> = Pin<Box<dyn Future<Output = Result<Sequenced, NotRecorded>> + Send + 'a>>;

/// Where decisions are written.
pub trait Recorder: Send + Sync + 'static {
    /// Resolves once the record of this decision is durable (flushed), with its index.
    fn record<'a>(&'a self, call: &'a Call, decision: &'a Decision) -> RecordFuture<'a>;

    /// Appends the outcome of a permitted call; nobody waits.
    fn record_outcome(&self, call: &Call, outcome: Outcome);
}

/// What forwards calls: an enforcement point's way to whatever lies behind it. There is no way to call it
/// without a permit in hand.
pub trait Upstream {
    /// What is forwarded.
    type Message;
    /// What comes back.
    type Reply;
    /// Why nothing came back.
    type Error;

    /// Forwards one message under a permit.
    fn forward(
        &self,
        permit: &crate::Permit,
        message: Self::Message,
    ) -> impl Future<Output = Result<Self::Reply, Self::Error>> + Send;
}
