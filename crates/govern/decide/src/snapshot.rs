//! The snapshot: everything a decision reads, as persistent maps. A clone costs a few reference counts, a
//! change O(log n), and whoever holds an older one keeps it unchanged.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bailiwick_base::{
    ClientId, Epoch, IdentityId, ServerName, SigningAlgorithm, StatePos, TaskId, TenantId, Time, ToolName,
    TrustId,
};
use bailiwick_credential::consent::PublicClient;
use bailiwick_credential::signing_key::{SigningKey, key_floor};
use bailiwick_credential::trust::Trust;
use bailiwick_credential::{Client, Task};
use bailiwick_grant::{Grant, Rate, SCOPES_MAX, compile, vocabulary};
use bailiwick_inventory::{Identity, PinState, Tenant, ToolPin, UpstreamServer};
use cedar_policy::EntityUid;
use smallvec::SmallVec;

use crate::call::Call;
use crate::entity::{IdentityEntity, item, uid};
use crate::fact::Fact;
use crate::mark::Mark;
use crate::marks::{Marks, Standing};
use crate::policy::TenantPolicies;
use crate::policy::compiled::Compiled;
use crate::reason::DenyReason;
use crate::view::{Caller, aim_of, caller_of};

/// Why facts were not taken in; the snapshot is unchanged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Facts of an older position than the snapshot's: taking them in could bring back what was revoked.
    #[error(
        "facts of state position {found} and epoch {found_epoch} are older than the snapshot's {held} and {held_epoch}"
    )]
    Older {
        /// Position offered.
        found: StatePos,
        /// Epoch offered.
        found_epoch: Epoch,
        /// Position held.
        held: StatePos,
        /// Epoch held.
        held_epoch: Epoch,
    },
}

/// What is true at one position of the state log. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    epoch: Epoch,
    floor: Epoch,
    pos: StatePos,
    marks: Marks,
    /// Stops that no transaction stands behind yet, by the number their author gave them.
    pending: imbl::OrdMap<u64, Mark>,
    /// The same, joined; each stops whoever it names, of whatever epoch.
    pending_marks: Marks,
    spaces: imbl::OrdMap<TenantId, Space>,
}

/// One tenant's part.
#[derive(Debug, Clone)]
pub(crate) struct Space {
    pub(crate) tenant: Option<(Arc<Tenant>, SigningAlgorithm)>,
    pub(crate) policies: Arc<TenantPolicies>,
    identities: imbl::OrdMap<IdentityId, Arc<IdentityEntity>>,
    tasks: imbl::OrdMap<TaskId, Arc<TaskEntry>>,
    clients: imbl::OrdMap<ClientId, Arc<Client>>,
    servers: imbl::OrdMap<ServerName, Arc<ServerEntry>>,
    trusts: imbl::OrdMap<TrustId, Arc<Trust>>,
    public_clients: imbl::OrdMap<ClientId, Arc<PublicClient>>,
    signing_keys: Arc<[SigningKey]>,
}

/// A task with its grant, compiled.
#[derive(Debug)]
pub(crate) struct TaskEntry {
    pub(crate) task: Arc<Task>,
    pub(crate) grant: Arc<Grant>,
    pub(crate) uid: EntityUid,
    /// The id as text, as policies compare it.
    pub(crate) text: String,
    /// Compiled when the first call asks: most tasks of an installation are closed.
    policies: OnceLock<Result<Vec<Compiled>, String>>,
}

/// An upstream server and the entities of its tools.
#[derive(Debug)]
pub(crate) struct ServerEntry {
    pub(crate) server: Arc<UpstreamServer>,
    pub(crate) uid: EntityUid,
    pub(crate) tools: BTreeMap<String, ToolEntry>,
}

/// One tool as pinned.
#[derive(Debug)]
pub(crate) struct ToolEntry {
    pub(crate) name: ToolName,
    pub(crate) state: PinState,
    pub(crate) uid: EntityUid,
    /// Its place among the server's pins.
    at: usize,
}

