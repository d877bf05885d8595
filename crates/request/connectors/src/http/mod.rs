//! Keys of a service whose management a document describes.
//!
//! Keys made here carry a name of ours, so that one whose maker died before it learnt the id is found and ended.

mod document;

use std::time::Duration;

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

/// How long all pages of a list may take.
const LISTING: Duration = Duration::from_secs(20);
/// Pages of one list.
const PAGES_MAX: usize = 100;
const NOT_WHOLE: TargetError = TargetError::Unusable(
    "its list is as long as a page, so there may be more: give `next` and `next_path` in the `list` of its document",
);
const STILL_LISTED: TargetError = TargetError::Unusable(
    "it answers that there is no such key, and lists it: look at the path of `end` in its document",
);
const TOO_MANY_PAGES: TargetError =
    TargetError::Unusable("its list has more than 100 pages: give it an account of its own, or longer pages");

/// The manager's access to the keys of a service.
pub(crate) struct HttpKeys<'a> {
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

impl Told {
    /// The service's own words. Whole: what they repeat of a secret is covered before they are cut.
    fn message(&self) -> String {
        at(&self.value, Some("/message")).unwrap_or_default()
    }
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
                text: told.message(),
            }),
            status => Err(TargetError::Unreachable(format!(
                "it answered with HTTP {status}"
            ))),
        }
    }

    /// Every key of the service: a list that is not whole is none.
    async fn listed(&self) -> Result<Vec<Listed>, TargetError> {
        let pages = tokio::time::timeout(LISTING, self.all_pages()).await;
        pages.unwrap_or_else(|_| {
            Err(TargetError::Unreachable(format!(
                "its list took longer than {} s",
                LISTING.as_secs()
            )))
        })
    }

    async fn all_pages(&self) -> Result<Vec<Listed>, TargetError> {
        let document = self.document()?;
        let list = &document.list;
        let mut listed = Vec::new();
        let mut page = None;
        for _ in 0..PAGES_MAX {
            let value = self.listed_page(list, page.as_deref()).await?;
            let items = list.items.as_deref().and_then(|items| value.pointer(items));
            let items = items.and_then(Value::as_array).ok_or(NOT_UNDERSTOOD)?;
            listed.extend(self.read(list, items)?);
            page = at(&value, list.next.as_deref()).filter(|next| !next.is_empty());
            let is_full = list.page_size.is_some_and(|size| items.len() >= size);
            match (&page, &list.next) {
                (Some(_), _) => {}
                (None, None) if is_full => return Err(NOT_WHOLE),
                (None, _) => return Ok(listed),
            }
        }
        Err(TOO_MANY_PAGES)
    }

    async fn listed_page(&self, list: &Ask, page: Option<&str>) -> Result<Value, TargetError> {
        let manager = ("manager", text_of(self.manager)?);
        let told = match (page, &list.next_path) {
            (Some(page), Some(path)) => {
                let next = Ask {
                    path: path.clone(),
                    ..list.clone()
                };
                self.ask(&next, &[manager, ("page", page)]).await?
            }
            _ => self.ask(list, &[manager]).await?,
        };
        Self::judged(told)
    }

    fn read(&self, list: &Ask, items: &[Value]) -> Result<Vec<Listed>, TargetError> {
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
        // What is gone was not found, says HTTP itself; that the path was wrong would be answered the same way.
        if matches!(told.status, 404 | 410) {
            let is_listed = self.listed().await?.iter().any(|key| key.handle == handle);
            return if is_listed { Err(STILL_LISTED) } else { Ok(()) };
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
        let in_vain = self.credential.rotation().is_some_and(|r| r.in_vain);
        if !in_vain && plan::would_cut_off(self.credential, &seen, self.with.now) {
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
                text: told.message(),
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

    /// Ends the key in use, and one that a rotation was making.
    pub(crate) async fn end_all(&self, secret: &Secret<Vec<u8>>) -> Result<ProbeAnswer, TargetError> {
        let done = [self.end(&self.target.key).await, self.unstage().await];
        let refused = self.opens(&self.target.key, secret).await;
        done.into_iter().collect::<Result<(), _>>()?;
        refused?.ok_or(TargetError::Unusable("the key is still accepted"))
    }
}
