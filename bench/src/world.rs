//! The world that in-process decisions are measured in, and the same policies for Cedar's own authorizer.
//!
//! `n` identities, each with a task and a grant of one scope on one of 50 pinned tools; beside them `n`
//! policies of the tenant: three that concern every tool call, the others one identity and one tool each.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bailiwick_base::{
    Digest, Epoch, Id, IdKind, IdentityId, ServerName, SigningAlgorithm, StatePos, TaskId, TenantId, Time,
    TokenId, ToolName,
};
use bailiwick_credential::{Claims, ScopeSet, Task, TaskState};
use bailiwick_decide::{Bearer, Connection, Fact, PinState, Snapshot, ToolPin, UpstreamServer};
use bailiwick_grant::{Grant, compile, parse_scope};
use bailiwick_inventory::{Identity, Kind, Labels, Origin, Owner, State, Tenant, TenantState};
use cedar_policy::{
    Authorizer, Context, Entities, EntityUid, Policy, PolicyId, PolicySet, Request, Response,
    RestrictedExpression,
};
use smallvec::SmallVec;
use uuid::Uuid;

pub(crate) const BASE: &str = "https://bailiwick.test";
const SERVER: &str = "filesystem";
const FILE: &str = "/srv/invoices/2026/november/0042.txt";
const LONG: Duration = Duration::from_secs(30 * 86_400);

