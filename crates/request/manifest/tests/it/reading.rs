//! What is no manifest, and where it says so.

use bailiwick_manifest::{Manifest, Path, Text};
use proptest::prelude::*;

const GOOD: &str = r#"platform: acme
title: Acme
reference: https://acme.example/docs
base: https://api.acme.example
auth:
  bearer: {what: a token}
rate: {requests: 1, seconds: 1}
sees: [keys]
blind: [their use]
parameters:
  project: the project
sources:
  keys:
    what: keys
    ask: {get: {path: "/v1/{project}/keys"}}
    paging: none
    permission: [keys.read]
    items: $.keys[*]
    becomes:
      - type: key
        kind: {credential: api-key}
        id: "{$.id}"
        state: {from: "{$.state}", table: {ON: active}}
"#;

/// The error for the manifest with one text replaced: line, member and rule.
fn refused(from: &str, to: &str) -> (u64, String, String) {
    assert!(GOOD.contains(from), "{from}");
    let text = GOOD.replacen(from, to, 1);
    let error = Manifest::read("acme/manifest.yaml", "acme", &text).unwrap_err();
    assert_eq!(error.file, "acme/manifest.yaml");
    assert!(error.to_string().contains("acme/manifest.yaml"), "{error}");
    (error.line, error.member, error.rule)
}

#[test]
fn every_manifest_of_the_tree_is_read() {
    let manifests = super::manifests();
    assert!(manifests.len() >= 11, "{}", manifests.len());
    for (name, manifest) in &manifests {
        assert_eq!(manifest.platform, *name);
        assert!(!manifest.sources.is_empty(), "{name}");
    }
    Manifest::read("acme/manifest.yaml", "acme", GOOD).unwrap();
}

/// What is replaced by what, then the line, the member and a part of the reason.
const WRONG: &[(&str, &str, u64, &str, &str)] = &[
    (
        "title: Acme",
        "title: Acme\nretries: 3",
        3,
        "retries",
        "unknown field",
    ),
    ("title: Acme", "title: Acme\ntitle: Acme", 3, "title", "duplicate"),
    ("requests: 1", "requests: 0", 7, "sources.keys.rate", "requests"),
    ("platform: acme", "platform: other", 1, "platform", "folder"),
    ("https://acme", "http://acme", 3, "reference", "https"),
    ("sees: [keys]", "sees: []", 8, "sees", "words"),
    (
        "items: $.keys[*]",
        "items: $.keys[",
        18,
        "sources.keys.items",
        "JSONPath",
    ),
    (
        "items: $.keys[*]",
        "items: $..keys[*]",
        18,
        "sources.keys.items",
        "..",
    ),
    (
        "items: $.keys[*]",
        "items: \"$\"",
        18,
        "sources.keys.items",
        "object",
    ),
    ("{project}", "{tenant}", 15, "sources.keys.ask.path", "`tenant`"),
    (
        "{project}",
        "{$.id}",
        15,
        "sources.keys.ask.path",
        "parameters only",
    ),
    (
        "api-key",
        "api-kee",
        21,
        "sources.keys.becomes.key.kind",
        "api-kee",
    ),
    (
        "\"{$.id}\"",
        "\"{$.id\"",
        22,
        "sources.keys.becomes.key.id",
        "without",
    ),
    (
        "\"{$.id}\"",
        "\"{^.id}\"",
        22,
        "sources.keys.becomes.key.id",
        "outside",
    ),
    (
        "\"{$.id}\"",
        "\"{$.id|upper}\"",
        22,
        "sources.keys.becomes.key.id",
        "upper",
    ),
    (
        "ON: active",
        "ON: on",
        23,
        "sources.keys.becomes.key.state",
        "no state",
    ),
    ("ON: active", "ON: active, ON: revoked", 23, "ON", "duplicate"),
    (
        "paging: none",
        "paging: none\n    for_each: {source: keys, take: {key: \"{$.id}\"}}",
        17,
        "sources.keys.for_each.source",
        "inside itself",
    ),
    (
        "paging: none",
        "paging: none\n    for_each: {source: users, take: {key: \"{$.id}\"}}",
        17,
        "sources.keys.for_each.source",
        "no source",
    ),
    (
        "paging: none",
        "paging: none\n    leaves_out: [{because: all}]",
        21,
        "sources.keys.becomes",
        "either rules",
    ),
    ("paging: none", "paging: {pages: 3}", 16, "pages", "unknown"),
];

#[test]
fn what_is_not_understood_is_named_with_file_line_and_member() {
    let wrong: Vec<String> = WRONG
        .iter()
        .filter_map(|(from, to, line, member, rule)| {
            let (at, found, why) = refused(from, to);
            let is_right = at == *line && found == *member && why.contains(rule);
            (!is_right).then(|| format!("{to}: line {at}, `{found}`: {why}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_path_that_is_not_linear_is_refused() {
    for path in [
        "$..a",
        "$.a[1,2]",
        "$.a[?$.b == @.c]",
        "$.a[?@..b]",
        "a",
        "$.",
        "$[",
        "$.a[?count(@.b) > 1]",
        "$.a[?length(@.b) > 1]",
    ] {
        assert!(Path::parse(path).is_err(), "{path}");
    }
    for path in [
        "$",
        "$.a",
        "$['a..b,$']",
        "$.a[*].b[0]",
        "$.Tags[?@.Key == 'a' || @.Key == \"b\"].Value",
    ] {
        assert!(Path::parse(path).is_ok(), "{path}");
    }
}

proptest! {
    #[test]
    fn reading_stops_at_nothing(text in "[\\PC\n]{0,200}") {
        let _any = Manifest::read("x", "x", &text).is_ok();
        let _any = Path::parse(&text).is_ok();
        let _any = Text::parse(&text).is_ok();
    }

    #[test]
    fn a_manifest_with_a_hole_in_it_is_refused_or_read(at in 0..GOOD.len(), len in 1..40_usize) {
        let mut text = GOOD.to_owned();
        let end = (at + len).min(text.len());
        text.replace_range(at..end, "");
        let _any = Manifest::read("acme/manifest.yaml", "acme", &text).is_ok();
    }
}
