//! What a condition may be, whichever form it came in.

use bailiwick_base::limits::shown;

use crate::argument::is_clean;
use crate::model::{Condition, Literal, Operator};
use crate::{ARG_DEPTH_MAX, ARG_MAX, TEXT_VALUE_MAX, VALUES_MAX};

impl Operator {
    /// Every operator.
    pub const ALL: [Self; 5] = [Self::Equal, Self::In, Self::AtLeast, Self::AtMost, Self::Under];

    /// As written in the grammar, and as a member of `args` in RFC 9396 JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::In => "in",
            Self::AtLeast => ">=",
            Self::AtMost => "<=",
            Self::Under => "under",
        }
    }
}

impl Literal {
    /// The largest decimal, times 10,000: what Cedar's `decimal` can hold.
    pub const DECIMAL_SCALE: i64 = 10_000;

    const fn kind(&self) -> &'static str {
        match self {
            Self::Bool(_) => "a truth value",
            Self::Decimal(_) => "a decimal number",
            Self::Integer(_) => "a whole number",
            Self::Text(_) => "text",
        }
    }
}

impl Condition {
    /// What is wrong with it, or nothing.
    ///
    /// # Errors
    /// One sentence that names the offence and what would be right.
    pub fn require_valid(&self) -> Result<(), String> {
        arg(&self.arg)?;
        let [first, ..] = self.values.as_slice() else {
            return Err("a value is missing".to_owned());
        };
        if self.operator != Operator::In && self.values.len() != 1 {
            return Err(format!("`{}` takes one value", self.operator.as_str()));
        }
        if self.values.len() > VALUES_MAX {
            return Err(format!("more than {VALUES_MAX} values"));
        }
        if let Some(other) = self.values.iter().find(|v| v.kind() != first.kind()) {
            return Err(format!(
                "the values of `in` must be of one type, found {} and {}",
                first.kind(),
                other.kind()
            ));
        }
        for value in &self.values {
            if let Literal::Text(text) = value
                && text.len() > TEXT_VALUE_MAX
            {
                return Err(format!("text of more than {TEXT_VALUE_MAX} bytes"));
            }
        }
        match (self.operator, first) {
            (Operator::Under, Literal::Text(base)) => require_base(base),
            (Operator::Under, other) => Err(format!("`under` takes text, found {}", other.kind())),
            (Operator::AtLeast | Operator::AtMost, Literal::Bool(_) | Literal::Text(_)) => Err(format!(
                "`{}` takes a number, found {}",
                self.operator.as_str(),
                first.kind()
            )),
            (Operator::In, Literal::Bool(_)) => Err("`in` does not take truth values, use `=`".to_owned()),
            _ => Ok(()),
        }
    }
}

fn arg(arg: &str) -> Result<(), String> {
    if arg.len() > ARG_MAX {
        return Err(format!("the name of an argument has at most {ARG_MAX} bytes"));
    }
    if arg.split('.').count() > ARG_DEPTH_MAX {
        return Err(format!(
            "the name of an argument has at most {ARG_DEPTH_MAX} members"
        ));
    }
    if arg.split('.').any(str::is_empty) {
        return Err(format!("argument `{}` has an empty member", shown(arg)));
    }
    if arg.contains(char::is_control) {
        return Err(format!("argument `{}` has a control character", shown(arg)));
    }
    Ok(())
}

/// Whether `base` may stand behind `under`: an absolute path (`/srv/x`) or an absolute URI (`file:///srv/x`),
/// lexically clean.
fn require_base(base: &str) -> Result<(), String> {
    let found = shown(base);
    let path = path_of(base).ok_or_else(|| {
        format!("`under` takes an absolute path or URI such as \"/srv/invoices\", found \"{found}\"")
    })?;
    if base.contains(['\0', '\\']) {
        return Err(format!(
            "`under` takes a path without NUL and backslash, found \"{found}\""
        ));
    }
    if path.split('/').any(|s| s == ".." || s == ".") || path.contains("//") {
        return Err(format!(
            "`under` takes a path without `.`, `..` and `//`, found \"{found}\""
        ));
    }
    if is_uri(base) && base.contains(['%', '?', '#']) {
        return Err(format!(
            "`under` takes a URI without `%`, `?` and `#`, found \"{found}\""
        ));
    }
    if !is_clean(base) {
        return Err(format!(
            "`under` takes a path without control characters and encoded `.`, `/` and `\\`, and a URI without \
             white space, found \"{found}\""
        ));
    }
    Ok(())
}

/// Whether the base of an `under` is a URI and not a path.
pub(crate) fn is_uri(base: &str) -> bool {
    !base.starts_with('/')
}

/// The path part of a base: itself, or what follows the authority of `scheme://authority/…`.
pub(crate) fn path_of(base: &str) -> Option<&str> {
    if base.starts_with('/') {
        return Some(base);
    }
    let (scheme, rest) = base.split_once("://")?;
    let mut letters = scheme.bytes();
    let grammar = letters.next().is_some_and(|b| b.is_ascii_alphabetic())
        && letters.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    if !grammar || scheme.bytes().any(|b| b.is_ascii_uppercase()) {
        return None;
    }
    let slash = rest.find('/')?;
    rest.get(slash..)
}
