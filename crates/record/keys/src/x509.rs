//! X.509-SVIDs: a certificate authority for each tenant, and short-lived certificates under it.

use bailiwick_base::Time;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::codec::{Reader, Writer};
use crate::error::KeysError;

/// How long an authority's certificate is valid.
const AUTHORITY_LIFE: std::time::Duration = std::time::Duration::from_secs(10 * 366 * 86_400);
/// Clocks of those who verify may be behind by so much.
const SKEW: std::time::Duration = std::time::Duration::from_secs(60);
const FORMAT: u8 = 1;

/// A certificate with its key, for the workload that asked.
pub struct X509Issued {
    /// Certificate in DER.
    pub certificate: Vec<u8>,
    /// Its private key in PKCS #8 DER.
    pub key: Zeroizing<Vec<u8>>,
    /// The authority's certificate in DER.
    pub authority: Vec<u8>,
}

/// A tenant's certificate authority.
pub(crate) struct CertificateAuthority {
    key: KeyPair,
    params: CertificateParams,
    certificate: Vec<u8>,
    trust_domain: String,
    made_at: Time,
}

fn instant(time: Time) -> Result<OffsetDateTime, KeysError> {
    OffsetDateTime::from_unix_timestamp(time.secs()).map_err(|_| KeysError::Generate)
}

fn uri(text: &str) -> Result<SanType, KeysError> {
    let name = text.try_into().map_err(|_| KeysError::Generate)?;
    Ok(SanType::URI(name))
}

fn named(tenant: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "bailiwick");
    name.push(DnType::CommonName, tenant);
    name
}

fn params_of(trust_domain: &str, tenant: &str, made_at: Time) -> Result<CertificateParams, KeysError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(tenant);
    params.subject_alt_names = vec![uri(&format!("spiffe://{trust_domain}"))?];
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = instant(made_at.before(SKEW))?;
    params.not_after = instant(made_at.after(AUTHORITY_LIFE))?;
    Ok(params)
}

impl CertificateAuthority {
    pub(crate) fn make(trust_domain: &str, tenant: &str, now: Time) -> Result<Self, KeysError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|_| KeysError::Generate)?;
        let params = params_of(trust_domain, tenant, now)?;
        let certificate = params.self_signed(&key).map_err(|_| KeysError::Generate)?;
        Ok(Self {
            certificate: certificate.der().to_vec(),
            key,
            params,
            trust_domain: trust_domain.to_owned(),
            made_at: now,
        })
    }

    pub(crate) fn encode(&self) -> Writer {
        let key = Zeroizing::new(self.key.serialize_der());
        let mut out =
            Writer::with_capacity(64 + key.len() + self.certificate.len() + self.trust_domain.len());
        out.byte(FORMAT)
            .field(self.trust_domain.as_bytes())
            .field(&self.made_at.secs().to_be_bytes())
            .field(&key)
            .field(&self.certificate);
        out
    }

    pub(crate) fn decode(bytes: &[u8], tenant: &str) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        (reader.byte()? == FORMAT).then_some(())?;
        let trust_domain = std::str::from_utf8(reader.field()?).ok()?.to_owned();
        let made_at = Time::from_secs(i64::from_be_bytes(reader.field()?.try_into().ok()?));
        let pkcs8 = reader.field()?;
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8.into(), &PKCS_ECDSA_P256_SHA256).ok()?;
        let certificate = reader.field()?.to_vec();
        let params = params_of(&trust_domain, tenant, made_at).ok()?;
        reader.is_finished().then_some(Self {
            key,
            params,
            certificate,
            trust_domain,
            made_at,
        })
    }

    /// Whether it speaks for this trust domain, and will for a while.
    pub(crate) fn serves(&self, trust_domain: &str, now: Time) -> bool {
        self.trust_domain == trust_domain && now < self.made_at.after(AUTHORITY_LIFE / 2)
    }

    /// The public key: the uncompressed point, taken apart.
    pub(crate) fn coordinates(&self) -> Option<(Vec<u8>, Vec<u8>)> {
        let (x, y) = self
            .key
            .public_key_raw()
            .strip_prefix(&[4])?
            .split_at_checked(32)?;
        Some((x.to_vec(), y.to_vec()))
    }

    pub(crate) fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// A certificate for exactly one SPIFFE ID (X509-SVID §2, §4).
    pub(crate) fn issue(&self, id: &str, now: Time, until: Time) -> Result<X509Issued, KeysError> {
        let failed = |_| KeysError::Generate;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(failed)?;
        let mut serial = [0; 16];
        aws_lc_rs::rand::fill(&mut serial).map_err(|_| KeysError::Generate)?;
        // Positive, and of the same length always.
        if let Some(first) = serial.first_mut() {
            *first = (*first & 0x7f) | 0x40;
        }
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "bailiwick");
        params.subject_alt_names = vec![uri(id)?];
        params.serial_number = Some(SerialNumber::from_slice(&serial));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        params.not_before = instant(now.before(SKEW))?;
        params.not_after = instant(until)?;
        let issuer = Issuer::from_params(&self.params, &self.key);
        let certificate: Certificate = params.signed_by(&key, &issuer).map_err(failed)?;
        Ok(X509Issued {
            certificate: certificate.der().to_vec(),
            key: Zeroizing::new(key.serialize_der()),
            authority: self.certificate.clone(),
        })
    }
}
