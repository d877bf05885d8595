//! The keys of one tenant as one sealed file.

use bailiwick_base::{Entropy, SigningAlgorithm};
use std::sync::{Arc, OnceLock};
use zeroize::Zeroizing;

use crate::codec::{Reader, Writer};
use crate::error::KeysError;
use crate::keyring::KeyState;
use crate::seal::{RawKeys, SealingKeys};
use crate::signer::{Pkcs8, TokenSigner};

const FORMAT: u8 = 1;

/// One signing key of a tenant. The private key is parsed at first use: an installation with many tenants
/// starts without parsing them all.
pub(crate) struct SigningKey {
    pub(crate) algorithm: SigningAlgorithm,
    pub(crate) state: KeyState,
    pkcs8: Pkcs8,
    signer: OnceLock<Arc<TokenSigner>>,
}

impl SigningKey {
    pub(crate) fn new(algorithm: SigningAlgorithm, state: KeyState, pkcs8: Pkcs8) -> Self {
        Self {
            algorithm,
            state,
            pkcs8,
            signer: OnceLock::new(),
        }
    }

    pub(crate) fn signer(&self) -> Result<Arc<TokenSigner>, KeysError> {
        if let Some(signer) = self.signer.get() {
            return Ok(signer.clone());
        }
        let parsed = Arc::new(TokenSigner::from_pkcs8(self.algorithm, &self.pkcs8)?);
        Ok(self.signer.get_or_init(|| parsed).clone())
    }

    /// Whether it is the same key for the same use.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.state == other.state && self.pkcs8 == other.pkcs8
    }

    pub(crate) fn in_state(&self, state: KeyState) -> Self {
        Self {
            algorithm: self.algorithm,
            state,
            pkcs8: self.pkcs8.clone(),
            signer: self.signer.clone(),
        }
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
        let room: usize = self.signing.iter().map(|key| key.pkcs8.len() + 16).sum();
        let mut out = Writer::with_capacity(128 + raw.sealing.len() * 44 + room);
        out.byte(FORMAT)
            .number(u32::try_from(raw.sealing.len()).unwrap_or(u32::MAX));
        for (version, key) in &raw.sealing {
            out.number(*version).field(key.as_slice());
        }
        out.field(raw.log.as_slice()).field(raw.fingerprint.as_slice());
        out.number(u32::try_from(self.signing.len()).unwrap_or(u32::MAX));
        for key in &self.signing {
            out.byte(key.state.to_byte())
                .field(key.algorithm.as_str().as_bytes())
                .field(&key.pkcs8);
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        (reader.byte()? == FORMAT).then_some(())?;
        let mut sealing = Vec::new();
        for _ in 0..reader.number()? {
            sealing.push((reader.number()?, reader.key()?));
        }
        let (log, fingerprint) = (reader.key()?, reader.key()?);
        let mut signing = Vec::new();
        for _ in 0..reader.number()? {
            let state = KeyState::from_byte(reader.byte()?)?;
            let algorithm = SigningAlgorithm::parse(std::str::from_utf8(reader.field()?).ok()?)?;
            signing.push(SigningKey::new(
                algorithm,
                state,
                Zeroizing::new(reader.field()?.to_vec()),
            ));
        }
        let sealing = SealingKeys::from_raw(RawKeys {
            sealing,
            log,
            fingerprint,
        })?;
        reader.is_finished().then_some(Self { sealing, signing })
    }
}
