//! The few DER forms in which holders give public keys and signatures.

use bailiwick_base::{PublicKey, SigningAlgorithm};

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const SEQUENCE: u8 = 0x30;

/// The content of the first value, which has this tag, and what follows it.
fn value(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = der.split_first()?;
    (*found == tag).then_some(())?;
    match rest {
        [length @ 0..=0x7f, rest @ ..] => rest.split_at_checked(usize::from(*length)),
        [0x81, length, rest @ ..] => rest.split_at_checked(usize::from(*length)),
        [0x82, high, low, rest @ ..] => rest.split_at_checked(usize::from(u16::from_be_bytes([*high, *low]))),
        _ => None,
    }
}

fn positive(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(&[0]).unwrap_or(bytes)
}

/// A key from `SubjectPublicKeyInfo` (RFC 5280 §4.1).
pub(crate) fn from_spki(der: &[u8], algorithm: SigningAlgorithm) -> Option<PublicKey> {
    let (info, _) = value(der, SEQUENCE)?;
    let (_, rest) = value(info, SEQUENCE)?;
    let (bits, _) = value(rest, BIT_STRING)?;
    let key = bits.strip_prefix(&[0])?;
    match algorithm {
        SigningAlgorithm::Rs256 => {
            let (body, _) = value(key, SEQUENCE)?;
            let (n, body) = value(body, INTEGER)?;
            let (e, _) = value(body, INTEGER)?;
            PublicKey::rsa(positive(n).to_vec(), positive(e).to_vec()).ok()
        }
        SigningAlgorithm::Es256 => from_point(key),
        SigningAlgorithm::EdDsa => PublicKey::ed25519(key.try_into().ok()?).ok(),
    }
}

/// A P-256 key from an uncompressed point, as it is or in an OCTET STRING (PKCS #11 `CKA_EC_POINT`).
pub(crate) fn from_point(bytes: &[u8]) -> Option<PublicKey> {
    let bare = match bytes.len() {
        65 => bytes,
        _ => value(bytes, OCTET_STRING)?.0,
    };
    let (x, y) = bare.strip_prefix(&[4])?.split_first_chunk::<32>()?;
    PublicKey::p256(*x, y.try_into().ok()?).ok()
}

/// `r ‖ s` of 32 bytes each (RFC 7518 §3.4) from `Ecdsa-Sig-Value` (RFC 3279 §2.2.3).
pub(crate) fn fixed_signature(der: &[u8]) -> Option<Vec<u8>> {
    let (body, rest) = value(der, SEQUENCE)?;
    let (r, body) = value(body, INTEGER)?;
    let (s, body) = value(body, INTEGER)?;
    (rest.is_empty() && body.is_empty()).then_some(())?;
    let mut out = vec![0; 64];
    let (left, right) = out.split_at_mut(32);
    for (to, number) in [(left, positive(r)), (right, positive(s))] {
        let at = to.len().checked_sub(number.len())?;
        to.get_mut(at..)?.copy_from_slice(number);
    }
    Some(out)
}
