//! `bailiwick credential lease`, `credential give-back` and `task show`.

use std::path::Path;

use bailiwick_wire::{Lease, LentSecret, NewLease, ReturnLease, TaskLedger};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::id::encoded;
use crate::client::Client;
use crate::files::NewFile;
use crate::output::{Failure, Output, Paper, exit};

pub(super) async fn lend(
    client: &Client,
    task: &str,
    body: &NewLease,
    file: &Path,
    output: &Output,
) -> Result<(), Failure> {
    // Taken before anything is asked for, so that nothing is made that cannot be written.
    let fresh = NewFile::take(file)?;
    let path = client.path(&format!("tasks/{}/leases", encoded(task)))?;
    let lent: LentSecret = client.post(&path, body).await?;
    let secret = STANDARD
        .decode(&lent.secret)
        .map(zeroize::Zeroizing::new)
        .map_err(|_| Failure::new(exit::ERROR, "cli.answer", "the secret was not understood"))?;
    fresh.fill(&secret)?;
    let told = json!({ "lease": lent.lease, "file": file });
    output.result(&told, |paper| {
        show(paper, &lent.lease);
        paper.line(format!("secret     {}", file.display()));
    });
    Ok(())
}

pub(super) async fn give_back(
    client: &Client,
    lease: &str,
    reason: String,
    output: &Output,
) -> Result<(), Failure> {
    let path = client.path(&format!("leases/{}/return", encoded(lease)))?;
    let ending: Lease = client.post(&path, &ReturnLease { reason }).await?;
    output.result(&ending, |paper| show(paper, &ending));
    Ok(())
}

fn show(paper: &mut Paper, l: &Lease) {
    paper.pairs(&[
        ("lease", paper.strong(&l.id)),
        ("credential", l.credential.clone()),
        ("login", l.handle.clone()),
        ("task", l.task.clone()),
        ("why", l.reason.clone()),
        ("state", l.state.clone()),
        ("until", l.expires_at.clone()),
    ]);
}

/// What a task holds, why and until when; the task itself was printed.
pub(super) fn ledger(paper: &mut Paper, ledger: &TaskLedger) {
    let rows = ledger.holds.iter().chain(&ledger.returned).map(|l| {
        let state = match (&l.refused, &l.returning_because) {
            (Some(code), _) => format!("{}, refused with {code}", l.state),
            (None, Some(because)) => format!("{}: {because}", l.state),
            (None, None) => l.state.clone(),
        };
        vec![
            l.credential.clone(),
            l.reason.clone(),
            l.expires_at.clone(),
            state,
            l.handle.clone(),
            l.id.clone(),
        ]
    });
    paper.table(
        &["holds", "why", "until", "state", "login", "lease"],
        rows.collect(),
        "holds no secret of another system, and held none before",
    );
    for finding in &ledger.findings {
        paper.line(format!(
            "FINDING {} {} ({})",
            finding.code, finding.text, finding.lease
        ));
    }
}
