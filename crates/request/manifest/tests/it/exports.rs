//! Exports as people make them: whole, cut off, in the wrong encoding, twice, with hostile names.

use bailiwick_manifest::{Coverage, Given, Manifest, Scan, SourceScan};
use bailiwick_vectors as vectors;
use serde_json::{Value, json};

fn source<'s>(scan: &'s Scan<'_>, wanted: &str) -> &'s SourceScan {
    scan.sources().find(|(name, _, _)| *name == wanted).unwrap().2
}

fn scan<'m>(manifest: &'m Manifest, files: &[(&str, &[u8])]) -> Scan<'m> {
    let mut scan = Scan::new(manifest, Given::new());
    for (name, bytes) in files {
        scan.add(name, bytes);
    }
    scan
}

fn user(name: &str) -> Value {
    json!({"Arn": format!("arn:aws:iam::1:user/{name}"), "UserName": name, "CreateDate": "2024-01-01T00:00:00Z"})
}

#[test]
fn an_export_has_many_shapes_and_one_meaning() {
    let aws = super::manifest("aws");
    let (a, b) = (user("a"), user("b"));
    let page = json!({"Users": [a, b]}).to_string();
    let shapes = [
        ("users.json", page.clone()),
        (
            "users-2.json",
            json!([{"Users": [a]}, {"Users": [b], "IsTruncated": false}]).to_string(),
        ),
        ("users.1.json", json!([a, b]).to_string()),
        ("users.ndjson", format!("{a}\n{b}\n")),
        (
            "users.jsonl",
            format!("{}\n\n{}\r\n", json!({"Users": [a]}), json!({"Users": [b]})),
        ),
        ("users/page.json", page.clone()),
        (
            "all.json",
            json!({"users": {"Users": [a]}, "roles": {"Roles": []}})
                .to_string()
                .replace(&json!([a]).to_string(), &json!([a, b]).to_string()),
        ),
        ("users.json", format!("\u{feff}{page}")),
        (
            "users.json",
            json!([{"given": {}, "answer": {"Users": [a]}}, {"given": {}, "answer": [b]}]).to_string(),
        ),
    ];
    for (name, text) in shapes {
        let scan = scan(&aws, &[(name, text.as_bytes())]);
        assert!(scan.unknown().is_empty(), "{name} {text}: {:?}", scan.unknown());
        let users = source(&scan, "users");
        assert_eq!(users.broken, [], "{name} {text}");
        assert_eq!(users.coverage(), Coverage::Read, "{name} {text}");
        assert_eq!((users.items, users.observations), (2, 2), "{name} {text}");
        let ids: Vec<&str> = scan.observations().iter().map(|seen| seen.id.as_str()).collect();
        assert_eq!(
            ids,
            ["arn:aws:iam::1:user/a", "arn:aws:iam::1:user/b"],
            "{name} {text}"
        );
    }
}

