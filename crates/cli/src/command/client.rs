//! `bailiwick client`.

use bailiwick_base::Digest;
use bailiwick_server::operator::generate_client_key;
use bailiwick_wire::{Client as Row, NewClient, Page, RemoveClient};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::Done;
use super::id::encoded;
use crate::args::{Client as Command, Global};
use crate::client::Client;
use crate::files::{self, NewFile};
use crate::output::{Failure, Output, Paper, exit, name_and_id, name_or_id};

pub(crate) async fn run(command: Command, global: &Global, output: &Output) -> Done {
    let client = Client::connect(global)?;
    match command {
        Command::Add {
            identity,
            jwk,
            generate,
            algorithm,
            certificate,
            proof,
        } => {
            let file = generate.as_deref().map(NewFile::take).transpose()?;
            let mut private_key = None;
            let jwk = match (jwk, &file) {
                (Some(path), _) => serde_json::from_slice(&files::read(&path)?)
                    .map_err(|error| Failure::usage(format!("`{}` is not a JWK: {error}", path.display())))?,
                (None, Some(_)) => {
                    let (private, public) =
                        generate_client_key(&algorithm).map_err(|error| Failure::usage(error.to_string()))?;
                    private_key = Some(private);
                    public
                }
                (None, None) => {
                    return Err(Failure::usage("no key given").hint("give --jwk FILE, or --generate FILE"));
                }
            };
            let body = NewClient {
                identity,
                jwk,
                proof,
                certificate: certificate.as_deref().map(thumbprint).transpose()?,
                expires_at: None,
            };
            let path = client.path("clients")?;
            // The key is kept first: a client whose key is lost would have to be registered again.
            if let (Some(file), Some(private)) = (file, &private_key) {
                file.fill(private.reveal().as_bytes())?;
            }
            let added = register(&client, &path, &body, generate.as_deref()).await?;
            output.result(&added, |paper| show(paper, &added));
        }
        Command::Ls => {
            let page: Page<Row> = client.get(&client.path("clients")?).await?;
            let tenant = client.tenant()?;
            output.result(&page, |paper| list(paper, &page, tenant));
        }
        Command::Remove { id, reason } => {
            let path = client.path(&format!("clients/{}/remove", encoded(&id)))?;
            let removed: Row = client.post(&path, &RemoveClient { reason }).await?;
            let pairs = [
                ("removed", removed.client_id.clone()),
                (
                    "identity",
                    name_and_id(removed.identity_name.as_ref(), &removed.identity),
                ),
            ];
            output.result(&removed, |paper| paper.pairs(&pairs));
            output.note(&format!(
                "its tokens end by themselves within minutes; at once, with every other of the identity: \
                 bailiwick -t {} kill identity {}",
                client.tenant()?,
                removed.identity
            ));
        }
    }
    Ok(exit::OK)
}

fn show(paper: &mut Paper, added: &Row) {
    paper.pairs(&[
        ("client", paper.strong(&added.client_id)),
        (
            "identity",
            name_and_id(added.identity_name.as_ref(), &added.identity),
        ),
        ("algorithm", added.algorithm.clone()),
        ("proof", added.proof.clone()),
        ("expires", added.expires_at.clone()),
    ]);
}

fn list(paper: &mut Paper, page: &Page<Row>, tenant: &str) {
    let rows = page.items.iter().map(|c| {
        vec![
            c.client_id.clone(),
            name_or_id(c.identity_name.as_ref(), &c.identity),
            c.algorithm.clone(),
            c.proof.clone(),
            c.expires_at.clone(),
        ]
    });
    paper.table(
        &["client", "identity", "algorithm", "proof", "expires"],
        rows.collect(),
        &format!("no clients yet: bailiwick -t {tenant} client add IDENTITY --generate KEYFILE"),
    );
}

/// The thumbprint of the first certificate of a file, as `x5t#S256` is written.
fn thumbprint(path: &std::path::Path) -> Result<String, Failure> {
    let text = files::read(path)?;
    let der = CertificateDer::from_pem_slice(&text).map_err(|error| {
        Failure::usage(format!(
            "`{}` is not a certificate in PEM: {error}",
            path.display()
        ))
    })?;
    Ok(Digest::of(&der).to_base64url())
}

/// A key that was made for a client which the service did not take opens nothing: it goes away again.
async fn register(
    client: &Client,
    path: &str,
    body: &NewClient,
    made: Option<&std::path::Path>,
) -> Result<Row, Failure> {
    let answer = client.post(path, body).await;
    if let (Err(_), Some(unused)) = (&answer, made) {
        let _gone = std::fs::remove_file(unused);
    }
    answer
}
