//! `bailiwick kill receipt`, `kill residue`, `kill sign`, and `bailiwick log verify --receipt`.

use std::collections::BTreeMap;
use std::path::Path;

use bailiwick_base::{Digest, canonical};
use bailiwick_server::evidence;
use bailiwick_wire::{
    Drill, Drills, KillReceipt, Known, LogPlace, NamedLog, Node, Page, Receipt, SignRequest,
};
use http::Method;
use hyper::body::Bytes;
use serde_json::{Value, json};

use super::Done;
use crate::args::Stop;
use crate::client::Client;
use crate::files;
use crate::output::{Failure, Output, Paper, exit};

/// The log in which a node records its decisions.
const DECISIONS: &str = "decisions";
const STATE: &str = "state";
/// The receipt itself, in an exported folder.
const RECEIPT: &str = "receipt.json";
/// The keys that the checkpoints are signed with, as the service told them.
const KEYS: &str = "keys.json";

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
        export(&receipt, dir, client).await?;
    }
    output.result(&receipt, |paper| print(paper, &receipt));
    Ok(code_of(&receipt))
}

/// What is not known to be stopped is no success.
fn code_of(receipt: &Receipt) -> u8 {
    match receipt.known {
        Known::Revoked => exit::OK,
        Known::Live | Known::Unconfirmed => exit::UNACKNOWLEDGED,
    }
}

