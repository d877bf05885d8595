//! How long a call may take: silence, and the whole of it. Silence alone is no bound, for an upstream server that sends
//! notifications for ever is never silent.

use std::sync::Arc;
use std::time::Duration;

use bailiwick_base::Clock;

use crate::error::UpstreamError;

/// The bounds of one server's calls.
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) silence: Duration,
    pub(crate) whole: Duration,
}

/// The bounds of one call, running.
pub(crate) struct Bound {
    bounds: Bounds,
    clock: Arc<dyn Clock>,
    began: Duration,
}

impl Bound {
    pub(crate) fn begin(bounds: Bounds, clock: &Arc<dyn Clock>) -> Self {
        Self {
            bounds,
            clock: Arc::clone(clock),
            began: clock.monotonic(),
        }
    }

    fn left(&self) -> Duration {
        let spent = self.clock.monotonic().saturating_sub(self.began);
        self.bounds.whole.saturating_sub(spent)
    }

    /// Waits for what comes next, within both bounds.
    pub(crate) async fn wait<T>(&self, next: impl Future<Output = T>) -> Result<T, UpstreamError> {
        let left = self.left();
        // Asked even when there is something to read already: a flood must not outrun the clock.
        if left.is_zero() {
            return Err(self.overdue());
        }
        match tokio::time::timeout(self.bounds.silence.min(left), next).await {
            Ok(came) => Ok(came),
            Err(_) if left <= self.bounds.silence => Err(self.overdue()),
            Err(_) => Err(UpstreamError::TimedOut),
        }
    }

    fn overdue(&self) -> UpstreamError {
        UpstreamError::Overdue(self.bounds.whole.as_secs())
    }
}
