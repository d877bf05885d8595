//! Who may do what under the default policies: `content/policies/matrix.txt`, generated here and compared.
//! After a wanted change: `BAILIWICK_WRITE=1 cargo test -p bailiwick-decide matrix`.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use bailiwick_decide::{Call, Effect, ItemKind, Target, decide};
use bailiwick_grant::vocabulary;

use crate::world::*;

/// What the caller's token and grant name, by column.
const COLUMNS: [(&str, &[&str]); 6] = [
    ("none", &[]),
    ("other", &["other:*"]),
    ("tool", &["filesystem:read_text_file"]),
    ("prompt", &["filesystem:prompts/get"]),
    ("resource", &["filesystem:resources/read"]),
    ("all", &["filesystem:*"]),
];

fn target(action: &str, scopes: &[&str]) -> Target {
    match action {
        vocabulary::TOKEN_ISSUE => {
            let wanted = claims(scopes);
            Target::Issue {
                tokens: vec![wanted.token.clone()],
                claims: Arc::new(wanted),
                subject: None,
                evidence: None,
            }
        }
        vocabulary::TOOLS_CALL => item(action, ItemKind::Tool, "read_text_file"),
        vocabulary::PROMPTS_GET => item(action, ItemKind::Prompt, "summary"),
        name if name.starts_with("resources/") && vocabulary::ITEM_METHODS.contains(&name) => {
            item(name, ItemKind::Resource, "file:///srv/a")
        }
        name => method(name),
    }
}

fn answer(action: &str, scopes: &[&str]) -> String {
    let call: Call = call_with(claims(scopes), target(action, scopes), no_arguments());
    match decide(&world(scopes), &call, NOW).effect {
        Effect::Permit => "permit".to_owned(),
        Effect::Hold(_) => "hold".to_owned(),
        Effect::Deny(reason) => reason.code().to_owned(),
    }
}

fn matrix() -> String {
    let mut out = String::from(
        "# Who may do what under the default policies: an active identity with an open task, whose token and grant\n\
         # name nothing, another server, one tool, prompts/get, resources/read, or everything of the server.\n\
         # Generated and compared by the tests of the decision point.\n\n",
    );
    let row = |out: &mut String, first: &str, cells: &[String]| {
        let _ = write!(out, "{first:<36}");
        for cell in cells {
            let _ = write!(out, "{cell:<20}");
        }
        while out.ends_with(' ') {
            out.pop();
        }
        out.push('\n');
    };
    row(&mut out, "action", &COLUMNS.map(|(name, _)| name.to_owned()));
    let mut actions = vec![vocabulary::TOKEN_ISSUE];
    actions.extend(vocabulary::ITEM_METHODS);
    actions.extend(vocabulary::SERVER_METHODS);
    actions.push("unknown/method");
    for action in actions {
        row(
            &mut out,
            action,
            &COLUMNS.map(|(_, scopes)| answer(action, scopes)),
        );
    }
    out
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "writing the matrix is asked for through the environment"
)]
fn the_matrix_is_current() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../content/policies/matrix.txt");
    let now = matrix();
    if std::env::var_os("BAILIWICK_WRITE").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        committed, now,
        "who may do what has changed; see the top of this file"
    );
}

/// The schema that people read names the same actions as the vocabulary.
#[test]
fn schema_and_vocabulary_agree() {
    let text = include_str!("../../../../../content/policies/schema.cedarschema");
    let (schema, _) = cedar_policy::Schema::from_cedarschema_str(text).unwrap();
    let declared: std::collections::BTreeSet<String> =
        schema.actions().map(|a| a.id().unescaped().to_owned()).collect();
    let known: std::collections::BTreeSet<String> = std::iter::once(vocabulary::TOKEN_ISSUE)
        .chain(vocabulary::ITEM_METHODS)
        .chain(vocabulary::SERVER_METHODS)
        .map(str::to_owned)
        .collect();
    assert_eq!(declared, known);
    let types: std::collections::BTreeSet<String> = schema
        .entity_types()
        .map(ToString::to_string)
        .filter(|t| t != vocabulary::ACTION)
        .collect();
    let own: std::collections::BTreeSet<String> = vocabulary::OWN_TYPES
        .iter()
        .filter(|t| **t != vocabulary::ACTION)
        .map(|t| (*t).to_owned())
        .collect();
    assert_eq!(types, own);
}
