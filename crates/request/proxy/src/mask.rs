//! The secret a destination was opened with, taken out of what it answers.
//!
//! Found are the spellings of [`spellings`](bailiwick_outbound::spellings): as it is, percent-encoded, in hexadecimal,
//! in both alphabets of Base64 at any offset; for the secret, for the whole value of its header, and for each word of
//! that; in each of them any character may be escaped besides, as JSON, HTML and URLs do it, up to [`LAYERS`] deep. They
//! are written over with asterisks, so no length changes. Not found is what a destination that wants to tell can always
//! do: another encoding, a packed body, or pieces of it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use bailiwick_base::{CredentialId, Digest, Secret, Sha256};
use bailiwick_outbound::spellings;
use bytes::Bytes;

use crate::coding::{Coding, Reading};

/// Shorter than this a secret would be found by chance.
const SECRET_MIN: usize = 8;
/// How many layers of escapes are taken off: a document of JSON in a string of another, and one more.
const LAYERS: usize = 3;
/// Masks kept.
const KEPT_MAX: usize = 1_024;
const STAR: u8 = b'*';

struct Needles {
    automaton: AhoCorasick,
    all: Vec<Secret<Vec<u8>>>,
}

/// What may not come back. Secret: there is no `Debug`.
#[derive(Clone, Default)]
pub(crate) struct Mask {
    needles: Option<Arc<Needles>>,
    /// The end of what came, which may be the beginning of a spelling.
    held: Vec<u8>,
}

impl Mask {
    /// Of a secret and the value of the header it was put in with; `None` when they cannot be looked for.
    pub(crate) fn new(secret: &[u8], value: &[u8]) -> Option<Self> {
        let mut all: Vec<Vec<u8>> = Vec::new();
        let words = value.split(|b| *b == b' ');
        for part in [secret, value].into_iter().chain(words) {
            if part.len() >= SECRET_MIN {
                all.extend(spellings(part));
            }
        }
        all.sort();
        all.dedup();
        if all.is_empty() {
            return Some(Self::default());
        }
        let automaton = AhoCorasick::builder()
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .match_kind(MatchKind::LeftmostLongest)
            .build(&all)
            .ok()?;
        let all = all.into_iter().map(Secret::new).collect();
        Some(Self {
            needles: Some(Arc::new(Needles { automaton, all })),
            held: Vec::new(),
        })
    }

    /// Whether anything is looked for.
    pub(crate) fn is_on(&self) -> bool {
        self.needles.is_some()
    }

    /// The whole text without the spellings; `None` when none is in it.
    pub(crate) fn masked(&self, text: &[u8]) -> Option<Vec<u8>> {
        let needles = self.needles.as_ref()?;
        let mut out = text.to_vec();
        let (found, _) = cover(needles, &mut out);
        found.then_some(out)
    }

    /// Whether a spelling is in the name of a header. Such a name has no capitals, so none are compared.
    pub(crate) fn is_in_name(&self, name: &[u8]) -> bool {
        let Some(needles) = &self.needles else {
            return false;
        };
        let holds = |text: &[u8]| {
            needles.all.iter().any(|needle| {
                let needle = needle.reveal();
                text.windows(needle.len().max(1))
                    .any(|piece| piece.eq_ignore_ascii_case(needle))
            })
        };
        if holds(name) {
            return true;
        }
        let mut reading = Reading::of(name);
        for _ in 0..LAYERS {
            for coding in Coding::ALL {
                if let Some(inner) = reading.without(coding) {
                    if holds(&inner.text) {
                        return true;
                    }
                    reading = inner;
                }
            }
        }
        false
    }

    /// The next piece of a text that comes in pieces. What could be the beginning of a spelling waits for the rest.
    pub(crate) fn next(&mut self, piece: Bytes) -> Bytes {
        let Some(needles) = &self.needles else {
            return piece;
        };
        let mut text = std::mem::take(&mut self.held);
        text.extend_from_slice(&piece);
        let (_, whole) = cover(needles, &mut text);
        self.held = text.split_off(whole);
        Bytes::from(text)
    }