#[test]
fn what_has_no_file_is_not_covered_and_not_zero() {
    let aws = super::manifest("aws");
    let scan = scan(&aws, &[("users.json", br#"{"Users": []}"#)]);
    assert_eq!(source(&scan, "users").coverage(), Coverage::Read);
    assert_eq!(source(&scan, "roles").coverage(), Coverage::NotCovered);
    assert_eq!(source(&scan, "users").observations, 0);
}

#[test]
fn what_is_cut_off_or_in_another_encoding_is_an_error_of_its_file() {
    let aws = super::manifest("aws");
    let page = json!({"Users": [user("a")]}).to_string();
    let lines = format!("{}\n{}", user("a"), &user("b").to_string()[..20]);
    let utf16: Vec<u8> = [0xff, 0xfe]
        .into_iter()
        .chain(page.encode_utf16().flat_map(u16::to_le_bytes))
        .collect();
    let cases: [(&[u8], &str); 8] = [
        (&page.as_bytes()[..page.len() - 3], "cut off"),
        (lines.as_bytes(), "line 2"),
        (&utf16, "UTF-16"),
        (b"{\"Users\": [{\"Arn\": \"\xe9\"}]}", "byte 20 is not UTF-8"),
        (b"", "the file"),
        (b"{\"Users\": [], \"Users\": []}", "twice"),
        (b"{\"Error\": {\"Code\": \"AccessDenied\"}}", "error instead of"),
        (b"{\"Roles\": []}", "no list of IAM users"),
    ];
    for (bytes, why) in cases {
        let scan = scan(&aws, &[("users.json", bytes), ("users-2.json", page.as_bytes())]);
        let users = source(&scan, "users");
        assert_eq!(users.coverage(), Coverage::Partly, "{why}");
        assert_eq!(users.broken.len(), 1, "{why}");
        assert_eq!(users.broken[0].0, "users.json");
        assert!(
            users.broken[0].1.to_string().contains(why),
            "{}",
            users.broken[0].1
        );
        // The rest of the export counts.
        assert_eq!(users.observations, 1, "{why}");
    }
    let scan = scan(&aws, &[("notes.json", b"{\"x\": 1}"), ("list.json", b"[1]")]);
    assert_eq!(scan.unknown().len(), 2);
    assert!(scan.unknown()[0].1.to_string().contains("names no source"));
}

#[test]
fn the_same_thing_twice_counts_once_and_is_told() {
    let aws = super::manifest("aws");
    let other = json!({"Arn": "arn:aws:iam::1:user/a", "UserName": "b"});
    let text = json!({"Users": [user("a"), user("a"), other]}).to_string();
    let key = json!({"AccessKeyMetadata": [{"AccessKeyId": "AKIA1", "Status": "Active", "UserName": "a"}]});
    let used = json!({"given": {"key": "AKIA1"}, "answer": {"AccessKeyLastUsed": {"LastUsedDate": "2024-05-01T00:00:00Z"}}});
    let scan = scan(
        &aws,
        &[
            ("users.json", text.as_bytes()),
            ("access-keys.json", key.to_string().as_bytes()),
            ("access-key-last-used.json", used.to_string().as_bytes()),
        ],
    );
    let users = source(&scan, "users");
    assert_eq!((users.items, users.observations, users.notes.len()), (3, 1, 2));
    assert!(users.notes[0].text.ends_with("twice"), "{:?}", users.notes);
    assert!(users.notes[1].text.contains("differs"), "{:?}", users.notes);
    // Another source adds what it knows.
    let key = scan
        .observations()
        .iter()
        .find(|seen| seen.type_name == "access-key")
        .unwrap();
    assert_eq!(key.used_at.unwrap().to_string(), "2024-05-01T00:00:00Z");
    assert_eq!(key.state.as_str(), "active");
    assert!(source(&scan, "access-key-last-used").notes.is_empty());
}

#[test]
fn a_file_of_nothing_but_wrong_items_is_counted_to_its_end_and_remembered_to_a_bound() {
    let aws = super::manifest("aws");
    let zeros = format!("[{}]", vec!["0"; 25_000].join(","));
    let scan = scan(&aws, &[("users.json", zeros.as_bytes())]);
    let users = source(&scan, "users");
    assert_eq!(
        (users.items, users.unmapped.total(), users.unmapped.len()),
        (25_000, 25_000, 10_000)
    );
}

#[test]
fn what_cannot_be_mapped_is_named_and_counted() {
    let github = super::manifest("github");
    let text = json!([
        {"credential_id": 1, "credential_type": "personal access token", "login": "a"},
        {"credential_id": 2, "credential_type": "carrier pigeon", "login": "a"},
    ]);
    let without = scan(
        &github,
        &[("credential-authorizations.json", text.to_string().as_bytes())],
    );
    let read = source(&without, "credential-authorizations");
    assert_eq!((read.items, read.observations), (2, 0));
    let why: Vec<&str> = read.unmapped.iter().map(|remark| remark.text.as_str()).collect();
    assert_eq!(
        why,
        [
            "classic-token: the id needs parameter `organization`",
            "no rule of the manifest is for it"
        ]
    );
    assert_eq!(read.unmapped[1].place, "credential-authorizations.json: 1");
    let mut with = Scan::new(&github, super::given(&[("organization", "acme")]));
    with.add("credential-authorizations.json", text.to_string().as_bytes());
    assert_eq!(with.observations().len(), 1);
    let long = json!({"Users": [{"Arn": "x".repeat(1_025)}, {"Arn": ["a", "b"]}, {"Arn": {}}, {"Arn": "a", "UserName": "n".repeat(300)}]});
    let aws = super::manifest("aws");
    let scan = scan(&aws, &[("users.json", long.to_string().as_bytes())]);
    let users = source(&scan, "users");
    assert_eq!((users.unmapped.len(), users.observations), (3, 1));
    assert_eq!(scan.observations()[0].name.as_ref().unwrap().as_str().len(), 256);
    assert_eq!(users.notes.len(), 1, "{:?}", users.notes);
}

#[test]
fn hostile_text_stays_text() {
    let Some(folder) = vectors::folder("hostile-text") else {
        return;
    };
    let rows = vectors::json(&folder.join("texts.json"));
    let rows = rows.as_array().unwrap();
    let slack = super::manifest("slack");
    for row in rows {
        let text = row["text"].as_str().unwrap();
        let page = json!({"members": [{"id": format!("U{text}"), "real_name": text, "is_bot": false, "profile": {"email": text}}]});
        let scan = scan(&slack, &[("users.json", page.to_string().as_bytes())]);
        if text.len() > 1_000 {
            let why = &source(&scan, "users").unmapped[0].text;
            assert!(why.contains("more than 1024"), "{why}");
            continue;
        }
        let seen = &scan.observations()[0];
        assert_eq!(seen.id.as_str(), format!("U{text}"));
        let name = seen.name.as_ref().map_or("", |name| name.as_str());
        assert!(
            name == text || (text.starts_with(name) && text.len() > 256),
            "{text}"
        );
        assert_eq!(seen.kind.sort(), "person");
    }
    vectors::report("hostile-text in exports", rows.len(), 66);
}
