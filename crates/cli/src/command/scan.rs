//! `bailiwick scan --export`: what an export shows, offline. Nothing leaves the machine and nothing is stored.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bailiwick_base::limits::shown;
use bailiwick_manifest::{
    Coverage, FILE_MAX, Given, Manifest, PLATFORMS, Remark, Remarks, Scan, SourceScan, platform,
};
use serde_json::{Value, json};

use super::Done;
use crate::args::Scan as Asked;
use crate::files;
use crate::output::{Failure, Output, Paper, exit};

/// Files of one export.
const FILES_MAX: usize = 10_000;
/// Folders in folders.
const FOLDERS_MAX: usize = 4;
/// Lines of one sort that are shown to people; JSON has all.
const SHOWN_MAX: usize = 20;
const ENDINGS: [&str; 3] = ["json", "jsonl", "ndjson"];

pub(super) fn run(asked: &Asked, output: &Output) -> Done {
    if !asked.dry_run {
        let message = "an export is read and told about so far; it does not enter the inventory yet";
        return Err(Failure::usage(message).hint("run it with --dry-run to see what is in it"));
    }
    let manifest = manifest(asked)?;
    let given = given(&manifest, &asked.set)?;
    let files = list(&asked.export)?;
    let mut scan = Scan::new(&manifest, given);
    for (name, path) in &files {
        scan.add(name, &files::read(path)?);
    }
    output.result(&document(&manifest, &scan), |paper| {
        paint(&manifest, &scan, paper)
    });
    let is_whole = scan.unknown().is_empty()
        && scan
            .sources()
            .all(|(_, _, read)| read.broken.is_empty() && read.unmapped.is_empty());
    Ok(if is_whole { exit::OK } else { exit::INCOMPLETE })
}

fn manifest(asked: &Asked) -> Result<Manifest, Failure> {
    let read = match &asked.manifest {
        Some(file) => Some(Manifest::read(
            &file.display().to_string(),
            &asked.platform,
            &files::read_text(file)?,
        )),
        None => platform(&asked.platform),
    };
    let known = || {
        let names: Vec<&str> = PLATFORMS.iter().map(|(name, _)| *name).collect();
        let message = format!(
            "platform `{}` is not known: {}",
            shown(&asked.platform),
            names.join(", ")
        );
        Failure::usage(message).hint("--manifest FILE reads the manifest of another")
    };
    read.ok_or_else(known)?
        .map_err(|error| Failure::new(exit::USAGE, "scan.manifest", error.to_string()))
}

fn given(manifest: &Manifest, set: &[String]) -> Result<Given, Failure> {
    let mut given = Given::new();
    for pair in set {
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| Failure::usage(format!("`--set {}` is not NAME=VALUE", shown(pair))))?;
        let taken = |source: &bailiwick_manifest::Source| {
            source
                .for_each
                .as_ref()
                .is_some_and(|each| each.take.contains_key(name))
        };
        if !manifest.parameters.contains_key(name) && !manifest.sources.values().any(taken) {
            let names: Vec<&str> = manifest.parameters.keys().map(String::as_str).collect();
            return Err(Failure::usage(format!(
                "`--set {}`: {} has the parameters {}",
                shown(name),
                manifest.platform,
                names.join(", ")
            )));
        }
        given.insert(name.to_owned(), value.to_owned());
    }
    Ok(given)
}

/// Name within the export and path of each file, in order.
fn list(export: &Path) -> Result<Vec<(String, PathBuf)>, Failure> {
    let mut found = Vec::new();
    let about = std::fs::metadata(export).map_err(|error| Failure::io("read", export, &error))?;
    if about.is_dir() {
        let mut walked = BTreeSet::new();
        walk((export, ""), FOLDERS_MAX, &mut walked, &mut found)?;
    } else if !about.is_file() {
        let message = format!("`{}` is neither a file nor a folder", export.display());
        return Err(Failure::usage(message).hint("put the export into a file first"));
    } else {
        require_size(export, about.len())?;
        let name = export.file_name().unwrap_or_default().to_string_lossy();
        found.push((name.into_owned(), export.to_owned()));
    }
    found.sort();
    if found.is_empty() {
        let message = format!(
            "`{}` holds no file that ends in {}",
            export.display(),
            ENDINGS.join(", ")
        );
        return Err(
            Failure::usage(message).hint("name the files after the sources of the platform, like users.json")
        );
    }
    Ok(found)
}

