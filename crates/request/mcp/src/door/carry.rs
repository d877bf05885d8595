//! An event stream on its way to its caller. It is read beside the connection: a caller that reads nothing keeps
//! neither its call nor the upstream server's work alive.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use bailiwick_pep::Watch;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::{mpsc, oneshot};

use crate::gateway::Gateway;

/// For the answer that says so, when a call was stopped.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// The body of `events`, which end with the call of `watch`, with the caller, or by themselves.
pub(super) fn carried<S>(gateway: &Gateway, watch: Watch, events: S) -> Body
where
    S: Stream<Item = Bytes> + Send + 'static,
{
    let (tell, told) = mpsc::channel(1);
    let (whole, is_whole) = oneshot::channel();
    let carrying = async move {
        tokio::select! {
            () = pass(events, &tell) => {
                // Nobody hears it where the caller has left.
                let _heard = whole.send(());
            }
            () = tell.closed() => {}
            () = stopped(watch) => {}
        }
    };
    gateway.making.spawner.spawn(Box::pin(carrying));
    Body::from_stream(stream::unfold(Some((told, is_whole)), |carried| async move {
        let (mut told, mut is_whole): (mpsc::Receiver<Bytes>, oneshot::Receiver<()>) = carried?;
        match told.recv().await {
            Some(event) => Some((Ok(event), Some((told, is_whole)))),
            None if is_whole.try_recv().is_ok() => None,
            // A clean end would say that nothing is missing.
            None => Some((Err(std::io::Error::other("the call was stopped")), None)),
        }
    }))
}

async fn pass(events: impl Stream<Item = Bytes>, tell: &mpsc::Sender<Bytes>) {
    let mut events = std::pin::pin!(events);
    while let Some(event) = events.next().await {
        if tell.send(event).await.is_err() {
            return;
        }
    }
}

async fn stopped(watch: Watch) {
    watch.revoked().await;
    let _over = tokio::time::timeout(LAST_WORDS, std::future::pending::<Infallible>()).await;
}
