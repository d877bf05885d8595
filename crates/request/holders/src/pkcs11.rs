//! Keys in a PKCS #11 token. The module is loaded at run time; nothing is linked.

use std::sync::{Mutex, PoisonError};

use aws_lc_rs::{digest, rand};
use bailiwick_base::{PublicKey, SigningAlgorithm};
use bailiwick_keys::{HeldKey, Holder, HolderError};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use zeroize::Zeroizing;

use crate::config::{HolderConfig, HolderConfigError, given, secret_text};
use crate::der;

/// Sessions that are kept open.
const KEPT_MAX: usize = 8;
/// Bits of a new RSA key.
const RSA_BITS: u64 = 2_048;
/// Object identifier of P-256 (RFC 5480 §2.1.1.1), in DER.
const P256: [u8; 10] = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// Label of the key that seals.
const SEALING: &[u8] = b"bailiwick unseal";
const NONCE_LEN: usize = 12;
const TAG_BITS: u64 = 128;

/// A token, logged in.
pub struct Pkcs11Token {
    module: Pkcs11,
    slot: Slot,
    pin: AuthPin,
    idle: Mutex<Vec<Session>>,
}

fn failed(error: &Error) -> HolderError {
    let told = format!("PKCS #11: {error}");
    match error {
        Error::InvalidValue => HolderError::Refused("PKCS #11: the token does not have that key".to_owned()),
        Error::NotSupported => {
            HolderError::Refused("PKCS #11: the token made a key that cannot be used".to_owned())
        }
        Error::Pkcs11(
            RvError::DeviceError
            | RvError::DeviceRemoved
            | RvError::TokenNotPresent
            | RvError::SessionHandleInvalid
            | RvError::SessionClosed
            | RvError::GeneralError,
            _,
        )
        | Error::LibraryLoading(_) => HolderError::Unreachable(told),
        _ => HolderError::Refused(told),
    }
}

impl Pkcs11Token {
    /// Loads the module, finds the token by its label, and logs in as its user.
    ///
    /// # Errors
    /// [`HolderConfigError`].
    pub fn open(config: &HolderConfig) -> Result<Self, HolderConfigError> {
        let path = given(config.module.as_ref(), "module")?;
        let label = given(config.token.as_ref(), "token")?;
        let pin = secret_text(given(config.pin_file.as_ref(), "pin_file")?, "pin_file")?;
        let module = Pkcs11::new(path).map_err(|e| failed(&e))?;
        match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(failed(&error).into()),
        }
        let slots = module.get_slots_with_token().map_err(|e| failed(&e))?;
        let named = |slot: &Slot| {
            module
                .get_token_info(*slot)
                .is_ok_and(|info| info.label() == label)
        };
        let slot = slots
            .into_iter()
            .find(named)
            .ok_or_else(|| HolderConfigError::Key {
                key: "token",
                rule: format!(
                    "the module shows no token `{}`",
                    bailiwick_base::limits::shown(label)
                ),
            })?;
        let token = Self {
            module,
            slot,
            pin: AuthPin::from(pin.trim_end_matches('\n').to_owned()),
            idle: Mutex::default(),
        };
        token.with(|_| Ok(()))?;
        Ok(token)
    }

    fn session(&self) -> Result<Session, HolderError> {
        if let Some(kept) = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop() {
            return Ok(kept);
        }
        let session = self.module.open_rw_session(self.slot).map_err(|e| failed(&e))?;
        // The login is one for all sessions of this program.
        match session.login(UserType::User, Some(&self.pin)) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => Ok(session),
            Err(error) => Err(failed(&error)),
        }
    }

    /// Does something in a session; one that failed is not used again.
    fn with<T>(&self, work: impl Fn(&Session) -> Result<T, Error>) -> Result<T, HolderError> {
        let session = self.session()?;
        let done = match work(&session) {
            // What was kept may have been closed meanwhile: once more in a new one.
            Err(Error::Pkcs11(
                RvError::SessionHandleInvalid | RvError::SessionClosed | RvError::UserNotLoggedIn,
                _,
            )) => {
                drop(session);
                let fresh = self.session()?;
                let done = work(&fresh);
                return self.keep(fresh, done);
            }
            done => done,
        };
        self.keep(session, done)
    }

    fn keep<T>(&self, session: Session, done: Result<T, Error>) -> Result<T, HolderError> {
        if done.is_ok() {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < KEPT_MAX {
                idle.push(session);
            }
        }
        done.map_err(|e| failed(&e))
    }

    fn find(session: &Session, class: ObjectClass, id: &[u8]) -> Result<ObjectHandle, Error> {
        let template = [Attribute::Class(class), Attribute::Id(id.to_vec())];
        let found = session.find_objects(&template)?;
        found.first().copied().ok_or(Error::InvalidValue)
    }

    fn sealing_key(session: &Session) -> Result<ObjectHandle, Error> {
        let template = [
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::Label(SEALING.to_vec()),
        ];
        if let Some(found) = session.find_objects(&template)?.first() {
            return Ok(*found);
        }
        session.generate_key(
            &Mechanism::AesKeyGen,
            &[
                Attribute::Token(true),
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::Encrypt(true),
                Attribute::Decrypt(true),
                Attribute::ValueLen(32_u64.into()),
                Attribute::Label(SEALING.to_vec()),
            ],
        )
    }
}

