//! The grammar of the command line: `bailiwick <noun> <verb>`, plain verbs for the daily ten.

mod backup;
mod composition;
mod consent;
mod correct;
mod credential;
mod destination;
mod evidence;
mod keys;
mod node;
mod run;
mod scan;
mod serve;
mod sidecar;
mod sidecar_run;
mod signal;
mod stop;
mod trust_lint;
mod witness;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub(crate) use self::backup::{Backup, Restore};
pub(crate) use self::composition::Parts;
pub(crate) use self::consent::{Consent, ConsentAllow, ConsentClient};
pub(crate) use self::correct::CorrectCredential;
pub(crate) use self::credential::{Credential, FetchFormat, NewCredential};
pub(crate) use self::destination::Destination;
pub(crate) use self::evidence::Evidence;
pub(crate) use self::keys::Keys;
pub(crate) use self::node::{Node, Stand};
pub(crate) use self::run::{Run, RunChild};
pub(crate) use self::scan::Scan;
pub(crate) use self::serve::{Demo, Dev, Serve};
pub(crate) use self::sidecar::Sidecar;
pub(crate) use self::sidecar_run::{SidecarJoin, SidecarRun};
pub(crate) use self::signal::{Signal, Transmitter, TransmitterAdd, Webhook, WebhookAdd};
pub(crate) use self::stop::{Level, Operator, Scope, Stop};
pub(crate) use self::trust_lint::TrustLint;
pub(crate) use self::witness::{Witness, WitnessAccept, WitnessServe};

macro_rules! five {
    () => {
        "\
Examples:
  bailiwick demo               a governed agent end to end, then a server to try
  bailiwick count --explain    how many machine identities, exactly, and why
  bailiwick task open --identity invoices --purpose \"read March\" --for 15m \\
      --can 'filesystem:read_text_file(path under \"/srv/invoices\")'
  bailiwick kill identity invoices --reason \"leaked\" --yes
  bailiwick log verify         recompute and check every log"
    };
}

/// Five examples.
pub(crate) const FIVE: &str = five!();

const EXAMPLES: &str = concat!(
    five!(),
    "

Exit codes: 0 ok, 1 error, 2 usage, 3 incomplete or stale, 4 denied,
5 approval needed, 6 an enforcement point did not acknowledge,
7 verification failed, 8 not found, 69 server not reachable, 130 interrupted"
);

