//! Single use: what was seen is refused until it would be refused for its age.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use bailiwick_base::{Digest, Time};

/// Why something is not taken as new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It was used before.
    Before,
    /// There is no room to remember it, so it cannot be taken.
    Full,
}

#[derive(Default)]
struct Memory {
    by_end: BTreeSet<(Time, Digest)>,
    /// Whose it is and until when it counts.
    live: BTreeMap<Digest, Digest>,
    per_owner: BTreeMap<Digest, usize>,
}

/// Remembers what was used, until it ends. Bounded in all and per owner: an owner who fills its share is
/// refused, not its neighbours.
pub struct ReplayMemory {
    memory: Mutex<Memory>,
    all_max: usize,
    owner_max: usize,
}

impl ReplayMemory {
    /// Room for so many in all, and for so many of one owner.
    #[must_use]
    pub fn new(all_max: usize, owner_max: usize) -> Self {
        Self {
            memory: Mutex::default(),
            all_max,
            owner_max,
        }
    }

    /// Takes `token` of `owner` as used until `ends_at`.
    ///
    /// # Errors
    /// [`Seen`] when it was used before, or cannot be remembered.
    pub fn take(&self, owner: Digest, token: Digest, ends_at: Time, now: Time) -> Result<(), Seen> {
        let mut guard = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let memory = &mut *guard;
        memory.drop_ended(now);
        if memory.live.contains_key(&token) {
            return Err(Seen::Before);
        }
        let held = memory.per_owner.get(&owner).copied().unwrap_or(0);
        if memory.live.len() >= self.all_max || held >= self.owner_max {
            return Err(Seen::Full);
        }
        memory.by_end.insert((ends_at, token));
        memory.live.insert(token, owner);
        memory.per_owner.insert(owner, held + 1);
        Ok(())
    }
}

impl Memory {
    fn drop_ended(&mut self, now: Time) {
        while let Some((ends_at, token)) = self.by_end.first().copied() {
            if ends_at > now {
                return;
            }
            self.by_end.pop_first();
            let Some(owner) = self.live.remove(&token) else {
                continue;
            };
            match self.per_owner.get_mut(&owner) {
                Some(held) if *held > 1 => *held -= 1,
                _ => {
                    self.per_owner.remove(&owner);
                }
            }
        }
    }
}
