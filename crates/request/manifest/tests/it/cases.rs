//! `content/platforms/*/cases`: what a manifest does, said by example.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use bailiwick_manifest::{Given, Manifest};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// Written by us from a description, not recorded from the service.
    synthetic: bool,
    reference: String,
    source: String,
    #[serde(default)]
    given: Given,
    answer: Value,
    expect: Vec<Expected>,
    #[serde(default)]
    left_out: usize,
    #[serde(default)]
    unmapped: usize,
    #[serde(default)]
    notes: usize,
}

#[derive(Deserialize, PartialEq, Debug)]
#[serde(deny_unknown_fields)]
struct Expected {
    #[serde(rename = "type")]
    type_name: String,
    kind: String,
    id: String,
    name: Option<String>,
    state: Option<String>,
    created: Option<String>,
    used: Option<String>,
    expires: Option<String>,
    #[serde(default)]
    owner: Vec<String>,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    /// `from holds ID`, `to grants ID`: the end that the observed thing is, the edge, the other.
    #[serde(default)]
    relations: Vec<String>,
}

fn seen(manifest: &Manifest, case: &Case, file: &str) -> Vec<Expected> {
    let mapped = manifest.map(&case.source, &case.answer, &case.given);
    let mapped = mapped.unwrap_or_else(|error| panic!("{file}: {error}"));
    assert_eq!(
        mapped.left_out.len(),
        case.left_out,
        "{file}: {:?}",
        mapped.left_out
    );
    assert_eq!(
        mapped.unmapped.len(),
        case.unmapped,
        "{file}: {:?}",
        mapped.unmapped
    );
    assert_eq!(mapped.notes.len(), case.notes, "{file}: {:?}", mapped.notes);
    let text = |time: bailiwick_base::Time| time.to_string();
    let seen = mapped.observations.into_iter().map(|seen| Expected {
        kind: format!("{} {}", seen.kind.level(), seen.kind.sort()),
        id: seen.id.as_str().to_owned(),
        name: seen.name.map(|name| name.as_str().to_owned()),
        state: Some(seen.state.as_str().to_owned()).filter(|state| state != "unsaid"),
        created: seen.created_at.map(text),
        used: seen.used_at.map(text),
        expires: seen.expires_at.map(text),
        owner: seen
            .owner
            .iter()
            .map(|owner| format!("{} {}", owner.evidence, owner.who.as_str()))
            .collect(),
        attributes: seen
            .attributes
            .iter()
            .map(|(name, value)| (name.clone(), value.as_str().to_owned()))
            .collect(),
        relations: seen
            .relations
            .iter()
            .map(|relation| {
                let end = format!("{:?}", relation.end).to_lowercase();
                let platform = relation.platform.as_ref().map(|name| format!("{name}:"));
                let other = relation.other.as_str();
                format!("{end} {} {}{other}", relation.edge, platform.unwrap_or_default())
            })
            .collect(),
        type_name: seen.type_name,
    });
    seen.collect()
}

#[test]
fn every_case_of_every_platform_is_mapped_as_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../content/platforms");
    let mut run = 0;
    for (platform, manifest) in super::manifests() {
        let cases = folder.join(platform).join("cases");
        let mut files: Vec<_> = fs::read_dir(&cases)
            .unwrap_or_else(|_| panic!("{platform} has no cases"))
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        assert!(!files.is_empty(), "{platform} has no cases");
        for file in files {
            let name = file.display().to_string();
            let case: Case = serde_saphyr::from_str(&fs::read_to_string(&file).unwrap())
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(case.reference.starts_with("https://"), "{name}");
            assert!(
                case.synthetic,
                "{name}: how it was recorded and scrubbed is not told yet"
            );
            assert_eq!(seen(&manifest, &case, &name), case.expect, "{name}");
            run += 1;
        }
    }
    println!("cases of platforms: {run}");
}

#[test]
fn a_page_without_its_list_is_an_error_and_not_an_empty_page() {
    for (platform, manifest) in super::manifests() {
        for source in manifest.sources.keys() {
            for page in ["{\"surprise\": 1}", "\"text\"", "null", "{\"data\": null}", "3"] {
                let page: Value = serde_json::from_str(page).unwrap();
                let mapped = manifest.map(source, &page, &Given::new());
                assert!(mapped.is_err(), "{platform} {source}: {page}");
            }
        }
    }
}

const NAMES: [&str; 11] = [
    "id", "name", "data", "items", "value", "Users", "keys", "metadata", "subjects", "Arn", "status",
];

/// Read once for all answers that are tried.
static MANIFESTS: LazyLock<Vec<(&str, Manifest)>> = LazyLock::new(super::manifests);

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::String),
    ];
    leaf.prop_recursive(4, 48, 6, |inner| {
        let name = prop_oneof![
            proptest::sample::select(&NAMES[..]).prop_map(str::to_owned),
            "[a-zA-Z]{1,6}"
        ];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            proptest::collection::btree_map(name, inner, 0..5)
                .prop_map(|members| members.into_iter().collect()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever a platform answers, every item is accounted for.
    #[test]
    fn any_answer_is_mapped_or_refused(items in proptest::collection::vec(any_json(), 0..4)) {
        for (platform, manifest) in MANIFESTS.iter() {
            for source in manifest.sources.keys() {
                let page: Value = items.iter().cloned().collect();
                let _page = manifest.map(source, &page, &Given::new()).is_ok();
                let mapped = manifest.map_items(source, items.iter(), &Given::new()).unwrap();
                prop_assert_eq!(mapped.items, items.len());
                for at in 0..items.len() {
                    let is_of = |place: &str| place.split('.').next() == Some(at.to_string().as_str());
                    let said = mapped.left_out.iter().chain(&mapped.unmapped).any(|remark| is_of(&remark.place));
                    prop_assert!(said || !mapped.observations.is_empty(), "{platform} {source} {at}");
                }
            }
        }
    }
}
