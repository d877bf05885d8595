//! Lanes are shared out among tenants; who finds none waits, few and not long.

use std::time::Duration;

use bailiwick_base::TenantId;
use bailiwick_outbound::{LaneConfig, Lanes};

fn tenant(slug: &str) -> TenantId {
    TenantId::parse(slug).unwrap()
}

fn lanes(all_max: usize, wait_max: Duration) -> Lanes {
    Lanes::new(LaneConfig {
        all_max,
        each_max: 1,
        waiting_each_max: 1,
        wait_max,
    })
}

#[tokio::test]
async fn a_tenant_that_uses_its_share_takes_nothing_from_another() {
    let lanes = lanes(2, Duration::from_millis(5));
    let (acme, globex) = (tenant("acme"), tenant("globex"));
    let held = lanes.take(&acme).await.unwrap();
    assert!(lanes.take(&acme).await.is_none(), "its wait ends");
    assert!(lanes.take(&globex).await.is_some());
    drop(held);
    assert!(lanes.take(&acme).await.is_some());
}

#[tokio::test]
async fn who_waits_gets_the_lane_that_becomes_free_and_one_too_many_does_not_wait() {
    let lanes = lanes(2, Duration::from_secs(60));
    let acme = tenant("acme");
    let held = lanes.take(&acme).await.unwrap();
    let free = async {
        // The first of the two that were asked for waits by now, so there is no room for another.
        assert!(lanes.take(&acme).await.is_none());
        drop(held);
    };
    let (waited, ()) = tokio::join!(biased; lanes.take(&acme), free);
    assert!(waited.is_some());
}

#[tokio::test]
async fn all_tenants_together_have_no_more_than_there_are() {
    let lanes = lanes(1, Duration::from_millis(5));
    let held = lanes.take(&tenant("acme")).await.unwrap();
    assert!(lanes.take(&tenant("globex")).await.is_none());
    drop(held);
    assert!(lanes.take(&tenant("globex")).await.is_some());
}
