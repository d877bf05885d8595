//! The steps, in order.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bailiwick_server::evidence;
use bailiwick_wire::{
    Count, Identity, KillReceipt, KillRequest, Labels, NewIdentity, NewTask, NewTenant, OpenedTask, Owner,
    SelectorKind, Server, StateChange, Tenant,
};
use http::Method;
use hyper::body::Bytes;
use serde_json::{Value, json};

use super::super::claim::claim_into;
use super::Figures;
use super::agent::{Agent, Answer, Upstream};
use crate::args::Global;
use crate::client::Client;
use crate::output::{Failure, Output, exit};

const CALLS: usize = 20;

pub(super) struct Setting {
    pub(super) data: PathBuf,
    pub(super) files: PathBuf,
    pub(super) global: Global,
    pub(super) upstream: Upstream,
    pub(super) seed: u64,
}

/// Prints a numbered step and its lines.
struct Teller<'a> {
    output: &'a Output,
    step: u32,
}

impl Teller<'_> {
    fn step(&mut self, title: &str) {
        self.step += 1;
        self.line(&format!("\n{}. {title}", self.step));
    }

    fn line(&self, text: &str) {
        if !self.output.is_json() {
            crate::output::print(text);
        }
    }
}

pub(super) async fn tell(setting: &Setting, output: &Output) -> Result<Figures, Failure> {
    let mut teller = Teller { output, step: 0 };
    let mut figures = Figures {
        upstream: setting.upstream.title.to_owned(),
        ..Figures::default()
    };
    teller
        .line("Demo data. One agent, from registration to proof; every number below was measured just now.");
    write_files(setting)?;
    let client = install(setting, &mut teller).await?;
    let (agent_id, server) = register(setting, &client, &mut teller, &mut figures).await?;
    let (opened, mut agent) = open(setting, &client, &server, &mut teller).await?;
    work(setting, &mut agent, &mut teller, &mut figures).await?;
    let refused = overreach(&mut agent, &mut teller, &mut figures).await?;
    kill(&client, &agent_id, &mut teller, &mut figures).await?;
    after_kill(setting, &mut agent, &mut teller, &mut figures).await?;
    prove(setting, &client, &refused, &mut teller, &mut figures).await?;
    second_agent(setting, &client, &opened, &mut teller).await?;
    count(&client, &mut teller, &mut figures).await?;
    Ok(figures)
}

/// Invoices whose amounts depend on the seed alone.
fn write_files(setting: &Setting) -> Result<(), Failure> {
    let invoices = setting.files.join("invoices");
    let payroll = setting.files.join("payroll");
    for folder in [&invoices, &payroll] {
        std::fs::create_dir_all(folder).map_err(|e| Failure::io("make", folder, &e))?;
    }
    for month in 1..=3_u64 {
        let file = invoices.join(format!("2026-{month:02}.txt"));
        let amount = setting.seed.wrapping_mul(7_919).wrapping_add(month * 1_031) % 90_000 + 10_000;
        let text = format!(
            "Invoice 2026-{month:02}\nAmount due: {}.{:02} EUR\n",
            amount / 100,
            amount % 100
        );
        std::fs::write(&file, text).map_err(|e| Failure::io("write", &file, &e))?;
    }
    let file = payroll.join("salaries.txt");
    std::fs::write(&file, "not for the report writer\n").map_err(|e| Failure::io("write", &file, &e))
}

async fn install(setting: &Setting, teller: &mut Teller<'_>) -> Result<Client, Failure> {
    teller.step("An operator claims the installation, over the data folder's socket");
    let context = claim_into(
        &setting.global,
        &setting.data,
        "demo operator",
        Some("acme".to_owned()),
    )
    .await?;
    teller.line(&format!(
        "   no default account exists; the key is in {}",
        context.with_extension("key").display()
    ));
    let client = Client::connect(&setting.global)?;
    teller.step("A tenant with its own issuer and keys");
    let body = NewTenant {
        tenant: "acme".to_owned(),
        name: "Acme".to_owned(),
        employees: 120,
        algorithm: None,
    };
    let tenant: Tenant = client.post("/v1/tenants", &body).await?;
    teller.line(&format!("   issuer {} signs {}", tenant.issuer, tenant.algorithm));
    Ok(client)
}

