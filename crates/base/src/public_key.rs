//! Public keys as JWK (RFC 7517, RFC 7518 §6, RFC 8037): one parser and one verification rule for every part
//! of the product, so that no two of them can read the same key or signature differently.

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::algorithm::SigningAlgorithm;
use crate::digest::Digest;
use crate::json;

/// Bytes of a JWK before anything is parsed.
const JWK_MAX: usize = 8 * 1024;
/// Smallest RSA modulus in bits (RFC 7518 §3.3).
const RSA_BITS_MIN: usize = 2_048;
/// Largest RSA modulus in bits: verification time grows with the square.
const RSA_BITS_MAX: usize = 8_192;

/// Why a JWK is not a key we verify with. Names the member, never its value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublicKeyError {
    /// The document is not a strict JSON object.
    #[error("key is not a JSON object: {0}")]
    Json(String),
    /// A member is missing or of the wrong form.
    #[error("member `{member}` of the key is not usable: {rule}")]
    Member {
        /// The member.
        member: &'static str,
        /// What it has to be.
        rule: &'static str,
    },
    /// The document holds a private or symmetric key.
    #[error(
        "key holds the private member `{0}`: give the public key only, and replace the pair, it was disclosed"
    )]
    Private(&'static str),
    /// The numbers are not a key of this kind, or a weak one.
    #[error("key is refused: {0}")]
    Weak(&'static str),
}

/// A signature that does not verify. There is nothing more to say about one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("signature does not verify")]
pub struct SignatureError;

/// The numbers of a key, kept to write it out again.
#[derive(Clone)]
enum Form {
    Ed25519 { x: [u8; 32] },
    P256 { x: [u8; 32], y: [u8; 32] },
    Rsa { n: Vec<u8>, e: Vec<u8> },
}

/// A public key for exactly one algorithm, parsed and judged once.
///
/// Accepted are RSA with 2,048 to 8,192 bits and an exponent of at least 65,537 (RS256), P-256 (ES256) and
/// Ed25519 (`EdDSA`). Everything else is refused when the key is read, not when a signature is.
#[derive(Clone)]
pub struct PublicKey {
    algorithm: SigningAlgorithm,
    form: Form,
    parsed: ParsedPublicKey,
}

impl PublicKey {
    /// Parses the text of a JWK with the strict reader.
    ///
    /// # Errors
    /// [`PublicKeyError`] naming the member that is wrong.
    pub fn parse_jwk(text: &[u8]) -> Result<Self, PublicKeyError> {
        match json::parse(text, JWK_MAX) {
            Ok(Value::Object(members)) => Self::from_jwk(&members),
            Ok(_) => Err(PublicKeyError::Json("it is another kind of value".to_owned())),
            Err(error) => Err(PublicKeyError::Json(error.to_string())),
        }
    }

    /// Reads the members of a JWK. `use`, `key_ops` and `alg` have to fit where they are given; members that
    /// are not ours are ignored, private ones are an error.
    ///
    /// # Errors
    /// [`PublicKeyError`] naming the member that is wrong.
    pub fn from_jwk(members: &Map<String, Value>) -> Result<Self, PublicKeyError> {
        for private in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
            if members.contains_key(private) {
                return Err(PublicKeyError::Private(private));
            }
        }
        require_purpose(members)?;
        let key = match text(members, "kty")? {
            "EC" if text(members, "crv")? == "P-256" => {
                Self::p256(coordinate(members, "x")?, coordinate(members, "y")?)
            }
            "EC" => Err(PublicKeyError::Member {
                member: "crv",
                rule: "the only elliptic curve is P-256",
            }),
            "OKP" if text(members, "crv")? == "Ed25519" => Self::ed25519(coordinate(members, "x")?),
            "OKP" => Err(PublicKeyError::Member {
                member: "crv",
                rule: "the only octet key pair is Ed25519",
            }),
            "RSA" => Self::rsa(bytes(members, "n")?, bytes(members, "e")?),
            _ => Err(PublicKeyError::Member {
                member: "kty",
                rule: "use EC, OKP or RSA",
            }),
        }?;
        match members.get("alg") {
            None => Ok(key),
            Some(Value::String(alg)) if alg == key.algorithm.as_str() => Ok(key),
            Some(_) => Err(PublicKeyError::Member {
                member: "alg",
                rule: "it does not belong to this kind of key",
            }),
        }
    }

    /// An Ed25519 key from its 32 bytes. Encodings that are not canonical and points of low order are refused.
    ///
    /// # Errors
    /// [`PublicKeyError::Weak`].
    pub fn ed25519(x: [u8; 32]) -> Result<Self, PublicKeyError> {
        if !edwards::is_strict(&x) {
            return Err(PublicKeyError::Weak(
                "the Ed25519 point is of low order or not encoded canonically",
            ));
        }
        let parsed = ParsedPublicKey::new(&ED25519, x)
            .map_err(|_| PublicKeyError::Weak("the bytes are not an Ed25519 point"))?;
        Ok(Self {
            algorithm: SigningAlgorithm::EdDsa,
            form: Form::Ed25519 { x },
            parsed,
        })
    }

    /// A P-256 key from its affine coordinates.
    ///
    /// # Errors
    /// [`PublicKeyError::Weak`] when the point is not on the curve.
    pub fn p256(x: [u8; 32], y: [u8; 32]) -> Result<Self, PublicKeyError> {
        let mut point = Vec::with_capacity(65);
        point.push(4);
        point.extend_from_slice(&x);
        point.extend_from_slice(&y);
        let parsed = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
            .map_err(|_| PublicKeyError::Weak("the point is not on the curve P-256"))?;
        Ok(Self {
            algorithm: SigningAlgorithm::Es256,
            form: Form::P256 { x, y },
            parsed,
        })
    }

    /// An RSA key from modulus and exponent, big-endian without leading zeros.
    ///
    /// # Errors
    /// [`PublicKeyError::Weak`] when the key is too small, too large or of a known bad make.
    pub fn rsa(n: Vec<u8>, e: Vec<u8>) -> Result<Self, PublicKeyError> {
        let weak = |why| Err(PublicKeyError::Weak(why));
        let bits = bit_length(&n);
        if bits < RSA_BITS_MIN {
            return weak("the RSA modulus has fewer than 2,048 bits");
        }
        if bits > RSA_BITS_MAX {
            return weak("the RSA modulus has more than 8,192 bits");
        }
        if n.first() == Some(&0) || e.first() == Some(&0) {
            return weak("an RSA number has leading zeros");
        }
        if n.last().is_none_or(|last| last & 1 == 0) {
            return weak("the RSA modulus is even");
        }
        let exponent = e.iter().try_fold(0_u64, |sum, byte| {
            (sum < 1 << 32).then(|| (sum << 8) | u64::from(*byte))
        });
        if !exponent.is_some_and(|e| (65_537..1 << 33).contains(&e) && e & 1 == 1) {
            return weak("the RSA exponent is not an odd number from 65,537 to 2^33");
        }
        if roca::is_vulnerable(&n) {
            return weak("the RSA modulus has the ROCA fingerprint (CVE-2017-15361)");
        }
        let parsed = RsaPublicKeyComponents { n: &n, e: &e }
            .to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)
            .map_err(|_| PublicKeyError::Weak("the numbers are not an RSA key"))?;
        Ok(Self {
            algorithm: SigningAlgorithm::Rs256,
            form: Form::Rsa { n, e },
            parsed,
        })
    }

    /// The one algorithm this key verifies.
    #[must_use]
    pub const fn algorithm(&self) -> SigningAlgorithm {
        self.algorithm
    }

    /// Verifies a signature in its JOSE form: 64 bytes `r ‖ s` for ES256 (RFC 7518 §3.4), 64 bytes for `EdDSA`
    /// (RFC 8037), the modulus length for RS256.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), SignatureError> {
        if let Form::Ed25519 { .. } = self.form {
            let r = signature.first_chunk::<32>().ok_or(SignatureError)?;
            if !edwards::is_strict(r) {
                return Err(SignatureError);
            }
        }
        self.parsed
            .verify_sig(message, signature)
            .map_err(|_| SignatureError)
    }

    /// The required members in the order of RFC 7638, which is also the canonical JSON of the bare key.
    #[must_use]
    pub fn to_jwk(&self) -> Map<String, Value> {
        let text = |bytes: &[u8]| Value::String(URL_SAFE_NO_PAD.encode(bytes));
        let name = |text: &str| Value::String(text.to_owned());
        let members = match &self.form {
            Form::Ed25519 { x } => vec![("crv", name("Ed25519")), ("kty", name("OKP")), ("x", text(x))],
            Form::P256 { x, y } => {
                vec![
                    ("crv", name("P-256")),
                    ("kty", name("EC")),
                    ("x", text(x)),
                    ("y", text(y)),
                ]
            }
            Form::Rsa { n, e } => vec![("e", text(e)), ("kty", name("RSA")), ("n", text(n))],
        };
        members
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    /// The RFC 7638 thumbprint: SHA-256 in base64url, 43 characters. It is our `kid`.
    #[must_use]
    pub fn thumbprint(&self) -> String {
        self.thumbprint_digest().to_base64url()
    }

    /// The RFC 7638 thumbprint as a value, for comparing.
    #[must_use]
    pub fn thumbprint_digest(&self) -> Digest {
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let canonical = match &self.form {
            Form::Ed25519 { x } => format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, encode(x)),
            Form::P256 { x, y } => format!(
                r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#,
                encode(x),
                encode(y)
            ),
            Form::Rsa { n, e } => format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, encode(e), encode(n)),
        };
        Digest::of(canonical.as_bytes())
    }

    /// The 32 bytes of an Ed25519 key, as signed notes name it.
    #[must_use]
    pub const fn ed25519_bytes(&self) -> Option<&[u8; 32]> {
        match &self.form {
            Form::Ed25519 { x } => Some(x),
            _ => None,
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.algorithm, self.thumbprint())
    }
}

