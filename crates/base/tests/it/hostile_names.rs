//! Names and ids against the hostile texts: kept byte for byte, or refused with a message on one line.

use std::fs;

use bailiwick_base::{AgentLabel, IdentityId, NodeName, ServerName, TaskId, TenantId, Time, ToolName};
use bailiwick_vectors as vectors;
use serde_json::Value;

/// Kept exactly, or refused with a message that cannot forge a line or turn the reading direction.
fn kept_or_refused<T: ToString>(what: &str, text: &str, parsed: Result<T, impl ToString>) -> bool {
    match parsed {
        Ok(name) => {
            assert_eq!(name.to_string(), text, "{what} changed a name");
            true
        }
        Err(error) => {
            let message = error.to_string();
            let hostile = |c: char| {
                c.is_control()
                    || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
            };
            assert!(!message.chars().any(hostile), "{what}: {message:?}");
            assert!(message.chars().count() < 2_000, "{what} echoes without limit");
            false
        }
    }
}

/// How many kinds of name took it.
fn feed(text: &str) -> usize {
    let tenant = TenantId::parse("acme").unwrap();
    let label = AgentLabel::parse(text);
    if let Ok(label) = &label {
        assert!(
            !label
                .as_str()
                .chars()
                .any(|c| c.is_control() || c == '\u{202e}' || c == '\u{200b}'),
            "{text:?}"
        );
    }
    [
        kept_or_refused("tenant", text, TenantId::parse(text)),
        kept_or_refused("server", text, ServerName::parse(text)),
        kept_or_refused("node", text, NodeName::parse(text)),
        kept_or_refused("tool", text, ToolName::parse(text)),
        kept_or_refused("label", text, label),
        kept_or_refused("identity id", text, IdentityId::parse(&tenant, text)),
        kept_or_refused("task id", text, TaskId::parse(&tenant, text)),
        Time::parse(text).is_ok(),
    ]
    .into_iter()
    .filter(|taken| *taken)
    .count()
}

#[test]
fn a_text_of_nothing_that_has_a_shape_cannot_be_seen() {
    use bailiwick_base::limits::can_be_seen;
    for unseen in [
        "",
        " ",
        "\t\n",
        "\u{200b}",
        "\u{200b}\u{202e} \u{feff}",
        "\u{e0041}",
    ] {
        assert!(!can_be_seen(unseen), "{unseen:?}");
    }
    for seen in ["a", "'", "\"", "\\", "\u{202e}a", "中", "🙂", "é"] {
        assert!(can_be_seen(seen), "{seen:?}");
    }
}

#[test]
fn naughty_strings_run_whole() {
    let Some(folder) = vectors::folder("naughty-strings") else {
        return;
    };
    let texts: Vec<String> = serde_json::from_slice(&fs::read(folder.join("blns.json")).unwrap()).unwrap();
    for text in &texts {
        feed(text);
    }
    vectors::report("naughty-strings", texts.len(), 250);
}

#[test]
fn hostile_texts_run_whole() {
    let Some(folder) = vectors::folder("hostile-text") else {
        return;
    };
    let rows: Vec<Value> = serde_json::from_slice(&fs::read(folder.join("texts.json")).unwrap()).unwrap();
    for row in &rows {
        let text = row["text"].as_str().unwrap();
        feed(text);
        if row["class"] == "log-forging"
            && text.contains(['\n', '\r', '\u{2028}', '\u{2029}', '\u{85}', '\u{1b}'])
        {
            assert_eq!(feed(text), 0, "{text:?} is not a name of any kind");
        }
    }
    vectors::report("hostile-text", rows.len(), 66);
}

#[test]
fn ids_are_canonical_and_belong_to_their_kind() {
    let tenant = TenantId::parse("acme").unwrap();
    let id = IdentityId::from_parts(
        tenant.clone(),
        uuid::Uuid::from_u128(0x0198_0000_0000_7000_8000_0000_0000_0001),
    );
    let text = id.to_string();
    assert_eq!(IdentityId::parse(&tenant, &text), Ok(id));
    assert!(TaskId::parse(&tenant, &text).is_err(), "an identity is no task");
    assert!(IdentityId::parse(&tenant, &text.to_uppercase()).is_err());
    let (head, last) = text.split_at(text.len() - 1);
    for other in "abcdefghijklmnopqrstuvwxyz234567"
        .chars()
        .filter(|c| !last.contains(*c))
    {
        let parsed = IdentityId::parse(&tenant, &format!("{head}{other}"));
        assert!(
            parsed.is_err() || parsed.is_ok_and(|p| p.to_string() != text),
            "two texts for one id"
        );
    }
}
