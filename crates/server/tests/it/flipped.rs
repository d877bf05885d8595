//! One flipped bit in any file of a stopped installation: it does not start and says why, or `log verify` names the file,
//! or nothing depends on that bit.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use bailiwick_server::doctor::examine;
use bailiwick_server::evidence::verify_folder;
use serde_json::json;

use crate::bed::Bed;
use crate::desk::Desk;
use crate::folder::everything;

/// Places in a file: among what is written, and one that is zero.
const PLACES: usize = 3;

/// Files of which some bit may flip without a word, and why nothing depends on it.
const WITHOUT_AUTHORITY: [(&str, &str); 3] = [
    (
        "kill.journal",
        "slots that are free, and padding: a kill that stands there has its sum",
    ),
    (
        "log/decisions/segments/0000000000000000.seg",
        "zeros that no entry was written to yet",
    ),
    (
        "state.db",
        "pages and cells that hold no row with authority: every other row has its digest",
    ),
];

/// A folder with all in it but sockets.
pub(crate) fn copy_of(from: &Path, to: &Path) {
    drop(fs::remove_dir_all(to));
    fs::create_dir(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let there = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_of(&path, &there);
        } else if path.is_file() {
            fs::copy(&path, &there).unwrap();
        }
    }
}

/// Where to flip: the first, the last and some between of the bytes that are not zero, and a zero.
fn places(bytes: &[u8], wanted: usize) -> Vec<usize> {
    let written: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    let zeros: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] == 0).collect();
    let mut out: Vec<usize> = (0..wanted)
        .filter_map(|n| {
            written
                .get(n * written.len().saturating_sub(1) / (wanted - 1))
                .copied()
        })
        .collect();
    out.extend(zeros.get(zeros.len() / 2));
    out.dedup();
    out
}

/// A partial tile of an earlier checkpoint: the one that is shown has a wider one beside it.
fn is_superseded(path: &Path) -> bool {
    let width = |path: &Path| path.file_name()?.to_str()?.parse::<u16>().ok();
    let folder = path.parent().unwrap();
    let is_partial = folder.extension().is_some_and(|ending| ending == "p");
    let beside = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    is_partial && beside.into_iter().any(|other| width(&other) > width(path))
}

/// What `log verify` says, if it says anything.
fn verified(data: &Path) -> Option<String> {
    match verify_folder(data, &[]) {
        Err(error) => Some(format!("{error:#}")),
        Ok(reports) => {
            let found: Vec<String> = reports.into_iter().flat_map(|report| report.findings).collect();
            (!found.is_empty()).then(|| found.join("; "))
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_in_any_file_is_named_or_nothing_depends_on_it() {
    let mut bed = Bed::start().await;
    let desk = Desk::open().await;
    bed.add_tenant("acme").await;
    let (identity, _, token) = bed.add_worker(&desk, &["files:echo"]).await;
    // Enough for tiles that are full and are not read by a start.
    for n in 0..150 {
        bed.call(&token, "acme", "files", "echo", json!({"n": n}))
            .await
            .ok();
    }
    bed.kill("acme", "identity", &identity).await.ok();
    bed.stop().await;
    let (data, whole) = (bed.data(), bed.folder().join("whole"));
    copy_of(&data, &whole);
    let witness = bed.folder().join("data.witness");
    let word = fs::read(&witness).unwrap();
    let mut files = Vec::new();
    everything(&whole, &mut files);
    files.retain(|path| path.is_file());
    files.sort();
    assert!(
        files.iter().any(|path| path.ends_with("tile/entries/000")),
        "{files:?}"
    );
    let mut silent: BTreeMap<PathBuf, Vec<usize>> = BTreeMap::new();
    let (mut counts, mut in_segments) = ([0_usize; 3], 0);
    for path in &files {
        let name = path.strip_prefix(&whole).unwrap();
        let bytes = fs::read(path).unwrap();
        let wanted = if name == Path::new("state.db") {
            3 * PLACES
        } else {
            PLACES
        };
        for at in places(&bytes, wanted) {
            copy_of(&whole, &data);
            fs::write(&witness, &word).unwrap();
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            fs::write(data.join(name), &flipped).unwrap();
            let shown = name.display().to_string();
            if let Some(said) = verified(&data) {
                assert!(said.contains(&shown), "{shown} at {at}: {said}");
                let told = examine(Some(&data)).await;
                let told: Vec<String> = told
                    .into_iter()
                    .filter(|f| f.mend.is_some())
                    .map(|f| f.what)
                    .collect();
                assert!(told.join("; ").contains(&shown), "{shown} at {at}: {told:?}");
                counts[0] += 1;
                in_segments += usize::from(shown.ends_with(".seg"));
                continue;
            }
            match bed.try_run().await {
                Err(said) => {
                    let is_store = shown == "state.db" && said.contains("store");
                    // Which of two keys is the wrong one nobody can tell: the sentence names both.
                    let is_unseal =
                        shown == "unseal.key" && said.contains("does not open with this unseal key");
                    assert!(
                        said.contains(&shown) || is_store || is_unseal,
                        "{shown} at {at}: {said}"
                    );
                    counts[1] += 1;
                }
                Ok(()) => {
                    silent.entry(name.to_owned()).or_default().push(at);
                    counts[2] += 1;
                }
            }
        }
    }
    let [log, start, nothing] = counts;
    println!(
        "{} files: {log} flips named by log verify and doctor, {start} by the start, {nothing} without authority: {silent:?}",
        files.len()
    );
    assert!(log > 20 && start > 5, "{log} {start}");
    assert!(in_segments > 1, "payloads are verified without a start");
    for (name, places) in silent {
        let known = WITHOUT_AUTHORITY.iter().any(|(path, _)| Path::new(path) == name)
            || is_superseded(&whole.join(&name));
        assert!(known, "{} at {places:?}: nobody noticed", name.display());
    }
}
