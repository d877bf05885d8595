//! Kill, suspend, resume: the one order (decisions page, section 4).
//!
//! kill journal without flush → deny in memory → flush of the journal beside the state-log transaction →
//! `committed`. A crash between any two steps comes back denied, because a start replays the journal before
//! it listens.

use std::sync::Arc;
use std::time::Duration;

use bailiwick_base::{Digest, Epoch, IdentityId, TaskId, TokenId};
use bailiwick_credential::{Claims, ScopeSet, TaskState};
use bailiwick_decide::{
    Arguments, Bearer, Call, Door, Effect, ItemKind, Mark, MarkEffect, MarkScope, NamedEntity, Principal,
    Target,
};
use bailiwick_inventory::{self as inventory, State};
use bailiwick_journal::{KillEntry, KillMark};
use bailiwick_store::{Actor, Context, Lane, Reach, Receipt, RequestId, Tx};
use bailiwick_wire as wire;
use http::StatusCode;

use crate::Deps;
use crate::command::{CommandError, answer};
use crate::problem::RouteError;
use crate::session::Session;

/// Identities that one transaction ends beside the mark; the rest follow in batches of this size.
const MEMBERS_MAX: usize = 256;

/// What is to be stopped.
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    pub(crate) scope: MarkScope,
    pub(crate) effect: MarkEffect,
    pub(crate) reason: String,
}

/// How far it got, on the clock of this node.
pub(crate) struct Stopped {
    pub(crate) receipt: Arc<Receipt>,
    pub(crate) denied: Duration,
    pub(crate) committed: Duration,
    pub(crate) cancelled: u64,
    pub(crate) points: Vec<wire::PointReading>,
}

/// Whose entry it is.
pub(crate) fn reach_of(scope: &MarkScope) -> Reach {
    match scope {
        MarkScope::All => Reach::Installation,
        MarkScope::Token(id) => Reach::from(id.tenant()),
        MarkScope::Task(id) => Reach::from(id.tenant()),
        MarkScope::Identity(id) => Reach::from(id.tenant()),
        MarkScope::Agent(tenant, _)
        | MarkScope::Owner(tenant, _)
        | MarkScope::Issuer(tenant, _)
        | MarkScope::Server(tenant, _)
        | MarkScope::Tool(tenant, ..)
        | MarkScope::Tenant(tenant) => Reach::from(tenant),
    }
}

impl Deps {
    /// Stops, in the fixed order. `received` is the monotonic time at which the last byte of the command was
    /// here.
    pub(crate) async fn stop(
        &self,
        session: &Session,
        stop: Stop,
        request: Digest,
        received: Duration,
    ) -> Result<Stopped, RouteError> {
        let provisional = self.cell.load().epoch().next();
        let context = self
            .context(session, reach_of(&stop.scope), request)?
            .lane(Lane::Kill);
        let entry = KillEntry {
            at: self.clock.now(),
            actor: format!("operator:{}", session.operator),
            marks: vec![KillMark {
                scope: stop.scope.clone(),
                effect: stop.effect,
            }],
            provisional_epoch: provisional,
            request: request.to_string(),
            idempotency: session.idempotency.clone(),
        };
        let slot = self.kill_journal.write(&entry).map_err(|e| {
            RouteError::new(StatusCode::SERVICE_UNAVAILABLE, "kill.journal", e.to_string())
                .hint("free the disk of the data folder; nothing was stopped")
        })?;
        let mark = Mark {
            scope: stop.scope.clone(),
            effect: stop.effect,
            epoch: provisional,
        };
        let cancelled = self.in_flight(&stop.scope);
        self.cell.mark(&mark);
        let denied = self.clock.monotonic().saturating_sub(received);
        let points = self.probe(&stop.scope, received);
        let journal = Arc::clone(&self.kill_journal);
        let flush = tokio::task::spawn_blocking(move || journal.flush());
        let (flushed, written) = tokio::join!(flush, self.write_stop(context, stop.clone()));
        flushed
            .map_err(|e| RouteError::broken("kill journal could not be flushed", &e))?
            .map_err(|e| RouteError::unavailable("kill.journal", e.to_string()))?;
        let receipt = match written {
            Ok(receipt) => receipt,
            Err(CommandError::Route(refused)) => {
                // The room said no (already retired, for example): the mark stays until the next start at the
                // latest, and nothing was widened.
                self.settle(slot);
                return Err(refused);
            }
            Err(CommandError::Store(error)) => return Err(local_only(&error)),
        };
        self.settle(slot);
        let committed = self.clock.monotonic().saturating_sub(received);
        metrics::histogram!("bailiwick_kill_committed_seconds").record(committed.as_secs_f64());
        metrics::histogram!("bailiwick_kill_denied_seconds").record(denied.as_secs_f64());
        Ok(Stopped {
            receipt,
            denied,
            committed,
            cancelled,
            points,
        })
    }

