//! Signing keys of tokens: parsed once, one algorithm each.

use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use bailiwick_base::{Entropy, PublicKey, SigningAlgorithm};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use crate::error::KeysError;
use crate::holder::{Holder, HolderError};
use crate::jwk::PublicJwk;

/// A private key in PKCS #8 (RFC 5208), wiped when dropped.
pub(crate) type Pkcs8 = Zeroizing<Vec<u8>>;

enum Pair {
    Ed25519(Box<Ed25519KeyPair>),
    P256(Box<EcdsaKeyPair>),
    Rsa(Box<RsaKeyPair>),
    /// Held by somebody else; `None` when that one is not configured.
    Held {
        holder: Option<Arc<dyn Holder>>,
        named: String,
        locator: String,
    },
}

/// Signs with one private key under one algorithm. Gives the public key, never the private one.
pub struct TokenSigner {
    pair: Pair,
    public: Arc<PublicKey>,
    kid: String,
    /// Encoded header and dot for the type that is signed most.
    access_token_header: String,
}

impl TokenSigner {
    /// Makes a private key. RSA takes about a tenth of a second: call it where blocking is allowed.
    pub(crate) fn generate(algorithm: SigningAlgorithm, entropy: &dyn Entropy) -> Result<Pkcs8, KeysError> {
        match algorithm {
            SigningAlgorithm::EdDsa => {
                let mut seed = Zeroizing::new([0; 32]);
                entropy.fill(seed.as_mut_slice())?;
                let pair =
                    Ed25519KeyPair::from_seed_unchecked(seed.as_slice()).map_err(|_| KeysError::Generate)?;
                let document = pair.to_pkcs8v1().map_err(|_| KeysError::Generate)?;
                Ok(Zeroizing::new(document.as_ref().to_vec()))
            }
            SigningAlgorithm::Es256 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)
                    .map_err(|_| KeysError::Generate)?;
                let document = pair.to_pkcs8v1().map_err(|_| KeysError::Generate)?;
                Ok(Zeroizing::new(document.as_ref().to_vec()))
            }
            SigningAlgorithm::Rs256 => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| KeysError::Generate)?;
                let document: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| KeysError::Generate)?;
                Ok(Zeroizing::new(document.as_ref().to_vec()))
            }
        }
    }

    /// Parses a private key of exactly this algorithm.
    pub(crate) fn from_pkcs8(algorithm: SigningAlgorithm, pkcs8: &[u8]) -> Result<Self, KeysError> {
        let wrong = |_| KeysError::PrivateKey;
        let (pair, public) = match algorithm {
            SigningAlgorithm::EdDsa => {
                let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(pkcs8).map_err(wrong)?;
                let x = pair
                    .public_key()
                    .as_ref()
                    .try_into()
                    .map_err(|_| KeysError::PrivateKey)?;
                (Pair::Ed25519(Box::new(pair)), PublicKey::ed25519(x)?)
            }
            SigningAlgorithm::Es256 => {
                let pair =
                    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).map_err(wrong)?;
                let public = p256_point(pair.public_key().as_ref()).ok_or(KeysError::PrivateKey)?;
                (Pair::P256(Box::new(pair)), PublicKey::p256(public.0, public.1)?)
            }
            SigningAlgorithm::Rs256 => {
                let pair = RsaKeyPair::from_pkcs8(pkcs8).map_err(wrong)?;
                let (n, e) = rsa_numbers(pair.public_key().as_ref()).ok_or(KeysError::PrivateKey)?;
                (Pair::Rsa(Box::new(pair)), PublicKey::rsa(n, e)?)
            }
        };
        Ok(Self::new(pair, public))
    }

    fn new(pair: Pair, public: PublicKey) -> Self {
        let kid = public.thumbprint();
        Self {
            access_token_header: encode_header(public.algorithm(), &kid, crate::jws::ACCESS_TOKEN),
            pair,
            public: Arc::new(public),
            kid,
        }
    }

    /// A key that `holder` has at `locator`.
    pub(crate) fn held(
        holder: Option<Arc<dyn Holder>>,
        named: &str,
        locator: &str,
        public: PublicKey,
    ) -> Self {
        let pair = Pair::Held {
            holder,
            named: named.to_owned(),
            locator: locator.to_owned(),
        };
        Self::new(pair, public)
    }

    /// Whether signing asks somebody else, and so may take long.
    #[must_use]
    pub const fn is_held(&self) -> bool {
        matches!(self.pair, Pair::Held { .. })
    }

    /// The key id: the RFC 7638 thumbprint of the public key.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The one algorithm of this key.
    #[must_use]
    pub fn algorithm(&self) -> SigningAlgorithm {
        self.public.algorithm()
    }

    /// The public key.
    #[must_use]
    pub fn public_key(&self) -> &Arc<PublicKey> {
        &self.public
    }

    /// The public key as it is published.
    #[must_use]
    pub fn public_jwk(&self) -> PublicJwk {
        PublicJwk::new(self.kid.clone(), self.public.clone())
    }

    /// Signs `message`; the answer has the JOSE form (RFC 7518 §3.3, §3.4, RFC 8037 §3.1).
    ///
    /// # Errors
    /// [`KeysError::Sign`], [`KeysError::Holder`], [`KeysError::HolderMissing`].
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeysError> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Ed25519(pair) => Ok(pair
                .try_sign(message)
                .map_err(|_| KeysError::Sign)?
                .as_ref()
                .to_vec()),
            Pair::P256(pair) => Ok(pair
                .sign(&random, message)
                .map_err(|_| KeysError::Sign)?
                .as_ref()
                .to_vec()),
            Pair::Held {
                holder,
                named,
                locator,
            } => {
                let holder = holder
                    .as_ref()
                    .ok_or_else(|| KeysError::HolderMissing(named.clone()))?;
                let signature = holder.sign(locator, self.algorithm(), message)?;
                // What it gives is checked: a fault there would hand out tokens that nobody believes.
                let checked = self.public.verify(message, &signature);
                let wrong = || format!("the signature of {named} does not verify with the key it gave us");
                checked.map_err(|_| HolderError::Refused(wrong()))?;
                Ok(signature)
            }
            Pair::Rsa(pair) => {
                let mut out = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut out)
                    .map_err(|_| KeysError::Sign)?;
                Ok(out)
            }
        }
    }

    /// Appends the encoded header and its dot.
    pub(crate) fn push_header(&self, typ: &str, out: &mut String) {
        if typ == crate::jws::ACCESS_TOKEN {
            out.push_str(&self.access_token_header);
        } else {
            out.push_str(&encode_header(self.algorithm(), &self.kid, typ));
        }
    }
}

