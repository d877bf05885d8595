//! Evidence packs: all of one tenant, nothing of another, verified from the files alone.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use bailiwick_server::evidence::{LOGS, OpeningLine, pack, verify_pack};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::bed::{Bed, until};
use crate::desk::Desk;

type Openings = BTreeMap<&'static str, BTreeMap<u64, OpeningLine>>;

async fn openings(bed: &Bed) -> Openings {
    let mut all = Openings::new();
    for log in LOGS {
        let answer = bed
            .get(&format!("/v1/logs/{log}/openings?from=0&max=10000"))
            .await;
        let lines = answer.text();
        let lines = lines.lines().map(|line| {
            let line: OpeningLine = serde_json::from_str(line).unwrap();
            (line.index, line)
        });
        all.insert(log, lines.collect());
    }
    all
}

/// A tenant with all sorts of objects, each with the name of the tenant in it.
async fn furnish(bed: &Bed, desk: &Desk, slug: &str) {
    bed.add_tenant(slug).await;
    bed.add_server(slug, &format!("{slug}-files"), desk).await;
    let identity = bed.add_identity(slug, &format!("{slug}-worker")).await;
    let (_, token) = bed
        .open_task(slug, &identity, &[&format!("{slug}-files:echo")])
        .await;
    for n in 0..3 {
        let args = json!({"text": format!("{slug} {n}")});
        bed.call(&token, slug, &format!("{slug}-files"), "echo", args)
            .await
            .ok();
    }
    bed.kill(slug, "identity", &identity).await.ok();
}

/// Every text in the answers about a tenant: names and ids.
async fn texts(bed: &Bed, slug: &str) -> Vec<String> {
    fn collect(value: &Value, out: &mut Vec<String>) {
        match value {
            Value::String(text) => out.push(text.clone()),
            Value::Array(items) => items.iter().for_each(|item| collect(item, out)),
            Value::Object(members) => members.values().for_each(|item| collect(item, out)),
            _ => {}
        }
    }
    let mut out = vec![slug.to_owned()];
    for what in ["identities", "tasks", "servers", "marks"] {
        let answer = bed.get(&format!("/v1/tenants/{slug}/{what}")).await.ok();
        collect(&answer, &mut out);
    }
    out.retain(|text| text.len() > 3);
    out
}

/// All that a pack shows: its bytes, and what is packed in Base64 in them.
fn shown(dir: &Path) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        for line in String::from_utf8(bytes.clone()).unwrap().lines() {
            let line: Value = serde_json::from_str(line).unwrap_or_default();
            if let Some(payload) = line.pointer("/opening/payload").and_then(Value::as_str) {
                out.extend(STANDARD.decode(payload).unwrap());
                out.push(b'\n');
            }
        }
        out.extend(bytes);
    }
    out
}

