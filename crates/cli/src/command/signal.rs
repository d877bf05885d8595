//! `bailiwick signal`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bailiwick_wire::{
    NewTransmitter, NewWebhook, Page, RemoveSubscription, RemoveTransmitter, RotateWebhook, SetStatus,
    Subscription, Transmitter as Row, WebhookSecret,
};
use serde_json::json;

use super::Done;
use super::id::encoded;
use crate::args::{Global, Signal as Command, Transmitter, TransmitterAdd, Webhook, WebhookAdd};
use crate::client::Client;
use crate::files::{self, NewFile};
use crate::output::{Failure, Output, exit, name_or_id};

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
        Command::Webhook(Webhook::Rotate {
            id,
            overlap,
            secret_file,
        }) => {
            let file = place(secret_file)?;
            let path = client.path(&format!("webhooks/{}/rotate", encoded(&id)))?;
            let body = RotateWebhook {
                overlap_secs: overlap.as_secs(),
            };
            let made: WebhookSecret = client.post(&path, &body).await?;
            secret(&made, file, output)?;
            Ok(exit::OK)
        }
        Command::Transmitter(transmitter) => transmitters(&client, transmitter, output).await,
    }
}

async fn list(client: &Client, output: &Output) -> Done {
    let page: Page<Subscription> = client.get(&client.path("subscriptions")?).await?;
    let empty = format!(
        "nobody is told yet: bailiwick -t {} signal webhook add URL",
        client.tenant()?
    );
    output.result(&page, |paper| {
        let rows = page.items.iter().map(|s| {
            vec![
                s.id.clone(),
                s.delivery.clone(),
                place_of(s),
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
            &empty,
        );
    });
    Ok(exit::OK)
}

/// Where it is sent to; who fetches it.
fn place_of(subscription: &Subscription) -> String {
    let receiver = subscription.receiver.as_deref();
    let called = receiver.map(|id| name_or_id(subscription.receiver_name.as_ref(), id));
    match (&subscription.url, called) {
        (Some(url), _) => url.clone(),
        (None, called) => called.unwrap_or_default(),
    }
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
    let file = place(add.secret_file)?;
    let body = NewWebhook {
        url: add.url,
        events: add.events,
        description: add.description,
        allow_addresses: add.allow_addresses,
        danger_plaintext: add.danger_plaintext,
    };
    let made: WebhookSecret = client.post(&client.path("webhooks")?, &body).await?;
    secret(&made, file, output)?;
    Ok(exit::OK)
}

/// A new file for a secret, taken before anything is made.
fn place(path: Option<PathBuf>) -> Result<Option<(NewFile, PathBuf)>, Failure> {
    path.map(|path| Ok((NewFile::take(&path)?, path))).transpose()
}

fn secret(made: &WebhookSecret, file: Option<(NewFile, PathBuf)>, output: &Output) -> Result<(), Failure> {
    let mut pairs = vec![("webhook", made.id.clone())];
    if let Some(until) = &made.former_until {
        pairs.push(("former secret until", until.clone()));
    }
    let Some((file, path)) = file else {
        pairs.insert(1, ("secret", made.secret.clone()));
        output.result(made, |paper| {
            paper.pairs(&pairs);
            paper.line("the secret is shown this once");
        });
        return Ok(());
    };
    file.fill(format!("{}\n", made.secret).as_bytes())?;
    let shown = json!({"id": made.id, "secret_file": path, "former_until": made.former_until});
    pairs.insert(1, ("secret in", path.display().to_string()));
    output.result(&shown, |paper| paper.pairs(&pairs));
    Ok(())
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
            let empty = format!(
                "nobody tells us anything yet: bailiwick -t {} signal transmitter add ISSUER --jwks-url URL",
                client.tenant()?
            );
            output.result(&page, |paper| {
                let rows = page.items.iter().map(|t| {
                    let people = t.people.to_string();
                    vec![t.id.clone(), t.issuer.clone(), t.keys.clone(), people]
                });
                paper.table(
                    &["transmitter", "issuer", "keys", "people"],
                    rows.collect(),
                    &empty,
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