fn new_agent(name: &str, expires_at: String) -> NewIdentity {
    NewIdentity {
        name: name.to_owned(),
        kind: "agent".to_owned(),
        owner: Some(Owner {
            team: "finance".to_owned(),
            contact: "finance@acme.example".to_owned(),
        }),
        application: Some("reporting".to_owned()),
        purpose: Some("monthly invoice report".to_owned()),
        expires_at: Some(expires_at),
        platform: None,
        labels: Labels {
            agent: Some("report-writer".to_owned()),
            workflow: Some("month-end".to_owned()),
        },
    }
}

async fn register(
    setting: &Setting,
    client: &Client,
    teller: &mut Teller<'_>,
    figures: &mut Figures,
) -> Result<(String, Server), Failure> {
    let expires = bailiwick_server::now()
        .after(Duration::from_secs(90 * 86_400))
        .to_string();
    teller.step("An agent is registered: owner, purpose and expiry are required");
    let path = client.path("identities")?;
    let mut ownerless = new_agent("report-writer", expires.clone());
    ownerless.owner = None;
    match client.post::<_, Identity>(&path, &ownerless).await {
        Err(refusal) => teller.line(&format!(
            "   without an owner: refused, {} ({})",
            refusal.message, refusal.code
        )),
        Ok(_) => return Err(broken("an identity without owner was registered")),
    }
    let agent: Identity = client
        .post(&path, &new_agent("report-writer", expires.clone()))
        .await?;
    let activate = client.path(&format!("identities/{}/activate", agent.id))?;
    let agent: Identity = client.post(&activate, &StateChange::default()).await?;
    teller.line(&format!(
        "   {} is {}, owned by {}",
        agent.id, agent.state, agent.owner.team
    ));
    teller.step(&format!(
        "An upstream MCP server is added: {}",
        setting.upstream.title
    ));
    let server: Server = client
        .post(&client.path("servers")?, &setting.upstream.registration(expires)?)
        .await?;
    figures.tools_pinned = server.tools.len();
    teller.line(&format!(
        "   {} tools pinned by the digest of their definition",
        server.tools.len()
    ));
    teller.line(&format!("   agents reach it at {}", server.endpoint));
    Ok((agent.id, server))
}

async fn open(
    setting: &Setting,
    client: &Client,
    server: &Server,
    teller: &mut Teller<'_>,
) -> Result<(OpenedTask, Agent), Failure> {
    teller.step("A task is opened; its credential can do this and nothing else");
    let scope = format!(
        "files:read_text_file(path under \"{}\")",
        setting.files.join("invoices").display()
    );
    let body = NewTask {
        identity: "report-writer".to_owned(),
        purpose: "summarise the invoices of the first quarter".to_owned(),
        can: vec![scope.clone()],
        authorization_details: Vec::new(),
        for_secs: 900,
        requested_by: None,
        may_act: Vec::new(),
        issue: true,
        heartbeat_secs: None,
    };
    let opened: OpenedTask = client.post(&client.path("tasks")?, &body).await?;
    let token = opened
        .token
        .as_ref()
        .ok_or_else(|| broken("no token came with the task"))?;
    teller.line(&format!("   can   {scope}"));
    teller.line(&format!(
        "   token of {} bytes, {} s, scope {}",
        token.access_token.len(),
        token.expires_in,
        token.scope
    ));
    let agent = Agent::new(server.endpoint.clone(), token.access_token.clone());
    Ok((opened, agent))
}

