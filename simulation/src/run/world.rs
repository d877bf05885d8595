//! Who is there: two firms whose ids differ in the tenant alone, agents with a task each, one file server.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use bailiwick_audit::note::{NoteSigner, NoteVerifier, SignerError, key_id};
use bailiwick_base::{
    AgentLabel, DecisionId, Digest, Epoch, GrantId, IdentityId, PublicKey, SealContext, SealError, Sealer,
    ServerName, Sha256, SigningAlgorithm, TaskId, TenantId, Time, TokenId, ToolName,
};
use bailiwick_credential::{Claims, ScopeSet, Task, TaskState};
use bailiwick_decide::{Arguments, Bearer, Call, Door, Fact, ItemKind, Principal, Target};
use bailiwick_grant::{Grant, parse_scope};
use bailiwick_inventory::{
    Connection, Identity, Kind, Labels, Origin, Owner, PinState, State, Tenant, TenantState, ToolPin,
    UpstreamServer,
};
use bailiwick_journal::NoteKey;
use bailiwick_pep::token::{KeySource, VerifiedToken};
use serde_json::{Map, Value};
use smallvec::SmallVec;
use uuid::Uuid;

use super::history::Violation;

/// When simulated time begins.
pub(crate) const START: Time = Time::from_secs(1_790_000_000);
/// Identities of each tenant at the beginning, from 1.
pub(crate) const IDENTITIES: u128 = 3;
/// How long a token lives: longer than a run.
const TOKEN_LIFE: Duration = Duration::from_secs(3_600);
const TENANTS: [&str; 2] = ["acme", "borealis"];
const TOOLS: [&str; 2] = ["read", "write"];
const SERVER: &str = "files";
const SERVER_IDENTITY: u128 = 1_000_000;
const TASKS: u128 = 2_000_000;
const KEY: &str = "key-1";

/// What stays the same during a run.
pub(crate) struct World {
    pub(crate) tenants: Vec<TenantId>,
    pub(crate) server: ServerName,
    pub(crate) tools: Vec<ToolName>,
    pub(crate) label: AgentLabel,
    key: Ed25519KeyPair,
    public: Arc<PublicKey>,
}

