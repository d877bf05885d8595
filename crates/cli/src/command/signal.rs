//! `bailiwick signal`.

use std::collections::BTreeMap;

use bailiwick_wire::{
    NewTransmitter, NewWebhook, Page, RemoveSubscription, RemoveTransmitter, RotateWebhook, SetStatus,
    Subscription, Transmitter as Row, WebhookSecret,
};
use serde_json::json;

use super::Done;
use super::id::encoded;
use crate::args::{Global, Signal as Command, Transmitter, TransmitterAdd, Webhook, WebhookAdd};
use crate::client::Client;
use crate::files;
use crate::output::{Failure, Output, exit};

pub(crate) async fn run(command: Command, global: &Global, output: &Output) -> Done {
    let client = Client::connect(global)?;
    match command {
        Command::Ls => list(&client, output).await,
        Command::Enable { id } => status(&client, &id, ("enabled", None), output).await,
        Command::Pause { id, reason } => status(&client, &id, ("paused", Some(reason)), output).await,
        Command::Disable { id, reason } => status(&client, &id, ("disabled", Some(reason)), output).await,
        Command::Remove { id, reason } => {
            let path = client.path(&format!("subscriptions/{}/remove", encoded(&id)))?;
            let removed: Subscription = client.post(&path, &RemoveSubscription { reason }).await?;
            output.result(&json!({"removed": removed.id}), |paper| {
                paper.pairs(&[("removed", removed.id.clone())]);
            });
            Ok(exit::OK)
        }
        Command::Webhook(Webhook::Add(add)) => webhook(&client, add, output).await,
        Command::Webhook(Webhook::Rotate { id, overlap }) => {
            let path = client.path(&format!("webhooks/{}/rotate", encoded(&id)))?;
            let body = RotateWebhook {
                overlap_secs: overlap.as_secs(),
            };
            let made: WebhookSecret = client.post(&path, &body).await?;
            secret(&made, output);
            Ok(exit::OK)
        }
        Command::Transmitter(transmitter) => transmitters(&client, transmitter, output).await,
    }
}

async fn list(client: &Client, output: &Output) -> Done {
    let page: Page<Subscription> = client.get(&client.path("subscriptions")?).await?;
    output.result(&page, |paper| {
        let rows = page.items.iter().map(|s| {
            vec![
                s.id.clone(),
                s.delivery.clone(),
                s.url.clone().or_else(|| s.receiver.clone()).unwrap_or_default(),
                s.status.clone(),
                s.position.to_string(),
                s.trouble
                    .clone()
                    .or_else(|| s.status_reason.clone())
                    .unwrap_or_default(),
            ]
        });
        paper.table(
            &["id", "delivery", "where", "status", "told up to", "trouble"],
            rows.collect(),
            "nobody is told yet: bailiwick signal webhook add URL",
        );
    });
    Ok(exit::OK)
}

async fn status(
    client: &Client,
    id: &str,
    (status, reason): (&str, Option<String>),
    output: &Output,
) -> Done {
    let path = client.path(&format!("subscriptions/{}/status", encoded(id)))?;
    let body = SetStatus {
        status: status.to_owned(),
        reason,
    };
    let set: Subscription = client.post(&path, &body).await?;
    output.result(&set, |paper| {
        paper.pairs(&[("id", set.id.clone()), ("status", paper.strong(&set.status))]);
    });
    Ok(exit::OK)
}

async fn webhook(client: &Client, add: WebhookAdd, output: &Output) -> Done {
    let body = NewWebhook {
        url: add.url,
        events: add.events,
        description: add.description,
        allow_addresses: add.allow_addresses,
        danger_plaintext: add.danger_plaintext,
    };
    let made: WebhookSecret = client.post(&client.path("webhooks")?, &body).await?;
    secret(&made, output);
    Ok(exit::OK)
}

fn secret(made: &WebhookSecret, output: &Output) {
    output.result(made, |paper| {
        paper.pairs(&[
            ("webhook", paper.strong(&made.id)),
            ("secret", made.secret.clone()),
            (
                "former secret until",
                made.former_until
                    .clone()
                    .unwrap_or_else(|| "there is none".to_owned()),
            ),
        ]);
        paper.line("the secret is shown this once");
    });
}

async fn transmitters(client: &Client, command: Transmitter, output: &Output) -> Done {
    match command {
        Transmitter::Add(add) => {
            let added: Row = client.post(&client.path("transmitters")?, &plan(add)?).await?;
            output.result(&added, |paper| {
                paper.pairs(&[
                    ("transmitter", paper.strong(&added.id)),
                    ("issuer", added.issuer.clone()),
                    ("sends to", added.endpoint.clone()),
                    ("with audience", added.audience.clone()),
                ]);
            });
        }
        Transmitter::Ls => {
            let page: Page<Row> = client.get(&client.path("transmitters")?).await?;
            output.result(&page, |paper| {
                let rows = page.items.iter().map(|t| {
                    let people = t.people.to_string();
                    vec![t.id.clone(), t.issuer.clone(), t.keys.clone(), people]
                });
                paper.table(
                    &["transmitter", "issuer", "keys", "people"],
                    rows.collect(),
                    "nobody tells us anything yet: bailiwick signal transmitter add ISSUER --jwks-url URL",
                );
            });
        }
        Transmitter::Remove { id, reason } => {
            let path = client.path(&format!("transmitters/{}/remove", encoded(&id)))?;
            let removed: Row = client.post(&path, &RemoveTransmitter { reason }).await?;
            output.result(&json!({"removed": removed.id}), |paper| {
                paper.pairs(&[("removed", removed.id.clone())]);
            });
        }
    }
    Ok(exit::OK)
}

fn plan(add: TransmitterAdd) -> Result<NewTransmitter, Failure> {
    let mut people = BTreeMap::new();
    for pair in &add.people {
        let (subject, contact) = pair.split_once('=').ok_or_else(|| {
            Failure::usage(format!("`{pair}` is not SUB=CONTACT"))
                .hint("for example --person 248289761001=ops@acme.example")
        })?;
        if people.insert(subject.to_owned(), contact.to_owned()).is_some() {
            return Err(Failure::usage(format!("subject `{subject}` is there twice")));
        }
    }
    let jwks = match &add.jwks {
        None => None,
        Some(path) => Some(
            serde_json::from_slice(&files::read(path)?)
                .map_err(|error| Failure::usage(format!("`{}` is not a JWK Set: {error}", path.display())))?,
        ),
    };
    Ok(NewTransmitter {
        issuer: add.issuer,
        jwks_url: add.jwks_url,
        jwks,
        allow_addresses: add.allow_addresses,
        danger_plaintext: add.danger_plaintext,
        people,
    })
}