/// Attributes that both halves of a pair have, and those of the private one.
fn templates(label: &str, id: &[u8]) -> (Vec<Attribute>, Vec<Attribute>) {
    let both = [
        Attribute::Token(true),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Id(id.to_vec()),
    ];
    let mut public = both.to_vec();
    public.extend([Attribute::Private(false), Attribute::Verify(true)]);
    let mut private = both.to_vec();
    private.extend([
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
    ]);
    (public, private)
}

/// The public key of a pair that was made.
fn read_public(
    session: &Session,
    key: ObjectHandle,
    algorithm: SigningAlgorithm,
) -> Result<PublicKey, Error> {
    let wanted: &[AttributeType] = match algorithm {
        SigningAlgorithm::Rs256 => &[AttributeType::Modulus, AttributeType::PublicExponent],
        _ => &[AttributeType::EcPoint],
    };
    let (mut n, mut e, mut point) = (Vec::new(), Vec::new(), Vec::new());
    for attribute in session.get_attributes(key, wanted)? {
        match attribute {
            Attribute::Modulus(bytes) => n = bytes,
            Attribute::PublicExponent(bytes) => e = bytes,
            Attribute::EcPoint(bytes) => point = bytes,
            _ => {}
        }
    }
    let plain = |bytes: Vec<u8>| bytes.iter().copied().skip_while(|b| *b == 0).collect::<Vec<_>>();
    match algorithm {
        SigningAlgorithm::Rs256 => PublicKey::rsa(plain(n), plain(e)).map_err(|_| Error::NotSupported),
        _ => der::from_point(&point).ok_or(Error::NotSupported),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .chars()
        .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()))
        .collect::<Option<_>>()?;
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(high << 4 | low),
        _ => None,
    };
    digits.chunks(2).map(pair).collect()
}

impl Holder for Pkcs11Token {
    fn name(&self) -> &'static str {
        "pkcs11"
    }

    fn generate(&self, label: &str, algorithm: SigningAlgorithm) -> Result<HeldKey, HolderError> {
        let mut id = [0; 16];
        rand::fill(&mut id).map_err(|_| HolderError::Refused("no randomness".to_owned()))?;
        let (mut public, private) = templates(label, &id);
        let mechanism = match algorithm {
            SigningAlgorithm::Rs256 => {
                public.push(Attribute::ModulusBits(RSA_BITS.into()));
                public.push(Attribute::PublicExponent(vec![1, 0, 1]));
                Mechanism::RsaPkcsKeyPairGen
            }
            SigningAlgorithm::Es256 => {
                public.push(Attribute::EcParams(P256.to_vec()));
                public.push(Attribute::KeyType(KeyType::EC));
                Mechanism::EccKeyPairGen
            }
            SigningAlgorithm::EdDsa => {
                return Err(HolderError::Unsupported(
                    "a PKCS #11 token holds RS256 and ES256 keys here",
                ));
            }
        };
        let public = self.with(|session| {
            let (public, _) = session.generate_key_pair(&mechanism, &public, &private)?;
            read_public(session, public, algorithm)
        })?;
        Ok(HeldKey {
            locator: hex(&id),
            public,
        })
    }

    fn sign(
        &self,
        locator: &str,
        algorithm: SigningAlgorithm,
        message: &[u8],
    ) -> Result<Vec<u8>, HolderError> {
        let id = from_hex(locator).ok_or(HolderError::Unsupported("the locator of the key is damaged"))?;
        let hashed = digest::digest(&digest::SHA256, message);
        let (mechanism, input) = match algorithm {
            SigningAlgorithm::Rs256 => (Mechanism::Sha256RsaPkcs, message),
            SigningAlgorithm::Es256 => (Mechanism::Ecdsa, hashed.as_ref()),
            SigningAlgorithm::EdDsa => {
                return Err(HolderError::Unsupported(
                    "a PKCS #11 token holds RS256 and ES256 keys here",
                ));
            }
        };
        self.with(|session| {
            let key = Self::find(session, ObjectClass::PRIVATE_KEY, &id)?;
            session.sign(&mechanism, key, input)
        })
    }

    fn seal(&self, plain: &[u8]) -> Result<Vec<u8>, HolderError> {
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).map_err(|_| HolderError::Refused("no randomness".to_owned()))?;
        let sealed = self.with(|session| {
            let key = Self::sealing_key(session)?;
            let mut iv = nonce;
            let params = GcmParams::new(&mut iv, SEALING, TAG_BITS.into())?;
            session.encrypt(&Mechanism::AesGcm(params), key, plain)
        })?;
        Ok([nonce.as_slice(), &sealed].concat())
    }

    fn open(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, HolderError> {
        let damaged = HolderError::Refused("what was sealed is damaged".to_owned());
        let (nonce, body) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(damaged)?;
        self.with(|session| {
            let key = Self::sealing_key(session)?;
            let mut iv = *nonce;
            let params = GcmParams::new(&mut iv, SEALING, TAG_BITS.into())?;
            session.decrypt(&Mechanism::AesGcm(params), key, body)
        })
        .map(Zeroizing::new)
    }
}
