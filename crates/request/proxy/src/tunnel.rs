//! Through to a destination without looking into it, where a task was granted `CONNECT`.

use std::sync::Arc;

use bailiwick_outbound::Endpoint;
use bailiwick_pep::{Outcome, Permit};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;

use crate::answer::{self, Body, Refused};
use crate::connection::Session;
use crate::destination::Found;
use crate::forward;
use crate::wanted::Wanted;

/// Opens the connection first, so that what cannot be reached is told; then both sides talk until one of them ends,
/// the call may run no longer, or its time is over.
pub(crate) async fn open(
    session: &Arc<Session>,
    permit: Permit,
    found: &Found,
    wanted: &Wanted,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refused> {
    let deps = &session.shared.deps;
    let (rule, call_max) = (found.rule()?, deps.config.call_max);
    // TLS is the agent's own here.
    let endpoint = Endpoint {
        tls: false,
        ..wanted.endpoint.clone()
    };
    let dialled = tokio::time::timeout(deps.config.connect_timeout, deps.dialer.dial(&endpoint, &rule)).await;
    let mut outside = match dialled {
        Ok(Ok(wire)) => wire,
        Ok(Err(error)) => {
            permit.finish(Outcome::Failed);
            return Err(forward::unreachable(error));
        }
        Err(_) => {
            permit.finish(Outcome::Failed);
            return Err(Refused::gateway("destination.unreachable", "it does not answer"));
        }
    };
    let (stop, place) = (session.shared.stop.clone(), Arc::clone(&session.place));
    deps.spawner.spawn(Box::pin(async move {
        let _place = place;
        let Ok(upgraded) = hyper::upgrade::on(request).await else {
            permit.finish(Outcome::Cancelled);
            return;
        };
        let mut inside = TokioIo::new(upgraded);
        let outcome = tokio::select! {
            biased;
            _ = permit.revoked() => Outcome::Cancelled,
            () = stop.cancelled() => Outcome::Cancelled,
            talked = tokio::time::timeout(call_max, copy_bidirectional(&mut inside, &mut outside)) => match talked {
                Ok(Ok(_)) => Outcome::Returned,
                Ok(Err(_)) | Err(_) => Outcome::Failed,
            },
        };
        permit.finish(outcome);
    }));
    Ok(Response::new(answer::empty()))
}
