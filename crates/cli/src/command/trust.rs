//! `bailiwick trust`.

use std::collections::BTreeMap;

use bailiwick_wire::{NewTrust, Page, RemoveTrust, Trust as Row};
use serde_json::json;

use super::Done;
use super::id::encoded;
use crate::args::{Global, Trust as Command, TrustAdd};
use crate::client::Client;
use crate::files;
use crate::output::{Failure, Output, Paper, day, exit, name_and_id, name_or_id};

pub(crate) async fn run(command: Command, global: &Global, output: &Output) -> Done {
    if let Command::Lint(asked) = &command
        && let Some(file) = &asked.file
    {
        return super::trust_lint::run(file, asked, output);
    }
    let client = Client::connect(global)?;
    match command {
        Command::Add(add) => {
            let body = plan(add)?;
            let added: Row = client.post(&client.path("trusts")?, &body).await?;
            output.result(&added, |paper| {
                paper.pairs(&[
                    ("trust", paper.strong(&added.id)),
                    (
                        "identity",
                        name_and_id(added.identity_name.as_ref(), &added.identity),
                    ),
                    ("issuer", added.issuer.clone()),
                    ("expires", added.expires_at.clone()),
                ]);
                for finding in &added.findings {
                    paper.line(format!("{}: {}", finding.code, finding.text));
                }
            });
        }
        Command::Ls => {
            let page: Page<Row> = client.get(&client.path("trusts")?).await?;
            let tenant = client.tenant()?;
            output.result(&page, |paper| list(paper, &page, tenant));
        }
        Command::Lint(_) => {
            let page: Page<Row> = client.get(&client.path("trusts")?).await?;
            let open = page.items.into_iter().filter(|t| !t.findings.is_empty());
            let open = Page::whole(open.collect());
            output.result(&open, |paper| {
                let rows = open.items.iter().flat_map(|t| {
                    let row =
                        |f: &bailiwick_wire::TrustFinding| vec![t.id.clone(), f.code.clone(), f.text.clone()];
                    t.findings.iter().map(row)
                });
                paper.table(
                    &["trust", "finding", "what to do"],
                    rows.collect(),
                    "nothing is left open",
                );
            });
        }
        Command::Remove { id, reason } => {
            let path = client.path(&format!("trusts/{}/remove", encoded(&id)))?;
            let removed: Row = client.post(&path, &RemoveTrust { reason }).await?;
            output.result(&json!({"removed": removed.id}), |paper| {
                paper.pairs(&[("removed", removed.id.clone())]);
            });
        }
    }
    Ok(exit::OK)
}

fn list(paper: &mut Paper, page: &Page<Row>, tenant: &str) {
    let rows = page.items.iter().map(|t| {
        vec![
            t.id.clone(),
            name_or_id(t.identity_name.as_ref(), &t.identity),
            t.method.clone(),
            // The kernel says who a peer is: there are no keys. Of keys that were given their digest is in the document.
            match t.method.as_str() {
                "unix-peer" => "-".to_owned(),
                _ => t.keys.split(' ').next().unwrap_or_default().to_owned(),
            },
            day(&t.expires_at),
            shown(&t.attributes),
        ]
    });
    paper.table(
        &["trust", "identity", "method", "keys", "expires", "attributes"],
        rows.collect(),
        &format!(
            "no trust rules yet: bailiwick -t {tenant} trust add IDENTITY --method github \
             --match repository_owner_id=… --match repository_id=…"
        ),
    );
}

fn plan(add: TrustAdd) -> Result<NewTrust, Failure> {
    let mut attributes = BTreeMap::new();
    for pair in &add.attributes {
        let (name, value) = pair.split_once('=').ok_or_else(|| {
            Failure::usage(format!("`{pair}` is not NAME=VALUE")).hint("for example --match repository_id=74")
        })?;
        if attributes.insert(name.to_owned(), value.to_owned()).is_some() {
            return Err(Failure::usage(format!("attribute `{name}` is there twice")));
        }
    }
    let jwks = match &add.jwks {
        None => None,
        Some(path) => Some(
            serde_json::from_slice(&files::read(path)?)
                .map_err(|error| Failure::usage(format!("`{}` is not a JWK Set: {error}", path.display())))?,
        ),
    };
    Ok(NewTrust {
        identity: add.identity,
        method: add.method,
        issuer: add.issuer,
        attributes,
        jwks_url: add.jwks_url,
        jwks,
        allow_addresses: add.allow_addresses,
        danger_plaintext: add.danger_plaintext,
        expires_at: add.expires,
    })
}

fn shown(attributes: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = attributes
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join(" ")
}
