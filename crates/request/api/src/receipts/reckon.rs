//! What the decision log says about a scope: who was let through last, and what a stop would cut.
//!
//! The log is read from its end backwards, within limits: a long log costs no more than a short one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bailiwick_base::{Epoch, IdentityId, TenantId, Time};
use bailiwick_decide::{Door, MarkScope};
use bailiwick_inventory::Identity;
use bailiwick_store::Reach;
use bailiwick_wire::{LogEntry, LogPlace};
use serde_json::Value;

use super::points::PROBE;
use crate::Deps;
use crate::deps::LogDoor;
use crate::problem::RouteError;
use crate::stop::reach_of;
use crate::svids_issued::IssuedSvid;

/// Entries that are looked at for a dry run, at most; for a receipt where all of them are of after the stop.
pub(crate) const FORESEEN_MAX: u64 = 50_000;
/// Entries that are looked at for a receipt, at most: a thousand kills must not keep a node busy with its own log.
pub(crate) const LOOKED_MAX: u64 = 5_000;
/// Entries of one page.
const PAGE: u64 = 250;
/// How far back is looked.
pub(crate) const LOOK_BACK: Duration = Duration::from_secs(3_600);
/// Outcome of a permit that a mark overtook.
const OVERTAKEN: &str = "overtaken";
/// Names kept of each kind.
const NAMES_MAX: usize = 1_000;

/// The stop after which calls are counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct After {
    pub(crate) epoch: Epoch,
    /// When it was durable, if that was at this node.
    pub(crate) committed: Option<Time>,
    /// Whoever was registered later is not meant: what was killed is born anew under its label or owner.
    pub(crate) reborn: Option<Time>,
}

/// What falls under a scope, as records name it.
pub(crate) struct Scoped {
    scope: MarkScope,
    tenant: Option<TenantId>,
    members: BTreeSet<String>,
    rules: BTreeSet<String>,
    /// The scope is the tenant's own issuer.
    own_issuer: bool,
    /// Nothing of it is older, where that is known.
    born: Option<Time>,
}

impl Scoped {
    pub(crate) fn of(deps: &Deps, scope: &MarkScope, reborn: Option<Time>) -> Self {
        let tenant = match reach_of(scope) {
            Reach::Tenant(tenant) => Some(tenant),
            _ => None,
        };
        let snapshot = deps.cell.load();
        let (mut rules, mut own_issuer) = (BTreeSet::new(), false);
        if let MarkScope::Issuer(tenant, url) = scope {
            own_issuer = *url == deps.issuer(tenant);
            let of_issuer = snapshot.trusts(tenant).filter(|rule| rule.issuer.url == *url);
            rules.extend(of_issuer.map(|rule| rule.id.to_string()));
        }
        // Who is retired by now had the label all the same.
        let mut found: Vec<&Arc<Identity>> = match scope {
            MarkScope::Identity(id) => snapshot.identity(id).into_iter().collect(),
            MarkScope::Agent(tenant, label) => snapshot
                .identities(tenant)
                .filter(|i| i.labels.agent.as_ref() == Some(label))
                .collect(),
            MarkScope::Owner(tenant, team) => snapshot
                .identities(tenant)
                .filter(|i| i.owner.team == *team)
                .collect(),
            MarkScope::Task(id) => {
                let whose = snapshot
                    .task(id)
                    .and_then(|(task, _)| snapshot.identity(&task.identity));
                whose.into_iter().collect()
            }
            _ => Vec::new(),
        };
        found.retain(|identity| reborn.is_none_or(|at| identity.created_at <= at));
        let born = found.iter().map(|identity| identity.created_at).min();
        let mut members: BTreeSet<String> = found.iter().map(|identity| identity.id.to_string()).collect();
        match scope {
            MarkScope::Identity(id) => {
                members.insert(id.to_string());
            }
            MarkScope::Task(_) => members.clear(),
            _ => {}
        }
        Self {
            scope: scope.clone(),
            tenant,
            members,
            rules,
            own_issuer,
            born,
        }
    }

    /// Nothing of it that counts is older: it was not there, or it has ended.
    fn oldest(&self, now: Time) -> Time {
        let hour = Time::from_micros(now.micros().saturating_sub(micros(LOOK_BACK)));
        self.born.map_or(hour, |born| born.max(hour))
    }

