//! A small world: one tenant, two identities, one server with three tools, one task.

use std::sync::Arc;

use bailiwick_base::{
    AgentLabel, DecisionId, Digest, Epoch, GrantId, IdentityId, ServerName, SigningAlgorithm, StatePos,
    TaskId, TenantId, Time, TokenId, ToolName,
};
use bailiwick_credential::{Claims, ScopeSet, Task, TaskState};
use bailiwick_decide::{
    Arguments, Bearer, Call, DenyReason, Door, Effect, Fact, ItemKind, Principal, Snapshot, Target, decide,
};
use bailiwick_grant::{Grant, parse_scope};
use bailiwick_inventory::{
    Connection, Identity, Kind, Labels, Origin, Owner, PinState, State, Tenant, TenantState, ToolPin,
    UpstreamServer,
};
use serde_json::{Map, Value};
use smallvec::SmallVec;
use uuid::Uuid;

pub(crate) const NOW: Time = Time::from_secs(1_000_000);

/// So many cases, none of them written into the tree; `BAILIWICK_CASES=1000` makes it a thousand times as many
/// for a long run.
#[expect(
    clippy::disallowed_methods,
    reason = "a long run is asked for through the environment"
)]
pub(crate) fn cases(cases: u32) -> proptest::test_runner::Config {
    let factor = std::env::var("BAILIWICK_CASES")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(1);
    let cases = cases.saturating_mul(factor);
    proptest::test_runner::Config {
        cases,
        failure_persistence: None,
        ..Default::default()
    }
}

pub(crate) fn at(secs: i64) -> Time {
    Time::from_secs(1_000_000 + secs)
}

pub(crate) fn tenant_id() -> TenantId {
    TenantId::parse("acme").unwrap()
}

pub(crate) fn identity_id(n: u128) -> IdentityId {
    IdentityId::from_parts(tenant_id(), Uuid::from_u128(n))
}

pub(crate) fn task_id(n: u128) -> TaskId {
    TaskId::from_parts(tenant_id(), Uuid::from_u128(n))
}

pub(crate) fn server_name() -> ServerName {
    ServerName::parse("filesystem").unwrap()
}

pub(crate) fn tenant(state: TenantState) -> Fact {
    let tenant = Tenant {
        id: tenant_id(),
        name: "Acme".to_owned(),
        employees: 10,
        reference: "0011223344556677".to_owned(),
        state,
        created_at: at(-1000),
    };
    Fact::Tenant(Arc::new(tenant), SigningAlgorithm::default())
}

pub(crate) fn identity(n: u128) -> Identity {
    Identity {
        id: identity_id(n),
        kind: Kind::Agent,
        name: format!("agent-{n}"),
        platform: "bailiwick".to_owned(),
        owner: Owner {
            team: "payments".to_owned(),
            contact: "payments@acme.test".to_owned(),
        },
        application: None,
        purpose: "reads invoices".to_owned(),
        labels: Labels {
            agent: Some(AgentLabel::parse("invoice-reader").unwrap()),
            workflow: None,
        },
        origin: Origin::Registered,
        state: State::Active,
        composition: None,
        created_at: at(-1000),
        expires_at: at(100_000),
        changed_at: at(-1000),
    }
}

/// The identity of the server, of another owner than the agents.
pub(crate) fn server_identity() -> Identity {
    Identity {
        kind: Kind::McpServer,
        owner: Owner {
            team: "platform".to_owned(),
            contact: "platform@acme.test".to_owned(),
        },
        labels: Labels::default(),
        ..identity(99)
    }
}

pub(crate) fn task(n: u128, identity: u128) -> Task {
    Task {
        id: task_id(n),
        identity: identity_id(identity),
        purpose: "monthly close".to_owned(),
        requested_by: "operator".to_owned(),
        opens_at: at(-100),
        closes_at: at(10_000),
        state: TaskState::Open,
        may_act: Vec::new(),
    }
}

pub(crate) fn grant(n: u128, task: u128, identity: u128, scopes: &[&str]) -> Grant {
    Grant {
        id: GrantId::from_parts(tenant_id(), Uuid::from_u128(n)),
        task: task_id(task),
        identity: identity_id(identity),
        scopes: scopes.iter().map(|s| parse_scope(s).unwrap()).collect(),
        expires_at: at(10_000),
    }
}

