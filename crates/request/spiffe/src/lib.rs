//! The SPIFFE Workload API: gRPC on a Unix socket. Who calls is what the kernel says, never what the caller says.
//!
//! Invariants
//! - A request without `workload.spiffe.io: true` is refused before anything else is looked at (a browser or a
//!   confused proxy cannot send it).
//! - Connections, requests on one, and bytes of a request are limited.
//! - What is not understood is an error with its gRPC code; nothing is issued then.
//!
//! This crate does not know identities, keys or decisions: an [`Authority`] does.

#![warn(missing_docs)]

mod config;
mod frame;
mod message;
mod peer;
mod serve;
mod socket;
mod wire;

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use serde_json::{Map, Value};

pub use config::{SpiffeConfig, SpiffeConfigError};
pub use peer::Peer;
pub use serve::{Spawn, serve};
pub use socket::{SocketError, bind};

/// A boxed future, so that a port can be a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Why a workload gets nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refused {
    /// The request is malformed.
    Invalid(String),
    /// It is nobody here, or may not.
    Denied(String),
    /// It cannot be said now.
    Unavailable(String),
}

/// A JWT-SVID.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtSvid {
    /// SPIFFE ID.
    pub id: String,
    /// Compact JWS.
    pub token: String,
}

/// An X.509-SVID with its key. Both are for the workload that asked.
pub struct X509Svid {
    /// SPIFFE ID.
    pub id: String,
    /// Certificates in DER, the leaf first.
    pub chain: Vec<u8>,
    /// The private key in PKCS #8 DER.
    pub key: Vec<u8>,
    /// Certificates of the authority in DER.
    pub bundle: Vec<u8>,
    /// After how long the next one should follow.
    pub good_for: Duration,
}

/// Bundles by the id of their trust domain.
pub type Bundles = BTreeMap<String, Vec<u8>>;

/// Who decides, signs and records.
pub trait Authority: Send + Sync + 'static {
    /// One JWT-SVID for each identity that the peer is, or for the one it wants.
    fn jwt_svids<'a>(
        &'a self,
        peer: &'a Peer,
        audience: Vec<String>,
        wanted: Option<String>,
    ) -> BoxFuture<'a, Result<Vec<JwtSvid>, Refused>>;

    /// One X.509-SVID for each identity that the peer is.
    fn x509_svids<'a>(&'a self, peer: &'a Peer) -> BoxFuture<'a, Result<Vec<X509Svid>, Refused>>;

    /// JWK Sets with which the SVIDs of the peer's trust domains are verified.
    ///
    /// # Errors
    /// [`Refused`].
    fn jwt_bundles(&self, peer: &Peer) -> Result<Bundles, Refused>;

    /// Certificates with which the SVIDs of the peer's trust domains are verified.
    ///
    /// # Errors
    /// [`Refused`].
    fn x509_bundles(&self, peer: &Peer) -> Result<Bundles, Refused>;

    /// Verifies a JWT-SVID for an audience: the SPIFFE ID and the claims.
    ///
    /// # Errors
    /// [`Refused`].
    fn validate(
        &self,
        peer: &Peer,
        audience: &str,
        svid: &str,
    ) -> Result<(String, Map<String, Value>), Refused>;

    /// What the answers to the peer depend on, as something that can be compared.
    ///
    /// # Errors
    /// [`Refused`].
    fn standing(&self, peer: &Peer) -> Result<Vec<u8>, Refused>;

    /// Done when [`Authority::standing`] is no longer `since`: a stream has something new to tell, or to end with.
    fn changed<'a>(&'a self, peer: &'a Peer, since: &'a Result<Vec<u8>, Refused>) -> BoxFuture<'a, ()>;
}