fn require_purpose(members: &Map<String, Value>) -> Result<(), PublicKeyError> {
    match members.get("use") {
        None => {}
        Some(Value::String(purpose)) if purpose == "sig" => {}
        Some(_) => {
            return Err(PublicKeyError::Member {
                member: "use",
                rule: "a key for signatures says `sig`",
            });
        }
    }
    match members.get("key_ops") {
        None => Ok(()),
        Some(Value::Array(ops)) if matches!(ops.as_slice(), [Value::String(op)] if op == "verify") => Ok(()),
        Some(_) => Err(PublicKeyError::Member {
            member: "key_ops",
            rule: "a public key may `verify` and nothing else",
        }),
    }
}

fn text<'a>(members: &'a Map<String, Value>, member: &'static str) -> Result<&'a str, PublicKeyError> {
    members
        .get(member)
        .and_then(Value::as_str)
        .ok_or(PublicKeyError::Member {
            member,
            rule: "it has to be text",
        })
}

fn bytes(members: &Map<String, Value>, member: &'static str) -> Result<Vec<u8>, PublicKeyError> {
    URL_SAFE_NO_PAD
        .decode(text(members, member)?)
        .map_err(|_| PublicKeyError::Member {
            member,
            rule: "it has to be base64url without padding",
        })
}

