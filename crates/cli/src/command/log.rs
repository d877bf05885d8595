//! `bailiwick log` and `bailiwick verify`.

use std::ops::Range;
use std::path::{Path, PathBuf};

use bailiwick_server::evidence::{self, ExportedLog, KeyFrom, LogReport, Quorum};
use bailiwick_wire::{LogEntry, LogPruning, NamedLog, Page, PruneLog};
use http::Method;
use hyper::body::Bytes;
use serde_json::{Value, json};

use super::Done;
use super::id::encoded;
use crate::args::{Global, Log, Verify};
use crate::client::{Client, read_context};
use crate::files;
use crate::output::{Failure, Output, exit};

/// Openings asked for at once.
const OPENINGS_MAX: u64 = 10_000;

pub(crate) async fn run(command: Log, global: &Global, output: &Output) -> Done {
    match command {
        Log::Verify {
            receipt: Some(dir),
            keys,
            ..
        } => super::receipt_proof::verify(&dir, &keys, output),
        Log::Verify {
            data,
            keys,
            witnesses,
            quorum,
            receipt: None,
        } => {
            let quorum =
                Quorum::parse(&witnesses, quorum).map_err(|error| Failure::usage(format!("{error:#}")))?;
            verify(&data_folder(data, global)?, &keys, &quorum, output)
        }
        Log::Prove {
            entry,
            log,
            disclose,
            output: file,
        } => {
            let path = format!(
                "/v1/logs/{}/proof?entry={}&disclose={disclose}",
                encoded(&log),
                encoded(&entry)
            );
            prove(&path, file.as_deref(), global, output).await
        }
        Log::Export {
            dir,
            out,
            openings,
            data,
        } => {
            let dir = dir
                .or(out)
                .ok_or_else(|| Failure::usage("no folder given: add --out DIR"))?;
            export(&data_folder(data, global)?, &dir, openings, global, output).await
        }
        Log::Ls => list(global, output).await,
        Log::Prune {
            log,
            keep,
            up_to,
            reason,
            dry_run,
        } => {
            let body = PruneLog {
                keep_since: keep.map(|keep| bailiwick_server::now().before(keep).to_string()),
                up_to,
                reason,
                dry_run,
            };
            prune(&log, &body, global, output).await
        }
        Log::Tail {
            log,
            lines,
            before,
            all_tenants,
        } => tail(&log, (lines, before), all_tenants, global, output).await,
    }
}

pub(crate) fn data_folder(named: Option<PathBuf>, global: &Global) -> Result<PathBuf, Failure> {
    if let Some(data) = named {
        return Ok(data);
    }
    read_context(global)?.data.ok_or_else(|| {
        Failure::usage("the service does not run on this machine")
            .hint("give --data DIR, or an exported folder")
    })
}

fn verify(data: &Path, keys: &[String], quorum: &Quorum, output: &Output) -> Done {
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let reports = evidence::verify_witnessed(data, &keys, quorum)
        .map_err(|error| Failure::new(exit::UNVERIFIED, "log.unreadable", format!("{error:#}")))?;
    let sound = reports.iter().all(LogReport::is_sound);
    output.result(&json!({"sound": sound, "logs": reports}), |paper| {
        for report in &reports {
            let state = if report.is_sound() {
                "verified"
            } else {
                "NOT SOUND"
            };
            paper.line(format!(
                "{}: {}, {} entries, root {}",
                report.origin,
                paper.strong(state),
                report.size,
                report.root
            ));
            let from = match report.key_from {
                KeyFrom::Folder => "the folder's own key; give one from elsewhere with --key",
                KeyFrom::Given => "the key given with --key",
            };
            paper.line(format!("  by {} ({from})", report.vkey));
            if let Some(begins) = &report.begins {
                paper.line(format!(
                    "  begins with entry {}: pruned at {} by {}, {} (entry {} of the state log)",
                    begins.with, begins.pruned_at, begins.by, begins.reason, begins.entry
                ));
            }
            if let Some(seen) = &report.witnessed {
                for cosigned in &seen.by {
                    paper.line(format!(
                        "  its first {} entries were seen by {} at {}",
                        seen.size, cosigned.witness, cosigned.at
                    ));
                }
            }
            for finding in &report.findings {
                paper.line(format!("  {finding}"));
            }
        }
    });
    Ok(if sound && !reports.is_empty() {
        exit::OK
    } else {
        exit::UNVERIFIED
    })
}

