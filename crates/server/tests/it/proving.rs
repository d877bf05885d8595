//! Evidence from files alone: proofs and folders verify without the service, and damage is named with its place.

use std::fs;
use std::path::{Path, PathBuf};

use bailiwick_server::doctor::examine;
use bailiwick_server::evidence::{KeyFrom, LogReport, export_folder, verify_folder, verify_proof};
use serde_json::json;

use crate::bed::Bed;
use crate::desk::Desk;

/// An installation that did something, and its folder.
async fn history() -> Bed {
    let bed = Bed::start().await;
    let desk = Desk::open().await;
    bed.add_tenant("acme").await;
    let (identity, _, token) = bed.add_worker(&desk, &["files:echo"]).await;
    for n in 0..20 {
        bed.call(&token, "acme", "files", "echo", json!({"n": n}))
            .await
            .ok();
    }
    bed.kill("acme", "identity", &identity).await.ok();
    bed
}

fn sound(reports: &[LogReport]) -> bool {
    reports.len() == 2 && reports.iter().all(LogReport::is_sound)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_verifies_offline_and_no_other_file_or_key_does() {
    let mut bed = history().await;
    let logs = bed.get("/v1/logs").await.ok();
    let vkey = |log: &str| {
        let items = logs["items"].as_array().unwrap();
        let found = items.iter().find(|l| l["log"] == log).unwrap();
        found["vkey"].as_str().unwrap().to_owned()
    };
    for log in ["state", "decisions"] {
        let entries = bed.entries(log).await;
        for index in [0, entries.len() / 2, entries.len() - 1] {
            let path = format!("/v1/logs/{log}/proof?entry={index}&disclose=true");
            let proof = bed.get(&path).await;
            assert_eq!(proof.status, 200, "{log} {index}: {}", proof.text());
            let proven = verify_proof(&proof.bytes, &vkey(log)).unwrap();
            assert_eq!(proven.index, index as u64);
            assert_eq!(proven.leaf, entries[index]["leaf"], "{log} {index}");
            assert_eq!(
                proven.payload.as_ref(),
                Some(&entries[index]["payload"]),
                "{log} {index}"
            );
            let silent = bed.get(&format!("/v1/logs/{log}/proof?entry={index}")).await;
            assert_eq!(verify_proof(&silent.bytes, &vkey(log)).unwrap().payload, None);

            let other = if log == "state" { "decisions" } else { "state" };
            assert!(
                verify_proof(&proof.bytes, &vkey(other)).is_err(),
                "another log's key"
            );
            assert!(verify_proof(b"", &vkey(log)).is_err());
            for at in (0..proof.bytes.len()).step_by(7) {
                let mut flipped = proof.bytes.to_vec();
                flipped[at] ^= 1;
                assert!(
                    verify_proof(&flipped, &vkey(log)).is_err(),
                    "{log} {index}: byte {at} of the file"
                );
            }
        }
        let beyond = format!("/v1/logs/{log}/proof?entry={}", entries.len() + 10_000);
        bed.get(&beyond).await.refused(404, "request.not-found");
    }
    bed.get("/v1/logs/decisions/proof?entry=dec_aaaaaaaaaaaaaaaaaaaaaaaaaa")
        .await
        .refused(404, "request.not-found");
    bed.get("/v1/logs/other/proof?entry=0")
        .await
        .refused(404, "request.not-found");
    // Any decision is found by its id.
    let decided = bed.entries("decisions").await;
    let permit = decided
        .iter()
        .find(|e| e["payload"]["effect"] == "permit")
        .unwrap();
    let id = permit["payload"]["decision"].as_str().unwrap();
    let proof = bed.get(&format!("/v1/logs/decisions/proof?entry={id}")).await;
    let proven = verify_proof(&proof.bytes, &vkey("decisions")).unwrap();
    assert_eq!(proven.leaf, permit["leaf"]);
    bed.stop().await;
    let reports = verify_folder(&bed.data(), &[&vkey("state")]).unwrap();
    assert!(sound(&reports));
    // Each log tells which key it was verified with, and who gave it.
    let told: Vec<(&str, &str, KeyFrom)> = reports
        .iter()
        .map(|r| (r.log.as_str(), r.vkey.as_str(), r.key_from))
        .collect();
    assert_eq!(
        told,
        [
            ("state", vkey("state").as_str(), KeyFrom::Given),
            ("decisions", vkey("decisions").as_str(), KeyFrom::Folder),
        ]
    );
}

/// Every file below, by name.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            all.push(path);
        }
    }
    all.sort();
    all
}