fn coordinate(members: &Map<String, Value>, member: &'static str) -> Result<[u8; 32], PublicKeyError> {
    bytes(members, member)?
        .try_into()
        .map_err(|_| PublicKeyError::Member {
            member,
            rule: "it has to be exactly 32 bytes",
        })
}

fn bit_length(big_endian: &[u8]) -> usize {
    let significant = big_endian
        .iter()
        .position(|byte| *byte != 0)
        .and_then(|at| big_endian.get(at..));
    significant
        .and_then(|bytes| Some(bytes.len() * 8 - bytes.first()?.leading_zeros() as usize))
        .unwrap_or(0)
}

/// The strict rule for Ed25519 points, for keys and for the `R` of signatures: the `y` coordinate is below the
/// field prime and the point is not of low order. RFC 8032 §5.1.3 demands the first, and one rule everywhere
/// needs both, because verifiers in the field differ exactly there.
mod edwards {
    /// `y` of the points whose order divides 8, without the sign of `x`.
    const LOW_ORDER: [[u8; 32]; 5] = [
        low(0),
        low(1),
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
            0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
            0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
        ],
        [
            0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
        ],
    ];

    const fn low(y: u8) -> [u8; 32] {
        let mut bytes = [0; 32];
        let [first, ..] = &mut bytes;
        *first = y;
        bytes
    }

    pub(super) fn is_strict(encoded: &[u8; 32]) -> bool {
        let mut y = *encoded;
        let [first, middle @ .., last] = &mut y;
        *last &= 0x7f;
        let is_reduced = *last != 0x7f || *first < 0xed || middle.iter().any(|byte| *byte != 0xff);
        is_reduced && !LOW_ORDER.contains(&y)
    }
}

/// The public test for RSA keys of one broken generator: modulo every small prime such a modulus is a power of
/// 65,537. A random modulus passes all of them with a probability of about 2^-30.
mod roca {
    const PRIMES: [u32; 38] = [
        3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101,
        103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
    ];

    pub(super) fn is_vulnerable(n: &[u8]) -> bool {
        PRIMES
            .iter()
            .all(|prime| is_power_of_65537(remainder(n, *prime), *prime))
    }

    fn remainder(n: &[u8], prime: u32) -> u32 {
        n.iter()
            .fold(0, |rest, byte| ((rest << 8) | u32::from(*byte)) % prime)
    }

    fn is_power_of_65537(rest: u32, prime: u32) -> bool {
        let mut power = 1;
        for _ in 0..prime {
            if power == rest {
                return true;
            }
            power = power * (65_537 % prime) % prime;
        }
        false
    }
}
