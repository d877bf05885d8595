//! What happens in one installation, in its order.

mod agents;
mod link;
mod operators;
mod starts;
mod trouble;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use bailiwick_base::NodeName;

use super::bug::Bug;
use super::clock::Instant;
use super::database::Database;
use super::history::{History, Violation};
use super::load::{Load, pick};
use super::machine::{Crash, Machine};
use super::process::{Ask, Output, Process, Reply};
use super::world::World;
use super::{Plan, Run, Summary};
use crate::chance::Chance;
use bailiwick_node::{Bounds, Happened};

const MILLI: u64 = 1_000;
const SECOND: u64 = 1_000_000;
/// How long an answer of the store is waited for.
const ASK_MAX: u64 = SECOND;
const COMMIT_MAX: u64 = 3 * SECOND;
/// Longest way of a message.
const WAY_MAX: u64 = 1_500 * MILLI;
/// How long everything is well at the end.
const HEALED: u64 = 8 * SECOND;
/// Lines of a trace that are kept.
const TRACE_MAX: usize = 4_000;
/// Nodes of a run, at most.
const NODES_MAX: usize = 3;
/// How far behind a replica is, where one is planted.
const REPLICA_LAG: u64 = 3_000 * MILLI;

#[derive(Debug)]
enum Happening {
    /// An agent calls.
    Agent(usize),
    Arrive {
        node: usize,
        life: u64,
        call: u64,
    },
    AtStore {
        node: usize,
        life: u64,
        number: u64,
        fence: u64,
        ask: Ask,
    },
    Crash {
        node: usize,
        how: Crash,
        after: Option<u64>,
    },
    Cut {
        node: usize,
        span: u64,
    },
    /// An operator fences a node.
    Fence(usize),
    FlushKills {
        node: usize,
        life: u64,
        stop: u64,
    },
    Heal,
    /// Somebody says that there is news.
    Hint {
        node: usize,
        life: u64,
    },
    Jump {
        node: usize,
        micros: i64,
    },
    /// An operator ends a suspension.
    Lift,
    Listen {
        node: usize,
        life: u64,
    },
    Pause {
        node: usize,
        span: u64,
    },
    Press,
    Publish(usize),
    Readmit(usize),
    Register,
    Replace {
        node: usize,
        is_over: bool,
    },
    Reply {
        node: usize,
        life: u64,
        number: u64,
        reply: Reply,
    },
    Start(usize),
    Tick {
        node: usize,
        life: u64,
    },
    Timeout {
        node: usize,
        life: u64,
        number: u64,
    },
    Write {
        node: usize,
        life: u64,
    },
}

pub(super) fn run(plan: &Plan) -> Run {
    let mut summary = Summary::default();
    let mut trace = Vec::new();
    let violation = Simulation::new(plan).and_then(|mut simulation| {
        let ran = simulation.run();
        summary = simulation.summary;
        trace = std::mem::take(&mut simulation.trace);
        ran.map_err(|violation| Violation {
            at: if violation.at == 0 {
                simulation.now
            } else {
                violation.at
            },
            ..violation
        })
    });
    Run {
        summary,
        violation: violation.err(),
        trace,
    }
}

struct Simulation {
    plan: Plan,
    chance: Chance,
    now: u64,
    instant: Instant,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, Happening>,
    next: u64,
    world: Arc<World>,
    database: Database,
    machines: Vec<Machine>,
    load: Load,
    history: History,
    /// Lifts that a process was given, so that they end with it.
    lifts: BTreeMap<u64, (usize, u64)>,
    bounds: Bounds,
    /// When trouble ends.
    troubled_until: u64,
    summary: Summary,
    trace: Vec<String>,
    /// Pipelines bound their records by the timer of this runtime, which is never driven.
    runtime: tokio::runtime::Runtime,
}

impl Simulation {
    fn new(plan: &Plan) -> Result<Self, Violation> {
        let mut chance = Chance::of(plan.seed);
        let world = Arc::new(World::new()?);
        let mut database = Database::holding(world.facts()?);
        database.unfenced = plan.bug == Some(Bug::NoFence);
        database.lag = (plan.bug == Some(Bug::ReadFromReplica)).then_some(REPLICA_LAG);
        let nodes = plan.nodes.unwrap_or_else(|| 1 + pick(&mut chance, NODES_MAX));
        let mut machines = Vec::new();
        for n in 0..nodes {
            let name = NodeName::parse(&format!("node-{n}")).map_err(|e| Violation::broken(&e))?;
            let ppm = i64::try_from(chance.below(10_000)).unwrap_or(0) - 5_000;
            machines.push(Machine::new(name, ppm)?);
        }
        let load = Load::new(&world, nodes, &mut chance);
        let refuse = 1 + chance.below(3);
        let bounds = Bounds::of_secs(1, refuse).map_err(|e| Violation::broken(&e))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        let troubled_until = (4 + chance.below(8)) * SECOND;
        Ok(Self {
            plan: *plan,
            chance,
            now: 0,
            instant: Instant::default(),
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            next: 0,
            world,
            database,
            machines,
            load,
            history: History::default(),
            lifts: BTreeMap::new(),
            bounds,
            troubled_until,
            summary: Summary::default(),
            trace: Vec::new(),
            runtime: runtime.map_err(|e| Violation::broken(&e))?,
        })
    }

