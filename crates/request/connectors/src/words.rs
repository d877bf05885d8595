//! What another system says, before anybody keeps it: what it repeats of the secrets it was shown is covered.
//!
//! A refusal often names the key that it refuses, whole or cut off, and what is kept here stands in a log from
//! which nothing can be removed.

use std::collections::BTreeMap;

use bailiwick_base::Secret;
use bailiwick_credential::{LastUse, Observed, ProbeAnswer};
use bailiwick_outbound::spellings;

use crate::driver::{Back, Ended, Lent, Made, Probed, TargetError};

/// Bytes of a text that are looked at; the rest is not kept.
const LOOKED_MAX: usize = 4_096;
/// Bytes that are kept.
const KEPT_MAX: usize = 200;
/// So many bytes in a row of a secret are not kept; shorter secrets are looked for whole.
const PIECE: usize = 12;
/// What stands for a secret.
const COVERED: &str = "***";

/// The secrets that the other side knows.
pub(crate) struct Cover<'a>(Vec<&'a Secret<Vec<u8>>>);

impl<'a> Cover<'a> {
    pub(crate) fn over(secrets: impl IntoIterator<Item = Option<&'a Secret<Vec<u8>>>>) -> Self {
        let secrets = secrets.into_iter().flatten();
        Self(secrets.filter(|secret| !secret.reveal().is_empty()).collect())
    }

    /// `text` without what it repeats of the secrets, fit to be kept.
    pub(crate) fn text(&self, text: &str) -> String {
        let looked = text.floor_char_boundary(LOOKED_MAX);
        let text = text.get(..looked).unwrap_or_default();
        let mut found = Found::of(text.as_bytes());
        for secret in &self.0 {
            spellings(secret.reveal()).iter().for_each(|s| found.look_for(s));
        }
        let mut out = String::new();
        let mut covers = false;
        for (at, c) in text.char_indices() {
            if out.len() >= KEPT_MAX {
                out.push('…');
                break;
            }
            let hidden = found.is_hidden(at, c.len_utf8());
            match (hidden, c) {
                (true, _) if covers => {}
                (true, _) => out.push_str(COVERED),
                (false, '"' | '\'' | '\\') => out.push(c),
                (false, _) => out.extend(c.escape_debug()),
            }
            covers = hidden;
        }
        out
    }

    /// What came of a deed, fit to be kept.
    pub(crate) fn told<T: Spoken>(&self, done: Result<T, TargetError>) -> Result<T, TargetError> {
        match done {
            Ok(done) => Ok(done.covered(self)),
            Err(error) => Err(error.covered(self)),
        }
    }
}

/// Where secrets stand in a text.
struct Found<'t> {
    text: &'t [u8],
    pieces: BTreeMap<&'t [u8], Vec<usize>>,
    hidden: Vec<bool>,
}

impl<'t> Found<'t> {
    fn of(text: &'t [u8]) -> Self {
        let mut pieces: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (at, piece) in text.windows(PIECE).enumerate() {
            pieces.entry(piece).or_default().push(at);
        }
        let hidden = vec![false; text.len()];
        Self { text, pieces, hidden }
    }

    fn look_for(&mut self, spelling: &[u8]) {
        if spelling.len() < PIECE {
            let whole = self.text.windows(spelling.len().max(1)).enumerate();
            let places: Vec<_> = whole.filter(|(_, w)| *w == spelling).map(|(at, _)| at).collect();
            return self.hide(&places, spelling.len());
        }
        let places: Vec<_> = spelling
            .windows(PIECE)
            .filter_map(|piece| self.pieces.get(piece))
            .flatten()
            .copied()
            .collect();
        self.hide(&places, PIECE);
    }

    fn hide(&mut self, places: &[usize], length: usize) {
        for at in places {
            if let Some(part) = self.hidden.get_mut(*at..at.saturating_add(length)) {
                part.fill(true);
            }
        }
    }

    fn is_hidden(&self, at: usize, length: usize) -> bool {
        let part = self.hidden.get(at..at.saturating_add(length));
        part.is_none_or(|bytes| bytes.contains(&true))
    }
}

