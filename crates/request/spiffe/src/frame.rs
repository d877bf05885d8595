//! gRPC over HTTP/2: one message in, messages and a status out.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body_util::StreamBody;
use hyper::body::Frame;
use prost::Message;

use crate::Refused;

/// Bytes of a request, its head of five included.
pub(crate) const REQUEST_MAX: usize = 64 * 1024;
const CONTENT: HeaderValue = HeaderValue::from_static("application/grpc");

/// The codes of gRPC that are used here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    InvalidArgument = 3,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Unavailable = 14,
}

/// How a request ends that is not answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Status(pub(crate) Code, pub(crate) String);

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Invalid(why) => Self(Code::InvalidArgument, why),
            Refused::Denied(why) => Self(Code::PermissionDenied, why),
            Refused::Unavailable(why) => Self(Code::Unavailable, why),
        }
    }
}

pub(crate) type Body = StreamBody<BoxStream<'static, Result<Frame<Bytes>, std::convert::Infallible>>>;

/// The one message of a request.
pub(crate) fn parse<M: Message + Default>(body: &Bytes) -> Result<M, Status> {
    let wrong = |why: &str| Status(Code::InvalidArgument, format!("request is malformed: {why}"));
    let mut body = body.clone();
    if body.remaining() < 5 {
        return Err(wrong("it has no message"));
    }
    if body.get_u8() != 0 {
        return Err(Status(
            Code::Unimplemented,
            "compressed messages are not taken".to_owned(),
        ));
    }
    let length = body.get_u32();
    if usize::try_from(length) != Ok(body.remaining()) {
        return Err(wrong("it is not one whole message"));
    }
    M::decode(body).map_err(|_| wrong("its message does not parse"))
}

fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut out = BytesMut::with_capacity(5 + length);
    out.put_u8(0);
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    // A buffer that grows takes every message.
    let _whole = message.encode(&mut out);
    out.freeze()
}

/// Printable ASCII but `%`; everything else as `%XX` (gRPC over HTTP/2, Status-Message).
fn escaped(text: &str) -> HeaderValue {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes().take(512) {
        if matches!(byte, 0x20..=0x7e) && byte != b'%' {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    HeaderValue::from_str(&out).unwrap_or(HeaderValue::from_static(""))
}

fn trailers(end: Result<(), Status>) -> HeaderMap {
    let mut out = HeaderMap::with_capacity(2);
    match end {
        Ok(()) => {
            out.insert("grpc-status", HeaderValue::from_static("0"));
        }
        Err(Status(code, why)) => {
            out.insert("grpc-status", HeaderValue::from(code as u16));
            out.insert("grpc-message", escaped(&why));
        }
    }
    out
}

fn response(frames: BoxStream<'static, Result<Frame<Bytes>, std::convert::Infallible>>) -> Response<Body> {
    let mut response = Response::new(StreamBody::new(frames));
    *response.status_mut() = StatusCode::OK;
    response.headers_mut().insert(header::CONTENT_TYPE, CONTENT);
    response
}

/// One message and the end, or the reason why there is none.
pub(crate) fn unary<M: Message>(answer: Result<M, Status>) -> Response<Body> {
    let (first, end) = match answer {
        Ok(message) => (Some(Ok(Frame::data(framed(&message)))), Ok(())),
        Err(status) => (None, Err(status)),
    };
    let last = Ok(Frame::trailers(trailers(end)));
    response(stream::iter(first.into_iter().chain([last])).boxed())
}

/// Messages until one is a reason to end.
pub(crate) fn streaming<M: Message + 'static>(
    answers: impl futures_util::Stream<Item = Result<M, Status>> + Send + 'static,
) -> Response<Body> {
    let frames = answers.map(|answer| {
        Ok(match answer {
            Ok(message) => Frame::data(framed(&message)),
            Err(status) => Frame::trailers(trailers(Err(status))),
        })
    });
    response(frames.boxed())
}
