//! A small world: one tenant, one agent, one file server with two tools, one task.

use std::sync::Arc;
use std::time::Duration;

use bailiwick_base::{
    DecisionId, Digest, Epoch, GrantId, IdentityId, Ids, ManualClock, SeededEntropy, ServerName,
    SigningAlgorithm, StatePos, TaskId, TenantId, Time, TokenId, ToolName,
};
use bailiwick_credential::{Claims, Task, TaskState};
use bailiwick_decide::{
    Arguments, Bearer, Call, Door, Fact, ItemKind, Mark, MarkEffect, MarkScope, Principal, Snapshot, Target,
};
use bailiwick_grant::{Grant, parse_scope};
use bailiwick_inventory::{
    Connection, Identity, Kind, Labels, Origin, Owner, PinState, State, Tenant, TenantState, ToolPin,
    UpstreamServer,
};
use bailiwick_pep::{Pep, SnapshotCell};
use serde_json::{Value, json};
use smallvec::SmallVec;
use uuid::Uuid;

use crate::recorder::Log;

pub(crate) fn at(seconds: i64) -> Time {
    Time::from_secs(1_790_000_000 + seconds)
}

pub(crate) fn tenant() -> TenantId {
    TenantId::parse("acme").unwrap()
}

pub(crate) fn identity() -> IdentityId {
    IdentityId::from_parts(tenant(), Uuid::from_u128(1))
}

pub(crate) fn task() -> TaskId {
    TaskId::from_parts(tenant(), Uuid::from_u128(2))
}

pub(crate) fn token() -> TokenId {
    TokenId::from_parts(tenant(), Uuid::from_u128(3))
}

pub(crate) fn task_fact(state: TaskState, scopes: &[&str]) -> Fact {
    let task = Task {
        id: task(),
        identity: identity(),
        purpose: "read invoices".to_owned(),
        requested_by: "opr".to_owned(),
        opens_at: at(-100),
        closes_at: at(10_000),
        state,
        may_act: Vec::new(),
    };
    let grant = Grant {
        id: GrantId::from_parts(tenant(), Uuid::from_u128(4)),
        task: task.id.clone(),
        identity: identity(),
        scopes: scopes.iter().map(|scope| parse_scope(scope).unwrap()).collect(),
        expires_at: at(10_000),
    };
    Fact::Task(Arc::new(task), Arc::new(grant))
}

pub(crate) fn facts(scopes: &[&str]) -> Vec<Fact> {
    let pin = |name: &str| ToolPin {
        name: ToolName::parse(name).unwrap(),
        digest: Digest::of(name.as_bytes()),
        definition: Vec::new(),
        state: PinState::Pinned,
    };
    let (of, agent) = (tenant(), identity());
    vec![
        Fact::Tenant(
            Arc::new(Tenant {
                id: of.clone(),
                name: "Acme".to_owned(),
                employees: 10,
                reference: "0011223344556677".to_owned(),
                state: TenantState::Active,
                created_at: at(-1_000),
            }),
            SigningAlgorithm::default(),
        ),
        Fact::Identity(Arc::new(Identity {
            id: agent.clone(),
            kind: Kind::Agent,
            name: "reader".to_owned(),
            platform: "bailiwick".to_owned(),
            owner: Owner {
                team: "payments".to_owned(),
                contact: "payments@acme.test".to_owned(),
            },
            application: None,
            purpose: "reads invoices".to_owned(),
            labels: Labels::default(),
            origin: Origin::Registered,
            state: State::Active,
            composition: None,
            created_at: at(-1_000),
            expires_at: at(100_000),
            changed_at: at(-1_000),
        })),
        Fact::Server(Arc::new(UpstreamServer {
            tenant: of,
            name: ServerName::parse("filesystem").unwrap(),
            identity: agent.clone(),
            connection: Connection::Http {
                url: "https://upstream.test/mcp".to_owned(),
                allow_addresses: Vec::new(),
                allow_plaintext: false,
            },
            credential: None,
            pins: vec![pin("read_text_file"), pin("write_file")],
            created_at: at(-1_000),
        })),
        task_fact(TaskState::Open, scopes),
        Fact::Position(StatePos(7), Epoch(5)),
    ]
}

/// Everything an enforcement point has, with a clock and a log the test holds.
pub(crate) struct World {
    pub(crate) pep: Arc<Pep>,
    pub(crate) cell: Arc<SnapshotCell>,
    pub(crate) log: Arc<Log>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) ids: Ids,
}

pub(crate) const LEASE: Duration = Duration::from_secs(5);
pub(crate) const BUDGET: Duration = Duration::from_millis(250);

impl World {
    pub(crate) fn new(scopes: &[&str]) -> Self {
        let clock = Arc::new(ManualClock::at(at(0)));
        let cell = Arc::new(SnapshotCell::new(
            Snapshot::empty().apply(facts(scopes)).unwrap(),
            LEASE,
        ));
        let ids = Ids::new(clock.clone(), Arc::new(SeededEntropy::new(1)));
        let log = Arc::new(Log::default());
        let pep = Arc::new(Pep::new(
            cell.clone(),
            log.clone(),
            clock.clone(),
            ids.clone(),
            BUDGET,
        ));
        let world = Self {
            pep,
            cell,
            log,
            clock,
            ids,
        };
        world.hear();
        world
    }

    pub(crate) fn hear(&self) {
        use bailiwick_base::Clock as _;
        self.cell.heard(self.clock.monotonic());
    }

    pub(crate) fn call(&self) -> Call {
        self.call_with("read_text_file", json!({"path": "/srv/invoices/1.txt"}))
    }

    pub(crate) fn call_with(&self, tool: &str, arguments: Value) -> Call {
        let id: DecisionId = self.ids.mint(&tenant()).unwrap();
        let claims = Claims {
            issuer: "https://b.example/t/acme".to_owned(),
            subject: identity().to_string(),
            audience: "https://b.example/t/acme/mcp".to_owned(),
            client: "cli_x".to_owned(),
            issued_at: at(-10),
            expires_at: at(290),
            token: token(),
            tenant: tenant(),
            nhi: identity(),
            task: task(),
            epoch: Epoch(5),
            scopes: bailiwick_credential::ScopeSet::parse("filesystem:read_text_file filesystem:write_file"),
            act: SmallVec::new(),
            may_act: Vec::new(),
            lineage: Vec::new(),
            confirmation: None,
            composition: None,
        };
        Call {
            id,
            door: Door::Gateway,
            principal: Principal::Bearer(Bearer {
                claims: Arc::new(claims),
                token_hash: Digest::of(b"token"),
            }),
            target: Target::Mcp {
                server: ServerName::parse("filesystem").unwrap(),
                method: "tools/call".to_owned(),
                item: Some((ItemKind::Tool, tool.to_owned())),
            },
            arguments: Arguments {
                values: arguments.as_object().unwrap().clone(),
                digest: None,
            },
            rates: SmallVec::new(),
        }
    }
}

pub(crate) fn kill(scope: MarkScope) -> Mark {
    Mark {
        scope,
        effect: MarkEffect::Kill,
        epoch: Epoch(6),
    }
}
