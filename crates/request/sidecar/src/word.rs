//! The conversation with the node as a machine without I/O: what happened and the monotonic time go in, what is to be
//! done comes out. Whoever drives it owns the connection, the snapshot, the file and the clock.

use std::time::Duration;

use bailiwick_base::{Epoch, StatePos};

/// The longest conversation, where the lease is not shorter: as for a node and its store.
const TALK_MAX: Duration = Duration::from_secs(2);
/// The longest wait for something new.
const WAIT_MAX: Duration = Duration::from_secs(1);
/// Before the first next try after a conversation that failed; doubled with each further one.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// Before any next try.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// What a memory holds: everything up to this epoch and this position of the state log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Holds {
    /// Revocation epoch.
    pub epoch: Epoch,
    /// Position of the state log.
    pub position: StatePos,
}

impl Holds {
    /// Whether nothing here is older than in `other`.
    #[must_use]
    pub fn reaches(&self, other: &Self) -> bool {
        self.epoch >= other.epoch && self.position >= other.position
    }
}

/// How long a word lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Age at which everything is refused.
    pub refuse: Duration,
    /// Age at which somebody should look.
    pub warn: Duration,
}

impl Bounds {
    /// The longest conversation; what takes longer counts as none.
    #[must_use]
    pub fn talk(&self) -> Duration {
        self.refuse.min(TALK_MAX)
    }

    /// How long an answer may wait for something new: a third of the lease at most, and half of a conversation.
    #[must_use]
    pub fn wait(&self) -> Duration {
        (self.refuse / 3).min(self.talk() / 2).min(WAIT_MAX)
    }
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    /// The word of this number was answered, and the answer is signed for it.
    Answered {
        /// The number.
        beat: u64,
        /// What holds by the answer.
        holds: Holds,
        /// Whether a snapshot came along.
        snapshot: bool,
    },
    /// The time that was waited for is there, or something else: look.
    Due,
    /// What was to be kept is durable.
    Kept,
    /// It is to say that it leaves, and to hear nothing any more.
    Leaving,
    /// What was to be kept, or taken, was not.
    NotKept,
    /// The word of this number was not answered, or not so that it could be believed.
    Unanswered {
        /// The number.
        beat: u64,
    },
}

/// What is to be done, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The word is as fresh as this moment, monotonic.
    Heard(Duration),
    /// Make it durable that nothing older than this is taken any more, then say [`Happened::Kept`].
    Keep(Holds),
    /// It was said, as far as that can be done: end.
    Left,
    /// An answer was older than what was taken before; refused.
    Older {
        /// What was offered.
        offered: Holds,
        /// What was taken before.
        ever: Holds,
    },
    /// Send a word.
    Say {
        /// Its number.
        beat: u64,
        /// What the memory holds: the acknowledgement.
        holds: Holds,
        /// How long the answer may wait.
        wait: Duration,
        /// Whether it leaves.
        leaves: bool,
    },
    /// Take the snapshot that came along, if one did, and that it holds up to here.
    Take(Holds),
}

/// A word that is on its way.
#[derive(Debug, Clone, Copy)]
struct Talk {
    beat: u64,
    sent: Duration,
}

/// The machine.
#[derive(Debug)]
pub struct Hearer {
    bounds: Bounds,
    beat: u64,
    /// What the memory holds; nothing before the first snapshot.
    memory: Option<Holds>,
    /// What was ever taken, here or before a restart.
    ever: Holds,
    talk: Option<Talk>,
    /// What is being made durable, and when the word was sent that brought it.
    taking: Option<(Holds, Duration)>,
    next_at: Duration,
    pause: Duration,
    leaving: bool,
    left: bool,
}

impl Hearer {
    /// A machine that never took anything older than `ever`; its words have numbers above `beat`.
    #[must_use]
    pub const fn new(bounds: Bounds, ever: Holds, beat: u64) -> Self {
        Self {
            bounds,
            beat,
            memory: None,
            ever,
            talk: None,
            taking: None,
            next_at: Duration::ZERO,
            pause: PAUSE_MIN,
            leaving: false,
            left: false,
        }
    }

