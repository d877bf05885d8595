//! What a policy has in mind: the texts it names, out of which runs are made.

use std::collections::BTreeMap;

use super::expression::{Expression, Glob, How, Sign};

/// Combinations of the values of one policy that are tried.
const SAMPLES_MAX: usize = 64;

/// A text that a policy names for a claim, with its wildcards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hint(Vec<Sign>);

/// One text for each claim that a policy asks about.
pub(super) type Sample = BTreeMap<String, Hint>;

impl Hint {
    pub(super) fn exact(text: &str) -> Self {
        Self(text.chars().map(Sign::Is).collect())
    }

    pub(super) fn is_wild(&self) -> bool {
        self.0.iter().any(|sign| !matches!(sign, Sign::Is(_)))
    }

    /// With `filler` in the place of every wildcard.
    pub(super) fn filled(&self, filler: char) -> String {
        let sign = |sign: &Sign| match sign {
            Sign::Any | Sign::One => filler,
            Sign::Is(c) => *c,
        };
        self.0.iter().map(sign).collect()
    }

    /// The text, where it has no wildcard.
    pub(super) fn text(&self) -> Option<String> {
        (!self.is_wild()).then(|| self.filled(' '))
    }

    pub(super) fn split(&self, at: char) -> Vec<Self> {
        self.0
            .split(|sign| *sign == Sign::Is(at))
            .map(|part| Self(part.to_vec()))
            .collect()
    }

    pub(super) fn joined(parts: &[Self], with: char) -> Self {
        let mut signs = Vec::new();
        for (at, part) in parts.iter().enumerate() {
            if at > 0 {
                signs.push(Sign::Is(with));
            }
            signs.extend_from_slice(&part.0);
        }
        Self(signs)
    }

    /// Before and after the first `at`.
    pub(super) fn split_once(&self, at: char) -> Option<(Self, Self)> {
        let place = self.0.iter().position(|sign| *sign == Sign::Is(at))?;
        let (before, after) = (self.0.get(..place)?, self.0.get(place + 1..)?);
        Some((Self(before.to_vec()), Self(after.to_vec())))
    }

    fn open(before: &str, after: &str, open_before: bool, open_after: bool) -> Self {
        let mut signs: Vec<Sign> = Vec::new();
        if open_before {
            signs.push(Sign::Any);
        }
        signs.extend(before.chars().chain(after.chars()).map(Sign::Is));
        if open_after {
            signs.push(Sign::Any);
        }
        Self(signs)
    }
}

fn hints(how: &How) -> Vec<Hint> {
    match how {
        How::Contains(part) => vec![Hint::open(part, "", true, true)],
        How::Ends(end) => vec![Hint::open("", end, true, false)],
        How::Equals(values) => values.iter().map(|v| Hint::exact(v)).collect(),
        How::Like(globs) => globs.iter().map(|Glob(signs)| Hint(signs.clone())).collect(),
        How::Matches(regex) => vec![of_pattern(regex.as_str())],
        How::OtherType | How::Present => Vec::new(),
        How::Starts(start) => vec![Hint::open(start, "", false, true)],
    }
}

/// The text at the beginning of a regular expression, and then anything.
fn of_pattern(pattern: &str) -> Hint {
    let text = pattern
        .trim_start_matches("(?i)")
        .trim_start_matches('^')
        .trim_start_matches("(?:");
    let mut plain = String::new();
    let mut signs = text.chars().peekable();
    while let Some(c) = signs.next() {
        let literal = match c {
            '\\' => match signs.next() {
                Some(escaped) if escaped.is_ascii_punctuation() => escaped,
                _ => return Hint::open(&plain, "", false, true),
            },
            '$' | ')' if signs.peek().is_none() => return Hint::exact(&plain),
            '.' | '[' | '(' | ')' | '|' | '*' | '+' | '?' | '{' | '$' => {
                return Hint::open(&plain, "", false, true);
            }
            other => other,
        };
        // What may be left out or repeated is not certain.
        if matches!(signs.peek(), Some('*' | '?' | '{')) {
            return Hint::open(&plain, "", false, true);
        }
        plain.push(literal);
    }
    Hint::open(&plain, "", false, !pattern.ends_with('$'))
}

/// Every combination of texts that the policy names, up to a limit; one without any when it names none.
pub(super) fn samples(rule: &Expression) -> Vec<Sample> {
    let mut named: BTreeMap<String, Vec<Hint>> = BTreeMap::new();
    rule.each(false, &mut |test, negated| {
        if !negated {
            let known = named.entry(test.claim.clone()).or_default();
            for hint in hints(&test.how) {
                if !known.contains(&hint) {
                    known.push(hint);
                }
            }
        }
    });
    let mut all = vec![Sample::new()];
    for (claim, values) in named.iter().filter(|(_, values)| !values.is_empty()) {
        let with = |sample: &Sample, value: &Hint| {
            let mut sample = sample.clone();
            sample.insert(claim.clone(), value.clone());
            sample
        };
        all = all
            .iter()
            .flat_map(|sample| values.iter().map(move |value| with(sample, value)))
            .take(SAMPLES_MAX)
            .collect();
    }
    all
}
