//! `POST /t/{tenant}/ssf/verify` (SSF 1.0 §8.1.4): the answer comes over the stream.

use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use bailiwick_store::Tx;
use http::StatusCode;
use http::request::Parts;
use serde::Deserialize;
use serde_json::json;

use super::Receiver;
use crate::Deps;
use crate::body;
use crate::problem::RouteError;
use crate::query::Path;

/// Bytes of a state.
const STATE_MAX: usize = 1_024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    stream_id: String,
    #[serde(default)]
    state: Option<String>,
}

pub(crate) async fn handler(
    State(deps): State<Deps>,
    Path(slug): Path<String>,
    parts: Parts,
    body: Body,
) -> Result<StatusCode, RouteError> {
    let receiver = Receiver::managing(&deps, &slug, &parts)?;
    let asked: Asked = body::whole(&parts.headers, body).await?;
    if asked.state.as_ref().is_some_and(|state| state.len() > STATE_MAX) {
        let detail = format!("`state` is longer than {STATE_MAX} bytes");
        return Err(RouteError::invalid("signal.limit", detail));
    }
    let id = receiver.lookup(&deps, &asked.stream_id).await?.id;
    receiver
        .command(&deps, async move |tx: &mut Tx| {
            let mut progress = tx.subscription().progress(&id).await?;
            let rest = Duration::from_secs(bailiwick_signals::VERIFICATION_MIN);
            if progress
                .verified_at
                .is_some_and(|last| tx.now() < last.after(rest))
            {
                let detail = format!("a stream is verified once in {} s at most", rest.as_secs());
                return Err(RouteError::new(StatusCode::TOO_MANY_REQUESTS, "signal.verified", detail).into());
            }
            progress.verified_at = Some(tx.now());
            tx.subscription().proceed(&id, &progress).await?;
            let detail = json!({"subscription": id.to_string(), "state": asked.state});
            tx.note("subscription.verify", detail).await?;
            Ok(Vec::new())
        })
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