pub(crate) fn server(pins: &[(&str, PinState)]) -> Fact {
    Fact::Server(Arc::new(UpstreamServer {
        tenant: tenant_id(),
        name: server_name(),
        identity: identity_id(99),
        connection: Connection::Http {
            url: "https://upstream.test/mcp".to_owned(),
            allow_addresses: vec![],
            allow_plaintext: false,
        },
        credential: None,
        pins: pins
            .iter()
            .map(|(name, state)| ToolPin {
                name: ToolName::parse(name).unwrap(),
                digest: Digest::of(name.as_bytes()),
                definition: vec![],
                state: *state,
            })
            .collect(),
        created_at: at(-1000),
    }))
}

pub(crate) const TOOLS: [(&str, PinState); 5] = [
    ("read_text_file", PinState::Pinned),
    ("write_file", PinState::Pinned),
    ("read_multiple_files", PinState::Pinned),
    ("changed", PinState::Drifted),
    ("fresh", PinState::New),
];

/// Identity 1 with task 1 and these scopes; identity 2 without a task.
pub(crate) fn facts(scopes: &[&str]) -> Vec<Fact> {
    vec![
        tenant(TenantState::Active),
        Fact::Identity(Arc::new(identity(1))),
        Fact::Identity(Arc::new(identity(2))),
        Fact::Identity(Arc::new(server_identity())),
        server(&TOOLS),
        Fact::Task(Arc::new(task(1, 1)), Arc::new(grant(1, 1, 1, scopes))),
        Fact::Position(StatePos(7), Epoch(5)),
    ]
}

pub(crate) fn world(scopes: &[&str]) -> Snapshot {
    Snapshot::empty().apply(facts(scopes)).unwrap()
}

pub(crate) fn claims(scopes: &[&str]) -> Claims {
    Claims {
        issuer: "https://bailiwick.test/t/acme".to_owned(),
        subject: identity_id(1).to_string(),
        audience: "https://bailiwick.test/t/acme/mcp".to_owned(),
        client: "cli_x".to_owned(),
        issued_at: at(-10),
        expires_at: at(300),
        token: TokenId::from_parts(tenant_id(), Uuid::from_u128(77)),
        tenant: tenant_id(),
        nhi: identity_id(1),
        task: task_id(1),
        epoch: Epoch(5),
        scopes: scopes
            .iter()
            .map(|s| parse_scope(s).unwrap().coarse())
            .collect::<ScopeSet>(),
        act: SmallVec::new(),
        may_act: Vec::new(),
        lineage: Vec::new(),
        confirmation: None,
        composition: None,
    }
}

pub(crate) fn arguments(json: Value) -> Arguments {
    let Value::Object(values) = json else {
        panic!("arguments are an object")
    };
    Arguments { values, digest: None }
}

pub(crate) fn call_with(claims: Claims, target: Target, args: Arguments) -> Call {
    Call {
        id: DecisionId::from_parts(tenant_id(), Uuid::from_u128(500)),
        door: Door::Gateway,
        principal: Principal::Bearer(Bearer {
            claims: Arc::new(claims),
            token_hash: Digest::of(b"token"),
        }),
        target,
        arguments: args,
        rates: SmallVec::new(),
    }
}

pub(crate) fn tool(name: &str) -> Target {
    item("tools/call", ItemKind::Tool, name)
}

pub(crate) fn item(method: &str, kind: ItemKind, name: &str) -> Target {
    Target::Mcp {
        server: server_name(),
        method: method.to_owned(),
        item: Some((kind, name.to_owned())),
    }
}

pub(crate) fn method(name: &str) -> Target {
    Target::Mcp {
        server: server_name(),
        method: name.to_owned(),
        item: None,
    }
}

pub(crate) fn no_arguments() -> Arguments {
    Arguments {
        values: Map::new(),
        digest: None,
    }
}

/// A call of identity 1 under task 1 with a token that carries `scopes`.
pub(crate) fn tool_call(scopes: &[&str], name: &str, args: Value) -> Call {
    call_with(claims(scopes), tool(name), arguments(args))
}

#[track_caller]
pub(crate) fn permitted(snapshot: &Snapshot, call: &Call) {
    let decision = decide(snapshot, call, NOW);
    assert_eq!(decision.effect, Effect::Permit, "{}", decision.reasons.text);
}

#[track_caller]
pub(crate) fn denied(snapshot: &Snapshot, call: &Call, wanted: DenyReason) -> String {
    let decision = decide(snapshot, call, NOW);
    assert_eq!(decision.effect, Effect::Deny(wanted), "{}", decision.reasons.text);
    decision.reasons.text
}
