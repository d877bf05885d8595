//! A recorder in memory that does what the test tells it to.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bailiwick_base::DecisionId;
use bailiwick_decide::{Call, Decision, Effect};
use bailiwick_pep::{NotRecorded, Outcome, RecordFuture, Recorder, Sequenced};

/// What happens to the next record. When nothing is left, records are written.
pub(crate) enum Step {
    /// Never resolves.
    Hang,
    /// Is refused.
    Refuse(NotRecorded),
    /// Is written, and while it is being written something else happens.
    While(Box<dyn FnOnce() + Send>),
    /// Is written after so long.
    Written(Duration),
}

#[derive(Default)]
pub(crate) struct Log {
    steps: Mutex<VecDeque<Step>>,
    written: Mutex<Vec<(DecisionId, Effect)>>,
    outcomes: Mutex<Vec<(DecisionId, Outcome)>>,
    waiting: AtomicUsize,
    most_waiting: AtomicUsize,
}

impl Log {
    pub(crate) fn next(&self, step: Step) {
        self.steps.lock().unwrap().push_back(step);
    }

    pub(crate) fn written(&self) -> Vec<(DecisionId, Effect)> {
        self.written.lock().unwrap().clone()
    }

    pub(crate) fn outcomes(&self) -> Vec<(DecisionId, Outcome)> {
        self.outcomes.lock().unwrap().clone()
    }

    /// How many records waited for their flush at the same time.
    pub(crate) fn most_waiting(&self) -> usize {
        self.most_waiting.load(Ordering::SeqCst)
    }

    fn write(&self, id: &DecisionId, effect: &Effect) -> Sequenced {
        let mut written = self.written.lock().unwrap();
        written.push((id.clone(), effect.clone()));
        Sequenced {
            index: written.len() as u64 - 1,
        }
    }
}

impl Recorder for Log {
    fn record<'a>(&'a self, call: &'a Call, decision: &'a Decision) -> RecordFuture<'a> {
        let step = self.steps.lock().unwrap().pop_front();
        Box::pin(async move {
            let waiting = self.waiting.fetch_add(1, Ordering::SeqCst) + 1;
            self.most_waiting.fetch_max(waiting, Ordering::SeqCst);
            tokio::task::yield_now().await;
            let answer = match step {
                None => Ok(self.write(&call.id, &decision.effect)),
                Some(Step::Hang) => std::future::pending().await,
                Some(Step::Refuse(why)) => Err(why),
                Some(Step::While(happens)) => {
                    let sequenced = self.write(&call.id, &decision.effect);
                    happens();
                    Ok(sequenced)
                }
                Some(Step::Written(after)) => {
                    let _ = tokio::time::timeout(after, std::future::pending::<()>()).await;
                    Ok(self.write(&call.id, &decision.effect))
                }
            };
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            answer
        })
    }

    fn record_outcome(&self, call: &Call, outcome: Outcome) {
        self.outcomes.lock().unwrap().push((call.id.clone(), outcome));
    }
}
