//! What a decision costs, in process: prints `name median_ns` for each line.
//!
//! Every line is the median of 301 samples of 64 calls on one thread. `cedar_*` lines are Cedar's own
//! authorizer on the same policies and the same question, with the question built beforehand; `sliced2` is
//! what a perfect index would leave to it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a benchmark reads the clock and may fail loudly"
)]

use std::collections::BTreeSet;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use bailiwick_base::{
    DecisionId, Digest, Epoch, Id, IdKind, IdentityId, ServerName, SigningAlgorithm, StatePos, TaskId,
    TenantId, Time, TokenId, ToolName,
};
use bailiwick_credential::{Claims, ScopeSet, Task, TaskState};
use bailiwick_decide::{
    Arguments, Bearer, Call, Door, Effect, Fact, ItemKind, Mark, MarkEffect, MarkScope, Principal, Snapshot,
    Target, decide, decide_plain,
};
use bailiwick_grant::{Grant, compile, parse_scope};
use bailiwick_inventory::{
    Connection, Identity, Kind, Labels, Origin, Owner, PinState, State, Tenant, TenantState, ToolPin,
    UpstreamServer,
};
use cedar_policy::{
    Authorizer, Context, Entities, EntityUid, Policy, PolicyId, PolicySet, Request, RestrictedExpression,
};
use serde_json::json;
use smallvec::SmallVec;
use uuid::Uuid;

const NOW: Time = Time::from_secs(1_000_000);

fn main() {
    let two = sliced_to_two();
    let sliced = measure(|| ask(&two));
    print("cedar_sliced2", sliced);
    print("cedar_question", measure(question));
    for n in [1_000, 10_000] {
        let snapshot = world(n, "");
        let call = call(n / 2);
        assert_eq!(decide(&snapshot, &call, NOW).effect, Effect::Permit);
        print(
            &format!("decide_grants_{n}"),
            measure(|| decide(&snapshot, &call, NOW)),
        );
        let marked = snapshot.with_mark(&Mark {
            scope: MarkScope::Identity(id(3)),
            effect: MarkEffect::Kill,
            epoch: Epoch(9),
        });
        print(
            &format!("decide_grants_marks_{n}"),
            measure(|| decide(&marked, &call, NOW)),
        );
        let with_policies = world(n, &tenant_policies(n));
        assert_eq!(decide(&with_policies, &call, NOW).effect, Effect::Permit);
        print(
            &format!("decide_policies_and_grants_{n}"),
            measure(|| decide(&with_policies, &call, NOW)),
        );
        let mut outside = call.clone();
        outside.arguments = path("/etc/passwd");
        print(
            &format!("decide_denied_{n}"),
            measure(|| decide(&with_policies, &outside, NOW)),
        );
        let mark = Mark {
            scope: MarkScope::Identity(id(4)),
            effect: MarkEffect::Kill,
            epoch: Epoch(9),
        };
        print(
            &format!("with_mark_{n}"),
            measure(|| with_policies.with_mark(&mark)),
        );
        let identity = Arc::new(identity(4));
        print(
            &format!("apply_identity_{n}"),
            measure(|| {
                with_policies
                    .apply([Fact::Identity(identity.clone())])
                    .expect("applies")
            }),
        );
        let (task, grant) = (Arc::new(task(4)), Arc::new(grant(4)));
        print(
            &format!("apply_task_{n}"),
            measure(|| {
                with_policies
                    .apply([Fact::Task(task.clone(), grant.clone())])
                    .expect("applies")
            }),
        );
        let plain = all_policies(n);
        print(&format!("cedar_plain_{n}"), measure_few(|| ask(&plain)));
    }
    // One plain decision of the differential test, for scale.
    let small = world(100, &tenant_policies(100));
    print(
        "decide_plain_100",
        measure_few(|| decide_plain(&small, &call(50), NOW)),
    );
}

fn print(name: &str, nanos: u128) {
    println!("{name} {nanos}");
}

fn measure<T>(f: impl FnMut() -> T) -> u128 {
    sampled(f, 301, 64)
}

fn measure_few<T>(f: impl FnMut() -> T) -> u128 {
    sampled(f, 31, 1)
}

