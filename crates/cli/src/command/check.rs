//! `bailiwick check`.

use bailiwick_wire::{CheckAnswer, CheckRequest};
use serde_json::{Map, Value};

use super::Done;
use crate::args::{Check, Global};
use crate::client::Client;
use crate::output::{Failure, Output, exit};

pub(crate) async fn run(command: Check, global: &Global, output: &Output) -> Done {
    let client = Client::connect(global)?;
    let mut args = Map::new();
    for pair in &command.args {
        let (name, value) = pair.split_once('=').ok_or_else(|| {
            Failure::usage(format!("argument `{pair}` has no ="))
                .hint("write --arg path=/srv/in/a.txt, or --arg amount=10")
        })?;
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        args.insert(name.to_owned(), value);
    }
    let body = CheckRequest {
        principal: command.principal,
        action: command.action,
        resource: command.resource,
        task: command.task,
        args,
    };
    let answer: CheckAnswer = client.post(&client.path("check")?, &body).await?;
    output.result(&answer, |paper| {
        let mut pairs = vec![
            ("effect", paper.strong(&answer.effect)),
            ("reason", answer.reason.clone()),
        ];
        if let Some(code) = &answer.code {
            pairs.push(("code", code.clone()));
        }
        pairs.push(("policies", answer.policies.join(", ")));
        pairs.push(("epoch", answer.epoch.to_string()));
        pairs.push(("log position", answer.position.to_string()));
        pairs.push(("decision", answer.decision.clone()));
        paper.pairs(&pairs);
    });
    Ok(match answer.effect.as_str() {
        "permit" => exit::OK,
        "hold" => exit::APPROVAL,
        _ => exit::DENIED,
    })
}
