//! What a rate has counted stays counted over a restart.

use std::time::Duration;

use serde_json::json;

use crate::bed::Bed;
use crate::desk::Desk;

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_goes_on_counting_after_a_restart() {
    let mut bed = Bed::start().await;
    let desk = Desk::open().await;
    bed.add_tenant("acme").await;
    bed.add_server("acme", "files", &desk).await;
    let identity = bed.add_identity("acme", "worker").await;
    let scopes = ["files:echo(rate 5/60s)"];
    let (_, spent) = bed.open_task("acme", &identity, &scopes).await;
    let (_, started) = bed.open_task("acme", &identity, &scopes).await;
    let mut permits = 0;
    for _ in 0..5 {
        permits += usize::from(is_permitted(&bed, &spent).await);
    }
    for _ in 0..2 {
        permits += usize::from(is_permitted(&bed, &started).await);
    }
    assert_eq!(permits, 7);
    assert!(!is_permitted(&bed, &spent).await, "the rate is used up");
    for _ in 0..2 {
        bed.restart().await;
        assert!(!is_permitted(&bed, &spent).await, "a restart gives no calls");
    }
    for _ in 0..3 {
        assert!(is_permitted(&bed, &started).await, "nor does it take any");
    }
    assert!(!is_permitted(&bed, &started).await);
    assert_eq!(desk.calls(), 10);

    bed.clock.advance(Duration::from_secs(61));
    bed.restart().await;
    for token in [&spent, &started] {
        assert!(is_permitted(&bed, token).await, "the window has passed");
    }
}

/// Whether a call of the tool is let through; a refusal must be the rate's.
async fn is_permitted(bed: &Bed, token: &str) -> bool {
    let answer = bed.call(token, "acme", "files", "echo", json!({})).await.text();
    let is_refused = answer.contains("grant.rate-exceeded");
    assert!(is_refused != answer.contains("\"result\""), "{answer}");
    !is_refused
}