/// Something that may hold words of another system.
pub(crate) trait Spoken: Sized {
    /// The same, fit to be kept.
    fn covered(self, cover: &Cover<'_>) -> Self;
}

impl Spoken for () {
    fn covered(self, _: &Cover<'_>) -> Self {}
}

impl Spoken for TargetError {
    fn covered(self, cover: &Cover<'_>) -> Self {
        match self {
            Self::Refused { code, text } => Self::Refused {
                code: cover.text(&code),
                text: cover.text(&text),
            },
            Self::Unreachable(text) => Self::Unreachable(cover.text(&text)),
            Self::Unusable(text) => Self::Unusable(text),
        }
    }
}

impl Spoken for ProbeAnswer {
    fn covered(self, cover: &Cover<'_>) -> Self {
        Self {
            code: cover.text(&self.code),
            text: cover.text(&self.text),
        }
    }
}

impl Spoken for Observed {
    fn covered(self, cover: &Cover<'_>) -> Self {
        let used = self.used.map(|used| LastUse {
            at: used.at,
            what: cover.text(&used.what),
        });
        // Names of consumers are compared with registered ones; whoever connects gave them, not the system.
        Self {
            seen: self.seen,
            used,
        }
    }
}

impl Spoken for Ended {
    fn covered(self, cover: &Cover<'_>) -> Self {
        match self {
            Self::Done => Self::Done,
            Self::Reopened(seen) => Self::Reopened(seen.covered(cover)),
        }
    }
}

impl Spoken for Probed {
    fn covered(self, cover: &Cover<'_>) -> Self {
        match self {
            Self::Accepted => Self::Accepted,
            Self::Refused(answer) => Self::Refused(answer.covered(cover)),
        }
    }
}

impl Spoken for Back {
    fn covered(self, cover: &Cover<'_>) -> Self {
        match self {
            Self::Barred(answer, until) => Self::Barred(answer.covered(cover), until),
            Self::Gone(answer) => Self::Gone(answer.map(|answer| answer.covered(cover))),
        }
    }
}

/// A secret is sealed, and its name is what it is found by.
impl Spoken for Option<Made> {
    fn covered(self, _: &Cover<'_>) -> Self {
        self
    }
}

impl Spoken for Lent {
    fn covered(self, _: &Cover<'_>) -> Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "mk_live_51H8xQ/+aZ=0123456789";

    fn kept(secret: &str, text: &str) -> String {
        let secret = Secret::new(secret.as_bytes().to_vec());
        Cover::over([Some(&secret), None]).text(text)
    }

    #[test]
    fn a_secret_that_is_repeated_is_covered_however_it_is_written_and_wherever_it_is_cut() {
        assert_eq!(
            kept(KEY, &format!("API key {KEY} is not allowed")),
            "API key *** is not allowed"
        );
        for spelling in spellings(KEY.as_bytes()) {
            let text = format!("no \"{}\" here", String::from_utf8(spelling).unwrap());
            assert_eq!(kept(KEY, &text), "no \"***\" here", "{text}");
        }
        for length in PIECE..KEY.len() {
            let part = KEY.get(..length).unwrap();
            assert_eq!(
                kept(KEY, &format!("key {part}... is unknown")),
                "key ***... is unknown"
            );
        }
        // The cut comes after the cover, never in the middle of a secret.
        for before in KEPT_MAX - KEY.len()..=KEPT_MAX {
            let text = kept(KEY, &format!("{} {KEY}", "x".repeat(before)));
            assert!(!text.contains("mk_"), "{text}");
        }
    }

    #[test]
    fn a_short_secret_is_covered_whole_and_other_words_stay_as_they_are() {
        assert_eq!(kept("s3cret", "no s3cret, s3cre"), "no ***, s3cre");
        assert_eq!(kept("", "as it is"), "as it is");
        assert_eq!(kept(KEY, "größe\n\u{202e}"), "größe\\n\\u{202e}");
        let long = kept(KEY, &"ä".repeat(10_000));
        assert!(long.len() <= KEPT_MAX + '…'.len_utf8() + 1, "{}", long.len());
    }
}
