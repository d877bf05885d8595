//! How an argument of a call is read: as one of the typed views, exactly or not at all.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::condition::is_uri;
use crate::model::{Condition, Literal, Operator};
use crate::scope::decimal;
use crate::vocabulary::View;

/// An argument as a view shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading<'a> {
    /// A decimal number times 10,000.
    Decimal(i64),
    /// A truth value.
    Flag(bool),
    /// A whole number.
    Integer(i64),
    /// Text, or a path.
    Text(Cow<'a, str>),
    /// A list of text.
    Texts(Vec<&'a str>),
}

/// The value that `arg` names: members of objects with dots. A member whose own name holds a point cannot be
/// named, and neither can one that has a [`namesake`].
#[must_use]
pub fn lookup<'a>(args: &'a Map<String, Value>, arg: &str) -> Option<&'a Value> {
    let mut members = arg.split('.');
    let mut value = member_of(args, members.next()?)?;
    for member in members {
        value = member_of(value.as_object()?, member)?;
    }
    Some(value)
}

fn member_of<'a>(map: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    map.get(name).filter(|_| other_spelling(map, name).is_none())
}

/// The first member on the way to `arg` that is spelled otherwise but that a lax reader (Go's decoder among
/// them) takes for the one that `arg` names: it differs in case or width only.
#[must_use]
pub fn namesake<'a>(args: &'a Map<String, Value>, arg: &str) -> Option<&'a str> {
    let mut map = args;
    for member in arg.split('.') {
        if let Some(other) = other_spelling(map, member) {
            return Some(other);
        }
        map = map.get(member)?.as_object()?;
    }
    None
}

fn other_spelling<'a>(map: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    let plain = name.is_ascii();
    map.keys()
        .find(|key| {
            *key != name
                && if plain && key.is_ascii() {
                    key.eq_ignore_ascii_case(name)
                } else {
                    folded(key).eq(folded(name))
                }
        })
        .map(String::as_str)
}

/// The characters of `name` as lax readers compare them: full width as plain, then the case folding that upper
/// case and back gives (`ſ` is `s`, the Kelvin sign is `k`, `ß` is `ss`).
fn folded(name: &str) -> impl Iterator<Item = char> + '_ {
    name.chars()
        .map(|c| match u32::from(c) {
            wide @ 0xff01..=0xff5e => char::from_u32(wide - 0xfee0).unwrap_or(c),
            _ => c,
        })
        .flat_map(char::to_uppercase)
        .flat_map(char::to_lowercase)
        .map(|c| if c == 'ς' { 'σ' } else { c })
}

impl View {
    /// What this view shows of `value`: `None` when it is of another type or has no exact form.
    #[must_use]
    pub fn read(self, value: &Value) -> Option<Reading<'_>> {
        match (self, value) {
            (Self::Decimal, Value::Number(number)) => decimal_of(number).map(Reading::Decimal),
            (Self::Flag, Value::Bool(flag)) => Some(Reading::Flag(*flag)),
            (Self::Integer, Value::Number(number)) => integer_of(number).map(Reading::Integer),
            (Self::Path, Value::String(path)) => is_clean(path).then(|| Reading::Text(path.as_str().into())),
            (Self::Path, Value::Array(list)) => shared_path(list).map(|p| Reading::Text(p.into())),
            (Self::Text, Value::String(text)) => Some(Reading::Text(text.as_str().into())),
            (Self::Texts, Value::Array(list)) => list
                .iter()
                .map(Value::as_str)
                .collect::<Option<Vec<_>>>()
                .map(Reading::Texts),
            _ => None,
        }
    }
}

/// A whole number of 64 bits, also when it was written with a fraction of zero (`10.0`).
fn integer_of(number: &serde_json::Number) -> Option<i64> {
    /// Above this a float no longer tells one whole number from the next.
    const EXACT: f64 = 9_007_199_254_740_991.0;
    if let Some(n) = number.as_i64() {
        return Some(n);
    }
    let n = number.as_f64().filter(|n| n.fract() == 0.0 && n.abs() <= EXACT)?;
    format!("{n:.0}").parse().ok()
}

/// The number times 10,000, if it has at most four digits behind the point in its shortest form.
fn decimal_of(number: &serde_json::Number) -> Option<i64> {
    if let Some(n) = integer_of(number) {
        return n.checked_mul(Literal::DECIMAL_SCALE);
    }
    // `Display` of a float is its shortest exact form, never with an exponent.
    let text = number.as_f64().filter(|n| n.is_finite())?.to_string();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.as_str()),
    };
    let (whole, fraction) = digits.split_once('.')?;
    decimal(negative, whole, fraction)
}

