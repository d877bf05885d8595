//! A gateway on a loopback port in front of one HTTP server, with one token that may do everything there and a
//! recorder in memory: for the conformance suite and for measuring the path without the log.
//!
//! `gateway UPSTREAM_URL [PORT]` prints `{"url": …, "token": "t"}` once it listens.
#![expect(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test program may fail loudly, and owns its runtime"
)]

use std::time::Duration;

use bailiwick_decide::Connection;

#[path = "../tests/it/world.rs"]
mod world;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(serve());
}

async fn serve() {
    let mut args = std::env::args().skip(1);
    let url = args.next().expect("the URL of the upstream server");
    let port: u16 = args.next().map_or(0, |p| p.parse().unwrap());
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let world = world::World::with(|config| {
        config.let_in_loopback(port);
        config.sessions_per_identity_max = 100_000;
    });
    let allow_addresses = vec!["127.0.0.0/8".to_owned()];
    world
        .add(
            "up",
            Connection::Http {
                url,
                allow_addresses,
                allow_plaintext: true,
            },
        )
        .await;
    world.grant("t", 1, &["up:*"]);
    let clock = std::sync::Arc::clone(&world.clock);
    tokio::spawn(async move {
        let tick = Duration::from_millis(50);
        let mut ticks = tokio::time::interval(tick);
        loop {
            ticks.tick().await;
            clock.advance(tick);
        }
    });
    println!(
        "{}",
        serde_json::json!({"url": format!("http://127.0.0.1:{port}/t/acme/mcp/up"), "token": "t"})
    );
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
        stream.set_nodelay(true).unwrap();
    });
    axum::serve(listener, world.gateway.router()).await.unwrap();
}