impl World {
    pub(crate) fn new() -> Result<Self, Violation> {
        let broken = |what: &dyn std::fmt::Display| Violation::broken(what);
        let parse = |text: &&str| TenantId::parse(text).map_err(|e| broken(&e));
        let tool = |text: &&str| ToolName::parse(text).map_err(|e| broken(&e));
        let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).map_err(|e| broken(&e))?;
        let public: Result<[u8; 32], _> = key.public_key().as_ref().try_into();
        let public = public.map_err(|e| broken(&e))?;
        Ok(Self {
            tenants: TENANTS.iter().map(parse).collect::<Result<_, _>>()?,
            server: ServerName::parse(SERVER).map_err(|e| broken(&e))?,
            tools: TOOLS.iter().map(tool).collect::<Result<_, _>>()?,
            label: AgentLabel::parse("helper").map_err(|e| broken(&e))?,
            public: Arc::new(PublicKey::ed25519(public).map_err(|e| broken(&e))?),
            key,
        })
    }

    /// Everything that is true before anybody does anything.
    pub(crate) fn facts(&self) -> Result<Vec<Fact>, Violation> {
        let mut facts = Vec::new();
        for tenant in &self.tenants {
            facts.push(Fact::Tenant(
                Arc::new(Tenant {
                    id: tenant.clone(),
                    name: tenant.to_string(),
                    employees: 10,
                    reference: format!("{:.16}", Digest::of(tenant.as_str().as_bytes()).to_string()),
                    state: TenantState::Active,
                    created_at: START,
                }),
                SigningAlgorithm::default(),
            ));
            facts.push(Fact::Identity(Arc::new(self.identity(tenant, SERVER_IDENTITY))));
            facts.push(Fact::Server(Arc::new(self.upstream(tenant))));
            for n in 1..=IDENTITIES {
                facts.push(Fact::Identity(Arc::new(self.identity(tenant, n))));
                let (task, grant) = self.task(tenant, n)?;
                facts.push(Fact::Task(Arc::new(task), Arc::new(grant)));
            }
        }
        Ok(facts)
    }

    fn upstream(&self, tenant: &TenantId) -> UpstreamServer {
        let pin = |name: &ToolName| ToolPin {
            name: name.clone(),
            digest: Digest::of(name.as_str().as_bytes()),
            definition: Vec::new(),
            state: PinState::Pinned,
        };
        UpstreamServer {
            tenant: tenant.clone(),
            name: self.server.clone(),
            identity: identity_id(tenant, SERVER_IDENTITY),
            connection: Connection::Http {
                url: "https://upstream.test/mcp".to_owned(),
                allow_addresses: Vec::new(),
                allow_plaintext: false,
            },
            credential: None,
            pins: self.tools.iter().map(pin).collect(),
            created_at: START,
        }
    }

    /// Identity `n`: teams and labels group them in different ways.
    pub(crate) fn identity(&self, tenant: &TenantId, n: u128) -> Identity {
        let team = team(n);
        let is_server = n == SERVER_IDENTITY;
        Identity {
            id: identity_id(tenant, n),
            kind: if is_server { Kind::McpServer } else { Kind::Agent },
            name: format!("agent-{n}"),
            platform: "bailiwick".to_owned(),
            owner: Owner {
                contact: format!("{team}@{tenant}.test"),
                team: if is_server {
                    "platform".to_owned()
                } else {
                    team.to_owned()
                },
            },
            application: None,
            purpose: "reads and writes files".to_owned(),
            labels: Labels {
                agent: (n.is_multiple_of(3)).then(|| self.label.clone()),
                workflow: None,
            },
            origin: Origin::Registered,
            state: State::Active,
            composition: None,
            created_at: START,
            expires_at: START.after(Duration::from_secs(1_000_000)),
            changed_at: START,
        }
    }

    /// The task of identity `n` and its grant.
    pub(crate) fn task(&self, tenant: &TenantId, n: u128) -> Result<(Task, Grant), Violation> {
        let mut scopes = Vec::new();
        for tool in &self.tools {
            let scope = parse_scope(&format!("{}:{tool}", self.server));
            scopes.push(scope.map_err(|e| Violation::broken(&e))?);
        }
        let task = Task {
            id: task_id(tenant, n),
            identity: identity_id(tenant, n),
            purpose: "monthly close".to_owned(),
            requested_by: "operator".to_owned(),
            opens_at: START,
            closes_at: START.after(Duration::from_secs(1_000_000)),
            state: TaskState::Open,
            may_act: Vec::new(),
        };
        let grant = Grant {
            id: GrantId::from_parts(tenant.clone(), Uuid::from_u128(2 * TASKS + n)),
            task: task.id.clone(),
            identity: task.identity.clone(),
            scopes,
            expires_at: task.closes_at,
        };
        Ok((task, grant))
    }

    pub(crate) fn issuer(&self, tenant: &TenantId) -> String {
        format!("https://bailiwick.test/t/{tenant}")
    }

    fn audience(&self, tenant: &TenantId) -> String {
        format!("https://bailiwick.test/t/{tenant}/mcp")
    }

    /// The keys that every door believes.
    pub(crate) fn publish_keys(&self, keys: &KeySource) {
        for tenant in &self.tenants {
            let key = (KEY.to_owned(), Arc::clone(&self.public));
            keys.publish(&self.issuer(tenant), tenant, &self.audience(tenant), [key]);
        }
    }

    /// What the `nth` token of identity `n` says. Both firms count alike, so a `jti` alone does not say whose it is.
    pub(crate) fn claims(&self, tenant: &TenantId, n: u128, nth: u128, epoch: Epoch, now: Time) -> Claims {
        let issued_at = Time::from_secs(now.secs());
        let nhi = identity_id(tenant, n);
        Claims {
            issuer: self.issuer(tenant),
            subject: nhi.to_string(),
            audience: self.audience(tenant),
            client: "cli_x".to_owned(),
            issued_at,
            expires_at: issued_at.after(TOKEN_LIFE),
            token: TokenId::from_parts(tenant.clone(), Uuid::from_u128((n << 32) + nth)),
            tenant: tenant.clone(),
            nhi,
            task: task_id(tenant, n),
            epoch,
            scopes: ScopeSet::parse(&format!("{SERVER}:read {SERVER}:write")),
            act: SmallVec::new(),
            may_act: Vec::new(),
            lineage: Vec::new(),
            confirmation: None,
            composition: None,
        }
    }

    /// The claims as a signed token.
    pub(crate) fn sign(&self, claims: &Claims) -> String {
        let head = format!(r#"{{"alg":"EdDSA","kid":"{KEY}","typ":"at+jwt"}}"#);
        let text = format!("{}.{}", base64url(head.as_bytes()), base64url(&claims.to_json()));
        let signature = base64url(self.key.sign(text.as_bytes()).as_ref());
        format!("{text}.{signature}")
    }

    /// A call of a tool by the bearer of a verified token.
    pub(crate) fn call(&self, id: DecisionId, token: &VerifiedToken, tool: &ToolName) -> Call {
        self.call_of(id, token.bearer(), tool)
    }

    fn call_of(&self, id: DecisionId, bearer: Bearer, tool: &ToolName) -> Call {
        let path = Value::from("/srv/invoices/1.txt");
        let values: Map<String, Value> = [("path".to_owned(), path)].into_iter().collect();
        Call {
            id,
            door: Door::Gateway,
            principal: Principal::Bearer(bearer),
            target: Target::Mcp {
                server: self.server.clone(),
                method: "tools/call".to_owned(),
                item: Some((ItemKind::Tool, tool.to_string())),
            },
            arguments: Arguments { values, digest: None },
            rates: SmallVec::new(),
        }
    }
}

