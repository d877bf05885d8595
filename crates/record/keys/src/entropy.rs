//! Randomness of the operating system.

use bailiwick_base::{Entropy, EntropyError};

/// Random bytes from the operating system through aws-lc's generator.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyError> {
        aws_lc_rs::rand::fill(out).map_err(|_| EntropyError)
    }
}