impl TaskEntry {
    fn new(task: Arc<Task>, grant: Arc<Grant>) -> Self {
        let text = task.id.to_string();
        Self {
            uid: uid(vocabulary::TASK, &text),
            text,
            task,
            grant,
            policies: OnceLock::new(),
        }
    }

    /// One policy for each scope, or why there is none; then every call under the grant is denied.
    pub(crate) fn policies(&self) -> Result<&[Compiled], &str> {
        let compiled = self.policies.get_or_init(|| compiled(&self.task, &self.grant));
        compiled.as_deref().map_err(String::as_str)
    }

    /// Positions of the scopes that name `action` of `server`, literally or through `*`.
    pub(crate) fn scopes(&self, server: &ServerName, action: &str) -> impl Iterator<Item = usize> {
        self.grant
            .scopes
            .iter()
            .enumerate()
            .filter(move |(_, s)| {
                s.server == *server && s.action.as_ref().is_none_or(|a| a.as_str() == action)
            })
            .map(|(n, _)| n)
    }
}

fn compiled(task: &Task, grant: &Grant) -> Result<Vec<Compiled>, String> {
    if grant.task != task.id || grant.identity != task.identity {
        return Err(format!(
            "grant `{}` belongs to another task or identity",
            grant.id
        ));
    }
    if grant.scopes.len() > SCOPES_MAX {
        return Err(format!("grant `{}` has more than {SCOPES_MAX} scopes", grant.id));
    }
    let policies = compile(grant).map_err(|e| e.to_string())?;
    policies
        .into_iter()
        .map(|(_, policy)| Compiled::new(policy).map_err(|e| e.to_string()))
        .collect()
}

impl ServerEntry {
    fn new(server: Arc<UpstreamServer>) -> Self {
        let tools = server
            .pins
            .iter()
            .enumerate()
            .map(|(at, pin)| {
                let uid = item(vocabulary::TOOL, &server.name, pin.name.as_str());
                (
                    pin.name.to_string(),
                    ToolEntry {
                        name: pin.name.clone(),
                        state: pin.state,
                        uid,
                        at,
                    },
                )
            })
            .collect();
        Self {
            uid: uid(vocabulary::SERVER, server.name.as_str()),
            tools,
            server,
        }
    }
}

impl Default for Space {
    fn default() -> Self {
        Self {
            tenant: None,
            policies: TenantPolicies::builtin(),
            identities: imbl::OrdMap::new(),
            tasks: imbl::OrdMap::new(),
            clients: imbl::OrdMap::new(),
            servers: imbl::OrdMap::new(),
            trusts: imbl::OrdMap::new(),
            public_clients: imbl::OrdMap::new(),
            signing_keys: Arc::default(),
        }
    }
}

impl Space {
    /// A trust rule that was not removed.
    pub(crate) fn trust(&self, id: &TrustId) -> Option<&Arc<Trust>> {
        self.trusts.get(id)
    }

    pub(crate) fn identity(&self, id: &IdentityId) -> Option<&Arc<IdentityEntity>> {
        self.identities.get(id)
    }

    pub(crate) fn task(&self, id: &TaskId) -> Option<&Arc<TaskEntry>> {
        self.tasks.get(id)
    }

    pub(crate) fn server(&self, name: &ServerName) -> Option<&Arc<ServerEntry>> {
        self.servers.get(name)
    }

    /// The policies of every grant.
    pub(crate) fn grant_policies(&self) -> impl Iterator<Item = &Compiled> {
        self.tasks.values().filter_map(|t| t.policies().ok()).flatten()
    }
}

/// A kill stops whoever is older than it; before its epoch is known, everybody is.
fn everybody(mark: &Mark) -> Mark {
    Mark {
        epoch: Epoch(u64::MAX),
        ..mark.clone()
    }
}

impl Snapshot {
    /// Nothing is known; every call is denied.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// With `facts` taken in, in their order.
    ///
    /// A grant or a policy text that cannot be compiled does not stop the others: whatever it governs is
    /// denied with `policy.evaluation-failed`, and revocations beside it take effect.
    ///
    /// # Errors
    /// [`SnapshotError::Older`] when a position or epoch lies behind the one held.
    pub fn apply(&self, facts: impl IntoIterator<Item = Fact>) -> Result<Self, SnapshotError> {
        let mut next = self.clone();
        for fact in facts {
            next.take(fact)?;
        }
        Ok(next)
    }

