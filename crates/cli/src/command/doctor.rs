//! `bailiwick doctor`.

use serde_json::json;

use super::Done;
use crate::args::{Doctor, Global};
use crate::client::read_context;
use crate::output::{Output, exit};

pub(crate) fn run(command: &Doctor, global: &Global, output: &Output) -> Done {
    let data = command
        .data
        .clone()
        .or_else(|| read_context(global).ok().and_then(|c| c.data));
    let findings = bailiwick_server::run(bailiwick_server::doctor::examine(data.as_deref()))?;
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