/// Governs machine identities: each has an owner, a purpose and an end; each call is decided and recorded
#[derive(Parser)]
#[command(name = "bailiwick", version, after_help = EXAMPLES, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Global,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// Options every command takes.
#[derive(Args, Clone)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// One JSON document on standard output, errors included
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Tenant slug
    #[arg(long, short = 't', global = true, env = "BAILIWICK_TENANT")]
    pub(crate) tenant: Option<String>,
    /// File with server address and operator key, as written by `claim`
    #[arg(long, global = true, env = "BAILIWICK_CONTEXT")]
    pub(crate) context: Option<PathBuf>,
    /// PEM file with the certificate of a private CA that vouches for the service; `claim` keeps it in the context
    #[arg(long, global = true, env = "BAILIWICK_CA", value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Whether to colour: only on a terminal unless told
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    pub(crate) color: Color,
    #[arg(long, hide = true, global = true, env = "XDG_CONFIG_HOME")]
    pub(crate) xdg_config_home: Option<PathBuf>,
    #[arg(long, hide = true, global = true, env = "HOME")]
    pub(crate) home: Option<PathBuf>,
    #[arg(long, hide = true, global = true, env = "NO_COLOR")]
    pub(crate) no_color: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    Always,
    Auto,
    Never,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run the whole story in a temporary installation and leave the server running
    Demo(Demo),
    /// Run an empty installation in a temporary folder, on loopback only
    Dev(Dev),
    /// Run a command with a task of its own, which ends with it
    Run(Box<Run>),
    /// Run the service
    Serve(Serve),
    /// Register the first operator over the data folder's socket
    Claim(Claim),
    /// How many machine identities, exactly, at a named position of the log
    Count(Count),
    /// What a platform shows of identities, credentials and grants, from an export
    Scan(Scan),
    /// Decide a call and say why, without acting (exit 0 permit, 4 deny, 5 approval needed)
    Check(Check),
    /// Kill by scope: token, task, identity, agent, owner, issuer, server, tool, tenant, all; `kill ls` lists stops
    Kill(Stop),
    /// Like kill, but can be lifted
    Suspend(Stop),
    /// Lift a suspension, and every milder level
    Resume(Stop),
    /// Operators: who may command the installation
    #[command(subcommand)]
    Operator(Operator),
    /// Tenants
    #[command(subcommand)]
    Tenant(Tenant),
    /// Non-human identities
    #[command(subcommand, visible_alias = "identity")]
    Id(Id),
    /// OAuth clients (`private_key_jwt`)
    #[command(subcommand)]
    Client(Client),
    /// Clients whose browser waits for an operator to agree
    #[command(subcommand)]
    Consent(Consent),
    /// Secrets that other systems accept, and their rotation
    #[command(subcommand)]
    Credential(Credential),
    /// Workloads of other platforms that are identities here (GitHub, Kubernetes, …)
    #[command(subcommand)]
    Trust(Trust),
    /// Signing keys of a tenant's issuer, and the root of the installation
    #[command(subcommand)]
    Keys(Keys),
    /// Who is told what happens here, and who tells us (Shared Signals, webhooks)
    #[command(subcommand)]
    Signal(Signal),
    /// Nodes that serve this installation on one shared store
    #[command(subcommand)]
    Node(Node),
    /// Enforcement points elsewhere, which decide by a signed snapshot
    #[command(subcommand)]
    Sidecar(Sidecar),
    /// Tasks and their credentials
    #[command(subcommand)]
    Task(Task),
    /// Upstream MCP servers
    #[command(subcommand)]
    Server(Server),
    /// Tenant policies in Cedar
    #[command(subcommand)]
    Policy(Policy),
    /// The tamper-evident logs
    #[command(subcommand)]
    Log(Log),
    /// Verify a .tlog-proof file or an evidence pack, offline
    Verify(Verify),
    /// What the logs say of one tenant, for others to verify
    #[command(subcommand)]
    Evidence(Evidence),
    /// What is kept outside the data folder, so that nothing older starts
    #[command(subcommand)]
    Witness(Witness),
    /// Look into a token without verifying it, offline
    #[command(subcommand)]
    Token(Token),
    /// The service's configuration
    #[command(subcommand)]
    Config(Config),
    /// Copy the whole data folder beside the running service
    Backup(Backup),
    /// Put a backup back as a data folder; its witness then has to be asked
    Restore(Restore),
    /// Check this machine and installation, and print the command that mends each finding
    Doctor(Doctor),
    /// Shell completions
    Completions {
        /// Shell
        shell: clap_complete::Shell,
    },
    /// Version and build
    Version,
    /// The command tree; with --json for programs
    Help,
    /// Every stable code with its meaning
    Codes,
    /// The process that may start upstream programs
    #[command(hide = true)]
    Launcher,
    /// The process that becomes the command of `run`
    #[command(hide = true)]
    RunChild(RunChild),
    /// The small MCP server inside this binary
    #[command(hide = true)]
    BuiltinMcp {
        /// Folder it serves
        #[arg(long)]
        root: PathBuf,
    },
}

#[derive(Args)]
pub(crate) struct Claim {
    /// Data folder of the running service
    #[arg(long)]
    pub(crate) data: PathBuf,
    /// Name of the operator
    #[arg(long)]
    pub(crate) name: String,
}

#[derive(Args)]
pub(crate) struct Count {
    /// Every tenant
    #[arg(long, conflicts_with = "tenant")]
    pub(crate) all_tenants: bool,
    /// Log position, or RFC 3339 time
    #[arg(long)]
    pub(crate) at: Option<String>,
    /// Recount from the log and show how the number was found
    #[arg(long)]
    pub(crate) explain: bool,
}

