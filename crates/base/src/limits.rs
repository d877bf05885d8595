//! Limits that more than one crate needs. A limit is refused with its own message before any work is done.

/// Bytes of a token before anything is parsed.
pub const TOKEN_MAX: usize = 16 * 1024;
/// Bytes of an HTTP request body.
pub const BODY_MAX: usize = 1024 * 1024;
/// Bytes of the answer of an upstream server.
pub const REPLY_MAX: usize = 16 * 1024 * 1024;
/// Nesting of a JSON document.
pub const JSON_DEPTH_MAX: usize = 64;
/// Bytes of a log leaf.
pub const LEAF_MAX: usize = 16 * 1024;
/// Length of an act chain (RFC 8693 §4.1), the outermost actor included.
pub const ACT_DEPTH_MAX: usize = 4;
/// Bytes of a name that a person gives (owner, purpose, label).
pub const TEXT_MAX: usize = 256;

/// Whether anything of `text` can be seen: a name of blanks, or of characters without a shape, names nothing.
#[must_use]
pub fn can_be_seen(text: &str) -> bool {
    let shape = |c: char| matches!(c, '"' | '\'' | '\\') || c.escape_debug().len() == 1;
    text.chars().any(|c| !c.is_whitespace() && shape(c))
}

/// `text` cut to a length that is fit for a message, what cannot be seen escaped.
#[must_use]
pub fn shown(text: &str) -> String {
    const MAX: usize = 80;
    let mut out = String::with_capacity(text.len().min(4 * MAX));
    for c in text.chars().take(MAX) {
        if matches!(c, '"' | '\'' | '\\') {
            out.push(c);
        } else {
            out.extend(c.escape_debug());
        }
    }
    if text.chars().nth(MAX).is_some() {
        out.push('…');
    }
    out
}
