//! `bailiwick sidecar`: what an operator does; the process is in `sidecar_run`.

use std::path::PathBuf;

use bailiwick_wire::{InviteSidecar, Page, RemoveSidecar, Sidecar as Shown, SidecarInvitation};
use serde_json::json;

use super::{Done, asynchronous, sidecar_run};
use crate::args::{Global, Sidecar};
use crate::client::Client;
use crate::files::NewFile;
use crate::output::{Failure, Output, exit};

pub(crate) fn run(command: Sidecar, global: &Global, output: &Output) -> Done {
    match command {
        Sidecar::Ls => asynchronous(ls(global, output)),
        Sidecar::Invite {
            sidecar,
            tenant: tenants,
            token_file,
        } => {
            let asked = InviteSidecar { sidecar, tenants };
            asynchronous(invite(asked, token_file, global, output))
        }
        Sidecar::Rm { sidecar, reason } => {
            asynchronous(rm(&sidecar, RemoveSidecar { reason }, global, output))
        }
        Sidecar::Join(join) => asynchronous(sidecar_run::join(join, global, output)),
        Sidecar::Run(run) => sidecar_run::serve(run, output),
    }
}

async fn ls(global: &Global, output: &Output) -> Done {
    list(&Client::connect(global)?.get("/v1/sidecars").await?, output);
    Ok(exit::OK)
}

async fn invite(asked: InviteSidecar, token_file: Option<PathBuf>, global: &Global, output: &Output) -> Done {
    let client = Client::connect(global)?;
    let file = token_file.as_deref().map(NewFile::take).transpose()?;
    let invited: SidecarInvitation = client.post("/v1/sidecars", &asked).await?;
    show_invitation(&invited, file.zip(token_file), output)?;
    Ok(exit::OK)
}

async fn rm(sidecar: &str, removal: RemoveSidecar, global: &Global, output: &Output) -> Done {
    let client = Client::connect(global)?;
    client
        .order(&format!("/v1/sidecars/{sidecar}/remove"), &removal)
        .await?;
    list(&client.get("/v1/sidecars").await?, output);
    Ok(exit::OK)
}

fn list(page: &Page<Shown>, output: &Output) {
    output.result(page, |paper| {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let rows = page.items.iter().map(|sidecar| {
            vec![
                sidecar.sidecar.clone(),
                sidecar.standing.clone(),
                sidecar.tenants.join(" "),
                or_dash(&sidecar.node),
                sidecar.epoch.to_string(),
                or_dash(&sidecar.heard_at),
                sidecar
                    .log_size
                    .map_or_else(|| "-".to_owned(), |size| size.to_string()),
            ]
        });
        paper.table(
            &[
                "sidecar", "standing", "tenants", "hears at", "epoch", "heard", "anchored",
            ],
            rows.collect(),
            "no sidecars",
        );
    });
}

fn show_invitation(
    invited: &SidecarInvitation,
    file: Option<(NewFile, PathBuf)>,
    output: &Output,
) -> Result<(), Failure> {
    let Some((file, path)) = file else {
        output.result(invited, |paper| {
            paper.pairs(&[
                ("sidecar", invited.sidecar.clone()),
                ("token", invited.token.clone()),
                ("until", invited.expires_at.clone()),
            ]);
        });
        return Ok(());
    };
    file.fill(format!("{}\n", invited.token).as_bytes())?;
    let shown = json!({
        "sidecar": invited.sidecar, "token_file": path, "expires_at": invited.expires_at,
    });
    output.result(&shown, |paper| {
        paper.pairs(&[
            ("sidecar", invited.sidecar.clone()),
            ("token in", path.display().to_string()),
            ("until", invited.expires_at.clone()),
        ]);
    });
    Ok(())
}