fn sampled<T>(mut f: impl FnMut() -> T, samples: usize, calls: u32) -> u128 {
    let mut times: Vec<u128> = (0..samples)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..calls {
                black_box(f());
            }
            start.elapsed().as_nanos() / u128::from(calls)
        })
        .collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or(0)
}

fn tenant() -> TenantId {
    TenantId::parse("acme").unwrap()
}

fn id<K: IdKind>(n: usize) -> Id<K> {
    // Spread like a UUIDv7 minted over a day, so that ids do not share all their leading bytes.
    let n = n as u128;
    Id::from_parts(
        tenant(),
        Uuid::from_u128((n << 90) | 0x7000_8000_0000_0000_0000 | n),
    )
}

fn identity_id(n: usize) -> IdentityId {
    id(n)
}

fn task_id(n: usize) -> TaskId {
    id(n)
}

fn server() -> ServerName {
    ServerName::parse("filesystem").unwrap()
}

fn tool_name(n: usize) -> String {
    format!("read_text_file_{}", n % 50)
}

fn scope(n: usize) -> String {
    format!(r#"filesystem:{}(path under "/srv/invoices")"#, tool_name(n))
}

fn identity(n: usize) -> Identity {
    Identity {
        id: identity_id(n),
        kind: Kind::Agent,
        name: format!("agent-{n}"),
        platform: "bailiwick".to_owned(),
        owner: Owner {
            team: format!("team-{}", n % 20),
            contact: "owner@acme.test".to_owned(),
        },
        application: None,
        purpose: "reads invoices".to_owned(),
        labels: Labels::default(),
        origin: Origin::Registered,
        state: State::Active,
        composition: None,
        created_at: Time::from_secs(0),
        expires_at: Time::from_secs(9_000_000),
        changed_at: Time::from_secs(0),
    }
}

fn task(n: usize) -> Task {
    Task {
        id: id(n),
        identity: id(n),
        purpose: "monthly close".to_owned(),
        requested_by: "operator".to_owned(),
        opens_at: Time::from_secs(0),
        closes_at: Time::from_secs(2_000_000),
        state: TaskState::Open,
        may_act: Vec::new(),
    }
}

fn grant(n: usize) -> Grant {
    Grant {
        id: id(n),
        task: id(n),
        identity: id(n),
        scopes: vec![parse_scope(&scope(n)).unwrap()],
        expires_at: Time::from_secs(2_000_000),
    }
}

/// `n` identities, each with a task and a grant of one scope; one server with 50 pinned tools.
fn world(n: usize, policies: &str) -> Snapshot {
    let tenant_row = Tenant {
        id: tenant(),
        name: "Acme".to_owned(),
        employees: 10,
        reference: "0011223344556677".to_owned(),
        state: TenantState::Active,
        created_at: Time::from_secs(0),
    };
    let pins = (0..50).map(|k| ToolPin {
        name: ToolName::parse(&tool_name(k)).unwrap(),
        digest: Digest::default(),
        definition: vec![],
        state: PinState::Pinned,
    });
    let upstream = UpstreamServer {
        tenant: tenant(),
        name: server(),
        identity: id(0),
        connection: Connection::Http {
            url: "https://upstream.test/mcp".to_owned(),
            allow_addresses: vec![],
            allow_plaintext: false,
        },
        credential: None,
        pins: pins.collect(),
        created_at: Time::from_secs(0),
    };
    let mut facts = vec![
        Fact::Tenant(Arc::new(tenant_row), SigningAlgorithm::default()),
        Fact::Server(Arc::new(upstream)),
        Fact::Policies(tenant(), policies.into()),
        Fact::Position(StatePos(7), Epoch(5)),
    ];
    for k in 0..n {
        facts.push(Fact::Identity(Arc::new(identity(k))));
        facts.push(Fact::Task(Arc::new(task(k)), Arc::new(grant(k))));
    }
    Snapshot::empty().apply(facts).expect("the facts are in order")
}

/// `n` policies of the tenant: three that concern every tool call, the others one identity and one tool each.
fn tenant_policies(n: usize) -> String {
    let mut text = String::new();
    for name in ["danger", "secrets", "old"] {
        text.push_str(&format!(
            "@id(\"{name}\") forbid (principal, action == Action::\"tools/call\", resource == Tool::\"filesystem/{name}\");\n"
        ));
    }
    for k in 3..n {
        let identity: IdentityId = id(k);
        text.push_str(&format!(
            "@id(\"p{k}\") forbid (principal == Identity::\"{identity}\", action == Action::\"tools/call\", resource == Tool::\"filesystem/{}\") when {{ context.text has path && context.text.path like \"*.key\" }};\n",
            tool_name(k)
        ));
    }
    text
}

fn path(path: &str) -> Arguments {
    Arguments {
        values: json!({"path": path}).as_object().cloned().unwrap_or_default(),
        digest: None,
    }
}

fn call(n: usize) -> Call {
    let claims = Claims {
        issuer: "https://bailiwick.test/t/acme".to_owned(),
        subject: identity_id(n).to_string(),
        audience: "https://bailiwick.test/t/acme/mcp".to_owned(),
        client: "cli_x".to_owned(),
        issued_at: Time::from_secs(999_990),
        expires_at: Time::from_secs(1_000_300),
        token: TokenId::from_parts(tenant(), Uuid::from_u128(77)),
        tenant: tenant(),
        nhi: id(n),
        task: id(n),
        epoch: Epoch(5),
        scopes: std::iter::once(format!("filesystem:{}", tool_name(n))).collect::<ScopeSet>(),
        act: SmallVec::new(),
        may_act: Vec::new(),
        lineage: Vec::new(),
        confirmation: None,
        composition: None,
    };
    Call {
        id: DecisionId::from_parts(tenant(), Uuid::from_u128(500)),
        door: Door::Gateway,
        principal: Principal::Bearer(Bearer {
            claims: Arc::new(claims),
            token_hash: Digest::default(),
        }),
        target: Target::Mcp {
            server: server(),
            method: "tools/call".to_owned(),
            item: Some((ItemKind::Tool, tool_name(n))),
        },
        arguments: path("/srv/invoices/2026/november/0042.txt"),
        rates: SmallVec::new(),
    }
}

/// The same question for Cedar's own authorizer: identity 500 of the world with 1,000.
fn question() -> Request {
    let uid = |text: String| text.parse::<EntityUid>().expect("a Cedar entity");
    let record = RestrictedExpression::new_record([(
        "path".to_owned(),
        RestrictedExpression::new_string("/srv/invoices/2026/november/0042.txt".to_owned()),
    )])
    .expect("one member");
    let context = Context::from_pairs([
        (
            "task".to_owned(),
            RestrictedExpression::new_string(task_id(500).to_string()),
        ),
        ("path".to_owned(), record.clone()),
        ("text".to_owned(), record),
    ])
    .expect("different names");
    let identity: IdentityId = id(500);
    Request::new(
        uid(format!("Identity::\"{identity}\"")),
        uid("Action::\"tools/call\"".to_owned()),
        uid(format!("Tool::\"filesystem/{}\"", tool_name(500))),
        context,
        None,
    )
    .expect("no schema")
}

/// What a perfect index leaves: the scope of the grant and the tenant's policy for this identity and tool.
fn sliced_to_two() -> (PolicySet, Request) {
    let (_, own) = compile(&grant(500)).expect("compiles").swap_remove(0);
    let tenant: PolicySet = tenant_policies(1_000).parse().expect("parses");
    let policy = tenant
        .policies()
        .find(|p| p.annotation("id") == Some("p500"))
        .expect("policy 500")
        .clone();
    (
        PolicySet::from_policies([own, policy]).expect("two ids"),
        question(),
    )
}

fn all_policies(n: usize) -> (PolicySet, Request) {
    let tenant: PolicySet = tenant_policies(n).parse().expect("parses");
    let mut all: Vec<Policy> = (0..n)
        .flat_map(|k| compile(&grant(k)).expect("compiles"))
        .map(|(_, p)| p)
        .collect();
    all.extend(
        tenant
            .policies()
            .map(|p| p.new_id(PolicyId::new(format!("tenant/{}", p.id())))),
    );
    let ids: BTreeSet<String> = all.iter().map(|p| p.id().to_string()).collect();
    assert_eq!(ids.len(), all.len());
    (PolicySet::from_policies(all).expect("different ids"), question())
}

fn ask((policies, question): &(PolicySet, Request)) -> cedar_policy::Response {
    Authorizer::new().is_authorized(question, policies, &Entities::empty())
}
