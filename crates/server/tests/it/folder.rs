//! The data folder: private throughout, one service at a time, and a clear word for whatever is wrong with it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use bailiwick_server::{Config, Machine, Service};
use serde_json::json;

use crate::bed::{Bed, config};
use crate::desk::Desk;

/// What a start says that does not succeed.
pub(crate) async fn refusal(config: Config) -> String {
    let machine = Machine {
        clock: std::sync::Arc::new(crate::clock::ShiftedClock::new()),
        disk: std::sync::Arc::new(bailiwick_journal::OsDisk),
        launcher: None,
    };
    match Service::start_on(machine, config).await {
        Ok(_) => panic!("it started"),
        Err(error) => format!("{error:#}"),
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

pub(crate) fn everything(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            everything(&path, out);
        }
        out.push(path);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_file_of_the_data_folder_is_this_users_alone() {
    let mut bed = Bed::start().await;
    let desk = Desk::open().await;
    bed.add_tenant("acme").await;
    let (identity, _, token) = bed.add_worker(&desk, &["files:echo"]).await;
    bed.call(&token, "acme", "files", "echo", json!({})).await.ok();
    bed.kill("acme", "identity", &identity).await.ok();
    bed.restart().await;
    let mut all = vec![bed.data()];
    everything(&bed.data(), &mut all);
    assert!(all.len() > 20, "{all:?}");
    let open: Vec<_> = all
        .iter()
        .filter(|p| mode(p) & 0o077 != 0)
        .map(|p| format!("{:o} {}", mode(p), p.display()))
        .collect();
    assert!(open.is_empty(), "others may read or write: {open:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_service_on_the_folder_is_refused_and_the_first_goes_on() {
    let bed = Bed::start().await;
    bed.add_tenant("acme").await;
    let said = refusal(bed.config()).await;
    assert!(said.contains("in use by another process"), "{said}");
    bed.add_identity("acme", "worker").await;
    assert_eq!(bed.send("GET", "/readyz", &[], "").await.status, 200);
    assert!(bed.data().join("claim.sock").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_open_or_cannot_be_written_stops_the_start_with_the_fix() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("open");
    fs::create_dir(&data).unwrap();
    fs::set_permissions(&data, fs::Permissions::from_mode(0o755)).unwrap();
    let said = refusal(config(&data, |_| {})).await;
    assert!(
        said.contains("open to others: chmod 700") && said.contains("open`"),
        "{said}"
    );
    let said = refusal(config(Path::new("/proc/nothing-here/data"), |_| {})).await;
    assert!(
        said.contains("cannot be made: give one this user may write"),
        "{said}"
    );
    // A folder of this user that takes no files, whoever this user is.
    let said = refusal(config(Path::new("/proc/self/map_files"), |_| {})).await;
    assert!(
        said.contains("cannot be written: make it writable for this user"),
        "{said}"
    );
    let file = folder.path().join("file");
    fs::write(&file, b"").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let said = refusal(config(&file, |_| {})).await;
    assert!(said.contains("is no folder: give one"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_of_the_configuration_names_every_secret_that_others_may_read() {
    let mut bed = Bed::start().await;
    bed.stop().await;
    let mut config = bed.config();
    let outside = tempfile::tempdir().unwrap();
    let own = |name: &str| {
        let file = outside.path().join(name);
        fs::write(&file, b"x").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        file
    };
    config.keys.unseal_file = Some(own("unseal"));
    config.listen.tls_key = Some(own("tls.key"));
    config.store.url_file = Some(own("url"));
    config.require_private().unwrap();
    let inside = ["unseal.key", "keys/root.key", "keys/installation.key"].map(|name| bed.data().join(name));
    let files = ["unseal", "tls.key", "url"].map(|name| outside.path().join(name));
    let all: Vec<_> = files.into_iter().chain(inside).collect();
    for file in &all {
        fs::set_permissions(file, fs::Permissions::from_mode(0o640)).unwrap();
    }
    let keys = bed.data().join("keys");
    fs::set_permissions(&keys, fs::Permissions::from_mode(0o750)).unwrap();
    let told = config.require_private().unwrap_err().to_string();
    for file in &all {
        let fix = format!("chmod 600 {}", file.display());
        assert!(told.contains(&fix), "{fix}: {told}");
    }
    assert!(told.contains(&format!("chmod 700 {}", keys.display())), "{told}");
    for key in ["keys.unseal_file", "listen.tls_key", "store.url_file"] {
        assert!(told.contains(&format!("config key `{key}`")), "{key}: {told}");
    }
    config.keys.unseal_file = Some(outside.path().join("nothing"));
    let told = config.require_private().unwrap_err().to_string();
    assert!(
        told.contains("config key `keys.unseal_file`: cannot read"),
        "{told}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_others_may_read_stops_the_start() {
    let mut bed = Bed::start().await;
    bed.stop().await;
    let unseal = bed.data().join("unseal.key");
    fs::set_permissions(&unseal, fs::Permissions::from_mode(0o644)).unwrap();
    let said = refusal(bed.config()).await;
    assert!(
        said.contains("unseal.key") && said.contains("chmod 600"),
        "{said}"
    );
    fs::set_permissions(&unseal, fs::Permissions::from_mode(0o600)).unwrap();

    let folder = tempfile::tempdir().unwrap();
    let open = folder.path().join("open.key");
    fs::write(&open, b"x").unwrap();
    fs::set_permissions(&open, fs::Permissions::from_mode(0o644)).unwrap();
    let mut postgres = bed.config();
    postgres.store.engine = "postgres".to_owned();
    postgres.store.url_file = Some(open.clone());
    let said = refusal(postgres).await;
    assert!(
        said.contains("may be read by others") && said.contains("chmod 600"),
        "{said}"
    );
    let mut tls = bed.config();
    tls.listen.tls_certificate = Some(folder.path().join("none.pem"));
    tls.listen.tls_key = Some(open);
    let said = refusal(tls).await;
    assert!(said.contains("listen.tls_certificate"), "{said}");
    bed.run().await;
    assert_eq!(bed.get("/v1/tenants").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_is_named_and_nothing_is_served_or_replaced() {
    let mut bed = Bed::start().await;
    bed.add_tenant("acme").await;
    bed.stop().await;
    let spoil = |name: &str, bytes: Option<&[u8]>| {
        let path = bed.data().join(name);
        let whole = fs::read(&path).unwrap();
        match bytes {
            Some(bytes) => fs::write(&path, bytes).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        (path, whole)
    };
    let mut damaged = fs::read(bed.data().join("state.db")).unwrap();
    damaged[..32].fill(0x5a);
    let short = fs::read(bed.data().join("kill.journal")).unwrap()[..4096].to_vec();
    let mut other_key = fs::read(bed.data().join("unseal.key")).unwrap();
    let last = other_key.len() - 1;
    other_key[last] ^= 1;
    let cases: [(&str, Option<&[u8]>, &str); 7] = [
        ("state.db", Some(&damaged), "damaged"),
        ("kill.journal", Some(&short), "not a whole kill journal"),
        ("kill.journal", Some(b""), "not a whole kill journal"),
        ("unseal.key", Some(&other_key), "unseal"),
        ("keys/tenants/acme.key", Some(b"x"), "acme"),
        ("keys/root.key", Some(b""), "root"),
        ("log/decisions/origin", Some(b""), "origin"),
    ];
    for (name, bytes, word) in cases {
        let (path, whole) = spoil(name, bytes);
        let said = refusal(bed.config()).await;
        assert!(said.contains(word), "{name}: {said}");
        assert!(!said.contains("panicked"), "{said}");
        assert_eq!(
            fs::read(&path).unwrap(),
            bytes.unwrap_or_default(),
            "{name} was replaced"
        );
        fs::write(&path, whole).unwrap();
    }
    // A tenant whose key file is gone must not get a fresh one.
    let (path, whole) = spoil("keys/tenants/acme.key", None);
    let said = refusal(bed.config()).await;
    assert!(said.contains("acme"), "{said}");
    assert!(!path.exists());
    fs::write(&path, whole).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    bed.run().await;
    assert_eq!(
        bed.get("/v1/tenants").await.ok()["total"],
        1,
        "mended, it starts again"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn plaintext_beyond_loopback_is_refused_or_accepted_and_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let open = |config: &mut Config| config.listen.address = "0.0.0.0:0".to_owned();
    let said = refusal(config(&data, open)).await;
    assert!(
        said.contains("without TLS") && said.contains("--insecure-listen"),
        "{said}"
    );
    assert!(!data.exists(), "nothing was made");

    let mut bed = Bed::unclaimed(|config| {
        config.listen.address = "0.0.0.0:0".to_owned();
        config.listen.insecure = true;
    })
    .await;
    bed.operator = bed.claim("first").await;
    let noted = bed.entries("state").await;
    let insecure = noted
        .iter()
        .find(|e| e["leaf"]["kind"] == "state.insecure-listen")
        .unwrap_or_else(|| panic!("{noted:?}"));
    assert_eq!(insecure["payload"]["detail"]["address"], "0.0.0.0:0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_not_there_is_said_with_its_place() {
    let bed = Bed::start().await;
    let folder = tempfile::tempdir().unwrap();
    let url = folder.path().join("url");
    fs::write(&url, "postgres://bailiwick:canary-secret@127.0.0.1:1/bailiwick").unwrap();
    fs::set_permissions(&url, fs::Permissions::from_mode(0o600)).unwrap();
    let mut config = bed.config();
    config.data = folder.path().join("data");
    config.store.engine = "postgres".to_owned();
    config.store.url_file = Some(url.clone());
    let said = refusal(config.clone()).await;
    assert!(said.contains("store"), "{said}");
    assert!(!said.contains("canary-secret"), "{said}");
    fs::write(&url, "mysql://canary-secret@x/y").unwrap();
    let said = refusal(config.clone()).await;
    assert!(
        said.contains("store") && !said.contains("canary-secret"),
        "{said}"
    );
    fs::remove_file(&url).unwrap();
    let said = refusal(config).await;
    assert!(said.contains("cannot read"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_whose_port_is_taken_leaves_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data = folder.path().join("data");
    let mut busy = config(&data, |_| {});
    busy.listen.address = address.clone();
    let said = refusal(busy).await;
    assert!(said.contains("choose another address with --listen"), "{said}");
    assert!(!data.exists());
    let mut busy = config(&data, |_| {});
    busy.proxy.listen = address;
    let said = refusal(busy).await;
    assert!(said.contains("config key `proxy.listen`"), "{said}");
    assert!(!data.exists());
}
