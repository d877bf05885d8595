//! `bailiwick operator`: a second operator, without a private key that ever leaves its machine.

use bailiwick_server::operator::OperatorKey;
use bailiwick_wire::{ClaimRequest, Operator as Row, Page};
use serde_json::json;

use super::Done;
use crate::args::{Global, Operator};
use crate::client::{Client, Context, context_path, read_context};
use crate::files::{self, NewFile};
use crate::output::{Failure, Output, exit};

pub(crate) async fn run(command: Operator, global: &Global, output: &Output) -> Done {
    match command {
        Operator::Prepare { server } => prepare(server, global, output),
        Operator::Add { name, public_key } => {
            let body = ClaimRequest { name, public_key };
            let added: Row = Client::connect(global)?.post("/v1/operators", &body).await?;
            output.result(&added, |paper| {
                paper.pairs(&[
                    ("operator", paper.strong(&added.id)),
                    ("name", added.name.clone()),
                ]);
                paper.line(format!(
                    "on its own machine: bailiwick operator accept {}",
                    added.id
                ));
            });
            Ok(exit::OK)
        }
        Operator::Accept { id } => accept(id, global, output),
        Operator::Ls => {
            let page: Page<Row> = Client::connect(global)?.get("/v1/operators").await?;
            output.result(&page, |paper| {
                let rows = page.items.iter();
                let rows = rows.map(|o| vec![o.id.clone(), o.name.clone(), o.created_at.clone()]);
                paper.table(&["id", "name", "added"], rows.collect(), "nobody claimed it yet");
            });
            Ok(exit::OK)
        }
    }
}

/// Makes the key here and a context that waits for its id.
fn prepare(server: String, global: &Global, output: &Output) -> Done {
    let path = context_path(global)?;
    if path.exists() {
        return Err(
            Failure::usage(format!("a context exists at `{}`", path.display()))
                .hint("give --context FILE for another one"),
        );
    }
    let key =
        OperatorKey::generate().map_err(|error| Failure::new(exit::ERROR, "cli.key", error.to_string()))?;
    let key_path = path.with_extension("key");
    let (key_file, context_file) = (NewFile::take(&key_path)?, NewFile::take(&path)?);
    key_file.fill(key.seed().reveal().as_slice())?;
    let context = Context {
        server,
        data: None,
        ca: global.ca.clone(),
        operator: String::new(),
        key_file: key_path,
        tenant: global.tenant.clone(),
    };
    context_file.fill(&written(&context)?)?;
    let public = key.public();
    output.result(&json!({"public_key": public, "context": path}), |paper| {
        paper.pairs(&[
            ("public key", public.clone()),
            ("context", path.display().to_string()),
        ]);
        paper.line(format!(
            "an operator adds it: bailiwick operator add --name NAME --public-key {public}"
        ));
    });
    Ok(exit::OK)
}

fn written(context: &Context) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec_pretty(context)
        .map_err(|error| Failure::usage(format!("context cannot be written: {error}")))
}

/// The id that an operator gave to the key of this context.
fn accept(id: String, global: &Global, output: &Output) -> Done {
    let path = context_path(global)?;
    let context = Context {
        operator: id,
        ..read_context(global)?
    };
    files::replace_private(&path, &written(&context)?)?;
    output.result(&json!({"operator": context.operator}), |paper| {
        paper.line(format!("operator {}", context.operator));
    });
    Ok(exit::OK)
}
