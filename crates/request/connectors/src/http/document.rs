//! The document that describes how keys of a service are managed, and what its placeholders become.

use bailiwick_base::limits::shown;
use http::Method;
use serde::Deserialize;

/// Why a document is not usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{place}`: {rule}")]
pub struct DocumentError {
    place: String,
    rule: String,
}

/// One request of the document.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ask {
    pub(super) method: String,
    /// Path and query, added to the credential's URL.
    pub(super) path: String,
    #[serde(default)]
    pub(super) headers: std::collections::BTreeMap<String, String>,
    /// JSON.
    pub(super) body: Option<String>,
    /// JSON pointers into the answer (RFC 6901).
    pub(super) items: Option<String>,
    pub(super) handle: Option<String>,
    pub(super) name: Option<String>,
    pub(super) secret: Option<String>,
    pub(super) last_used: Option<String>,
    /// JSON pointer to what names the next page; absent, null or empty in the last one.
    pub(super) next: Option<String>,
    /// Path and query of further pages.
    pub(super) next_path: Option<String>,
    /// Items of a full page, where nothing names the next one: such a list may not be whole.
    pub(super) page_size: Option<usize>,
    /// Statuses that mean: refused, gone.
    #[serde(default)]
    pub(super) refused: Vec<u16>,
}

/// How keys of a service are managed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpDocument {
    /// Makes a key.
    pub(super) create: Ask,
    /// Lists the keys, so that one whose maker died is found.
    pub(super) list: Ask,
    /// Ends a key.
    pub(super) end: Ask,
    /// What every key may ask.
    pub(super) probe: Ask,
}

/// Which placeholders stand where.
const PLACEHOLDERS: [(&str, &[&str]); 4] = [
    ("create", &["manager", "name"]),
    ("list", &["manager"]),
    ("end", &["manager", "handle"]),
    ("probe", &["handle", "secret"]),
];

impl HttpDocument {
    /// Parses and judges a document.
    ///
    /// # Errors
    /// [`DocumentError`] with the place and what would pass.
    pub fn parse(text: &str) -> Result<Self, DocumentError> {
        let document: Self = toml::from_str(text).map_err(|e| DocumentError {
            place: "document".to_owned(),
            rule: shown(e.message()),
        })?;
        let asks = [&document.create, &document.list, &document.end, &document.probe];
        for ((section, known), ask) in PLACEHOLDERS.iter().zip(asks) {
            ask.judge(section, known)?;
        }
        let needs = |place: &str, pointer: Option<&String>| match pointer {
            Some(pointer) if pointer.is_empty() || pointer.starts_with('/') => Ok(()),
            _ => Err(DocumentError {
                place: place.to_owned(),
                rule: "give a JSON pointer such as `/id`".to_owned(),
            }),
        };
        needs("create.handle", document.create.handle.as_ref())?;
        needs("create.secret", document.create.secret.as_ref())?;
        needs("list.items", document.list.items.as_ref())?;
        needs("list.handle", document.list.handle.as_ref())?;
        needs("list.name", document.list.name.as_ref())?;
        document.list.judge_pages()?;
        if document.create.handle == document.create.secret {
            return Err(DocumentError {
                place: "create.handle".to_owned(),
                rule: "point to the key's id, which is shown and logged, not to the key".to_owned(),
            });
        }
        if document.probe.refused.is_empty() {
            return Err(DocumentError {
                place: "probe.refused".to_owned(),
                rule: "give the statuses that mean refused, such as [401, 403]".to_owned(),
            });
        }
        Ok(document)
    }
}

impl Ask {
    fn judge(&self, section: &str, known: &[&str]) -> Result<(), DocumentError> {
        let wrong = |member: &str, rule: String| DocumentError {
            place: format!("{section}.{member}"),
            rule,
        };
        if !matches!(self.method.as_str(), "DELETE" | "GET" | "PATCH" | "POST" | "PUT") {
            return Err(wrong("method", "give GET, POST, PUT, PATCH or DELETE".to_owned()));
        }
        if !self.path.starts_with('/') {
            return Err(wrong("path", "begin it with `/`".to_owned()));
        }
        let texts = [("path", &self.path)].into_iter();
        let texts = texts.chain(self.body.iter().map(|body| ("body", body)));
        let texts = texts.chain(self.headers.values().map(|value| ("headers", value)));
        for (member, text) in texts {
            Self::judge_placeholders(text, known).map_err(|rule| wrong(member, rule))?;
        }
        Ok(())
    }

    fn judge_placeholders(text: &str, known: &[&str]) -> Result<(), String> {
        match placeholders(text).find(|placeholder| !known.contains(placeholder)) {
            Some(placeholder) => {
                let known = known.join("}`, `{");
                Err(format!("`{{{placeholder}}}` is none of `{{{known}}}`"))
            }
            None => Ok(()),
        }
    }

