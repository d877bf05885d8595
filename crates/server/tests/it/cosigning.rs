//! Witnesses of others: a service asks them for cosignatures, and a reader asks for k of n.

use std::sync::{Arc, OnceLock};

use axum::Router;
use bailiwick_server::evidence::{LogReport, Quorum, verify_witnessed};
use bailiwick_server::{Config, SystemEntropy, cosign};
use serde_json::{Value, json};

use crate::bed::{Bed, until};
use crate::clock::ShiftedClock;
use crate::desk::Desk;
use crate::folder::refusal;

/// URL and key of each witness; none as long as nobody has one.
static PLACES: OnceLock<Vec<(String, String)>> = OnceLock::new();

fn ask_them(config: &mut Config) {
    let places = PLACES.get().into_iter().flatten();
    config.witness.cosigners = places
        .map(|(url, vkey)| {
            let place = json!({
                "url": url, "vkey": vkey, "allow_addresses": ["127.0.0.0/8"], "danger_plaintext": true,
            });
            serde_json::from_value(place).unwrap()
        })
        .collect();
}

async fn serve(routes: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    crate::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    format!("http://{address}")
}

fn sizes(reports: &[LogReport]) -> Vec<u64> {
    let witnessed = reports.iter().filter_map(|report| report.witnessed.as_ref());
    witnessed.map(|witnessed| witnessed.size).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn witnesses_cosign_both_logs_and_a_reader_demands_so_many_of_them() {
    let mut bed = Bed::start_with(ask_them).await;
    let desk = Desk::open().await;
    bed.add_tenant("acme").await;
    let (_, _, token) = bed.add_worker(&desk, &["files:echo"]).await;
    bed.call(&token, "acme", "files", "echo", json!({})).await.ok();
    let logs: Value = bed.get("/v1/logs").await.ok();
    let vkeys: Vec<String> = logs["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|log| log["vkey"].as_str().unwrap().to_owned())
        .collect();
    bed.stop().await;
    let mut places = Vec::new();
    for name in ["witness.example/one", "witness.example/two"] {
        let folder = bed.folder().join(name.replace('/', "-"));
        let clock = Arc::new(ShiftedClock::new());
        let witness = cosign::open(name, &folder, &vkeys, clock, &SystemEntropy).unwrap();
        let vkey = witness.key().vkey();
        places.push((serve(cosign::router(witness)).await, vkey));
    }
    let keys: Vec<String> = places.iter().map(|(_, vkey)| vkey.clone()).collect();
    // One that takes connections and never answers, asked before all others.
    let mute = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let folder = bed.folder().join("mute");
    let clock = Arc::new(ShiftedClock::new());
    let witness = cosign::open("witness.example/mute", &folder, &vkeys, clock, &SystemEntropy).unwrap();
    let address = format!("http://{}", mute.local_addr().unwrap());
    places.insert(0, (address, witness.key().vkey()));
    PLACES.set(places).unwrap();
    bed.run().await;
    bed.add_identity("acme", "first").await;
    let (data, all) = (bed.data(), Quorum::parse(&keys, None).unwrap());
    let verify = |quorum: &Quorum| verify_witnessed(&data, &[], quorum).unwrap();
    until("both cosigned both logs", || async {
        let reports = verify(&all);
        reports.iter().all(LogReport::is_sound) && sizes(&reports).iter().all(|size| *size > 0)
    })
    .await;
    let state = sizes(&verify(&all))[0];
    // Growth is cosigned as well.
    bed.add_identity("acme", "second").await;
    until("the growth is cosigned", || async {
        let reports = verify(&all);
        reports.iter().all(LogReport::is_sound) && sizes(&reports)[0] > state
    })
    .await;
    bed.stop().await;
    let by = verify(&all)[0].witnessed.clone().unwrap().by;
    assert_eq!(
        by.iter()
            .map(|cosigned| cosigned.witness.as_str())
            .collect::<Vec<_>>(),
        ["witness.example/one", "witness.example/two"]
    );

    let stranger = cosign::open(
        "witness.example/three",
        &bed.folder().join("three"),
        &vkeys,
        Arc::new(ShiftedClock::new()),
        &SystemEntropy,
    )
    .unwrap();
    let three = [keys.clone(), vec![stranger.key().vkey()]].concat();
    let two_of_three = Quorum::parse(&three, Some(2)).unwrap();
    assert!(verify(&two_of_three).iter().all(LogReport::is_sound));
    let all_three = verify(&Quorum::parse(&three, None).unwrap());
    assert!(
        all_three
            .iter()
            .all(|r| r.findings.iter().any(|f| f.contains("2 of the 3 witnesses"))),
        "{all_three:?}"
    );
    assert!(Quorum::parse(&three, Some(4)).is_err() && Quorum::parse(&keys, Some(0)).is_err());
    // One witness under two lines is one.
    let twice = [keys[0].clone(), keys[0].clone()];
    assert!(
        !verify(&Quorum::parse(&twice, None).unwrap())
            .iter()
            .all(LogReport::is_sound)
    );

    // A cosignature that was altered, and one of the other log.
    let file = data.join("log/state/checkpoint.witnessed");
    let whole = std::fs::read_to_string(&file).unwrap();
    let lines: Vec<&str> = whole.lines().collect();
    let (last, rest) = lines.split_last().unwrap();
    let (head, tail) = last.split_at(last.len() - 10);
    let other = if tail.starts_with('A') { "B" } else { "A" };
    std::fs::write(
        &file,
        format!("{}\n{head}{other}{}\n", rest.join("\n"), &tail[1..]),
    )
    .unwrap();
    let said = verify(&all)[0].findings.join("; ");
    assert!(said.contains("does not verify"), "{said}");
    std::fs::copy(data.join("log/decisions/checkpoint.witnessed"), &file).unwrap();
    assert!(!verify(&all)[0].is_sound());
    std::fs::write(&file, &whole).unwrap();
    assert!(verify(&all).iter().all(LogReport::is_sound));

    let mut config = bed.config();
    config.witness.cosigners[1].vkey = vkeys[0].clone();
    let said = refusal(config).await;
    assert!(
        said.contains("`witness.cosigners`, table 2, `vkey`") && said.contains("type"),
        "{said}"
    );
}
