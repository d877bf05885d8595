//! Lanes: messages that are sent at once on behalf of strangers, shared out among tenants. Whoever finds none waits, a
//! few at a time and not for long.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bailiwick_base::TenantId;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use crate::share::{Share, Shares};

/// How lanes are shared out.
#[derive(Debug, Clone, Copy)]
pub struct LaneConfig {
    /// At once, in all. Default 64.
    pub all_max: usize,
    /// At once, for one tenant. Default 8.
    pub each_max: usize,
    /// That wait, for one tenant. Default 32.
    pub waiting_each_max: usize,
    /// How long one waits. Default 5 s.
    pub wait_max: Duration,
}

impl Default for LaneConfig {
    fn default() -> Self {
        Self {
            all_max: 64,
            each_max: 8,
            waiting_each_max: 32,
            wait_max: Duration::from_secs(5),
        }
    }
}

/// Lanes, and whoever waits for one. Clones share them.
#[derive(Clone)]
pub struct Lanes {
    all: Arc<Semaphore>,
    each: Arc<Shares>,
    waiting: Arc<Shares>,
    freed: Arc<Notify>,
    wait_max: Duration,
}

/// A lane, until it is dropped.
pub struct Lane {
    taken: Option<(Share, OwnedSemaphorePermit)>,
    freed: Arc<Notify>,
}

impl Lanes {
    /// All of them free.
    #[must_use]
    pub fn new(config: LaneConfig) -> Self {
        Self {
            all: Arc::new(Semaphore::new(config.all_max)),
            each: Shares::new(config.each_max),
            waiting: Shares::new(config.waiting_each_max),
            freed: Arc::default(),
            wait_max: config.wait_max,
        }
    }

    /// A lane for this tenant; `None` when none became free in time, or as many wait for it as may.
    pub async fn take(&self, tenant: &TenantId) -> Option<Lane> {
        if let Some(lane) = self.free(tenant) {
            return Some(lane);
        }
        let _waits = self.waiting.take(tenant)?;
        let next = async {
            loop {
                let mut freed = pin!(self.freed.notified());
                // What becomes free from here on is told, so that nothing is missed between the look and the wait.
                freed.as_mut().enable();
                if let Some(lane) = self.free(tenant) {
                    return lane;
                }
                freed.await;
            }
        };
        tokio::time::timeout(self.wait_max, next).await.ok()
    }

    fn free(&self, tenant: &TenantId) -> Option<Lane> {
        let share = self.each.take(tenant)?;
        let place = Arc::clone(&self.all).try_acquire_owned().ok()?;
        Some(Lane {
            taken: Some((share, place)),
            freed: Arc::clone(&self.freed),
        })
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        drop(self.taken.take());
        self.freed.notify_waiters();
    }
}
