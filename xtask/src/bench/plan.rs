//! `xtask/bench/goals.toml`: what is run and what is compared.
//!
//! ```toml
//! [[run]]
//! name = "axum"                                    # unique; goals refer to it
//! serve = [["limits/httpd", "--kind", "axum", "--port", "{port}"]]   # started first, stopped after
//! measure = ["limits/loadgen", "--url", "http://127.0.0.1:{port}/", "--secs", "{secs}"]   # prints the figures
//! cores = { serve = "0", measure = "1" }           # optional, for taskset
//! values = { secs = ["2", "0.5"] }                 # what {secs} stands for in a full and in a quick run
//! once = true                                      # optional: in the first round only; it has rounds of its own
//! port = 7301                                      # optional: the port is fixed by the program
//! needs = "oidc-provider"                          # optional: a peer that is installed first (`peers`)
//!
//! [[goal]]
//! id = "b4"
//! what = "AuthZEN evaluation, 32 connections, one core"
//! ours = { run = "authzen", figure = "http req/s" }
//! floor = { run = "axum", figure = "http req/s" }  # with `scale = 0.001` where its unit is another
//! peer = { run = "other", figure = "http req/s" }  # optional
//! compare = "ours / floor"                         # or "floor / ours", "ours"
//! bound = "at least"                               # or "at most"
//! target = 0.58
//! unit = "req/s"
//!
//! [limits]                                         # optional; told beside a miss of each goal that begins so
//! "b4.p50" = "what limits them"
//! ```
//!
//! The first word of a command is `limits/NAME` (the programs under the hot paths, in
//! `BAILIWICK_SHARED`), `ours/NAME` (a binary of this workspace, release profile), `example/NAME` (an
//! example of a crate of ours), `peer/NAME` (a peer that `peers` drives) or a program on the `PATH`.
//! `{port}` is a free port, the same within a run; `{folder}` a fresh folder for its files; `{shared}`
//! the folder of shared data; `{limits}` that of the floor programs; `{peers}` that of the peers; `{postgres}` the URL
//! of the server of a run that needs `postgresql`.
use std::collections::{BTreeMap, BTreeSet};

use toml::{Table, Value};

use crate::fail::{Fail, Outcome};
use crate::repo::Repo;

const SOURCE: &str = "xtask/bench/goals.toml";