#[derive(Args)]
pub(crate) struct Check {
    /// Identity id or name
    pub(crate) principal: String,
    /// MCP method such as tools/call
    pub(crate) action: String,
    /// server:tool
    pub(crate) resource: String,
    /// Task whose grant is used
    #[arg(long)]
    pub(crate) task: Option<String>,
    /// Argument of the call as NAME=JSON (or NAME=text)
    #[arg(long = "arg")]
    pub(crate) args: Vec<String>,
}

#[derive(Subcommand)]
pub(crate) enum Tenant {
    /// Add a tenant
    Add {
        /// Slug: 2 to 40 of a-z, 0-9 and -
        slug: String,
        /// Name for people
        #[arg(long)]
        name: String,
        /// Employees
        #[arg(long)]
        employees: u32,
        /// RS256, ES256 or EdDSA
        #[arg(long, default_value = "RS256")]
        algorithm: String,
    },
    /// List tenants
    Ls,
}

#[derive(Subcommand)]
pub(crate) enum Id {
    /// Register an identity
    Add(NewIdentity),
    /// List identities
    Ls,
    /// Show one identity
    Get {
        /// Id or name
        id: String,
    },
    /// Declare what it is made of: another composition puts it back into probation
    Compose {
        /// Id or name
        id: String,
        #[command(flatten)]
        parts: Parts,
    },
    /// Probation is over
    Activate {
        /// Id or name
        id: String,
        /// Only if it is made of this: the digest that `id get` shows
        // Base64url may begin with a hyphen.
        #[arg(long, value_name = "DIGEST", allow_hyphen_values = true)]
        composition: Option<String>,
    },
    /// Stop it; can be resumed
    Suspend {
        /// Id or name
        id: String,
        /// Why
        #[arg(long)]
        reason: String,
    },
    /// Lift a suspension
    Resume {
        /// Id or name
        id: String,
    },
    /// End it for good; a tombstone remains
    Retire {
        /// Id or name
        id: String,
        /// Why
        #[arg(long)]
        reason: String,
    },
}

#[derive(Args)]
pub(crate) struct NewIdentity {
    /// Name, unique in the tenant
    pub(crate) name: String,
    /// agent, api-key, ci-job, cloud-run-job, mcp-server, oauth-grant, service-account, webhook, workload
    #[arg(long)]
    pub(crate) kind: String,
    /// Accountable team or person (required)
    #[arg(long)]
    pub(crate) owner: Option<String>,
    /// Where to reach the owner (required)
    #[arg(long = "owner-contact")]
    pub(crate) contact: Option<String>,
    /// What it is for (required)
    #[arg(long)]
    pub(crate) purpose: Option<String>,
    /// When it ends: RFC 3339, or a span such as 90d (required)
    #[arg(long)]
    pub(crate) expires: Option<String>,
    /// Application it belongs to
    #[arg(long)]
    pub(crate) application: Option<String>,
    /// Logical agent
    #[arg(long)]
    pub(crate) agent: Option<String>,
    /// Workflow
    #[arg(long)]
    pub(crate) workflow: Option<String>,
}

#[derive(Subcommand)]
pub(crate) enum Client {
    /// Register a client key for an identity
    Add {
        /// Identity id or name
        identity: String,
        /// Public JWK to register
        #[arg(long, conflicts_with = "generate")]
        jwk: Option<PathBuf>,
        /// Make a key pair here and write the private key (PEM, PKCS #8) to this new file (0600)
        #[arg(long)]
        generate: Option<PathBuf>,
        /// Algorithm of a generated key
        #[arg(long, default_value = "ES256")]
        algorithm: String,
        /// Certificate (PEM) by which it is known over TLS (RFC 8705)
        #[arg(long)]
        certificate: Option<PathBuf>,
        /// What its tokens are bound to: a key with every request (dpop; the default), its certificate (mtls; the default where it has one), or nothing
        #[arg(long, value_parser = ["dpop", "mtls", "none"])]
        proof: Option<String>,
    },
    /// List clients
    Ls,
    /// End a client: its key is taken no more, its tokens are not renewed
    Remove {
        /// Client id
        id: String,
        /// Why; recorded
        #[arg(long)]
        reason: String,
    },
}