    /// Whether a record is of the issue of tokens that the scope cuts off, though its own call does not fall under it:
    /// of the token itself, or of tokens that reach the server or the tool.
    fn cuts_off(&self, record: &Value) -> bool {
        let listed = |at: &str, wanted: &dyn Fn(&str) -> bool| {
            let list = record.pointer(at).and_then(Value::as_array);
            list.into_iter().flatten().filter_map(Value::as_str).any(wanted)
        };
        let own = record.get("tenant").and_then(Value::as_str) == self.tenant.as_ref().map(TenantId::as_str);
        own && match &self.scope {
            MarkScope::Token(id) => listed("/issue/jti", &|jti| jti == id.to_string()),
            MarkScope::Server(_, server) => listed("/issue/scope", &|scope| {
                scope
                    .split_once(':')
                    .is_some_and(|(named, _)| named == server.as_str())
            }),
            MarkScope::Tool(_, server, tool) => listed("/issue/scope", &|scope| {
                scope.split_once(':').is_some_and(|(named, action)| {
                    named == server.as_str() && (action == "*" || action == tool.as_str())
                })
            }),
            _ => false,
        }
    }

    /// Whether a token that was issued under the scope, or that it cuts off, is meant by it.
    fn means(&self, jti: &str) -> bool {
        match &self.scope {
            MarkScope::Token(id) => jti == id.to_string(),
            _ => true,
        }
    }

    /// Whether a record is of a call that falls under the scope.
    pub(crate) fn holds(&self, record: &Value) -> bool {
        let text = |name: &str| record.get(name).and_then(Value::as_str);
        if self
            .tenant
            .as_ref()
            .is_some_and(|t| text("tenant") != Some(t.as_str()))
        {
            return false;
        }
        match &self.scope {
            MarkScope::All | MarkScope::Tenant(_) => true,
            MarkScope::Agent(..) | MarkScope::Identity(_) | MarkScope::Owner(..) => {
                actors(record).any(|id| self.members.contains(id))
            }
            MarkScope::Issuer(..) => {
                self.own_issuer && (text("jti").is_some() || record.get("issue").is_some())
                    || text("client").is_some_and(|client| self.rules.contains(client))
            }
            MarkScope::Server(_, server) => text("server") == Some(server.as_str()),
            MarkScope::Task(id) => text("task") == Some(&id.to_string()),
            MarkScope::Token(id) => text("jti") == Some(&id.to_string()),
            MarkScope::Tool(_, server, tool) => {
                let named = record.pointer("/resource/id").and_then(Value::as_str);
                text("server") == Some(server.as_str())
                    && (named == Some(tool.as_str()) || text("action") == Some(tool.as_str()))
            }
        }
    }
}

/// Everybody who acts in a record, the subject included.
fn actors(record: &Value) -> impl Iterator<Item = &str> {
    let chain = |pointer: &str| record.pointer(pointer).and_then(Value::as_array);
    let chains = [chain("/act"), chain("/issue/act")];
    // At an AuthZEN point nobody shows a token: the record has whom it was asked about.
    let single = ["/nhi", "/sub", "/subject/id", "/issue/nhi", "/issue/sub"];
    let single = single
        .into_iter()
        .filter_map(|at| record.pointer(at).and_then(Value::as_str));
    let chained = chains.into_iter().flatten().flatten().filter_map(Value::as_str);
    single.chain(chained)
}

/// Tokens and certificates that prove an identity to others until they end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Svid {
    pub(crate) id: String,
    pub(crate) expires_at: Time,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Reckoned {
    /// By enforcement point, the newest permitted call under the scope.
    pub(crate) last: BTreeMap<String, LogPlace>,
    /// By enforcement point, permitted calls after the moment that was asked about.
    pub(crate) after: BTreeMap<String, u64>,
    /// Permitted calls of the last hour, by what they were made to.
    pub(crate) calls: BTreeMap<String, u64>,
    /// Identities that acted by delegation under the scope, and are not of it themselves.
    pub(crate) descendants: BTreeSet<String>,
    /// Tokens that were issued under the scope and have not expired.
    pub(crate) tokens: BTreeSet<String>,
    pub(crate) svids: Vec<Svid>,
    /// Whether SVIDs were issued at all, under whatever scope.
    pub(crate) are_svids_issued: bool,
    /// Whether all that live are among `svids`.
    pub(crate) are_svids_known: bool,
    /// Index back to which was looked.
    pub(crate) from: u64,
    /// Whether the whole hour was looked at.
    pub(crate) is_whole: bool,
    /// Whether everything was looked at that came after the stop.
    pub(crate) reached: bool,
}

