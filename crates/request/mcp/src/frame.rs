//! The JSON-RPC envelope (JSON-RPC 2.0, MCP base protocol): read strictly from callers, leniently but safely
//! from upstream servers, and never rebuilt where the original bytes can be passed on.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::answer;

/// The id of a call: an integer or a text, echoed with value and type.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum CallId {
    Integer(i64),
    Text(Box<str>),
}

impl CallId {
    fn parse(raw: &RawValue) -> Option<Self> {
        let text = raw.get();
        if text.starts_with('"') {
            let id: String = serde_json::from_str(text).ok()?;
            return (id.len() <= 1_024).then(|| Self::Text(id.into_boxed_str()));
        }
        let id: i64 = serde_json::from_str(text).ok()?;
        // `-0` and the like would come back in another spelling.
        (id.to_string() == text).then_some(Self::Integer(id))
    }
}

impl Serialize for CallId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Integer(id) => serializer.serialize_i64(*id),
            Self::Text(id) => serializer.serialize_str(id),
        }
    }
}

impl<'de> Deserialize<'de> for CallId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&RawValue>::deserialize(deserializer)?;
        Self::parse(raw).ok_or_else(|| serde::de::Error::custom("an id is an integer or a text"))
    }
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(id) => id.fmt(f),
            Self::Text(id) => f.write_str(&serde_json::to_string(id).map_err(|_| fmt::Error)?),
        }
    }
}

/// One message of a caller, with the exact bytes it came in.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) body: Bytes,
    pub(crate) shape: Shape,
}

/// What a message is.
#[derive(Debug)]
pub(crate) enum Shape {
    Call {
        id: CallId,
        method: String,
        params: Option<Bytes>,
    },
    Notice {
        method: String,
        params: Option<Bytes>,
    },
    Response {
        id: CallId,
    },
}

/// Why a message is refused before anything is decided.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FrameError {
    pub(crate) id: Option<CallId>,
    pub(crate) code: i64,
    pub(crate) text: Cow<'static, str>,
}

impl FrameError {
    fn invalid(id: Option<CallId>, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            id,
            code: answer::INVALID_REQUEST,
            text: text.into(),
        }
    }
}

/// `Option<&RawValue>` reads a `null` as absent; an id of `null` must be seen.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Strict<'a> {
    #[serde(borrow)]
    jsonrpc: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    method: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    error: Option<&'a RawValue>,
}

/// Reads one message of a caller: exactly the members of JSON-RPC, each once, no batch.
pub(crate) fn parse(body: Bytes) -> Result<Frame, FrameError> {
    let parse_error = |text: Cow<'static, str>| FrameError {
        id: None,
        code: answer::PARSE_ERROR,
        text,
    };
    let text = std::str::from_utf8(&body).map_err(|_| parse_error("the body is not UTF-8".into()))?;
    match text.bytes().find(|b| !b.is_ascii_whitespace()) {
        Some(b'{') => {}
        Some(b'[') => {
            return Err(FrameError::invalid(
                None,
                "batches are not part of MCP: send one message",
            ));
        }
        _ => return Err(parse_error("the body is not a JSON object".into())),
    }
    let strict: Strict<'_> = match serde_json::from_str(text) {
        Ok(strict) => strict,
        Err(e) if e.is_data() => {
            return Err(FrameError::invalid(
                None,
                format!("not a JSON-RPC message: {}", answer::shown(&e.to_string())),
            ));
        }
        Err(e) => {
            return Err(parse_error(
                format!("not JSON: {}", answer::shown(&e.to_string())).into(),
            ));
        }
    };
    let shape = shape_of(&strict, &body)?;
    Ok(Frame { body, shape })
}

fn shape_of(strict: &Strict<'_>, body: &Bytes) -> Result<Shape, FrameError> {
    let id = match strict.id.map(|raw| CallId::parse(raw).ok_or(raw)) {
        None => None,
        Some(Ok(id)) => Some(id),
        Some(Err(_)) => return Err(FrameError::invalid(None, "`id` must be an integer or a text")),
    };
    if strict.jsonrpc != "2.0" {
        return Err(FrameError::invalid(id, "`jsonrpc` must be `2.0`"));
    }
    let is_answer = strict.result.is_some() || strict.error.is_some();
    let Some(method) = strict.method else {
        let one = strict.result.is_some() != strict.error.is_some() && strict.params.is_none();
        return match id {
            Some(id) if one => Ok(Shape::Response { id }),
            id => Err(FrameError::invalid(
                id,
                "a message needs a `method`, or an `id` with `result` or `error`",
            )),
        };
    };
    if is_answer {
        return Err(FrameError::invalid(
            id,
            "a message has a `method` or a `result`, not both",
        ));
    }
    let Ok(method) = serde_json::from_str::<String>(method.get()) else {
        return Err(FrameError::invalid(id, "`method` must be a text"));
    };
    let params = match strict.params {
        None => None,
        Some(raw) if raw.get().starts_with('{') => Some(body.slice_ref(raw.get().as_bytes())),
        Some(_) => return Err(FrameError::invalid(id, "`params` must be an object")),
    };
    Ok(match id {
        Some(id) => Shape::Call { id, method, params },
        None => Shape::Notice { method, params },
    })
}

/// A message of an upstream server. Members that are not JSON-RPC's are ignored.
#[derive(Debug, Deserialize)]
pub(crate) struct Foreign<'a> {
    #[serde(borrow, default)]
    pub(crate) id: Option<&'a RawValue>,
    #[serde(default)]
    pub(crate) method: Option<String>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(crate) params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(crate) result: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    pub(crate) error: Option<&'a RawValue>,
}

impl<'a> Foreign<'a> {
    pub(crate) fn parse(text: &'a [u8]) -> Option<Self> {
        serde_json::from_str(std::str::from_utf8(text).ok()?).ok()
    }

    pub(crate) fn call_id(&self) -> Option<CallId> {
        self.id.and_then(CallId::parse)
    }
}

/// The code and message of a JSON-RPC error.
#[derive(Debug, Deserialize)]
pub(crate) struct ForeignError<'a> {
    pub(crate) code: i64,
    #[serde(default)]
    pub(crate) message: String,
    #[serde(borrow, default)]
    pub(crate) data: Option<&'a RawValue>,
}

/// The text of a call, or of a notification when `id` is `None`.
pub(crate) fn write(id: Option<&CallId>, method: &str, params: Option<&[u8]>) -> Bytes {
    let mut out = Vec::with_capacity(64 + method.len() + params.map_or(0, <[u8]>::len));
    out.extend_from_slice(br#"{"jsonrpc":"2.0","#);
    if let Some(id) = id {
        out.extend_from_slice(format!(r#""id":{id},"#).as_bytes());
    }
    out.extend_from_slice(br#""method":"#);
    out.extend_from_slice(serde_json::to_string(method).unwrap_or_default().as_bytes());
    if let Some(params) = params {
        out.extend_from_slice(br#","params":"#);
        out.extend_from_slice(params);
    }
    out.push(b'}');
    Bytes::from(out)
}

/// The text of a response with this result or error text.
pub(crate) fn write_response(id: &CallId, member: &'static str, text: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(48 + text.len());
    out.extend_from_slice(format!(r#"{{"jsonrpc":"2.0","id":{id},"{member}":"#).as_bytes());
    out.extend_from_slice(text);
    out.push(b'}');
    Bytes::from(out)
}