    fn take(&mut self, fact: Fact) -> Result<(), SnapshotError> {
        match fact {
            Fact::Client(client) => {
                let clients = &mut self.space_mut(client.id.tenant()).clients;
                clients.insert(client.id.clone(), client);
            }
            Fact::Trust(trust) => {
                let trusts = &mut self.space_mut(trust.id.tenant()).trusts;
                match trust.removed_at {
                    None => trusts.insert(trust.id.clone(), trust),
                    Some(_) => trusts.remove(&trust.id),
                };
            }
            Fact::EpochFloor(floor) => self.floor = self.floor.max(floor),
            Fact::Identity(identity) => {
                let id = identity.id.clone();
                let entry = Arc::new(IdentityEntity::new(identity));
                self.space_mut(id.tenant()).identities.insert(id.clone(), entry);
            }
            Fact::Mark(mark) => self.marks = self.marks.with(&mark),
            Fact::MarkLifted(scope) => self.marks = self.marks.lifted(&scope),
            Fact::Policies(tenant, text) => {
                self.space_mut(&tenant).policies = Arc::new(TenantPolicies::read(&text));
            }
            Fact::Position(pos, epoch) => {
                if pos < self.pos || epoch < self.epoch {
                    let (held, held_epoch) = (self.pos, self.epoch);
                    return Err(SnapshotError::Older {
                        found: pos,
                        found_epoch: epoch,
                        held,
                        held_epoch,
                    });
                }
                self.pos = pos;
                self.epoch = epoch;
            }
            Fact::PublicClient(client) => {
                let clients = &mut self.space_mut(client.id.tenant()).public_clients;
                match client.removed_at {
                    None => clients.insert(client.id.clone(), client),
                    Some(_) => clients.remove(&client.id),
                };
            }
            Fact::Server(server) => {
                let entry = Arc::new(ServerEntry::new(server));
                let (tenant, name) = (entry.server.tenant.clone(), entry.server.name.clone());
                self.space_mut(&tenant).servers.insert(name, entry);
            }
            Fact::SigningKeys(tenant, keys) => self.space_mut(&tenant).signing_keys = keys,
            Fact::Task(task, grant) => {
                let id = task.id.clone();
                let entry = Arc::new(TaskEntry::new(task, grant));
                self.space_mut(id.tenant()).tasks.insert(id.clone(), entry);
            }
            Fact::Tenant(tenant, algorithm) => {
                let id = tenant.id.clone();
                self.space_mut(&id).tenant = Some((tenant, algorithm));
            }
        }
        Ok(())
    }

    fn space_mut(&mut self, tenant: &TenantId) -> &mut Space {
        self.spaces.entry(tenant.clone()).or_default()
    }

    pub(crate) fn space(&self, tenant: &TenantId) -> Option<&Space> {
        self.spaces.get(tenant)
    }

    /// The strictest mark that stops `standing`, committed or pending.
    pub(crate) fn strictest(&self, standing: &Standing<'_>) -> Option<Mark> {
        let committed = self.marks.strictest(standing);
        if self.pending.is_empty() {
            return committed;
        }
        let pending = self.pending_marks.strictest(standing).map(|mark| Mark {
            epoch: self.epoch.next(),
            ..mark
        });
        match (committed, pending) {
            (Some(committed), Some(pending)) if pending.effect > committed.effect => Some(pending),
            (Some(committed), _) => Some(committed),
            (None, pending) => pending,
        }
    }

    /// The tasks that nobody has to know any more at `now`.
    #[must_use]
    pub fn forgotten(&self, now: Time) -> Vec<TaskId> {
        let tasks = self.spaces.values().flat_map(|space| space.tasks.values());
        tasks
            .filter(|entry| entry.task.is_forgotten(now))
            .map(|entry| entry.task.id.clone())
            .collect()
    }