/// Reads the decision log of this node back from its end. What was permitted under `stop` is counted apart.
pub(crate) async fn reckon(
    deps: &Deps,
    scope: &MarkScope,
    stop: Option<After>,
    max: u64,
) -> Result<Reckoned, RouteError> {
    let scoped = Scoped::of(deps, scope, stop.and_then(|stop| stop.reborn));
    let now = deps.clock.now();
    let mut found = read_back(&*deps.logs, &scoped, (now, stop), max).await?;
    let meant = |svid: &IssuedSvid| {
        (scoped.holds(&svid.record) || scoped.cuts_off(&svid.record)) && scoped.means(&svid.id)
    };
    let (living, since) = deps.svids.living(now, meant);
    found.know(living, since <= scoped.oldest(now));
    Ok(found)
}

impl Reckoned {
    /// What this process remembers of SVIDs beside what the log said.
    fn know(&mut self, living: Vec<IssuedSvid>, are_all: bool) {
        self.are_svids_known = are_all || self.is_whole;
        for svid in living {
            if self.svids.len() < NAMES_MAX && self.svids.iter().all(|known| known.id != svid.id) {
                self.svids.push(Svid {
                    id: svid.id,
                    expires_at: svid.expires_at,
                });
            }
        }
    }
}

/// What records are held against.
struct Moments {
    now: Time,
    /// What is older is only looked at for what was permitted under the stop.
    oldest: Time,
    stop: Option<After>,
}

async fn read_back(
    logs: &dyn LogDoor,
    scoped: &Scoped,
    (now, stop): (Time, Option<After>),
    max: u64,
) -> Result<Reckoned, RouteError> {
    let oldest = scoped.oldest(now);
    let of_decisions = logs.list().into_iter().find(|log| log.log == "decisions");
    let size = of_decisions.as_ref().map_or(0, |log| log.sequenced);
    let begins = of_decisions.as_ref().map_or(0, |log| log.begins);
    let gone = of_decisions.and_then(|log| log.pruned);
    let mut found = Reckoned {
        from: size,
        reached: stop.is_none(),
        ..Reckoned::default()
    };
    let moments = Moments { now, oldest, stop };
    let mut outcomes = BTreeMap::new();
    let most = |found: &Reckoned| if found.reached { max } else { max.max(FORESEEN_MAX) };
    while found.from > begins && size - found.from < most(&found) {
        let from = found.from.saturating_sub(PAGE).max(begins);
        let wanted = usize::try_from(found.from - from).unwrap_or(usize::MAX);
        let entries = whole_page(logs, scoped.tenant.as_ref(), from, wanted).await?;
        // Records of one moment are not in order of what they were decided by: a page of older ones is old enough.
        found.reached |= stop.is_some_and(|stop| !entries.iter().any(|e| is_under(e, time_of(e), stop)));
        for entry in entries.iter().rev() {
            let at = time_of(entry);
            if at < oldest {
                found.is_whole = true;
                found.reached |= scoped.born == Some(oldest);
                if found.reached {
                    return Ok(found);
                }
            }
            take(&mut found, scoped, entry, (at, &moments), &mut outcomes);
        }
        found.from = from;
    }
    // What was pruned is missed only where it is of the time that is looked at.
    let newest_gone = gone.and_then(|gone| Time::parse(&gone.newest_at).ok());
    let is_all = found.from == begins && newest_gone.is_none_or(|newest| newest < oldest);
    found.is_whole |= is_all;
    found.reached |= is_all;
    Ok(found)
}

/// A page is bounded in bytes too: the rest of it is asked for until it is there.
async fn whole_page(
    logs: &dyn LogDoor,
    of: Option<&TenantId>,
    from: u64,
    max: usize,
) -> Result<Vec<LogEntry>, RouteError> {
    let mut out = Vec::with_capacity(max);
    while out.len() < max {
        let next = logs
            .entries("decisions", from + out.len() as u64, max - out.len(), of)
            .await
            .map_err(|e| RouteError::broken("the decision log could not be read", &e))?;
        if next.is_empty() {
            break;
        }
        out.extend(next);
    }
    Ok(out)
}

