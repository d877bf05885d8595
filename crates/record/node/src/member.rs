//! One node's part in the protocol.

use std::time::Duration;

use bailiwick_base::{Epoch, NodeName};

use crate::contain::{PointEnd, Watch};
use crate::word::{Bounds, Lead, Standing, Word, Words};

/// How often a node reads when nothing brings it forward.
const READ_EVERY: Duration = Duration::from_millis(250);
/// How often while a stop of its own is not contained.
const CHASE_EVERY: Duration = Duration::from_millis(10);

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// The beat was written; what the store held then.
    Beaten(Words),
    /// A stop of this node was committed: tell when it is contained.
    Committed {
        /// The number its giver knows it by.
        stop: u64,
        /// Its epoch.
        epoch: Epoch,
    },
    /// Somebody says that there is something new.
    Hinted,
    /// What was asked of the store failed, or took too long.
    Silent,
    /// Time went on.
    Tick,
    /// What was new is in memory, up to this epoch.
    Took {
        /// The epoch that memory holds.
        epoch: Epoch,
    },
    /// The store does not take this node's writes any more.
    Unwanted,
}

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Write the beat with this epoch, and read all rows in the same view.
    Beat {
        /// The epoch that memory holds.
        epoch: Epoch,
    },
    /// A stop is contained: no node permits any more what it forbids.
    Contained {
        /// The number its giver knows it by.
        stop: u64,
        /// Each node's part.
        points: Vec<PointEnd>,
    },
    /// Refuse everything from now on, until this process ends.
    Fenced,
    /// This node's word is as old as this moment.
    Hear {
        /// When the reading began.
        asked: Duration,
    },
    /// The lead is this node's, under this term.
    Lead {
        /// Goes with every write of a leader's duty.
        term: u64,
    },
    /// Read what is new from the store into memory.
    Read,
    /// Try to take the lead: set it where the term is still `from`.
    Take {
        /// The term that was seen; 0 where nobody led.
        from: u64,
    },
    /// The word is older than the bound: wake open calls, which then end.
    Wake,
    /// The word is older than the warning.
    Warn {
        /// How old.
        age: Duration,
    },
    /// The lead is not this node's any more.
    Yield,
}

/// Where the conversation with the store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Talk {
    /// The beat is under way, on what was read from this moment.
    Beating(Duration),
    /// Nothing is under way.
    Quiet,
    /// Reading since this moment.
    Reading(Duration),
}

/// The machine of one node.
#[derive(Debug)]
pub struct Member {
    node: NodeName,
    fence: u64,
    bounds: Bounds,
    every: Duration,
    /// How long a conversation may take.
    talk_max: Duration,
    talk: Talk,
    /// When the next reading is due.
    due: Duration,
    /// A hint came while a reading was under way, which may have been too early for it.
    again: bool,
    /// When the last reading that counts began.
    heard: Duration,
    warned: bool,
    woken: bool,
    fenced: bool,
    leading: Option<u64>,
    watch: Watch,
}

impl Member {
    /// A node that read everything from `asked` on and wrote its first beat.
    #[must_use]
    pub fn new(node: NodeName, fence: u64, bounds: Bounds, asked: Duration) -> Self {
        Self {
            node,
            fence,
            bounds,
            every: READ_EVERY,
            talk_max: bounds.talk_max(),
            talk: Talk::Quiet,
            due: asked,
            again: false,
            heard: asked,
            warned: false,
            woken: false,
            fenced: false,
            leading: None,
            watch: Watch::default(),
        }
    }

    /// Takes what happened at `now` on this node's monotonic clock.
    pub fn handle(&mut self, event: Happened, now: Duration) -> Vec<Action> {
        let mut out = Vec::new();
        if self.fenced {
            return out;
        }
        match event {
            Happened::Beaten(words) => self.beaten(&words, now, &mut out),
            Happened::Committed { stop, epoch } => {
                self.watch.begin(stop, epoch, now);
                self.due = now;
            }
            Happened::Hinted => {
                self.again |= self.talk != Talk::Quiet;
                self.due = now;
            }
            Happened::Silent => self.talk = Talk::Quiet,
            Happened::Tick => {}
            Happened::Took { epoch } => {
                if let Talk::Reading(asked) = self.talk {
                    if self.is_late(asked, now) {
                        self.talk = Talk::Quiet;
                    } else {
                        self.talk = Talk::Beating(asked);
                        out.push(Action::Beat { epoch });
                    }
                }
            }
            Happened::Unwanted => self.end(&mut out),
        }
        self.look_at_age(now, &mut out);
        if self.talk == Talk::Quiet && now >= self.due && !self.fenced {
            self.talk = Talk::Reading(now);
            self.again = false;
            self.due = now + self.pace();
            out.push(Action::Read);
        }
        out
    }

