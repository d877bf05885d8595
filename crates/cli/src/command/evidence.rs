//! `bailiwick evidence`.

use std::collections::BTreeMap;

use bailiwick_server::evidence::{self, LOGS, OpeningLine, Pack};
use http::Method;
use hyper::body::Bytes;

use super::Done;
use super::log::data_folder;
use crate::args::{Evidence, Global};
use crate::client::Client;
use crate::output::{Failure, Output, Paper, exit};

/// Entries asked for at once.
const PAGE_MAX: u64 = 10_000;

pub(crate) async fn run(command: Evidence, global: &Global, output: &Output) -> Done {
    let Evidence::Pack { out, data } = command;
    let client = Client::connect(global)?;
    let tenant = client.tenant()?.to_owned();
    let data = data_folder(data, global)?;
    let mut openings = BTreeMap::new();
    for log in LOGS {
        openings.insert(log, openings_of(&client, log).await?);
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
    Ok(exit::OK)
}

/// The lines of a pack for people.
pub(crate) fn show(paper: &mut Paper, pack: &Pack) {
    for log in &pack.logs {
        paper.line(format!(
            "{}: {} entries of tenant {}, {} disclosed, under a checkpoint of {} in {}",
            log.log, log.entries, pack.tenant, log.disclosed, log.size, log.origin
        ));
    }
}

/// Every payload of a log that this operator may read, by index.
async fn openings_of(client: &Client, log: &str) -> Result<BTreeMap<u64, OpeningLine>, Failure> {
    let malformed = |_| {
        Failure::new(
            exit::ERROR,
            "cli.answer",
            "the service sent a line that is no opening",
        )
    };
    let mut found: BTreeMap<u64, OpeningLine> = BTreeMap::new();
    let mut from = 0;
    loop {
        let path = format!("/v1/logs/{log}/openings?from={from}&max={PAGE_MAX}");
        let page = client.bytes(Method::GET, &path, Bytes::new()).await?;
        let before = from;
        for line in page.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let line: OpeningLine = serde_json::from_slice(line).map_err(malformed)?;
            from = from.max(line.index + 1);
            found.insert(line.index, line);
        }
        if from == before {
            return Ok(found);
        }
    }
}
