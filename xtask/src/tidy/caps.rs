//! Sizes. A raise needs an ADR that supersedes 0011.
use super::{Finding, House};
use crate::fail::Outcome;
use crate::repo::Repo;
use crate::rust;

const RULE: &str = "caps";

const FILE_MAX: usize = 800;
const TEST_FILE_MAX: usize = 1_200;
const P90_MAX: usize = 450;
const HANDLER_MAX: usize = 60;
const CODE: [&str; 8] = ["rs", "go", "js", "mjs", "py", "sh", "ts", "tsx"];

/// A document, and how long it may be.
const DOCUMENTS: [(&str, usize); 2] = [("ARCHITECTURE.md", 300), ("STYLE.md", 200)];
/// A folder of source, how long it may be in all, and why.
const FOLDERS: [(&str, usize, &str); 2] = [
    (
        "crates/base/src/",
        3_000,
        "admit only what three crates use; move the rest to its room",
    ),
    (
        "crates/server/src/",
        4_000,
        "the composition root wires: move what decides or computes to a room",
    ),
];
const DRIVERS: (&str, usize) = ("crates/server/src/drivers/", 150);

pub(super) fn caps(house: &House) -> Outcome<Vec<Finding>> {
    let repo = &house.repo;
    let mut findings = Vec::new();
    let mut lengths = Vec::new();
    for file in CODE.iter().flat_map(|ext| repo.with_extension(ext)) {
        let length = length(repo, file)?;
        if file.ends_with(".rs") {
            lengths.push(length);
        }
        if let Some(message) = too_long(file, length) {
            findings.push(Finding {
                rule: RULE,
                place: file.to_owned(),
                message,
            });
        }
    }
    findings.extend(percentile(&mut lengths));
    for (document, max) in DOCUMENTS {
        if repo.has(document) {
            let length = length(repo, document)?;
            findings.extend(over(document, length, max, "say less, or move detail to docs/"));
        }
    }
    for (folder, max, advice) in FOLDERS {
        let mut total = 0;
        for file in repo.with_extension("rs").filter(|file| file.starts_with(folder)) {
            total += length(repo, file)?;
        }
        findings.extend(over(folder, total, max, advice));
    }
    findings.extend(handlers(repo)?);
    Ok(findings)
}

fn too_long(file: &str, length: usize) -> Option<String> {
    let is_test = file.contains("/tests/") || file.starts_with("tests/");
    let max = if file.starts_with(DRIVERS.0) {
        DRIVERS.1
    } else if is_test {
        TEST_FILE_MAX
    } else {
        FILE_MAX
    };
    (length > max).then(|| format!("{length} lines, at most {max}: split it by what changes together"))
}

fn percentile(lengths: &mut [usize]) -> Option<Finding> {
    lengths.sort_unstable();
    let rank = (lengths.len() * 9).div_ceil(10).saturating_sub(1);
    let p90 = lengths.get(rank).copied().unwrap_or_default();
    let message =
        format!("nine files in ten may have at most {P90_MAX} lines, the tenth has {p90}: split the longest");
    (p90 > P90_MAX).then(|| Finding {
        rule: RULE,
        place: "crates".to_owned(),
        message,
    })
}

fn over(place: &str, length: usize, max: usize, advice: &str) -> Option<Finding> {
    let message = format!("{length} lines, at most {max}: {advice}");
    (length > max).then(|| Finding {
        rule: RULE,
        place: place.to_owned(),
        message,
    })
}

fn handlers(repo: &Repo) -> Outcome<Vec<Finding>> {
    let mut findings = Vec::new();
    for file in repo
        .with_extension("rs")
        .filter(|file| file.starts_with("crates/request/api/src/"))
    {
        let source = repo.read(file)?;
        for (line, length) in handler_lengths(&source) {
            if length > HANDLER_MAX {
                let message =
                    format!("a handler of {length} lines, at most {HANDLER_MAX}: move the rule to its room");
                findings.push(Finding {
                    rule: RULE,
                    place: format!("{file}:{line}"),
                    message,
                });
            }
        }
    }
    Ok(findings)
}

/// First line and length of each handler: in the API these are the functions that wait.
fn handler_lengths(source: &str) -> Vec<(usize, usize)> {
    let tokens = rust::tokens(source);
    let starts = tokens.windows(2).enumerate().filter_map(|(at, pair)| match pair {
        [wait, keyword] if wait.text == "async" && keyword.text == "fn" => Some((at, keyword.line)),
        _ => None,
    });
    let mut found = Vec::new();
    for (at, line) in starts {
        let mut depth = 0_usize;
        for token in tokens.iter().skip(at) {
            match token.text {
                "{" => depth += 1,
                "}" if depth == 1 => {
                    found.push((line, token.line - line + 1));
                    break;
                }
                "}" => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
    }
    found
}

fn length(repo: &Repo, file: &str) -> Outcome<usize> {
    Ok(repo.read_text(file)?.map_or(0, |text| text.lines().count()))
}
