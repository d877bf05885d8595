//! The `params` of a call: every value read strictly, every byte kept.

use bailiwick_base::{Digest, json};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::method;

/// One member of `params`: name, exact bytes, and value.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) raw: Bytes,
    pub(crate) value: Value,
}

/// The members of `params` in their order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Params {
    pub(crate) raw: Option<Bytes>,
    members: Vec<Member>,
}

/// Names that the gateway reads. A name that only looks like one of them is refused, because a lax upstream
/// server could read it as that one.
const READ: [&str; 12] = [
    "_meta",
    "argument",
    "arguments",
    "cursor",
    "inputResponses",
    "level",
    "name",
    "notifications",
    "ref",
    "requestState",
    "taskId",
    "uri",
];

/// Words in `_meta` with which a caller would speak for the gateway.
const AUTHORITY: [&str; 6] = [
    "approval",
    "approval_id",
    "approved",
    "nhi",
    "principal",
    "tenant",
];

struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Vec<(String, &'de RawValue)>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut out = Vec::with_capacity(4);
                while let Some(entry) = map.next_entry::<String, &'de RawValue>()? {
                    out.push(entry);
                    if out.len() > 64 {
                        return Err(serde::de::Error::custom("more than 64 members"));
                    }
                }
                Ok(out)
            }
        }
        deserializer.deserialize_map(Reader).map(Members)
    }
}

/// Folds a name the way lax readers do: ASCII case, and the two letters whose simple case folding is ASCII.
fn folded(name: &str) -> String {
    name.chars()
        .map(|c| match c {
            '\u{17f}' => 's',
            '\u{212a}' => 'k',
            c => c.to_ascii_lowercase(),
        })
        .collect()
}

impl Params {
    /// Reads `raw` strictly: no member twice at any level, no look-alike of a member the gateway reads.
    pub(crate) fn parse(raw: Option<Bytes>) -> Result<Self, String> {
        let Some(raw) = raw else {
            return Ok(Self::default());
        };
        let text = std::str::from_utf8(&raw).map_err(|_| "`params` is not UTF-8".to_owned())?;
        let found: Members<'_> = serde_json::from_str(text).map_err(|e| e.to_string())?;
        let mut members: Vec<Member> = Vec::with_capacity(found.0.len());
        for (name, value) in found.0 {
            if members.iter().any(|m| m.name == name) {
                return Err(format!("member `{}` twice", crate::answer::shown(&name)));
            }
            let fold = folded(&name);
            if READ.iter().any(|read| *read != name && folded(read) == fold) {
                return Err(format!(
                    "member `{}` is not spelled as MCP spells it",
                    crate::answer::shown(&name)
                ));
            }
            let bytes = raw.slice_ref(value.get().as_bytes());
            let value = json::parse(&bytes, bytes.len()).map_err(|e| e.to_string())?;
            members.push(Member {
                name,
                raw: bytes,
                value,
            });
        }
        let params = Self {
            raw: Some(raw),
            members,
        };
        params.require_shapes()?;
        Ok(params)
    }

    fn require_shapes(&self) -> Result<(), String> {
        for member in &self.members {
            let fits = match member.name.as_str() {
                "_meta" | "arguments" => member.value.is_object(),
                "cursor" | "level" | "name" | "requestState" | "uri" => member.value.is_string(),
                _ => true,
            };
            if !fits {
                return Err(format!("`{}` has the wrong type", member.name));
            }
        }
        let smuggled = self
            .meta()
            .and_then(|m| m.keys().find(|k| AUTHORITY.contains(&folded(k).as_str())));
        if let Some(key) = smuggled {
            return Err(format!(
                "`_meta.{}` is not a caller's to set",
                crate::answer::shown(key)
            ));
        }
        if let Some(uri) = self.text("uri") {
            require_plain_uri(uri)?;
        }
        Ok(())
    }

    /// Lets go of everything but what `_meta` says about the call and its caller: of no byte of the message anything
    /// is kept.
    pub(crate) fn let_go(&mut self) {
        let kept = ["progressToken", method::META_CLIENT, method::META_CAPABILITIES];
        let meta = self.members.iter_mut().find(|m| m.name == "_meta");
        let meta = meta.and_then(|m| m.value.as_object_mut()).map(|meta| {
            let of = |key: &str| Some((key.to_owned(), meta.remove(key)?));
            Value::Object(kept.into_iter().filter_map(of).collect())
        });
        self.raw = None;
        self.members = meta
            .map(|value| Member {
                name: "_meta".to_owned(),
                raw: Bytes::new(),
                value,
            })
            .into_iter()
            .collect();
    }

