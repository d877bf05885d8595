//! The grammar of scopes, `--can`:
//!
//! ```text
//! scope     = server ":" ( "*" | tool ) [ "(" [ item { "," item } ] ")" ]
//! item      = condition | rate
//! condition = arg ( "=" | "<=" | ">=" | "under" ) value | arg "in" "[" value { "," value } "]"
//! rate      = "rate" calls "/" seconds "s"                 (also "m" and "h")
//! arg       = member { "." member }
//! member    = letter-or-_ { letter, digit, _ or - } | text  (text without a point)
//! value     = text | whole | decimal | "true" | "false"
//! text      = '"' { character, \" \\ \n \r \t or \u{HEX} } '"'
//! decimal   = [ "-" ] digits "." 1*4digits
//! ```
//!
//! White space (blanks and tabs) may stand between any two parts inside the parentheses.

use std::fmt;
use std::time::Duration;

use bailiwick_base::{ServerName, ToolName};

use crate::error::ScopeError;
use crate::model::{Condition, Literal, Operator, Rate, Scope};
use crate::{CONDITIONS_MAX, RATE_WINDOW_MAX, SCOPE_MAX, VALUES_MAX};

/// Parses one scope.
///
/// # Errors
/// [`ScopeError`] with the byte where the reader stopped and what it expected there.
pub fn parse_scope(text: &str) -> Result<Scope, ScopeError> {
    if text.len() > SCOPE_MAX {
        return Err(ScopeError::new(
            SCOPE_MAX,
            format!("at most {SCOPE_MAX} bytes"),
            "",
        ));
    }
    let mut reader = Reader { text, at: 0 };
    let scope = reader.scope()?;
    match reader.rest() {
        "" => Ok(scope),
        rest => Err(ScopeError::new(reader.at, "the end", rest)),
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or("")
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn expected<T>(&self, what: impl Into<String>) -> Result<T, ScopeError> {
        Err(ScopeError::new(self.at, what, self.rest()))
    }

    fn blanks(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start_matches([' ', '\t']).len();
    }

    fn eat(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn require(&mut self, token: &str) -> Result<(), ScopeError> {
        if self.eat(token) {
            Ok(())
        } else {
            self.expected(format!("`{token}`"))
        }
    }

    fn span(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !fits(c)).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or("")
    }

    /// A word such as `in`: not the beginning of a longer one.
    fn word(&mut self, word: &str) -> bool {
        let fits = self
            .rest()
            .strip_prefix(word)
            .is_some_and(|after| !after.starts_with(is_member_char));
        if fits {
            self.at += word.len();
        }
        fits
    }

    fn scope(&mut self) -> Result<Scope, ScopeError> {
        let start = self.at;
        let server = self.span(|c| c != ':' && c != '(');
        let server = ServerName::parse(server)
            .map_err(|e| ScopeError::new(start, format!("a server name ({e})"), self.text))?;
        self.require(":")?;
        let start = self.at;
        let action = match self.span(|c| c != '(' && c != ' ' && c != '\t') {
            "*" => None,
            name => Some(ToolName::parse(name).map_err(|_| {
                ScopeError::new(start, "`*` or a tool name (A-Z, a-z, 0-9, _ - . and /)", name)
            })?),
        };
        let mut scope = Scope {
            server,
            action,
            conditions: Vec::new(),
            rate: None,
        };
        if self.eat("(") {
            self.items(&mut scope)?;
        }
        Ok(scope)
    }

    fn items(&mut self, scope: &mut Scope) -> Result<(), ScopeError> {
        self.blanks();
        if self.eat(")") {
            return Ok(());
        }
        loop {
            self.blanks();
            let start = self.at;
            if let Some(rate) = self.rate()? {
                if scope.rate.replace(rate).is_some() {
                    return Err(ScopeError::new(start, "one rate, not two", self.rest()));
                }
            } else {
                if scope.conditions.len() >= CONDITIONS_MAX {
                    return self.expected(format!("at most {CONDITIONS_MAX} conditions"));
                }
                scope.conditions.push(self.condition()?);
            }
            self.blanks();
            if self.eat(")") {
                return Ok(());
            }
            if !self.eat(",") {
                return self.expected("`,` or `)`");
            }
        }
    }

    /// `rate 10/60s`; an argument may be called `rate` too, then an operator follows.
    fn rate(&mut self) -> Result<Option<Rate>, ScopeError> {
        let start = self.at;
        if !self.word("rate") {
            return Ok(None);
        }
        self.blanks();
        if !self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.at = start;
            return Ok(None);
        }
        let at = self.at;
        let calls = self.digits();
        let calls = calls
            .parse::<u32>()
            .ok()
            .filter(|n| *n > 0)
            .ok_or_else(|| ScopeError::new(at, "a number of calls from 1 to 4294967295", calls))?;
        self.require("/")?;
        let at = self.at;
        let span = self.digits();
        let unit = match self.peek() {
            Some('s') => 1_u64,
            Some('m') => 60,
            Some('h') => 3600,
            _ => return self.expected("`s`, `m` or `h`"),
        };
        self.at += 1;
        let window = span
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(unit))
            .map(Duration::from_secs)
            .filter(|w| !w.is_zero() && *w <= RATE_WINDOW_MAX)
            .ok_or_else(|| ScopeError::new(at, "a window from 1s to 24h", span))?;
        Ok(Some(Rate { calls, window }))
    }

    fn digits(&mut self) -> &'a str {
        self.span(|c| c.is_ascii_digit())
    }

    fn condition(&mut self) -> Result<Condition, ScopeError> {
        let start = self.at;
        let arg = self.arg()?;
        self.blanks();
        let operator = self.operator()?;
        self.blanks();
        let values = if operator == Operator::In {
            self.list()?
        } else {
            vec![self.value()?]
        };
        let condition = Condition {
            arg,
            operator,
            values,
        };
        condition.require_valid().map_err(|problem| ScopeError {
            position: start,
            expected: "a condition that can hold".to_owned(),
            found: problem,
        })?;
        Ok(condition)
    }

    fn arg(&mut self) -> Result<String, ScopeError> {
        let mut arg = String::new();
        loop {
            let start = self.at;
            if self.peek() == Some('"') {
                let member = self.quoted()?;
                if member.is_empty() || member.contains('.') || member.contains(char::is_control) {
                    return Err(ScopeError::new(
                        start,
                        "a member name without a point",
                        self.rest(),
                    ));
                }
                arg.push_str(&member);
            } else if self.peek().is_some_and(|c| c.is_ascii_alphabetic() || c == '_') {
                arg.push_str(self.span(is_member_char));
            } else {
                return self.expected("an argument name");
            }
            if !self.eat(".") {
                return Ok(arg);
            }
            arg.push('.');
        }
    }

    fn operator(&mut self) -> Result<Operator, ScopeError> {
        for (sign, operator) in [
            ("<=", Operator::AtMost),
            (">=", Operator::AtLeast),
            ("=", Operator::Equal),
        ] {
            if self.eat(sign) {
                return Ok(operator);
            }
        }
        for (word, operator) in [("in", Operator::In), ("under", Operator::Under)] {
            if self.word(word) {
                return Ok(operator);
            }
        }
        self.expected("one of `=`, `<=`, `>=`, `in`, `under`")
    }

    fn list(&mut self) -> Result<Vec<Literal>, ScopeError> {
        self.require("[")?;
        let mut values = Vec::new();
        loop {
            self.blanks();
            if values.len() >= VALUES_MAX {
                return self.expected(format!("at most {VALUES_MAX} values"));
            }
            values.push(self.value()?);
            self.blanks();
            if self.eat("]") {
                return Ok(values);
            }
            if !self.eat(",") {
                return self.expected("`,` or `]`");
            }
        }
    }

    fn value(&mut self) -> Result<Literal, ScopeError> {
        match self.peek() {
            Some('"') => self.quoted().map(Literal::Text),
            Some(c) if c == '-' || c.is_ascii_digit() => self.number(),
            _ if self.word("true") => Ok(Literal::Bool(true)),
            _ if self.word("false") => Ok(Literal::Bool(false)),
            _ => self.expected("a value: \"text\", a number, true or false"),
        }
    }

    fn number(&mut self) -> Result<Literal, ScopeError> {
        let start = self.at;
        let negative = self.eat("-");
        let whole = self.digits();
        if whole.is_empty() {
            return self.expected("digits");
        }
        let fraction = if self.eat(".") { Some(self.digits()) } else { None };
        let text = self.text.get(start..self.at).unwrap_or("");
        let wrong = |what: &str| ScopeError::new(start, what, text);
        match fraction {
            None => text
                .parse()
                .map(Literal::Integer)
                .map_err(|_| wrong("a whole number of 64 bits")),
            Some(fraction) => decimal(negative, whole, fraction)
                .map(Literal::Decimal)
                .ok_or_else(|| {
                    wrong("a decimal with 1 to 4 digits behind the point, at most 922337203685477.5807")
                }),
        }
    }

    fn quoted(&mut self) -> Result<String, ScopeError> {
        self.require("\"")?;
        let mut out = String::new();
        loop {
            out.push_str(self.span(|c| c != '"' && c != '\\' && !c.is_control()));
            if self.eat("\"") {
                return Ok(out);
            }
            if !self.eat("\\") {
                return self.expected("a closing `\"` (write control characters as \\u{…})");
            }
            out.push(self.escape()?);
        }
    }

    fn escape(&mut self) -> Result<char, ScopeError> {
        for (sign, c) in [("\"", '"'), ("\\", '\\'), ("n", '\n'), ("r", '\r'), ("t", '\t')] {
            if self.eat(sign) {
                return Ok(c);
            }
        }
        let start = self.at;
        if self.eat("u{") {
            let hex = self.span(|c| c.is_ascii_hexdigit());
            let c = u32::from_str_radix(hex, 16)
                .ok()
                .filter(|_| hex.len() <= 6)
                .and_then(char::from_u32);
            let c =
                c.ok_or_else(|| ScopeError::new(start, "a code point of 1 to 6 hexadecimal digits", hex))?;
            self.require("}")?;
            return Ok(c);
        }
        self.expected("one of \\\" \\\\ \\n \\r \\t \\u{…}")
    }
}

