//! One expression over claims, whatever language it was written in.

use std::collections::BTreeMap;

use regex::Regex;

/// Claims of a token, as text.
pub type Claims = BTreeMap<String, String>;

/// What a policy asks of a token.
#[derive(Debug, Clone)]
pub enum Expression {
    /// Every one of them.
    All(Vec<Expression>),
    /// One of them.
    Any(Vec<Expression>),
    /// The opposite.
    Not(Box<Expression>),
    /// Something that is not understood here, as it was written.
    Opaque(String),
    /// A look at one claim.
    Test(Test),
    /// Nothing is asked.
    True,
}

/// What is decided when the claim is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// The whole has no value, and so admits nothing, unless another part admits.
    Error,
    /// It does not hold.
    Fails,
    /// It holds.
    Holds,
}

/// A look at one claim.
#[derive(Debug, Clone)]
pub struct Test {
    /// Its name.
    pub claim: String,
    /// What is looked for.
    pub how: How,
    /// When it is not there.
    pub absent: Absent,
    /// Written with an operator for lists of values.
    pub set_operator: bool,
}

/// What is looked for in a claim.
#[derive(Debug, Clone)]
pub enum How {
    /// A part of it.
    Contains(String),
    /// Its end.
    Ends(String),
    /// One of these, byte for byte.
    Equals(Vec<String>),
    /// One of these, where `*` is any text and `?` any character.
    Like(Vec<Glob>),
    /// A regular expression, not anchored.
    Matches(Box<Regex>),
    /// A value of another type than text.
    OtherType,
    /// That it is there.
    Present,
    /// Its beginning.
    Starts(String),
}

/// One character of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sign {
    /// Any text.
    Any,
    /// This one.
    Is(char),
    /// Any one.
    One,
}

/// A pattern with wildcards. They know nothing of `/` and `:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(pub Vec<Sign>);

impl Glob {
    /// Reads `*` and `?` as wildcards.
    pub fn plain(text: &str) -> Self {
        let sign = |c| match c {
            '*' => Sign::Any,
            '?' => Sign::One,
            other => Sign::Is(other),
        };
        Self(text.chars().map(sign).collect())
    }

    /// Whether all of `text` fits. Linear memory, at most length times length steps.
    pub fn holds(&self, text: &str) -> bool {
        let mut reached = vec![false; self.0.len() + 1];
        let spread = |reached: &mut Vec<bool>| {
            for (at, sign) in self.0.iter().enumerate() {
                if *sign == Sign::Any && reached.get(at) == Some(&true) {
                    mark(reached, at + 1);
                }
            }
        };
        mark(&mut reached, 0);
        spread(&mut reached);
        for c in text.chars() {
            let mut next = vec![false; self.0.len() + 1];
            for (at, sign) in self.0.iter().enumerate() {
                if reached.get(at) != Some(&true) {
                    continue;
                }
                match sign {
                    Sign::Any => mark(&mut next, at),
                    Sign::Is(wanted) if *wanted != c => {}
                    Sign::Is(_) | Sign::One => mark(&mut next, at + 1),
                }
            }
            spread(&mut next);
            reached = next;
        }
        reached.last() == Some(&true)
    }

    /// As it is written.
    pub fn text(&self) -> String {
        let sign = |sign: &Sign| match sign {
            Sign::Any => '*',
            Sign::Is(c) => *c,
            Sign::One => '?',
        };
        self.0.iter().map(sign).collect()
    }

    /// Whether it has a wildcard.
    pub fn is_wild(&self) -> bool {
        self.0.iter().any(|sign| !matches!(sign, Sign::Is(_)))
    }
}

fn mark(places: &mut [bool], at: usize) {
    if let Some(place) = places.get_mut(at) {
        *place = true;
    }
}

impl How {
    fn holds(&self, value: &str) -> bool {
        match self {
            Self::Contains(part) => value.contains(part.as_str()),
            Self::Ends(end) => value.ends_with(end.as_str()),
            Self::Equals(values) => values.iter().any(|one| one == value),
            Self::Like(globs) => globs.iter().any(|glob| glob.holds(value)),
            Self::Matches(regex) => regex.is_match(value),
            Self::OtherType => false,
            Self::Present => true,
            Self::Starts(start) => value.starts_with(start.as_str()),
        }
    }
}

impl Expression {
    /// Whether `claims` satisfy it; nothing when it has no value. What is opaque counts as `opaque`.
    #[must_use]
    pub fn value(&self, claims: &Claims, opaque: Option<bool>) -> Option<bool> {
        match self {
            Self::True => Some(true),
            Self::Opaque(_) => opaque,
            Self::Not(inner) => inner.value(claims, opaque).map(|value| !value),
            Self::All(parts) => combined(parts.iter().map(|part| part.value(claims, opaque)), false),
            Self::Any(parts) => combined(parts.iter().map(|part| part.value(claims, opaque)), true),
            Self::Test(test) => match (claims.get(&test.claim), test.absent) {
                (Some(value), _) => Some(test.how.holds(value)),
                (None, Absent::Error) => None,
                (None, Absent::Fails) => Some(false),
                (None, Absent::Holds) => Some(true),
            },
        }
    }

    /// Whether a token with these claims is let in, for all that can be told.
    #[must_use]
    pub fn admits(&self, claims: &Claims) -> bool {
        self.value(claims, Some(true)) == Some(true)
    }

    /// How many tests it has.
    #[must_use]
    pub fn tests(&self) -> usize {
        let mut count = 0;
        self.each(false, &mut |_, _| count += 1);
        count
    }

    /// Shows every test, and whether it stands under a negation.
    pub(super) fn each<'a>(&'a self, negated: bool, show: &mut impl FnMut(&'a Test, bool)) {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().for_each(|part| part.each(negated, show)),
            Self::Not(inner) => inner.each(!negated, show),
            Self::Opaque(_) | Self::True => {}
            Self::Test(test) => show(test, negated),
        }
    }

    /// What is not understood, first.
    pub(super) fn opaque(&self) -> Option<&str> {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().find_map(Self::opaque),
            Self::Not(inner) => inner.opaque(),
            Self::Opaque(text) => Some(text),
            Self::Test(_) | Self::True => None,
        }
    }
}

/// `decides` is the value that settles the whole alone; a part without a value spoils what is left.
fn combined(parts: impl Iterator<Item = Option<bool>>, decides: bool) -> Option<bool> {
    let mut whole = Some(!decides);
    for part in parts {
        match part {
            Some(value) if value == decides => return Some(decides),
            Some(_) => {}
            None => whole = None,
        }
    }
    whole
}
