//! `bailiwick sidecar`: what an operator does.

use std::path::PathBuf;

use bailiwick_wire::{InviteSidecar, Page, RemoveSidecar, Sidecar as Shown, SidecarInvitation};
use serde_json::json;

use super::Done;
use crate::args::{Global, Sidecar};
use crate::client::Client;
use crate::files::NewFile;
use crate::output::{Failure, Output, exit};

pub(crate) async fn run(command: Sidecar, global: &Global, output: &Output) -> Done {
    match command {
        Sidecar::Ls => list(&Client::connect(global)?.get("/v1/sidecars").await?, output),
        Sidecar::Invite {
            sidecar,
            tenant: tenants,
            token_file,
        } => {
            let client = Client::connect(global)?;
            let file = token_file.as_deref().map(NewFile::take).transpose()?;
            let asked = InviteSidecar { sidecar, tenants };
            let invited: SidecarInvitation = client.post("/v1/sidecars", &asked).await?;
            show_invitation(&invited, file.zip(token_file), output)?;
        }
        Sidecar::Rm { sidecar, reason } => {
            let client = Client::connect(global)?;
            let path = format!("/v1/sidecars/{sidecar}/remove");
            client.order(&path, &RemoveSidecar { reason }).await?;
            list(&client.get("/v1/sidecars").await?, output);
        }
    }
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
