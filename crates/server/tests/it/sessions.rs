//! An operator's session: short from now on, and used up by the change it was made for.

use serde_json::{Value, json};

use crate::bed::{Answer, Bed, identity};

const PATH: &str = "/v1/tenants/acme/identities";

async fn send(bed: &Bed, session: &str, key: Option<&str>, path: &str, body: &Value) -> Answer {
    let bearer = format!("Bearer {session}");
    let mut headers = vec![
        ("authorization", bearer.as_str()),
        ("content-type", "application/json"),
    ];
    headers.extend(key.map(|key| ("idempotency-key", key)));
    bed.send("POST", path, &headers, body.to_string()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_serves_one_change_and_its_repetition_under_the_same_key() {
    let bed = Bed::start().await;
    bed.add_tenant("acme").await;
    let bare = bed.session();
    assert_eq!(send(&bed, &bare, None, PATH, &identity("one")).await.status, 201);
    let again = send(&bed, &bare, None, PATH, &identity("two")).await;
    again.refused(401, "session.used");

    let (keyed, three) = (bed.session(), identity("three"));
    let first = send(&bed, &keyed, Some("key-00001"), PATH, &three).await;
    assert_eq!(first.status, 201, "{}", first.text());
    let repeated = send(&bed, &keyed, Some("key-00001"), PATH, &three).await;
    assert_eq!(
        (repeated.status, repeated.header("idempotent-replayed")),
        (first.status, "true")
    );
    assert_eq!(repeated.bytes, first.bytes);
    for (title, key, path) in [
        ("another key", Some("key-00002"), PATH),
        ("no key", None, PATH),
        ("another path", Some("key-00001"), "/v1/tenants/acme/kill"),
    ] {
        let other = send(&bed, &keyed, key, path, &identity("four")).await;
        assert_eq!(
            (other.status.as_u16(), other.code().as_str()),
            (401, "session.used"),
            "{title}"
        );
    }
    let fresh = send(&bed, &bed.session(), Some("key-00001"), PATH, &three).await;
    assert_eq!(fresh.bytes, first.bytes, "a retry may sign anew");

    let reader = bed.session();
    let bearer = format!("Bearer {reader}");
    for _ in 0..3 {
        let read = bed.send("GET", PATH, &[("authorization", &bearer)], "").await;
        assert_eq!(read.status, 200, "reading does not use it up");
    }
    let listed = bed.get(PATH).await.ok();
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(2), "{listed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_within_a_minute_from_now_whatever_it_says_of_its_beginning() {
    let bed = Bed::start().await;
    for (ahead, life, status) in [
        (0, 60, 200),
        (29, 31, 200),
        (29, 60, 401),
        (5, 60, 401),
        (0, 61, 401),
    ] {
        let now = bed.now();
        let claims = json!({"exp": now + ahead + life});
        let session = bed.operator.session_with(now + ahead, &claims);
        let bearer = format!("Bearer {session}");
        let answer = bed
            .send("GET", "/v1/tenants", &[("authorization", &bearer)], "")
            .await;
        assert_eq!(
            answer.status,
            status,
            "{ahead} s ahead for {life} s: {}",
            answer.text()
        );
    }
}
