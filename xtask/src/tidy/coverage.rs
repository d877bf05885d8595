//! `docs/coverage.toml`: what an issue asked for, paragraph by paragraph, and the tests that show it
//! end to end. `gen` writes the readable `docs/coverage.md` from it.
use toml::Value;

use super::{Finding, House, invariants, settings};
use crate::fail::{Fail, Outcome};
use crate::repo::Repo;

const RULE: &str = "coverage";
const SOURCE: &str = "docs/coverage.toml";

/// Paragraphs that must be there, so that deleting one is not a way to pass.
pub const REQUIRED: [(&str, &[&str]); 6] = [
    (
        "The spine: build",
        &[
            "house",
            "store",
            "logs",
            "inventory",
            "credential",
            "grant-decide",
            "gateway",
            "kill",
            "cli-service",
        ],
    ),
    (
        "The spine: bad input",
        &[
            "token-forged",
            "token-expired",
            "token-wrong-audience",
            "token-wrong-tenant",
            "token-oversized",
            "token-duplicate-member",
            "vectors-jwt-jws",
            "vectors-json",
            "vectors-merkle",
            "vectors-hostile-mcp",
            "vectors-hostile-text",
            "config-unknown-key",
            "policy-bad",
            "owner-missing",
            "upstream-unreachable",
            "disk-full",
            "data-folder-read-only",
        ],
    ),
    (
        "Credential authority: build",
        &[
            "third-party",
            "signing-key-rotation",
            "run",
            "brokering",
            "key-holders",
            "spiffe-out",
            "rotation-postgres",
            "rotation-aws",
            "rotation-http-github",
            "third-party-revoke",
            "leases",
            "task-ledger",
            "client-credentials",
            "token-exchange",
            "authorization-details",
            "revocation",
            "introspection",
            "federation-in",
            "authorization-code",
            "refresh",
            "client-documents",
            "identity-assertion",
            "oauth-clients",
            "foreign-verifiers",
            "dpop",
            "mtls",
            "composition",
            "trust-lint",
            "federation-aws",
            "federation-provider",
        ],
    ),
    (
        "Credential authority: bad input",
        &[
            "egress-refusals",
            "vectors-tokens",
            "vectors-dpop",
            "redirect-uris",
            "hostile-documents",
            "rotation-twice",
            "rotation-crash",
            "rotation-crash-aws",
            "lease-crash",
            "vectors-token-exchange",
            "guarded-client",
            "bad-issuers",
            "look-alikes",
            "bad-compositions",
        ],
    ),
    (
        "Continuous authorization: build",
        &[
            "signals-transmitter",
            "signals-receiver",
            "status-list",
            "webhooks",
            "several-nodes",
            "freshness-of-a-node",
            "contained",
            "asynchronous-replica",
            "witness-file",
            "witness-protocol",
            "evidence-packs",
            "backup-restore",
        ],
    ),
    ("Continuous authorization: bad input", &["bad-receivers"]),
];

#[derive(Debug)]
pub struct Paragraph {
    pub id: String,
    pub asks: String,
    pub tests: Vec<String>,
}

#[derive(Debug)]
pub struct Section {
    pub title: String,
    pub paragraphs: Vec<Paragraph>,
}

#[derive(Debug)]
pub struct Coverage {
    pub sections: Vec<Section>,
}

impl Coverage {
    pub fn read(repo: &Repo) -> Outcome<Self> {
        let table = settings::table(repo, SOURCE)?;
        let sections = array(table.get("section"))
            .iter()
            .map(read_section)
            .collect::<Outcome<_>>()?;
        Ok(Self { sections })
    }
}

pub(super) fn coverage(house: &House) -> Outcome<Vec<Finding>> {
    let coverage = Coverage::read(&house.repo)?;
    let mut findings = Vec::new();
    let mut report = |message| {
        findings.push(Finding {
            rule: RULE,
            place: SOURCE.to_owned(),
            message,
        })
    };
    for (title, ids) in REQUIRED {
        let section = coverage.sections.iter().find(|section| section.title == title);
        let paragraphs = section.map_or(&[][..], |section| section.paragraphs.as_slice());
        for id in ids
            .iter()
            .filter(|id| !paragraphs.iter().any(|paragraph| paragraph.id == **id))
        {
            report(format!("section `{title}` lacks the paragraph `{id}`"));
        }
    }
    for paragraph in coverage.sections.iter().flat_map(|section| &section.paragraphs) {
        if paragraph.tests.is_empty() {
            report(format!(
                "`{}` names no test that shows it end to end",
                paragraph.id
            ));
        }
        for test in &paragraph.tests {
            if let Some(message) = invariants::dead(&house.repo, test)? {
                report(format!("`{}`: {message}", paragraph.id));
            }
        }
    }
    Ok(findings)
}

fn read_section(value: &Value) -> Outcome<Section> {
    let paragraphs = array(value.get("paragraph"))
        .iter()
        .map(read_paragraph)
        .collect::<Outcome<_>>()?;
    Ok(Section {
        title: text(value, "title")?,
        paragraphs,
    })
}

fn read_paragraph(value: &Value) -> Outcome<Paragraph> {
    let tests = array(value.get("tests"))
        .iter()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    Ok(Paragraph {
        id: text(value, "id")?,
        asks: text(value, "asks")?,
        tests,
    })
}

fn array(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text(value: &Value, key: &str) -> Outcome<String> {
    let found = value.get(key).and_then(Value::as_str);
    found
        .map(str::to_owned)
        .ok_or_else(|| Fail::broken(format!("`{SOURCE}`: an entry lacks `{key}`")))
}
