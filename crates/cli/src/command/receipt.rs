//! `bailiwick kill receipt`, `kill residue`, `kill sign` and `kill drill`.

use bailiwick_wire::{Drill, Drills, KillReceipt, Known, Level, LogPlace, Page, Receipt, SignRequest};
use serde_json::{Value, json};

use super::Done;
use crate::args::Stop;
use crate::client::Client;
use crate::output::{Failure, Output, Paper, exit, name_and_id, name_or_id};

/// State of a receipt with nothing left to confirm.
const CLOSED: &str = "closed";

fn path(stop: &Stop, client: &Client, rest: &str) -> Result<String, Failure> {
    if stop.all_tenants || client.tenant().is_err() {
        return Ok(format!("/v1/all-tenants/kills{rest}"));
    }
    client.path(&format!("kills{rest}"))
}

fn id_of(stop: &Stop) -> Result<u64, Failure> {
    let name = stop.name.as_deref().unwrap_or_default();
    name.parse().map_err(|_| {
        Failure::usage(format!("`{name}` is not the id of a receipt"))
            .hint("list them with `bailiwick kill receipt`")
    })
}

/// Without an id, the list.
pub(crate) async fn show(stop: &Stop, client: &Client, output: &Output) -> Done {
    if stop.name.is_none() {
        return list(stop, client, output).await;
    }
    let id = id_of(stop)?;
    let receipt: Receipt = client.get(&path(stop, client, &format!("/{id}"))?).await?;
    if let Some(dir) = &stop.out {
        super::receipt_proof::export(&receipt, dir, client).await?;
    }
    output.result(&receipt, |paper| print(paper, &receipt));
    Ok(code_of(&receipt))
}

/// Whether its mark was lifted, or set anew, before everything was confirmed: a stop that stands is closed only when
/// everything is.
fn was_lifted(receipt: &Receipt) -> bool {
    receipt.state == CLOSED && (receipt.known != Known::Revoked || receipt.body.contained_at.is_none())
}

/// What is not known to be stopped is no success; where nothing is to be stopped any more, nothing is left to know.
fn code_of(receipt: &Receipt) -> u8 {
    match receipt.known {
        Known::Revoked => exit::OK,
        Known::Live | Known::Unconfirmed if was_lifted(receipt) => exit::OK,
        Known::Live | Known::Unconfirmed => exit::UNACKNOWLEDGED,
    }
}

/// What is known, in the words of its level: a milder one revokes nothing.
fn known(receipt: &Receipt, known: Known) -> &'static str {
    match (Level::of_effect(&receipt.effect), known) {
        (Some(Level::Observe), Known::Revoked) => "in force; nothing is refused",
        (Some(Level::NoEgress | Level::ReadOnly), Known::Revoked) => "refuses what it forbids",
        (_, known) => word(known),
    }
}

pub(super) const fn word(known: Known) -> &'static str {
    match known {
        Known::Live => "LIVE",
        Known::Revoked => "revoked",
        Known::Unconfirmed => "unconfirmed",
    }
}

fn place(place: Option<&LogPlace>) -> String {
    place.map_or_else(
        || "none seen".to_owned(),
        |place| format!("{} #{}", place.at, place.index),
    )
}

fn us(us: Option<u64>) -> String {
    us.map_or_else(|| "not measured".to_owned(), |us| format!("{us} µs"))
}

