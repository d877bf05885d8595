//! Drives the conversation: sends words, believes answers, keeps and takes what they bring.

use std::future::pending;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bailiwick_journal::DecisionLog;
use bailiwick_keys::{Keyring, LogSigner};
use bailiwick_snapshot::Body;
use bailiwick_wire::{SidecarTold, SidecarWord};

use crate::ask::{Asker, signed};
use crate::doors::Point;
use crate::error::{SidecarError, chain};
use crate::folder::{About, Machine, seal_for};
use crate::kept::Kept;
use crate::take::{Taker, believe};
use crate::word::{Action, Happened, Hearer, Holds};

/// Between two looks at whether the word is over, so that whatever runs hears of it.
const LOOK: Duration = Duration::from_millis(250);

/// The code of a node's answer to a sidecar that was removed.
const REMOVED: &str = "sidecar.removed";

type Talk = Pin<Box<dyn Future<Output = (u64, Result<SidecarTold, SidecarError>)> + Send>>;

pub(crate) struct Driver {
    pub(crate) asker: Asker,
    pub(crate) key: Arc<LogSigner>,
    pub(crate) hearer: Hearer,
    /// Said with every word, so that the node tells this process from another with the same key.
    pub(crate) process: String,
    pub(crate) taker: Taker,
    pub(crate) machine: Machine,
    pub(crate) point: Point,
    pub(crate) log: Arc<DecisionLog>,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) kept: Kept,
    /// The snapshot that came with the answer that is being taken.
    pub(crate) brought: Option<Body>,
    pub(crate) is_recounted: bool,
    /// A node said that it was removed: everything is refused from then on.
    pub(crate) is_removed: bool,
    /// What was last told to the log of this process, so that it is told once.
    pub(crate) told: Option<String>,
    pub(crate) about: About,
}

impl Driver {
    fn now(&self) -> Duration {
        self.machine.clock.monotonic()
    }

    /// Hears until `serving` is over.
    ///
    /// # Errors
    /// [`SidecarError::Removed`]: an operator took it out, so it will never hear again.
    pub(crate) async fn until<T>(&mut self, serving: impl Future<Output = T>) -> Result<T, SidecarError> {
        let mut serving = pin!(serving);
        let mut talk = self.handle(Happened::Due, None);
        loop {
            let happened = tokio::select! {
                served = &mut serving => return Ok(served),
                happened = self.next(&mut talk) => happened,
            };
            if self.is_removed {
                return Err(SidecarError::Removed(self.about.sidecar.to_string()));
            }
            self.taker.cell.wake_if_stale(self.now());
            talk = self.handle(happened, talk);
        }
    }

    /// Says that it leaves, once, as far as that can be heard.
    pub(crate) async fn leave(&mut self) {
        let mut talk = self.handle(Happened::Leaving, None);
        while talk.is_some() {
            let happened = self.next(&mut talk).await;
            talk = self.handle(happened, talk);
        }
    }

    /// The answer to the open word, or that it is time to look.
    async fn next(&mut self, talk: &mut Option<Talk>) -> Happened {
        let due = self.hearer.due().saturating_sub(self.now()).min(LOOK);
        let answer = async {
            match talk {
                Some(talk) => talk.await,
                None => pending().await,
            }
        };
        // A moment more than asked for: what is due must be due by the clock of the machine, too.
        let Ok((beat, answer)) = tokio::time::timeout(due + Duration::from_millis(1), answer).await else {
            return Happened::Due;
        };
        *talk = None;
        self.heard(beat, answer)
    }

