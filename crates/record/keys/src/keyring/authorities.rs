//! Certificate authorities of the tenants, for X.509-SVIDs.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};

use bailiwick_base::{TenantId, Time};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{AUTHORITIES, Keyring, read_sealed, write_sealed};
use crate::error::KeysError;
use crate::x509::{CertificateAuthority, X509Issued};

impl Keyring {
    /// The public key of the tenant's certificate authority as JWK coordinates, and its certificate in DER; made at
    /// first use.
    ///
    /// # Errors
    /// [`KeysError::TenantUnknown`], or what making and writing give.
    pub fn x509_authority(
        &self,
        tenant: &TenantId,
        trust_domain: &str,
        now: Time,
    ) -> Result<((String, String), Vec<u8>), KeysError> {
        let authority = self.authority(tenant, trust_domain, now)?;
        let (x, y) = authority.coordinates().ok_or(KeysError::Generate)?;
        let shown = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        Ok((shown, authority.certificate().to_vec()))
    }

    /// A certificate of the tenant's authority for one SPIFFE ID, with its key.
    ///
    /// # Errors
    /// As [`Keyring::x509_authority`].
    pub fn issue_x509(
        &self,
        tenant: &TenantId,
        trust_domain: &str,
        id: &str,
        (now, until): (Time, Time),
    ) -> Result<X509Issued, KeysError> {
        self.authority(tenant, trust_domain, now)?.issue(id, now, until)
    }

    fn authority(
        &self,
        tenant: &TenantId,
        trust_domain: &str,
        now: Time,
    ) -> Result<Arc<CertificateAuthority>, KeysError> {
        self.require(tenant)?;
        let known = |authority: &&Arc<CertificateAuthority>| authority.serves(trust_domain, now);
        let kept = self.authorities.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(authority) = kept.get(tenant).filter(known) {
            return Ok(Arc::clone(authority));
        }
        drop(kept);
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.authority_file(tenant);
        let read = match read_sealed(&path, &self.root, "authority", tenant.as_str())? {
            None => None,
            Some(plain) => {
                let damaged = || KeysError::Damaged { path: path.clone() };
                Some(Arc::new(
                    CertificateAuthority::decode(&plain, tenant.as_str()).ok_or_else(damaged)?,
                ))
            }
        };
        let authority = if let Some(read) = read.filter(|read| read.serves(trust_domain, now)) {
            read
        } else {
            let made = CertificateAuthority::make(trust_domain, tenant.as_str(), now)?;
            let bytes = made.encode();
            write_sealed(&path, &self.root, "authority", tenant.as_str(), bytes.as_slice())?;
            self.offer(&path);
            Arc::new(made)
        };
        self.authorities
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(tenant.clone(), Arc::clone(&authority));
        Ok(authority)
    }

    pub(super) fn authority_file(&self, tenant: &TenantId) -> PathBuf {
        self.folder.join(AUTHORITIES).join(format!("{tenant}.key"))
    }
}