    fn settle(&self, slot: bailiwick_journal::Slot) {
        if let Err(error) = self.kill_journal.settle(slot) {
            // An entry that is carried out again stops what is stopped already.
            tracing::warn!(error = %crate::problem::chain(&error), "kill journal entry not settled");
        }
    }

    /// The mark with the first members in one transaction, so that an answer means the mark is durable; what is
    /// left of a large family follows in batches, because none may hold the writer for long.
    async fn write_stop(&self, context: Context, stop: Stop) -> Result<Arc<Receipt>, CommandError> {
        let members = self.members(&stop.scope);
        let (first, rest) = members.split_at(members.len().min(MEMBERS_MAX));
        let (following, first, whole) = (context.clone().alone(), first.to_vec(), stop.clone());
        let receipt = self
            .store
            .transact(context, async move |tx: &mut Tx| {
                let epoch = write_mark(tx, &whole, &first).await?;
                answer(&epoch.0)
            })
            .await?;
        for batch in rest.chunks(MEMBERS_MAX) {
            let (batch, stop) = (batch.to_vec(), stop.clone());
            self.store
                .transact(following.clone(), async move |tx: &mut Tx| {
                    end_members(tx, &stop, &batch).await?;
                    answer(&())
                })
                .await
                .map_err(|e: CommandError| e)?;
        }
        Ok(receipt)
    }

