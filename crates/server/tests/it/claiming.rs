//! The first operator comes over the socket of the data folder and from nowhere else.

use std::os::unix::fs::PermissionsExt;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use bailiwick_server::operator::{OperatorKey, claim};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use crate::bed::Bed;

async fn at_socket(bed: &Bed, path: &str, body: &Value) -> (u16, Value) {
    at_socket_as(bed, path, None, body).await
}

/// The same with an operator's session.
pub(crate) async fn at_socket_as(bed: &Bed, path: &str, session: Option<&str>, body: &Value) -> (u16, Value) {
    let stream = tokio::net::UnixStream::connect(bed.data().join("claim.sock"))
        .await
        .unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    crate::spawn(async move { drop(connection.await) });
    let mut request = Request::post(path)
        .header(header::HOST, "claim.invalid")
        .header(header::CONTENT_TYPE, "application/json");
    if let Some(session) = session {
        request = request.header(header::AUTHORIZATION, format!("Bearer {session}"));
    }
    let request = request.body(Full::new(Bytes::from(body.to_string()))).unwrap();
    let reply = sender.send_request(request).await.unwrap();
    let status = reply.status().as_u16();
    let bytes = reply.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap_or_default())
}

fn public_key() -> String {
    let key = Ed25519KeyPair::generate().unwrap();
    URL_SAFE_NO_PAD.encode(key.public_key().as_ref())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_claim_is_refused_also_after_a_restart() {
    let mut bed = Bed::start().await;
    for restarted in [false, true] {
        if restarted {
            bed.restart().await;
        }
        let key = OperatorKey::generate().unwrap();
        let problem = claim(&bed.data().join("claim.sock"), "second", &key)
            .await
            .unwrap_err();
        assert_eq!((problem.status, problem.code.as_str()), (409, "claim.done"));
        assert!(problem.hint.is_some());
    }
    assert_eq!(
        bed.get("/v1/tenants").await.status,
        200,
        "the first operator is still the one"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_claims_at_once_one_wins() {
    let bed = Bed::unclaimed(|_| {}).await;
    let claims = (0..8).map(|n| {
        let bed = &bed;
        async move {
            let body = json!({"name": format!("op{n}"), "public_key": public_key()});
            at_socket(bed, "/claim", &body).await.0
        }
    });
    let mut answers = futures_util::future::join_all(claims).await;
    answers.sort_unstable();
    assert_eq!(answers, [201, 409, 409, 409, 409, 409, 409, 409]);
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_keys_and_names_are_refused_and_the_claim_stays_open() {
    let bed = Bed::unclaimed(|_| {}).await;
    let short = URL_SAFE_NO_PAD.encode([1_u8; 31]);
    let long = URL_SAFE_NO_PAD.encode([1_u8; 33]);
    let neutral = {
        let mut point = [0_u8; 32];
        point[0] = 1;
        URL_SAFE_NO_PAD.encode(point)
    };
    let zero = URL_SAFE_NO_PAD.encode([0_u8; 32]);
    let padded = format!("{}=", public_key());
    for (title, key) in [
        ("empty", ""),
        ("not base64url", "+/+/"),
        ("too short", &short),
        ("too long", &long),
        ("the neutral point", &neutral),
        ("a point of small order", &zero),
        ("padded", &padded),
    ] {
        let (status, problem) = at_socket(&bed, "/claim", &json!({"name": "x", "public_key": key})).await;
        assert_eq!(
            (status, &problem["code"]),
            (400, &json!("claim.public-key")),
            "{title}: {problem}"
        );
    }
    for name in ["", "  ", "a\nb", &"x".repeat(5_000)] {
        let body = json!({"name": name, "public_key": public_key()});
        let (status, problem) = at_socket(&bed, "/claim", &body).await;
        assert!(matches!(status, 400 | 422), "{name:?}: {problem}");
    }
    let extra = json!({"name": "x", "public_key": public_key(), "role": "root"});
    assert_eq!(at_socket(&bed, "/claim", &extra).await.0, 400);
    let good = json!({"name": "Ada", "public_key": public_key()});
    assert_eq!(at_socket(&bed, "/claim", &good).await.0, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_no_claim_on_the_network_and_nothing_else_on_the_socket() {
    let bed = Bed::unclaimed(|_| {}).await;
    let body = json!({"name": "mallory", "public_key": public_key()}).to_string();
    let json = [("content-type", "application/json")];
    for path in ["/claim", "/v1/claim", "//claim", "/claim/", "/CLAIM"] {
        let answer = bed.send("POST", path, &json, body.clone()).await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
    }
    for path in ["/v1/tenants", "/readyz", "/access/v1/evaluation"] {
        assert_eq!(at_socket(&bed, path, &json!({})).await.0, 404, "{path}");
    }
    let mode = std::fs::metadata(bed.data().join("claim.sock"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}