    /// What to do about what happened at `now`, monotonic.
    pub fn handle(&mut self, happened: Happened, now: Duration) -> Vec<Action> {
        let mut actions = Vec::new();
        match happened {
            Happened::Answered {
                beat,
                holds,
                snapshot,
            } => self.answered(beat, holds, snapshot, now, &mut actions),
            Happened::Due => {}
            Happened::Kept => {
                if let Some((holds, sent)) = self.taking.take() {
                    self.take(holds, sent, &mut actions);
                }
            }
            Happened::Leaving => {
                self.leaving = true;
                (self.talk, self.taking) = (None, None);
                self.next_at = now;
            }
            Happened::NotKept => {
                self.taking = None;
                self.rest(now);
            }
            Happened::Unanswered { beat } => {
                if self.closes(beat).is_some() {
                    self.rest(now);
                }
            }
        }
        self.go_on(now, &mut actions);
        actions
    }

    /// When it wants [`Happened::Due`], monotonic.
    #[must_use]
    pub fn due(&self) -> Duration {
        match self.talk {
            Some(talk) => talk.sent + self.bounds.talk(),
            None => self.next_at,
        }
    }

    /// Ends the conversation with this number, if it is the open one.
    fn closes(&mut self, beat: u64) -> Option<Talk> {
        let talk = self.talk.filter(|talk| talk.beat == beat)?;
        self.talk = None;
        if self.leaving {
            self.left = true;
        }
        Some(talk)
    }

    fn answered(
        &mut self,
        beat: u64,
        holds: Holds,
        snapshot: bool,
        now: Duration,
        actions: &mut Vec<Action>,
    ) {
        let Some(talk) = self.closes(beat).filter(|_| !self.leaving) else {
            return;
        };
        if now.saturating_sub(talk.sent) > self.bounds.talk() {
            self.rest(now);
            return;
        }
        if !holds.reaches(&self.ever) {
            actions.push(Action::Older {
                offered: holds,
                ever: self.ever,
            });
            self.rest(now);
            return;
        }
        if self.memory.is_none() && !snapshot {
            // Nothing is held that could be current.
            self.rest(now);
            return;
        }
        if holds == self.ever {
            self.take(holds, talk.sent, actions);
            return;
        }
        self.taking = Some((holds, talk.sent));
        actions.push(Action::Keep(holds));
    }

    /// It is durable: from here on nothing older counts, and the next word says so.
    fn take(&mut self, holds: Holds, sent: Duration, actions: &mut Vec<Action>) {
        self.ever = holds;
        self.memory = Some(holds);
        self.pause = PAUSE_MIN;
        self.next_at = sent;
        actions.push(Action::Take(holds));
        actions.push(Action::Heard(sent));
    }

    fn rest(&mut self, now: Duration) {
        self.next_at = now + self.pause;
        self.pause = (self.pause * 2).min(PAUSE_MAX).min(self.bounds.refuse / 3);
    }

    fn go_on(&mut self, now: Duration, actions: &mut Vec<Action>) {
        if self.left {
            actions.push(Action::Left);
            return;
        }
        if self
            .talk
            .is_some_and(|talk| now.saturating_sub(talk.sent) > self.bounds.talk())
        {
            self.talk = None;
            if self.leaving {
                self.left = true;
                actions.push(Action::Left);
                return;
            }
            self.rest(now);
        }
        if self.talk.is_some() || self.taking.is_some() || now < self.next_at {
            return;
        }
        self.beat = self.beat.saturating_add(1);
        self.talk = Some(Talk {
            beat: self.beat,
            sent: now,
        });
        actions.push(Action::Say {
            beat: self.beat,
            holds: self.memory.unwrap_or_default(),
            wait: if self.leaving {
                Duration::ZERO
            } else {
                self.bounds.wait()
            },
            leaves: self.leaving,
        });
    }
}