/// Each folder once, however many links lead to it.
fn walk(
    (folder, name): (&Path, &str),
    depth: usize,
    walked: &mut BTreeSet<PathBuf>,
    found: &mut Vec<(String, PathBuf)>,
) -> Result<(), Failure> {
    let wrong = |error: std::io::Error| Failure::io("read", folder, &error);
    if !walked.insert(std::fs::canonicalize(folder).map_err(wrong)?) {
        return Ok(());
    }
    for entry in std::fs::read_dir(folder).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        let name = format!("{name}{}", path.file_name().unwrap_or_default().to_string_lossy());
        let ending = path.extension().unwrap_or_default().to_string_lossy();
        let is_wanted = ENDINGS.contains(&ending.as_ref());
        let about = match std::fs::metadata(&path) {
            Ok(about) => about,
            // A link to nowhere that is none of the files of an export is nothing to this.
            Err(_) if !is_wanted => continue,
            Err(error) => return Err(Failure::io("read", &path, &error)),
        };
        if about.is_dir() && depth > 0 {
            walk((&path, &format!("{name}/")), depth - 1, walked, found)?;
        } else if about.is_file() && is_wanted {
            require_size(&path, about.len())?;
            found.push((name, path));
        }
        if found.len() > FILES_MAX {
            return Err(Failure::usage(format!(
                "more than {FILES_MAX} files in the export"
            )));
        }
    }
    Ok(())
}

fn require_size(path: &Path, bytes: u64) -> Result<(), Failure> {
    if usize::try_from(bytes).is_ok_and(|bytes| bytes <= FILE_MAX) {
        return Ok(());
    }
    let message = format!("`{}` has more than {FILE_MAX} bytes", path.display());
    Err(Failure::usage(message).hint("split it: users-1.json, users-2.json"))
}

/// How many of each level, sort and type.
fn kinds<'s>(scan: &'s Scan<'_>) -> BTreeMap<(&'static str, &'static str, &'s str), usize> {
    let mut kinds = BTreeMap::new();
    for seen in scan.observations() {
        let key = (seen.kind.level(), seen.kind.sort(), seen.type_name.as_str());
        *kinds.entry(key).or_insert(0) += 1;
    }
    kinds
}

fn coverage(read: &SourceScan) -> &'static str {
    match read.coverage() {
        Coverage::NotCovered => "not covered",
        Coverage::Partly => "partly",
        Coverage::Read => "read",
    }
}

fn document(manifest: &Manifest, scan: &Scan<'_>) -> Value {
    let kinds: Vec<Value> = kinds(scan)
        .into_iter()
        .map(|((level, sort, name), count)| json!({"level": level, "sort": sort, "type": name, "count": count}))
        .collect();
    let remarks = |remarks: &Remarks| -> Vec<Value> {
        let remarks = remarks.iter();
        remarks
            .map(|remark| json!({"place": remark.place, "text": remark.text}))
            .collect()
    };
    let files = |files: &[(String, bailiwick_manifest::ExportError)]| -> Vec<Value> {
        let files = files.iter();
        files
            .map(|(file, why)| json!({"file": file, "reason": why.to_string()}))
            .collect()
    };
    let sources: Vec<Value> = scan
        .sources()
        .map(|(name, source, read)| {
            let is_covered = read.coverage() != Coverage::NotCovered;
            json!({
                "source": name,
                "what": source.what,
                "coverage": coverage(read),
                "files": read.files,
                // Nothing was read, so there is no number, and none is zero.
                "items": is_covered.then_some(read.items),
                "observations": is_covered.then_some(read.observations),
                "counts": {
                    "left_out": read.left_out.total(),
                    "unmapped": read.unmapped.total(),
                    "notes": read.notes.total(),
                },
                "left_out": remarks(&read.left_out),
                "unmapped": remarks(&read.unmapped),
                "notes": remarks(&read.notes),
                "broken": files(&read.broken),
            })
        })
        .collect();
    json!({
        "platform": manifest.platform,
        "title": manifest.title,
        "verified": false,
        "kinds": kinds,
        "total": scan.observations().len(),
        "sources": sources,
        "unknown_files": files(scan.unknown()),
        "sees": manifest.sees,
        "blind": manifest.blind,
    })
}

