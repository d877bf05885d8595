//! `bailiwick claim`: the first operator, over the data folder's socket.

use std::path::{Path, PathBuf};

use bailiwick_server::operator::OperatorKey;
use bailiwick_wire::Operator;

use super::Done;
use crate::args::{Claim, Global};
use crate::client::{Context, certificates, context_path};
use crate::files::NewFile;
use crate::output::{Failure, Output, exit};

pub(crate) async fn run(command: Claim, global: &Global, output: &Output) -> Done {
    let path = context_path(global)?;
    let operator = claim(global, &command.data, &command.name, None).await?;
    output.result(&operator, |paper| {
        paper.pairs(&[
            ("operator", paper.strong(&operator.id)),
            ("name", operator.name.clone()),
            ("server", operator.base.clone()),
            ("context", path.display().to_string()),
        ]);
    });
    Ok(exit::OK)
}

/// Claims for a service of our own (`dev`, `demo`); gives the context file.
pub(crate) async fn claim_into(
    global: &Global,
    data: &Path,
    name: &str,
    tenant: Option<String>,
) -> Result<PathBuf, Failure> {
    let path = context_path(global)?;
    claim(global, data, name, tenant).await?;
    Ok(path)
}

async fn claim(
    global: &Global,
    data: &Path,
    name: &str,
    tenant: Option<String>,
) -> Result<Operator, Failure> {
    let path = &context_path(global)?;
    if path.exists() {
        return Err(
            Failure::usage(format!("a context exists at `{}`", path.display()))
                .hint("give --context FILE for another one, or remove it"),
        );
    }
    // Before the claim, which is there once: a context that does not reach the service would be lost.
    let ca = match &global.ca {
        None => None,
        Some(file) => {
            certificates(file)?;
            Some(std::fs::canonicalize(file).map_err(|error| Failure::io("read", file, &error))?)
        }
    };
    let key =
        OperatorKey::generate().map_err(|error| Failure::new(exit::ERROR, "cli.key", error.to_string()))?;
    let key_path = path.with_extension("key");
    let (key_file, context_file) = (NewFile::take(&key_path)?, NewFile::take(path)?);
    let operator: Operator = bailiwick_server::operator::claim(&data.join("claim.sock"), name, &key)
        .await
        .map_err(Failure::from)?;
    key_file.fill(key.seed().reveal().as_slice())?;
    let context = Context {
        server: operator.base.clone(),
        data: std::fs::canonicalize(data).ok(),
        ca,
        operator: operator.id.clone(),
        key_file: key_path,
        tenant,
    };
    let text = serde_json::to_vec_pretty(&context)
        .map_err(|error| Failure::usage(format!("context cannot be written: {error}")))?;
    context_file.fill(&text)?;
    Ok(operator)
}
