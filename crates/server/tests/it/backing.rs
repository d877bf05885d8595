//! Backups beside a running service, and what a restored one may do.

use std::fs;

use bailiwick_server::backup::{make, put_back};
use bailiwick_server::evidence::{LogReport, verify_folder};
use serde_json::json;

use crate::bed::Bed;
use crate::desk::Desk;
use crate::folder::refusal;

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_made_under_load_is_put_back_whole_and_what_was_killed_since_stays_dead() {
    let mut bed = Bed::start().await;
    let desk = Desk::open().await;
    bed.add_tenant("acme").await;
    let (killed, _, early) = bed.add_worker(&desk, &["files:echo"]).await;
    let other = bed.add_identity("acme", "other").await;
    let (_, token) = bed.open_task("acme", &other, &["files:echo"]).await;
    let out = bed.folder().join("backup");
    let data = bed.data();
    let load = async {
        for n in 0..30 {
            bed.add_identity("acme", &format!("meanwhile-{n}")).await;
            bed.call(&token, "acme", "files", "echo", json!({"n": n}))
                .await
                .ok();
        }
    };
    let (made, ()) = tokio::join!(make(&data, &out), load);
    let made = made.unwrap();
    assert!(made.state_entries >= 5, "{made:?}");
    for part in [
        "state.db",
        "kill.journal",
        "keys",
        "log/state/checkpoint",
        "log/decisions/checkpoint",
    ] {
        assert!(out.join(part).exists(), "{part}");
    }
    assert!(!out.join("unseal.key").exists(), "the key is not in it");
    assert!(make(&data, &out).await.is_err(), "not over another");
    let linked = data.join("keys/linked");
    std::os::unix::fs::symlink(data.join("unseal.key"), &linked).unwrap();
    let said = format!(
        "{:#}",
        make(&data, &bed.folder().join("linked")).await.unwrap_err()
    );
    assert!(said.contains("neither a file nor a folder"), "{said}");
    fs::remove_file(&linked).unwrap();
    bed.kill("acme", "identity", &killed).await.ok();
    bed.stop().await;

    let said = format!("{:#}", put_back(&out, &data).unwrap_err());
    assert!(said.contains("move it away first"), "{said}");
    let away = bed.folder().join("away");
    fs::rename(&data, &away).unwrap();
    // Not whole: an altered part, a missing one, one too many, a path that leads out.
    let store = out.join("state.db");
    let whole = fs::read(&store).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    fs::write(&store, &flipped).unwrap();
    let said = format!("{:#}", put_back(&out, &data).unwrap_err());
    assert!(said.contains("is not the file that was backed up"), "{said}");
    fs::remove_file(&store).unwrap();
    assert!(format!("{:#}", put_back(&out, &data).unwrap_err()).contains("is missing in the backup"));
    fs::write(&store, &whole).unwrap();
    fs::write(out.join("extra"), b"x").unwrap();
    assert!(format!("{:#}", put_back(&out, &data).unwrap_err()).contains("not part of the backup"));
    fs::remove_file(out.join("extra")).unwrap();
    assert!(!data.exists(), "nothing was made of it");

    put_back(&out, &data).unwrap();
    fs::copy(away.join("unseal.key"), data.join("unseal.key")).unwrap();
    let said = refusal(bed.config()).await;
    assert!(said.contains("older than its witness"), "{said}");
    bed.accept().await.unwrap();
    bed.run().await;
    let resume = json!({"scope": "all", "reason": "looked"});
    bed.post("/v1/all-tenants/resume", &resume).await.ok();
    for dead in [&early, &token] {
        let answer = bed.call(dead, "acme", "files", "echo", json!({})).await;
        assert_eq!(answer.status, 401, "{}", answer.text());
    }
    bed.add_identity("acme", "after").await;
    bed.stop().await;
    let reports = verify_folder(&data, &[]).unwrap();
    assert!(reports.iter().all(LogReport::is_sound), "{reports:?}");
}