const fn word(known: Known) -> &'static str {
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
    let body = &receipt.body;
    paper.pairs(&[
        (receipt.effect.as_str(), paper.strong(&receipt.scope)),
        ("state", receipt.state.clone()),
        ("known", word(receipt.known).to_owned()),
        (
            "reversible",
            if receipt.reversible { "yes" } else { "no, never" }.to_owned(),
        ),
        ("by", body.by.clone()),
        ("reason", body.reason.clone()),
        ("pressed", body.pressed_at.clone()),
        ("denied in memory after", us(body.denied_us)),
        ("committed after", us(body.committed_us)),
        (
            "contained",
            body.contained_at.clone().unwrap_or_else(|| "not yet".to_owned()),
        ),
        ("contained after", us(body.contained_us)),
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
                    "asked for by {}, signed by {second}: receipt {killed}",
                    pending.by
                ));
            }
            _ => paper.line(format!(
                "frozen: the kill that {} asked for waits for a second operator: bailiwick kill sign {}",
                pending.by, receipt.id
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
            word(line.known).to_owned(),
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
        paper.line(format!(
            "node {}: {} {} µs after the commit",
            end.node, end.end, end.after_us
        ));
    }
    for item in &body.residue {
        let end = match (&item.closed_at, &item.until) {
            (Some(closed), _) => format!("confirmed {closed}"),
            (None, Some(until)) => format!("open since {}, ends {until}", item.since),
            (None, None) => format!("open since {}", item.since),
        };
        paper.line(format!(
            "{}  {} {}: {end}; {}",
            word(item.known),
            item.kind,
            item.id,
            item.detail
        ));
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
                word(r.known).to_owned(),
                open.to_string(),
                r.committed_at.clone(),
                r.body.by.clone(),
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

/// The state log, or the decision log of this origin: each node has its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Decisions(String, u64),
    State(u64),
}

impl Place {
    /// Its proof in the folder.
    fn file(&self) -> String {
        match self {
            Self::Decisions(origin, index) => {
                let node = origin.rsplit('/').next().unwrap_or_default();
                format!("decisions-{node}-{index}.tlog-proof")
            }
            Self::State(index) => format!("state-{index}.tlog-proof"),
        }
    }

    /// The name of its log's key in the folder.
    fn key(&self) -> &str {
        match self {
            Self::Decisions(origin, _) => origin,
            Self::State(_) => STATE,
        }
    }

    const fn index(&self) -> u64 {
        match self {
            Self::Decisions(_, index) | Self::State(index) => *index,
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "entry {} of {}", self.index(), self.key())
    }
}

/// Every place in a log that a receipt names, with what its record has to say.
fn places(receipt: &Receipt) -> BTreeMap<Place, Option<(String, &'static str)>> {
    let mut out = BTreeMap::from([
        (Place::State(receipt.position), None),
        (Place::State(receipt.told), None),
    ]);
    for line in &receipt.body.points {
        for (place, effect) in [(&line.refusal, "deny"), (&line.last_permitted, "permit")] {
            if let Some(place) = place {
                let decision = place.decision.clone().unwrap_or_default();
                let at = Place::Decisions(line.node.clone(), place.index);
                out.insert(at, Some((decision, effect)));
            }
        }
    }
    out
}

/// Name of the log that a verifier key is of.
fn origin(vkey: &str) -> String {
    vkey.split('+').next().unwrap_or_default().to_owned()
}

/// Writes the receipt, the proofs that this node gives out, and the keys of every node's log. Proofs of other nodes that
/// are in the folder stay: exported at each node into one folder, the receipt has all of them.
async fn export(receipt: &Receipt, dir: &Path, client: &Client) -> Result<(), Failure> {
    std::fs::create_dir_all(dir).map_err(|error| Failure::io("make", dir, &error))?;
    require_same(receipt, dir)?;
    let logs: Page<NamedLog> = client.get("/v1/logs").await?;
    let nodes: Page<Node> = client.get("/v1/nodes").await?;
    let mut keys = known_keys(dir)?;
    let vkeys = nodes.items.into_iter().filter_map(|node| node.vkey);
    keys.extend(vkeys.map(|vkey| (origin(&vkey), vkey)));
    let mut own = String::new();
    for log in logs.items {
        if log.log == DECISIONS {
            own = origin(&log.vkey);
            keys.insert(own.clone(), log.vkey);
        } else {
            keys.insert(log.log, log.vkey);
        }
    }
    for place in places(receipt).into_keys() {
        let log = match &place {
            Place::Decisions(origin, _) if *origin != own => continue,
            Place::Decisions(..) => DECISIONS,
            Place::State(_) => STATE,
        };
        let path = format!("/v1/logs/{log}/proof?entry={}&disclose=true", place.index());
        let proof = client.bytes(Method::GET, &path, Bytes::new()).await?;
        files::replace_private(&dir.join(place.file()), &proof)?;
    }
    for (name, value) in [(KEYS, json!(keys)), (RECEIPT, json!(receipt))] {
        files::replace_private(&dir.join(name), value.to_string().as_bytes())?;
    }
    Ok(())
}

/// The keys of logs whose proofs are in the folder: not every node tells those of all others.
fn known_keys(dir: &Path) -> Result<BTreeMap<String, String>, Failure> {
    if dir.join(KEYS).exists() {
        read(dir, KEYS)
    } else {
        Ok(BTreeMap::new())
    }
}

/// A folder is of one receipt.
fn require_same(receipt: &Receipt, dir: &Path) -> Result<(), Failure> {
    if !dir.join(RECEIPT).exists() {
        return Ok(());
    }
    let there: Receipt = read(dir, RECEIPT)?;
    if (there.id, there.position) == (receipt.id, receipt.position) {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "`{}` holds receipt {}: give another folder",
        dir.display(),
        there.id
    )))
}

fn unsound(what: impl Into<String>) -> Failure {
    Failure::new(exit::UNVERIFIED, "receipt.invalid", what)
}

fn read<T: serde::de::DeserializeOwned>(dir: &Path, name: &str) -> Result<T, Failure> {
    let bytes = files::read(&dir.join(name))?;
    serde_json::from_slice(&bytes).map_err(|error| unsound(format!("`{name}` cannot be read: {error}")))
}