fn paint(manifest: &Manifest, scan: &Scan<'_>, paper: &mut Paper) {
    let title = format!("{} (manifest not verified against the service)", manifest.title);
    paper.line(paper.strong(&title));
    let rows = kinds(scan).into_iter().map(|((level, sort, name), count)| {
        vec![
            level.to_owned(),
            sort.to_owned(),
            name.to_owned(),
            count.to_string(),
        ]
    });
    paper.table(
        &["level", "sort", "type", "count"],
        rows.collect(),
        "nothing was mapped",
    );
    let number = |read: &SourceScan, number: usize| match read.coverage() {
        Coverage::NotCovered => "-".to_owned(),
        _ => number.to_string(),
    };
    let rows = scan.sources().map(|(name, _, read)| {
        vec![
            name.to_owned(),
            coverage(read).to_owned(),
            number(read, read.items),
            number(read, read.observations),
            number(read, read.left_out.total()),
            number(read, read.unmapped.total()),
        ]
    });
    let head = ["source", "coverage", "items", "observed", "left out", "unmapped"];
    paper.line("");
    paper.table(&head, rows.collect(), "");
    for (name, _, read) in scan.sources() {
        for (reason, count) in &read.left_out_because {
            paper.line(format!("left out of {name}: {count}, because {}", shown(reason)));
        }
        let broken: Vec<(&str, String)> = read
            .broken
            .iter()
            .map(|(file, why)| (file.as_str(), why.to_string()))
            .collect();
        let count = broken.len();
        remarks(paper, &format!("not read, {name}"), count, broken.into_iter());
        for (what, list) in [("not mapped", &read.unmapped), ("note", &read.notes)] {
            remarks(paper, &format!("{what}, {name}"), list.total(), texts(list));
        }
    }
    let unknown: Vec<(&str, String)> = scan
        .unknown()
        .iter()
        .map(|(file, why)| (file.as_str(), why.to_string()))
        .collect();
    remarks(paper, "not read", unknown.len(), unknown.into_iter());
    for blind in &manifest.blind {
        paper.line(format!("cannot be seen here: {blind}"));
    }
}

fn texts(remarks: &[Remark]) -> impl Iterator<Item = (&str, String)> {
    remarks
        .iter()
        .map(|remark| (remark.place.as_str(), remark.text.clone()))
}

/// What a file says is somebody else's text: no byte of it reaches the terminal as it is.
fn remarks<'t>(
    paper: &mut Paper,
    what: &str,
    total: usize,
    remarks: impl Iterator<Item = (&'t str, String)>,
) {
    for (place, text) in remarks.take(SHOWN_MAX) {
        let text: Vec<String> = text.split('`').map(plain).collect();
        paper.line(format!("{what}: {}: {}", plain(place), text.join("`")));
    }
    let more = total.saturating_sub(SHOWN_MAX);
    if more > 0 {
        paper.line(format!("{what}: and {more} more; --json has the first 10,000"));
    }
}

fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\'' | '"' | '\\' => out.push(c),
            c => out.extend(c.escape_debug()),
        }
    }
    out
}
