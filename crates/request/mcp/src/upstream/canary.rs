//! The secret a server was opened with; no answer may carry it, however it is spelled.
//!
//! Found are: the secret as it is, with JSON escapes, percent-encoded, in hexadecimal, and in both alphabets of
//! Base64 at any offset; escapes and percent-encoding up to [`LAYERS`] deep, one inside the other. Not found is
//! what a server that wants to tell can always do: another encoding, or pieces of it.

use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use bailiwick_base::Secret;
use bailiwick_outbound::spellings;

use crate::error::UpstreamError;

/// Shorter than this a secret would be found by chance.
const SECRET_MIN: usize = 8;
/// How many layers of escapes and percent-encoding are taken off.
const LAYERS: usize = 4;

/// The spellings that no answer may carry, as one automaton that finds them all in one pass. They are secret: there is
/// no `Debug`.
#[derive(Clone, Default)]
pub(crate) struct Canary(Option<Arc<AhoCorasick>>);

impl Canary {
    /// Of the secret as it was given: the value alone, or `Name: value`.
    ///
    /// # Errors
    /// [`UpstreamError::CredentialMissing`] when it is too long to be looked for: then it is not used.
    pub(crate) fn new(secret: &Secret<Vec<u8>>) -> Result<Self, UpstreamError> {
        let whole = secret.reveal().trim_ascii();
        // Of `Authorization: Bearer x` every tail that could be shown alone.
        let tails = whole
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b' ')
            .filter_map(|(at, _)| whole.get(at.saturating_add(1)..));
        let mut needles = Vec::new();
        for part in std::iter::once(whole).chain(tails) {
            let part = part.trim_ascii();
            if part.len() >= SECRET_MIN {
                needles.extend(spellings(part).into_iter().map(Secret::new));
            }
        }
        if needles.is_empty() {
            return Ok(Self::default());
        }
        let found = AhoCorasick::builder()
            // The smallest that is fast: one is kept for each credential in use.
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(needles.iter().map(Secret::reveal))
            .map_err(|_| UpstreamError::CredentialMissing)?;
        Ok(Self(Some(Arc::new(found))))
    }

    /// # Errors
    /// [`UpstreamError::CredentialReturned`].
    pub(crate) fn require_absent(&self, text: &[u8]) -> Result<(), UpstreamError> {
        let Some(spellings) = &self.0 else {
            return Ok(());
        };
        let search = |text: &[u8]| match spellings.is_match(text) {
            true => Err(UpstreamError::CredentialReturned),
            false => Ok(()),
        };
        search(text)?;
        let mut layer: Option<Vec<u8>> = None;
        for _ in 0..LAYERS {
            let mut inner = None;
            for coding in CODINGS {
                let outer = inner.as_deref().or(layer.as_deref()).unwrap_or(text);
                if let Some(decoded) = coding.taken_off(outer) {
                    search(&decoded)?;
                    inner = Some(decoded);
                }
            }
            if inner.is_none() {
                break;
            }
            layer = inner;
        }
        Ok(())
    }
}

/// One way to write a character as several: the sign it begins with, and how it is undone.
struct Coding {
    sign: u8,
    undone: fn(&[u8]) -> Vec<u8>,
}

const CODINGS: [Coding; 2] = [
    Coding {
        sign: b'\\',
        undone: unescaped,
    },
    Coding {
        sign: b'%',
        undone: percent_decoded,
    },
];

impl Coding {
    /// The text without one layer of it; `None` when nothing in it is so written.
    fn taken_off(&self, text: &[u8]) -> Option<Vec<u8>> {
        memchr::memchr(self.sign, text)?;
        let decoded = (self.undone)(text);
        (decoded != text).then_some(decoded)
    }
}

