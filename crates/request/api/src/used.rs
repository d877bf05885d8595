//! Sessions that were used for a change: each serves one. Kept in memory for as long as a session lives, so a restart
//! within that time forgets them; what has an idempotency key is still not done twice, because the store knows that.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use bailiwick_base::{Digest, OperatorId, Sha256, Time};

/// Sessions of one operator within their life. Each operator has room of their own, so that none takes another's.
const PER_OPERATOR_MAX: usize = 16_384;

/// Why a session does not serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    Crowded,
    Used,
}

/// The sessions that were used, by operator.
#[derive(Default)]
pub struct UsedSessions(Mutex<BTreeMap<OperatorId, BTreeMap<Digest, Use>>>);

struct Use {
    expires: Time,
    /// What it was used for, when the same may be asked again.
    asked: Option<Digest>,
}

impl UsedSessions {
    /// Uses a session up. The same command under the same idempotency key may come again with it.
    pub(crate) fn take(
        &self,
        (operator, jti, expires): (&OperatorId, &str, Time),
        asked: Option<Digest>,
        now: Time,
    ) -> Result<(), Taken> {
        let mut sha = Sha256::new();
        sha.update_field(jti.as_bytes());
        let jti = sha.finish();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of_operator = all.entry(operator.clone()).or_default();
        if let Some(before) = of_operator.get(&jti) {
            let again = asked.is_some() && before.asked == asked;
            return if again { Ok(()) } else { Err(Taken::Used) };
        }
        if of_operator.len() >= PER_OPERATOR_MAX {
            of_operator.retain(|_, used| used.expires > now);
        }
        if of_operator.len() >= PER_OPERATOR_MAX {
            return Err(Taken::Crowded);
        }
        of_operator.insert(jti, Use { expires, asked });
        Ok(())
    }
}
