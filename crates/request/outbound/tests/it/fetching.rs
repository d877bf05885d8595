//! Fetching from a real TLS server: what is kept, and what a hostile server gets.

use std::sync::Arc;
use std::time::Duration;

use bailiwick_base::{ManualClock, TenantId, Time};
use bailiwick_outbound::{
    AddressRule, Destination, Dialer, Document, FetchConfig, FetchError, Fetcher, GuardError, Need,
    public_tls,
};
use serde_json::json;
use tokio::task::JoinSet;

use crate::server::Server;

const JSON: &str = "content-type: application/json\r\n";

struct Bed {
    server: Server,
    clock: Arc<ManualClock>,
    fetcher: Fetcher,
}

impl Bed {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(change: fn(&mut FetchConfig)) -> Self {
        let server = Server::start().await;
        let clock = Arc::new(ManualClock::at(Time::from_secs(1_800_000_000)));
        let dialer = Dialer {
            tls: Arc::clone(&server.tls),
            ..Dialer::of_system()
        };
        let mut config = FetchConfig {
            body_max: 1_024,
            whole_timeout: Duration::from_millis(300),
            ..FetchConfig::default()
        };
        change(&mut config);
        let fetcher = Fetcher::new(dialer, clock.clone(), config);
        Self {
            server,
            clock,
            fetcher,
        }
    }

    fn to(&self, tenant: &str, ranges: &[&str]) -> Destination {
        let ranges: Vec<String> = ranges.iter().map(|&r| r.to_owned()).collect();
        Destination {
            tenant: TenantId::parse(tenant).unwrap(),
            url: format!("https://localhost:{}/keys", self.server.port),
            addresses: AddressRule::parse(&ranges).unwrap(),
            danger_plaintext: false,
        }
    }

    async fn ask(&self, need: Need) -> Result<Arc<Document>, FetchError> {
        self.fetcher
            .json(&self.to("acme", &["127.0.0.0/8", "::1"]), need)
            .await
    }

    /// Until the server was connected to so many times.
    async fn until_asked(&self, times: usize) {
        while self.server.count() < times {
            tokio::task::yield_now().await;
        }
    }

    fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

/// Twenty at once, all of them under way.
fn crowd(bed: &Arc<Bed>, need: Need) -> JoinSet<Result<Arc<Document>, FetchError>> {
    let mut crowd = JoinSet::new();
    for _ in 0..20 {
        let bed = Arc::clone(bed);
        crowd.spawn(async move { bed.ask(need).await });
    }
    crowd
}

#[tokio::test]
async fn a_server_that_hangs_holds_nobody_up_who_can_be_answered() {
    let bed = Arc::new(Bed::start().await);
    let kept = format!("{JSON}cache-control: max-age=600\r\n");
    bed.server.answers("200 OK", &kept, "{}");
    let document = bed.ask(Need::Kept).await.unwrap();
    bed.advance(11);
    bed.server.is_silent();
    let mut waiting = crowd(&bed, Need::Newer);
    bed.until_asked(2).await;
    // What is fresh is given at once, with a fetch under way.
    assert_eq!(bed.ask(Need::Kept).await.unwrap(), document);
    assert!(waiting.try_join_next().is_none(), "nobody has an answer yet");
    // The fetch lasts longer than the time between two: still one for the whole crowd.
    bed.advance(11);
    for outcome in waiting.join_all().await {
        assert_eq!(outcome.unwrap_err(), FetchError::TimedOut);
    }
    assert_eq!(bed.server.count(), 2);
    // And none at its heels.
    bed.ask(Need::Newer).await.unwrap();
    assert_eq!(bed.server.count(), 2);
}

#[tokio::test]
async fn a_caller_who_goes_away_does_not_spoil_the_fetch() {
    let bed = Arc::new(Bed::start().await);
    bed.server
        .answers("200 OK", &format!("{JSON}cache-control: max-age=600\r\n"), "{}");
    let release = bed.server.holds();
    let mut waiting = crowd(&bed, Need::Kept);
    bed.until_asked(1).await;
    waiting.shutdown().await;
    release.notify_one();
    bed.ask(Need::Kept).await.unwrap();
    assert_eq!(bed.server.count(), 1);
}

#[tokio::test]
async fn no_more_fetches_run_at_once_than_may() {
    let bed = Arc::new(Bed::start_with(|config| config.at_once_max = 1).await);
    let waiting = crowd(&bed, Need::Kept);
    bed.until_asked(1).await;
    let other = bed.to("globex", &["127.0.0.0/8", "::1"]);
    let refused = bed.fetcher.json(&other, Need::Kept).await.unwrap_err();
    assert_eq!(refused, FetchError::Busy);
    waiting.join_all().await;
    // It was not tried, so it is tried as soon as there is room.
    bed.server.answers("200 OK", JSON, "{}");
    bed.fetcher.json(&other, Need::Kept).await.unwrap();
}

#[tokio::test]
async fn the_slow_servers_of_one_tenant_take_no_place_of_another() {
    let bed = Bed::start_with(|config| {
        config.at_once_max = 8;
        config.at_once_each_max = 2;
        config.whole_timeout = Duration::from_secs(600);
    });
    let bed = Arc::new(bed.await);
    bed.server.is_silent();
    let mut hanging = JoinSet::new();
    for number in 0..8 {
        let (bed, mut to) = (Arc::clone(&bed), bed.to("acme", &["127.0.0.0/8", "::1"]));
        to.url = format!("{}?{number}", to.url);
        hanging.spawn(async move { bed.fetcher.json(&to, Need::Kept).await });
    }
    // Two of them are asked for and never answered, the others are refused at once.
    for _ in 0..6 {
        let refused = hanging.join_next().await.unwrap().unwrap();
        assert_eq!(refused.unwrap_err(), FetchError::Busy);
    }
    while bed.server.heads() < 2 {
        tokio::task::yield_now().await;
    }
    let other = bed.to("globex", &["127.0.0.0/8", "::1"]);
    let asked = bed.server.count();
    bed.server.answers("200 OK", JSON, "{}");
    tokio::time::timeout(Duration::from_secs(30), bed.fetcher.json(&other, Need::Kept))
        .await
        .expect("it waits for nobody else's server")
        .unwrap();
    assert_eq!(bed.server.count(), asked + 1);
    assert!(hanging.try_join_next().is_none(), "those of acme hang on");
}

#[tokio::test]
async fn what_is_kept_is_bounded_by_bytes() {
    let bed = Bed::start_with(|config| {
        config.memory_max = 4 * 1024 * 1024;
        config.body_max = 256 * 1024;
    })
    .await;
    let body = format!("[\"{}\"]", "x".repeat(200_000));
    let kept = format!("{JSON}cache-control: max-age=3600\r\n");
    bed.server.answers("200 OK", &kept, &body);
    let mut documents = Vec::new();
    for number in 0..100 {
        let mut to = bed.to("acme", &["127.0.0.0/8", "::1"]);
        to.url = format!("{}?{number}", to.url);
        let document = bed.fetcher.json(&to, Need::Kept).await.unwrap();
        documents.push(Arc::downgrade(&document));
    }
    let alive = documents.iter().filter(|d| d.strong_count() > 0).count();
    assert!((1..=20).contains(&alive), "{alive} documents of 200 kB in 4 MiB");
    // Short as text, long in memory.
    bed.server
        .answers("200 OK", &kept, &format!("[{}0]", "{},".repeat(20_000)));
    let mut to = bed.to("acme", &["127.0.0.0/8", "::1"]);
    to.url = format!("{}?many", to.url);
    let refused = bed.fetcher.json(&to, Need::Kept).await;
    assert!(matches!(refused, Err(FetchError::NotJson(_))), "{refused:?}");
}

#[tokio::test]
async fn a_document_that_did_not_change_is_kept_under_the_terms_it_came_with() {
    let bed = Bed::start().await;
    bed.server.answers(
        "200 OK",
        &format!("{JSON}cache-control: max-age=60\r\netag: \"a\"\r\n"),
        "{}",
    );
    bed.ask(Need::Kept).await.unwrap();
    bed.server
        .answers_bytes(b"HTTP/1.1 304 Not Modified\r\n\r\n".to_vec());
    for asked in 2..5 {
        bed.advance(61);
        bed.ask(Need::Kept).await.unwrap();
        assert_eq!(bed.server.count(), asked);
    }
    bed.server
        .answers_bytes(b"HTTP/1.1 304 Not Modified\r\ncache-control: max-age=120\r\n\r\n".to_vec());
    bed.advance(61);
    bed.ask(Need::Kept).await.unwrap();
    bed.advance(119);
    bed.ask(Need::Kept).await.unwrap();
    assert_eq!(bed.server.count(), 5, "its newer word counts");
}

#[tokio::test]
async fn a_document_is_kept_as_long_as_it_says_and_then_asked_for_again() {
    let bed = Bed::start().await;
    bed.server.answers(
        "200 OK",
        &format!("{JSON}cache-control: max-age=60\r\netag: \"a\"\r\n"),
        r#"{"k":1}"#,
    );
    let first = bed.ask(Need::Kept).await.unwrap();
    assert_eq!(first.value, json!({"k": 1}));
    bed.advance(59);
    assert_eq!(bed.ask(Need::Kept).await.unwrap(), first);
    assert_eq!(bed.server.count(), 1);
    // Stale: asked whether it changed, and it did not.
    bed.advance(2);
    bed.server
        .answers_bytes(b"HTTP/1.1 304 Not Modified\r\ncache-control: max-age=60\r\n\r\n".to_vec());
    assert_eq!(bed.ask(Need::Kept).await.unwrap(), first);
    assert!(
        bed.server.last_head().contains("if-none-match: \"a\""),
        "{}",
        bed.server.last_head()
    );
    bed.advance(59);
    bed.ask(Need::Kept).await.unwrap();
    assert_eq!(bed.server.count(), 2);
    // Never longer than an hour, whatever it says.
    bed.advance(2);
    bed.server.answers(
        "200 OK",
        &format!("{JSON}cache-control: max-age=99999999\r\n"),
        r#"{"k":2}"#,
    );
    let second = bed.ask(Need::Kept).await.unwrap();
    assert_eq!(second.value, json!({"k": 2}));
    bed.advance(3_601);
    bed.ask(Need::Kept).await.unwrap();
    assert_eq!(bed.server.count(), 4);
}

#[tokio::test]
async fn a_newer_document_is_fetched_no_more_often_than_the_limit() {
    let bed = Bed::start().await;
    bed.server
        .answers("200 OK", &format!("{JSON}cache-control: max-age=600\r\n"), "{}");
    bed.ask(Need::Kept).await.unwrap();
    for _ in 0..50 {
        bed.ask(Need::Newer).await.unwrap();
    }
    assert_eq!(bed.server.count(), 1);
    bed.advance(11);
    for _ in 0..50 {
        bed.ask(Need::Newer).await.unwrap();
    }
    assert_eq!(bed.server.count(), 2);
}

#[tokio::test]
async fn what_must_not_be_kept_is_shared_by_a_crowd_and_no_longer() {
    let bed = Arc::new(Bed::start().await);
    bed.server
        .answers("200 OK", &format!("{JSON}cache-control: no-store\r\n"), "{}");
    for outcome in crowd(&bed, Need::Kept).join_all().await {
        outcome.unwrap();
    }
    assert_eq!(bed.server.count(), 1);
    bed.ask(Need::Kept).await.unwrap();
    assert_eq!(bed.server.count(), 1);
    bed.advance(11);
    bed.ask(Need::Kept).await.unwrap();
    assert_eq!(bed.server.count(), 2);
}

#[tokio::test]
async fn a_hostile_answer_is_an_error_and_nothing_is_kept() {
    let long = "1".repeat(2_000);
    let chunked =
        format!("HTTP/1.1 200 OK\r\n{JSON}transfer-encoding: chunked\r\n\r\n7d0\r\n{long}\r\n0\r\n\r\n");
    let cases: Vec<(Vec<u8>, FetchError)> = vec![
        (chunked.into_bytes(), FetchError::TooLong(1_024)),
        (
            format!("HTTP/1.1 200 OK\r\n{JSON}content-length: 999999999\r\n\r\n{{").into_bytes(),
            FetchError::TooLong(1_024),
        ),
        (
            b"HTTP/1.1 302 Found\r\nlocation: https://169.254.169.254/\r\ncontent-length: 0\r\n\r\n".to_vec(),
            FetchError::Redirected(302),
        ),
        (
            b"HTTP/1.1 503 Unavailable\r\ncontent-length: 0\r\n\r\n".to_vec(),
            FetchError::Status(503),
        ),
        (
            b"HTTP/1.1 304 Not Modified\r\n\r\n".to_vec(),
            FetchError::Status(304),
        ),
        (
            format!("HTTP/1.1 200 OK\r\n{JSON}content-length: 20\r\n\r\n{{").into_bytes(),
            FetchError::Closed,
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 2\r\n\r\n{}".to_vec(),
            FetchError::NotJson("its type is `text/html`".to_owned()),
        ),
        (
            format!("HTTP/1.1 200 OK\r\n{JSON}content-encoding: gzip\r\ncontent-length: 2\r\n\r\n{{}}")
                .into_bytes(),
            FetchError::NotJson("it is packed".to_owned()),
        ),
        (b"SSH-2.0-OpenSSH\r\n".to_vec(), FetchError::Closed),
    ];
    let bed = Bed::start().await;
    for (bytes, expected) in cases {
        bed.advance(60);
        bed.server.answers_bytes(bytes);
        assert_eq!(bed.ask(Need::Kept).await.unwrap_err(), expected);
        let asked = bed.server.count();
        assert_eq!(bed.ask(Need::Kept).await.unwrap_err(), expected, "again at once");
        assert_eq!(
            bed.server.count(),
            asked,
            "a failed fetch is not repeated at once"
        );
    }
    bed.advance(60);
    bed.server.answers("200 OK", JSON, r#"{"k":1,"k":2}"#);
    assert!(matches!(bed.ask(Need::Kept).await, Err(FetchError::NotJson(_))));
    bed.advance(60);
    bed.server.is_silent();
    assert_eq!(bed.ask(Need::Kept).await.unwrap_err(), FetchError::TimedOut);
}

#[tokio::test]
async fn what_is_kept_for_one_tenant_is_not_given_to_another() {
    let bed = Bed::start().await;
    bed.server
        .answers("200 OK", &format!("{JSON}cache-control: max-age=600\r\n"), "{}");
    bed.ask(Need::Kept).await.unwrap();
    let other = bed.to("globex", &["127.0.0.0/8", "::1"]);
    bed.fetcher.json(&other, Need::Kept).await.unwrap();
    assert_eq!(bed.server.count(), 2);
    // Nor under less leave.
    let refused = bed
        .fetcher
        .json(&bed.to("acme", &[]), Need::Kept)
        .await
        .unwrap_err();
    assert!(
        matches!(refused, FetchError::Guarded(GuardError::Url { .. })),
        "{refused}"
    );
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_no_connection() {
    let bed = Bed::start().await;
    bed.server.answers("200 OK", JSON, "{}");
    let dialer = Dialer {
        tls: public_tls(),
        ..Dialer::of_system()
    };
    let fetcher = Fetcher::new(dialer, bed.clock.clone(), FetchConfig::default());
    let refused = fetcher
        .json(&bed.to("acme", &["127.0.0.0/8", "::1"]), Need::Kept)
        .await;
    assert!(matches!(refused, Err(FetchError::Unreachable(text)) if text.starts_with("TLS")));
}
