//! Randomness and ids as parameters.

use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest;
use uuid::Uuid;

use crate::id::{Id, IdKind};
use crate::tenant::TenantId;
use crate::time::Clock;

/// The source of randomness failed; nothing may be minted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the source of randomness failed")]
pub struct EntropyError;

/// Where random bytes come from. `keys` has the one of the operating system.
pub trait Entropy: Send + Sync + 'static {
    /// Fills `out` completely.
    ///
    /// # Errors
    /// [`EntropyError`] when the source fails; `out` must not be used then.
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError>;
}

/// Bytes from a seed: SHA-256 in counter mode. For tests, simulation and the deterministic demo only.
pub struct SeededEntropy(Mutex<(u64, u64)>);

impl SeededEntropy {
    /// A stream that is the same for the same seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(Mutex::new((seed, 0)))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for block in out.chunks_mut(32) {
            let mut input = [0_u8; 16];
            input[..8].copy_from_slice(&state.0.to_be_bytes());
            input[8..].copy_from_slice(&state.1.to_be_bytes());
            state.1 = state.1.wrapping_add(1);
            let bytes = digest::digest(&digest::SHA256, &input);
            for (to, from) in block.iter_mut().zip(bytes.as_ref()) {
                *to = *from;
            }
        }
        Ok(())
    }
}

/// Mints ids: UUIDv7 (RFC 9562 §5.7) from the injected clock and randomness.
#[derive(Clone)]
pub struct Ids {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

impl Ids {
    /// Ids from this clock and this randomness.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self { clock, entropy }
    }

    /// A new id inside `tenant`.
    ///
    /// # Errors
    /// [`EntropyError`] when randomness fails.
    pub fn mint<K: IdKind>(&self, tenant: &TenantId) -> Result<Id<K>, EntropyError> {
        Ok(Id::from_parts(tenant.clone(), self.uuid()?))
    }

    /// A bare UUIDv7.
    ///
    /// # Errors
    /// [`EntropyError`] when randomness fails.
    pub fn uuid(&self) -> Result<Uuid, EntropyError> {
        let mut random = [0_u8; 10];
        self.entropy.fill(&mut random)?;
        let millis = u64::try_from(self.clock.now().millis()).unwrap_or(0);
        Ok(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }
}