pub(crate) fn identity_id(tenant: &TenantId, n: u128) -> IdentityId {
    IdentityId::from_parts(tenant.clone(), Uuid::from_u128(n))
}

pub(crate) fn task_id(tenant: &TenantId, n: u128) -> TaskId {
    TaskId::from_parts(tenant.clone(), Uuid::from_u128(TASKS + n))
}

/// The owner of identity `n`.
pub(crate) fn team(n: u128) -> &'static str {
    if n.is_multiple_of(2) { "ops" } else { "payments" }
}

fn base64url(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// Seals by naming the place: whether a payload is secret is not what is simulated.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Plain;

impl Sealer for Plain {
    fn seal(&self, _context: &SealContext<'_>, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        Ok(plain.to_vec())
    }

    fn open(&self, _context: &SealContext<'_>, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        Ok(sealed.to_vec())
    }

    fn commit(&self, tenant: Option<&TenantId>, payload: &[u8]) -> Result<[u8; 32], SealError> {
        let mut sha = Sha256::new();
        sha.update_field(tenant.map_or("", TenantId::as_str).as_bytes());
        sha.update_field(payload);
        Ok(sha.finish().0)
    }

    fn vouch(&self, purpose: &'static str, said: &[u8]) -> Result<Digest, SealError> {
        let mut sha = Sha256::new();
        sha.update_field(purpose.as_bytes());
        sha.update_field(said);
        Ok(sha.finish())
    }
}

struct LogKey {
    name: String,
    key: Ed25519KeyPair,
    key_id: u32,
}

impl NoteSigner for LogKey {
    fn name(&self) -> &str {
        &self.name
    }

    fn key_id(&self) -> u32 {
        self.key_id
    }

    fn sign(&self, text: &[u8]) -> Result<[u8; 64], SignerError> {
        let signature: Result<[u8; 64], _> = self.key.sign(text).as_ref().try_into();
        signature.map_err(|e| SignerError(Box::new(e)))
    }
}

/// The key of a node's decision log.
pub(crate) fn log_key(origin: &str) -> Result<NoteKey, Violation> {
    let seed = Digest::of(origin.as_bytes()).0;
    let key = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|e| Violation::broken(&e))?;
    let public: Result<[u8; 32], _> = key.public_key().as_ref().try_into();
    let public = public.map_err(|e| Violation::broken(&e))?;
    let verifier = NoteVerifier::new(origin, public).map_err(|e| Violation::broken(&e))?;
    Ok(NoteKey {
        signer: Arc::new(LogKey {
            name: origin.to_owned(),
            key,
            key_id: key_id(origin, &public),
        }),
        verifier,
    })
}
