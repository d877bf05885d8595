//! A whole installation, run from a seed on one thread: processes with the product's own pipeline, decisions, marks,
//! kill journal and decision log; a fake clock, a fake network, disks whose power can be cut, and the shared store
//! as a model.
//!
//! | module | holds |
//! |---|---|
//! | `simulation` | what happens, in its order: calls, stops, starts, and what goes wrong |
//! | `machine` | a machine: disk, clock, link to the store, and the process that runs there |
//! | `process` | one process of the product |
//! | [`database`] | the shared store as a model |
//! | `load` | agents that call all the time, operators that stop and resume |
//! | `history` | what was promised to whom, and what may not happen after it |
//! | `world` | firms, identities, tasks, tokens |
//! | [`bug`] | defects that are planted to show that they would be found |
//!
//! The order of events depends on the seed alone, so a seed that fails fails again.

pub mod bug;
mod clock;
pub mod database;
mod door;
mod history;
mod load;
mod machine;
mod process;
mod simulation;
mod world;

pub use bug::Bug;
pub use history::Violation;

/// What is run.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Everything that is left to chance.
    pub seed: u64,
    /// How many nodes; chance says when it is not given.
    pub nodes: Option<usize>,
    /// A planted defect.
    pub bug: Option<Bug>,
    /// Whether what happened is told line by line.
    pub traced: bool,
}

impl Plan {
    /// The installation of this seed, without a defect.
    #[must_use]
    pub const fn of(seed: u64) -> Self {
        Self {
            seed,
            nodes: None,
            bug: None,
            traced: false,
        }
    }
}

/// What a run amounted to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Nodes.
    pub nodes: u64,
    /// Simulated microseconds.
    pub micros: u64,
    /// Calls that were permitted.
    pub permits: u64,
    /// Calls that were denied.
    pub denials: u64,
    /// Stops of which somebody was promised that they hold.
    pub stops: u64,
    /// Stops of which it was promised for every node.
    pub contained: u64,
    /// Processes that were killed, with and without power.
    pub crashes: u64,
    /// Times at which a node was cut off from the store.
    pub cuts: u64,
    /// Folds all answers in their order: the same for the same seed.
    pub digest: u64,
}

impl Summary {
    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            nodes: self.nodes + other.nodes,
            micros: self.micros + other.micros,
            permits: self.permits + other.permits,
            denials: self.denials + other.denials,
            stops: self.stops + other.stops,
            contained: self.contained + other.contained,
            crashes: self.crashes + other.crashes,
            cuts: self.cuts + other.cuts,
            digest: self.digest.rotate_left(1) ^ other.digest,
        }
    }
}

/// What a run gave.
#[derive(Debug)]
pub struct Run {
    /// How much happened.
    pub summary: Summary,
    /// The first promise that was broken.
    pub violation: Option<Violation>,
    /// What happened, when it was asked for.
    pub trace: Vec<String>,
}

/// Runs one seed.
#[must_use]
pub fn run(plan: &Plan) -> Run {
    simulation::run(plan)
}
