//! `bailiwick doctor`.

use bailiwick_server::doctor::Finding;
use bailiwick_wire::{NamedLog, Page};
use serde_json::json;

use super::Done;
use crate::args::{Doctor, Global};
use crate::client::{Client, read_context};
use crate::output::{Output, exit};

pub(crate) fn run(command: &Doctor, global: &Global, output: &Output) -> Done {
    let data = command
        .data
        .clone()
        .or_else(|| read_context(global).ok().and_then(|c| c.data));
    let findings = bailiwick_server::run(async {
        let mut findings = bailiwick_server::doctor::examine(data.as_deref()).await;
        findings.extend(retention(global).await);
        findings
    })?;
    let sound = findings.iter().all(|f| f.mend.is_none());
    output.result(&json!({"sound": sound, "findings": findings}), |paper| {
        for finding in &findings {
            let state = match (&finding.mend, &finding.advice) {
                (Some(_), _) => "MEND",
                (None, Some(_)) => "WARN",
                (None, None) => "ok  ",
            };
            paper.line(format!("{state}  {}", finding.what));
            if let Some(next) = finding.mend.as_ref().or(finding.advice.as_ref()) {
                paper.line(format!("      {next}"));
            }
        }
    });
    Ok(if sound { exit::OK } else { exit::ERROR })
}

/// How long the service that runs keeps decisions; nothing where none can be asked.
async fn retention(global: &Global) -> Option<Finding> {
    let client = Client::connect(global).ok()?;
    let logs: Page<NamedLog> = client.get("/v1/logs").await.ok()?;
    let log = logs.items.into_iter().find(|log| log.log == "decisions")?;
    let what = match (log.legal_hold, log.keep_days) {
        (Some(hold), _) => format!("decisions are held as they are, `log.legal_hold`: {hold}"),
        (None, Some(days)) => {
            format!("decisions are kept for {days} days, then pruned (`log.keep_decisions_days`)")
        }
        (None, None) => "decisions are kept until somebody prunes them: bailiwick log prune".to_owned(),
    };
    Some(Finding {
        what,
        mend: None,
        advice: None,
    })
}
