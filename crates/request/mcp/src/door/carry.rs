//! An event stream on its way to its caller. It is read beside the connection: a caller that reads nothing keeps
//! neither its call nor the upstream server's work alive.

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use bailiwick_pep::Watch;
use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::sync::{mpsc, oneshot};

use crate::gateway::Gateway;

/// For the answer that says so, when a call was stopped.
const LAST_WORDS: Duration = Duration::from_millis(250);

type Events = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

/// Events that end where the first of their two ends lets go of them: what carries them, and the body.
struct Held(Arc<Mutex<Option<Events>>>);

impl Held {
    async fn next(&self) -> Option<Bytes> {
        poll_fn(|cx| {
            let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            match held.as_mut() {
                Some(events) => events.as_mut().poll_next(cx),
                None => Poll::Ready(None),
            }
        })
        .await
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let events = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(events);
    }
}

/// A body on its way.
struct Carried {
    told: mpsc::Receiver<Bytes>,
    is_whole: oneshot::Receiver<()>,
    _held: Held,
}

/// The body of `events`, which end with the call of `watch`, with the caller, or by themselves.
pub(super) fn carried<S>(gateway: &Gateway, watch: Watch, events: S) -> Body
where
    S: Stream<Item = Bytes> + Send + 'static,
{
    let (tell, told) = mpsc::channel(1);
    let (whole, is_whole) = oneshot::channel();
    let events: Events = Box::pin(events);
    let held = Arc::new(Mutex::new(Some(events)));
    let body = Carried {
        told,
        is_whole,
        _held: Held(Arc::clone(&held)),
    };
    let held = Held(held);
    let carrying = async move {
        tokio::select! {
            () = pass(&held, &tell) => {
                // Nobody hears it where the caller has left.
                let _heard = whole.send(());
            }
            () = tell.closed() => {}
            () = stopped(watch) => {}
        }
    };
    gateway.making.spawner.spawn(Box::pin(carrying));
    Body::from_stream(stream::unfold(Some(body), |carried| async move {
        let mut carried = carried?;
        match carried.told.recv().await {
            Some(event) => Some((Ok(event), Some(carried))),
            None if carried.is_whole.try_recv().is_ok() => None,
            // A clean end would say that nothing is missing.
            None => Some((Err(std::io::Error::other("the call was stopped")), None)),
        }
    }))
}

async fn pass(held: &Held, tell: &mpsc::Sender<Bytes>) {
    while let Some(event) = held.next().await {
        if tell.send(event).await.is_err() {
            return;
        }
    }
}

async fn stopped(watch: Watch) {
    watch.revoked().await;
    let _over = tokio::time::timeout(LAST_WORDS, std::future::pending::<Infallible>()).await;
}