    /// How a list that has pages is read whole.
    fn judge_pages(&self) -> Result<(), DocumentError> {
        let wrong = |member: &str, rule: String| DocumentError {
            place: format!("list.{member}"),
            rule,
        };
        match (&self.next, &self.next_path) {
            (None, None) => {}
            (Some(next), Some(path)) => {
                if !next.starts_with('/') {
                    return Err(wrong("next", "give a JSON pointer such as `/next`".to_owned()));
                }
                if !path.starts_with('/') || !placeholders(path).any(|name| name == "page") {
                    let rule = "begin it with `/` and put `{page}` where the page is named";
                    return Err(wrong("next_path", rule.to_owned()));
                }
                Self::judge_placeholders(path, &["manager", "page"])
                    .map_err(|rule| wrong("next_path", rule))?;
            }
            _ => {
                return Err(wrong(
                    "next",
                    "give both `next` and `next_path`, or neither".to_owned(),
                ));
            }
        }
        if self.page_size == Some(0) {
            return Err(wrong(
                "page_size",
                "give how many items a full page has".to_owned(),
            ));
        }
        Ok(())
    }

    pub(super) fn method(&self) -> Method {
        Method::from_bytes(self.method.as_bytes()).unwrap_or(Method::GET)
    }
}

/// Names between braces; braces of JSON hold quotes or spaces and are none.
fn placeholders(text: &str) -> impl Iterator<Item = &str> {
    text.split('{').skip(1).filter_map(|rest| {
        let (name, _) = rest.split_once('}')?;
        let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        plain.then_some(name)
    })
}

/// What placeholders become.
pub(super) type Values<'a> = [(&'static str, &'a str)];

/// Puts values in, each in the form of the place: nothing in a value can end the place it stands in.
pub(super) fn filled(
    text: &str,
    values: &Values<'_>,
    form: impl Fn(&str) -> String,
) -> zeroize::Zeroizing<String> {
    let mut out = zeroize::Zeroizing::new(String::new());
    let mut rest = text;
    // Left to right, once: a value is never searched for placeholders.
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let found = values
            .iter()
            .find_map(|(name, value)| Some((value, after.strip_prefix(name)?.strip_prefix('}')?)));
        match found {
            Some((value, left)) => {
                out.push_str(&form(value));
                rest = left;
            }
            None => {
                out.push('{');
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

/// One segment of a path.
pub(super) fn segment(value: &str) -> String {
    form_urlencoded::byte_serialize(value.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}

/// The inside of a JSON text.
pub(super) fn quoted(value: &str) -> String {
    let text = serde_json::Value::from(value).to_string();
    text.get(1..text.len().saturating_sub(1))
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = include_str!("../../../../../content/rotation/api-keys.toml");

    #[test]
    fn a_document_is_read_whole_and_says_what_is_wrong_with_it() {
        assert!(HttpDocument::parse(SAMPLE).is_ok());
        let bent = |from: &str, to: &str| {
            assert!(SAMPLE.contains(from), "{from}");
            HttpDocument::parse(&SAMPLE.replace(from, to))
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            bent("Bearer {secret}", "Bearer {manager}"),
            "`probe.headers`: `{manager}` is none of `{handle}`, `{secret}`"
        );
        assert_eq!(
            bent("secret = \"/secret\"", "secret = \"secret\""),
            "`create.secret`: give a JSON pointer such as `/id`"
        );
        assert_eq!(
            bent("refused = [401, 403]", ""),
            "`probe.refused`: give the statuses that mean refused, such as [401, 403]"
        );
        assert_eq!(
            bent("handle = \"/id\"\nsecret", "handle = \"/secret\"\nsecret"),
            "`create.handle`: point to the key's id, which is shown and logged, not to the key"
        );
        let paged = |more: &str| bent("items = \"/keys\"", &format!("items = \"/keys\"\n{more}"));
        assert_eq!(
            paged("next = \"/next\""),
            "`list.next`: give both `next` and `next_path`, or neither"
        );
        assert_eq!(
            paged("next = \"/next\"\nnext_path = \"/v1/keys?after={handle}\""),
            "`list.next_path`: begin it with `/` and put `{page}` where the page is named"
        );
        assert_eq!(
            paged("next = \"/next\"\nnext_path = \"/v1/keys?after={page}&by={handle}\""),
            "`list.next_path`: `{handle}` is none of `{manager}`, `{page}`"
        );
        assert!(bent("method = \"DELETE\"", "method = \"BREW\"").starts_with("`end.method`"));
        assert!(
            bent("path = \"/v1/whoami\"", "path = \"//evil.example\"\nextra = 1").starts_with("`document`")
        );
    }

    #[test]
    fn a_value_stays_in_its_place() {
        let values = [
            ("handle", "a/../b?x=1#{name}"),
            ("name", "n\"}, {\"admin\": true"),
        ];
        assert_eq!(
            *filled("/keys/{handle}", &values, segment),
            "/keys/a%2F..%2Fb%3Fx%3D1%23%7Bname%7D"
        );
        let body = filled("{\"name\":\"{name}\"}", &values, quoted);
        let read: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(read, serde_json::json!({ "name": "n\"}, {\"admin\": true" }));
    }
}
