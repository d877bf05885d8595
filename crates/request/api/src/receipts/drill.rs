//! Drills: a canary identity is registered, gets a real token, and is killed by the same way as anybody. Its token is
//! presented at every enforcement point before and after, and what was measured is kept as a receipt.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bailiwick_base::{IdentityId, TaskId, TenantId, Time};
use bailiwick_credential::{self as credential, TaskPlan};
use bailiwick_decide::{Arguments, Bearer, Call, Effect, MarkEffect, MarkScope, Principal, Target, Thing};
use bailiwick_grant::{self as grant, Grant};
use bailiwick_inventory::{self as inventory, Kind, Labels, Owner, Registration};
use bailiwick_store::{Actor, Context, Reach, RequestId, Tx};
use bailiwick_wire::{self as wire, Known, ReceiptPoint};
use http::StatusCode;
use smallvec::SmallVec;

use super::config::KillConfig;
use super::points::Point;
use super::to_body;
use crate::Deps;
use crate::authzen::named;
use crate::command::{CommandError, answer, store_error};
use crate::issue::{self, Requester};
use crate::problem::RouteError;
use crate::stop::{Pressed, Stop, Stopped};

/// How long a canary may live at most.
const CANARY_TTL: Duration = Duration::from_secs(600);
/// How soon after a failed drill another one is made.
const AGAIN: Duration = Duration::from_secs(60);
/// The one scope of a canary: on a server that nobody adds.
const CANARY_SCOPE: &str = "bailiwick-kill-drill:nothing";
/// Who answers for canaries.
const CANARY_TEAM: &str = "kill-switch-drill";
/// Upper ends of the histogram, microseconds; what is above them all is counted last.
const BUCKETS_US: [u64; 9] = [250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 100_000, 1_000_000];
/// Receipts that drills are looked for in.
const LOOKED_MAX: u32 = 1_000;

/// When drills are made, and how the last one ended.
#[derive(Debug)]
pub struct Drills {
    every: Option<Duration>,
    /// From here on a residue is an alarm.
    pub(super) late: Duration,
    turn: Mutex<Turn>,
}

#[derive(Debug, Default)]
struct Turn {
    /// When the next one is looked at, monotonic.
    next: Option<Duration>,
    last: Option<Last>,
}

#[derive(Debug, Clone)]
struct Last {
    at: Time,
    trouble: Option<String>,
}

impl Drills {
    /// Drills by themselves as often as configured, or only when asked for.
    #[must_use]
    pub fn new(config: &KillConfig) -> Self {
        Self {
            every: config.drill_every(),
            late: Duration::from_secs(u64::from(config.residue_alarm_secs)),
            turn: Mutex::default(),
        }
    }

    /// Why the switch would not work today, as the last drill saw it.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        turn.last.as_ref().and_then(|last| last.trouble.clone())
    }

    /// Takes the turn of a drill by schedule. The first look comes soon after the start, because what is kept tells when
    /// it is due: a process that never lives for an interval would make none otherwise.
    pub(crate) fn is_due(&self, now: Duration) -> bool {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        // Red health is looked at again soon, whoever asked for the drill.
        let is_red = turn.last.as_ref().is_some_and(|last| last.trouble.is_some());
        let every = match (self.every, is_red) {
            (Some(every), true) => every.min(AGAIN),
            (None, true) => AGAIN,
            (Some(every), false) => every,
            (None, false) => {
                turn.next = None;
                return false;
            }
        };
        let mut next = turn.next.unwrap_or(now + every.min(AGAIN));
        if is_red {
            next = next.min(now + every);
        }
        let due = now >= next;
        turn.next = Some(if due { now + every } else { next });
        due
    }

    /// How long it is until the next one, where the last was made `since`; nothing when it is due.
    fn rest(&self, since: Duration) -> Option<Duration> {
        let rest = self.every?.checked_sub(since)?;
        (!rest.is_zero()).then_some(rest)
    }

    /// The next one comes when `rest` has passed.
    fn wait(&self, now: Duration, rest: Duration) {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        turn.next = Some(now + rest);
    }

    fn note(&self, at: Time, trouble: Option<String>) {
        metrics::gauge!("bailiwick_kill_drill_failed").set(if trouble.is_some() { 1.0 } else { 0.0 });
        if let Some(why) = &trouble {
            tracing::error!(why, "the kill switch would not work today: a drill failed");
        }
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        turn.last = Some(Last { at, trouble });
    }

    fn last_at(&self) -> Option<Time> {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        turn.last.as_ref().map(|last| last.at)
    }
}

