//! `POST /add-checkpoint`

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bailiwick_witness::cosigner::{Cosigner, REQUEST_MAX, Verdict};
use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_TYPE;

/// The routes of a witness.
pub fn router(cosigner: Arc<Cosigner>) -> Router {
    Router::new()
        .route("/add-checkpoint", post(add_checkpoint))
        .layer(DefaultBodyLimit::max(REQUEST_MAX))
        .with_state(cosigner)
}

async fn add_checkpoint(State(cosigner): State<Arc<Cosigner>>, body: Bytes) -> Response {
    let judged = tokio::task::spawn_blocking(move || cosigner.add_checkpoint(&body)).await;
    match judged {
        Ok(verdict) => answer(verdict),
        Err(error) => answer(Verdict::Failed(error.to_string())),
    }
}

fn answer(verdict: Verdict) -> Response {
    match verdict {
        Verdict::Cosigned(lines) => (StatusCode::OK, lines).into_response(),
        Verdict::Conflict(size) => {
            let kind = [(CONTENT_TYPE, "text/x.tlog.size")];
            (StatusCode::CONFLICT, kind, format!("{size}\n")).into_response()
        }
        Verdict::Refused(status, why) => {
            let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
            (status, format!("{why}\n")).into_response()
        }
        Verdict::Failed(why) => {
            // The reason is the operator's, not the log's.
            tracing::error!(why, "nothing was cosigned");
            (StatusCode::INTERNAL_SERVER_ERROR, "nothing was cosigned\n").into_response()
        }
    }
}
