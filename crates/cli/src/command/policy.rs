//! `bailiwick policy`.

use bailiwick_wire::{PolicyText, PolicyWritten};
use serde_json::json;

use super::{Done, asynchronous};
use crate::args::{Global, Policy};
use crate::client::Client;
use crate::files;
use crate::output::{Failure, Output, exit};

pub(crate) fn run(command: Policy, global: &Global, output: &Output) -> Done {
    match command {
        Policy::Get => asynchronous(get(global, output)),
        Policy::Set { file } => asynchronous(set(files::read_text(&file)?, global, output)),
        Policy::Lint { file } => {
            let text = files::read_text(&file)?;
            bailiwick_server::lint_policies(&text).map_err(|error| {
                Failure::new(
                    exit::ERROR,
                    "policy.invalid",
                    format!("`{}`: {error}", file.display()),
                )
                .hint("`bailiwick policy schema` prints the types a policy may name")
            })?;
            output.result(&json!({"valid": true}), |paper| paper.line("valid"));
            Ok(exit::OK)
        }
        Policy::Schema => {
            let schema = bailiwick_server::POLICY_SCHEMA;
            output.result(&json!({"schema": schema}), |paper| paper.line(schema.trim_end()));
            Ok(exit::OK)
        }
    }
}

async fn get(global: &Global, output: &Output) -> Done {
    let client = Client::connect(global)?;
    let text: PolicyText = client.get(&client.path("policies")?).await?;
    output.result(&text, |paper| {
        if text.cedar.trim().is_empty() {
            // As comments, so that what is printed can be edited and set.
            paper.line("// This tenant has no policies of its own. The default policies are in force:");
            for line in bailiwick_server::DEFAULT_POLICIES.lines() {
                paper.line(format!("// {line}").trim_end());
            }
        } else {
            paper.line(&text.cedar);
        }
    });
    Ok(exit::OK)
}

async fn set(cedar: String, global: &Global, output: &Output) -> Done {
    let client = Client::connect(global)?;
    let written: PolicyWritten = client
        .put(&client.path("policies")?, &PolicyText { cedar })
        .await?;
    output.result(&written, |paper| {
        paper.pairs(&[
            ("log position", written.position.to_string()),
            ("digest", written.digest.clone()),
        ]);
    });
    Ok(exit::OK)
}