/// Where everything is stopped, a canary would be dead before it is killed, and that would say nothing.
fn is_stopped(deps: &Deps, tenant: &TenantId) -> bool {
    let mark = deps
        .cell
        .load()
        .mark_on(Thing::Tenant(tenant), &deps.issuer(tenant));
    mark.is_some_and(|mark| mark.effect.is_whole())
}

/// A drill by schedule, in the first tenant that is not stopped.
pub(crate) async fn by_schedule(deps: Deps) {
    let snapshot = deps.cell.load();
    let first = snapshot
        .tenants()
        .map(|(tenant, _)| tenant.id.clone())
        .find(|tenant| !is_stopped(&deps, tenant));
    let Some(tenant) = first else {
        return;
    };
    if deps.drills.trouble().is_none() {
        match kept_since(&deps, &tenant).await {
            Ok(since) => {
                if let Some(rest) = deps.drills.rest(since) {
                    return deps.drills.wait(deps.clock.monotonic(), rest);
                }
            }
            Err(error) => tracing::warn!(error = error.detail(), "earlier drills could not be read"),
        }
    }
    if let Err(error) = run(&deps, &tenant, Actor::System("drill")).await {
        tracing::error!(error = error.detail(), "a drill could not be made");
    }
}

/// How long ago this node drilled with success, or the tenant began: as long as the interval where the last one failed.
async fn kept_since(deps: &Deps, tenant: &TenantId) -> Result<Duration, RouteError> {
    let (node, now) = (deps.node(), deps.clock.now());
    let mut reader = deps.store.reader(tenant).await.map_err(|e| store_error(&e))?;
    let kept = reader.kill_receipt().newest(None, LOOKED_MAX).await;
    for receipt in kept.map_err(|e| store_error(&e))? {
        let body = to_body(&receipt)?;
        if body.drill && body.points.first().is_some_and(|line| line.node == node) {
            let all_hold = body.points.iter().all(|line| line.known == Known::Revoked);
            return Ok(if all_hold {
                now.since(receipt.at)
            } else {
                Duration::MAX
            });
        }
    }
    let began = deps
        .cell
        .load()
        .tenant(tenant)
        .map(|(tenant, _)| tenant.created_at);
    Ok(began.map_or(Duration::MAX, |began| now.since(began)))
}

/// One drill; what hinders it is noted like one that failed, because the switch hangs on the same things.
pub(crate) async fn run(deps: &Deps, tenant: &TenantId, actor: Actor) -> Result<wire::Drill, RouteError> {
    if is_stopped(deps, tenant) {
        return Err(RouteError::new(
            StatusCode::CONFLICT,
            "kill.tenant-stopped",
            "this tenant is stopped: a drill in it would show nothing",
        )
        .hint("drill in another one"));
    }
    let drilled = drilled(deps, tenant, actor).await;
    let trouble = match &drilled {
        Ok(drill) => drill.trouble.clone(),
        Err(error) => Some(error.detail().to_owned()),
    };
    deps.drills.note(deps.clock.now(), trouble);
    drilled
}

