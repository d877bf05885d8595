//! Keys of a service whose management a document describes.
//!
//! Keys made here carry a name of ours, so that one whose maker died before it learnt the id is found and ended.

mod document;

use bailiwick_base::limits::shown;
use bailiwick_base::{Secret, Time, json};
use bailiwick_credential::{HttpTarget, LastUse, Observed, ProbeAnswer, ThirdParty, plan};
use bailiwick_outbound::{AddressRule, Endpoint, Message};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

pub use self::document::{DocumentError, HttpDocument};

use self::document::{Ask, Values, filled, quoted, segment};
use crate::driver::{Ended, Made, Probed, Reachable, TargetError};

/// Bytes of an answer.
const ANSWER_MAX: usize = 256 * 1024;
const NOT_UNDERSTOOD: TargetError = TargetError::Unusable("its answer lacks what the document says it holds");

/// The manager's access to the keys of a service.
pub struct HttpKeys<'a> {
    credential: &'a ThirdParty,
    target: &'a HttpTarget,
    manager: &'a Secret<Vec<u8>>,
    with: &'a Reachable<'a>,
}

/// A key as the service lists it.
struct Listed {
    handle: String,
    is_ours: bool,
    used: Option<Time>,
}

/// An answer: its status, and its content when it is JSON.
struct Told {
    status: u16,
    value: Value,
}

fn text_of(secret: &Secret<Vec<u8>>) -> Result<&str, TargetError> {
    std::str::from_utf8(secret.reveal()).map_err(|_| TargetError::Unusable("a secret is not UTF-8 text"))
}

