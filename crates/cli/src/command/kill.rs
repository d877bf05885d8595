//! `bailiwick kill`, `suspend`, `resume`.

use std::io::{BufRead, IsTerminal};

use bailiwick_wire::{DryRun, KillReceipt, KillRequest, Level, Mark, Page, SelectorKind};

use super::{Done, receipt};
use crate::args::{self, Global, Scope, Stop};
use crate::client::Client;
use crate::output::{Failure, Output, Paper, exit, name_or_id};

/// Which of the three commands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Kill,
    Resume,
    Suspend,
}

pub(crate) async fn run(stop: Stop, verb: Verb, global: &Global, output: &Output) -> Done {
    let client = Client::connect(global)?;
    let Some(scope) = selector(stop.scope) else {
        return match stop.scope {
            Scope::Drill => receipt::drill(&stop, &client, output).await,
            Scope::Receipt => receipt::show(&stop, &client.at(stop.at.clone()), output).await,
            Scope::Residue => receipt::residue(&stop, &client, output).await,
            Scope::Sign => receipt::sign(&stop, &client, output).await,
            _ => list(&client, stop.all_tenants, output).await,
        };
    };
    let name = name_of(&stop, &client)?;
    let level = match (verb, stop.level) {
        (Verb::Suspend, None) => Some(Level::Frozen),
        (Verb::Kill, level) => level.map(to_wire),
        (Verb::Resume, None) => None,
        (Verb::Resume | Verb::Suspend, Some(_)) => {
            return Err(Failure::usage("--level is for `kill` alone")
                .hint("`suspend` is `kill --level frozen`, and `resume` lifts every level but killed"));
        }
    };
    let is_final = verb == Verb::Kill && matches!(level, None | Some(Level::Killed));
    if is_final && !stop.dry_run && !stop.yes {
        confirm(&stop, &name)?;
    }
    let mut path = match (scope, verb) {
        (SelectorKind::All, Verb::Resume) => "/v1/all-tenants/resume".to_owned(),
        (SelectorKind::All, _) => "/v1/all-tenants/kill".to_owned(),
        (_, Verb::Resume) => client.path("resume")?,
        _ => client.path("kill")?,
    };
    if stop.no_wait && verb != Verb::Resume {
        path.push_str("?wait=committed");
    }
    let body = KillRequest {
        scope,
        name,
        reason: stop.reason,
        level,
        suspend: false,
        dry_run: stop.dry_run,
        break_glass: stop.break_glass,
    };
    if stop.dry_run {
        let dry: DryRun = client.stop(&path, &body, stop.data.as_deref()).await?;
        output.result(&dry, |paper| show_dry(paper, &dry));
        return Ok(exit::OK);
    }
    let receipt: KillReceipt = client.stop(&path, &body, stop.data.as_deref()).await?;
    output.result(&receipt, |paper| match verb {
        Verb::Resume => show_resumed(paper, &receipt),
        Verb::Kill | Verb::Suspend => show(paper, &receipt),
    });
    let stops = verb != Verb::Resume && level != Some(Level::Observe);
    let unconfirmed = receipt.contained_us.is_none() && !stop.no_wait;
    let silent = stops && (receipt.points.is_empty() || unconfirmed);
    Ok(if silent { exit::UNACKNOWLEDGED } else { exit::OK })
}

fn name_of(stop: &Stop, client: &Client) -> Result<String, Failure> {
    match (stop.scope, &stop.name) {
        (Scope::All, None) => Ok(String::new()),
        (Scope::Tenant, None) => Ok(client.tenant()?.to_owned()),
        (_, Some(name)) => Ok(name.clone()),
        (_, None) => {
            Err(Failure::usage("no name given")
                .hint("say which one, e.g. `bailiwick kill identity invoices`"))
        }
    }
}

/// Without a terminal nobody is asked: the command must carry `--yes`.
fn confirm(stop: &Stop, name: &str) -> Result<(), Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::usage("a kill cannot be undone").hint("add --yes, or look first with --dry-run"));
    }
    let wanted = match stop.scope {
        Scope::All => "all".to_owned(),
        Scope::Tenant => name.to_owned(),
        _ => "yes".to_owned(),
    };
    crate::output::tell(&format!("This cannot be undone. Type `{wanted}` to go on:"));
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .map_err(|error| Failure::usage(format!("no answer: {error}")))?;
    if line.trim() == wanted {
        return Ok(());
    }
    Err(Failure::new(
        exit::ERROR,
        "cli.not-confirmed",
        "not confirmed; nothing was stopped",
    ))
}

/// What is stopped right now.
async fn list(client: &Client, all: bool, output: &Output) -> Done {
    let path = if all || client.tenant().is_err() {
        "/v1/all-tenants/marks".to_owned()
    } else {
        client.path("marks")?
    };
    let page: Page<Mark> = client.get(&path).await?;
    output.result(&page, |paper| {
        let rows = page.items.iter().map(|m| {
            // A suspension is what can be lifted, and an operator has a name: the document has all of each.
            vec![
                m.tenant.clone().unwrap_or_else(|| "(all)".to_owned()),
                m.effect.clone(),
                scope_of(m),
                m.since.clone().unwrap_or_else(|| "now".to_owned()),
                m.epoch.to_string(),
                name_or_id(m.by_name.as_ref(), m.by.as_deref().unwrap_or_default()),
                m.reason.clone().unwrap_or_default(),
            ]
        });
        paper.table(
            &["tenant", "effect", "scope", "since", "epoch", "by", "reason"],
            rows.collect(),
            "nothing is stopped by a mark",
        );
        let older = page.total.saturating_sub(page.items.len() as u64);
        if older > 0 {
            paper.line(format!("and {older} older ones, which are not listed"));
        }
    });
    Ok(exit::OK)
}

