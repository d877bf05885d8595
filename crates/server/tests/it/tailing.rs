//! The end of a log, of one tenant and of all.

use serde_json::{Value, json};

use crate::bed::Bed;

#[tokio::test(flavor = "multi_thread")]
async fn the_tail_of_a_tenant_is_its_own_entries_and_that_of_all_says_whose_each_is() {
    let bed = Bed::start().await;
    for tenant in ["acme", "globex"] {
        bed.add_tenant(tenant).await;
        let worker = bed.add_identity(tenant, "worker").await;
        for _ in 0..3 {
            bed.open_task(tenant, &worker, &["authzen:evaluate"]).await;
        }
    }
    for log in ["state", "decisions"] {
        let all = bed.entries(log).await;
        let of = |tenant: &str| -> Vec<Value> {
            let own = all.iter().filter(|entry| entry["tenant"] == tenant);
            own.cloned().collect()
        };
        for tenant in ["acme", "globex"] {
            let own = of(tenant);
            assert!(own.len() > 2, "{log}: {all:?}");
            assert!(own.iter().all(|entry| entry["payload"].is_object()));
            let names = own.iter().filter_map(|entry| entry["names"].as_object());
            assert!(
                names
                    .flat_map(|names| names.values())
                    .any(|name| name == "worker"),
                "{log}: {own:?}"
            );
            let path = format!("/v1/tenants/{tenant}/logs/{log}/entries");
            let page = bed.get(&format!("{path}?last=1000")).await.ok();
            let items = page["items"].as_array().unwrap();
            assert!(items.iter().all(|entry| entry["tenant"] == tenant), "{page}");
            // What the service records by itself may have come behind it meanwhile.
            assert_eq!(items[..own.len()], own[..]);
            assert_eq!(
                (&page["total"], &page["next"]),
                (&json!(items.len()), &Value::Null)
            );
            assert_eq!(in_pages(&bed, &path).await[..own.len()], own[..]);
        }
    }
    let unknown = "/v1/tenants/nobody/logs/state/entries";
    bed.get(unknown).await.refused(404, "request.not-found");
    let unknown = "/v1/tenants/acme/logs/other/entries";
    bed.get(unknown).await.refused(404, "request.not-found");
}

/// All of them, two at a time, from the end.
async fn in_pages(bed: &Bed, path: &str) -> Vec<Value> {
    let (mut found, mut before) = (Vec::new(), String::new());
    loop {
        let page = bed.get(&format!("{path}?last=2{before}")).await.ok();
        let mut items = page["items"].as_array().unwrap().clone();
        assert!(items.len() <= 2);
        items.append(&mut found);
        found = items;
        match page["next"].as_str() {
            Some(next) => before = format!("&before={next}"),
            None => return found,
        }
    }
}
