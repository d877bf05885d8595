//! Tasks that live only as long as somebody keeps saying that he is there.
//!
//! A heartbeat is the word of whoever runs a task's program that he is there, and until when the next one comes. Where
//! it does not come the task is closed, so the credentials of a program whose keeper was killed end within seconds and
//! not with the window of the task. Heartbeats are in memory: after a restart of the service they count from the next
//! one, and the window of the task bounds what nobody keeps up.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bailiwick_base::TaskId;
use bailiwick_credential::{self as credential, TaskState};
use bailiwick_store::{Actor, Context, Reach, RequestId, Tx};

use crate::Deps;
use crate::command::CommandError;
use crate::problem::RouteError;

/// Tasks with a heartbeat at once.
const TASKS_MAX: usize = 65_536;
/// Tasks that one look ends.
const ENDED_MAX: usize = 256;
/// How long a task that could not be closed waits for the next attempt, so that it is in nobody's way.
const AGAIN: Duration = Duration::from_secs(2);
/// What stands in the entry of a task that ended so.
const REASON: &str = "whoever ran it is gone: its heartbeat stopped";

/// The tasks of this node that have a heartbeat, each with the monotonic time by which the next one comes.
#[derive(Default)]
pub struct Heartbeats(Mutex<BTreeMap<TaskId, Duration>>);

impl Heartbeats {
    /// The first or the next one; `false` when there are too many.
    pub(crate) fn beat(&self, task: &TaskId, due_at: Duration) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= TASKS_MAX && !all.contains_key(task) {
            return false;
        }
        all.insert(task.clone(), due_at);
        true
    }

    fn silent(&self, now: Duration) -> Vec<TaskId> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let silent = all.iter().filter(|(_, due_at)| **due_at <= now);
        silent.map(|(task, _)| task.clone()).take(ENDED_MAX).collect()
    }

    /// Tries it again later, after the others had their turn, unless it came meanwhile.
    fn postpone(&self, task: &TaskId, now: Duration) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(due_at) = all.get_mut(task).filter(|due_at| **due_at <= now) {
            *due_at = now.saturating_add(AGAIN);
        }
    }

    /// Unless it came meanwhile.
    fn forget(&self, task: &TaskId, now: Duration) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.get(task).is_some_and(|due_at| *due_at <= now) {
            all.remove(task);
        }
    }
}

/// Closes every task whose heartbeat stopped. What cannot be closed now is tried again, and holds up no other.
pub async fn end_silent(deps: &Deps) {
    let now = deps.clock.monotonic();
    for task in deps.heartbeats.silent(now) {
        match close(deps, &task).await {
            Ok(()) => deps.heartbeats.forget(&task, now),
            Err(error) => {
                deps.heartbeats.postpone(&task, now);
                tracing::warn!(error = %error.text(), %task, "a task whose heartbeat stopped could not be closed");
            }
        }
    }
}

async fn close(deps: &Deps, task: &TaskId) -> Result<(), RouteError> {
    let id = deps
        .ids
        .uuid()
        .map_err(|e| RouteError::broken("randomness failed", &e))?;
    let reach = Reach::from(task.tenant());
    let context = Context::new(reach, Actor::System("heartbeat"), RequestId(id));
    let wanted = task.clone();
    let closed = deps
        .store
        .transact(context, async move |tx: &mut Tx| {
            let Some((open, _)) = tx.task().lookup(&wanted).await? else {
                // It was to be opened, and was not.
                return Ok(Vec::new());
            };
            if open.state == TaskState::Open {
                let transition = credential::close_task(open, REASON, tx.now())?;
                tx.task().apply(transition).await?;
                tracing::info!(task = %wanted, "task closed: its heartbeat stopped");
            }
            Ok::<_, CommandError>(Vec::new())
        })
        .await;
    closed.map(drop).map_err(RouteError::from)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bailiwick_base::{TaskId, TenantId};
    use uuid::Uuid;

    use super::{AGAIN, ENDED_MAX, Heartbeats};

    fn task(n: usize) -> TaskId {
        let tenant = TenantId::parse("acme").expect("a slug");
        TaskId::from_parts(tenant, Uuid::from_u128(n as u128 + 1))
    }

    #[test]
    fn tasks_that_cannot_be_closed_hold_up_no_other() {
        let (heartbeats, now) = (Heartbeats::default(), Duration::from_secs(10));
        for n in 0..=ENDED_MAX {
            assert!(heartbeats.beat(&task(n), now));
        }
        let first = heartbeats.silent(now);
        assert_eq!(first.len(), ENDED_MAX);
        assert!(!first.contains(&task(ENDED_MAX)));
        for stuck in &first {
            heartbeats.postpone(stuck, now);
        }
        assert_eq!(heartbeats.silent(now), [task(ENDED_MAX)]);
        assert_eq!(heartbeats.silent(now + AGAIN).len(), ENDED_MAX);
        // Whoever came back meanwhile stays.
        heartbeats.beat(&task(0), now + AGAIN + AGAIN);
        heartbeats.postpone(&task(0), now + AGAIN);
        assert!(!heartbeats.silent(now + AGAIN).contains(&task(0)));
    }
}