async fn work(
    setting: &Setting,
    agent: &mut Agent,
    teller: &mut Teller<'_>,
    figures: &mut Figures,
) -> Result<(), Failure> {
    teller.step(
        "The agent works through the gateway; every call is decided and recorded before it is forwarded",
    );
    let Answer::Result(listed) = agent.list_tools().await? else {
        return Err(broken("tools/list was refused"));
    };
    let names: Vec<&str> = listed
        .get("tools")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|t| t.get("name").and_then(Value::as_str))
        .collect();
    figures.tools_listed = names.len();
    teller.line(&format!(
        "   tools/list shows {} of {}: {}",
        names.len(),
        figures.tools_pinned,
        names.join(", ")
    ));
    let path = setting.files.join("invoices").join("2026-01.txt");
    let mut times = Vec::with_capacity(CALLS);
    let mut text = String::new();
    for _ in 0..CALLS {
        let begun = instant();
        match agent.call("read_text_file", json!({"path": path})).await? {
            Answer::Result(result) => text = first_text(&result),
            Answer::Refused { code, reason, .. } => {
                return Err(broken(&format!("an allowed call was refused: {reason} ({code})")));
            }
        }
        times.push(begun.elapsed());
        figures.calls_permitted += 1;
    }
    times.sort_unstable();
    let median = times.get(CALLS / 2).copied().unwrap_or_default();
    figures.call_p50_us = u64::try_from(median.as_micros()).unwrap_or(u64::MAX);
    teller.line(&format!(
        "   read_text_file 2026-01.txt → {}",
        text.lines().collect::<Vec<_>>().join(" / ")
    ));
    teller.line(&format!(
        "   {CALLS} calls, median {} µs with the upstream and a durable record each",
        figures.call_p50_us
    ));
    Ok(())
}

/// The demo measures like any client: with the machine's own stopwatch.
#[expect(
    clippy::disallowed_methods,
    reason = "a client-side stopwatch; nothing is decided by it"
)]
fn instant() -> Instant {
    Instant::now()
}

fn first_text(result: &Value) -> String {
    result
        .pointer("/content/0/text")
        .and_then(Value::as_str)
        .map(|t| t.trim_end().to_owned())
        .unwrap_or_default()
}

async fn overreach(
    agent: &mut Agent,
    teller: &mut Teller<'_>,
    figures: &mut Figures,
) -> Result<String, Failure> {
    teller.step("The agent is talked into more than its task");
    let mut found = String::new();
    let tries = [
        ("read_text_file", json!({"path": "/etc/passwd"})),
        (
            "read_text_file",
            json!({"path": "invoices/../payroll/salaries.txt"}),
        ),
        ("write_file", json!({"path": "/tmp/x", "content": "x"})),
    ];
    for (tool, arguments) in tries {
        match agent.call(tool, arguments.clone()).await? {
            Answer::Result(_) => return Err(broken("a call outside the grant was let through")),
            Answer::Refused {
                status,
                code,
                reason,
                decision,
            } => {
                figures.calls_refused += 1;
                teller.line(&format!("   {tool} {arguments}"));
                teller.line(&format!(
                    "     refused (HTTP {}, {code}): {reason}",
                    status.as_u16()
                ));
                if let Some(decision) = decision {
                    found = decision;
                }
            }
        }
    }
    Ok(found)
}

async fn kill(
    client: &Client,
    agent: &str,
    teller: &mut Teller<'_>,
    figures: &mut Figures,
) -> Result<(), Failure> {
    teller.step("Kill");
    let body = KillRequest {
        scope: SelectorKind::Identity,
        name: agent.to_owned(),
        reason: "demo: the agent was talked into something".to_owned(),
        level: None,
        suspend: false,
        dry_run: false,
        break_glass: false,
    };
    let receipt: KillReceipt = client.post(&client.path("kill")?, &body).await?;
    figures.kill_denied_us = receipt.denied_us;
    figures.kill_committed_us = receipt.committed_us;
    teller.line(&format!(
        "   denied in memory after {} µs, committed to disk after {} µs, epoch {}",
        receipt.denied_us, receipt.committed_us, receipt.epoch
    ));
    for point in &receipt.points {
        teller.line(&format!(
            "   first refusal at {}: {} µs",
            point.point, point.refusal_us
        ));
    }
    Ok(())
}