/// Whether `path` is an absolute path or URI that means, read lexically, what it says. No control character
/// (readers of URIs drop tabs and line breaks, so `.<tab>.` becomes `..`), no backslash, no `..` segment, also
/// percent-encoded; in a URI no white space, no `.` segment, and nothing that is decoded or cut off later.
pub(crate) fn is_clean(path: &str) -> bool {
    let absolute = path.starts_with('/') || path.split_once("://").is_some_and(|(s, _)| !s.contains('/'));
    absolute && !path.contains(char::is_control) && is_plain(path) && (!is_uri(path) || is_plain_uri(path))
}

/// Whether no reading of `path`, decoded as often as anyone may decode it, leaves its own segments.
fn is_plain(path: &str) -> bool {
    if path.contains('\\') || path.split('/').any(|s| s == "..") {
        return false;
    }
    if !path.contains('%') {
        return true;
    }
    // `%25` first: a path that is decoded twice is read as it is after the last time.
    let mut decoded = path.to_ascii_lowercase();
    while decoded.contains("%25") {
        decoded = decoded.replace("%25", "%");
    }
    let decoded = decoded
        .replace("%2e", ".")
        .replace("%2f", "/")
        .replace("%5c", "\\");
    let control = ["%0", "%1", "%7f"].iter().any(|c| decoded.contains(c));
    !control && !decoded.contains('\\') && !decoded.split('/').any(|s| s == "..")
}

fn is_plain_uri(uri: &str) -> bool {
    let path = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    !uri.contains(['%', '?', '#']) && !uri.contains(char::is_whitespace) && !path.split('/').any(|s| s == ".")
}

/// The longest path that holds every entry of the list, segment by segment: what is below a base when all of
/// them are. `None` for an empty list, an entry that is not clean, or no common root.
fn shared_path(list: &[Value]) -> Option<String> {
    let mut paths = list.iter().map(|v| v.as_str().filter(|p| is_clean(p)));
    let mut shared: Vec<&str> = paths.next()??.split('/').collect();
    for path in paths {
        let path = path?;
        let same = shared
            .iter()
            .zip(path.split('/'))
            .take_while(|(a, b)| *a == b)
            .count();
        shared.truncate(same);
    }
    // A path begins with one empty segment, a URI with `scheme:`, an empty one and the authority.
    let root = if shared.first()?.is_empty() { 1 } else { 3 };
    match shared.len() {
        n if n < root => None,
        n if n == root => Some(format!("{}/", shared.join("/"))),
        _ => Some(shared.join("/")),
    }
}

impl Condition {
    /// Whether these arguments satisfy the condition, reckoned without Cedar. Decisions do not use this: it
    /// explains them, and tests hold it against the compiled policy.
    #[must_use]
    pub fn holds(&self, args: &Map<String, Value>) -> bool {
        let Some(value) = lookup(args, &self.arg) else {
            return false;
        };
        if self.require_valid().is_err() {
            return false;
        }
        match self.operator {
            Operator::Under => match (View::Path.read(value), self.values.first()) {
                (Some(Reading::Text(path)), Some(Literal::Text(base))) => below(&path, base),
                _ => false,
            },
            Operator::In => {
                let listed = |text: &str| {
                    self.values
                        .iter()
                        .any(|v| matches!(v, Literal::Text(t) if t == text))
                };
                match View::Texts.read(value) {
                    Some(Reading::Texts(texts)) if !texts.is_empty() => texts.iter().all(|t| listed(t)),
                    _ => self
                        .values
                        .iter()
                        .any(|v| compared(value, v).is_some_and(|o| o.is_eq())),
                }
            }
            Operator::Equal | Operator::AtLeast | Operator::AtMost => {
                let order = self.values.first().and_then(|v| compared(value, v));
                order.is_some_and(|o| match self.operator {
                    Operator::AtLeast => o.is_ge(),
                    Operator::AtMost => o.is_le(),
                    _ => o.is_eq(),
                })
            }
        }
    }
}

fn compared(value: &Value, literal: &Literal) -> Option<std::cmp::Ordering> {
    match literal {
        Literal::Bool(b) => value.as_bool().map(|v| v.cmp(b)),
        Literal::Decimal(n) => match View::Decimal.read(value)? {
            Reading::Decimal(v) => Some(v.cmp(n)),
            _ => None,
        },
        Literal::Integer(n) => match View::Integer.read(value)? {
            Reading::Integer(v) => Some(v.cmp(n)),
            _ => None,
        },
        Literal::Text(text) => value.as_str().map(|v| v.cmp(text)),
    }
}

fn below(path: &str, base: &str) -> bool {
    let stem = base.strip_suffix('/').unwrap_or(base);
    let root = crate::condition::path_of(base) == Some("/");
    path.strip_prefix(stem)
        .is_some_and(|rest| rest.starts_with('/') || (rest.is_empty() && !root))
}