fn is_member_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '-'
}

/// `whole.fraction` times 10,000, exactly.
pub(crate) fn decimal(negative: bool, whole: &str, fraction: &str) -> Option<i64> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 4 {
        return None;
    }
    let missing = 4 - fraction.len();
    let digits = format!(
        "{}{whole}{fraction}{}",
        if negative { "-" } else { "" },
        "0".repeat(missing)
    );
    digits.parse().ok()
}

impl Scope {
    /// The coarse form that a token's `scope` carries (RFC 6749 §3.3): `server:tool` or `server:*`.
    #[must_use]
    pub fn coarse(&self) -> String {
        match &self.action {
            Some(action) => format!("{}:{action}", self.server),
            None => format!("{}:*", self.server),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.coarse())?;
        if self.conditions.is_empty() && self.rate.is_none() {
            return Ok(());
        }
        f.write_str("(")?;
        for (n, condition) in self.conditions.iter().enumerate() {
            if n > 0 {
                f.write_str(", ")?;
            }
            condition.fmt(f)?;
        }
        if let Some(rate) = &self.rate {
            if !self.conditions.is_empty() {
                f.write_str(", ")?;
            }
            write!(f, "rate {}/{}s", rate.calls, rate.window.as_secs())?;
        }
        f.write_str(")")
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, member) in self.arg.split('.').enumerate() {
            if n > 0 {
                f.write_str(".")?;
            }
            if member.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && member.chars().all(is_member_char)
            {
                f.write_str(member)?;
            } else {
                quote(member, f)?;
            }
        }
        write!(f, " {} ", self.operator.as_str())?;
        if self.operator != Operator::In {
            return self.values.iter().try_for_each(|v| v.fmt(f));
        }
        f.write_str("[")?;
        for (n, value) in self.values.iter().enumerate() {
            if n > 0 {
                f.write_str(", ")?;
            }
            value.fmt(f)?;
        }
        f.write_str("]")
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(b) => b.fmt(f),
            Self::Decimal(n) => f.write_str(&decimal_text(*n)),
            Self::Integer(n) => n.fmt(f),
            Self::Text(text) => quote(text, f),
        }
    }
}

/// A decimal that is stored times 10,000, as text with one to four digits behind the point.
pub(crate) fn decimal_text(n: i64) -> String {
    let sign = if n < 0 { "-" } else { "" };
    let magnitude = n.unsigned_abs();
    let scale = Literal::DECIMAL_SCALE.unsigned_abs();
    let fraction = format!("{:04}", magnitude % scale);
    let fraction = fraction.trim_end_matches('0');
    format!(
        "{sign}{}.{}",
        magnitude / scale,
        if fraction.is_empty() { "0" } else { fraction }
    )
}

fn quote(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("\"")?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            c if c.is_control() => write!(f, "\\u{{{:x}}}", u32::from(c))?,
            c => write!(f, "{c}")?,
        }
    }
    f.write_str("\"")
}