    fn run(&mut self) -> Result<(), Violation> {
        self.summary.nodes = self.machines.len() as u64;
        self.plan_ahead();
        let end = self.troubled_until + HEALED;
        while let Some(Reverse((at, number))) = self.queue.pop() {
            if at > end {
                break;
            }
            self.now = at;
            self.instant.set(at);
            if let Some(event) = self.events.remove(&number) {
                self.happen(event)?;
            }
        }
        self.summary.micros = self.now;
        self.require_well()
    }

    /// What happens from outside.
    fn plan_ahead(&mut self) {
        for node in 0..self.machines.len() {
            self.push(0, Happening::Start(node));
            self.push(500 * MILLI, Happening::Publish(node));
        }
        for agent in 0..self.load.agents.len() {
            let at = 10 * MILLI + self.below(100 * MILLI);
            self.push(at, Happening::Agent(agent));
        }
        let end = self.troubled_until;
        let mut at = 0;
        while at < end {
            at += 50 * MILLI + self.below(700 * MILLI);
            self.push(at, Happening::Press);
            let at = at + self.below(1_500 * MILLI);
            self.push(at, Happening::Lift);
        }
        let mut at = 0;
        while at < end {
            at += SECOND + self.below(3 * SECOND);
            self.push(at, Happening::Register);
        }
        let mut at = 100 * MILLI;
        // Some runs are calm, others are not.
        let pace = (200 + self.below(3_000)) * MILLI;
        while at < end {
            at += 1 + self.below(2 * pace);
            let event = self.some_trouble();
            if at < end {
                self.push(at, event);
            }
        }
        self.push(end, Happening::Heal);
    }