/// A text, or a number as text.
fn at(value: &Value, pointer: Option<&str>) -> Option<String> {
    match value.pointer(pointer?)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

impl<'a> HttpKeys<'a> {
    pub(crate) fn new(
        credential: &'a ThirdParty,
        target: &'a HttpTarget,
        manager: &'a Secret<Vec<u8>>,
        with: &'a Reachable<'a>,
    ) -> Self {
        Self {
            credential,
            target,
            manager,
            with,
        }
    }

    fn document(&self) -> Result<HttpDocument, TargetError> {
        HttpDocument::parse(&self.target.document)
            .map_err(|_| TargetError::Unusable("its document is not usable any more: register it again"))
    }

    /// The name of ours on keys that this rotation makes.
    fn name(&self) -> String {
        format!("bailiwick {}", self.credential.id)
    }

    async fn ask(&self, ask: &Ask, values: &Values<'_>) -> Result<Told, TargetError> {
        let path = filled(&ask.path, values, segment);
        let url = format!("{}{}", self.target.url.trim_end_matches('/'), path.as_str());
        let endpoint = Endpoint::parse(&url, self.target.allow_plaintext)?;
        let rule = AddressRule::parse(&self.target.addresses)?;
        let mut headers = HeaderMap::new();
        for (name, value) in &ask.headers {
            let value = filled(value, values, str::to_owned);
            let name = HeaderName::from_bytes(name.as_bytes());
            let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(&value)) else {
                return Err(TargetError::Unusable(
                    "a header of its document cannot be sent with this value",
                ));
            };
            headers.insert(name, value);
        }
        let body = ask.body.as_ref().map(|body| filled(body, values, quoted));
        let message = Message {
            method: ask.method(),
            headers,
            body: Secret::new(body.map(|b| b.as_bytes().to_vec()).unwrap_or_default()),
        };
        let answer = self.with.sender.send(&endpoint, &rule, message).await?;
        Ok(Told {
            status: answer.status.as_u16(),
            value: json::parse(answer.body.reveal(), ANSWER_MAX).unwrap_or(Value::Null),
        })
    }

    /// An answer that is a success, a refusal, or something that may pass.
    fn judged(told: Told) -> Result<Value, TargetError> {
        match told.status {
            200..=299 => Ok(told.value),
            status @ (400..=407 | 409..=428 | 430..=499) => Err(TargetError::Refused {
                code: format!("HTTP {status}"),
                text: at(&told.value, Some("/message"))
                    .map(|m| shown(&m))
                    .unwrap_or_default(),
            }),
            status => Err(TargetError::Unreachable(format!(
                "it answered with HTTP {status}"
            ))),
        }
    }

    async fn listed(&self) -> Result<Vec<Listed>, TargetError> {
        let document = self.document()?;
        let list = &document.list;
        let told = self.ask(list, &[("manager", text_of(self.manager)?)]).await?;
        let value = Self::judged(told)?;
        let items = list.items.as_deref().and_then(|items| value.pointer(items));
        let items = items.and_then(Value::as_array).ok_or(NOT_UNDERSTOOD)?;
        let name = self.name();
        let listed = items.iter().map(|item| {
            Some(Listed {
                handle: at(item, list.handle.as_deref())?,
                is_ours: at(item, list.name.as_deref()).as_deref() == Some(&name),
                used: at(item, list.last_used.as_deref()).and_then(|t| Time::parse(&t).ok()),
            })
        });
        listed.collect::<Option<_>>().ok_or(NOT_UNDERSTOOD)
    }

    /// The key in use is there: the manager sees what it manages.
    pub(crate) async fn prepare(&self) -> Result<(), TargetError> {
        if self
            .listed()
            .await?
            .iter()
            .any(|key| key.handle == self.target.key)
        {
            return Ok(());
        }
        Err(TargetError::Refused {
            code: "no-such-key".to_owned(),
            text: format!("the service lists no key `{}`", shown(&self.target.key)),
        })
    }

    /// Makes a key; one of an attempt that died before this one goes first.
    pub(crate) async fn stage(&self) -> Result<Made, TargetError> {
        self.end_unknown().await?;
        let document = self.document()?;
        let name = self.name();
        let values = [("manager", text_of(self.manager)?), ("name", name.as_str())];
        let value = Self::judged(self.ask(&document.create, &values).await?)?;
        let handle = at(&value, document.create.handle.as_deref()).ok_or(NOT_UNDERSTOOD)?;
        let secret = at(&value, document.create.secret.as_deref()).ok_or(NOT_UNDERSTOOD)?;
        Ok(Made {
            handle,
            secret: Secret::new(secret.into_bytes()),
        })
    }

    async fn end_unknown(&self) -> Result<(), TargetError> {
        for key in self.listed().await? {
            if key.is_ours && key.handle != self.target.key {
                self.end(&key.handle).await?;
            }
        }
        Ok(())
    }

    async fn end(&self, handle: &str) -> Result<(), TargetError> {
        let document = self.document()?;
        let values = [("manager", text_of(self.manager)?), ("handle", handle)];
        let told = self.ask(&document.end, &values).await?;
        if document.end.refused.contains(&told.status) {
            return Ok(());
        }
        Self::judged(told).map(drop)
    }

    /// When the key in use was used last, where the service tells.
    pub(crate) async fn look(&self) -> Result<Observed, TargetError> {
        let listed = self.listed().await?;
        let used = listed
            .into_iter()
            .find(|key| key.handle == self.target.key)
            .and_then(|key| key.used);
        Ok(Observed {
            used: used.map(|at| LastUse {
                at,
                what: format!("key {}", shown(&self.target.key)),
            }),
            ..Observed::default()
        })
    }

    pub(crate) async fn revoke(&self) -> Result<Ended, TargetError> {
        let seen = self.look().await?;
        if !plan::strangers(self.credential, &seen, self.with.now).is_empty() {
            return Ok(Ended::Reopened(seen));
        }
        self.end(&self.target.key).await?;
        Ok(Ended::Done)
    }

    pub(crate) async fn unstage(&self) -> Result<(), TargetError> {
        match self.credential.unfinished() {
            Some(rotation) if rotation.prepared => match &rotation.handle {
                Some(handle) => self.end(handle).await,
                None => self.end_unknown().await,
            },
            _ => Ok(()),
        }
    }

    async fn opens(
        &self,
        handle: &str,
        secret: &Secret<Vec<u8>>,
    ) -> Result<Option<ProbeAnswer>, TargetError> {
        let document = self.document()?;
        let values = [("handle", handle), ("secret", text_of(secret)?)];
        let told = self.ask(&document.probe, &values).await?;
        if document.probe.refused.contains(&told.status) {
            return Ok(Some(ProbeAnswer {
                code: format!("HTTP {}", told.status),
                text: at(&told.value, Some("/message"))
                    .map(|m| shown(&m))
                    .unwrap_or_default(),
            }));
        }
        Self::judged(told).map(|_| None)
    }

    pub(crate) async fn probe(
        &self,
        old: &Secret<Vec<u8>>,
        new: &Secret<Vec<u8>>,
    ) -> Result<Probed, TargetError> {
        let handle = self.credential.unfinished().and_then(|r| r.handle.as_deref());
        let handle = handle.ok_or(TargetError::Unusable("the new key has no id"))?;
        if self.opens(handle, new).await?.is_some() {
            return Err(TargetError::Unusable("the new key is not accepted yet"));
        }
        Ok(match self.opens(&self.target.key, old).await? {
            Some(refused) => Probed::Refused(refused),
            None => Probed::Accepted,
        })
    }

    /// Ends the key in use and one that a rotation was making.
    pub(crate) async fn end_all(&self, secret: &Secret<Vec<u8>>) -> Result<ProbeAnswer, TargetError> {
        self.unstage().await?;
        self.end(&self.target.key).await?;
        let refused = self.opens(&self.target.key, secret).await?;
        refused.ok_or(TargetError::Unusable("the key is still accepted"))
    }
}