async fn drilled(deps: &Deps, tenant: &TenantId, actor: Actor) -> Result<wire::Drill, RouteError> {
    let (identity, task) = canary(deps, tenant, &actor).await?;
    let issued = issue::for_task(deps, &task, 1, Requester::Operator, None, None).await?;
    let text = issued
        .tokens
        .first()
        .map(|t| t.access_token.clone())
        .unwrap_or_default();
    let bearer = deps
        .verifier
        .verify_unshown(tenant, text.as_bytes(), deps.clock.now())
        .map_err(|e| RouteError::broken("the canary's token is not taken", &e))?
        .bearer();
    let mut trouble = Vec::new();
    for point in Point::ALL {
        if is_dead(deps, &calls(deps, &bearer, point)?).is_some() {
            trouble.push(format!(
                "{}: the canary was dead before it was killed",
                point.as_str()
            ));
        }
    }
    let received = deps.clock.monotonic();
    let stop = Stop {
        scope: MarkScope::Identity(identity.clone()),
        effect: MarkEffect::Kill,
        reason: "drill of the kill switch".to_owned(),
    };
    let stopped = deps.stop_canary(stop, actor, received).await?;
    for point in Point::ALL {
        let call = calls(deps, &bearer, point)?;
        let refused = match point.records() {
            true => match deps.pep.evaluate(call).await {
                Ok(recorded) => {
                    matches!(recorded.value().effect, Effect::Deny(reason) if reason.kills_credential())
                }
                Err(_) => false,
            },
            false => is_dead(deps, &call).is_some(),
        };
        let after = deps.clock.monotonic().saturating_sub(received);
        if refused {
            metrics::histogram!("bailiwick_kill_drill_seconds", "point" => point.as_str())
                .record(after.as_secs_f64());
        } else {
            trouble.push(format!(
                "{}: the token of the killed canary was not refused",
                point.as_str()
            ));
        }
    }
    finished(deps, tenant, &identity, &stopped, trouble).await
}

async fn finished(
    deps: &Deps,
    tenant: &TenantId,
    identity: &IdentityId,
    stopped: &Stopped,
    mut trouble: Vec<String>,
) -> Result<wire::Drill, RouteError> {
    let receipt = &stopped.receipt;
    let stop = Pressed {
        reach: Reach::from(tenant),
        epoch: receipt.epoch,
        committed: stopped.committed,
        ends: stopped.ends.clone(),
        _own: None,
    };
    deps.contain(Reach::from(tenant), receipt.epoch, Some(&stop))
        .await?;
    let kept = deps.receipt(Reach::from(tenant), receipt.epoch).await?;
    let kept = kept.ok_or_else(|| RouteError::not_found("receipt"))?;
    let body = to_body(&kept)?;
    if stopped.ends.contained_us.is_none() {
        trouble.push("the kill was committed, and not contained in time".to_owned());
    }
    for line in body.points.iter().filter(|line| line.known != Known::Revoked) {
        trouble.push(format!("{}: no refusal is recorded", line.point));
    }
    Ok(wire::Drill {
        canary: identity.to_string(),
        receipt: receipt.epoch.0,
        at: kept.at.to_string(),
        denied_us: body.denied_us,
        committed_us: body.committed_us,
        points: body.points,
        trouble: (!trouble.is_empty()).then(|| trouble.join("; ")),
    })
}

/// A call of the canary at a point.
fn calls(deps: &Deps, bearer: &Bearer, point: Point) -> Result<Call, RouteError> {
    let tenant = &bearer.claims.tenant;
    let target = match point {
        Point::Issue | Point::Spiffe => Target::Issue {
            claims: Arc::clone(&bearer.claims),
            tokens: vec![deps.mint(tenant)?],
            subject: None,
            evidence: None,
        },
        _ => named("drill", "", ""),
    };
    Ok(Call {
        id: deps.mint(tenant)?,
        door: point.door(),
        target,
        principal: Principal::Bearer(bearer.clone()),
        arguments: Arguments::default(),
        rates: SmallVec::new(),
    })
}

/// Whether the credential of a call is dead, and not only the call refused.
fn is_dead(deps: &Deps, call: &Call) -> Option<&'static str> {
    let ended = deps.cell.load().ended(call, deps.clock.now());
    ended
        .filter(|reason| reason.kills_credential())
        .map(|reason| reason.code())
}