    /// What still waits, at the end of the text.
    pub(crate) fn rest(&mut self) -> Bytes {
        Bytes::from(std::mem::take(&mut self.held))
    }
}

/// The masks of credentials in use: made once for each secret, because that takes longer than a request.
#[derive(Default)]
pub(crate) struct Masks(Mutex<BTreeMap<CredentialId, (Digest, Mask)>>);

impl Masks {
    /// The mask of a secret and the value of its header; `None` when they cannot be looked for.
    pub(crate) fn of(&self, id: &CredentialId, secret: &[u8], value: &[u8]) -> Option<Mask> {
        let mut sha = Sha256::new();
        sha.update_field(secret);
        sha.update_field(value);
        let digest = sha.finish();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, mask)) = kept.get(id)
            && *of == digest
        {
            return Some(mask.clone());
        }
        let mask = Mask::new(secret, value)?;
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        kept.insert(id.clone(), (digest, mask.clone()));
        Some(mask)
    }
}

/// Writes over what is found in `text`, however it is escaped. Gives whether anything was, and up to where nothing can
/// be the beginning of more.
fn cover(needles: &Needles, text: &mut [u8]) -> (bool, usize) {
    let mut found: Vec<_> = needles.automaton.find_iter(&*text).map(|m| m.range()).collect();
    fill(text, &found);
    let mut whole = text.len() - begun(needles, text);
    if memchr::memchr3(b'\\', b'%', b'&', text).is_none() {
        return (!found.is_empty(), whole);
    }
    let mut reading = Reading::of(text);
    for _ in 0..LAYERS {
        let mut changed = false;
        for coding in Coding::ALL {
            let Some(inner) = reading.without(coding) else {
                continue;
            };
            let matches = needles.automaton.find_iter(&inner.text);
            found.extend(matches.map(|m| inner.source(m.range())));
            whole = whole.min(inner.place(inner.text.len() - begun(needles, &inner.text)));
            (reading, changed) = (inner, true);
        }
        if !changed {
            break;
        }
    }
    fill(text, &found);
    (!found.is_empty(), whole)
}

fn fill(text: &mut [u8], ranges: &[Range<usize>]) {
    for range in ranges {
        if let Some(bytes) = text.get_mut(range.clone()) {
            bytes.fill(STAR);
        }
    }
}

