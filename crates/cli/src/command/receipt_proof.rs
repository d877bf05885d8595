//! The proof of a receipt: `kill receipt ID --out DIR` writes it, `log verify --receipt DIR` checks it without a server.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use bailiwick_base::{Digest, Time, canonical};
use bailiwick_server::evidence;
use bailiwick_wire::{NamedLog, Node, Page, Receipt};
use http::Method;
use hyper::body::Bytes;
use serde_json::{Value, json};

use super::Done;
use super::receipt::word;
use crate::client::Client;
use crate::files;
use crate::output::{Failure, Output, exit, tell};

/// The log in which a node records its decisions.
const DECISIONS: &str = "decisions";
const STATE: &str = "state";
/// The effect that nothing lifts.
const KILL: &str = "kill";
/// The code of an entry that was removed on record.
const PRUNED: &str = "log.pruned";
/// The receipt itself, in an exported folder.
const RECEIPT: &str = "receipt.json";
/// The keys that the checkpoints are signed with, as the service told them.
const KEYS: &str = "keys.json";

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

/// A decision and its effect, where a record of one has to say so.
type Said = Option<(String, &'static str)>;

/// Every place in a log that a receipt names, with what its record has to say.
fn places(receipt: &Receipt) -> BTreeMap<Place, Said> {
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
pub(super) async fn export(receipt: &Receipt, dir: &Path, client: &Client) -> Result<(), Failure> {
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
        match client.bytes(Method::GET, &path, Bytes::new()).await {
            Ok(proof) => files::replace_private(&dir.join(place.file()), &proof)?,
            // Nobody can prove it any more; what else the receipt names still can be.
            Err(failure) if failure.code == PRUNED => tell(&format!("{place} was pruned: it has no proof")),
            Err(failure) => return Err(failure),
        }
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

/// Keys that were given from elsewhere, and those of the folder: who wrote the folder may have signed it himself.
struct Keys<'g> {
    given: BTreeMap<String, &'g str>,
    own: BTreeMap<String, String>,
}

impl<'g> Keys<'g> {
    fn read(dir: &Path, given: &'g [String]) -> Result<Self, Failure> {
        let mut by_log = BTreeMap::new();
        for vkey in given {
            let log = match origin(vkey) {
                log if is_state(&log) => STATE.to_owned(),
                log => log,
            };
            if by_log.insert(log.clone(), vkey.as_str()).is_some() {
                return Err(Failure::usage(format!("`--key` names the log `{log}` twice")));
            }
        }
        Ok(Self {
            given: by_log,
            own: read(dir, KEYS)?,
        })
    }

    /// The key of the log of a place, and whether it was given.
    fn of(&self, place: &Place) -> Result<(&str, bool), Failure> {
        if let Some(vkey) = self.given.get(place.key()) {
            return Ok((vkey, true));
        }
        let own = self.own.get(place.key());
        let own = own.ok_or_else(|| unsound(format!("`{KEYS}` has no key of the log `{}`", place.key())))?;
        Ok((own, false))
    }

    /// Keys of logs that the receipt does not name prove nothing of it.
    fn require_named(&self, places: &BTreeMap<Place, Said>) -> Result<(), Failure> {
        let is_named = |log: &String| places.keys().any(|place| place.key() == log);
        match self.given.keys().find(|log| !is_named(log)) {
            Some(log) => Err(Failure::usage(format!(
                "the receipt names no entry of the log `{log}`, whose key was given"
            ))),
            None => Ok(()),
        }
    }
}

/// Whether this is the name of a state log.
fn is_state(origin: &str) -> bool {
    origin.rsplit('/').next() == Some(STATE)
}

/// What the proofs of a folder come to.
#[derive(Default)]
struct Checked {
    proven: u64,
    /// Entries without a proof, by log.
    unproven: BTreeMap<String, u64>,
    /// Logs that were checked by a key of the folder itself.
    by_own_key: BTreeSet<String>,
}

impl Checked {
    /// Nothing is left that only whoever wrote the folder vouches for.
    fn is_whole(&self) -> bool {
        self.unproven.is_empty() && self.by_own_key.is_empty()
    }
}

/// Checks an exported receipt without a server: every place it names is in the signed logs and says what the receipt
/// says it does, and the log names the digest of the very receipt.
///
/// It ends well only where every entry is proven under a key that was given: with the folder's own keys anybody could
/// have written it.
pub(crate) fn verify(dir: &Path, given: &[String], output: &Output) -> Done {
    let receipt: Receipt = read(dir, RECEIPT)?;
    let (keys, places) = (Keys::read(dir, given)?, places(&receipt));
    keys.require_named(&places)?;
    require_document(&receipt)?;
    let mut checked = Checked::default();
    for (place, said) in places {
        let file = dir.join(place.file());
        if !file.exists() {
            *checked.unproven.entry(place.key().to_owned()).or_default() += 1;
            continue;
        }
        let (vkey, is_given) = keys.of(&place)?;
        if !is_given {
            checked.by_own_key.insert(origin(vkey));
        }
        require_proven(&receipt, &place, said, &file, vkey)?;
        checked.proven += 1;
    }
    print(&receipt, &checked, output);
    Ok(if checked.is_whole() {
        exit::OK
    } else {
        exit::INCOMPLETE
    })
}

fn print(receipt: &Receipt, checked: &Checked, output: &Output) {
    let result = json!({
        "sound": true, "whole": checked.is_whole(), "receipt": receipt.id, "proofs": checked.proven,
        "unproven": checked.unproven, "by_own_key": checked.by_own_key, "known": receipt.known,
    });
    output.result(&result, |paper| {
        let verdict = if checked.is_whole() { "verified" } else { "NOT PROVEN YET" };
        paper.line(format!(
            "{}: receipt {} ({} {}), {} entries agree with it",
            paper.strong(verdict),
            receipt.id,
            receipt.effect,
            receipt.scope,
            checked.proven
        ));
        paper.line(format!("known: {}", word(receipt.known)));
        for log in &checked.by_own_key {
            paper.line(format!(
                "{log}: by the folder's own key, which whoever wrote the folder could have made: give its key with --key, from \
                 `bailiwick log ls` or another place you trust"
            ));
        }
        for (log, entries) in &checked.unproven {
            paper.line(format!(
                "{log}: {entries} entries are not proven: export the receipt at that node (--at URL) into the same folder, if \
                 they were not pruned"
            ));
        }
    });
}

/// The proof of a place holds under this key, is of that entry of that log, and the entry says what the receipt says.
fn require_proven(
    receipt: &Receipt,
    place: &Place,
    said: Said,
    file: &Path,
    vkey: &str,
) -> Result<(), Failure> {
    let entry = evidence::verify_proof(&files::read(file)?, vkey)
        .map_err(|error| unsound(format!("{place}: {error:#}")))?;
    if entry.index != place.index() {
        return Err(unsound(format!(
            "the proof for {place} is of entry {}",
            entry.index
        )));
    }
    let is_its_log = match place {
        Place::Decisions(origin, _) => entry.origin == *origin && !is_state(origin),
        Place::State(_) => is_state(&entry.origin),
    };
    if !is_its_log {
        return Err(unsound(format!(
            "the proof for {place} is of the log `{}`",
            entry.origin
        )));
    }
    let payload = entry.payload.unwrap_or_default();
    require_said(receipt, place, said, &payload)
}

/// The record at a place is of that decision, with that effect; the entries of the state log are of this receipt.
fn require_said(receipt: &Receipt, place: &Place, said: Said, payload: &Value) -> Result<(), Failure> {
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
    let text = |name: &str| of(name).as_str().unwrap_or_default().to_owned();
    let at = of("at").as_i64().map(Time::from_micros);
    let shown = [
        ("body", json!(receipt.body), of("body")),
        (
            "committed_at",
            json!(receipt.committed_at),
            json!(at.map(|at| at.to_string())),
        ),
        ("effect", json!(receipt.effect), of("effect")),
        ("id", json!(receipt.id), of("epoch")),
        ("known", json!(receipt.known), json!(receipt.body.known())),
        ("position", json!(receipt.position), of("entry")),
        (
            "reversible",
            json!(receipt.reversible),
            json!(text("effect") != KILL),
        ),
        (
            "scope",
            json!(receipt.scope),
            json!(in_words(&text("scope"), &text("tenant"))),
        ),
        ("state", json!(receipt.state), of("state")),
        ("told", json!(receipt.told), of("told")),
    ];
    match shown.into_iter().find(|(_, shown, said)| shown != said) {
        Some((name, ..)) => Err(unsound(format!(
            "`{name}` is not what the log names the digest of"
        ))),
        None => Ok(()),
    }
}

/// The scope of a record as receipts show it: `identity:ID` is `identity ID`.
fn in_words(scope: &str, tenant: &str) -> String {
    match scope.split_once(':') {
        Some(("all", _)) => "all".to_owned(),
        Some(("tenant", _)) => format!("tenant {tenant}"),
        Some((kind, name)) => format!("{kind} {name}"),
        None => scope.to_owned(),
    }
}
