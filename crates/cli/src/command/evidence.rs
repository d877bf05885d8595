//! `bailiwick evidence`.

use std::collections::BTreeMap;
use std::ops::Range;

use bailiwick_server::evidence::{self, LOGS, OpeningLine, Pack};
use bailiwick_wire::{NamedLog, Node, Page};

use super::Done;
use super::log::{data_folder, each_page_of_openings};
use crate::args::{Evidence, Global};
use crate::client::Client;
use crate::output::{Failure, Output, Paper, exit};

pub(crate) async fn run(command: Evidence, global: &Global, output: &Output) -> Done {
    let Evidence::Pack { out, data } = command;
    let client = Client::connect(global)?;
    let tenant = client.tenant()?.to_owned();
    let data = data_folder(data, global)?;
    let logs: Page<NamedLog> = client.get("/v1/logs").await?;
    let mut openings = BTreeMap::new();
    for log in LOGS {
        let known = logs.items.iter().find(|known| known.log == log);
        let range = known.map_or(0..0, |known| known.begins..known.sequenced);
        openings.insert(log, openings_of(&client, (log, range)).await?);
    }
    let pack = evidence::pack(&data, &out, &tenant, &openings)
        .map_err(|error| Failure::new(exit::ERROR, "evidence.pack", format!("{error:#}")))?;
    output.result(&pack, |paper| {
        show(paper, &pack);
        paper.line(format!(
            "next: bailiwick verify {} --key VKEY --key VKEY",
            out.display()
        ));
    });
    note_other_nodes(&client, output).await?;
    Ok(exit::OK)
}

/// The lines of a pack for people.
pub(crate) fn show(paper: &mut Paper, pack: &Pack) {
    for log in &pack.logs {
        paper.line(format!(
            "{}: {} entries of tenant {}, {} disclosed, under a checkpoint of {} in {}",
            log.log, log.entries, pack.tenant, log.disclosed, log.size, log.origin
        ));
        if log.pruned > 0 {
            paper.line(format!(
                "  {} entries in front of them were pruned, on record",
                log.pruned
            ));
        }
    }
}

/// Every payload of a log that this operator may read, by index.
async fn openings_of(
    client: &Client,
    (log, range): (&str, Range<u64>),
) -> Result<BTreeMap<u64, OpeningLine>, Failure> {
    let malformed = |_| {
        Failure::new(
            exit::ERROR,
            "cli.answer",
            "the service sent a line that is no opening",
        )
    };
    let mut found: BTreeMap<u64, OpeningLine> = BTreeMap::new();
    each_page_of_openings(client, (log, range), |page| {
        for line in page.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let line: OpeningLine = serde_json::from_slice(line).map_err(malformed)?;
            found.insert(line.index, line);
        }
        Ok(())
    })
    .await?;
    Ok(found)
}

/// Says whose decisions are not in a pack: each node has its own log, and gives out its own.
async fn note_other_nodes(client: &Client, output: &Output) -> Result<(), Failure> {
    let nodes: Page<Node> = client.get("/v1/nodes").await?;
    let logs: Page<NamedLog> = client.get("/v1/logs").await?;
    let is_own = |node: &Node| logs.items.iter().any(|log| node.vkey.as_ref() == Some(&log.vkey));
    let others: Vec<&str> = nodes
        .items
        .iter()
        .filter(|node| node.vkey.is_some() && !is_own(node))
        .map(|node| node.node.as_str())
        .collect();
    if !others.is_empty() {
        output.note(&format!(
            "the decisions of {} are in logs of their own: make a pack there too",
            others.join(", ")
        ));
    }
    Ok(())
}