/// An identity with a task that may do nothing.
async fn canary(deps: &Deps, tenant: &TenantId, actor: &Actor) -> Result<(IdentityId, TaskId), RouteError> {
    let (identity, task): (IdentityId, TaskId) = (deps.mint(tenant)?, deps.mint(tenant)?);
    let grant_id = deps.mint(tenant)?;
    let scope =
        grant::parse_scope(CANARY_SCOPE).map_err(|e| RouteError::broken("a drill has no scope", &e))?;
    let now = deps.clock.now();
    let wanted = Registration {
        id: identity.clone(),
        kind: Kind::Agent,
        name: format!("kill-drill-{identity}"),
        platform: "bailiwick".to_owned(),
        owner: Some(Owner {
            team: CANARY_TEAM.to_owned(),
            contact: actor.to_string(),
        }),
        application: None,
        purpose: Some("killed in a drill of the kill switch".to_owned()),
        labels: Labels::default(),
        expires_at: Some(now.after(CANARY_TTL)),
    };
    let registered = inventory::register(wanted, &deps.limits, now)
        .map_err(|refusal| RouteError::refused(refusal.code(), &refusal))?;
    let request = RequestId(
        deps.ids
            .uuid()
            .map_err(|e| RouteError::broken("randomness failed", &e))?,
    );
    let context = Context::new(Reach::from(tenant), actor.clone(), request);
    let (limits, opened, by) = (deps.credential_limits.clone(), task.clone(), actor.to_string());
    let holder = identity.clone();
    deps.store
        .transact(context, async move |tx: &mut Tx| {
            tx.identity().apply(registered.clone()).await?;
            let wanted = TaskPlan {
                id: opened.clone(),
                identity: holder.clone(),
                identity_expires_at: registered.after.expires_at,
                purpose: "killed in a drill of the kill switch".to_owned(),
                requested_by: by.clone(),
                opens_at: None,
                closes_at: registered.after.expires_at,
                may_act: Vec::new(),
            };
            let planned = credential::open_task(wanted, &limits, tx.now())?;
            let granted = Grant {
                id: grant_id.clone(),
                task: opened.clone(),
                identity: holder.clone(),
                scopes: vec![scope.clone()],
                expires_at: planned.after.closes_at,
            };
            tx.task().open(planned, granted).await?;
            answer(&())
        })
        .await
        .map_err(|e: CommandError| RouteError::from(e))?;
    Ok((identity, task))
}

/// The drills of a tenant that are kept, and how long the first refusal took at each point.
pub(crate) async fn report(deps: &Deps, tenant: &TenantId) -> Result<wire::Drills, RouteError> {
    let mut reader = deps.store.reader(tenant).await.map_err(|e| store_error(&e))?;
    let kept = reader.kill_receipt().newest(None, LOOKED_MAX).await;
    let mut points: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let (mut drills, mut failed, mut last) = (0, 0, None);
    for receipt in kept.map_err(|e| store_error(&e))? {
        let body = to_body(&receipt)?;
        if !body.drill {
            continue;
        }
        drills += 1;
        failed += u64::from(body.points.iter().any(|line| line.known != Known::Revoked));
        last.get_or_insert_with(|| receipt.at.to_string());
        for line in &body.points {
            count(points.entry(line.point.clone()).or_default(), line);
        }
    }
    let histogram = points
        .into_iter()
        .map(|(point, counts)| wire::PointHistogram { point, counts });
    Ok(wire::Drills {
        drills,
        failed,
        last,
        trouble: deps.drills.trouble(),
        checked_at: deps.drills.last_at().map(|at| at.to_string()),
        bounds_us: BUCKETS_US.to_vec(),
        points: histogram.collect(),
    })
}

fn count(counts: &mut Vec<u64>, line: &ReceiptPoint) {
    counts.resize(BUCKETS_US.len() + 1, 0);
    let Some(us) = line.refusal_us else {
        return;
    };
    let at = BUCKETS_US
        .iter()
        .position(|bound| us <= *bound)
        .unwrap_or(BUCKETS_US.len());
    if let Some(counted) = counts.get_mut(at) {
        *counted += 1;
    }
}
