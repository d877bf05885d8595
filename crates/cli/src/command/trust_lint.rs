//! `bailiwick trust lint --file`: policies of clouds, offline.

use std::path::Path;

use bailiwick_server::foreign_trust::{Claims, Grade, Pipeline, Platform, Verdict, judge, read};
use serde_json::{Value, json};

use super::Done;
use crate::args::TrustLint;
use crate::files;
use crate::output::{Failure, Output, exit};

pub(super) fn run(file: &Path, asked: &TrustLint, output: &Output) -> Done {
    let platform = named(
        "--platform",
        asked.platform.as_deref(),
        Platform::parse,
        &Platform::ALL.map(Platform::as_str),
    )?;
    let platform = platform.ok_or_else(|| Failure::usage("`--platform` is missing: aws, azure or gcp"))?;
    let kinds = Pipeline::ALL.map(Pipeline::as_str);
    let kind = named(
        "--issuer-kind",
        asked.issuer_kind.as_deref(),
        Pipeline::parse,
        &kinds,
    )?;
    let tried = asked.token.as_deref().map(claims).transpose()?;
    let policies = read(platform, kind, &files::read(file)?)
        .map_err(|error| Failure::usage(format!("`{}`: {error}", file.display())))?;
    let judged: Vec<(String, Pipeline, Verdict)> = policies
        .iter()
        .map(|policy| {
            (
                policy.issuer.clone(),
                policy.pipeline,
                judge(policy, tried.as_ref()),
            )
        })
        .collect();
    let items: Vec<Value> = judged
        .iter()
        .map(|(issuer, kind, verdict)| item(issuer, *kind, verdict))
        .collect();
    output.result(&json!({"items": items, "total": items.len()}), |paper| {
        for (issuer, kind, verdict) in &judged {
            let mut pairs = vec![
                ("issuer", issuer.clone()),
                ("kind", kind.as_str().to_owned()),
                ("grade", paper.strong(verdict.grade.as_str())),
            ];
            if let Some(admitted) = verdict.admitted {
                pairs.push(("token", if admitted { "let in" } else { "refused" }.to_owned()));
            }
            paper.pairs(&pairs);
            for finding in &verdict.findings {
                paper.line(format!(
                    "{} {}: {}",
                    finding.severity.as_str(),
                    finding.code,
                    finding.text
                ));
                if let Some(witness) = &finding.witness {
                    paper.line(format!("    lets in: {witness}"));
                }
                paper.line(format!("    fix: {}", finding.fix));
            }
        }
    });
    let is_dangerous = judged
        .iter()
        .any(|(_, _, verdict)| verdict.grade == Grade::Dangerous);
    Ok(if is_dangerous { exit::DENIED } else { exit::OK })
}

fn named<T>(
    option: &str,
    given: Option<&str>,
    parse: impl Fn(&str) -> Option<T>,
    known: &[&str],
) -> Result<Option<T>, Failure> {
    given
        .map(|text| {
            parse(text).ok_or_else(|| {
                Failure::usage(format!("`{option} {text}` is not known: {}", known.join(", ")))
            })
        })
        .transpose()
}

fn item(issuer: &str, kind: Pipeline, verdict: &Verdict) -> Value {
    let findings: Vec<Value> = verdict
        .findings
        .iter()
        .map(|finding| {
            json!({
                "code": finding.code,
                "severity": finding.severity.as_str(),
                "text": finding.text,
                "fix": finding.fix,
                "witness": finding.witness,
            })
        })
        .collect();
    json!({
        "issuer": issuer,
        "issuer_kind": kind.as_str(),
        "admitted": verdict.admitted,
        "grade": verdict.grade.as_str(),
        "findings": findings,
    })
}

/// Claims of a token as text; what is a list or an object is left out, because no policy looks into it.
fn claims(file: &Path) -> Result<Claims, Failure> {
    let wrong = || Failure::usage(format!("`{}` is not a JSON object of claims", file.display()));
    let value: Value = serde_json::from_slice(&files::read(file)?).map_err(|_| wrong())?;
    let members = value.as_object().ok_or_else(wrong)?;
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        _ => None,
    };
    Ok(members
        .iter()
        .filter_map(|(name, value)| Some((name.clone(), text(value)?)))
        .collect())
}
