//! `bailiwick task`.

use std::path::Path;

use bailiwick_wire::{
    CloseTask, NewTask, OpenedTask, Page, Task as Row, TaskLedger, Token, TokenBatch, TokenBatchRequest,
};
use serde_json::{Value, json};

use super::Done;
use super::id::encoded;
use crate::args::{Global, Task};
use crate::client::Client;
use crate::files::{self, NewFile};
use crate::output::{Failure, Output, Paper, exit, name_and_id, name_or_id, state};

pub(crate) async fn run(command: Task, global: &Global, output: &Output) -> Done {
    let client = Client::connect(global)?;
    match command {
        Task::Open {
            identity,
            purpose,
            can,
            window,
            requested_by,
            may_act,
            token_file,
            no_token,
        } => {
            let body = NewTask {
                identity,
                purpose,
                can,
                authorization_details: Vec::new(),
                for_secs: window.as_secs(),
                requested_by,
                may_act,
                issue: !no_token,
                heartbeat_secs: None,
            };
            let file = token_file.as_deref().map(NewFile::take).transpose()?;
            let opened: OpenedTask = client.post(&client.path("tasks")?, &body).await?;
            print_opened(&opened, token_file.as_deref().zip(file), output)?;
        }
        Task::Token {
            task,
            count,
            token_file,
        } => {
            tokens(&client, output, &task, count, token_file.as_deref()).await?;
        }
        Task::Close { task, reason } => {
            let path = client.path(&format!("tasks/{}/close", encoded(&task)))?;
            let closed: Row = client.post(&path, &CloseTask { reason }).await?;
            output.result(&closed, |paper| show(paper, &closed));
        }
        Task::Show { task } => {
            let path = client.path(&format!("tasks/{}", encoded(&task)))?;
            let found: TaskLedger = client.get(&path).await?;
            output.result(&found, |paper| {
                show(paper, &found.task);
                super::lease::ledger(paper, &found);
            });
        }
        Task::Ls => list(&client, output).await?,
    }
    Ok(exit::OK)
}

async fn list(client: &Client, output: &Output) -> Result<(), Failure> {
    let page: Page<Row> = client.get(&client.path("tasks")?).await?;
    let empty = format!(
        "no tasks yet: bailiwick -t {} task open --identity NAME --purpose TEXT --can SCOPE",
        client.tenant()?
    );
    output.result(&page, |paper| {
        let rows = page.items.iter().map(|t| {
            // That its own mark stops it needs no second id.
            let mark = t.stopped_by.as_ref().filter(|mark| !mark.contains(&t.id));
            vec![
                t.id.clone(),
                name_or_id(t.identity_name.as_ref(), &t.identity),
                state(&t.effective, &t.state, mark),
                t.closes_at.clone(),
                t.purpose.clone(),
            ]
        });
        paper.table(
            &["task", "identity", "state", "closes", "purpose"],
            rows.collect(),
            &empty,
        );
    });
    Ok(())
}

async fn tokens(
    client: &Client,
    output: &Output,
    task: &str,
    count: u32,
    token_file: Option<&Path>,
) -> Result<(), Failure> {
    let path = client.path(&format!("tasks/{}/tokens", encoded(task)))?;
    if let Some(file) = token_file {
        require_own(file, task)?;
    }
    let batch: TokenBatch = client.post(&path, &TokenBatchRequest { count }).await?;
    if let Some(file) = token_file {
        let text: Vec<&str> = batch.tokens.iter().map(|t| t.access_token.as_str()).collect();
        files::replace_private(file, text.join("\n").as_bytes())?;
        let document = json!({"token_file": file, "count": batch.tokens.len(), "decision": batch.decision});
        output.result(&document, |paper| {
            let tokens = match batch.tokens.len() {
                1 => "1 token".to_owned(),
                more => format!("{more} tokens"),
            };
            paper.line(format!("{tokens} written to {}", file.display()));
        });
    } else {
        output.result(&batch, |paper| {
            batch.tokens.iter().for_each(|t| paper.line(&t.access_token))
        });
    }
    Ok(())
}

/// A renewed token takes the place of one of the same task, and of nothing else.
fn require_own(file: &Path, task: &str) -> Result<(), Failure> {
    if !file.exists() {
        return Ok(());
    }
    let text = files::read_text(file)?;
    let held = super::token::claims(text.lines().next().unwrap_or_default());
    if held.is_ok_and(|claims| claims.get("task").and_then(Value::as_str) == Some(task)) {
        return Ok(());
    }
    Err(Failure::new(
        exit::USAGE,
        "cli.file-exists",
        format!(
            "`{}` exists and holds no token of task `{task}`: it is not overwritten",
            file.display()
        ),
    )
    .hint("give another name, or remove the file if nothing needs it any more"))
}

/// With a token file the document on standard output holds no secret.
fn print_opened(
    opened: &OpenedTask,
    token_file: Option<(&Path, NewFile)>,
    output: &Output,
) -> Result<(), Failure> {
    if let (Some((file, taken)), Some(token)) = (token_file, &opened.token) {
        taken.fill(token.access_token.as_bytes())?;
        let document = json!({"task": opened.task, "token_file": file, "expires_in": token.expires_in});
        output.result(&document, |paper| {
            show(paper, &opened.task);
            paper.line(format!(
                "token     {} (expires in {} s)",
                file.display(),
                token.expires_in
            ));
        });
        return Ok(());
    }
    output.result(opened, |paper| {
        show(paper, &opened.task);
        if let Some(Token {
            access_token,
            expires_in,
            ..
        }) = &opened.token
        {
            paper.line(format!("token (expires in {expires_in} s)"));
            paper.line(access_token);
        }
    });
    Ok(())
}

fn show(paper: &mut Paper, task: &Row) {
    let mut pairs = vec![
        ("task", paper.strong(&task.id)),
        (
            "identity",
            name_and_id(task.identity_name.as_ref(), &task.identity),
        ),
        ("purpose", task.purpose.clone()),
        (
            "state",
            state(&task.effective, &task.state, task.stopped_by.as_ref()),
        ),
        ("closes", task.closes_at.clone()),
    ];
    pairs.extend(task.can.iter().map(|scope| ("can", scope.clone())));
    paper.pairs(&pairs);
}