    pub(crate) fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|m| m.name == name)
    }

    pub(crate) fn value(&self, name: &str) -> Option<&Value> {
        Some(&self.member(name)?.value)
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.member(name)?.value.as_str()
    }

    pub(crate) fn meta(&self) -> Option<&Map<String, Value>> {
        self.member("_meta")?.value.as_object()
    }

    pub(crate) fn meta_value(&self, key: &str) -> Option<&Value> {
        self.meta()?.get(key)
    }

    pub(crate) fn meta_text(&self, key: &str) -> Option<&str> {
        self.meta_value(key)?.as_str()
    }

    pub(crate) fn progress_token(&self) -> Option<&Value> {
        self.meta()?.get("progressToken")
    }

    /// The parsed `arguments` and the digest of their exact bytes.
    pub(crate) fn arguments(&self) -> bailiwick_decide::Arguments {
        let Some(member) = self.member("arguments") else {
            return bailiwick_decide::Arguments::default();
        };
        let values = member.value.as_object().cloned().unwrap_or_default();
        bailiwick_decide::Arguments {
            values,
            digest: Some(Digest::of(&member.raw)),
        }
    }

    /// The same members with another `_meta`, and without the members named in `without`. Everything else keeps
    /// its bytes.
    pub(crate) fn with_meta(&self, meta: &Map<String, Value>, without: &[&str]) -> Bytes {
        self.rewritten(meta, without, &[])
    }

    /// As [`Params::with_meta`], with members added at the end.
    pub(crate) fn rewritten(
        &self,
        meta: &Map<String, Value>,
        without: &[&str],
        add: &[(&str, Bytes)],
    ) -> Bytes {
        let size = self.raw.as_ref().map_or(0, Bytes::len) + 256;
        let mut out = Vec::with_capacity(size);
        out.push(b'{');
        let kept = self
            .members
            .iter()
            .filter(|m| m.name != "_meta" && !without.contains(&m.name.as_str()));
        for (name, raw) in kept
            .map(|m| (m.name.as_str(), &m.raw))
            .chain(add.iter().map(|(n, b)| (*n, b)))
        {
            push_member(&mut out, name, raw);
        }
        if !meta.is_empty() {
            push_member(
                &mut out,
                "_meta",
                Value::Object(meta.clone()).to_string().as_bytes(),
            );
        }
        out.push(b'}');
        Bytes::from(out)
    }

    /// `_meta` without the members that belong to the envelope of 2026-07-28.
    pub(crate) fn meta_without_envelope(&self) -> Map<String, Value> {
        let envelope = [
            method::META_VERSION,
            method::META_CLIENT,
            method::META_CAPABILITIES,
            method::META_LOG_LEVEL,
        ];
        let mut meta = self.meta().cloned().unwrap_or_default();
        meta.retain(|key, _| !envelope.contains(&key.as_str()));
        meta
    }
}

fn push_member(out: &mut Vec<u8>, name: &str, raw: &[u8]) {
    if out.len() > 1 {
        out.push(b',');
    }
    out.extend_from_slice(serde_json::to_string(name).unwrap_or_default().as_bytes());
    out.push(b':');
    out.extend_from_slice(raw);
}

/// A resource is named by one spelling: no dot segments, no control characters, no backslash.
fn require_plain_uri(uri: &str) -> Result<(), String> {
    let lower = uri
        .to_ascii_lowercase()
        .replace("%2e", ".")
        .replace("%2f", "/")
        .replace("%5c", "\\");
    let dots = lower
        .split(['/', '\\'])
        .any(|segment| matches!(segment, "." | ".."));
    if dots || lower.contains('\\') || uri.chars().any(char::is_control) || uri.len() > 8_192 {
        return Err("`uri` has dot segments, a backslash or control characters".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_let_go_keeps_the_token_and_no_byte() {
        let text = r#"{"name":"echo","arguments":{"a":[1]},"_meta":{"progressToken":7,"other":"x"}}"#;
        let body = Bytes::from(text.to_owned());
        let mut params = Params::parse(Some(body.clone())).unwrap();
        params.let_go();
        assert!(body.is_unique(), "nothing holds the message");
        assert_eq!(params.progress_token(), Some(&Value::from(7)));
        assert_eq!(params.meta_value("other"), None);
        assert!(params.member("arguments").is_none() && params.text("name").is_none());
    }
}