    fn heard(&mut self, beat: u64, answer: Result<SidecarTold, SidecarError>) -> Happened {
        let about = &self.about;
        // A whole snapshot is many signatures of work: other calls of this thread go elsewhere.
        let believed = answer.and_then(|told| tokio::task::block_in_place(|| believe(about, beat, &told)));
        match believed {
            Ok(believed) => {
                self.brought = believed.body;
                Happened::Answered {
                    beat,
                    holds: believed.holds,
                    snapshot: self.brought.is_some(),
                }
            }
            Err(error) => {
                self.tell(&error);
                // This is not signed. Whoever stands between and makes it up stops a sidecar that he could have cut off
                // as well; one that is started again hears whether it is true.
                if matches!(&error, SidecarError::Answer { code, .. } if code == REMOVED) {
                    self.taker.cell.expire();
                    self.is_removed = true;
                }
                Happened::Unanswered { beat }
            }
        }
    }

    /// A node that is away is told once, not twenty times a second.
    fn tell(&mut self, error: &SidecarError) {
        let why = chain(error);
        if self.told.as_ref() != Some(&why) {
            tracing::warn!(code = error.code(), why, "the node was not heard");
            self.told = Some(why);
        }
    }

    fn handle(&mut self, happened: Happened, mut talk: Option<Talk>) -> Option<Talk> {
        let mut happened = Some(happened);
        while let Some(event) = happened.take() {
            for action in self.hearer.handle(event, self.now()) {
                match action {
                    Action::Heard(at) => {
                        if self.told.take().is_some() {
                            tracing::info!("the node is heard again");
                        }
                        self.taker.cell.heard(at);
                    }
                    Action::Keep(holds) => happened = Some(self.keep(holds)),
                    Action::Left => talk = None,
                    Action::Older { offered, ever } => {
                        let why = format!(
                            "epoch {} and position {} were offered, {} and {} were taken before",
                            offered.epoch, offered.position, ever.epoch, ever.position
                        );
                        self.tell(&SidecarError::Answered(why));
                    }
                    Action::Say {
                        beat,
                        holds,
                        wait,
                        leaves,
                    } => talk = Some(self.say(beat, holds, wait, leaves)),
                    Action::Take(holds) => {
                        if let Err(error) = self.take(holds) {
                            // What was signed and cannot be used must not be followed by anything.
                            self.tell(&error);
                            self.taker.cell.expire();
                        }
                    }
                }
            }
        }
        talk
    }

    fn keep(&mut self, holds: Holds) -> Happened {
        match tokio::task::block_in_place(|| self.kept.write(holds)) {
            Ok(()) => Happened::Kept,
            Err(error) => {
                self.tell(&error);
                self.brought = None;
                Happened::NotKept
            }
        }
    }

    fn take(&mut self, holds: Holds) -> Result<(), SidecarError> {
        let body = self.brought.take();
        tokio::task::block_in_place(|| {
            if body.is_some() {
                seal_for(&self.keyring, &self.about.tenants)?;
            }
            self.taker.take(holds, body, &self.about.tenants)?;
            if !self.is_recounted {
                // Rates look back over a restart; nothing was permitted before.
                let now = self.machine.clock.now();
                bailiwick_api::recount_rates(&self.point.pep, &self.log, &*self.keyring, now)?;
                self.is_recounted = true;
            }
            Ok(())
        })
    }

    fn say(&mut self, beat: u64, holds: Holds, wait: Duration, leaves: bool) -> Talk {
        self.kept.said(beat);
        let said = (self.about.sidecar.as_str(), self.about.base_url.as_str());
        let word = SidecarWord {
            beat,
            process: self.process.clone(),
            epoch: holds.epoch.0,
            position: holds.position.0,
            checkpoint: String::from_utf8(self.log.checkpoint().to_bytes()).ok(),
            wait_ms: u64::try_from(wait.as_millis()).unwrap_or(0),
            leaves,
        };
        let now = self.machine.clock.now();
        let signed = signed(&self.key, said, &word, (now, &*self.machine.entropy));
        let (asker, sidecar) = (self.asker.clone(), self.about.sidecar.to_string());
        Box::pin(async move {
            let answer = match signed {
                Ok(signed) => asker.say(&sidecar, signed).await,
                Err(error) => Err(error),
            };
            (beat, answer)
        })
    }
}
