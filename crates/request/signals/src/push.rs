//! What whoever we send to makes of it (RFC 8935 §2; Standard Webhooks).

use std::time::Duration;

use bailiwick_base::json;
use serde_json::Value;

/// Bytes of an answer that are read.
const ANSWER_MAX: usize = 16 * 1024;
/// The first wait after a failure; each further one is twice as long.
const WAIT_MIN: Duration = Duration::from_secs(1);
/// The longest wait.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// It is there for good.
    Taken,
    /// This one will never be taken; the next ones may be.
    Refused(String),
    /// Not now.
    Failed(String),
    /// Nothing more is wanted.
    Gone,
}

/// The answer to a pushed SET. Only `invalid_request` speaks of the one SET (RFC 8935 §2.3); every other error is
/// the receiver's state, and ends.
#[must_use]
pub fn heard_push(status: u16, body: &[u8]) -> Heard {
    match status {
        200 | 202 | 204 => Heard::Taken,
        400 => {
            let said = json::parse(
                body.get(..body.len().min(ANSWER_MAX)).unwrap_or_default(),
                ANSWER_MAX,
            );
            let member = |name: &str| {
                let text = said.as_ref().ok()?.get(name).and_then(Value::as_str)?;
                Some(bailiwick_base::limits::shown(text))
            };
            match member("err") {
                Some(err) if err == "invalid_request" => Heard::Refused(member("description").unwrap_or(err)),
                Some(err) => Heard::Failed(format!("400 {err}")),
                None => Heard::Failed("400 without `err`".to_owned()),
            }
        }
        other => Heard::Failed(format!("status {other}")),
    }
}

/// The answer to a webhook.
#[must_use]
pub fn heard_webhook(status: u16) -> Heard {
    match status {
        200..=299 => Heard::Taken,
        410 => Heard::Gone,
        other => Heard::Failed(format!("status {other}")),
    }
}

/// How long to wait after `attempts` failures in a row.
#[must_use]
pub fn wait_for(attempts: u64) -> Duration {
    let doubled = u32::try_from(attempts.saturating_sub(1).min(16)).unwrap_or(16);
    WAIT_MIN
        .saturating_mul(2_u32.saturating_pow(doubled))
        .min(WAIT_MAX)
}