fn encode_header(algorithm: SigningAlgorithm, kid: &str, typ: &str) -> String {
    let typ = serde_json::Value::from(typ);
    let mut encoded = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{algorithm}","kid":"{kid}","typ":{typ}}}"#));
    encoded.push('.');
    encoded
}

/// Modulus and exponent of an `RSAPublicKey` in DER (RFC 8017 appendix A.1.1), without leading zeros.
fn rsa_numbers(der: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    const SEQUENCE: u8 = 0x30;
    const INTEGER: u8 = 0x02;
    let (body, rest) = der_value(der, SEQUENCE)?;
    let (n, body) = der_value(body, INTEGER)?;
    let (e, body) = der_value(body, INTEGER)?;
    (rest.is_empty() && body.is_empty()).then_some(())?;
    let positive = |bytes: &[u8]| bytes.strip_prefix(&[0]).unwrap_or(bytes).to_vec();
    Some((positive(n), positive(e)))
}

/// The content of the first value, which has this tag, and what follows it.
fn der_value(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, rest) = der.split_first()?;
    (*found == tag).then_some(())?;
    match rest {
        [length @ 0..=0x7f, rest @ ..] => rest.split_at_checked(usize::from(*length)),
        [0x81, length, rest @ ..] => rest.split_at_checked(usize::from(*length)),
        [0x82, high, low, rest @ ..] => rest.split_at_checked(usize::from(u16::from_be_bytes([*high, *low]))),
        _ => None,
    }
}

fn p256_point(uncompressed: &[u8]) -> Option<([u8; 32], [u8; 32])> {
    let (&4, rest) = uncompressed.split_first()? else {
        return None;
    };
    let (x, y) = rest.split_first_chunk::<32>()?;
    Some((*x, y.try_into().ok()?))
}