/// How many bytes at the end of `text` are the beginning of a spelling.
fn begun(needles: &Needles, text: &[u8]) -> usize {
    let longest = |needle: &[u8]| {
        (1..needle.len().min(text.len() + 1))
            .rev()
            .find(|n| needle.get(..*n).is_some_and(|head| text.ends_with(head)))
    };
    let each = needles.all.iter().filter_map(|needle| longest(needle.reveal()));
    each.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE};

    use super::*;

    const SECRET: &str = "CANARY/s3cr+t~0f_the.up&stream<='\"";

    fn mask() -> Mask {
        Mask::new(SECRET.as_bytes(), format!("Bearer {SECRET}").as_bytes()).unwrap()
    }

    fn streamed(text: &[u8], size: usize) -> Vec<u8> {
        let mut mask = mask();
        let mut out = Vec::new();
        for piece in text.chunks(size) {
            out.extend_from_slice(&mask.next(Bytes::copy_from_slice(piece)));
        }
        out.extend_from_slice(&mask.rest());
        out
    }

    #[test]
    fn every_spelling_is_covered_wherever_the_pieces_are_cut() {
        let hex: String = SECRET.bytes().map(|b| format!("{b:02x}")).collect();
        let percent: String = SECRET.bytes().map(|b| format!("%{b:02X}")).collect();
        let escaped = SECRET.replace('/', "%2F").replace('+', "%2B").replace('~', "%7E");
        for spelling in [
            SECRET.to_owned(),
            hex.to_uppercase(),
            hex,
            percent,
            escaped,
            STANDARD.encode(SECRET),
            STANDARD.encode(format!("u:{SECRET}")),
            URL_SAFE.encode(format!("ab{SECRET}")),
            // As PHP, Go, Gson, .NET and Python write a string of JSON; any character at all; one string in another.
            SECRET.replace('/', r"\/").replace('"', "\\\""),
            SECRET
                .replace('&', r"\u0026")
                .replace('<', r"\u003c")
                .replace('"', "\\\""),
            SECRET
                .replace('=', r"\u003d")
                .replace('\'', r"\u0027")
                .replace('"', "\\\""),
            SECRET.replace('+', r"\u002B").replace('"', r"\u0022"),
            SECRET.bytes().map(|b| format!(r"\u{b:04x}")).collect(),
            STANDARD
                .encode(SECRET)
                .replace('/', r"\/")
                .replace('+', r"\u002B"),
            SECRET.replace('/', r"\\/").replace('"', r#"\\\""#),
            SECRET.replace('/', r"%5C/"),
            // As HTML and XML are written.
            SECRET
                .replace('&', "&amp;")
                .replace('<', "&lt;")
                .replace('\'', "&#39;")
                .replace('"', "&quot;"),
            SECRET.replace('&', "&#x26;").replace('\'', "&apos;"),
        ] {
            let text = format!("{{\"echo\":\"{spelling}\",\"rest\":\"CANARY CAN\"}}");
            let whole = streamed(text.as_bytes(), text.len());
            assert_eq!(whole.len(), text.len(), "no length changes");
            let whole = String::from_utf8(whole).unwrap();
            assert!(whole.contains("********"), "{spelling}: {whole}");
            assert!(!whole.contains(SECRET), "{whole}");
            assert!(whole.ends_with("CANARY CAN\"}"), "{whole}");
            for size in 1..text.len() {
                assert_eq!(
                    String::from_utf8(streamed(text.as_bytes(), size)).unwrap(),
                    whole,
                    "{size}"
                );
            }
        }
    }

    #[test]
    fn what_is_not_the_secret_passes_at_once() {
        let mut mask = mask();
        assert_eq!(mask.next(Bytes::from_static(b"data: 1\n\n")), "data: 1\n\n");
        assert_eq!(
            mask.next(Bytes::from_static(b"data: CANARY/s")),
            "data: ",
            "it may go on"
        );
        assert_eq!(mask.next(Bytes::from_static(b"ardine\n\n")), "CANARY/sardine\n\n");
        assert_eq!(mask.rest(), "");
        assert_eq!(mask.masked(b"CANARY"), None);
    }

    #[test]
    fn a_spelling_in_the_name_of_a_header_is_found_without_its_capitals() {
        let secret = "Sk-Live.51H8xQaZ";
        let mask = Mask::new(secret.as_bytes(), format!("Bearer {secret}").as_bytes()).unwrap();
        let hex: String = secret.bytes().map(|b| format!("{b:02x}")).collect();
        for spelling in [
            secret.to_lowercase(),
            secret.to_owned(),
            hex,
            secret.to_lowercase().replace('.', "%2e").replace('-', "%2D"),
            STANDARD.encode(secret).trim_end_matches('=').to_lowercase(),
        ] {
            assert!(
                mask.is_in_name(format!("x-{spelling}-y").as_bytes()),
                "{spelling}"
            );
        }
        assert!(!mask.is_in_name(b"x-sk-live.51h8xqa"));
        assert!(!Mask::default().is_in_name(secret.as_bytes()));
    }

    #[test]
    fn a_short_secret_is_not_looked_for() {
        let mask = Mask::new(b"short", b"short").unwrap();
        assert!(!mask.is_on());
    }
}
