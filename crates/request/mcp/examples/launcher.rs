//! The launcher process for the tests, as `bailiwick launcher` is for the product.
#![expect(clippy::unwrap_used, reason = "a test program may fail loudly")]

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime
        .block_on(bailiwick_mcp::launcher::serve(
            tokio::io::stdin(),
            tokio::io::stdout(),
        ))
        .unwrap();
}