#[derive(Subcommand)]
pub(crate) enum Trust {
    /// Say which workload of which issuer an identity is
    Add(TrustAdd),
    /// List trust rules
    Ls,
    /// Show what the rules leave open, or what a policy of a cloud does
    Lint(TrustLint),
    /// Remove a rule; tokens that were issued by it live to their end
    Remove {
        /// Trust id
        id: String,
        /// Why; recorded
        #[arg(long)]
        reason: String,
    },
}

#[derive(Args)]
pub(crate) struct TrustAdd {
    /// Identity id or name
    pub(crate) identity: String,
    /// Kind of issuer: aws, aws-web-identity, azure, gcp, generic-oidc, github, gitlab, id-jag, kubernetes, spiffe-jwt, unix-peer
    #[arg(long)]
    pub(crate) method: String,
    /// `iss` of its tokens; that of the vendor when left out
    #[arg(long)]
    pub(crate) issuer: Option<String>,
    /// Attribute a workload has to have, byte for byte: NAME=VALUE (repeat)
    #[arg(long = "match", required = true)]
    pub(crate) attributes: Vec<String>,
    /// Where its keys are, when its metadata does not say
    #[arg(long, conflicts_with = "jwks")]
    pub(crate) jwks_url: Option<String>,
    /// File with its keys (JWK Set), for an issuer that cannot be reached
    #[arg(long)]
    pub(crate) jwks: Option<PathBuf>,
    /// Address range beyond the public ones where its keys may be fetched (repeat)
    #[arg(long = "allow-address")]
    pub(crate) allow_addresses: Vec<String>,
    /// Fetch its keys over plain HTTP: whoever listens may put in their own
    #[arg(long)]
    pub(crate) danger_plaintext: bool,
    /// Expiry, RFC 3339; the identity's when left out
    #[arg(long)]
    pub(crate) expires: Option<String>,
}

#[derive(Subcommand)]
pub(crate) enum Task {
    /// Open a task and issue its first credential
    Open {
        /// Identity id or name
        #[arg(long)]
        identity: String,
        /// What the work is
        #[arg(long)]
        purpose: String,
        /// What it may do, e.g. 'filesystem:read_text_file(path under "/srv/in")'
        #[arg(long = "can")]
        can: Vec<String>,
        /// How long it may last
        #[arg(long = "for", default_value = "15m", value_parser = parse_span)]
        window: Duration,
        /// Who asked for it
        #[arg(long)]
        requested_by: Option<String>,
        /// Identity that may act for this one with the task's tokens; repeat for several
        #[arg(long = "may-act", value_name = "IDENTITY")]
        may_act: Vec<String>,
        /// Write the token to this new file (0600) instead of standard output
        #[arg(long)]
        token_file: Option<PathBuf>,
        /// Open the task without issuing a token
        #[arg(long)]
        no_token: bool,
    },
    /// Issue or renew a token of a task
    Token {
        /// Task id
        task: String,
        /// How many
        #[arg(long, default_value_t = 1)]
        count: u32,
        /// Write the token to this file (0600); a token of the same task is replaced
        #[arg(long)]
        token_file: Option<PathBuf>,
    },
    /// Show a task: what it may, what it holds now, why, until when, and what is wrong with that
    Show {
        /// Task id
        task: String,
    },
    /// Close a task; all its credentials are dead
    Close {
        /// Task id
        task: String,
        /// Why
        #[arg(long)]
        reason: Option<String>,
    },
    /// List tasks
    Ls,
}