/// Checks an exported receipt without a server: every place it names is in the signed logs and says what the receipt
/// says it does, and the log names the digest of the very receipt. `key` replaces the folder's own key of that origin.
pub(crate) fn verify(dir: &Path, key: Option<&str>, output: &Output) -> Done {
    let receipt: Receipt = read(dir, RECEIPT)?;
    let keys: BTreeMap<String, String> = read(dir, KEYS)?;
    let mut proven = 0_u64;
    let mut unproven: BTreeMap<String, u64> = BTreeMap::new();
    for (place, said) in places(&receipt) {
        let file = dir.join(place.file());
        if let Place::Decisions(origin, _) = &place
            && !file.exists()
        {
            *unproven.entry(origin.clone()).or_default() += 1;
            continue;
        }
        let own = keys
            .get(place.key())
            .ok_or_else(|| unsound(format!("`{KEYS}` has no key of the log `{}`", place.key())))?;
        let vkey = key.filter(|key| origin(key) == origin(own)).unwrap_or(own);
        let entry = evidence::verify_proof(&files::read(&file)?, vkey)
            .map_err(|error| unsound(format!("{place}: {error:#}")))?;
        let payload = entry.payload.clone().unwrap_or_default();
        if entry.index != place.index() {
            return Err(unsound(format!(
                "the proof for {place} is of entry {}",
                entry.index
            )));
        }
        if matches!(&place, Place::Decisions(origin, _) if entry.origin != *origin) {
            return Err(unsound(format!(
                "the proof for {place} is of the log `{}`",
                entry.origin
            )));
        }
        require_said(&receipt, &place, said, &payload)?;
        proven += 1;
    }
    require_document(&receipt)?;
    let result = json!({
        "sound": true, "receipt": receipt.id, "proofs": proven, "unproven": unproven, "known": receipt.known,
    });
    output.result(&result, |paper| {
        paper.line(format!(
            "{}: receipt {} ({} {}), {proven} entries proven",
            paper.strong("verified"),
            receipt.id,
            receipt.effect,
            receipt.scope
        ));
        paper.line(format!("known: {}", word(receipt.known)));
        for (node, entries) in &unproven {
            paper.line(format!(
                "{entries} entries of {node} are not proven: export the receipt there (--at URL), into the same folder"
            ));
        }
    });
    Ok(exit::OK)
}

/// The record at a place is of that decision, with that effect; the entries of the state log are of this receipt.
fn require_said(
    receipt: &Receipt,
    place: &Place,
    said: Option<(String, &'static str)>,
    payload: &Value,
) -> Result<(), Failure> {
    let text = |pointer: &str| {
        payload
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    if let Some((decision, effect)) = said {
        return if text("/decision") == decision && text("/effect") == effect {
            Ok(())
        } else {
            Err(unsound(format!("{place} is no {effect} of {decision}")))
        };
    }
    let objects = payload.pointer("/objects").and_then(Value::as_array);
    let objects: Vec<&Value> = objects.into_iter().flatten().collect();
    let after = |object: &Value, name: &str| object.pointer(&format!("/after/{name}")).cloned();
    if place.index() == receipt.position
        && !objects.iter().any(|o| {
            after(o, "epoch") == Some(json!(receipt.id)) && o.get("id") == receipt.document.get("scope")
        })
    {
        return Err(unsound(format!("{place} sets no such mark")));
    }
    let bytes = canonical::to_vec(&receipt.document).map_err(|error| unsound(error.to_string()))?;
    let digest = Digest::of(&bytes).to_string();
    if place.index() == receipt.told && !objects.iter().any(|o| after(o, "digest") == Some(json!(digest))) {
        return Err(unsound(format!("{place} names another receipt than this one")));
    }
    Ok(())
}

/// What is shown is what the digest was taken of.
fn require_document(receipt: &Receipt) -> Result<(), Failure> {
    let of = |name: &str| receipt.document.get(name).cloned().unwrap_or_default();
    let shown = [
        ("body", json!(receipt.body)),
        ("effect", json!(receipt.effect)),
        ("entry", json!(receipt.position)),
        ("epoch", json!(receipt.id)),
        ("state", json!(receipt.state)),
        ("told", json!(receipt.told)),
    ];
    match shown.into_iter().find(|(name, shown)| of(name) != *shown) {
        Some((name, _)) => Err(unsound(format!(
            "`{name}` is not what the log names the digest of"
        ))),
        None => Ok(()),
    }
}
