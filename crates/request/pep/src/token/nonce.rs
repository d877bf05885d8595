//! Nonces for proofs of possession (RFC 9449 §8): nothing is kept, each says for itself until when it counts.

use aws_lc_rs::hmac;
use bailiwick_base::Time;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Seconds for which a nonce is the present one; it is taken for as long again.
const TURN_SECS: i64 = 120;
/// Bytes of the turn, and of what authenticates it.
const TURN: usize = 8;
const TAG: usize = 16;
/// Characters of both.
const TEXT: usize = 32;

/// Gives nonces and knows its own.
pub trait Nonces: Send + Sync + 'static {
    /// The present nonce.
    fn present(&self, now: Time) -> String;

    /// Whether it is one of ours that still counts.
    fn accepts(&self, text: &str, now: Time) -> bool;
}

/// Makes and judges nonces under a key of this process. Another process has another key: what was made for one
/// node says nothing at a second one, nor at the same one after a restart. The product has no others.
pub struct TurnNonces(hmac::Key);

impl Nonces for TurnNonces {
    fn present(&self, now: Time) -> String {
        URL_SAFE_NO_PAD.encode(self.of(turn(now)))
    }

    /// The present nonce, or the one before.
    fn accepts(&self, text: &str, now: Time) -> bool {
        if text.len() != TEXT {
            return false;
        }
        let mut given = [0_u8; TURN + TAG];
        if URL_SAFE_NO_PAD.decode_slice(text, &mut given) != Ok(TURN + TAG) {
            return false;
        }
        let present = turn(now);
        [present, present.saturating_sub(1)]
            .into_iter()
            .any(|turn| aws_lc_rs::constant_time::verify_slices_are_equal(&self.of(turn), &given).is_ok())
    }
}

impl TurnNonces {
    /// `secret` has to be fresh random bytes of this process.
    #[must_use]
    pub fn new(secret: [u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &secret))
    }

    fn of(&self, turn: i64) -> [u8; TURN + TAG] {
        let tag = hmac::sign(&self.0, &turn.to_be_bytes());
        let mut out = [0_u8; TURN + TAG];
        let bytes = turn.to_be_bytes().into_iter().chain(tag.as_ref().iter().copied());
        for (to, from) in out.iter_mut().zip(bytes) {
            *to = from;
        }
        out
    }
}

fn turn(now: Time) -> i64 {
    now.secs().div_euclid(TURN_SECS)
}