/// Every JSON escape replaced by what it stands for, strings and member names alike.
fn unescaped(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        let (plain, escape) = rest.split_at(at);
        out.extend_from_slice(plain);
        let (taken, with) = escape_of(escape);
        let mut buffer = [0; 4];
        match with {
            Some(c) => out.extend_from_slice(c.encode_utf8(&mut buffer).as_bytes()),
            None => out.extend(escape.get(..taken).unwrap_or_default()),
        }
        rest = escape.get(taken..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out
}

/// How many bytes an escape takes, and its character.
fn escape_of(escape: &[u8]) -> (usize, Option<char>) {
    let plain = match escape.get(1) {
        Some(b'u') => {
            let Some(high) = unit(escape, 2) else {
                return (1, None);
            };
            let low = (escape.get(6..8) == Some(b"\\u"))
                .then(|| unit(escape, 8))
                .flatten();
            let pair = low.and_then(|low| char::decode_utf16([high, low]).next()?.ok());
            return match (char::from_u32(high.into()), pair) {
                (Some(c), _) => (6, Some(c)),
                (None, Some(c)) => (12, Some(c)),
                (None, None) => (6, None),
            };
        }
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(c @ (b'"' | b'\\' | b'/')) => char::from(*c),
        _ => return (1, None),
    };
    (2, Some(plain))
}

fn unit(escape: &[u8], at: usize) -> Option<u16> {
    let digits = escape.get(at..at.checked_add(4)?)?;
    let digits = digits.iter().all(u8::is_ascii_hexdigit).then_some(digits)?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'%', rest) {
        let (plain, encoded) = rest.split_at(at);
        out.extend_from_slice(plain);
        let byte = encoded
            .get(1..3)
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        let taken = if byte.is_some() { 3 } else { 1 };
        out.push(byte.unwrap_or(b'%'));
        rest = encoded.get(taken..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    use super::*;

    const SECRET: &str = "CANARY/s3cr+t~0f_the.server";

    fn canary(secret: &str) -> Canary {
        Canary::new(&Secret::new(secret.as_bytes().to_vec())).unwrap()
    }

    #[track_caller]
    fn found(text: &str) {
        let answer = canary(SECRET).require_absent(text.as_bytes());
        assert!(matches!(answer, Err(UpstreamError::CredentialReturned)), "{text}");
    }

    fn hex_escaped(each: impl Fn(u8) -> String) -> String {
        SECRET.bytes().map(each).collect()
    }

    #[test]
    fn as_it_is_in_a_string_and_in_a_member_name() {
        found(&format!(r#"{{"result":{{"text":"it is {SECRET}!"}}}}"#));
        found(&format!(r#"{{"result":{{"{SECRET}":1}}}}"#));
    }

    #[test]
    fn with_json_escapes() {
        found(&format!(r#"{{"a":"{}"}}"#, SECRET.replace('C', r"\u0043")));
        found(&format!(r#"{{"a":"{}"}}"#, SECRET.replace('/', r"\/")));
        found(&format!(
            r#"{{"{}":1}}"#,
            hex_escaped(|b| format!(r"\u00{b:02X}"))
        ));
        found(&format!(
            r#"{{"a":"\ud83e\udd80{}"}}"#,
            SECRET.replace('s', r"\u0073")
        ));
        found(&format!(r#"{{"a":"\ud83e{}"}}"#, SECRET.replace('s', r"\u0073")));
    }

    #[test]
    fn with_escapes_inside_escapes() {
        let inner = format!(r#"{{"b":"{}"}}"#, SECRET.replace('C', r"\u0043"));
        found(&serde_json::json!({ "a": inner }).to_string());
        let twice = serde_json::json!({ "a": inner }).to_string();
        found(&serde_json::json!({ "a": twice }).to_string());
    }

    #[test]
    fn percent_encoded() {
        found(&format!(r#"{{"a":"{}"}}"#, hex_escaped(|b| format!("%{b:02x}"))));
        found(&format!(r#"{{"a":"100% {}"}}"#, SECRET.replace('/', "%2F")));
        found(&format!(r#"{{"a":"{}"}}"#, SECRET.replace('/', "%252F")));
        found(&format!(r#"{{"a":"{}"}}"#, SECRET.replace('/', r"\u00252F")));
    }

    #[test]
    fn in_hexadecimal() {
        found(&format!(r#"{{"a":"0x{}"}}"#, hex_escaped(|b| format!("{b:02x}"))));
        found(&format!(r#"{{"a":"0x{}"}}"#, hex_escaped(|b| format!("{b:02X}"))));
    }

    #[test]
    fn in_base64_whatever_stands_around_it() {
        for before in ["", "u", "u:", "user:", "Bearer "] {
            for after in ["", "!", "!!", "\r\n"] {
                let plain = format!("{before}{SECRET}{after}");
                found(&format!(r#"{{"a":"{}"}}"#, STANDARD.encode(&plain)));
                found(&format!(r#"{{"a":"{}"}}"#, URL_SAFE.encode(&plain)));
                found(&serde_json::json!({ "a": STANDARD.encode(&plain).replace('/', "%2F") }).to_string());
                found(&format!(
                    r#"{{"a":"{}"}}"#,
                    STANDARD.encode(&plain).replace('/', r"\/")
                ));
            }
        }
    }

    #[test]
    fn the_value_alone_of_a_secret_that_was_given_as_a_header() {
        for given in [
            "X-Api-Key: opened-with-this",
            "Authorization: Token opened-with-this",
        ] {
            let canary = canary(given);
            assert!(
                canary.require_absent(br#"{"a":"opened-with-this"}"#).is_err(),
                "{given}"
            );
            assert!(
                canary
                    .require_absent(br#"{"a":"opened-\u0077ith-this"}"#)
                    .is_err()
            );
        }
    }

    #[test]
    fn what_is_not_the_secret_passes() {
        let near = format!(
            r#"{{"a":"{} %zz %4 \n \\ \u00e9 100%"}}"#,
            SECRET.replace("s3", "s4")
        );
        assert!(canary(SECRET).require_absent(near.as_bytes()).is_ok());
        assert!(canary(SECRET).require_absent(br#"{"a":"\"#).is_ok());
        assert!(canary(SECRET).require_absent(br"\u00").is_ok());
        assert!(Canary::default().require_absent(SECRET.as_bytes()).is_ok());
        assert!(
            canary("short").require_absent(b"short").is_ok(),
            "it would be found by chance"
        );
    }

    #[test]
    fn a_layer_that_changes_nothing_is_the_last() {
        let [escapes, percents] = CODINGS;
        assert_eq!(escapes.taken_off(br"\u00 \x 100%"), None);
        assert_eq!(percents.taken_off(br"\u00 \x 100% %zz"), None);
        assert_eq!(percents.taken_off(b"%2F"), Some(b"/".to_vec()));
    }

    #[test]
    fn a_spelling_is_found_beside_the_beginnings_of_others() {
        // One automaton looks for all: none may be lost in another that begins alike.
        let secret = canary("aaaaaaaab");
        for text in ["aaaaaaaaab", "aaaaaaaaaaaaaaaab", "616161616161616162"] {
            assert!(secret.require_absent(text.as_bytes()).is_err(), "{text}");
        }
        assert!(secret.require_absent(b"aaaaaaaaaaaaaaa").is_ok());
    }
}