    /// Without these tasks. Whatever still names one is refused as unknown.
    #[must_use]
    pub fn without_tasks(&self, tasks: &[TaskId]) -> Self {
        let mut next = self.clone();
        for task in tasks {
            if let Some(space) = next.spaces.get_mut(task.tenant()) {
                space.tasks.remove(task);
            }
        }
        next
    }

    /// Stops that are in force here and that no committed mark stands behind yet.
    pub fn uncommitted(&self) -> impl Iterator<Item = &Mark> {
        self.pending.values()
    }

    /// With `mark` set, at once; the epoch and the position stay.
    #[must_use]
    pub fn with_mark(&self, mark: &Mark) -> Self {
        let mut next = self.clone();
        next.marks = self.marks.with(mark);
        next
    }

    /// With a stop under `number` that is not committed yet: it stops everybody whom its scope names, whatever
    /// the epoch of their credential, until [`Snapshot::without_pending`].
    #[must_use]
    pub fn with_pending(&self, number: u64, mark: &Mark) -> Self {
        let mut next = self.clone();
        next.pending.insert(number, mark.clone());
        next.pending_marks = self.pending_marks.with(&everybody(mark));
        next
    }

    /// Without the stop under `number`: what is committed speaks for itself from here on.
    #[must_use]
    pub fn without_pending(&self, number: u64) -> Self {
        let mut next = self.clone();
        next.pending.remove(&number);
        next.pending_marks = next
            .pending
            .values()
            .fold(Marks::default(), |marks, mark| marks.with(&everybody(mark)));
        next
    }

    /// The revocation epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The position of the state log that is taken into account.
    #[must_use]
    pub fn state_pos(&self) -> StatePos {
        self.pos
    }

    /// Tokens of the tenant with a lower epoch are dead: after a restore, or because a key was compromised.
    #[must_use]
    pub fn epoch_floor(&self, tenant: &TenantId) -> Epoch {
        self.floor.max(key_floor(self.signing_keys(tenant)))
    }

    /// The signing keys of a tenant that are published, and those that were compromised.
    #[must_use]
    pub fn signing_keys(&self, tenant: &TenantId) -> &[SigningKey] {
        self.space(tenant).map_or(&[], |s| &s.signing_keys)
    }

    /// The tenants with the algorithms of their issuers, in order.
    pub fn tenants(&self) -> impl Iterator<Item = (&Arc<Tenant>, SigningAlgorithm)> {
        self.spaces
            .values()
            .filter_map(|s| s.tenant.as_ref().map(|(t, a)| (t, *a)))
    }

    /// A tenant and the algorithm its issuer signs with.
    #[must_use]
    pub fn tenant(&self, id: &TenantId) -> Option<(&Arc<Tenant>, SigningAlgorithm)> {
        self.space(id)?.tenant.as_ref().map(|(t, a)| (t, *a))
    }

    /// An identity, in whatever state.
    #[must_use]
    pub fn identity(&self, id: &IdentityId) -> Option<&Arc<Identity>> {
        self.space(id.tenant())?.identity(id).map(|e| &e.identity)
    }

    /// The identities of a tenant, by id.
    pub fn identities(&self, tenant: &TenantId) -> impl Iterator<Item = &Arc<Identity>> {
        self.space(tenant)
            .into_iter()
            .flat_map(|s| s.identities.values().map(|e| &e.identity))
    }

    /// A task and its grant.
    #[must_use]
    pub fn task(&self, id: &TaskId) -> Option<(&Arc<Task>, &Arc<Grant>)> {
        self.space(id.tenant())?.task(id).map(|e| (&e.task, &e.grant))
    }

    /// The tasks of a tenant with their grants, by id.
    pub fn tasks(&self, tenant: &TenantId) -> impl Iterator<Item = (&Arc<Task>, &Arc<Grant>)> {
        self.space(tenant)
            .into_iter()
            .flat_map(|s| s.tasks.values().map(|e| (&e.task, &e.grant)))
    }

    /// The clients without a key of a tenant that were not removed, by id.
    pub fn public_clients(&self, tenant: &TenantId) -> impl Iterator<Item = &Arc<PublicClient>> {
        self.space(tenant)
            .into_iter()
            .flat_map(|s| s.public_clients.values())
    }