    /// When [`Happened::Tick`] is wanted next; never again once fenced.
    #[must_use]
    pub fn next_tick(&self) -> Option<Duration> {
        if self.fenced {
            return None;
        }
        let reading = (self.talk == Talk::Quiet).then_some(self.due);
        let warning = (!self.warned).then(|| self.heard + self.bounds.warn());
        let waking = (!self.woken).then(|| self.heard + self.bounds.refuse() + Duration::from_micros(1));
        [reading, warning, waking].into_iter().flatten().min()
    }

    /// Whether this node may answer at `now`.
    #[must_use]
    pub fn may_answer(&self, now: Duration) -> bool {
        !self.fenced && now.saturating_sub(self.heard) <= self.bounds.refuse()
    }

    /// The term under which this node leads.
    #[must_use]
    pub fn leading(&self) -> Option<u64> {
        self.leading
    }

    /// The same for a node that nobody waits for: it reads every so often when nothing brings it forward, and a slow
    /// store makes its word old, but not void. It reads often enough that its word does not come near a bound.
    #[must_use]
    pub fn alone(mut self, every: Duration) -> Self {
        self.every = every.min(self.bounds.warn() / 2).min(self.bounds.refuse() / 4);
        self.talk_max = self.bounds.refuse();
        self
    }

    /// Others may believe that a conversation which began at `asked` never counted.
    fn is_late(&self, asked: Duration, now: Duration) -> bool {
        now.saturating_sub(asked) > self.talk_max
    }

    fn pace(&self) -> Duration {
        if self.watch.is_idle() {
            self.every
        } else {
            CHASE_EVERY
        }
    }

    fn beaten(&mut self, words: &Words, now: Duration, out: &mut Vec<Action>) {
        let Talk::Beating(asked) = self.talk else {
            return;
        };
        self.talk = Talk::Quiet;
        let own = words.nodes.iter().find(|word| word.node == self.node);
        match own {
            Some(own) if own.fence == self.fence && own.standing != Standing::Fenced => {}
            _ => return self.end(out),
        }
        if self.is_late(asked, now) {
            return;
        }
        self.heard = self.heard.max(asked);
        (self.warned, self.woken) = (false, false);
        out.push(Action::Hear { asked: self.heard });
        for (stop, points) in self.watch.take(&words.nodes, asked, now) {
            out.push(Action::Contained { stop, points });
        }
        self.look_at_lead(words, own, now, out);
        if self.again {
            self.due = now;
        }
    }

    fn look_at_lead(&mut self, words: &Words, own: Option<&Word>, now: Duration, out: &mut Vec<Action>) {
        let mine = |lead: &&Lead| lead.node == self.node && lead.fence == self.fence;
        let term = words.lead.as_ref().filter(mine).map(|lead| lead.term);
        if term != self.leading {
            if self.leading.is_some() {
                out.push(Action::Yield);
            }
            out.extend(term.map(|term| Action::Lead { term }));
            self.leading = term;
        }
        let may_lead = own.is_some_and(|own| own.standing == Standing::Live);
        if term.is_none() && may_lead && self.is_free(words, now) {
            let from = words.lead.as_ref().map_or(0, |lead| lead.term);
            out.push(Action::Take { from });
            // Soon, to see whether it was taken.
            self.due = now + CHASE_EVERY;
        }
    }

    /// Whether whoever leads cannot, or is not to, any more.
    fn is_free(&self, words: &Words, now: Duration) -> bool {
        let Some(lead) = &words.lead else {
            return true;
        };
        let holder = words.nodes.iter().find(|word| word.node == lead.node);
        holder.is_none_or(|holder| {
            holder.fence != lead.fence
                || holder.standing != Standing::Live
                || self.watch.is_lapsed(holder, now)
        })
    }

    fn look_at_age(&mut self, now: Duration, out: &mut Vec<Action>) {
        if self.fenced {
            return;
        }
        let age = now.saturating_sub(self.heard);
        if age > self.bounds.refuse() {
            if self.leading.take().is_some() {
                out.push(Action::Yield);
            }
            if !self.woken {
                self.woken = true;
                out.push(Action::Wake);
            }
        } else if age >= self.bounds.warn() && !self.warned {
            self.warned = true;
            out.push(Action::Warn { age });
        }
    }

    fn end(&mut self, out: &mut Vec<Action>) {
        self.fenced = true;
        self.talk = Talk::Quiet;
        if self.leading.take().is_some() {
            out.push(Action::Yield);
        }
        out.push(Action::Fenced);
    }
}