/// An identity is named as `kill` and `resume` take it; a task by its id, for its purpose may be another's too.
fn scope_of(mark: &Mark) -> String {
    match (&mark.name, mark.scope.split_once(' ')) {
        (Some(name), Some(("identity", _))) => format!("identity {name}"),
        _ => mark.scope.clone(),
    }
}

fn to_wire(level: args::Level) -> Level {
    match level {
        args::Level::Frozen => Level::Frozen,
        args::Level::Killed => Level::Killed,
        args::Level::NoEgress => Level::NoEgress,
        args::Level::Observe => Level::Observe,
        args::Level::ReadOnly => Level::ReadOnly,
    }
}

fn selector(scope: Scope) -> Option<SelectorKind> {
    Some(match scope {
        Scope::Agent => SelectorKind::Agent,
        Scope::All => SelectorKind::All,
        Scope::Identity => SelectorKind::Identity,
        Scope::Issuer => SelectorKind::Issuer,
        Scope::Owner => SelectorKind::Owner,
        Scope::Server => SelectorKind::Server,
        Scope::Task => SelectorKind::Task,
        Scope::Tenant => SelectorKind::Tenant,
        Scope::Token => SelectorKind::Token,
        Scope::Tool => SelectorKind::Tool,
        Scope::Drill | Scope::Ls | Scope::Receipt | Scope::Residue | Scope::Sign => return None,
    })
}

fn show_dry(paper: &mut Paper, dry: &DryRun) {
    paper.pairs(&[
        ("identities", dry.identity_count.to_string()),
        ("open tasks it cuts into", dry.task_count.to_string()),
        ("calls in flight", dry.calls_in_flight.to_string()),
        ("calls of the last hour", dry.calls_last_hour.to_string()),
        ("live tokens", dry.tokens.len().to_string()),
        (
            "reversible",
            if dry.reversible {
                "yes".to_owned()
            } else {
                "no".to_owned()
            },
        ),
    ]);
    let named = |id: &String| match dry.names.get(id) {
        Some(name) => format!("{id}  {name}"),
        None => id.clone(),
    };
    for identity in &dry.identities {
        paper.line(format!("would stop  identity  {}", named(identity)));
    }
    for task in &dry.tasks {
        paper.line(format!("would stop  task      {}", named(task)));
    }
    let listed = (dry.identities.len() + dry.tasks.len()) as u64;
    let unlisted = (dry.identity_count + dry.task_count).saturating_sub(listed);
    if unlisted > 0 {
        paper.line(format!(
            "would stop  {unlisted} more identities and tasks, which are not listed"
        ));
    }
    for descendant in &dry.descendants {
        paper.line(format!("would lose  delegation  {}", named(descendant)));
    }
    for credential in &dry.credentials {
        paper.line(format!("would leave without owner  credential  {credential}"));
    }
    for (of, calls) in &dry.calls_by {
        paper.line(format!("called      {of}  {calls} times"));
    }
    if !dry.is_whole_hour {
        paper.line("the log is long: the last hour was read in part");
    }
    for item in &dry.unreached {
        paper.line(format!("NOT REACHED  {} {}: {}", item.kind, item.id, item.detail));
    }
}

fn show_resumed(paper: &mut Paper, receipt: &KillReceipt) {
    paper.pairs(&[
        ("resumed", paper.strong(&receipt.scope)),
        ("suspension", "lifted".to_owned()),
        ("log position", receipt.position.to_string()),
        ("committed after", format!("{} µs", receipt.committed_us)),
    ]);
    for mark in &receipt.still {
        paper.line(format!("still stopped by the {mark}"));
    }
}

/// When no node could permit any more what was forbidden.
fn contained(receipt: &KillReceipt) -> String {
    match receipt.contained_us {
        Some(0) => "0 µs: at the commit".to_owned(),
        Some(after) => format!("{after} µs"),
        None => "not known yet: the receipt tells, and `bailiwick node ls` who is silent".to_owned(),
    }
}

pub(super) fn show(paper: &mut Paper, receipt: &KillReceipt) {
    paper.pairs(&[
        (receipt.effect.as_str(), paper.strong(&receipt.scope)),
        (
            "reversible",
            if receipt.reversible {
                "yes, by `bailiwick resume`"
            } else {
                "no, never"
            }
            .to_owned(),
        ),
        ("epoch", receipt.epoch.to_string()),
        ("log position", receipt.position.to_string()),
        ("denied in memory after", format!("{} µs", receipt.denied_us)),
        ("committed after", format!("{} µs", receipt.committed_us)),
        ("contained after the commit", contained(receipt)),
        ("calls cancelled", receipt.cancelled_calls.to_string()),
    ]);
    for node in &receipt.nodes {
        paper.line(format!(
            "  node {}: {} after {} µs",
            node.node, node.end, node.after_us
        ));
    }
    let rows = receipt
        .points
        .iter()
        .map(|p| vec![p.point.clone(), format!("{} µs", p.refusal_us)]);
    paper.table(
        &["enforcement point", "first refusal"],
        rows.collect(),
        "no enforcement point answered",
    );
    if let Some(id) = receipt.receipt {
        paper.line(format!("receipt: bailiwick kill receipt {id}"));
    }
    if receipt.pending {
        paper.line(format!(
            "frozen until a second operator signs: bailiwick kill sign {}",
            receipt.receipt.unwrap_or(receipt.epoch)
        ));
    }
}