#[derive(Subcommand)]
pub(crate) enum Server {
    /// Add an upstream MCP server and pin its tools, or a destination of the egress proxy
    Add(Box<NewServer>),
    /// List servers and the state of their tools
    Ls,
    /// Show one server: owner, expiry, tools with their whole digests
    Show {
        /// Server name
        name: String,
    },
    /// Give a server another credential; what it had before is forgotten
    Credential {
        /// Server name
        name: String,
        #[command(flatten)]
        opener: Opener,
    },
    /// Accept the present definitions of a server's tools
    Pin {
        /// Server name
        name: String,
        /// Only these tools
        #[arg(long = "tool")]
        tools: Vec<String>,
    },
    /// Say which pinned tools only read: what may still be called under a read-only mark. Replaces what was said
    Reads {
        /// Server name
        name: String,
        /// This tool; may be given several times
        #[arg(long = "tool")]
        tools: Vec<String>,
        /// Also the tools whose pinned definition says readOnlyHint
        #[arg(long)]
        hinted: bool,
    },
}

/// What opens a server.
#[derive(Args)]
#[group(multiple = false)]
pub(crate) struct Opener {
    /// File with the secret that opens the server; - for standard input
    #[arg(long)]
    pub(crate) credential_file: Option<PathBuf>,
    /// Name of a third-party credential: its secret opens the server, also after a rotation, until it is revoked
    #[arg(long, value_name = "NAME")]
    pub(crate) credential_from: Option<String>,
}

#[derive(Args)]
pub(crate) struct NewServer {
    /// Name in URLs and scopes
    pub(crate) name: String,
    /// Streamable HTTP endpoint
    #[arg(long, conflicts_with = "exec", required_unless_present_any = ["exec", "destination"])]
    pub(crate) url: Option<String>,
    /// Absolute path of a program that speaks MCP on its standard streams
    #[arg(long)]
    pub(crate) exec: Option<String>,
    #[command(flatten)]
    pub(crate) destination: Destination,
    /// Argument of the program
    #[arg(long = "arg", allow_hyphen_values = true)]
    pub(crate) args: Vec<String>,
    /// FILE, or FILE=SHA256, that must be the same before each start: the program and every file among its arguments
    #[arg(long = "digest")]
    pub(crate) digests: Vec<String>,
    /// Address range (CIDR) that may be connected to although it is not public
    #[arg(long = "allow-address")]
    pub(crate) allow_addresses: Vec<String>,
    /// Allow http:
    #[arg(long)]
    pub(crate) allow_plaintext: bool,
    #[command(flatten)]
    pub(crate) opener: Opener,
    /// Accountable team or person (required)
    #[arg(long)]
    pub(crate) owner: Option<String>,
    /// Where to reach the owner (required)
    #[arg(long = "owner-contact")]
    pub(crate) contact: Option<String>,
    /// What it is for (required)
    #[arg(long)]
    pub(crate) purpose: Option<String>,
    /// When it ends: RFC 3339, or a span such as 90d (required)
    #[arg(long)]
    pub(crate) expires: Option<String>,
}

#[derive(Subcommand)]
pub(crate) enum Policy {
    /// Print the tenant's policies
    Get,
    /// Replace the tenant's policies
    Set {
        /// Cedar file; - for standard input
        file: PathBuf,
    },
    /// Check policies against the schema, offline
    Lint {
        /// Cedar file; - for standard input
        file: PathBuf,
    },
    /// Print the schema: the types and actions a policy may name
    Schema,
}

