//! Which destination a place is, and with what it is opened.

use std::sync::Arc;

use bailiwick_base::{CredentialId, Secret, TenantId};
use bailiwick_decide::destination::{Coding, HeaderTemplate};
use bailiwick_decide::{Bearer, Connection, Snapshot, UpstreamServer};
use bailiwick_outbound::{AddressRule, Dialer, Endpoint};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderName, HeaderValue, Method};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::answer::Refused;
use crate::mask::{Mask, Masks};

/// A destination that stands for a place.
#[derive(Clone)]
pub(crate) struct Found {
    pub(crate) server: Arc<UpstreamServer>,
    pub(crate) tunnel: bool,
}

/// A secret in its header, and what may therefore not come back.
#[derive(Clone)]
pub(crate) struct Injected {
    pub(crate) name: HeaderName,
    pub(crate) value: HeaderValue,
    pub(crate) mask: Mask,
}

/// The destination of `tenant` at `endpoint`. Where several are there, the one the caller holds a scope for, and for a
/// `CONNECT` rather one that is looked into; else the first by name.
pub(crate) fn find(
    snapshot: &Snapshot,
    tenant: &TenantId,
    (endpoint, method): (&Endpoint, &Method),
    bearer: &Bearer,
) -> Option<Found> {
    let there = snapshot.servers(tenant).filter_map(|server| {
        let Connection::Destination { url, tunnel, .. } = &server.connection else {
            return None;
        };
        let at = Endpoint::parse(url, true).ok()?;
        let is_there = at.tls == endpoint.tls && at.host == endpoint.host && at.port == endpoint.port;
        is_there.then_some((server, *tunnel))
    });
    let rank = |server: &UpstreamServer, tunnel: bool| {
        let scoped = bearer
            .claims
            .scopes
            .contains(server.name.as_str(), method.as_str());
        match (method == Method::CONNECT, tunnel, scoped) {
            (false, _, true) | (true, true, true) => 0,
            (false, _, false) | (true, false, _) => 1,
            (true, true, false) => 2,
        }
    };
    let (server, tunnel) =
        there.min_by(|(a, ta), (b, tb)| (rank(a, *ta), &a.name).cmp(&(rank(b, *tb), &b.name)))?;
    Some(Found {
        server: Arc::clone(server),
        tunnel,
    })
}

impl Found {
    fn connection(&self) -> Option<(&[String], Option<&str>, Option<&str>)> {
        match &self.server.connection {
            Connection::Destination {
                allow_addresses,
                header,
                ca,
                ..
            } => Some((allow_addresses, header.as_deref(), ca.as_deref())),
            Connection::Exec { .. } | Connection::Http { .. } => None,
        }
    }

    /// Which addresses it may have.
    pub(crate) fn rule(&self) -> Result<AddressRule, Refused> {
        let ranges = self.connection().map(|(ranges, ..)| ranges).unwrap_or_default();
        AddressRule::parse(ranges).map_err(|e| Refused::gateway("destination.guarded", e.to_string()))
    }

    /// The way out, with this destination's own CA where it has one.
    pub(crate) fn dialer(&self, usual: &Dialer) -> Result<Dialer, Refused> {
        let Some((_, _, Some(ca))) = self.connection() else {
            return Ok(usual.clone());
        };
        let failed = |e: &dyn std::fmt::Display| Refused::gateway("destination.ca", format!("its CA: {e}"));
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
            let certificate = certificate.map_err(|e| failed(&e))?;
            roots.add(certificate).map_err(|e| failed(&e))?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| failed(&e))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Dialer {
            tls: Arc::new(tls),
            ..usual.clone()
        })
    }

    /// The secret of the destination in its header; `None` when it cannot stand in one, or not be looked for.
    pub(crate) fn injected(
        &self,
        id: &CredentialId,
        secret: &Secret<Vec<u8>>,
        masks: &Masks,
    ) -> Option<Injected> {
        let (_, template, _) = self.connection()?;
        let template = HeaderTemplate::parse(template?).ok()?;
        let name = HeaderName::from_bytes(template.name.as_bytes()).ok()?;
        let text = filled(&template, secret.reveal());
        let mut value = HeaderValue::from_bytes(text.reveal()).ok()?;
        value.set_sensitive(true);
        let mask = masks.of(id, secret.reveal(), text.reveal())?;
        Some(Injected { name, value, mask })
    }
}

fn filled(template: &HeaderTemplate, secret: &[u8]) -> Secret<Vec<u8>> {
    let coded = match &template.coding {
        Coding::Plain => Secret::new(secret.to_vec()),
        Coding::Basic(user) => {
            let pair = Secret::new([user.as_bytes(), b":", secret].concat());
            Secret::new(STANDARD.encode(pair.reveal()).into_bytes())
        }
    };
    let parts = [
        template.before.as_bytes(),
        coded.reveal().as_slice(),
        template.after.as_bytes(),
    ];
    Secret::new(parts.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(template: &str) -> String {
        let template = HeaderTemplate::parse(template).unwrap();
        String::from_utf8(filled(&template, b"s3cret").reveal().clone()).unwrap()
    }

    #[test]
    fn a_secret_stands_in_its_header_as_the_template_says() {
        assert_eq!(value("Authorization: Bearer {secret}"), "Bearer s3cret");
        assert_eq!(value("X-Api-Key: {secret}"), "s3cret");
        assert_eq!(
            value("Authorization: Token token={secret}, v=1"),
            "Token token=s3cret, v=1"
        );
        // RFC 7617: Base64 of `deploy:s3cret`.
        assert_eq!(
            value("Authorization: Basic {basic:deploy}"),
            "Basic ZGVwbG95OnMzY3JldA=="
        );
    }
}
