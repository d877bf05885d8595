//! The count (decisions page, section 11): a function of identities and nothing else.

use std::collections::BTreeMap;

use crate::model::{Identity, Kind, Origin, State};

/// How many in each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct States {
    /// In probation.
    pub probation: u64,
    /// Active.
    pub active: u64,
    /// Suspended.
    pub suspended: u64,
    /// Retired: tombstones.
    pub retired: u64,
}

impl States {
    /// Those that belong to the headline: in probation or active.
    #[must_use]
    pub const fn living(&self) -> u64 {
        self.probation + self.active
    }

    fn cell(&mut self, state: &str) -> Option<&mut u64> {
        Some(match state {
            "probation" => &mut self.probation,
            "active" => &mut self.active,
            "suspended" => &mut self.suspended,
            "retired" => &mut self.retired,
            _ => return None,
        })
    }
}

/// Numbers per kind, state and origin.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Count {
    cells: BTreeMap<(Kind, Origin), States>,
}

impl Count {
    /// The count of a list of identities.
    pub fn of<'a>(identities: impl IntoIterator<Item = &'a Identity>) -> Self {
        let mut count = Self::default();
        for identity in identities {
            count.add(identity.kind, identity.origin, identity.state.as_str(), 1);
        }
        count
    }

    /// Adds `n` identities whose state has this stable text. `false`, and nothing added, when `state` is not
    /// one of [`State::WORDS`].
    pub fn add(&mut self, kind: Kind, origin: Origin, state: &str, n: u64) -> bool {
        if !State::WORDS.contains(&state) {
            return false;
        }
        if n > 0
            && let Some(cell) = self.cells.entry((kind, origin)).or_default().cell(state)
        {
            *cell += n;
        }
        true
    }

    /// The states of one kind and origin.
    #[must_use]
    pub fn states(&self, kind: Kind, origin: Origin) -> States {
        self.cells.get(&(kind, origin)).copied().unwrap_or_default()
    }

    /// Kinds that occur, in order.
    pub fn kinds(&self) -> impl Iterator<Item = Kind> {
        Kind::ALL
            .into_iter()
            .filter(|kind| Origin::ALL.iter().any(|o| self.cells.contains_key(&(*kind, *o))))
    }

    /// All states of one origin together.
    #[must_use]
    pub fn of_origin(&self, origin: Origin) -> States {
        let mut sum = States::default();
        for states in self
            .cells
            .iter()
            .filter(|((_, o), _)| *o == origin)
            .map(|(_, s)| s)
        {
            sum.probation += states.probation;
            sum.active += states.active;
            sum.suspended += states.suspended;
            sum.retired += states.retired;
        }
        sum
    }

    /// The headline: in probation or active, registered and shadow.
    #[must_use]
    pub fn headline(&self) -> u64 {
        Origin::ALL
            .iter()
            .map(|origin| self.of_origin(*origin).living())
            .sum()
    }

    /// Suspended, which are not in the headline.
    #[must_use]
    pub fn suspended(&self) -> u64 {
        Origin::ALL
            .iter()
            .map(|origin| self.of_origin(*origin).suspended)
            .sum()
    }

    /// Retired, which are not in the headline.
    #[must_use]
    pub fn retired(&self) -> u64 {
        Origin::ALL
            .iter()
            .map(|origin| self.of_origin(*origin).retired)
            .sum()
    }
}