fn take(
    found: &mut Reckoned,
    scoped: &Scoped,
    entry: &LogEntry,
    (at, moments): (Time, &Moments),
    outcomes: &mut BTreeMap<String, String>,
) {
    let Some(record) = &entry.payload else {
        return;
    };
    let text = |name: &str| record.get(name).and_then(Value::as_str);
    let decision = text("decision").unwrap_or_default();
    if let Some(outcome) = text("outcome") {
        outcomes.insert(decision.to_owned(), outcome.to_owned());
        return;
    }
    let door = text("door").unwrap_or_default();
    found.are_svids_issued |= door == Door::Spiffe.as_str();
    let made_up = text("client") == Some(PROBE) || door == Door::Check.as_str();
    if text("effect") != Some("permit") || made_up {
        return;
    }
    if !scoped.holds(record) {
        if scoped.cuts_off(record) {
            issued(found, scoped, record, (door, moments.now));
        }
        return;
    }
    // What was overtaken by a stop was recorded, and did not happen.
    let outcome = outcomes.remove(decision);
    if outcome.as_deref() != Some(OVERTAKEN) {
        if moments.stop.is_some_and(|stop| is_under(entry, at, stop)) {
            *found.after.entry(door.to_owned()).or_default() += 1;
        }
        found.last.entry(door.to_owned()).or_insert_with(|| LogPlace {
            log: "decisions".to_owned(),
            index: entry.index,
            at: at.to_string(),
            decision: Some(decision.to_owned()),
            outcome,
        });
    }
    if at < moments.oldest {
        return;
    }
    let of = text("server").or_else(|| text("action")).unwrap_or("?");
    if found.calls.len() < NAMES_MAX || found.calls.contains_key(of) {
        *found.calls.entry(of.to_owned()).or_default() += 1;
    }
    if found.descendants.len() < NAMES_MAX {
        let subject = || record.pointer("/subject/id").and_then(Value::as_str);
        let acting = text("nhi")
            .or_else(subject)
            .filter(|id| !scoped.members.is_empty() && !scoped.members.contains(*id));
        found.descendants.extend(acting.map(str::to_owned));
    }
    issued(found, scoped, record, (door, moments.now));
}

fn time_of(entry: &LogEntry) -> Time {
    Time::from_micros(entry.leaf.get("at").and_then(Value::as_i64).unwrap_or(0))
}

/// Whether a decision was taken when the stop was in force: with its mark in memory, or after it was durable.
fn is_under(entry: &LogEntry, at: Time, stop: After) -> bool {
    let known = entry.leaf.get("epoch").and_then(Value::as_u64).unwrap_or(0);
    known >= stop.epoch.0 || stop.committed.is_some_and(|committed| at > committed)
}