fn print(paper: &mut Paper, receipt: &Receipt) {
    let (body, level) = (&receipt.body, Level::of_effect(&receipt.effect));
    let is_whole = level.is_none_or(Level::is_whole);
    let by = |actor: &str| name_and_id(receipt.names.get(actor), actor);
    paper.pairs(&[
        (receipt.effect.as_str(), paper.strong(&receipt.scope)),
        (
            "level",
            level.map_or_else(String::new, |level| {
                format!("{}: {}", level.as_str(), level.does())
            }),
        ),
        ("state", receipt.state.clone()),
        ("known", known(receipt, receipt.known).to_owned()),
        (
            "reversible",
            if receipt.reversible { "yes" } else { "no, never" }.to_owned(),
        ),
        ("by", by(&body.by)),
        ("reason", body.reason.clone()),
        ("pressed", body.pressed_at.clone()),
        (
            if is_whole {
                "denied in memory after"
            } else {
                "in force in memory after"
            },
            us(body.denied_us),
        ),
        ("committed after", us(body.committed_us)),
        (
            "contained",
            match &body.contained_at {
                Some(at) => at.clone(),
                None if was_lifted(receipt) => {
                    "not seen everywhere before it was lifted or set anew".to_owned()
                }
                None => "not seen everywhere yet".to_owned(),
            },
        ),
        ("contained after the commit", us(body.contained_us)),
        ("calls cancelled", body.cancelled_calls.to_string()),
        (
            "state log",
            format!("#{} and #{}", receipt.position, receipt.told),
        ),
    ]);
    if let Some(pending) = &body.pending {
        match (&pending.signed_by, pending.killed) {
            (Some(second), Some(killed)) => {
                paper.line(format!(
                    "asked for by {}, signed by {}: receipt {killed}",
                    by(&pending.by),
                    by(second)
                ));
            }
            _ => paper.line(format!(
                "frozen: the kill that {} asked for waits for a second operator: bailiwick kill sign {}",
                by(&pending.by),
                receipt.id
            )),
        }
    }
    print_points(paper, receipt);
    print_residue(paper, receipt);
}

fn print_points(paper: &mut Paper, receipt: &Receipt) {
    let rows = receipt.body.points.iter().map(|line| {
        vec![
            line.point.clone(),
            known(receipt, line.known).to_owned(),
            us(line.refusal_us),
            place(line.refusal.as_ref()),
            place(line.last_permitted.as_ref()),
            line.permitted_after.to_string(),
            line.node.clone(),
        ]
    });
    paper.table(
        &[
            "enforcement point",
            "known",
            "first refusal",
            "recorded refusal",
            "last permitted call",
            "permitted after",
            "node",
        ],
        rows.collect(),
        "nothing is refused by a mark that only observes",
    );
}

fn print_residue(paper: &mut Paper, receipt: &Receipt) {
    let body = &receipt.body;
    for end in &body.nodes {
        let who = match &end.at {
            Some(at) => format!("sidecar {} at node {at}", end.node),
            None => format!("node {}", end.node),
        };
        paper.line(format!("{who}: {} {} µs after the commit", end.end, end.after_us));
    }
    for item in &body.residue {
        let (what, since) = (format!("{} {}", item.kind, item.id), &item.since);
        paper.line(match (&item.closed_at, item.known, &item.until) {
            (Some(at), Known::Revoked, _) => format!("confirmed  {what}: open since {since}, confirmed {at}"),
            (Some(at), ..) => format!("lifted  {what}: open since {since}, not confirmed until {at}"),
            (None, known, Some(until)) => {
                format!(
                    "{}  {what}: open since {since}, ends {until}; {}",
                    word(known),
                    item.detail
                )
            }
            (None, known, None) => format!("{}  {what}: open since {since}; {}", word(known), item.detail),
        });
    }
}

async fn list(stop: &Stop, client: &Client, output: &Output) -> Done {
    let page: Page<Receipt> = client.get(&path(stop, client, "")?).await?;
    output.result(&page, |paper| {
        let rows = page.items.iter().map(|r| {
            let open = r.body.residue.iter().filter(|i| i.closed_at.is_none()).count();
            vec![
                r.id.to_string(),
                r.effect.clone(),
                r.scope.clone(),
                r.state.clone(),
                known(r, r.known).to_owned(),
                open.to_string(),
                r.committed_at.clone(),
                name_or_id(r.names.get(&r.body.by), &r.body.by),
            ]
        });
        paper.table(
            &[
                "id",
                "effect",
                "scope",
                "state",
                "known",
                "residue",
                "committed",
                "by",
            ],
            rows.collect(),
            "nothing was stopped yet",
        );
    });
    Ok(exit::OK)
}