async fn after_kill(
    setting: &Setting,
    agent: &mut Agent,
    teller: &mut Teller<'_>,
    figures: &mut Figures,
) -> Result<(), Failure> {
    let path = setting.files.join("invoices").join("2026-01.txt");
    match agent.call("read_text_file", json!({"path": path})).await? {
        Answer::Result(_) => Err(broken("a killed agent's call was let through")),
        Answer::Refused {
            status, code, reason, ..
        } => {
            figures.calls_refused += 1;
            teller.line(&format!(
                "   the same call again: HTTP {} {code}: {reason}",
                status.as_u16()
            ));
            Ok(())
        }
    }
}

async fn prove(
    setting: &Setting,
    client: &Client,
    decision: &str,
    teller: &mut Teller<'_>,
    figures: &mut Figures,
) -> Result<(), Failure> {
    teller.step("The whole history is proved by somebody who does not trust us");
    let proof = client
        .bytes(
            Method::GET,
            &format!("/v1/logs/decisions/proof?entry={decision}&disclose=true"),
            Bytes::new(),
        )
        .await?;
    let reports = evidence::verify_folder(&setting.data, &[])?;
    for report in &reports {
        if !report.is_sound() {
            return Err(broken(&format!("log {} does not verify", report.origin)));
        }
        figures.entries_verified += report.size;
        teller.line(&format!(
            "   {}: {} entries verified, root {}",
            report.origin, report.size, report.root
        ));
    }
    let vkey = reports
        .iter()
        .find(|r| r.log == "decisions")
        .map(|r| r.vkey.clone())
        .ok_or_else(|| broken("no decision log was found"))?;
    let proven = evidence::verify_proof(&proof, &vkey)?;
    let file = setting.data.join("refusal.tlog-proof");
    std::fs::write(&file, &proof).map_err(|e| Failure::io("write", &file, &e))?;
    teller.line(&format!(
        "   the refusal above is entry {} of {}; proof in {}",
        proven.index,
        proven.size,
        file.display()
    ));
    teller.line(&format!(
        "   check it anywhere: bailiwick verify {} --key '{vkey}'",
        file.display()
    ));
    Ok(())
}

async fn count(client: &Client, teller: &mut Teller<'_>, figures: &mut Figures) -> Result<(), Failure> {
    teller.step("How many machine identities, exactly?");
    let count: Count = client.get(&client.path("count?explain=true")?).await?;
    figures.identities = count.total;
    let explained = count
        .explained
        .as_ref()
        .ok_or_else(|| broken("the count was not explained"))?;
    if !explained.equal {
        return Err(broken("the count differs from the recount"));
    }
    let parts = count.split();
    teller.line(&format!(
        "   {} in service ({} active, {} in probation), {} retired, at log position {}",
        count.total, parts.active, parts.probation, count.retired, count.position
    ));
    teller.line(&format!(
        "   equal to a recount from {} log entries",
        explained.entries
    ));
    Ok(())
}

/// A second agent stays alive, so that the commands printed at the end have something to work on.
async fn second_agent(
    setting: &Setting,
    client: &Client,
    first: &OpenedTask,
    teller: &mut Teller<'_>,
) -> Result<(), Failure> {
    teller.step("A second agent takes the work over; it stays, so that there is something to try afterwards");
    let expires = bailiwick_server::now()
        .after(Duration::from_secs(90 * 86_400))
        .to_string();
    let successor: Identity = client
        .post(
            &client.path("identities")?,
            &new_agent("report-writer-2", expires),
        )
        .await?;
    let activate = client.path(&format!("identities/{}/activate", successor.id))?;
    let successor: Identity = client.post(&activate, &StateChange::default()).await?;
    teller.line(&format!("   {} is {}", successor.name, successor.state));
    let body = NewTask {
        identity: successor.id,
        purpose: first.task.purpose.clone(),
        can: vec![format!(
            "files:read_text_file(path under \"{}\")",
            setting.files.join("invoices").display()
        )],
        authorization_details: Vec::new(),
        for_secs: 900,
        requested_by: None,
        may_act: Vec::new(),
        issue: false,
        heartbeat_secs: None,
    };
    let _opened: OpenedTask = client.post(&client.path("tasks")?, &body).await?;
    Ok(())
}

fn broken(what: &str) -> Failure {
    Failure::new(
        exit::UNVERIFIED,
        "demo.broken",
        format!("the demo found a fault: {what}"),
    )
}