    /// The trust rules of a tenant that were not removed, by id.
    pub fn trusts(&self, tenant: &TenantId) -> impl Iterator<Item = &Arc<Trust>> {
        self.space(tenant).into_iter().flat_map(|s| s.trusts.values())
    }

    /// The trust rules of all tenants that were not removed: an issuer speaks for one of them only.
    pub fn every_trust(&self) -> impl Iterator<Item = &Arc<Trust>> {
        self.spaces.values().flat_map(|s| s.trusts.values())
    }

    /// An OAuth client.
    #[must_use]
    pub fn client(&self, id: &ClientId) -> Option<&Arc<Client>> {
        self.space(id.tenant())?.clients.get(id)
    }

    /// The OAuth clients of a tenant, by id.
    pub fn clients(&self, tenant: &TenantId) -> impl Iterator<Item = &Arc<Client>> {
        self.space(tenant).into_iter().flat_map(|s| s.clients.values())
    }

    /// Why `call`, which was permitted at `at`, must stop by now, if it must: a mark, an ended task, identity
    /// or tenant, a drifted tool. Policies are not asked again, and time alone ends nothing here.
    #[must_use]
    pub fn ended(&self, call: &Call, at: Time) -> Option<DenyReason> {
        crate::decide::ended(self, call, at)
    }

    /// Why `call` is refused whatever its arguments are, if it is: for what is shown before there are any. `None`
    /// permits nothing, it only leaves the answer to the call itself.
    #[must_use]
    pub fn barred(&self, call: &Call, now: Time) -> Option<DenyReason> {
        crate::decide::barred(self, call, now)
    }

    /// An upstream server.
    #[must_use]
    pub fn server(&self, tenant: &TenantId, name: &ServerName) -> Option<&Arc<UpstreamServer>> {
        self.space(tenant)?.server(name).map(|e| &e.server)
    }

    /// A tool of an upstream server as it is pinned, in whatever state.
    #[must_use]
    pub fn pin(&self, tenant: &TenantId, server: &ServerName, tool: &str) -> Option<&ToolPin> {
        let entry = self.space(tenant)?.server(server)?;
        entry.server.pins.get(entry.tools.get(tool)?.at)
    }

    /// The upstream servers of a tenant, by name.
    pub fn servers(&self, tenant: &TenantId) -> impl Iterator<Item = &Arc<UpstreamServer>> {
        self.space(tenant)
            .into_iter()
            .flat_map(|s| s.servers.values().map(|e| &e.server))
    }

    /// The strictest mark this call falls under and the reason it gives: the mark check alone, for the
    /// moment after recording and for calls in flight.
    #[must_use]
    pub fn marked(&self, call: &Call) -> Option<(DenyReason, Mark)> {
        let space = self.space(call.tenant());
        let caller = caller_of(call).unwrap_or(Caller::Outside);
        crate::stop::marked_anywhere(self, space, call, &caller, &aim_of(call))
    }

    /// The mark that only watches over this call, if there is one.
    pub(crate) fn watching(&self, call: &Call) -> Option<Mark> {
        if !(self.marks.watch() || self.pending_marks.watch()) {
            return None;
        }
        let space = self.space(call.tenant())?;
        let caller = caller_of(call).unwrap_or(Caller::Outside);
        crate::stop::watched(self, space, call, &caller, &aim_of(call))
    }

    /// The rates the meter must read for this call: position of the scope in the grant, and its rate. Empty
    /// when nothing limits it.
    #[must_use]
    pub fn rates_of(&self, call: &Call) -> SmallVec<[(usize, Rate); 2]> {
        let found = || {
            let space = self.space(call.tenant())?;
            let entry = space.task(caller_of(call).ok()?.task()?)?;
            let aim = aim_of(call);
            let (server, action) = aim.scope_name()?;
            let scopes = entry.scopes(server, action);
            Some(
                scopes
                    .filter_map(|n| Some((n, entry.grant.scopes.get(n)?.rate?)))
                    .collect(),
            )
        };
        found().unwrap_or_default()
    }
}
