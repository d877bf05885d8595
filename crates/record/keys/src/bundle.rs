//! The keys of one tenant as one sealed file.

use bailiwick_base::{Entropy, PublicKey, SigningAlgorithm};
use std::sync::{Arc, OnceLock};
use zeroize::Zeroizing;

use crate::codec::{Reader, Writer};
use crate::error::KeysError;
use crate::holder::Holder;
use crate::keyring::KeyState;
use crate::seal::{RawKeys, SealingKeys};
use crate::signer::{Pkcs8, TokenSigner};

const FORMAT: u8 = 2;

/// Where the private key is.
#[derive(Clone, PartialEq)]
pub(crate) enum Material {
    /// Here.
    Here(Pkcs8),
    /// With a holder, who finds it by the locator; the public key as a JWK.
    Held {
        holder: String,
        locator: String,
        public: Vec<u8>,
    },
}

/// One signing key of a tenant. The private key is parsed at first use: an installation with many tenants
/// starts without parsing them all.
pub(crate) struct SigningKey {
    pub(crate) algorithm: SigningAlgorithm,
    pub(crate) state: KeyState,
    material: Material,
    signer: OnceLock<Arc<TokenSigner>>,
}

impl SigningKey {
    pub(crate) fn new(algorithm: SigningAlgorithm, state: KeyState, material: Material) -> Self {
        Self {
            algorithm,
            state,
            material,
            signer: OnceLock::new(),
        }
    }

    pub(crate) fn signer(&self, holder: Option<&Arc<dyn Holder>>) -> Result<Arc<TokenSigner>, KeysError> {
        if let Some(signer) = self.signer.get() {
            return Ok(signer.clone());
        }
        let parsed = match &self.material {
            Material::Here(pkcs8) => TokenSigner::from_pkcs8(self.algorithm, pkcs8)?,
            Material::Held {
                holder: named,
                locator,
                public,
            } => {
                let public = PublicKey::parse_jwk(public)?;
                let holder = holder.filter(|h| h.name() == named).cloned();
                TokenSigner::held(holder, named, locator, public)
            }
        };
        Ok(self.signer.get_or_init(|| Arc::new(parsed)).clone())
    }

    /// The word for who holds the private key.
    pub(crate) fn holder(&self) -> &str {
        match &self.material {
            Material::Here(_) => "file",
            Material::Held { holder, .. } => holder,
        }
    }

    /// Whether it is the same key for the same use.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.state == other.state && self.material == other.material
    }

    pub(crate) fn in_state(&self, state: KeyState) -> Self {
        Self {
            algorithm: self.algorithm,
            state,
            material: self.material.clone(),
            signer: self.signer.clone(),
        }
    }

    fn room(&self) -> usize {
        match &self.material {
            Material::Here(pkcs8) => pkcs8.len() + 32,
            Material::Held {
                holder,
                locator,
                public,
            } => holder.len() + locator.len() + public.len() + 48,
        }
    }

    fn encode(&self, out: &mut Writer) {
        out.byte(self.state.to_byte())
            .field(self.algorithm.as_str().as_bytes());
        match &self.material {
            Material::Here(pkcs8) => out.byte(0).field(pkcs8),
            Material::Held {
                holder,
                locator,
                public,
            } => out
                .byte(1)
                .field(holder.as_bytes())
                .field(locator.as_bytes())
                .field(public),
        };
    }

    fn decode(reader: &mut Reader<'_>, format: u8) -> Option<Self> {
        let state = KeyState::from_byte(reader.byte()?)?;
        let algorithm = SigningAlgorithm::parse(std::str::from_utf8(reader.field()?).ok()?)?;
        // The first format knew keys that are here, and no byte for it.
        let material = match if format == 1 { 0 } else { reader.byte()? } {
            0 => Material::Here(Zeroizing::new(reader.field()?.to_vec())),
            1 => Material::Held {
                holder: String::from_utf8(reader.field()?.to_vec()).ok()?,
                locator: String::from_utf8(reader.field()?.to_vec()).ok()?,
                public: reader.field()?.to_vec(),
            },
            _ => return None,
        };
        Some(Self::new(algorithm, state, material))
    }
}

/// Everything secret of one tenant, or of the installation (which has no signing keys).
pub(crate) struct Bundle {
    pub(crate) sealing: SealingKeys,
    pub(crate) signing: Vec<SigningKey>,
}

impl Bundle {
    pub(crate) fn make(signing: Vec<SigningKey>, entropy: &dyn Entropy) -> Result<Self, KeysError> {
        Ok(Self {
            sealing: SealingKeys::make(entropy)?,
            signing,
        })
    }

    /// The same symmetric keys with other signing keys.
    pub(crate) fn with_signing(&self, signing: Vec<SigningKey>) -> Result<Self, KeysError> {
        let sealing = SealingKeys::from_raw(self.sealing.to_raw()).ok_or(KeysError::Generate)?;
        Ok(Self { sealing, signing })
    }

    pub(crate) fn active(&self) -> Option<&SigningKey> {
        self.signing.iter().find(|key| key.state == KeyState::Active)
    }

    pub(crate) fn encode(&self) -> Writer {
        let raw = self.sealing.to_raw();
        let room: usize = self.signing.iter().map(SigningKey::room).sum();
        let mut out = Writer::with_capacity(128 + raw.sealing.len() * 44 + room);
        out.byte(FORMAT)
            .number(u32::try_from(raw.sealing.len()).unwrap_or(u32::MAX));
        for (version, key) in &raw.sealing {
            out.number(*version).field(key.as_slice());
        }
        out.field(raw.log.as_slice()).field(raw.fingerprint.as_slice());
        out.number(u32::try_from(self.signing.len()).unwrap_or(u32::MAX));
        for key in &self.signing {
            key.encode(&mut out);
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let format = reader.byte()?;
        (1..=FORMAT).contains(&format).then_some(())?;
        let mut sealing = Vec::new();
        for _ in 0..reader.number()? {
            sealing.push((reader.number()?, reader.key()?));
        }
        let (log, fingerprint) = (reader.key()?, reader.key()?);
        let mut signing = Vec::new();
        for _ in 0..reader.number()? {
            signing.push(SigningKey::decode(&mut reader, format)?);
        }
        let sealing = SealingKeys::from_raw(RawKeys {
            sealing,
            log,
            fingerprint,
        })?;
        reader.is_finished().then_some(Self { sealing, signing })
    }
}