    /// Living identities a scope names directly or by label; a tenant and the installation are marks only.
    pub(crate) fn members(&self, scope: &MarkScope) -> Vec<IdentityId> {
        let snapshot = self.cell.load();
        let living = |i: &inventory::Identity| !matches!(i.state, State::Retired { .. });
        match scope {
            MarkScope::Identity(id) => vec![id.clone()],
            MarkScope::Agent(tenant, label) => snapshot
                .identities(tenant)
                .filter(|i| living(i) && i.labels.agent.as_ref() == Some(label))
                .map(|i| i.id.clone())
                .collect(),
            MarkScope::Owner(tenant, team) => snapshot
                .identities(tenant)
                .filter(|i| living(i) && i.owner.team == *team)
                .map(|i| i.id.clone())
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Carries out what the kill journal holds and the state log may not: at start, before listening.
    ///
    /// # Errors
    /// When the store does not take it; the service must not start then.
    pub async fn replay_kills(
        &self,
        entries: Vec<(bailiwick_journal::Slot, KillEntry)>,
    ) -> Result<(), RouteError> {
        for (slot, entry) in entries {
            for mark in entry.marks {
                let provisional = self.cell.load().epoch().next();
                self.cell.mark(&Mark {
                    scope: mark.scope.clone(),
                    effect: mark.effect,
                    epoch: provisional,
                });
                let id = self
                    .ids
                    .uuid()
                    .map_err(|e| RouteError::broken("randomness failed", &e))?;
                let context = Context::new(
                    reach_of(&mark.scope),
                    Actor::System("kill-journal"),
                    RequestId(id),
                );
                let stop = Stop {
                    scope: mark.scope,
                    effect: mark.effect,
                    reason: format!("replayed from the kill journal, given by {}", entry.actor),
                };
                match self.write_stop(context.lane(Lane::Kill), stop).await {
                    // Refused by the room: it was carried out before the crash.
                    Ok(_) | Err(CommandError::Route(_)) => {}
                    Err(CommandError::Store(bailiwick_store::StoreError::Unchanged { .. })) => {}
                    Err(error @ CommandError::Store(_)) => return Err(error.into()),
                }
            }
            self.settle(slot);
        }
        Ok(())
    }
}

impl Deps {
    /// One call at each enforcement point that falls under the scope, decided on the present snapshot: when
    /// the first refusal there could happen, on the clock of this node.
    fn probe(&self, scope: &MarkScope, received: Duration) -> Vec<wire::PointReading> {
        let mut points = Vec::new();
        for door in [Door::Gateway, Door::Authzen, Door::Issue] {
            let Some(call) = self.probe_call(scope, door) else {
                continue;
            };
            let refused = matches!(self.pep.probe(&call).effect, Effect::Deny(_));
            if refused && self.cell.load().marked(&call).is_some() {
                let after = self.clock.monotonic().saturating_sub(received);
                points.push(wire::PointReading {
                    point: door.as_str().to_owned(),
                    refusal_us: u64::try_from(after.as_micros()).unwrap_or(u64::MAX),
                });
            }
        }
        points
    }

    /// A call with a token that was issued just before, by somebody the scope names.
    fn probe_call(&self, scope: &MarkScope, door: Door) -> Option<Call> {
        let snapshot = self.cell.load();
        let tenant = match scope {
            MarkScope::All => snapshot.tenants().next().map(|(t, _)| t.id.clone())?,
            other => match reach_of(other) {
                Reach::Tenant(tenant) => tenant,
                _ => return None,
            },
        };
        let of_task = match scope {
            MarkScope::Task(id) => snapshot.task(id).map(|(t, _)| t.identity.clone()),
            _ => None,
        };
        let nhi = of_task
            .or_else(|| self.members(scope).into_iter().next())
            .or_else(|| snapshot.identities(&tenant).next().map(|i| i.id.clone()))?;
        let task = match scope {
            MarkScope::Task(id) => id.clone(),
            _ => self.ids.mint(&tenant).ok()?,
        };
        let token = match scope {
            MarkScope::Token(id) => id.clone(),
            _ => self.ids.mint(&tenant).ok()?,
        };
        let now = self.clock.now();
        let claims = Arc::new(Claims {
            issuer: match scope {
                MarkScope::Issuer(_, issuer) => issuer.clone(),
                _ => self.issuer(&tenant),
            },
            subject: nhi.to_string(),
            audience: self.audience(&tenant),
            client: "probe".to_owned(),
            issued_at: now,
            expires_at: now.after(Duration::from_secs(60)),
            token: token.clone(),
            tenant: tenant.clone(),
            nhi,
            task,
            epoch: Epoch(snapshot.epoch().0.saturating_sub(1)),
            scopes: ScopeSet::default(),
            act: smallvec::SmallVec::new(),
        });
        Some(Call {
            id: self.ids.mint(&tenant).ok()?,
            door,
            target: probe_target(scope, door, &claims, token),
            principal: Principal::Bearer(Bearer {
                claims,
                token_hash: Digest::default(),
            }),
            arguments: Arguments::default(),
            rates: smallvec::SmallVec::new(),
        })
    }
}

fn probe_target(scope: &MarkScope, door: Door, claims: &Arc<Claims>, token: TokenId) -> Target {
    match (scope, door) {
        (MarkScope::Server(_, server), _) => Target::Mcp {
            server: server.clone(),
            method: "tools/list".to_owned(),
            item: None,
        },
        (MarkScope::Tool(_, server, tool), _) => Target::Mcp {
            server: server.clone(),
            method: "tools/call".to_owned(),
            item: Some((ItemKind::Tool, tool.to_string())),
        },
        (_, Door::Issue) => Target::Issue {
            claims: Arc::clone(claims),
            tokens: vec![token],
        },
        _ => Target::Named {
            action: "probe".to_owned(),
            action_properties: serde_json::Map::new(),
            resource: NamedEntity::default(),
            context: serde_json::Map::new(),
        },
    }
}

/// The mark, and the states of the identities it names, in one transaction.
async fn write_mark(tx: &mut Tx, stop: &Stop, members: &[IdentityId]) -> Result<Epoch, CommandError> {
    let epoch = tx
        .mark()
        .set(stop.scope.clone(), stop.effect, &stop.reason)
        .await?;
    if let (MarkScope::Task(id), MarkEffect::Kill) = (&stop.scope, stop.effect) {
        end_task(tx, id, &stop.reason).await?;
    }
    end_members(tx, stop, members).await?;
    Ok(epoch)
}

/// The states of the identities a stop names.
async fn end_members(tx: &mut Tx, stop: &Stop, members: &[IdentityId]) -> Result<(), CommandError> {
    let single = matches!(stop.scope, MarkScope::Identity(_));
    for id in members {
        let identity = tx
            .identity()
            .lookup(id)
            .await?
            .ok_or_else(|| RouteError::not_found("identity"))?;
        let now = tx.now();
        let transition = match stop.effect {
            MarkEffect::Kill => inventory::retire(identity, &stop.reason, now),
            MarkEffect::Suspend => inventory::suspend(identity, &stop.reason, now),
        };
        match transition {
            Ok(transition) => {
                tx.identity().apply(transition).await?;
            }
            // One of many that is stopped already is no reason to let the others run.
            Err(_) if !single => {}
            Err(refusal) => return Err(refusal.into()),
        }
    }
    Ok(())
}

/// A mark stops the tokens that exist; a task that is closed gets no new ones.
async fn end_task(tx: &mut Tx, id: &TaskId, reason: &str) -> Result<(), CommandError> {
    let (task, _) = tx
        .task()
        .lookup(id)
        .await?
        .ok_or_else(|| RouteError::not_found("task"))?;
    if task.state == TaskState::Open {
        let transition = bailiwick_credential::close_task(task, reason, tx.now())?;
        tx.task().apply(transition).await?;
    }
    Ok(())
}

fn local_only(error: &bailiwick_store::StoreError) -> RouteError {
    RouteError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "kill.local-only",
        format!("denied on this node and durable in its kill journal, but not in the state log: {error}"),
    )
    .hint("it stays denied; repeat the command once the store takes writes")
}

impl Deps {
    /// Open calls that fall under a scope: what a dry run counts and a kill cancels.
    pub(crate) fn in_flight(&self, scope: &MarkScope) -> u64 {
        let mark = Mark {
            scope: scope.clone(),
            effect: MarkEffect::Kill,
            epoch: Epoch(u64::MAX),
        };
        let marked = self.cell.load().with_mark(&mark);
        self.pep.in_flight(|call| marked.marked(call).is_some())
    }
}
