//! Parts of the data folder that do not belong to one history stop the start, with what is missing and the fix.

use std::fs;
use std::path::Path;

use crate::bed::Bed;
use crate::folder::refusal;

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for name in ["state.db", "state.db-wal", "state.db-shm"] {
        let _gone = fs::remove_file(to.join(name));
        if from.join(name).exists() {
            fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_older_than_its_signed_log_does_not_start() {
    let mut bed = Bed::start().await;
    bed.add_tenant("acme").await;
    let identity = bed.add_identity("acme", "worker").await;
    bed.stop().await;
    let (old, new) = (bed.folder().join("old"), bed.folder().join("new"));
    copy(&bed.data(), &old);
    bed.run().await;
    bed.kill("acme", "identity", &identity).await.ok();
    bed.stop().await;
    copy(&bed.data(), &new);
    let checkpoint = fs::read(bed.data().join("log/state/checkpoint")).unwrap();

    copy(&old, &bed.data());
    let said = refusal(bed.config()).await;
    assert!(
        said.contains("or its database, is older than its witness")
            && said.contains("put back the newest one"),
        "{said}"
    );
    for empty in [false, true] {
        copy(Path::new("/nowhere"), &bed.data());
        if empty {
            fs::write(bed.data().join("state.db"), b"").unwrap();
        }
        let said = refusal(bed.config()).await;
        assert!(said.contains("state.db` is missing or empty beside"), "{said}");
    }
    let kept = fs::read(bed.data().join("log/state/checkpoint")).unwrap();
    assert_eq!(kept, checkpoint, "nothing was signed meanwhile");
    copy(&new, &bed.data());
    bed.run().await;
    assert_eq!(bed.get("/v1/tenants").await.ok()["total"], 1, "mended, it starts");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_is_gone_stops_the_start() {
    let mut bed = Bed::start().await;
    bed.add_tenant("acme").await;
    bed.stop().await;
    for name in [
        "kill.journal",
        "keys/installation.key",
        "log/state/vkey",
        "log/state/checkpoint",
        "log/decisions",
        "log/state",
    ] {
        let (path, aside) = (bed.data().join(name), bed.folder().join("aside"));
        fs::rename(&path, &aside).unwrap();
        let said = refusal(bed.config()).await;
        assert!(
            said.contains(name) && said.contains("put it back"),
            "{name}: {said}"
        );
        assert!(!path.exists(), "{name} was made anew");
        fs::rename(&aside, &path).unwrap();
    }
    bed.run().await;
    assert_eq!(bed.get("/v1/tenants").await.ok()["total"], 1, "mended, it starts");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_beside_a_log_that_cannot_be_read_stops_the_start_and_is_not_written_anew() {
    let mut bed = Bed::start().await;
    bed.stop().await;
    for log in ["state", "decisions"] {
        let file = bed.data().join(format!("log/{log}/vkey"));
        let kept = fs::read(&file).unwrap();
        fs::write(&file, b"\xff\xfe").unwrap();
        let said = refusal(bed.config()).await;
        assert!(
            said.contains(&format!("{}` cannot be read", file.display())),
            "{said}"
        );
        assert_eq!(fs::read(&file).unwrap(), b"\xff\xfe");
        fs::write(&file, kept).unwrap();
    }
    bed.run().await;
}