/// A page ends at its bytes as well, and pages one after the other hold every entry.
#[tokio::test(flavor = "multi_thread")]
async fn openings_come_in_bounded_pages_that_leave_nothing_out() {
    let bed = Bed::start().await;
    bed.add_tenant("acme").await;
    let pep = bed.add_identity("acme", "outside-pep").await;
    let (_, token) = bed.open_task("acme", &pep, &["authzen:evaluate"]).await;
    let item = |n: usize| json!({"resource": {"type": "record", "id": format!("{n}-{}", "x".repeat(900))}});
    let batch = json!({
        "subject": {"type": "user", "id": "alice"},
        "action": {"name": "read"},
        "evaluations": (0..1_000).map(item).collect::<Vec<_>>(),
    });
    for _ in 0..4 {
        bed.bearing(&token, "/access/v1/evaluations", &batch).await.ok();
    }
    let logs = bed.get("/v1/logs").await.ok();
    for log in ["state", "decisions"] {
        let items = logs["items"].as_array().unwrap();
        let total = items.iter().find(|l| l["log"] == log).unwrap()["sequenced"]
            .as_u64()
            .unwrap();
        let (mut next, mut pages) = (0, 0);
        while next < total {
            let page = bed.get(&format!("/v1/logs/{log}/openings?from={next}")).await;
            assert_eq!(page.status, 200, "{}", page.text());
            assert!(page.bytes.len() < 3 * 1024 * 1024, "{} bytes", page.bytes.len());
            for line in page.bytes.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
                let line: serde_json::Value = serde_json::from_slice(line).unwrap();
                assert_eq!(line["index"], next);
                next += 1;
            }
            pages += 1;
        }
        assert!(next == total && total > 0, "{log}: {next} of {total}");
        assert_eq!(pages > 1, log == "decisions", "{log}: {pages} pages");
    }
}

