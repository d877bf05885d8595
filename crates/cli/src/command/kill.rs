//! `bailiwick kill`, `suspend`, `resume`.

use std::io::{BufRead, IsTerminal};

use bailiwick_wire::{DryRun, KillReceipt, KillRequest, Level, Mark, Page, SecondOperator, SelectorKind};

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
                Level::of_effect(&m.effect).map_or_else(|| m.effect.clone(), |l| l.as_str().to_owned()),
                scope_of(m),
                m.does.clone(),
                m.since.clone().unwrap_or_else(|| "now".to_owned()),
                m.epoch.to_string(),
                name_or_id(m.by_name.as_ref(), m.by.as_deref().unwrap_or_default()),
                m.reason.clone().unwrap_or_default(),
            ]
        });
        paper.table(
            &[
                "tenant", "level", "scope", "does", "since", "epoch", "by", "reason",
            ],
            rows.collect(),
            "no mark stands: nothing is stopped or watched",
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

/// What each level does to what it is set on, in the words of a dry run.
const fn would(level: Option<Level>) -> &'static str {
    match level {
        Some(Level::Observe) => "would watch",
        Some(Level::ReadOnly) => "would let only read",
        Some(Level::NoEgress) => "would keep on this machine",
        Some(Level::Frozen) => "would freeze",
        Some(Level::Killed) => "would kill",
        None => "would resume",
    }
}

fn words(levels: &[Level]) -> String {
    let words: Vec<&str> = levels.iter().map(|level| level.as_str()).collect();
    words.join(", ")
}

fn show_dry(paper: &mut Paper, dry: &DryRun) {
    let verb = would(dry.level);
    let mut pairs = vec![(verb, paper.strong(&dry.scope))];
    match dry.level {
        Some(level) => pairs.push(("level", format!("{}: {}", level.as_str(), dry.does))),
        None if dry.lifts.is_empty() => {
            pairs.push(("lifts", "nothing: no mark that can be lifted".to_owned()))
        }
        None => pairs.push(("lifts", words(&dry.lifts))),
    }
    if let Some(second) = second_operator(dry) {
        pairs.push(("two operators", second.to_owned()));
    }
    pairs.push((
        "reversible",
        if dry.reversible {
            "yes, by `bailiwick resume`"
        } else {
            "no, never"
        }
        .to_owned(),
    ));
    pairs.extend(counts(dry));
    paper.pairs(&pairs);
    listed(paper, dry, verb);
    for (of, calls) in &dry.calls_by {
        paper.line(format!("called      {of}  {calls} times"));
    }
    if dry.level.is_some() {
        if !dry.is_whole_hour {
            paper.line("the log is long: the last hour was read in part, and these numbers are the least there can be");
        }
        if dry.unread_nodes > 0 {
            paper.line(format!(
                "calls and tokens are those of node {} alone: {} other nodes keep logs of their own; ask each with \
                 its URL",
                dry.read_at, dry.unread_nodes
            ));
        }
    }
    for item in &dry.unreached {
        paper.line(format!("NOT REACHED  {} {}: {}", item.kind, item.id, item.detail));
    }
}

/// What it takes beside one operator's word.
const fn second_operator(dry: &DryRun) -> Option<&'static str> {
    match dry.second_operator {
        Some(SecondOperator::BreakGlass) => {
            Some("needed, and you are the only one: it is refused without --break-glass, which is recorded")
        }
        Some(SecondOperator::Signs) => Some(
            "needed: it freezes at once, and is killed when another operator signs (`bailiwick kill sign ID`)",
        ),
        None => None,
    }
}

/// Whether what is marked is called, and does not call.
fn is_thing(dry: &DryRun) -> bool {
    dry.scope.starts_with("server ") || dry.scope.starts_with("tool ")
}

