//! `bailiwick consent`.

use bailiwick_wire::{
    AllowConsent, AllowedConsent, CloseTask, Consents, NewPublicClient, NewTask, OpenedTask, Page,
    PublicClient, RefuseConsent, RemovePublicClient, Task as TaskRow, WaitingConsent,
};
use serde_json::{Value, json};

use super::Done;
use super::id::encoded;
use crate::args::{Consent as Command, ConsentAllow, ConsentClient, Global};
use crate::client::Client;
use crate::output::{Failure, Output, Paper, day, exit, name_or_id};

pub(crate) async fn run(command: Command, global: &Global, output: &Output) -> Done {
    let client = Client::connect(global)?;
    match command {
        Command::Ls => list(&client, output).await?,
        Command::Show { code } => {
            let waiting: WaitingConsent = client.get(&waiting(&client, &code, "")?).await?;
            output.result(&waiting, |paper| show(paper, &waiting));
        }
        Command::Allow(allow) => agree(&client, *allow, output).await?,
        Command::Refuse { code, reason } => {
            let path = waiting(&client, &code, "/refuse")?;
            let _done: Value = client.post(&path, &RefuseConsent { reason }).await?;
            output.result(&json!({"refused": true}), |paper| paper.line("refused"));
        }
        Command::Client(command) => clients(&client, command, output).await?,
    }
    Ok(exit::OK)
}

fn waiting(client: &Client, code: &str, verb: &str) -> Result<String, Failure> {
    client.path(&format!("consents/waiting/{}{verb}", encoded(code)))
}

fn show(paper: &mut Paper, waiting: &WaitingConsent) {
    let scope = if waiting.scope.is_empty() {
        "everything the task grants"
    } else {
        &waiting.scope
    };
    let mut pairs = vec![
        ("client", paper.strong(&waiting.client_name)),
        ("client id", waiting.client_id.clone()),
        ("goes back to", paper.strong(&waiting.redirect_host)),
        ("exactly", waiting.redirect_uri.clone()),
        ("asks for", scope.to_owned()),
        ("resource", waiting.resource.join(" ")),
        ("since", waiting.began_at.clone()),
    ];
    pairs.retain(|(_, value)| !value.is_empty());
    paper.pairs(&pairs);
}

async fn list(client: &Client, output: &Output) -> Result<(), Failure> {
    let found: Consents = client.get(&client.path("consents")?).await?;
    let empty = format!(
        "nothing was agreed to yet: bailiwick -t {} consent allow CODE --task TASK",
        client.tenant()?
    );
    output.result(&found, |paper| {
        for waiting in &found.waiting {
            paper.line(format!(
                "waiting since {}: {} ({}) back to {}",
                waiting.began_at, waiting.client_name, waiting.client_id, waiting.redirect_host
            ));
        }
        let rows = found.items.iter().map(|c| {
            // The token is what `kill token` takes; the ids of consent and task are in the document.
            vec![
                c.token.clone(),
                name_or_id(c.identity_name.as_ref(), &c.identity),
                c.state.clone(),
                c.redirect_host.clone(),
                day(&c.expires_at),
                c.client_id.clone(),
            ]
        });
        paper.table(
            &["token", "identity", "state", "back to", "expires", "client"],
            rows.collect(),
            &empty,
        );
    });
    Ok(())
}

/// What is asked for is looked at first: a code that names nobody opens no task.
async fn agree(client: &Client, allow: ConsentAllow, output: &Output) -> Result<(), Failure> {
    let asked: WaitingConsent = client.get(&waiting(client, &allow.code, "")?).await?;
    let (task, opened) = match allow.task {
        Some(task) => (task, None),
        None => {
            let task = open(client, &allow, &asked).await?;
            (task.clone(), Some(task))
        }
    };
    let path = waiting(client, &allow.code, "/allow")?;
    let answer: Result<AllowedConsent, Failure> = client.post(&path, &AllowConsent { task }).await;
    if let (Err(_), Some(task)) = (&answer, opened) {
        // Opened for this consent alone, and of no use without it.
        let reason = Some("the consent it was opened for was not given".to_owned());
        let path = client.path(&format!("tasks/{}/close", encoded(&task)))?;
        let _closed: Result<TaskRow, Failure> = client.post(&path, &CloseTask { reason }).await;
    }
    let allowed = answer?;
    output.result(&allowed, |paper| {
        show(paper, &asked);
        paper.pairs(&[
            ("consent", allowed.consent.id.clone()),
            ("task", allowed.consent.task.clone()),
            ("may", allowed.consent.scope.clone()),
            ("word", paper.strong(&allowed.word)),
        ]);
    });
    output.note(&format!(
        "type the word into the page on which you read the code yourself, and tell it to nobody; to take all back: \
         bailiwick -t {} kill token {} --yes",
        client.tenant()?, allowed.consent.token
    ));
    Ok(())
}

async fn open(client: &Client, allow: &ConsentAllow, asked: &WaitingConsent) -> Result<String, Failure> {
    let purpose = format!("work of {} at {}", asked.client_name, asked.redirect_host);
    let body = NewTask {
        identity: allow.identity.clone().unwrap_or_default(),
        purpose: allow.purpose.clone().unwrap_or(purpose),
        can: allow.can.clone(),
        authorization_details: Vec::new(),
        for_secs: allow.window.as_secs(),
        requested_by: None,
        may_act: Vec::new(),
        issue: false,
        heartbeat_secs: None,
    };
    let opened: OpenedTask = client.post(&client.path("tasks")?, &body).await?;
    Ok(opened.task.id)
}

async fn clients(client: &Client, command: ConsentClient, output: &Output) -> Result<(), Failure> {
    match command {
        ConsentClient::Add(add) => {
            let body = NewPublicClient {
                name: add.name,
                redirects: add.redirects,
                documents: add.documents,
                allow_addresses: add.allow_addresses,
                danger_plaintext: add.danger_plaintext,
                expires_at: add.expires,
            };
            let added: PublicClient = client.post(&client.path("public-clients")?, &body).await?;
            output.result(&added, |paper| {
                paper.pairs(&[
                    ("client", paper.strong(&added.client_id)),
                    ("name", added.name.clone()),
                    ("goes back to", places(&added)),
                    ("expires", added.expires_at.clone()),
                ]);
            });
        }
        ConsentClient::Ls => {
            let page: Page<PublicClient> = client.get(&client.path("public-clients")?).await?;
            let empty = format!(
                "no client may ask yet: bailiwick -t {} consent client add NAME --redirect URI",
                client.tenant()?
            );
            output.result(&page, |paper| {
                let rows = page.items.iter().map(|c| {
                    vec![
                        c.client_id.clone(),
                        c.name.clone(),
                        places(c),
                        c.expires_at.clone(),
                    ]
                });
                paper.table(
                    &["client", "name", "goes back to", "expires"],
                    rows.collect(),
                    &empty,
                );
            });
        }
        ConsentClient::Remove { id, reason } => {
            let path = client.path(&format!("public-clients/{}/remove", encoded(&id)))?;
            let removed: PublicClient = client.post(&path, &RemovePublicClient { reason }).await?;
            output.result(&json!({"removed": removed.client_id}), |paper| {
                paper.pairs(&[("removed", removed.client_id.clone())]);
            });
        }
    }
    Ok(())
}

fn places(client: &PublicClient) -> String {
    match &client.documents {
        Some(below) => format!("as the documents say: {below}"),
        None => client.redirects.join(" "),
    }
}
