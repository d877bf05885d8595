//! `bailiwick node`.

use std::path::{Path, PathBuf};

use bailiwick_server::{Config, ConfigSources, Joining};
use bailiwick_wire::{InviteNode, JoinNode, JoinedNode, Node as Shown, NodeInvitation, Page, StandNode};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::Done;
use crate::args::{Global, Node, Stand};
use crate::client::{Client, post_openly};
use crate::files::{self, NewFile};
use crate::output::{Failure, Output, exit};

pub(crate) async fn run(command: Node, global: &Global, output: &Output) -> Done {
    match command {
        Node::Ls => list(&Client::connect(global)?.get("/v1/nodes").await?, output),
        Node::Invite { node, token_file } => {
            let client = Client::connect(global)?;
            let file = token_file.as_deref().map(NewFile::take).transpose()?;
            let invited: NodeInvitation = client.post("/v1/nodes", &InviteNode { node }).await?;
            show_invitation(&invited, file.zip(token_file), output)?;
        }
        Node::Join {
            server,
            token_file,
            config,
            data,
        } => {
            let sources = ConfigSources {
                file: config,
                data,
                ..ConfigSources::default()
            };
            join(&server, &token_file, &Config::read(&sources)?, global, output).await?;
        }
        Node::Drain(stand) => stand_as("drain", &stand, global, output).await?,
        Node::Undrain(stand) => stand_as("undrain", &stand, global, output).await?,
        Node::Fence(stand) => stand_as("fence", &stand, global, output).await?,
        Node::Readmit(stand) => stand_as("readmit", &stand, global, output).await?,
    }
    Ok(exit::OK)
}

fn list(page: &Page<Shown>, output: &Output) {
    output.result(page, |paper| {
        let rows = page.items.iter().map(|node| {
            vec![
                node.node.clone(),
                node.standing.clone(),
                if node.leads { "yes" } else { "" }.to_owned(),
                node.epoch.to_string(),
                node.beat.to_string(),
                node.fence.to_string(),
                node.started_at.clone().unwrap_or_else(|| "-".to_owned()),
            ]
        });
        paper.table(
            &["node", "standing", "leads", "epoch", "beat", "fence", "started"],
            rows.collect(),
            "no nodes",
        );
    });
}

fn show_invitation(
    invited: &NodeInvitation,
    file: Option<(NewFile, PathBuf)>,
    output: &Output,
) -> Result<(), Failure> {
    let Some((file, path)) = file else {
        output.result(invited, |paper| {
            paper.pairs(&[
                ("node", invited.node.clone()),
                ("token", invited.token.clone()),
                ("until", invited.expires_at.clone()),
            ]);
        });
        return Ok(());
    };
    file.fill(format!("{}\n", invited.token).as_bytes())?;
    let shown = json!({"node": invited.node, "token_file": path, "expires_at": invited.expires_at});
    output.result(&shown, |paper| {
        paper.pairs(&[
            ("node", invited.node.clone()),
            ("token in", path.display().to_string()),
            ("until", invited.expires_at.clone()),
        ]);
    });
    Ok(())
}

async fn join(
    server: &str,
    token_file: &Path,
    config: &Config,
    global: &Global,
    output: &Output,
) -> Result<(), Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::new(exit::ERROR, "node.join", format!("{error:#}"));
    let token = files::read_text(token_file)?.trim().to_owned();
    if config.served_store().is_none() {
        return Err(Failure::usage("a node joins on a store that the others share")
            .hint("set `store.engine` and `store.url_file` in its configuration as on the other nodes"));
    }
    bailiwick_server::require_empty(&config.data).map_err(|e| failed(&e))?;
    let joining = Joining::begin().map_err(|e| failed(&e))?;
    let asked = JoinNode {
        node: config.node.clone(),
        token: token.clone(),
        public: URL_SAFE_NO_PAD.encode(&joining.public),
    };
    let joined: JoinedNode = post_openly(server, global.ca.as_deref(), "/v1/nodes/join", &asked).await?;
    let answer = URL_SAFE_NO_PAD.decode(&joined.sealed).map_err(|e| failed(&e))?;
    let unseal = bailiwick_server::unseal(config)?;
    bailiwick_server::begin_witness(config).map_err(|e| failed(&e))?;
    let said = (token.as_str(), joined.state_origin.as_str());
    joining
        .finish(&answer, said, &config.data, &unseal)
        .map_err(|e| failed(&e))?;
    let shown = json!({"node": joined.node, "base_url": joined.base_url, "data": config.data});
    output.result(&shown, |paper| {
        paper.pairs(&[
            ("node", joined.node.clone()),
            ("data folder", config.data.display().to_string()),
            ("base URL", joined.base_url.clone()),
        ]);
        let line = format!(
            "set base_url = \"{}\" in its configuration, then start it with `bailiwick serve`",
            joined.base_url
        );
        paper.line(line);
    });
    Ok(())
}

async fn stand_as(verb: &str, stand: &Stand, global: &Global, output: &Output) -> Result<(), Failure> {
    let client = Client::connect(global)?;
    let body = StandNode {
        reason: stand.reason.clone(),
    };
    client
        .order(&format!("/v1/nodes/{}/{verb}", stand.node), &body)
        .await?;
    list(&client.get("/v1/nodes").await?, output);
    Ok(())
}
