//! Sealing of values: which key, and what is authenticated beside the value.

use std::collections::BTreeMap;

use aws_lc_rs::hmac;
use bailiwick_base::{Entropy, SealContext, SealError, TenantId};
use zeroize::Zeroizing;

use crate::aead::{Cipher, KEY_LEN, OVERHEAD};
use crate::codec::Writer;
use crate::error::KeysError;

/// First byte of a sealed value.
const FORMAT: u8 = 1;

/// The symmetric keys of one tenant, or of the installation.
pub(crate) struct SealingKeys {
    /// By version; the highest seals, all open.
    ciphers: BTreeMap<u32, (Zeroizing<[u8; KEY_LEN]>, Cipher)>,
    log: (Zeroizing<[u8; KEY_LEN]>, hmac::Key),
    fingerprint: (Zeroizing<[u8; KEY_LEN]>, hmac::Key),
}

/// Raw key bytes as they stand in a bundle.
pub(crate) struct RawKeys {
    pub(crate) sealing: Vec<(u32, Zeroizing<[u8; KEY_LEN]>)>,
    pub(crate) log: Zeroizing<[u8; KEY_LEN]>,
    pub(crate) fingerprint: Zeroizing<[u8; KEY_LEN]>,
}

impl SealingKeys {
    pub(crate) fn make(entropy: &dyn Entropy) -> Result<Self, KeysError> {
        let fresh = || -> Result<_, KeysError> {
            let mut key = Zeroizing::new([0; KEY_LEN]);
            entropy.fill(key.as_mut_slice())?;
            Ok(key)
        };
        Self::from_raw(RawKeys {
            sealing: vec![(1, fresh()?)],
            log: fresh()?,
            fingerprint: fresh()?,
        })
        .ok_or(KeysError::Generate)
    }

    pub(crate) fn from_raw(raw: RawKeys) -> Option<Self> {
        let mut ciphers = BTreeMap::new();
        for (version, key) in raw.sealing {
            let cipher = Cipher::new(&key).ok()?;
            ciphers.insert(version, (key, cipher));
        }
        let mac = |key: &Zeroizing<[u8; KEY_LEN]>| hmac::Key::new(hmac::HMAC_SHA256, key.as_slice());
        let (log, fingerprint) = (mac(&raw.log), mac(&raw.fingerprint));
        (!ciphers.is_empty()).then_some(Self {
            ciphers,
            log: (raw.log, log),
            fingerprint: (raw.fingerprint, fingerprint),
        })
    }

    pub(crate) fn to_raw(&self) -> RawKeys {
        RawKeys {
            sealing: self
                .ciphers
                .iter()
                .map(|(version, (key, _))| (*version, key.clone()))
                .collect(),
            log: self.log.0.clone(),
            fingerprint: self.fingerprint.0.clone(),
        }
    }

    /// The same with a fresh key that seals from now on.
    pub(crate) fn rotated(&self, entropy: &dyn Entropy) -> Result<Self, KeysError> {
        let mut raw = self.to_raw();
        let mut key = Zeroizing::new([0; KEY_LEN]);
        entropy.fill(key.as_mut_slice())?;
        let next = raw
            .sealing
            .iter()
            .map(|(version, _)| *version)
            .max()
            .unwrap_or(0)
            .saturating_add(1);
        raw.sealing.push((next, key));
        Self::from_raw(raw).ok_or(KeysError::Generate)
    }

    pub(crate) fn seal(&self, context: &SealContext<'_>, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let (version, (_, cipher)) = self.ciphers.last_key_value().ok_or(SealError::NotOpen)?;
        let mut out = Vec::with_capacity(5 + plain.len() + OVERHEAD);
        out.push(FORMAT);
        out.extend_from_slice(&version.to_be_bytes());
        cipher
            .seal(binding(*version, context).as_slice(), plain, &mut out)
            .map_err(|_| SealError::NotOpen)?;
        Ok(out)
    }

    pub(crate) fn open(&self, context: &SealContext<'_>, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let wrong = SealError::DoesNotOpen {
            table: context.table,
            column: context.column,
        };
        let Some((&[FORMAT, a, b, c, d], body)) = sealed.split_first_chunk::<5>() else {
            return Err(wrong);
        };
        let version = u32::from_be_bytes([a, b, c, d]);
        let Some((_, cipher)) = self.ciphers.get(&version) else {
            return Err(wrong);
        };
        match cipher.open(binding(version, context).as_slice(), body) {
            Ok(mut plain) => Ok(std::mem::take(&mut *plain)),
            Err(_) => Err(wrong),
        }
    }

    pub(crate) fn commit(&self, payload: &[u8]) -> [u8; 32] {
        mac(&self.log.1, payload)
    }

    pub(crate) fn opening_key(&self) -> Zeroizing<[u8; KEY_LEN]> {
        self.log.0.clone()
    }

    pub(crate) fn fingerprint(&self, bytes: &[u8]) -> [u8; 32] {
        mac(&self.fingerprint.1, bytes)
    }
}

fn mac(key: &hmac::Key, bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    for (to, from) in out.iter_mut().zip(hmac::sign(key, bytes).as_ref()) {
        *to = *from;
    }
    out
}

/// What a sealed value belongs to, every part with its length in front.
fn binding(version: u32, context: &SealContext<'_>) -> Writer {
    let tenant = context.tenant.map(TenantId::as_str);
    let parts = tenant.unwrap_or("").len() + context.table.len() + context.row.len() + context.column.len();
    let mut out = Writer::with_capacity(6 + 4 * 8 + parts);
    out.byte(FORMAT)
        .number(version)
        .byte(u8::from(tenant.is_some()))
        .field(tenant.unwrap_or("").as_bytes());
    out.field(context.table.as_bytes())
        .field(context.row)
        .field(context.column.as_bytes());
    out
}
