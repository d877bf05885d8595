//! One exchange with a key service over the guarded way out, from a thread that may block.

use std::time::Duration;

use bailiwick_base::limits::shown;
use bailiwick_base::{Secret, json};
use bailiwick_keys::HolderError;
use bailiwick_outbound::{AddressRange, AddressRule, Dialer, Endpoint, Message, SendConfig, Sender};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Method, StatusCode};
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::config::{HolderConfig, HolderConfigError};

/// How long one question may take, waiting for others included.
const WHOLE_MAX: Duration = Duration::from_secs(3);
/// Until a connection stands.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// Questions at once.
const AT_ONCE: usize = 32;
/// Bytes of an answer.
const ANSWER_MAX: usize = 64 * 1024;

/// A key service and the way to it.
pub(crate) struct Service {
    /// How messages name it.
    name: &'static str,
    /// Its URL, which ends in a slash.
    base: String,
    plain: bool,
    rule: AddressRule,
    sender: Sender,
    turns: Semaphore,
}

/// What is sent to a service.
pub(crate) struct Question {
    pub(crate) method: Method,
    /// Below the URL of the service.
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

/// What it answered.
pub(crate) struct Answered {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
}

impl Service {
    /// The service at `url`; `key` is where its URL stands in the configuration.
    pub(crate) fn open(
        name: &'static str,
        (url, key): (&str, &'static str),
        config: &HolderConfig,
    ) -> Result<Self, HolderConfigError> {
        let wrong = |key, rule: String| HolderConfigError::Key { key, rule };
        let allowed = &config.allow_addresses;
        for range in allowed {
            AddressRange::parse(range).map_err(|e| wrong("allow_addresses", e.to_string()))?;
        }
        let rule = AddressRule::parse(allowed).map_err(|e| wrong("allow_addresses", e.to_string()))?;
        let plain = !allowed.is_empty();
        let base = format!("{}/", url.trim_end_matches('/'));
        Endpoint::parse(&base, plain).map_err(|e| wrong(key, e.to_string()))?;
        let limits = SendConfig {
            connect_timeout: CONNECT_MAX,
            whole_timeout: WHOLE_MAX,
            body_max: ANSWER_MAX,
        };
        Ok(Self {
            name,
            base,
            plain,
            rule,
            sender: Sender::new(Dialer::of_system(), limits),
            turns: Semaphore::new(AT_ONCE),
        })
    }

    /// Where a path of it is.
    pub(crate) fn endpoint(&self, path: &str) -> Result<Endpoint, HolderError> {
        let url = format!("{}{path}", self.base);
        Endpoint::parse(&url, self.plain).map_err(|e| self.refused(&e.to_string()))
    }

    pub(crate) fn refused(&self, why: &str) -> HolderError {
        HolderError::Refused(format!("{}: {why}", self.name))
    }

    pub(crate) fn unreachable(&self, why: &str) -> HolderError {
        HolderError::Unreachable(format!("{}: {why}", self.name))
    }

    /// Something that it should have said is missing.
    pub(crate) fn not_understood(&self) -> HolderError {
        self.refused("its answer lacks what it should hold")
    }

    /// Asks, and gives the answer whatever its status, if it is JSON or empty.
    pub(crate) fn ask(&self, question: Question) -> Result<Answered, HolderError> {
        let to = self.endpoint(&question.path)?;
        let message = Message {
            method: question.method,
            headers: question.headers,
            body: Secret::new(question.body),
        };
        let runtime = Handle::try_current().map_err(|_| self.unreachable("no runtime"))?;
        let sent = tokio::task::block_in_place(|| {
            runtime.block_on(tokio::time::timeout(WHOLE_MAX, async {
                let _turn = self
                    .turns
                    .acquire()
                    .await
                    .map_err(|_| self.unreachable("closed"))?;
                let sent = self.sender.send(&to, &self.rule, message).await;
                sent.map_err(|e| self.unreachable(&e.to_string()))
            }))
        });
        let answer = sent.unwrap_or_else(|_| Err(self.unreachable("it did not answer in time")))?;
        let text = answer.body.reveal();
        let body = match json::parse(text, ANSWER_MAX) {
            Ok(body) => body,
            Err(_) if answer.status.is_success() && !text.is_empty() => {
                return Err(self.unreachable("its answer is no JSON"));
            }
            Err(_) => Value::Null,
        };
        Ok(Answered {
            status: answer.status,
            body,
        })
    }

    /// A refusal of it, or something that may pass; `told` is what it said.
    pub(crate) fn failure(&self, status: StatusCode, told: &str, passes: bool) -> HolderError {
        let text = format!("HTTP {} {}", status.as_u16(), shown(told));
        if passes || status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            self.unreachable(&text)
        } else {
            self.refused(&text)
        }
    }

    /// Bytes in base64 from an answer.
    pub(crate) fn bytes_of(&self, answer: &Value, pointer: &str) -> Result<Zeroizing<Vec<u8>>, HolderError> {
        let text = answer.pointer(pointer).and_then(Value::as_str);
        let bytes = text.and_then(|text| STANDARD.decode(text).ok());
        bytes.map(Zeroizing::new).ok_or_else(|| self.not_understood())
    }
}
