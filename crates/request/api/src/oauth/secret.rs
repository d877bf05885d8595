//! Codes and refresh tokens: opaque, with a prefix and a checksum by which a scanner knows them.
//!
//! Each carries a keyed digest of its own, so that one which was made here and is used a second time is told from one
//! which was never made: the first ends the consent, the second is nobody's. Of a refresh token only another keyed
//! digest is kept.

use std::time::Duration;

use bailiwick_base::{ConsentId, Digest, TenantId, Time};
use bailiwick_credential::Confirmation;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::Deps;
use crate::problem::RouteError;

const CODE: &str = "bwc_";
const REFRESH: &str = "bwr_";
/// How long a code serves (RFC 6749 §4.1.2 allows ten minutes).
const CODE_LIFE: Duration = Duration::from_secs(60);
/// Bytes of the digest that a secret carries.
const SEAL: usize = 16;
/// Bytes of the checksum.
const CHECK: usize = 4;

/// A code that was made here.
pub(super) struct Code {
    pub(super) consent: ConsentId,
    made_at: Time,
    /// What whoever redeems it has to show.
    pub(super) bound: Option<Digest>,
}

impl Code {
    pub(super) fn is_alive(&self, now: Time) -> bool {
        now < self.made_at.after(CODE_LIFE)
    }
}

/// A refresh token that was made here.
pub(super) struct RefreshToken {
    pub(super) consent: ConsentId,
    pub(super) generation: u32,
    /// As it is kept.
    pub(super) digest: Digest,
    /// What its holder has to show.
    pub(super) bound: Option<Digest>,
}

/// The code of a consent, for the holder of a key where its client named one.
pub(super) fn code(
    deps: &Deps,
    consent: &ConsentId,
    key: Option<Digest>,
    now: Time,
) -> Result<String, RouteError> {
    let mut body = consent.uuid().as_bytes().to_vec();
    body.extend_from_slice(&now.secs().to_be_bytes());
    if let Some(bond) = bond(key.map(Confirmation::Key)) {
        body.extend_from_slice(&bond.0);
    }
    write(deps, consent.tenant(), CODE, &body)
}

/// A code, if it was made here.
pub(super) fn read_code(deps: &Deps, tenant: &TenantId, text: &str) -> Option<Code> {
    let body = read(deps, tenant, CODE, text)?;
    let (consent, rest) = body.split_first_chunk::<16>()?;
    let (made_at, rest) = rest.split_first_chunk::<8>()?;
    Some(Code {
        consent: consent_id(tenant, consent),
        made_at: Time::from_secs(i64::from_be_bytes(*made_at)),
        bound: bond_of(rest).ok()?,
    })
}

/// A new refresh token, and the digest to keep.
pub(super) fn refresh_token(
    deps: &Deps,
    consent: &ConsentId,
    generation: u32,
    bound: Option<Confirmation>,
) -> Result<(String, Digest), RouteError> {
    let mut random = Zeroizing::new([0_u8; 32]);
    deps.entropy
        .fill(random.as_mut_slice())
        .map_err(|e| RouteError::broken("randomness failed", &e))?;
    let mut body = Zeroizing::new(consent.uuid().as_bytes().to_vec());
    body.extend_from_slice(&generation.to_be_bytes());
    body.extend_from_slice(random.as_slice());
    if let Some(bond) = bond(bound) {
        body.extend_from_slice(&bond.0);
    }
    let text = write(deps, consent.tenant(), REFRESH, &body)?;
    let digest = kept(deps, consent.tenant(), &body)?;
    Ok((text, digest))
}

/// A refresh token, if it was made here.
pub(super) fn read_refresh(deps: &Deps, tenant: &TenantId, text: &str) -> Option<RefreshToken> {
    let body = read(deps, tenant, REFRESH, text)?;
    let (consent, rest) = body.split_first_chunk::<16>()?;
    let (generation, random) = rest.split_first_chunk::<4>()?;
    let (_, bond) = random.split_at_checked(32)?;
    Some(RefreshToken {
        consent: consent_id(tenant, consent),
        generation: u32::from_be_bytes(*generation),
        digest: kept(deps, tenant, &body).ok()?,
        bound: bond_of(bond).ok()?,
    })
}

/// Nothing, or a whole bond.
fn bond_of(bytes: &[u8]) -> Result<Option<Digest>, std::array::TryFromSliceError> {
    match bytes {
        [] => Ok(None),
        bond => bond.try_into().map(|bond| Some(Digest(bond))),
    }
}

/// What a refresh token carries of the key or certificate that its holder showed.
pub(super) fn bond(bound: Option<Confirmation>) -> Option<Digest> {
    let (kind, digest) = match bound? {
        Confirmation::Certificate(digest) => (b'c', digest),
        Confirmation::Key(digest) => (b'k', digest),
    };
    Some(Digest::of(&[&[kind][..], &digest.0[..]].concat()))
}

fn consent_id(tenant: &TenantId, bytes: &[u8; 16]) -> ConsentId {
    ConsentId::from_parts(tenant.clone(), uuid::Uuid::from_bytes(*bytes))
}

fn kept(deps: &Deps, tenant: &TenantId, body: &[u8]) -> Result<Digest, RouteError> {
    deps.keyring
        .keyed_digest(tenant, "refresh-token-kept", body)
        .map_err(|e| RouteError::broken("keys are not available", &e))
}

fn seal(deps: &Deps, tenant: &TenantId, prefix: &str, body: &[u8]) -> Option<[u8; SEAL]> {
    let purpose = if prefix == CODE {
        "authorization-code"
    } else {
        "refresh-token"
    };
    let digest = deps.keyring.keyed_digest(tenant, purpose, body).ok()?;
    digest.0.first_chunk::<SEAL>().copied()
}

fn check(prefix: &str, body: &[u8]) -> [u8; CHECK] {
    let digest = Digest::of(&[prefix.as_bytes(), body].concat());
    digest.0.first_chunk::<CHECK>().copied().unwrap_or_default()
}

fn write(deps: &Deps, tenant: &TenantId, prefix: &str, body: &[u8]) -> Result<String, RouteError> {
    let sealed = seal(deps, tenant, prefix, body)
        .ok_or_else(|| RouteError::unavailable("service.failed", "keys are not available"))?;
    let mut bytes = Zeroizing::new(body.to_vec());
    bytes.extend_from_slice(&sealed);
    let sum = check(prefix, &bytes);
    bytes.extend_from_slice(&sum);
    Ok(format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes.as_slice())))
}

fn read(deps: &Deps, tenant: &TenantId, prefix: &str, text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let text = text.strip_prefix(prefix).filter(|rest| rest.len() <= 256)?;
    let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(text).ok()?);
    let (sealed, sum) = bytes.split_last_chunk::<CHECK>()?;
    if check(prefix, sealed) != *sum {
        return None;
    }
    let (body, given) = sealed.split_last_chunk::<SEAL>()?;
    let ours = seal(deps, tenant, prefix, body)?;
    aws_lc_rs::constant_time::verify_slices_are_equal(&ours, given).ok()?;
    Some(Zeroizing::new(body.to_vec()))
}
