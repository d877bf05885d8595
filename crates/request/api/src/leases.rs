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

    /// Unless it was renewed meanwhile.
    fn forget(&self, task: &TaskId, now: Duration) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.get(task).is_some_and(|ends_at| *ends_at <= now) {
            all.remove(task);
        }
    }
}

/// Closes every task whose lease was not renewed. What cannot be closed now is tried again at the next look.
pub async fn end_lapsed(deps: &Deps) {
    let now = deps.clock.monotonic();
    for task in deps.leases.lapsed(now) {
        match close(deps, &task).await {
            Ok(()) => deps.leases.forget(&task, now),
            Err(error) => {
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
