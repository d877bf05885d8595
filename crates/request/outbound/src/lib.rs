//! The one guarded way out: every connection to a place that a tenant, an issuer, a client or a token can
//! influence goes through here.
//!
//! Invariants
//! - An URL is read by one strict rule; what two readers could read in two ways is refused.
//! - A name is resolved once, every address found is judged, and what was judged is connected to.
//! - HTTPS only, unless a destination has a `danger_` flag; redirects are never followed.
//! - A fetch has limits for connecting, for the whole, and for its bytes; no proxy of the environment is asked.
//! - What is kept of one tenant is never given to another.
//!
//! This crate does not know issuers, keys or upstream servers.

#![warn(missing_docs)]

mod address;
mod dial;
mod endpoint;
mod fetch;
mod freshness;
mod lane;
mod memory;
mod ports;
mod send;
mod share;
mod sigv4;
mod spelling;

pub use address::{AddressRange, AddressRule, is_public};
pub use dial::{
    BoxFuture, Connect, DialError, Dialer, Resolve, RootsError, SystemConnector, SystemResolver, Wire,
    alongside, public_tls,
};
pub use endpoint::{Endpoint, GuardError};
pub use fetch::{Destination, Document, FetchConfig, FetchError, Fetcher, Need};
pub use lane::{Lane, LaneConfig, Lanes};
pub use ports::{Spawner, UpstreamSecrets};
pub use send::{Answer, Message, SendConfig, Sender};
pub use sigv4::{AccessKey, AwsPost};
pub use spelling::spellings;