/// The files that hold the entries of a log, the largest first.
fn bundles(folder: &Path) -> Vec<PathBuf> {
    let mut all = files(&folder.join("tile/entries"));
    all.sort_by_key(|p| std::cmp::Reverse(fs::metadata(p).unwrap().len()));
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_verifies_by_itself_and_every_damage_is_found() {
    let mut bed = history().await;
    bed.stop().await;
    assert!(sound(&verify_folder(&bed.data(), &[]).unwrap()));
    // A tile that an earlier, shorter tree had, as a log leaves them behind until they are full.
    for log in ["state", "decisions"] {
        let stale = bed.data().join("log").join(log).join("tile/entries/000.p/1");
        fs::create_dir_all(stale.parent().unwrap()).unwrap();
        fs::write(stale, b"stale").unwrap();
    }
    let export = bed.folder().join("export");
    let exported = export_folder(&bed.data(), &export).unwrap();
    assert_eq!(exported.len(), 2);
    assert!(sound(&verify_folder(&export, &[]).unwrap()));
    for log in &exported {
        let mut wanted: Vec<PathBuf> = bailiwick_audit::tile::tiles_between(0, log.size)
            .map(|tile| log.folder.join(tile.path()))
            .collect();
        wanted.sort();
        assert_eq!(
            files(&log.folder.join("tile")),
            wanted,
            "the tiles of this size and no other"
        );
    }
    assert!(
        export_folder(&bed.data(), &export).is_err(),
        "never into a folder that exists"
    );
    assert!(
        verify_folder(bed.folder(), &[]).is_err(),
        "a folder without a log"
    );
    assert!(verify_folder(&export, &["garbage"]).is_err());

    let foreign = {
        let mut other = Bed::start().await;
        other.stop().await;
        fs::read_to_string(other.data().join("log/state/vkey")).unwrap()
    };
    let with_foreign = verify_folder(&export, &[foreign.trim()]);
    assert!(
        with_foreign.as_ref().map_or(true, |r| !sound(r)),
        "another installation's key of the same name"
    );

    for log in ["state", "decisions"] {
        let folder = export.join(log);
        let (bundle, checkpoint) = (bundles(&folder).swap_remove(0), folder.join("checkpoint"));
        let whole = fs::read(&bundle).unwrap();
        let unsound = |title: &str, place: &str| {
            let reports = verify_folder(&export, &[]).unwrap();
            let report = reports.iter().find(|r| r.log == log).unwrap();
            assert!(!report.is_sound(), "{log}: {title}");
            let said = report.findings.join("; ");
            assert!(said.contains(place), "{log}: {title}: {said}");
            assert!(
                export_folder(&export, &bed.folder().join("again")).is_err(),
                "{log}: {title} was exported"
            );
            drop(fs::remove_dir_all(bed.folder().join("again")));
        };
        let mut flipped = whole.clone();
        flipped[40] ^= 1;
        fs::write(&bundle, &flipped).unwrap();
        unsound("a flipped byte in the first entry", "0");
        fs::write(&bundle, &whole[..whole.len() - 10]).unwrap();
        unsound("a cut bundle", "entr");
        // Two entries of one length change places.
        let first = 2 + usize::from(u16::from_be_bytes([whole[0], whole[1]]));
        let mut swapped = whole[first..].to_vec();
        swapped.extend_from_slice(&whole[..first]);
        fs::write(&bundle, &swapped).unwrap();
        unsound("entries in another order", "0");
        fs::remove_file(&bundle).unwrap();
        unsound("a bundle that is gone", "");
        fs::write(&bundle, &whole).unwrap();

        let signed = fs::read(&checkpoint).unwrap();
        let mut forged = signed.clone();
        let last = forged.len() - 4;
        forged[last] ^= 1;
        fs::write(&checkpoint, &forged).unwrap();
        unsound("a signature that does not hold", "");
        fs::remove_file(&checkpoint).unwrap();
        let gone = verify_folder(&export, &[]);
        assert!(gone.map_or(true, |r| !sound(&r)), "{log}: no checkpoint");
        fs::write(&checkpoint, &signed).unwrap();
        assert!(sound(&verify_folder(&export, &[]).unwrap()), "mended");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_names_what_is_wrong_with_the_command_that_mends_it() {
    use std::os::unix::fs::PermissionsExt;
    let mut bed = history().await;
    bed.stop().await;
    let data = bed.data();
    let wrong = async || -> Vec<(String, String)> {
        let findings = examine(Some(&data)).await;
        assert!(findings.len() >= 3);
        let mend = |f: bailiwick_server::doctor::Finding| Some((f.what, f.mend?));
        findings.into_iter().filter_map(mend).collect()
    };
    assert!(wrong().await.is_empty(), "{:?}", wrong().await);
    // Right for a try, so it is no fault.
    let found = examine(Some(&data)).await;
    let advice: Vec<_> = found.iter().filter_map(|f| f.advice.as_deref()).collect();
    assert!(
        matches!(advice[..], [one] if one.contains("keys.unseal_file")),
        "{found:?}"
    );
    let narrow =
        |path: &Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    narrow(&bed.data(), 0o755);
    let [(what, mend)] = &wrong().await[..] else {
        panic!("{:?}", wrong().await)
    };
    assert!(
        what.contains("open to others") && mend.starts_with("chmod 700"),
        "{what} {mend}"
    );
    narrow(&bed.data(), 0o700);
    let unseal = bed.data().join("unseal.key");
    narrow(&unseal, 0o640);
    let [(what, mend)] = &wrong().await[..] else {
        panic!("{:?}", wrong().await)
    };
    assert!(
        what.contains("may be read by others") && mend.starts_with("chmod 600"),
        "{what} {mend}"
    );
    narrow(&unseal, 0o600);
    let bundle = bundles(&bed.data().join("log/state")).swap_remove(0);
    let mut bytes = fs::read(&bundle).unwrap();
    bytes[40] ^= 1;
    fs::write(&bundle, &bytes).unwrap();
    let [(what, mend)] = &wrong().await[..] else {
        panic!("{:?}", wrong().await)
    };
    assert!(
        what.contains("faults") && mend.starts_with("bailiwick log verify"),
        "{what} {mend}"
    );
    let nowhere = examine(Some(Path::new("/nonexistent/data"))).await;
    assert!(nowhere.iter().any(|f| f.mend.is_some()));
    assert!(examine(None).await.iter().all(|f| f.mend.is_some()));
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_compares_the_store_with_its_signed_log_beside_a_running_service() {
    let mut bed = history().await;
    let of_store = async |data: &Path| {
        let findings = examine(Some(data)).await;
        let found = findings.into_iter().find(|f| f.what.contains("store"));
        found.map(|f| (f.what, f.mend)).unwrap()
    };
    let before = bed.entries("state").await.len();
    let (what, mend) = of_store(&bed.data()).await;
    assert!(
        mend.is_none() && what.contains("is what its state log tells"),
        "{what}"
    );
    assert_eq!(bed.entries("state").await.len(), before, "it only looked");
    bed.add_identity("acme", "later").await;
    bed.stop().await;
    let (kept, newer) = (bed.data().join("state.db"), bed.folder().join("newer.db"));
    fs::copy(&kept, &newer).unwrap();
    // Another installation's store: what was signed is not in it.
    let mut other = history().await;
    other.stop().await;
    fs::copy(other.data().join("state.db"), &kept).unwrap();
    let (what, mend) = of_store(&bed.data()).await;
    let mend = mend.unwrap();
    assert!(
        what.starts_with("store: ") && mend.contains("backup"),
        "{what} {mend}"
    );
    fs::copy(&newer, &kept).unwrap();
    let (what, mend) = of_store(&bed.data()).await;
    assert!(mend.is_none(), "{what}");
}