/// What a record says was issued and still lives.
fn issued(found: &mut Reckoned, scoped: &Scoped, record: &Value, (door, now): (&str, Time)) {
    let Some(issue) = record.get("issue") else {
        return;
    };
    let expires = issue.get("expires_at").and_then(Value::as_i64).unwrap_or(0);
    let expires_at = Time::from_secs(expires);
    if expires_at <= now {
        return;
    }
    let ids = issue.get("jti").and_then(Value::as_array).into_iter().flatten();
    for id in ids.filter_map(Value::as_str).filter(|id| scoped.means(id)) {
        if door == Door::Spiffe.as_str() {
            if found.svids.len() < NAMES_MAX {
                found.svids.push(Svid {
                    id: id.to_owned(),
                    expires_at,
                });
            }
        } else if found.tokens.len() < NAMES_MAX {
            found.tokens.insert(id.to_owned());
        }
    }
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

/// The identities among `ids` that this tenant knows.
pub(crate) fn known(deps: &Deps, tenant: &TenantId, ids: &BTreeSet<String>) -> Vec<IdentityId> {
    let snapshot = deps.cell.load();
    ids.iter()
        .filter_map(|id| IdentityId::parse(tenant, id).ok())
        .filter(|id| snapshot.identity(id).is_some())
        .collect()
}

#[cfg(test)]
mod tests {
    use bailiwick_wire::NamedLog;
    use serde_json::json;

    use super::*;
    use crate::deps::{BoxFuture, LogError};

    const STOP: Epoch = Epoch(7);

    /// A log of permits, the last `after` of them under the stop and this much younger than the others.
    struct Permits {
        size: u64,
        after: u64,
        younger: Duration,
    }

    impl Permits {
        fn leaf(&self, index: u64) -> Value {
            if index + self.after < self.size {
                json!({"at": 1, "epoch": 6})
            } else {
                json!({"at": 1 + micros(self.younger), "epoch": 7})
            }
        }
    }

    impl LogDoor for Permits {
        fn list(&self) -> Vec<NamedLog> {
            vec![NamedLog {
                log: "decisions".to_owned(),
                origin: "here".to_owned(),
                vkey: String::new(),
                sequenced: self.size,
                integrated: self.size,
                begins: 0,
                pruned: None,
                keep_days: None,
                legal_hold: None,
            }]
        }

        fn prove<'a>(
            &'a self,
            _: &'a str,
            _: u64,
            _: bool,
        ) -> BoxFuture<'a, Result<Option<Vec<u8>>, LogError>> {
            Box::pin(async { Ok(None) })
        }

        fn index_of<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<u64>, LogError>> {
            Box::pin(async { Ok(None) })
        }

        fn entries<'a>(
            &'a self,
            _: &'a str,
            from: u64,
            max: usize,
            _: Option<&'a TenantId>,
        ) -> BoxFuture<'a, Result<Vec<LogEntry>, LogError>> {
            let indexes = (from..self.size).take(max);
            let entries = indexes.map(|index| LogEntry {
                index,
                tenant: None,
                leaf: self.leaf(index),
                payload: Some(json!({
                    "decision": format!("dec_{index}"), "door": "gateway", "effect": "permit", "tenant": "acme",
                })),
                names: BTreeMap::new(),
            });
            let entries = entries.collect();
            Box::pin(async { Ok(entries) })
        }

        fn openings<'a>(&'a self, _: &'a str, _: u64, _: usize) -> BoxFuture<'a, Result<Vec<u8>, LogError>> {
            Box::pin(async { Ok(Vec::new()) })
        }
    }

    async fn found(size: u64, after: u64) -> Reckoned {
        let permits = Permits {
            size,
            after,
            younger: Duration::ZERO,
        };
        found_in(&permits, Time::from_micros(2)).await
    }

    async fn found_in(permits: &Permits, now: Time) -> Reckoned {
        let tenant = TenantId::parse("acme").unwrap();
        let scoped = Scoped {
            scope: MarkScope::Tenant(tenant.clone()),
            tenant: Some(tenant),
            members: BTreeSet::new(),
            rules: BTreeSet::new(),
            own_issuer: false,
            born: None,
        };
        let stop = After {
            epoch: STOP,
            committed: None,
            reborn: None,
        };
        read_back(permits, &scoped, (now, Some(stop)), LOOKED_MAX)
            .await
            .unwrap()
    }

    /// A page that ends among older records, and a stop that is older than the hour itself.
    #[tokio::test]
    async fn an_hour_without_many_records_ends_no_look_early() {
        let hour = LOOK_BACK;
        for (size, after) in [
            (1, 0),
            (10, 0),
            (10, 3),
            (PAGE, 1),
            (PAGE + 1, PAGE),
            (3 * PAGE, PAGE + 1),
        ] {
            for (younger, since) in [
                (3 * hour, Duration::ZERO),
                (hour / 2, 2 * hour),
                (2 * hour, 2 * hour),
            ] {
                let permits = Permits { size, after, younger };
                let now = Time::from_micros(2).after(younger + since);
                let found = found_in(&permits, now).await;
                assert!(
                    found.reached && found.is_whole,
                    "{size} {after} {younger:?} {since:?}"
                );
                assert_eq!(found.after.values().sum::<u64>(), after);
                let of_the_hour = if since < hour { after } else { 0 };
                assert_eq!(found.calls.values().sum::<u64>(), of_the_hour);
            }
        }
    }

    #[tokio::test]
    async fn everything_behind_a_stop_is_counted_or_said_not_to_be() {
        for after in [0, 1, LOOKED_MAX - 1, LOOKED_MAX, LOOKED_MAX + 1, 3 * LOOKED_MAX] {
            let found = found(4 * LOOKED_MAX, after).await;
            assert!(found.reached, "{after}");
            assert_eq!(found.after.values().sum::<u64>(), after);
        }
        // Nothing was let through, so the usual look is enough.
        assert_eq!(found(4 * LOOKED_MAX, 0).await.from, 3 * LOOKED_MAX);
        let far = found(FORESEEN_MAX + 4 * LOOKED_MAX, FORESEEN_MAX + LOOKED_MAX).await;
        assert!(!far.reached && far.from > 0);
        assert_eq!(far.after.values().sum::<u64>(), FORESEEN_MAX);
    }
}