#[derive(Clone, Debug)]
pub struct Run {
    pub name: String,
    pub serve: Vec<Vec<String>>,
    pub measure: Vec<String>,
    pub serve_cores: Option<String>,
    pub measure_cores: Option<String>,
    /// Placeholder, then what it stands for in a full and in a quick run.
    pub values: BTreeMap<String, (String, String)>,
    pub once: bool,
    pub port: Option<u16>,
    pub needs: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Source {
    pub run: String,
    pub figure: String,
    /// What the figure is multiplied with, to have the goal's unit.
    pub scale: f64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Compare {
    FloorOverOurs,
    Ours,
    OursOverFloor,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Bound {
    AtLeast,
    AtMost,
}

#[derive(Clone, Debug)]
pub struct Goal {
    pub id: String,
    pub what: String,
    pub ours: Source,
    pub floor: Option<Source>,
    pub peer: Option<Source>,
    pub compare: Compare,
    pub bound: Bound,
    pub target: f64,
    pub unit: String,
    pub limit: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub runs: Vec<Run>,
    pub goals: Vec<Goal>,
}

impl Plan {
    pub fn read(repo: &Repo) -> Outcome<Self> {
        Self::parse(&repo.read(SOURCE)?)
    }

    pub fn parse(text: &str) -> Outcome<Self> {
        let table: Table = text
            .parse()
            .map_err(|error| broken(&format!("is not TOML: {error}")))?;
        let entries = |key: &str| {
            table
                .get(key)
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default()
        };
        let mut plan = Self {
            runs: entries("run").iter().map(run).collect::<Outcome<_>>()?,
            goals: entries("goal").iter().map(goal).collect::<Outcome<_>>()?,
        };
        if let Some(limits) = table.get("limits").and_then(Value::as_table) {
            for goal in &mut plan.goals {
                goal.limit = limit_of(limits, &goal.id);
            }
        }
        let known: BTreeSet<&str> = plan.runs.iter().map(|run| run.name.as_str()).collect();
        for goal in &plan.goals {
            if let Some(missing) = sources(goal).find(|source| !known.contains(source.run.as_str())) {
                return Err(broken(&format!(
                    "goal `{}` refers to `{}`, which is no run",
                    goal.id, missing.run
                )));
            }
            if goal.compare != Compare::Ours && goal.floor.is_none() {
                return Err(broken(&format!(
                    "goal `{}` compares with a floor and names none",
                    goal.id
                )));
            }
        }
        Ok(plan)
    }

    /// The goals asked for and the runs that they need; all of them when none is named.
    pub fn only(mut self, wanted: &[String]) -> Outcome<Self> {
        if let Some(unknown) = wanted
            .iter()
            .find(|id| !self.goals.iter().any(|goal| goal.id == **id))
        {
            let known: Vec<&str> = self.goals.iter().map(|goal| goal.id.as_str()).collect();
            return Err(Fail::usage(format!(
                "no goal `{unknown}`; the goals are {}",
                known.join(", ")
            )));
        }
        self.goals
            .retain(|goal| wanted.is_empty() || wanted.contains(&goal.id));
        let needed: BTreeSet<&str> = self
            .goals
            .iter()
            .flat_map(sources)
            .map(|source| source.run.as_str())
            .collect();
        self.runs.retain(|run| needed.contains(run.name.as_str()));
        Ok(self)
    }

    /// Programs of one kind: names after `limits/`, `ours/` or `example/`.
    #[must_use]
    pub fn programs(&self, kind: &str) -> BTreeSet<&str> {
        let commands = self
            .runs
            .iter()
            .flat_map(|run| run.serve.iter().chain([&run.measure]));
        let words = commands.filter_map(|command| command.first());
        words
            .filter_map(|word| word.strip_prefix(kind)?.strip_prefix('/'))
            .collect()
    }
}

fn sources(goal: &Goal) -> impl Iterator<Item = &Source> {
    [Some(&goal.ours), goal.floor.as_ref(), goal.peer.as_ref()]
        .into_iter()
        .flatten()
}

fn run(value: &Value) -> Outcome<Run> {
    let serve = value
        .get("serve")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    let cores = |side: &str| value.get("cores")?.get(side)?.as_str().map(str::to_owned);
    let measure = value.get("measure").map(words).unwrap_or_default();
    let name = text(value, "name")?;
    if measure.is_empty() {
        return Err(broken(&format!("run `{name}` has no `measure`")));
    }
    Ok(Run {
        serve: serve.iter().map(words).collect(),
        measure,
        serve_cores: cores("serve"),
        measure_cores: cores("measure"),
        values: values(value.get("values"), &name)?,
        once: value.get("once").and_then(Value::as_bool).unwrap_or_default(),
        port: value
            .get("port")
            .and_then(Value::as_integer)
            .and_then(|port| u16::try_from(port).ok()),
        needs: value.get("needs").and_then(Value::as_str).map(str::to_owned),
        name,
    })
}

fn values(value: Option<&Value>, run: &str) -> Outcome<BTreeMap<String, (String, String)>> {
    let entries = value.and_then(Value::as_table).into_iter().flatten();
    let read = |(name, pair): (&String, &Value)| match words(pair).as_slice() {
        [full, quick] => Ok((name.clone(), (full.clone(), quick.clone()))),
        _ => Err(broken(&format!(
            "run `{run}`: the value of `{name}` is not a pair of texts, full and quick"
        ))),
    };
    entries.map(read).collect()
}

fn goal(value: &Value) -> Outcome<Goal> {
    let id = text(value, "id")?;
    let bad = |key: &str| broken(&format!("goal `{id}` has a wrong `{key}`"));
    let target = value.get("target");
    let whole = |value: &Value| {
        value
            .as_integer()
            .and_then(|whole| i32::try_from(whole).ok())
            .map(f64::from)
    };
    Ok(Goal {
        what: text(value, "what")?,
        ours: source(value.get("ours")).ok_or_else(|| bad("ours"))?,
        floor: source(value.get("floor")),
        peer: source(value.get("peer")),
        compare: match text(value, "compare")?.as_str() {
            "floor / ours" => Compare::FloorOverOurs,
            "ours" => Compare::Ours,
            "ours / floor" => Compare::OursOverFloor,
            _ => return Err(bad("compare")),
        },
        bound: match text(value, "bound")?.as_str() {
            "at least" => Bound::AtLeast,
            "at most" => Bound::AtMost,
            _ => return Err(bad("bound")),
        },
        target: target
            .and_then(|target| target.as_float().or_else(|| whole(target)))
            .ok_or_else(|| bad("target"))?,
        unit: text(value, "unit")?,
        limit: None,
        id,
    })
}

/// What limits a goal: the longest key that is its id, or that its id begins with, up to a point.
fn limit_of(limits: &Table, id: &str) -> Option<String> {
    let covers = |key: &str| {
        id.strip_prefix(key)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let covering = limits.iter().filter(|(key, _)| covers(key));
    let (_, longest) = covering.max_by_key(|(key, _)| key.len())?;
    longest.as_str().map(str::to_owned)
}

fn source(value: Option<&Value>) -> Option<Source> {
    let value = value?;
    let text = |key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    Some(Source {
        run: text("run")?,
        figure: text("figure")?,
        scale: value.get("scale").and_then(Value::as_float).unwrap_or(1.0),
    })
}

fn words(value: &Value) -> Vec<String> {
    let list = value.as_array().map_or(&[][..], Vec::as_slice);
    list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn text(value: &Value, key: &str) -> Outcome<String> {
    let found = value.get(key).and_then(Value::as_str);
    found
        .map(str::to_owned)
        .ok_or_else(|| broken(&format!("an entry lacks `{key}`")))
}

fn broken(what: &str) -> Fail {
    Fail::broken(format!("`{SOURCE}`: {what}"))
}