/// The body of a `tools/call` of 402 bytes, as long as the one that the floor program `json` parses.
pub(crate) fn body(n: usize) -> String {
    let mut body = format!(
        r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"{}","arguments":{{"path":"{FILE}"}},"_meta":{{"note":"#,
        tool(n)
    );
    let rest = 402_usize.saturating_sub(body.len() + 5);
    let _ = write!(body, "\"{}\"}}}}}}", "x".repeat(rest));
    body
}

pub(crate) struct World {
    pub(crate) tenant: TenantId,
    pub(crate) now: Time,
    n: usize,
    /// How many policies there are, of any world.
    ruled: usize,
}

pub(crate) fn tool(n: usize) -> String {
    format!("read_text_file_{}", n % 50)
}

impl World {
    pub(crate) fn new(tenant: &str, n: usize, now: Time) -> anyhow::Result<Self> {
        Ok(Self {
            tenant: TenantId::parse(tenant)?,
            now,
            n,
            ruled: n,
        })
    }

    /// `n` identities under no more policies than a small world has.
    pub(crate) fn crowd(tenant: &str, n: usize, now: Time) -> anyhow::Result<Self> {
        Ok(Self {
            ruled: 1_000,
            ..Self::new(tenant, n, now)?
        })
    }

    /// The identity that asks: in the middle, as in the floor program `authz`.
    pub(crate) fn middle(&self) -> usize {
        self.n / 2
    }

    pub(crate) fn server(&self) -> anyhow::Result<ServerName> {
        Ok(ServerName::parse(SERVER)?)
    }

    /// Spread like a UUIDv7 minted over a day, so that ids do not share all their leading bytes.
    pub(crate) fn id<K: IdKind>(&self, n: usize) -> Id<K> {
        let n = n as u128;
        Id::from_parts(
            self.tenant.clone(),
            Uuid::from_u128((n << 90) | 0x7000_8000_0000_0000_0000 | n),
        )
    }

    fn identity(&self, n: usize) -> Identity {
        Identity {
            id: self.id(n),
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
            created_at: self.now,
            expires_at: self.now.after(LONG),
            changed_at: self.now,
        }
    }

    fn task(&self, n: usize) -> Task {
        Task {
            id: self.id(n),
            identity: self.id(n),
            purpose: "monthly close".to_owned(),
            requested_by: "operator".to_owned(),
            opens_at: self.now.before(Duration::from_secs(60)),
            closes_at: self.now.after(LONG),
            state: TaskState::Open,
            may_act: Vec::new(),
        }
    }

    fn grant(&self, n: usize) -> anyhow::Result<Grant> {
        let scope = format!(r#"{SERVER}:{}(path under "/srv/invoices")"#, tool(n));
        Ok(Grant {
            id: self.id(n),
            task: self.id(n),
            identity: self.id(n),
            scopes: vec![parse_scope(&scope)?],
            expires_at: self.now.after(LONG),
        })
    }

    /// The facts of this world.
    pub(crate) fn facts(&self) -> anyhow::Result<Vec<Fact>> {
        let tenant = Tenant {
            id: self.tenant.clone(),
            name: "Acme".to_owned(),
            employees: 10,
            reference: "0011223344556677".to_owned(),
            state: TenantState::Active,
            created_at: self.now,
        };
        let pin = |k: usize| {
            Ok(ToolPin {
                name: ToolName::parse(&tool(k))?,
                digest: Digest::default(),
                definition: vec![],
                state: PinState::Pinned,
            })
        };
        let upstream = UpstreamServer {
            tenant: self.tenant.clone(),
            name: self.server()?,
            identity: self.id(self.n + 1),
            connection: Connection::Http {
                url: "https://upstream.test/mcp".to_owned(),
                allow_addresses: vec![],
                allow_plaintext: false,
            },
            credential: None,
            pins: (0..50).map(pin).collect::<anyhow::Result<_>>()?,
            created_at: self.now,
        };
        let mut facts = vec![
            Fact::Tenant(Arc::new(tenant), SigningAlgorithm::default()),
            Fact::Server(Arc::new(upstream)),
            Fact::Policies(self.tenant.clone(), self.policies().into()),
            Fact::Position(StatePos(7), Epoch(5)),
        ];
        // The server is an identity too.
        facts.push(Fact::Identity(Arc::new(self.identity(self.n + 1))));
        for k in 0..self.n {
            facts.push(Fact::Identity(Arc::new(self.identity(k))));
            facts.push(Fact::Task(Arc::new(self.task(k)), Arc::new(self.grant(k)?)));
        }
        Ok(facts)
    }

    pub(crate) fn snapshot(&self) -> anyhow::Result<Snapshot> {
        Snapshot::empty()
            .apply(self.facts()?)
            .context("the world's facts")
    }

    fn policies(&self) -> String {
        let mut text = String::new();
        for name in ["danger", "secrets", "old"] {
            let _ = writeln!(
                text,
                "@id(\"{name}\") forbid (principal, action == Action::\"tools/call\", resource == Tool::\"{SERVER}/{name}\");"
            );
        }
        for k in 3..self.ruled {
            let identity: IdentityId = self.id(k);
            let _ = writeln!(
                text,
                "@id(\"p{k}\") forbid (principal == Identity::\"{identity}\", action == Action::\"tools/call\", resource == Tool::\"{SERVER}/{}\") when {{ context.text has path && context.text.path like \"*.key\" }};",
                tool(k)
            );
        }
        text
    }

    pub(crate) fn claims(&self, n: usize, token: u128) -> Claims {
        let identity: IdentityId = self.id(n);
        Claims {
            issuer: format!("{BASE}/t/{}", self.tenant),
            subject: identity.to_string(),
            audience: format!("{BASE}/t/{}/mcp", self.tenant),
            client: "bailiwick-operator".to_owned(),
            issued_at: self.now.before(Duration::from_secs(5)),
            expires_at: self.now.after(Duration::from_secs(3_500)),
            token: TokenId::from_parts(self.tenant.clone(), Uuid::from_u128(token)),
            tenant: self.tenant.clone(),
            nhi: identity,
            task: self.id(n),
            epoch: Epoch(5),
            scopes: std::iter::once(format!("{SERVER}:{}", tool(n))).collect::<ScopeSet>(),
            act: SmallVec::new(),
            may_act: Vec::new(),
            lineage: Vec::new(),
            confirmation: None,
            composition: None,
        }
    }

    pub(crate) fn bearer(&self, n: usize) -> Bearer {
        Bearer {
            claims: Arc::new(self.claims(n, 77)),
            token_hash: Digest::default(),
        }
    }

    /// The question that a call of identity `n` is, for Cedar's own authorizer.
    fn question(&self, n: usize) -> anyhow::Result<Request> {
        let uid = |text: String| text.parse::<EntityUid>().context("a Cedar entity");
        let record = RestrictedExpression::new_record([(
            "path".to_owned(),
            RestrictedExpression::new_string(FILE.to_owned()),
        )])?;
        let task: TaskId = self.id(n);
        let context = Context::from_pairs([
            (
                "task".to_owned(),
                RestrictedExpression::new_string(task.to_string()),
            ),
            ("path".to_owned(), record.clone()),
            ("text".to_owned(), record),
        ])?;
        let identity: IdentityId = self.id(n);
        Ok(Request::new(
            uid(format!("Identity::\"{identity}\""))?,
            uid("Action::\"tools/call\"".to_owned())?,
            uid(format!("Tool::\"{SERVER}/{}\"", tool(n)))?,
            context,
            None,
        )?)
    }

    /// All policies as Cedar has them without an index, and a question.
    pub(crate) fn plain(&self, asked: usize) -> anyhow::Result<(PolicySet, Request)> {
        let tenant: PolicySet = self.policies().parse()?;
        let mut all: Vec<Policy> = Vec::with_capacity(2 * self.n);
        for k in 0..self.n {
            all.extend(compile(&self.grant(k)?)?.into_iter().map(|(_, policy)| policy));
        }
        all.extend(
            tenant
                .policies()
                .map(|policy| policy.new_id(PolicyId::new(format!("tenant/{}", policy.id())))),
        );
        let ids: BTreeSet<String> = all.iter().map(|policy| policy.id().to_string()).collect();
        anyhow::ensure!(ids.len() == all.len(), "two policies share an id");
        Ok((PolicySet::from_policies(all)?, self.question(asked)?))
    }

    /// What a perfect index leaves: the scope of the grant and the tenant's policy for this identity and tool.
    pub(crate) fn sliced(&self, asked: usize) -> anyhow::Result<(PolicySet, Request)> {
        let (_, own) = compile(&self.grant(asked)?)?
            .into_iter()
            .next()
            .context("one scope")?;
        let tenant: PolicySet = self.policies().parse()?;
        let wanted = format!("p{asked}");
        let policy = tenant
            .policies()
            .find(|policy| policy.annotation("id") == Some(wanted.as_str()))
            .context("the policy of this identity")?;
        Ok((
            PolicySet::from_policies([own, policy.clone()])?,
            self.question(asked)?,
        ))
    }
}

pub(crate) fn ask((policies, question): &(PolicySet, Request)) -> Response {
    Authorizer::new().is_authorized(question, policies, &Entities::empty())
}
