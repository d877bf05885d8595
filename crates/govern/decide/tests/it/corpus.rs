//! Cedar's own integration corpus: 3,921 policy sets with 31,368 questions, minimised from differential
//! fuzzing of the engine against its formal model. Our slicing must give the same decision, the same
//! determining policies and the same errors, with the index and without it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

use bailiwick_decide::policy::Sliced;
use cedar_policy::{Context, Decision, Entities, EntityId, EntityUid, PolicySet, Request, Schema};
use serde_json::Value;

const EXPECTED: usize = 3921;

/// The files of a tar archive (POSIX ustar): blocks of 512 bytes, name first, size in octal at 124.
fn untar(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut at = 0;
    while let Some(header) = archive.get(at..at + 512).filter(|h| h[0] != 0) {
        let field = |from: usize, to: usize| {
            let bytes: Vec<u8> = header[from..to].iter().copied().take_while(|b| *b != 0).collect();
            String::from_utf8(bytes).unwrap()
        };
        let size = usize::from_str_radix(field(124, 136).trim(), 8).unwrap();
        if header[156] == b'0' {
            files.insert(field(0, 100), archive[at + 512..at + 512 + size].to_vec());
        }
        at += 512 + size.div_ceil(512) * 512;
    }
    files
}

fn uid(value: &Value) -> EntityUid {
    let kind = value["type"].as_str().unwrap().parse().unwrap();
    EntityUid::from_type_name_and_id(kind, EntityId::new(value["id"].as_str().unwrap()))
}

fn names(list: &Value) -> BTreeSet<String> {
    list.as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_str().unwrap().to_owned())
        .collect()
}

/// Runs one policy set; says what differs.
fn run(test: &Value, files: &BTreeMap<String, Vec<u8>>) -> Result<usize, String> {
    let text = |member: &str| {
        let name = test[member].as_str().unwrap();
        std::str::from_utf8(files.get(name).ok_or_else(|| format!("{name} is missing"))?)
            .map_err(|e| e.to_string())
    };
    let policies = text("policies")?;
    let set: PolicySet = policies.parse().map_err(|e| format!("{e}"))?;
    // Of the schema only the groups of actions take part in a decision, and only where a policy says `in`.
    let grouped = policies
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .any(|word| word == "in");
    let actions = if grouped {
        let (schema, _) = Schema::from_cedarschema_str(text("schema")?).map_err(|e| e.to_string())?;
        schema.action_entities().map_err(|e| e.to_string())?
    } else {
        Entities::empty()
    };
    let entities = actions
        .add_entities_from_json_str(text("entities")?, None)
        .map_err(|e| e.to_string())?;
    let sliced = Sliced::new(&set);
    let asked = test["requests"].as_array().unwrap();
    for (n, wanted) in asked.iter().enumerate() {
        let action = uid(&wanted["action"]);
        let context = Context::from_json_value(wanted["context"].clone(), None).map_err(|e| e.to_string())?;
        let question = Request::new(
            uid(&wanted["principal"]),
            action,
            uid(&wanted["resource"]),
            context,
            None,
        )
        .map_err(|e| e.to_string())?;
        let decision = match wanted["decision"].as_str() {
            Some("allow") => Decision::Allow,
            Some("deny") => Decision::Deny,
            other => return Err(format!("decision {other:?}")),
        };
        for indexed in [true, false] {
            let answer = sliced.authorize(&question, &entities, indexed);
            if (answer.decision, &answer.determining, &answer.errors)
                != (decision, &names(&wanted["reason"]), &names(&wanted["errors"]))
            {
                return Err(format!("question {n}, index {indexed}: {answer:?}"));
            }
        }
    }
    Ok(asked.len())
}

#[test]
fn the_whole_corpus() {
    let Some(folder) = bailiwick_vectors::folder("cedar-corpus") else {
        return;
    };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(folder.join("corpus-tests.tar.gz")).unwrap();
    flate2::read::GzDecoder::new(file)
        .read_to_end(&mut bytes)
        .unwrap();
    let files = untar(&bytes);
    let tests: Vec<&String> = files
        .keys()
        .filter(|n| n.ends_with(".json") && !n.ends_with(".entities.json"))
        .collect();
    let parts = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let outcomes: Vec<(String, Result<usize, String>)> = std::thread::scope(|scope| {
        let workers: Vec<_> = tests
            .chunks(tests.len().div_ceil(parts).max(1))
            .map(|part| {
                let files = &files;
                scope.spawn(move || {
                    part.iter()
                        .map(|name| {
                            let test: Value = serde_json::from_slice(&files[*name]).unwrap();
                            ((*name).clone(), run(&test, files))
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        workers.into_iter().flat_map(|w| w.join().unwrap()).collect()
    });
    let questions: usize = outcomes.iter().filter_map(|(_, r)| r.as_ref().ok()).sum();
    let wrong: Vec<_> = outcomes
        .iter()
        .filter_map(|(n, r)| Some((n, r.as_ref().err()?)))
        .collect();
    for (name, difference) in wrong.iter().take(10) {
        println!("{name}: {difference}");
    }
    println!(
        "cedar-corpus: {}/{EXPECTED} ({questions} questions)",
        outcomes.len() - wrong.len()
    );
    assert_eq!((outcomes.len(), wrong.len()), (EXPECTED, 0));
}
