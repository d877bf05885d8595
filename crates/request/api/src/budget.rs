//! Bytes of request bodies in flight: a budget for the whole node, so that no number of callers fills the memory.
//!
//! Three lanes that cannot take from one another: a flood at the token endpoint, where nobody is authenticated
//! before the body is read, leaves room for calls, and neither takes an operator's.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use metrics::Counter;

use crate::RouteError;

const MIB: usize = 1024 * 1024;
/// Where a new node, and a new sidecar, shows its token.
const JOIN: [&str; 2] = ["/v1/nodes/join", "/v1/sidecars/join"];

/// The bytes of the three lanes.
pub struct Budget {
    calls: Arc<Lane>,
    newcomers: Arc<Lane>,
    operators: Arc<Lane>,
}

struct Lane {
    max: usize,
    held: AtomicUsize,
    refused: Counter,
}

impl Lane {
    fn new(name: &'static str, max: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            held: AtomicUsize::new(0),
            refused: metrics::counter!("bailiwick_bodies_refused_total", "lane" => name),
        })
    }

    fn take(&self, bytes: usize) -> bool {
        let taken = self
            .held
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |held| {
                held.checked_add(bytes).filter(|sum| *sum <= self.max)
            });
        taken.is_ok()
    }
}

impl Budget {
    /// Half of it for calls, a quarter each for operators and for those who are known by their body only.
    pub fn new(mib: usize) -> Arc<Self> {
        let quarter = mib.saturating_mul(MIB) / 4;
        Arc::new(Self {
            calls: Lane::new("calls", quarter.saturating_mul(2)),
            newcomers: Lane::new("newcomers", quarter),
            operators: Lane::new("operators", quarter),
        })
    }

    fn lane(&self, path: &str) -> &Arc<Lane> {
        if is_by_body(path) {
            &self.newcomers
        } else if path.starts_with("/v1/") {
            &self.operators
        } else {
            &self.calls
        }
    }
}

/// What learns from the body who asks: a node or a sidecar that joins, and below `/t/{tenant}/` these doors and nothing else, for a
/// server may be named `token` too.
fn is_by_body(path: &str) -> bool {
    if JOIN.contains(&path) {
        return true;
    }
    path.strip_prefix("/t/")
        .and_then(|rest| rest.split_once('/'))
        .is_some_and(|(tenant, door)| {
            !tenant.is_empty() && ["introspect", "revoke", "ssf/events", "token"].contains(&door)
        })
}

/// What one request holds; given back when its answer has ended, for a call that streams may need what it was asked.
struct Held {
    lane: Arc<Lane>,
    bytes: AtomicUsize,
    over: AtomicBool,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.lane
            .held
            .fetch_sub(self.bytes.load(Ordering::Acquire), Ordering::AcqRel);
    }
}

/// Counts the bytes of the body as they arrive; beyond the budget the answer is 503.
pub async fn count(State(budget): State<Arc<Budget>>, request: Request, next: Next) -> Response {
    if request.body().is_end_stream() {
        return next.run(request).await;
    }
    let held = Arc::new(Held {
        lane: Arc::clone(budget.lane(request.uri().path())),
        bytes: AtomicUsize::new(0),
        over: AtomicBool::new(false),
    });
    let counted = Arc::clone(&held);
    let request = request.map(|inner| Body::new(Counted { inner, held: counted }));
    let response = next.run(request).await;
    if !held.over.load(Ordering::Acquire) {
        return response.map(|inner| Body::new(Answered { inner, _held: held }));
    }
    held.lane.refused.increment(1);
    let refused = RouteError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "request.busy",
        "too many request bodies are on their way: ask again in a moment",
    );
    let mut response = refused.into_response();
    let headers = response.headers_mut();
    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The budget is used up.
#[derive(Debug, thiserror::Error)]
#[error("too many request bodies are on their way")]
struct Over;

struct Counted {
    inner: Body,
    held: Arc<Held>,
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = match ready!(Pin::new(&mut self.inner).poll_frame(context)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
            None => return Poll::Ready(None),
        };
        if let Some(data) = frame.data_ref() {
            if !self.held.lane.take(data.len()) {
                self.held.over.store(true, Ordering::Release);
                return Poll::Ready(Some(Err(Over.into())));
            }
            self.held.bytes.fetch_add(data.len(), Ordering::AcqRel);
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// An answer, and what its request holds.
struct Answered {
    inner: Body,
    _held: Arc<Held>,
}

impl HttpBody for Answered {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::post;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn the_share_of_a_body_is_held_until_its_answer_has_ended() {
        let budget = Budget::new(1);
        let held = || budget.calls.held.load(Ordering::Acquire);
        let answer = async |_: Bytes| "answered";
        let router = Router::new()
            .route("/t/acme/mcp/up", post(answer))
            .layer(axum::middleware::from_fn_with_state(Arc::clone(&budget), count));
        let call = |bytes: usize| {
            let request = Request::post("/t/acme/mcp/up").body(Body::from(vec![b'x'; bytes]));
            router.clone().oneshot(request.unwrap())
        };
        let half = MIB / 2;
        let first = call(half).await.unwrap();
        assert_eq!(held(), half, "the answer began, and has not ended");
        assert_eq!(call(1).await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(first.into_body().collect().await.unwrap().to_bytes(), "answered");
        assert_eq!(held(), 0);
        drop(call(half).await.unwrap());
        assert_eq!(held(), 0, "a caller who leaves gives it back");
    }
}