fn holds(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_verifies_offline_holds_all_of_its_tenant_and_nothing_of_another() {
    let bed = Bed::start().await;
    let desk = Desk::open().await;
    for slug in ["acme", "globex"] {
        furnish(&bed, &desk, slug).await;
    }
    until("everything is under a checkpoint", || async {
        let logs = bed.get("/v1/logs").await.ok();
        let logs = logs["items"].as_array().unwrap().clone();
        logs.iter().all(|log| log["sequenced"] == log["integrated"])
    })
    .await;
    let logs = bed.get("/v1/logs").await.ok();
    let keys: Vec<String> = logs["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|log| log["vkey"].as_str().unwrap().to_owned())
        .collect();
    let openings = openings(&bed).await;
    let (ours, theirs) = (texts(&bed, "acme").await, texts(&bed, "globex").await);
    let dir = bed.folder().join("acme-pack");
    let made = pack(&bed.data(), &dir, "acme", &openings).unwrap();
    let verified = verify_pack(&dir, &keys).unwrap();
    assert_eq!(format!("{made:?}"), format!("{verified:?}"));
    for log in &verified.logs {
        assert!(
            log.entries >= 5 && log.disclosed == log.entries && log.entries < log.size,
            "{log:?}"
        );
    }

    let bytes = shown(&dir);
    let own: Vec<&String> = ours
        .iter()
        .filter(|text| holds(&bytes, text.as_bytes()))
        .collect();
    assert!(own.len() > 10, "the search finds what is there: {own:?}");
    let foreign: Vec<&String> = theirs.iter().filter(|text| !ours.contains(text)).collect();
    assert!(foreign.len() > 5, "{foreign:?}");
    for text in foreign {
        assert!(
            !holds(&bytes, text.as_bytes()),
            "another tenant's `{text}` is in the pack"
        );
    }
    let packed: Vec<Value> = fs::read_to_string(dir.join("state.entries.jsonl"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let indices: Vec<u64> = packed
        .iter()
        .map(|line| line["index"].as_u64().unwrap())
        .collect();
    for line in openings["state"]
        .values()
        .filter(|line| !indices.contains(&line.index))
    {
        let payload = STANDARD.decode(&line.payload).unwrap();
        assert!(
            !holds(&bytes, &payload),
            "the payload of entry {} is in the pack",
            line.index
        );
        if line.key != packed[0]["opening"]["key"] {
            assert!(
                !holds(&bytes, line.key.as_bytes()),
                "the key of entry {} is in the pack",
                line.index
            );
        }
    }

    assert!(verify_pack(&dir, &keys[..1]).is_err(), "the key of one log");
    assert!(pack(&bed.data(), &bed.folder().join("none"), "nobody", &openings).is_err());
    assert!(
        pack(&bed.data(), &dir, "acme", &openings).is_err(),
        "not over another"
    );
    for name in [
        "manifest.json",
        "state.checkpoint",
        "state.entries.jsonl",
        "decisions.entries.jsonl",
    ] {
        let file = dir.join(name);
        let whole = fs::read(&file).unwrap();
        for at in (0..whole.len()).step_by(whole.len() / 20) {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            fs::write(&file, &flipped).unwrap();
            assert!(verify_pack(&dir, &keys).is_err(), "{name} at {at}");
        }
        fs::write(&file, &whole).unwrap();
    }
    // Another name, and one log in the place of both, with a manifest to match.
    let manifest = fs::read_to_string(dir.join("manifest.json")).unwrap();
    fs::write(
        dir.join("manifest.json"),
        manifest.replace("\"tenant\": \"acme\"", "\"tenant\": \"globex\""),
    )
    .unwrap();
    let said = format!("{:#}", verify_pack(&dir, &keys).unwrap_err());
    assert!(said.contains("is the tenant of the others"), "{said}");
    let of = |name: &str| fs::read(dir.join(name)).unwrap();
    let (mut forged, mut kept) = (manifest.clone(), Vec::new());
    for ending in ["checkpoint", "entries.jsonl"] {
        let (from, to) = (format!("state.{ending}"), format!("decisions.{ending}"));
        let digest = |bytes: &[u8]| bailiwick_base::Digest::of(bytes).to_string();
        forged = forged.replace(&digest(&of(&to)), &digest(&of(&from)));
        kept.push((to.clone(), of(&to)));
        fs::write(dir.join(to), of(&from)).unwrap();
    }
    fs::write(dir.join("manifest.json"), &forged).unwrap();
    let said = format!("{:#}", verify_pack(&dir, &keys).unwrap_err());
    assert!(said.contains("of the log that another file"), "{said}");
    for (name, bytes) in kept {
        fs::write(dir.join(name), bytes).unwrap();
    }
    fs::write(dir.join("manifest.json"), &manifest).unwrap();
    verify_pack(&dir, &keys).unwrap();
    // An entry in the middle that is left out, with a manifest to match.
    let file = dir.join("decisions.entries.jsonl");
    let whole = fs::read_to_string(&file).unwrap();
    let mut lines: Vec<&str> = whole.lines().collect();
    lines.remove(1);
    let cut = format!("{}\n", lines.join("\n"));
    fs::write(&file, &cut).unwrap();
    let manifest = fs::read_to_string(dir.join("manifest.json")).unwrap();
    let digest = |text: &str| bailiwick_base::Digest::of(text.as_bytes()).to_string();
    fs::write(
        dir.join("manifest.json"),
        manifest.replace(&digest(&whole), &digest(&cut)),
    )
    .unwrap();
    let said = format!("{:#}", verify_pack(&dir, &keys).unwrap_err());
    assert!(said.contains("one is left out"), "{said}");
}
