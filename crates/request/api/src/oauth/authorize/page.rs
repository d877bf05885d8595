//! Our own pages: plain HTML without script, nothing from elsewhere, in nobody's frame.

use axum::response::{IntoResponse, Response};
use bailiwick_base::{Digest, TenantId};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, StatusCode, header};

use super::Asking;
use crate::Deps;

/// The cookie that binds a page to the browser which began it.
const COOKIE: &str = "bailiwick-consent";

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:38rem;margin:3rem auto;padding:0 1rem;\
    color:#1b1b1b;background:#fff}h1{font-size:1.3rem}code,output{font-family:ui-monospace,monospace}\
    dt{color:#555}dd{margin:0 0 .6rem;overflow-wrap:anywhere}output{display:block;font-size:1.6rem;letter-spacing:.1em}\
    input{font:inherit;padding:.3rem;text-transform:uppercase}button{font:inherit;padding:.3rem .8rem}\
    .note{border-left:4px solid #b00;padding-left:.8rem}";

/// Says that it does not go on here, and sends nobody anywhere.
pub(super) fn refused(status: StatusCode, text: &str) -> Response {
    let body = format!(
        "<h1>This cannot go on</h1><p>{}</p><p>Close this page and begin again in the program that opened it.</p>",
        escaped(text)
    );
    html(status, "Refused", &body, "'none'")
}

/// The page on which a browser waits.
pub(super) fn waiting(asking: &Asking, code: &str, tenant: &TenantId, note: Option<&str>) -> Response {
    let scopes = asking
        .scopes
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    let scopes = if scopes.is_empty() {
        "everything the chosen task grants".to_owned()
    } else {
        scopes
    };
    let resources = if asking.resources.is_empty() {
        "not named".to_owned()
    } else {
        asking.resources.join(" ")
    };
    let (one, other) = code.split_at_checked(4).unwrap_or((code, ""));
    let note = note
        .map(|text| format!("<p class=\"note\" role=\"alert\">{}</p>", escaped(text)))
        .unwrap_or_default();
    let body = format!(
        "<h1>{name} asks for access to {tenant}</h1>{note}\
         <dl><dt>Client</dt><dd><code>{client}</code></dd><dt>You will be sent back to</dt><dd><strong>{host}</strong></dd>\
         <dt>It asks for</dt><dd><code>{scopes}</code></dd><dt>Resource</dt><dd><code>{resources}</code></dd></dl>\
         <p>1. An operator of <strong>{tenant}</strong> reads this code here, and answers on the command line:</p>\
         <output>{one}-{other}</output><p><code>bailiwick -t {tenant} consent allow {one}-{other} --task TASK</code></p>\
         <p>2. The command shows a word. Type it here, and only if the code above stood in this browser:</p>\
         <form method=\"post\"><p><input name=\"word\" autocomplete=\"off\" autocapitalize=\"characters\" \
         spellcheck=\"false\" maxlength=\"16\" aria-label=\"Word\"> \
         <button name=\"do\" value=\"continue\">Continue to {host}</button></p>\
         <p><button name=\"do\" value=\"cancel\">Refuse</button></p></form>",
        name = escaped(&asking.client_name),
        tenant = escaped(tenant.as_str()),
        client = escaped(&asking.client),
        host = escaped(&host_of(&asking.redirect)),
        scopes = escaped(&scopes),
        resources = escaped(&resources),
    );
    html(
        StatusCode::OK,
        "Access",
        &body,
        &format!("'self' {}", source_of(&asking.redirect)),
    )
}

/// The browser goes to its page, and carries what binds it to it.
pub(super) fn begun(deps: &Deps, tenant: &TenantId, place: &str, cookie: &str) -> Response {
    let url = format!("{}/authorize/{place}", deps.issuer(tenant));
    let path = url.splitn(4, '/').nth(3).unwrap_or_default();
    let secure = if url.starts_with("https:") { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={cookie}; Path=/{path}; HttpOnly; SameSite=Lax; Max-Age=600{secure}");
    let mut response = see_other(&url);
    if let Ok(value) = HeaderValue::try_from(cookie) {
        response.headers_mut().insert(header::SET_COOKIE, value);
    }
    response
}

/// Back to the client (RFC 6749 §4.1.2, RFC 9207).
pub(super) fn back(
    redirect: &str,
    issuer: &str,
    state: Option<&str>,
    parameters: &[(&str, &str)],
) -> Response {
    see_other(&returning(redirect, issuer, state, parameters))
}

fn returning(redirect: &str, issuer: &str, state: Option<&str>, parameters: &[(&str, &str)]) -> String {
    let mut all = parameters.to_vec();
    all.extend(state.map(|state| ("state", state)));
    all.push(("iss", issuer));
    let query = serde_urlencoded::to_string(&all).unwrap_or_default();
    let joint = if redirect.contains('?') { '&' } else { '?' };
    format!("{redirect}{joint}{query}")
}

/// The same to a client that described itself. No operator has seen it, so whoever reads the page says whether to go
/// (RFC 9700 §4.11.2): an address of ours does not lead away by itself to wherever a stranger wants.
pub(super) fn offered(redirect: &str, issuer: &str, state: Option<&str>, error: (&str, &str)) -> Response {
    let told = [("error", error.0), ("error_description", error.1)];
    let body = format!(
        "<h1>This cannot go on</h1><p>{}</p><p>The program that sent you hears of it if you go back to \
         <strong>{}</strong>. Nobody here knows that place.</p><p><a href=\"{}\" rel=\"noreferrer\">Go back</a></p>",
        escaped(error.1),
        escaped(&host_of(redirect)),
        escaped(&returning(redirect, issuer, state, &told)),
    );
    html(StatusCode::BAD_REQUEST, "Refused", &body, "'none'")
}

/// What the browser has for its page.
pub(super) fn cookie(headers: &http::HeaderMap) -> Option<&str> {
    let mut pairs = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

/// 303: whatever was posted is not posted again elsewhere (RFC 9700 §4.12).
fn see_other(url: &str) -> Response {
    match HeaderValue::try_from(url) {
        Ok(location) => guarded((StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response()),
        Err(_) => refused(
            StatusCode::BAD_REQUEST,
            "The address to go back to cannot be written.",
        ),
    }
}

fn html(status: StatusCode, title: &str, body: &str, form_action: &str) -> Response {
    let page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\"><meta name=\"robots\" content=\"noindex\"><title>{title} – Bailiwick</title>\
         <style>{STYLE}</style></head><body>{body}</body></html>"
    );
    let style = STANDARD.encode(Digest::of(STYLE.as_bytes()).0);
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; form-action {form_action}; frame-ancestors 'none'; base-uri 'none'"
    );
    let mut response = guarded((status, page).into_response());
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    if let Ok(policy) = HeaderValue::try_from(policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}

/// Kept by nobody, told to nobody.
fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

/// What a person recognizes of a redirect URI: its host with the port, or the scheme of an application. What follows a
/// scheme of an application's own is that application's affair, also where it looks like a host.
pub(crate) fn host_of(uri: &str) -> String {
    match of_web(uri) {
        (_, Some(rest)) => rest.split(['/', '?']).next().unwrap_or_default().to_owned(),
        (scheme, None) => format!("the application {scheme}:"),
    }
}

/// The scheme, and what stands behind the slashes where a host does.
fn of_web(uri: &str) -> (&str, Option<&str>) {
    let (scheme, rest) = uri.split_once(':').unwrap_or((uri, ""));
    let rest = rest.strip_prefix("//");
    (scheme, rest.filter(|_| matches!(scheme, "http" | "https")))
}

/// The same as a source of a policy: browsers hold redirects after a form against it.
fn source_of(uri: &str) -> String {
    match of_web(uri) {
        // An IPv6 address cannot be written in a source.
        (scheme, Some(rest)) if !rest.starts_with('[') => format!("{scheme}://{}", host_of(uri)),
        (scheme, _) => format!("{scheme}:"),
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