async fn prove(path: &str, file: Option<&Path>, global: &Global, output: &Output) -> Done {
    let client = Client::connect(global)?;
    let proof = client.bytes(Method::GET, path, Bytes::new()).await?;
    match file {
        Some(file) => {
            std::fs::write(file, &proof).map_err(|error| Failure::io("write", file, &error))?;
            output.result(&json!({"file": file}), |paper| {
                paper.line(file.display().to_string())
            });
        }
        None => {
            let text = String::from_utf8_lossy(&proof).into_owned();
            output.result(&json!({"proof": text}), |paper| paper.line(text.trim_end()));
        }
    }
    Ok(exit::OK)
}

async fn export(data: &Path, dir: &Path, openings: bool, global: &Global, output: &Output) -> Done {
    let mut exported = evidence::export_folder(data, dir)
        .map_err(|error| Failure::new(exit::ERROR, "log.export", format!("{error:#}")))?;
    if openings {
        let client = Client::connect(global)?;
        for log in &mut exported {
            log.openings = Some(export_openings(&client, log, dir).await?);
        }
    }
    output.result(&json!({"logs": exported}), |paper| {
        for log in &exported {
            paper.line(format!(
                "{}: {} entries in {}",
                log.origin,
                log.size,
                log.folder.display()
            ));
        }
    });
    Ok(exit::OK)
}

/// The payloads of what was exported, page by page.
async fn export_openings(client: &Client, log: &ExportedLog, dir: &Path) -> Result<PathBuf, Failure> {
    let mut lines = Vec::new();
    each_page_of_openings(client, (&log.log, log.begins..log.size), |page| {
        lines.extend_from_slice(page);
        Ok(())
    })
    .await?;
    let file = dir.join(&log.log).join("openings.jsonl");
    files::replace_private(&file, &lines)?;
    Ok(file)
}

/// The payloads of these entries of a log that open, page by page.
pub(crate) async fn each_page_of_openings(
    client: &Client,
    (log, range): (&str, Range<u64>),
    mut see: impl FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut from = range.start;
    while from < range.end {
        let max = OPENINGS_MAX.min(range.end - from);
        let path = format!("/v1/logs/{}/openings?from={from}&max={max}", encoded(log));
        let page = client.bytes(Method::GET, &path, Bytes::new()).await?;
        from = behind(&page, from, max)?;
        see(&page)?;
    }
    Ok(())
}

/// Where to go on behind a page. It ends early when it is large: behind its last line. Without a line nothing that was
/// asked for opens, as with a tenant whose key is gone: behind all of it.
fn behind(page: &[u8], from: u64, max: u64) -> Result<u64, Failure> {
    Ok(match last_index(page)? {
        Some(index) if index >= from => index + 1,
        _ => from + max,
    })
}

/// The index in the last of these JSON lines.
fn last_index(lines: &[u8]) -> Result<Option<u64>, Failure> {
    let Some(line) = lines.split(|byte| *byte == b'\n').rfind(|line| !line.is_empty()) else {
        return Ok(None);
    };
    let index = serde_json::from_slice::<Value>(line)
        .ok()
        .and_then(|line| line.get("index")?.as_u64());
    let malformed = || {
        Failure::new(
            exit::ERROR,
            "log.export",
            "the service sent a line without an `index`",
        )
    };
    index.map(Some).ok_or_else(malformed)
}

async fn prune(log: &str, body: &PruneLog, global: &Global, output: &Output) -> Done {
    let client = Client::connect(global)?;
    let done: LogPruning = client
        .post(&format!("/v1/logs/{}/prune", encoded(log)), body)
        .await?;
    output.result(&done, |paper| {
        let verb = if done.dry_run { "would go" } else { "are gone" };
        paper.line(match done.entries {
            0 => "nothing to prune: whole segments only, and never the newest one".to_owned(),
            entries => format!(
                "{entries} entries {verb}, {} to {}, the newest of {}: {} segments, {} bytes",
                done.from,
                done.begins - 1,
                done.newest_at.as_deref().unwrap_or("-"),
                done.segments,
                done.bytes
            ),
        });
        for needed in &done.needed {
            paper.line(format!("kept: {needed}"));
        }
    });
    Ok(exit::OK)
}

