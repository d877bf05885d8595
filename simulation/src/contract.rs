//! What nodes rely on of the store they share. The model of the simulator and the real store are held to the same
//! sentences, so that what the simulator shows of nodes over the model holds over the real one.

use bailiwick_base::{Epoch, IdentityId, NodeName, StatePos};
use bailiwick_decide::{Fact, Mark, MarkEffect, MarkScope};
use bailiwick_inventory::State;

use crate::run::database::{Change, News, Refused};

/// A store and the nodes on it.
pub trait SharedStore {
    /// One start of one node.
    type Node;

    /// Starts a node; whatever ran under its name before is a past start.
    fn start(&mut self, name: &NodeName) -> Self::Node;

    /// Living identities of one tenant that nothing was done to: two at least.
    fn identities(&self) -> Vec<IdentityId>;

    /// Carries out a command of a node; gives the head after it.
    ///
    /// # Errors
    /// [`Refused`]; nothing was changed then.
    fn commit(&mut self, node: &Self::Node, change: &Change) -> Result<(StatePos, Epoch), Refused>;

    /// Position and epoch.
    fn head(&mut self) -> (StatePos, Epoch);

    /// What became true since a position, as a node reads it.
    ///
    /// # Errors
    /// [`Refused::NoSuchPosition`].
    fn changes(&mut self, node: &Self::Node, from: StatePos) -> Result<News, Refused>;
}

/// Goes through all sentences.
///
/// # Errors
/// The first sentence that does not hold.
pub fn require_all(store: &mut impl SharedStore) -> Result<(), String> {
    let mut identities = store.identities().into_iter();
    let (Some(first), Some(second)) = (identities.next(), identities.next()) else {
        return Err("two identities are wanted".to_owned());
    };
    let name = |name| NodeName::parse(name).map_err(|e| e.to_string());
    let names = (name("node-1")?, name("node-2")?);
    require_stop(store, &names, &first)?;
    require_lift(store, &names.0, &second)?;
    require_wholeness(store, &names.0, &first)?;
    require_positions(store, &names.0)?;
    require_fence(store, &names, &second)
}

fn holds(is_so: bool, sentence: &str) -> Result<(), String> {
    if is_so {
        Ok(())
    } else {
        Err(format!("does not hold: {sentence}"))
    }
}

fn done<T>(result: Result<T, Refused>, what: &str) -> Result<T, String> {
    result.map_err(|why| format!("{what} is refused: {why:?}"))
}

fn stop(id: &IdentityId, effect: MarkEffect) -> Change {
    Change::Stop {
        scope: MarkScope::Identity(id.clone()),
        effect,
        members: vec![id.clone()],
    }
}

fn marks(news: &News) -> Vec<&Mark> {
    let marks = news.facts.iter().filter_map(|fact| match fact {
        Fact::Mark(mark) => Some(mark),
        _ => None,
    });
    marks.collect()
}

fn is_up_to(news: &News, (pos, epoch): (StatePos, Epoch)) -> bool {
    let last = matches!(news.facts.last(), Some(Fact::Position(p, e)) if (*p, *e) == (pos, epoch));
    last && (news.pos, news.epoch) == (pos, epoch)
}

fn require_stop(
    store: &mut impl SharedStore,
    names: &(NodeName, NodeName),
    id: &IdentityId,
) -> Result<(), String> {
    let node = store.start(&names.0);
    let reader = store.start(&names.1);
    let before = store.head();
    let after = done(store.commit(&node, &stop(id, MarkEffect::Kill)), "a kill")?;
    holds(after.0 > before.0, "every commit has a position of its own")?;
    holds(after.1 == before.1.next(), "a stop raises the epoch by one")?;
    holds(
        store.head() == after,
        "what was committed is there for everybody at once",
    )?;
    let news = done(store.changes(&reader, before.0), "reading")?;
    holds(
        is_up_to(&news, after),
        "news ends with the position that takes all of it into account",
    )?;
    let told = marks(&news);
    let is_told = |mark: &&Mark| mark.scope == MarkScope::Identity(id.clone()) && mark.epoch == after.1;
    holds(
        told.iter().any(is_told),
        "another node is told the mark with its epoch",
    )?;
    let retired = news.facts.iter().any(|fact| {
        matches!(fact, Fact::Identity(identity)
            if identity.id == *id && matches!(identity.state, State::Retired { .. }))
    });
    holds(retired, "a mark and the states it brings are told together")
}

fn require_lift(store: &mut impl SharedStore, name: &NodeName, id: &IdentityId) -> Result<(), String> {
    let node = store.start(name);
    let before = store.head();
    let suspended = done(
        store.commit(&node, &stop(id, MarkEffect::Suspend)),
        "a suspension",
    )?;
    let scope = MarkScope::Identity(id.clone());
    let lifted = done(store.commit(&node, &Change::Lift(scope.clone())), "a lift")?;
    holds(lifted.0 > suspended.0, "every commit has a position of its own")?;
    holds(lifted.1 == suspended.1, "a lift leaves the epoch as it is")?;
    let news = done(store.changes(&node, before.0), "reading")?;
    let is_lifted = |fact: &Fact| matches!(fact, Fact::MarkLifted(of) if *of == scope);
    holds(
        news.facts.iter().any(is_lifted),
        "whoever missed a suspension and its end is told the end",
    )?;
    let stands = |mark: &&Mark| mark.scope == scope && mark.effect == MarkEffect::Suspend;
    holds(
        !marks(&news).iter().any(stands),
        "news tells the present, and not what has passed",
    )
}

fn require_wholeness(
    store: &mut impl SharedStore,
    name: &NodeName,
    killed: &IdentityId,
) -> Result<(), String> {
    let node = store.start(name);
    let before = store.head();
    let refused = store.commit(&node, &stop(killed, MarkEffect::Kill));
    holds(refused == Err(Refused::Rule), "an identity ends once")?;
    holds(
        store.head() == before,
        "a command that is refused in the middle leaves nothing behind",
    )
}

fn require_positions(store: &mut impl SharedStore, name: &NodeName) -> Result<(), String> {
    let node = store.start(name);
    let head = store.head();
    let news = done(store.changes(&node, head.0), "reading")?;
    holds(
        news.facts.len() == 1 && is_up_to(&news, head),
        "from the newest position on there is no news",
    )?;
    let beyond = store.changes(&node, StatePos(head.0.0 + 1));
    let is_refused = matches!(beyond, Err(Refused::NoSuchPosition));
    holds(
        is_refused,
        "a position that the log does not reach is an error, and not silence",
    )
}

fn require_fence(
    store: &mut impl SharedStore,
    names: &(NodeName, NodeName),
    id: &IdentityId,
) -> Result<(), String> {
    let (past, other) = (store.start(&names.0), store.start(&names.1));
    let present = store.start(&names.0);
    let before = store.head();
    let refused = store.commit(&past, &stop(id, MarkEffect::Suspend));
    holds(
        refused == Err(Refused::Fenced),
        "a past start of a node can write nothing",
    )?;
    holds(
        store.head() == before,
        "what a past start tries leaves nothing behind",
    )?;
    let after = done(
        store.commit(&other, &stop(id, MarkEffect::Suspend)),
        "another node's command",
    )?;
    let lift = Change::Lift(MarkScope::Identity(id.clone()));
    let last = done(store.commit(&present, &lift), "the present start's command")?;
    holds(
        last.0 > after.0 && after.0 > before.0,
        "commits of all nodes stand one after the other",
    )
}