/// What of all kills is not confirmed.
pub(crate) async fn residue(stop: &Stop, client: &Client, output: &Output) -> Done {
    let (first, mut receipts) = (path(stop, client, "?open=true")?, Vec::new());
    let mut page: Page<Receipt> = client.get(&first).await?;
    receipts.append(&mut page.items);
    while let Some(after) = page.next.take() {
        page = client.get(&format!("{first}&after={after}")).await?;
        receipts.append(&mut page.items);
    }
    let open = receipts.iter().flat_map(|receipt| {
        let open = receipt
            .body
            .residue
            .iter()
            .filter(|item| item.closed_at.is_none());
        open.map(move |item| {
            json!({
                "receipt": receipt.id, "scope": receipt.scope, "kind": item.kind, "id": item.id,
                "known": item.known, "since": item.since, "until": item.until, "detail": item.detail,
            })
        })
    });
    let open: Vec<Value> = open.collect();
    let none = open.is_empty();
    output.result(&json!({"items": open}), |paper| {
        let columns = ["receipt", "kind", "id", "known", "since", "until", "detail"];
        let cell = |item: &Value, name: &str| match item.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => String::new(),
            Some(other) => other.to_string(),
        };
        let rows = open
            .iter()
            .map(|item| columns.iter().map(|name| cell(item, name)).collect());
        paper.table(&columns, rows.collect(), "every kill is confirmed");
    });
    Ok(if none { exit::OK } else { exit::UNACKNOWLEDGED })
}

/// A canary is killed, now; or the drills that were made.
pub(crate) async fn drill(stop: &Stop, client: &Client, output: &Output) -> Done {
    let path = client.path("drills")?;
    if stop.name.as_deref() == Some("ls") {
        let drills: Drills = client.get(&path).await?;
        output.result(&drills, |paper| print_drills(paper, &drills));
        let fine = drills.trouble.is_none() && drills.failed == 0;
        return Ok(if fine { exit::OK } else { exit::UNACKNOWLEDGED });
    }
    let drill: Drill = client.post(&path, &json!({})).await?;
    output.result(&drill, |paper| {
        paper.pairs(&[
            ("canary", drill.canary.clone()),
            ("receipt", drill.receipt.to_string()),
            (
                "the switch",
                drill.trouble.clone().map_or_else(
                    || "works".to_owned(),
                    |why| paper.strong(&format!("WOULD NOT WORK: {why}")),
                ),
            ),
        ]);
        let rows = drill.points.iter().map(|line| {
            let us = line
                .refusal_us
                .map_or_else(|| "-".to_owned(), |us| format!("{us} µs"));
            vec![line.point.clone(), word(line.known).to_owned(), us]
        });
        let columns = ["enforcement point", "known", "first refusal"];
        paper.table(&columns, rows.collect(), "no enforcement point answered");
    });
    Ok(if drill.trouble.is_none() {
        exit::OK
    } else {
        exit::UNACKNOWLEDGED
    })
}

fn print_drills(paper: &mut Paper, drills: &Drills) {
    paper.pairs(&[
        ("drills", drills.drills.to_string()),
        ("failed", drills.failed.to_string()),
        ("last", drills.last.clone().unwrap_or_else(|| "never".to_owned())),
        (
            "the switch",
            drills
                .trouble
                .clone()
                .unwrap_or_else(|| match &drills.checked_at {
                    Some(at) => format!("worked at {at}"),
                    None => "not drilled since the start".to_owned(),
                }),
        ),
    ]);
    let bounds = drills.bounds_us.iter().map(|us| format!("≤ {us} µs"));
    let columns: Vec<String> = std::iter::once("enforcement point".to_owned())
        .chain(bounds)
        .chain(["more".to_owned()])
        .collect();
    let columns: Vec<&str> = columns.iter().map(String::as_str).collect();
    let rows = drills.points.iter().map(|point| {
        let counts = point.counts.iter().map(ToString::to_string);
        std::iter::once(point.point.clone()).chain(counts).collect()
    });
    paper.table(
        &columns,
        rows.collect(),
        "no drill was made yet: bailiwick kill drill",
    );
}

/// The second operator's word.
pub(crate) async fn sign(stop: &Stop, client: &Client, output: &Output) -> Done {
    let id = id_of(stop)?;
    let body = SignRequest {
        reason: stop.reason.clone(),
    };
    let path = path(stop, client, &format!("/{id}/sign"))?;
    let receipt: KillReceipt = client.stop(&path, &body, stop.data.as_deref()).await?;
    output.result(&receipt, |paper| super::kill::show(paper, &receipt));
    Ok(exit::OK)
}