async fn list(global: &Global, output: &Output) -> Done {
    let client = Client::connect(global)?;
    let page: Page<NamedLog> = client.get("/v1/logs").await?;
    output.result(&page, |paper| {
        let rows = page.items.iter().map(|l| {
            vec![
                l.log.clone(),
                l.sequenced.to_string(),
                l.integrated.to_string(),
                l.begins.to_string(),
                l.vkey.clone(),
            ]
        });
        paper.table(
            &["log", "sequenced", "integrated", "begins", "verifier key"],
            rows.collect(),
            "no logs",
        );
    });
    Ok(exit::OK)
}

async fn tail(
    log: &str,
    (lines, before): (u64, Option<u64>),
    all: bool,
    global: &Global,
    output: &Output,
) -> Done {
    let client = Client::connect(global)?;
    let before = before.map(|index| format!("&before={index}")).unwrap_or_default();
    let wanted = format!("logs/{}/entries?last={lines}{before}", encoded(log));
    let of_tenant = client.path(&wanted).ok().filter(|_| !all);
    let path = of_tenant.clone().unwrap_or_else(|| format!("/v1/{wanted}"));
    let page: Page<LogEntry> = client.get(&path).await?;
    output.result(&page, |paper| {
        super::entry::table(paper, log, &page.items, of_tenant.is_none());
    });
    // The search for one tenant's ends somewhere.
    if of_tenant.is_some()
        && (page.items.len() as u64) < lines
        && let Some(next) = &page.next
    {
        output.note(&format!(
            "entries from {next} on were looked through; older ones: bailiwick -t {} log tail --log {log} --before {next}",
            client.tenant()?
        ));
    }
    Ok(exit::OK)
}

/// `bailiwick verify FILE`: needs no server and no configuration.
pub(crate) fn verify_file(command: &Verify, output: &Output) -> Done {
    if command.file.is_dir() {
        return verify_pack(command, output);
    }
    let bytes = files::read(&command.file)?;
    let [key] = command.keys.as_slice() else {
        return Err(Failure::usage("a proof file is of one log: give one --key"));
    };
    let proven = evidence::verify_proof(&bytes, key).map_err(|error| {
        Failure::new(
            exit::UNVERIFIED,
            "proof.invalid",
            format!("`{}`: {error:#}", command.file.display()),
        )
        .hint("compare the key with `bailiwick log ls`, or ask for the proof again")
    })?;
    output.result(&proven, |paper| {
        paper.line(format!(
            "{}: entry {} of {} in {}",
            paper.strong("verified"),
            proven.index,
            proven.size,
            proven.origin
        ));
        paper.line(proven.leaf.to_string());
        if let Some(payload) = &proven.payload {
            paper.line(payload.to_string());
        }
    });
    Ok(exit::OK)
}

fn verify_pack(command: &Verify, output: &Output) -> Done {
    let pack = evidence::verify_pack(&command.file, &command.keys).map_err(|error| {
        Failure::new(
            exit::UNVERIFIED,
            "evidence.invalid",
            format!("`{}`: {error:#}", command.file.display()),
        )
        .hint(
            "give the keys of both logs, as `bailiwick log ls` shows them; if they are right, the pack was altered: keep it \
             as it is, ask for another (`bailiwick evidence pack`), and compare the two",
        )
    })?;
    output.result(&pack, |paper| {
        paper.line(paper.strong("verified"));
        super::evidence::show(paper, &pack);
    });
    Ok(exit::OK)
}

#[cfg(test)]
mod tests {
    use super::behind;

    #[test]
    fn a_page_in_which_nothing_opens_is_not_the_end() {
        assert!(matches!(behind(b"", 10_000, 10_000), Ok(20_000)));
        let lines = b"{\"index\":7}\n{\"index\":9}\n";
        assert!(matches!(behind(lines, 5, 100), Ok(10)));
        // What is in front of what was asked for leads nowhere.
        assert!(matches!(behind(lines, 50, 100), Ok(150)));
        assert!(behind(b"{}\n", 0, 10).is_err());
    }
}
