//! Tasks that live only as long as somebody keeps saying that he is there.
//!
//! A lease is a promise to come back within seconds; whoever runs a task's program renews it. A lease that was not
//! renewed closes its task, so the credentials of a program whose keeper was killed end within seconds and not with
//! the window of the task. Leases are in memory: after a restart of the service a lease counts from its next renewal,
//! and the window of the task bounds what nobody renews.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bailiwick_base::TaskId;
use bailiwick_credential::{self as credential, TaskState};
use bailiwick_store::{Actor, Context, Reach, RequestId, Tx};

use crate::Deps;
use crate::command::CommandError;
use crate::problem::RouteError;

/// Leases at once.
const LEASES_MAX: usize = 65_536;
/// Leases that one look ends.
const ENDED_MAX: usize = 256;
/// How long a task that could not be closed waits for the next attempt, so that it is in nobody's way.
const AGAIN: Duration = Duration::from_secs(2);
/// What stands in the entry of a task that ended so.
const REASON: &str = "whoever ran it is gone: its lease was not renewed";

/// The leases of this node, each with the monotonic time at which it ends.
#[derive(Default)]
pub struct Leases(Mutex<BTreeMap<TaskId, Duration>>);

impl Leases {
    /// Begins or renews; `false` when there are too many.
    pub(crate) fn renew(&self, task: &TaskId, ends_at: Duration) -> bool {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= LEASES_MAX && !all.contains_key(task) {
            return false;
        }
        all.insert(task.clone(), ends_at);
        true
    }

    fn lapsed(&self, now: Duration) -> Vec<TaskId> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lapsed = all.iter().filter(|(_, ends_at)| **ends_at <= now);
        lapsed.map(|(task, _)| task.clone()).take(ENDED_MAX).collect()
    }

    /// Tries it again later, after the others had their turn, unless it was renewed meanwhile.
    fn postpone(&self, task: &TaskId, now: Duration) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ends_at) = all.get_mut(task).filter(|ends_at| **ends_at <= now) {
            *ends_at = now.saturating_add(AGAIN);
        }
    }

    /// Unless it was renewed meanwhile.
    fn forget(&self, task: &TaskId, now: Duration) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.get(task).is_some_and(|ends_at| *ends_at <= now) {
            all.remove(task);
        }
    }
}

/// Closes every task whose lease was not renewed. What cannot be closed now is tried again, and holds up no other.
pub async fn end_lapsed(deps: &Deps) {
    let now = deps.clock.monotonic();
    for task in deps.leases.lapsed(now) {
        match close(deps, &task).await {
            Ok(()) => deps.leases.forget(&task, now),
            Err(error) => {
                deps.leases.postpone(&task, now);
                tracing::warn!(error = %error.text(), %task, "a task whose lease ended could not be closed");
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
    let context = Context::new(reach, Actor::System("lease"), RequestId(id));
    let wanted = task.clone();
    let closed = deps
        .store
        .transact(context, async move |tx: &mut Tx| {
            let Some((open, _)) = tx.task().lookup(&wanted).await? else {
                return Err(CommandError::from(RouteError::not_found("task")));
            };
            if open.state == TaskState::Open {
                let transition = credential::close_task(open, REASON, tx.now())?;
                tx.task().apply(transition).await?;
                tracing::info!(task = %wanted, "task closed: its lease was not renewed");
            }
            Ok(Vec::new())
        })
        .await;
    closed.map(drop).map_err(RouteError::from)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bailiwick_base::{TaskId, TenantId};
    use uuid::Uuid;

    use super::{AGAIN, ENDED_MAX, Leases};

    fn task(n: usize) -> TaskId {
        let tenant = TenantId::parse("acme").expect("a slug");
        TaskId::from_parts(tenant, Uuid::from_u128(n as u128 + 1))
    }

    #[test]
    fn tasks_that_cannot_be_closed_hold_up_no_other() {
        let (leases, now) = (Leases::default(), Duration::from_secs(10));
        for n in 0..=ENDED_MAX {
            assert!(leases.renew(&task(n), now));
        }
        let first = leases.lapsed(now);
        assert_eq!(first.len(), ENDED_MAX);
        assert!(!first.contains(&task(ENDED_MAX)));
        for stuck in &first {
            leases.postpone(stuck, now);
        }
        assert_eq!(leases.lapsed(now), [task(ENDED_MAX)]);
        assert_eq!(leases.lapsed(now + AGAIN).len(), ENDED_MAX);
        // Whoever came back meanwhile stays.
        leases.renew(&task(0), now + AGAIN + AGAIN);
        leases.postpone(&task(0), now + AGAIN);
        assert!(!leases.lapsed(now + AGAIN).contains(&task(0)));
    }
}