    fn some_trouble(&mut self) -> Happening {
        let node = pick(&mut self.chance, self.machines.len());
        let how = if self.chance.once_in(2) {
            Crash::Killed
        } else {
            Crash::PowerLost
        };
        match self.below(14) {
            0 => Happening::Fence(node),
            1 => Happening::Replace { node, is_over: false },
            2..4 => Happening::Crash {
                node,
                how,
                after: None,
            },
            4..8 => Happening::Crash {
                node,
                how,
                after: Some(1 + self.below(60)),
            },
            8..11 => Happening::Cut {
                node,
                span: self.below(4 * SECOND),
            },
            11..13 => Happening::Pause {
                node,
                span: self.below(4 * SECOND),
            },
            _ => {
                let years = i64::try_from(self.below(21)).unwrap_or(0) - 10;
                let minutes = i64::try_from(self.below(11)).unwrap_or(0) - 5;
                let secs = if self.chance.once_in(3) {
                    years * 31_557_600
                } else {
                    minutes * 60
                };
                Happening::Jump {
                    node,
                    micros: secs * 1_000_000,
                }
            }
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.chance.below(bound)
    }

    /// How long a message takes.
    fn way(&mut self) -> u64 {
        let bound = match self.below(100) {
            0 if self.now < self.troubled_until => WAY_MAX,
            1..8 => 20 * MILLI,
            _ => MILLI,
        };
        50 + self.below(bound)
    }

    fn push(&mut self, at: u64, event: Happening) {
        self.next += 1;
        self.queue.push(Reverse((at.max(self.now), self.next)));
        self.events.insert(self.next, event);
    }

    fn note(&mut self, line: impl FnOnce() -> String) {
        if self.plan.traced && self.trace.len() < TRACE_MAX {
            let (secs, micros) = (self.now / SECOND, self.now % SECOND);
            self.trace.push(format!("{secs}.{micros:06} {}", line()));
        }
    }

    fn happen(&mut self, event: Happening) -> Result<(), Violation> {
        let Some(event) = self.unless_paused(event) else {
            return Ok(());
        };
        match event {
            Happening::Agent(agent) => self.agent(agent),
            Happening::Arrive { node, life, call } => return self.arrive(node, life, call),
            Happening::AtStore {
                node,
                life,
                number,
                fence,
                ask,
            } => self.at_store(node, life, number, fence, &ask),
            Happening::Crash { node, how, after } => self.trouble(node, how, after),
            Happening::Cut { node, span } => self.cut(node, span),
            Happening::Fence(node) => self.fence(node),
            Happening::FlushKills { node, life, stop } => {
                return self.with(node, life, |process| process.flush_kills(stop));
            }
            Happening::Heal => self.heal(),
            Happening::Hint { node, life } => {
                return self.with(node, life, |process| process.feel(Happened::Hinted));
            }
            Happening::Jump { node, micros } => self.jump(node, micros),
            Happening::Lift => return self.lift(),
            Happening::Listen { node, life } => return self.listen(node, life),
            Happening::Pause { node, span } => self.pause(node, span),
            Happening::Press => return self.press(),
            Happening::Publish(node) => self.publish(node),
            Happening::Readmit(node) => self.readmit(node),
            Happening::Register => return self.register(),
            Happening::Replace { node, is_over } => self.replace(node, is_over),
            Happening::Reply {
                node,
                life,
                number,
                reply,
            } => return self.reply(node, life, number, Some(reply)),
            Happening::Start(node) => return self.start(node),
            Happening::Tick { node, life } => {
                if let Some(machine) = self.machines.get_mut(node) {
                    machine.tick_at = None;
                }
                return self.with(node, life, |process| process.feel(Happened::Tick));
            }
            Happening::Timeout { node, life, number } => return self.reply(node, life, number, None),
            Happening::Write { node, life } => {
                if let Some(machine) = self.machines.get_mut(node).filter(|m| m.life == life) {
                    machine.writing = false;
                }
                return self.with(node, life, Process::write);
            }
        }
        Ok(())
    }

    /// What concerns a process that is stopped by a signal waits until it goes on.
    fn unless_paused(&mut self, event: Happening) -> Option<Happening> {
        let node = match &event {
            Happening::Arrive { node, .. }
            | Happening::FlushKills { node, .. }
            | Happening::Hint { node, .. }
            | Happening::Listen { node, .. }
            | Happening::Reply { node, .. }
            | Happening::Tick { node, .. }
            | Happening::Timeout { node, .. }
            | Happening::Write { node, .. } => *node,
            _ => return Some(event),
        };
        let until = self.machines.get(node).map_or(0, |machine| machine.paused_until);
        if until <= self.now {
            return Some(event);
        }
        let at = until + self.below(MILLI);
        self.push(at, event);
        None
    }

    /// Lets the process of this life do something, and carries out what comes of it.
    fn with(
        &mut self,
        node: usize,
        life: u64,
        act: impl FnOnce(&mut Process) -> Vec<Output>,
    ) -> Result<(), Violation> {
        let machine = self.machines.get_mut(node).filter(|machine| machine.life == life);
        let Some(process) = machine.and_then(|machine| machine.process.as_mut()) else {
            return Ok(());
        };
        let outputs = {
            let _timers = self.runtime.enter();
            act(process)
        };
        self.carry_out(node, outputs)
    }

    /// Nothing of it happens when the process stopped in the middle.
    fn carry_out(&mut self, node: usize, outputs: Vec<Output>) -> Result<(), Violation> {
        let Some(machine) = self.machines.get(node) else {
            return Ok(());
        };
        let Some(process) = &machine.process else {
            return Ok(());
        };
        if process.disk.has_stopped() {
            let how = machine.fused;
            self.crash(node, how);
            return Ok(());
        }
        let (life, fence) = (machine.life, process.fence);
        for output in outputs {
            match output {
                Output::Ask(ask) => self.ask(node, life, fence, ask),
                Output::Answered { call, verdict } => self.answered(node, call, verdict)?,
                Output::Contained(stop) => {
                    self.note(|| format!("node {node}: stop {stop} is contained"));
                    self.summary.contained += 1;
                    self.history.contain(stop, self.now);
                }
                Output::FlushKills(stop) => {
                    let at = self.now + 100 + self.below(5 * MILLI);
                    self.push(at, Happening::FlushKills { node, life, stop });
                }
                Output::Leads(term) => {
                    self.note(|| format!("node {node}: leads under term {term}"));
                    self.history.require_sole_leader(self.now, term, (node, life))?;
                }
                Output::LiftOver { lift } => {
                    self.lifts.remove(&lift);
                    // The store may still carry out what was given up.
                    self.history.lift_over(lift, self.now + COMMIT_MAX);
                }
                Output::Told { stop, tell } => self.told(node, stop, tell),
            }
        }
        self.look_ahead(node);
        Ok(())
    }

    /// When this process is woken next.
    fn look_ahead(&mut self, node: usize) {
        let Some(machine) = self.machines.get_mut(node) else {
            return;
        };
        let Some(process) = machine.process.as_ref().filter(|process| process.listening) else {
            return;
        };
        let (life, waits, tick) = (machine.life, process.waits(), process.next_tick());
        if waits && !machine.writing {
            machine.writing = true;
            let at = self.now + 50 + self.below(3 * MILLI);
            self.push(at, Happening::Write { node, life });
        }
        let Some(machine) = self.machines.get_mut(node) else {
            return;
        };
        if let Some(tick) = tick
            && machine.tick_at.is_none_or(|at| tick < at)
        {
            let at = tick.max(self.now + 1);
            machine.tick_at = Some(at);
            self.push(at, Happening::Tick { node, life });
        }
    }

    fn violation(&self, rule: &'static str, detail: String) -> Violation {
        Violation {
            at: self.now,
            rule,
            detail,
        }
    }

    fn fold(&mut self, value: u64) {
        let folded = self.summary.digest ^ value ^ self.now.rotate_left(20);
        self.summary.digest = folded.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(23);
    }
}