#[derive(Subcommand)]
pub(crate) enum Log {
    /// Check every log of a data folder: signatures, tree, entries, sequence
    Verify {
        /// Data folder, or an exported folder; the running service's when absent
        #[arg(long)]
        data: Option<PathBuf>,
        /// Verifier key that the checkpoints of its log must carry, from somewhere else than the folder; repeat for several
        #[arg(long = "key", value_name = "VKEY")]
        keys: Vec<String>,
        /// Key of a witness (`name+hash+base64`) that must have cosigned; repeat for several
        #[arg(long = "witness", value_name = "VKEY")]
        witnesses: Vec<String>,
        /// How many of the witnesses are enough; all when absent
        #[arg(long, value_name = "K", requires = "witnesses")]
        quorum: Option<usize>,
        /// A receipt that `kill receipt ID --out DIR` wrote, instead of a whole log
        #[arg(long, conflicts_with = "data")]
        receipt: Option<PathBuf>,
    },
    /// Write a .tlog-proof for one entry
    Prove {
        /// Decision id, or index
        entry: String,
        /// state or decisions
        #[arg(long, default_value = "decisions")]
        log: String,
        /// Put the payload into the file, with what opens its commitment
        #[arg(long)]
        disclose: bool,
        /// File to write; standard output when absent
        #[arg(long, short = 'o')]
        output: Option<PathBuf>,
    },
    /// Copy tiles and checkpoints, and with --openings the payloads this operator may read
    Export {
        /// New folder
        #[arg(required_unless_present = "out", conflicts_with = "out")]
        dir: Option<PathBuf>,
        /// The same, as `evidence pack`, `backup` and `kill receipt` take it
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
        /// Include payloads with their openings
        #[arg(long)]
        openings: bool,
        /// Data folder; the running service's when absent
        #[arg(long)]
        data: Option<PathBuf>,
    },
    /// The logs, their keys and sizes
    Ls,
    /// Remove the oldest entries of a node's decision log, on record; whole segments only, and nothing that is still needed
    #[command(group = clap::ArgGroup::new("bound").required(true).args(["keep", "up_to"]))]
    Prune {
        /// decisions; the state log is never pruned
        log: String,
        /// Keep what was recorded within this span, such as 90d
        #[arg(long, value_parser = parse_span, value_name = "SPAN")]
        keep: Option<Duration>,
        /// Keep everything from this index on
        #[arg(long, value_name = "INDEX")]
        up_to: Option<u64>,
        /// Why; recorded
        #[arg(long)]
        reason: String,
        /// Only show what would go
        #[arg(long)]
        dry_run: bool,
    },
    /// Recent entries, a line for each; `--json` has all of each
    Tail {
        /// state or decisions
        #[arg(long, default_value = "decisions")]
        log: String,
        /// How many
        #[arg(long, short = 'n', default_value_t = 20)]
        lines: u64,
        /// In front of this index instead of the end
        #[arg(long, value_name = "INDEX")]
        before: Option<u64>,
        /// Those of every tenant and of the installation, with a column that says whose; so it is without a tenant too
        #[arg(long)]
        all_tenants: bool,
    },
}

#[derive(Args)]
pub(crate) struct Verify {
    /// Proof file, or folder of an evidence pack
    pub(crate) file: PathBuf,
    /// Verifier key (`origin+hash+base64`), from a place you trust; a pack needs those of both logs
    #[arg(long = "key", value_name = "VKEY", required = true)]
    pub(crate) keys: Vec<String>,
}

#[derive(Subcommand)]
pub(crate) enum Token {
    /// Print header and claims; nothing is verified
    Inspect {
        /// File with the token; - for standard input
        file: PathBuf,
    },
}

#[derive(Subcommand)]
pub(crate) enum Config {
    /// Read the configuration and refuse what the service would refuse
    Check(Serve),
    /// Print the effective configuration; it names the places of secrets and holds none
    Show {
        #[command(flatten)]
        serve: Serve,
        /// What the service would run with: file, environment and flags over the defaults. So it is without this too
        #[arg(long)]
        effective: bool,
        /// Tell where each value came from
        #[arg(long)]
        origin: bool,
    },
}

#[derive(Args)]
pub(crate) struct Doctor {
    /// Data folder
    #[arg(long)]
    pub(crate) data: Option<PathBuf>,
}

/// Reads `90s`, `15m`, `2h`, `90d`.
pub(crate) fn parse_span(text: &str) -> Result<Duration, String> {
    let wrong = || format!("span `{text}` is not a number with s, m, h or d, such as 15m");
    let (number, unit) = text
        .split_at_checked(text.len().saturating_sub(1))
        .ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let secs = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    number
        .checked_mul(secs)
        .map(Duration::from_secs)
        .ok_or_else(wrong)
}
