//! `bailiwick server`.

use std::path::Path;

use bailiwick_wire::{NewServer, Page, PinRequest, ReadsRequest, ReplaceServerCredential, Server as Row};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::Done;
use super::id::{encoded, expiry, owner};
use crate::args::{Global, NewServer as NewArgs, Opener, Server};
use crate::client::Client;
use crate::files;
use crate::output::{Failure, Output, Paper, exit, state};

pub(crate) async fn run(command: Server, global: &Global, output: &Output) -> Done {
    let client = Client::connect(global)?;
    match command {
        Server::Add(new) => {
            let added: Row = client.post(&client.path("servers")?, &body_of(*new)?).await?;
            output.result(&added, |paper| show(paper, &added));
        }
        Server::Ls => {
            let page: Page<Row> = client.get(&client.path("servers")?).await?;
            let tenant = client.tenant()?;
            output.result(&page, |paper| {
                if page.items.is_empty() {
                    paper.line(format!(
                        "no servers yet: bailiwick -t {tenant} server add NAME --url URL"
                    ));
                }
                for server in &page.items {
                    show(paper, server);
                    paper.line("");
                }
            });
        }
        Server::Show { name } => {
            let path = client.path(&format!("servers/{}", encoded(&name)))?;
            let server: Row = client.get(&path).await?;
            output.result(&server, |paper| show_whole(paper, &server));
        }
        Server::Credential { name, opener } => {
            if opener.credential_file.is_none() && opener.credential_from.is_none() {
                return Err(Failure::usage(
                    "give --credential-file FILE, or --credential-from NAME".to_owned(),
                ));
            }
            let body = ReplaceServerCredential {
                credential: secret_of(&opener)?,
                credential_from: opener.credential_from,
            };
            let path = client.path(&format!("servers/{}/credential", encoded(&name)))?;
            let replaced: Row = client.post(&path, &body).await?;
            output.result(&replaced, |paper| show(paper, &replaced));
        }
        Server::Pin { name, tools } => {
            let path = client.path(&format!("servers/{}/pin", encoded(&name)))?;
            let pinned: Row = client.post(&path, &PinRequest { tools }).await?;
            output.result(&pinned, |paper| show(paper, &pinned));
        }
        Server::Reads { name, tools, hinted } => {
            let path = client.path(&format!("servers/{}/reads", encoded(&name)))?;
            let told: Row = client.post(&path, &ReadsRequest { tools, hinted }).await?;
            output.result(&told, |paper| show(paper, &told));
        }
    }
    Ok(exit::OK)
}

fn secret_of(opener: &Opener) -> Result<Option<String>, Failure> {
    let read = |path| files::read(path).map(|bytes| STANDARD.encode(bytes.trim_ascii_end()));
    opener.credential_file.as_deref().map(read).transpose()
}

fn body_of(new: NewArgs) -> Result<NewServer, Failure> {
    let credential = secret_of(&new.opener)?;
    let place = new.destination;
    let destination_ca = match &place.destination_ca {
        Some(file) => {
            crate::client::certificates(file)?;
            Some(files::read_text(file)?)
        }
        None => None,
    };
    Ok(NewServer {
        name: new.name,
        destination: place.destination,
        methods: place.methods,
        header: place.header,
        tunnel: place.tunnel,
        destination_ca,
        url: new.url,
        exec: new.exec,
        args: new.args,
        digests: new.digests.iter().map(|d| digest(d)).collect::<Result<_, _>>()?,
        allow_addresses: new.allow_addresses,
        allow_plaintext: new.allow_plaintext,
        credential,
        credential_from: new.opener.credential_from,
        owner: owner(new.owner, new.contact),
        purpose: new.purpose,
        expires_at: new.expires.as_deref().map(expiry).transpose()?,
    })
}

/// `FILE=SHA256` as it is; of a `FILE` alone the digest it has now, here.
fn digest(given: &str) -> Result<String, Failure> {
    let is_digest = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let path = Path::new(given);
    if given.rsplit_once('=').is_some_and(|(_, text)| is_digest(text)) || !path.is_file() {
        return Ok(given.to_owned());
    }
    let file = std::path::absolute(path).map_err(|e| Failure::io("find", path, &e))?;
    let digest = bailiwick_base::Digest::of(&files::read(&file)?);
    Ok(format!("{}={digest}", file.display()))
}

fn show(paper: &mut Paper, server: &Row) {
    facts(paper, server);
    tools(paper, server, 16);
}

/// With the whole digests, of the tools and of the program's files.
fn show_whole(paper: &mut Paper, server: &Row) {
    facts(paper, server);
    tools(paper, server, 64);
}

fn facts(paper: &mut Paper, server: &Row) {
    let mut pairs = vec![
        ("server", paper.strong(&server.name)),
        ("state", state(&server.effective, "", server.stopped_by.as_ref())),
        ("identity", server.identity.clone()),
    ];
    if let Some(owner) = &server.owner {
        pairs.push(("owner", format!("{} <{}>", owner.team, owner.contact)));
    }
    pairs.extend(server.purpose.iter().map(|p| ("purpose", p.clone())));
    pairs.extend(server.expires_at.iter().map(|at| ("expires", at.clone())));
    pairs.push(("connection", server.connection.clone()));
    pairs.extend(server.credential.iter().map(|id| ("credential", id.clone())));
    pairs.extend(server.digests.iter().map(|d| ("must match", d.clone())));
    pairs.extend(server.allowances.iter().map(|a| ("allows", a.clone())));
    pairs.push(("endpoint", server.endpoint.clone()));
    paper.pairs(&pairs);
}

fn tools(paper: &mut Paper, server: &Row, digits: usize) {
    let rows = server.tools.iter().map(|t| {
        vec![
            t.name.clone(),
            state(&t.effective, &t.state, t.stopped_by.as_ref()),
            t.digest.chars().take(digits).collect(),
        ]
    });
    paper.table(&["tool", "state", "digest"], rows.collect(), "no tools");
}
