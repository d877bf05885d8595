//! What a destination answered, on its way back: without the secret, and only for as long as the call may run.

use std::sync::Arc;
use std::time::Duration;

use bailiwick_pep::{Outcome, Permit};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Body as _, Frame, Incoming};

use crate::answer::{Body, Refused};
use crate::connection::{Runs, Session};
use crate::forward::strip;
use crate::mask::Mask;

/// The answer as the agent gets it.
pub(crate) fn pass_on(
    (session, runs): (&Arc<Session>, Runs),
    permit: Permit,
    mask: Mask,
    response: Response<Incoming>,
) -> Result<Response<Body>, Refused> {
    let (mut parts, body) = response.into_parts();
    // Before a header is taken off: it may be the one that tells.
    let hidden = mask.is_on() && (is_packed(&parts.headers) || is_piece(parts.status, &parts.headers));
    strip(&mut parts.headers);
    // Another way to the same service would not lead through here.
    parts.headers.remove(header::ALT_SVC);
    if hidden {
        permit.finish(Outcome::Failed);
        return Err(Refused::gateway(
            "destination.packed",
            "the destination packed its answer, or sent a piece of it, although it was asked not to: it cannot be looked \
             into for its secret",
        ));
    }
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        permit.finish(Outcome::Failed);
        return Err(Refused::gateway(
            "destination.closed",
            "the destination wants to speak another protocol",
        ));
    }
    let covered = cover(&mut parts.headers, &mask);
    if covered > 0 {
        tracing::warn!(
            headers = covered,
            "a destination sent its secret back; it was covered"
        );
    }
    // What the destination says of itself in words is not looked into, so it stays behind.
    parts.extensions.clear();
    let permit = if is_over(&body) {
        permit.finish(Outcome::Returned);
        None
    } else {
        Some(permit)
    };
    let deps = &session.shared.deps;
    let open = Open {
        ends_at: deps.clock.monotonic() + deps.config.call_max,
        session: Arc::clone(session),
        permit,
        mask,
        body,
        _runs: runs,
    };
    let body = StreamBody::new(stream::unfold(open, Open::next));
    Ok(Response::from_parts(parts, body.boxed_unsync()))
}

/// Covers the secret in values; a header that has it in its name stays behind whole. Gives how many there were.
fn cover(headers: &mut HeaderMap, mask: &Mask) -> usize {
    let telling: Vec<HeaderName> = headers
        .keys()
        .filter(|name| mask.is_in_name(name.as_str().as_bytes()))
        .cloned()
        .collect();
    for name in &telling {
        headers.remove(name);
    }
    let mut covered = telling.len();
    for value in headers.values_mut() {
        if let Some(masked) = mask.masked(value.as_bytes()) {
            covered += 1;
            *value = HeaderValue::from_bytes(&masked).unwrap_or(HeaderValue::from_static("*"));
        }
    }
    covered
}

/// Packed for this hop or for the reader, or in letters of several bytes each.
fn is_packed(headers: &HeaderMap) -> bool {
    let other = |name, plain: &[u8]| {
        let mut codings = headers.get_all(name).iter();
        codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(plain))
    };
    let mut kinds = headers.get_all(header::CONTENT_TYPE).iter();
    let wide = kinds.any(|kind| {
        let kind = kind.as_bytes().to_ascii_lowercase();
        [
            &b"utf-16"[..],
            b"utf-32",
            b"utf-7",
            b"utf16",
            b"utf32",
            b"utf7",
            b"ucs-2",
        ]
        .iter()
        .any(|name| kind.windows(name.len()).any(|window| window == *name))
    });
    other(header::CONTENT_ENCODING, b"identity") || other(header::TRANSFER_ENCODING, b"chunked") || wide
}

/// A piece of a document: of a secret in it, each piece may hold too little to be found.
fn is_piece(status: StatusCode, headers: &HeaderMap) -> bool {
    let begins = |name, with: &[u8]| {
        headers.get_all(name).iter().any(|value| {
            let start = value.as_bytes().get(..with.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(with))
        })
    };
    // Pages are counted in other units, and each is a document.
    status == StatusCode::PARTIAL_CONTENT
        && (begins(header::CONTENT_RANGE, b"bytes") || begins(header::CONTENT_TYPE, b"multipart/byteranges"))
}

/// Whether nothing more comes. It is asked rather than waited for: whoever was told a length does not come back for
/// the end once it is reached, and of an answer without a body nobody asks for one.
fn is_over(body: &Incoming) -> bool {
    body.is_end_stream() || body.size_hint().exact() == Some(0)
}

/// A body that is being passed on.
struct Open {
    session: Arc<Session>,
    /// When it has taken long enough, however much comes.
    ends_at: Duration,
    /// Present until the call ended.
    permit: Option<Permit>,
    mask: Mask,
    body: Incoming,
    _runs: Runs,
}

type Next = Option<(Result<Frame<Bytes>, std::io::Error>, Open)>;

impl Open {
    /// The next piece. A kill ends the body at once, and with it the connection to the destination.
    async fn next(mut self) -> Next {
        loop {
            let permit = self.permit.take()?;
            let deps = &self.session.shared.deps;
            let left = self.ends_at.saturating_sub(deps.clock.monotonic());
            let silence = deps.config.silence_max.min(left);
            let came = tokio::select! {
                biased;
                _ = permit.revoked() => return self.broken(permit, Outcome::Cancelled, "the call was stopped"),
                came = tokio::time::timeout(silence, self.body.frame()) => came,
            };
            let frame = match came {
                Err(_) => return self.broken(permit, Outcome::Failed, "the destination fell silent"),
                Ok(Some(Err(_))) => return self.broken(permit, Outcome::Failed, "the destination broke off"),
                Ok(None) => {
                    permit.finish(Outcome::Returned);
                    let rest = self.mask.rest();
                    return (!rest.is_empty()).then(|| (Ok(Frame::data(rest)), self));
                }
                Ok(Some(Ok(frame))) => frame,
            };
            // Trailers stay behind: they would have to be looked into as headers are.
            let mut data = self.mask.next(frame.into_data().unwrap_or_default());
            if is_over(&self.body) {
                permit.finish(Outcome::Returned);
                let rest = self.mask.rest();
                if !rest.is_empty() {
                    data = [data, rest].concat().into();
                }
            } else {
                self.permit = Some(permit);
            }
            if !data.is_empty() {
                return Some((Ok(Frame::data(data)), self));
            }
        }
    }

    #[expect(clippy::unnecessary_wraps, reason = "it is what the stream ends with")]
    fn broken(self, permit: Permit, outcome: Outcome, why: &'static str) -> Next {
        permit.finish(outcome);
        Some((Err(std::io::Error::other(why)), self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_that_is_named_with_the_secret_stays_behind_and_a_value_is_covered() {
        let secret = "Sk-Live-51H8xQaZ";
        let mask = Mask::new(secret.as_bytes(), secret.as_bytes()).unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-request-id", "7".to_owned()),
            ("x-sk-live-51h8xqaz", "1".to_owned()),
            ("x-sk-live-51h8xqaz", "2".to_owned()),
            ("x-echo", format!("key {secret}")),
        ] {
            let name = HeaderName::from_static(name);
            headers.append(name, HeaderValue::from_str(&value).unwrap());
        }
        assert_eq!(cover(&mut headers, &mask), 2);
        let left: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        assert_eq!(left, [("x-request-id", "7"), ("x-echo", "key ****************")]);
    }
}
