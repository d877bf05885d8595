//! Where a connection may go, seen from the network: a recording resolver and a recording connector.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use bailiwick_base::{ManualClock, TenantId, Time};
use bailiwick_outbound::{
    AddressRange, AddressRule, BoxFuture, Connect, Destination, Dialer, FetchConfig, FetchError, Fetcher,
    GuardError, Need, Resolve, public_tls,
};
use bailiwick_vectors as vectors;
use serde_json::Value;
use tokio::net::TcpStream;

/// Answers every name with the same addresses, connects to nothing, and writes down what it was asked for.
struct Network {
    answers: Vec<IpAddr>,
    resolved: Mutex<Vec<String>>,
    connected: Mutex<Vec<SocketAddr>>,
}

impl Resolve for Network {
    fn resolve<'a>(&'a self, host: &'a str, _: u16) -> BoxFuture<'a, io::Result<Vec<IpAddr>>> {
        self.resolved.lock().unwrap().push(host.to_owned());
        Box::pin(async { Ok(self.answers.clone()) })
    }
}

impl Connect for Network {
    fn connect(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<TcpStream>> {
        self.connected.lock().unwrap().push(address);
        Box::pin(async { Err(io::ErrorKind::ConnectionRefused.into()) })
    }
}

/// What happens on the network when this URL is fetched while every name has these addresses.
async fn fetched(
    url: &str,
    answers: &[&str],
    rule: AddressRule,
) -> (FetchError, Vec<String>, Vec<SocketAddr>) {
    let network = Arc::new(Network {
        answers: answers.iter().map(|a| a.parse().unwrap()).collect(),
        resolved: Mutex::default(),
        connected: Mutex::default(),
    });
    let dialer = Dialer {
        resolver: network.clone(),
        connector: network.clone(),
        tls: public_tls(),
    };
    let fetcher = Fetcher::new(
        dialer,
        Arc::new(ManualClock::at(Time::from_secs(1_800_000_000))),
        FetchConfig::default(),
    );
    let to = Destination {
        tenant: TenantId::parse("acme").unwrap(),
        url: url.to_owned(),
        addresses: rule,
        danger_plaintext: false,
    };
    let error = fetcher.json(&to, Need::Kept).await.unwrap_err();
    let resolved = network.resolved.lock().unwrap().clone();
    let connected = network.connected.lock().unwrap().clone();
    (error, resolved, connected)
}

const PUBLIC: &str = "93.184.216.34";

#[tokio::test]
async fn every_url_vector_is_judged_before_a_packet_leaves() {
    let Some(folder) = vectors::folder("ssrf-urls") else {
        return;
    };
    let set = vectors::json(&folder.join("urls.json"));
    let (mut run, mut wrong) = (0, Vec::new());
    for case in set["urls"].as_array().unwrap() {
        let (error, resolved, connected) =
            fetched(case["url"].as_str().unwrap(), &[PUBLIC], AddressRule::default()).await;
        let right = if case["expect"] == "allow" {
            connected.len() == 1 && matches!(error, FetchError::Unreachable(_))
        } else {
            connected.is_empty() && resolved.is_empty() && matches!(error, FetchError::Guarded(_))
        };
        if !right {
            wrong.push((case.clone(), error, resolved, connected));
        }
        run += 1;
    }
    for case in set["dns"].as_array().unwrap() {
        let answers: Vec<&str> = case["answers"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let url = format!("https://{}/", case["name"].as_str().unwrap());
        // `.example` is a name of documents; the guard asks the resolver for it as for any other.
        let (error, resolved, connected) = fetched(&url, &answers, AddressRule::default()).await;
        let right = connected.is_empty() && !resolved.is_empty() && matches!(error, FetchError::Guarded(_));
        if right != (case["expect"] == "refuse") {
            wrong.push((case.clone(), error, resolved, connected));
        }
        run += 1;
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    vectors::report("ssrf-urls", run, 152);
}

#[tokio::test]
async fn one_private_address_among_public_ones_refuses_the_name() {
    for answers in [[PUBLIC, "10.0.0.1"], ["10.0.0.1", PUBLIC], [PUBLIC, "::1"]] {
        let (error, _, connected) =
            fetched("https://idp.example.com/", &answers, AddressRule::default()).await;
        assert!(
            matches!(error, FetchError::Guarded(GuardError::Address(_))),
            "{error}"
        );
        assert_eq!(connected, []);
    }
}

#[tokio::test]
async fn a_name_is_resolved_once_and_what_was_judged_is_connected_to() {
    let (_, resolved, connected) = fetched(
        "https://idp.example.com:8443/",
        &[PUBLIC, "1.1.1.1"],
        AddressRule::default(),
    )
    .await;
    assert_eq!(resolved, ["idp.example.com"]);
    let expected: Vec<SocketAddr> = vec![
        format!("{PUBLIC}:8443").parse().unwrap(),
        "1.1.1.1:8443".parse().unwrap(),
    ];
    assert_eq!(connected, expected);
}

#[tokio::test]
async fn leave_for_a_range_is_leave_for_that_range_only() {
    let rule = || AddressRule::parse(&["10.1.0.0/16".to_owned()]).unwrap();
    let (_, _, connected) = fetched("https://idp.corp/", &["10.1.2.3"], rule()).await;
    assert_eq!(connected.len(), 1);
    let (error, _, connected) = fetched("https://idp.corp/", &["10.2.2.3"], rule()).await;
    assert!(
        matches!(error, FetchError::Guarded(_)) && connected.is_empty(),
        "{error}"
    );
}

#[test]
fn ranges_hold_what_they_say() {
    let holds = |range: &str, address: &str| {
        AddressRange::parse(range)
            .unwrap()
            .holds(address.parse().unwrap())
    };
    assert!(holds("10.1.0.0/16", "10.1.2.3") && holds("10.1.0.0/16", "::ffff:10.1.2.3"));
    assert!(!holds("10.1.0.0/16", "10.2.0.1") && !holds("10.1.0.0/16", "::1"));
    assert!(holds("0.0.0.0/0", "8.8.8.8") && holds("fd00::/8", "fd12::1") && holds("127.0.0.1", "127.0.0.1"));
    for wrong in ["10.0.0.0/33", "10.0.0.0/-1", "x/8", "::/129", ""] {
        assert_eq!(
            AddressRange::parse(wrong),
            Err(GuardError::Range(wrong.to_owned()))
        );
    }
}
