//! `GET` and `POST /t/{tenant}/authorize/{place}`: the page on which a browser waits for an operator.

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bailiwick_base::TenantId;
use http::{HeaderMap, StatusCode};

use super::{Asking, Stage, page};
use crate::Deps;
use crate::oauth::form;
use crate::oauth::metadata::served;
use crate::oauth::secret;
use crate::query::Path;

/// One page of one browser.
struct Opened {
    tenant: TenantId,
    place: String,
    asking: Asking,
    code: String,
    stage: Stage,
}

pub(crate) async fn show(
    State(deps): State<Deps>,
    Path((slug, place)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    match open(&deps, &slug, place, &headers) {
        Some(opened) if opened.stage == Stage::Refused => declined(&deps, &opened),
        Some(opened) => page::waiting(&opened.asking, &opened.code, &opened.tenant, None),
        None => gone(),
    }
}

pub(crate) async fn answer(
    State(deps): State<Deps>,
    Path((slug, place)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let Some(opened) = open(&deps, &slug, place, &headers) else {
        return gone();
    };
    let Ok(form) = form::read(&headers, body).await else {
        return page::refused(StatusCode::BAD_REQUEST, "The form could not be read.");
    };
    if form.get("do") == Some("cancel") || opened.stage == Stage::Refused {
        return declined(&deps, &opened);
    }
    let again = |text: &str| page::waiting(&opened.asking, &opened.code, &opened.tenant, Some(text));
    if !matches!(opened.stage, Stage::Allowed { .. }) {
        return again("No operator has answered yet.");
    }
    let now = deps.clock.now();
    let typed = form.get("word").unwrap_or_default();
    let Some(consent) = deps.waiting.take_word(&opened.tenant, &opened.place, typed, now) else {
        return match open(&deps, opened.tenant.as_str(), opened.place.clone(), &headers) {
            Some(_) => again("That is not the word which the command showed."),
            None => gone(),
        };
    };
    match secret::code(&deps, &consent, opened.asking.key, now) {
        Ok(code) => page::back(
            &opened.asking.redirect,
            &deps.issuer(&opened.tenant),
            opened.asking.state.as_deref(),
            &[("code", &code)],
        ),
        Err(error) => error.into_response(),
    }
}

fn gone() -> Response {
    let text = "This page has ended, or was begun in another browser. If somebody sent you its address, tell an \
                operator.";
    page::refused(StatusCode::NOT_FOUND, text)
}

/// The page, for the browser that began it.
fn open(deps: &Deps, slug: &str, place: String, headers: &HeaderMap) -> Option<Opened> {
    let tenant = served(deps, slug).ok()?;
    let cookie = page::cookie(headers)?;
    let (asking, code, stage) = deps
        .waiting
        .of_browser(&tenant, &place, cookie, deps.clock.now())?;
    Some(Opened {
        tenant,
        place,
        asking,
        code,
        stage,
    })
}

fn declined(deps: &Deps, opened: &Opened) -> Response {
    deps.waiting
        .forget(&opened.tenant, &opened.place, deps.clock.now());
    page::back(
        &opened.asking.redirect,
        &deps.issuer(&opened.tenant),
        opened.asking.state.as_deref(),
        &[
            ("error", "access_denied"),
            ("error_description", "consent was refused"),
        ],
    )
}
