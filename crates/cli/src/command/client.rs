//! `bailiwick client`.

use bailiwick_server::operator::generate_client_key;
use bailiwick_wire::{Client as Row, NewClient, Page};

use super::Done;
use crate::args::{Client as Command, Global};
use crate::client::Client;
use crate::files;
use crate::output::{Failure, Output, exit};

pub(crate) async fn run(command: Command, global: &Global, output: &Output) -> Done {
    let client = Client::connect(global)?;
    match command {
        Command::Add {
            identity,
            jwk,
            generate,
            algorithm,
        } => {
            let jwk = match (jwk, &generate) {
                (Some(path), _) => serde_json::from_slice(&files::read(&path)?)
                    .map_err(|error| Failure::usage(format!("`{}` is not a JWK: {error}", path.display())))?,
                (None, Some(path)) => {
                    let (private, public) =
                        generate_client_key(&algorithm).map_err(|error| Failure::usage(error.to_string()))?;
                    files::write_private(path, private.reveal().as_bytes())?;
                    public
                }
                (None, None) => {
                    return Err(Failure::usage("no key given").hint("give --jwk FILE, or --generate FILE"));
                }
            };
            let body = NewClient {
                identity,
                jwk,
                expires_at: None,
            };
            let added: Row = client.post(&client.path("clients")?, &body).await?;
            output.result(&added, |paper| {
                paper.pairs(&[
                    ("client", paper.strong(&added.client_id)),
                    ("identity", added.identity.clone()),
                    ("algorithm", added.algorithm.clone()),
                    ("expires", added.expires_at.clone()),
                ]);
            });
        }
        Command::Ls => {
            let page: Page<Row> = client.get(&client.path("clients")?).await?;
            output.result(&page, |paper| {
                let rows = page.items.iter().map(|c| {
                    vec![
                        c.client_id.clone(),
                        c.identity.clone(),
                        c.algorithm.clone(),
                        c.expires_at.clone(),
                    ]
                });
                paper.table(
                    &["client", "identity", "algorithm", "expires"],
                    rows.collect(),
                    "no clients yet: bailiwick client add IDENTITY --generate KEYFILE",
                );
            });
        }
    }
    Ok(exit::OK)
}
