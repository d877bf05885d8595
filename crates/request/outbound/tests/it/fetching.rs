//! Fetching from a real TLS server: what is kept, and what a hostile server gets.

use std::sync::Arc;
use std::time::Duration;

use bailiwick_base::{ManualClock, TenantId, Time};
use bailiwick_outbound::{
    AddressRule, Destination, Dialer, Document, FetchConfig, FetchError, Fetcher, GuardError, Need,
    public_tls,
};
use serde_json::json;

use crate::server::Server;

const JSON: &str = "content-type: application/json\r\n";

struct Bed {
    server: Server,
    clock: Arc<ManualClock>,
    fetcher: Fetcher,
}

impl Bed {
    async fn start() -> Self {
        let server = Server::start().await;
        let clock = Arc::new(ManualClock::at(Time::from_secs(1_800_000_000)));
        let dialer = Dialer {
            tls: Arc::clone(&server.tls),
            ..Dialer::of_system()
        };
        let config = FetchConfig {
            body_max: 1_024,
            whole_timeout: Duration::from_millis(300),
            ..FetchConfig::default()
        };
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

    fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
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
    let bed = Bed::start().await;
    bed.server
        .answers("200 OK", &format!("{JSON}cache-control: no-store\r\n"), "{}");
    let crowd = (0..20).map(|_| bed.ask(Need::Kept));
    for asked in crowd.collect::<Vec<_>>() {
        asked.await.unwrap();
    }
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
