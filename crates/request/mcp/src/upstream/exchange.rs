//! One call at an upstream server, from the first byte sent to the answer.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use serde_json::Value;

use super::http::HttpExchange;
use super::line::LineExchange;
use crate::error::UpstreamError;
use crate::frame::{CallId, Foreign};

/// A call as it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    /// The caller's id.
    pub(crate) id: CallId,
    pub(crate) method: String,
    /// The id on the wire: the caller's, or one of ours where many callers share a connection.
    pub(crate) wire_id: CallId,
    /// The parameters as sent.
    pub(crate) params: Option<Bytes>,
    /// The whole message, when the caller's own bytes can be sent.
    pub(crate) verbatim: Option<Bytes>,
    /// The caller's progress token, when it was replaced by `wire_id`.
    pub(crate) token: Option<Value>,
    /// Value of `Mcp-Name`.
    pub(crate) name: Option<String>,
    /// `Mcp-Param-*`, rebuilt from what was compared with the body.
    pub(crate) param_headers: Vec<(HeaderName, HeaderValue)>,
}

impl Outgoing {
    /// The text to send, once: a call that runs for long does not keep what it was asked.
    pub(crate) fn take_text(&mut self) -> Bytes {
        let params = self.params.take();
        match self.verbatim.take() {
            Some(text) => text,
            None => crate::frame::write(Some(&self.wire_id), &self.method, params.as_deref()),
        }
    }
}

/// What an upstream server sends while a call is open.
#[derive(Debug)]
pub(crate) enum Step {
    /// It asks the caller something.
    Ask(Ask),
    /// The answer.
    Done(Reply),
    /// A notification about this call.
    Notice(Notice),
}

/// A call in the other direction.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    /// The server's id.
    pub(crate) id: CallId,
    pub(crate) method: String,
    pub(crate) params: Bytes,
}

/// A notification.
#[derive(Debug, Clone)]
pub(crate) struct Notice {
    pub(crate) method: String,
    pub(crate) params: Bytes,
    pub(crate) text: Bytes,
}

/// The answer to a call, with the caller's id.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    /// The HTTP status it may be passed on with (200, 400 or 404).
    pub(crate) status: u16,
    pub(crate) text: Bytes,
    /// The `result` inside `text`.
    pub(crate) result: Option<Bytes>,
    /// The `error` inside `text`.
    pub(crate) error: Option<Bytes>,
    /// Whether it came as an event; a caller of the same era gets it in the same form.
    pub(crate) streamed: bool,
}

impl Reply {
    /// An answer of the gateway itself.
    pub(crate) fn own(text: Bytes) -> Self {
        Self {
            status: 200,
            text,
            result: None,
            error: None,
            streamed: false,
        }
    }
}

/// The two transports.
pub(crate) enum Exchange {
    Http(Box<HttpExchange>),
    Line(Box<LineExchange>),
}

impl Exchange {
    pub(crate) async fn next(&mut self) -> Result<Step, UpstreamError> {
        match self {
            Self::Http(exchange) => exchange.next().await,
            Self::Line(exchange) => exchange.next().await,
        }
    }

    /// Lets another call of the same caller go on with this exchange.
    pub(crate) fn adopt(&mut self, id: &CallId, token: Option<&Value>) {
        let out = match self {
            Self::Http(exchange) => exchange.outgoing(),
            Self::Line(exchange) => exchange.outgoing(),
        };
        out.id = id.clone();
        out.token = token.cloned();
    }

    /// Answers a question of the server. `text` is a whole JSON-RPC response with the server's id.
    pub(crate) async fn answer(&mut self, text: Bytes) -> Result<(), UpstreamError> {
        match self {
            Self::Http(exchange) => exchange.answer(text).await,
            Self::Line(exchange) => exchange.answer(text),
        }
    }
}

/// Turns one message of an upstream server into a step of the call `out`. `None`: not for this call.
pub(crate) fn classify(out: &Outgoing, status: u16, text: &Bytes) -> Result<Option<Step>, UpstreamError> {
    let message = Foreign::parse(text).ok_or(UpstreamError::NotMcp("not a JSON-RPC message"))?;
    let slice = |raw: &serde_json::value::RawValue| text.slice_ref(raw.get().as_bytes());
    if let Some(method) = &message.method {
        let params = message.params.map_or_else(|| Bytes::from_static(b"{}"), slice);
        if message.id.is_some() {
            let id = message
                .call_id()
                .ok_or(UpstreamError::NotMcp("a call with an unusable id"))?;
            return Ok(Some(Step::Ask(Ask {
                id,
                method: method.clone(),
                params,
            })));
        }
        return Ok(Some(Step::Notice(Notice {
            method: method.clone(),
            params,
            text: text.clone(),
        })));
    }
    let foreign_id = message.call_id();
    let (member, raw) = match (message.result, message.error) {
        (Some(result), None) => ("result", result),
        (None, Some(error)) => ("error", error),
        _ => return Err(UpstreamError::NotMcp("neither a result nor an error")),
    };
    // An error may come without an id when the server could not read ours.
    let same = foreign_id.as_ref() == Some(&out.wire_id);
    let unnamed = message.error.is_some() && foreign_id.is_none();
    if !same && !unnamed {
        return Err(UpstreamError::NotMcp("the answer to another call"));
    }
    let raw = slice(raw);
    if same && out.wire_id == out.id {
        let (result, error) = if member == "result" {
            (Some(raw), None)
        } else {
            (None, Some(raw))
        };
        return Ok(Some(Step::Done(Reply {
            status,
            text: text.clone(),
            result,
            error,
            streamed: false,
        })));
    }
    Ok(Some(Step::Done(reply(&out.id, status, member, &raw))))
}

/// A reply with the caller's id around `raw`.
pub(crate) fn reply(id: &CallId, status: u16, member: &'static str, raw: &[u8]) -> Reply {
    let text = crate::frame::write_response(id, member, raw);
    let inside = text.slice(text.len() - 1 - raw.len()..text.len() - 1);
    let (result, error) = if member == "result" {
        (Some(inside), None)
    } else {
        (None, Some(inside))
    };
    Reply {
        status,
        text,
        result,
        error,
        streamed: false,
    }
}
