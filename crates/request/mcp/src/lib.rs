//! The MCP gateway: one enforcement point in front of every upstream MCP server of every tenant.
//!
//! A caller speaks 2026-07-28 (stateless) or 2025-11-25 (sessions); so does an upstream server, over HTTP or
//! over the standard streams of a program. The four pairs are bridged here. Every method a caller sends
//! becomes a [`Call`](bailiwick_decide::Call), is decided and recorded, and only then forwarded.
//!
//! Invariants
//! - Nothing reaches an upstream server on behalf of a caller without a [`Permit`](bailiwick_pep::Permit).
//! - What was decided is what is forwarded: argument bytes are passed on as they came.
//! - A caller's token never goes upstream, an upstream credential never comes back.
//! - What one caller is sent can never come from another caller's call.
//! - A tool is shown and called only while its definition is the pinned one.
//! - A program is started only by the launcher, by absolute path, with verified digests.
//!
//! This crate does not know SQL, how tokens are verified, or how decisions are recorded.

mod answer;
mod bridge;
pub mod builtin;
mod client;
mod config;
mod door;
mod error;
mod filter;
mod flow;
mod frame;
mod gateway;
pub mod launcher;
mod method;
mod param_headers;
mod params;
mod pins;
mod ports;
mod session;
mod sse;
mod upstream;

pub use config::{ConfigError, GatewayConfig};
pub use error::UpstreamError;
pub use gateway::{Gateway, GatewayDeps};
pub use pins::{Inspection, PinReport, SeenTool, digest_of_definition};
pub use ports::{Authenticator, BoxFuture, PinReportError, PinReporter, Spawner, UpstreamSecrets};