/// The numbers that a stop of this kind has; the level says what becomes of them.
fn counts(dry: &DryRun) -> Vec<(&'static str, String)> {
    let mut out = vec![if is_thing(dry) {
        ("identities that may call it", dry.users.len().to_string())
    } else {
        ("identities", dry.identity_count.to_string())
    }];
    let tasks = if is_thing(dry) {
        "open tasks that may call it"
    } else {
        "open tasks under it"
    };
    out.push((tasks, dry.task_count.to_string()));
    let Some(level) = dry.level else {
        return out;
    };
    out.push((
        "calls in flight",
        match level {
            Level::Observe => "none is cancelled by it".to_owned(),
            _ => format!("{} would be cancelled", dry.calls_in_flight),
        },
    ));
    let at = if dry.read_at.is_empty() {
        "at the node that was asked".to_owned()
    } else {
        format!("at node {}", dry.read_at)
    };
    out.push(("calls of the last hour", format!("{} {at}", dry.calls_last_hour)));
    let tokens = match dry.tokens.len() {
        0 if dry.scope.starts_with("token ") => {
            format!("not known: no issue of it within the last hour is on record {at}, or it has expired")
        }
        count if is_thing(dry) => format!("{count} that reach it, issued {at} within the last hour"),
        count if level.is_whole() => format!("{count}, issued {at} within the last hour"),
        count => format!("{count}, issued {at} within the last hour; none of them ends"),
    };
    out.push(("live tokens", tokens));
    out
}

fn listed(paper: &mut Paper, dry: &DryRun, verb: &str) {
    let named = |id: &String| match dry.names.get(id) {
        Some(name) => format!("{id}  {name}"),
        None => id.clone(),
    };
    for identity in &dry.identities {
        paper.line(format!("{verb}  identity  {}", named(identity)));
    }
    for user in &dry.users {
        paper.line(format!("may call it  identity  {}", named(user)));
    }
    // A server or a tool is what stops then; a task that may call it goes on without it.
    let task_verb = if is_thing(dry) { "may call it" } else { verb };
    for task in &dry.tasks {
        paper.line(format!("{task_verb}  task      {}", named(task)));
    }
    let listed = (dry.identities.len() + dry.tasks.len()) as u64;
    let unlisted = (dry.identity_count + dry.task_count).saturating_sub(listed);
    if unlisted > 0 {
        paper.line(format!(
            "{verb}  {unlisted} more identities and tasks, which are not listed"
        ));
    }
    for descendant in &dry.descendants {
        paper.line(format!(
            "acts by delegation from it  identity  {}",
            named(descendant)
        ));
    }
    for credential in &dry.credentials {
        paper.line(format!("would leave without owner  credential  {credential}"));
    }
}

fn show_resumed(paper: &mut Paper, receipt: &KillReceipt) {
    let lifted = match receipt.lifted.as_slice() {
        [] => "the suspension".to_owned(),
        levels => words(levels),
    };
    paper.pairs(&[
        ("resumed", paper.strong(&receipt.scope)),
        ("lifted", lifted),
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
    let level = Level::of_effect(&receipt.effect);
    let is_whole = level.is_none_or(Level::is_whole);
    let mut pairs = vec![(receipt.effect.as_str(), paper.strong(&receipt.scope))];
    if let Some(level) = level {
        pairs.push(("level", format!("{}: {}", level.as_str(), level.does())));
    }
    pairs.extend([
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
        (
            if is_whole {
                "denied in memory after"
            } else {
                "in force in memory after"
            },
            format!("{} µs", receipt.denied_us),
        ),
        ("committed after", format!("{} µs", receipt.committed_us)),
        (
            if is_whole {
                "contained after the commit"
            } else {
                "in force at every node after the commit"
            },
            contained(receipt),
        ),
        ("calls cancelled", receipt.cancelled_calls.to_string()),
    ]);
    paper.pairs(&pairs);
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
    let first = if is_whole {
        "first refusal"
    } else {
        "first refusal of what it forbids"
    };
    let none = match level {
        Some(Level::Observe) => "no call is refused: the record of each one names the mark from now on",
        _ => "no enforcement point answered",
    };
    paper.table(&["enforcement point", first], rows.collect(), none);
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
