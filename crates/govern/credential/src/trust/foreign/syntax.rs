//! Words and signs of the small expression languages.

use super::{ForeignError, form};

/// One word or sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Name(String),
    Number(String),
    Sign(&'static str),
    Text(String),
}

/// Signs, the longer ones first.
const SIGNS: [&str; 16] = [
    "&&", "||", "==", "!=", "<=", ">=", "!", "(", ")", "[", "]", ",", ".", "<", ">", "+",
];

/// Takes a text apart.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, ForeignError> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while let Some(c) = rest.chars().next() {
        let raw = rest.starts_with("r'") || rest.starts_with("r\"");
        let taken = if raw || c == '\'' || c == '"' {
            let (value, length) = literal(rest, raw)?;
            found.push(Token::Text(value));
            length
        } else if c.is_ascii_digit() || c == '-' {
            let length = span(rest, |c| c.is_ascii_digit() || matches!(c, '-' | '.' | 'u'));
            found.push(Token::Number(rest.get(..length).unwrap_or_default().to_owned()));
            length
        } else if c.is_ascii_alphabetic() || c == '_' {
            let length = span(rest, |c| c.is_ascii_alphanumeric() || c == '_');
            found.push(Token::Name(rest.get(..length).unwrap_or_default().to_owned()));
            length
        } else {
            let sign = SIGNS.into_iter().find(|sign| rest.starts_with(sign));
            let sign = sign.ok_or_else(|| form(format!("`{c}` is not expected in an expression")))?;
            found.push(Token::Sign(sign));
            sign.len()
        };
        rest = rest.get(taken..).unwrap_or_default().trim_start();
    }
    Ok(found)
}

fn span(text: &str, is_part: impl Fn(char) -> bool) -> usize {
    text.find(|c| !is_part(c)).unwrap_or(text.len())
}

/// A text in quotes, and how long it is as written.
fn literal(text: &str, raw: bool) -> Result<(String, usize), ForeignError> {
    let open = || form("a text in the expression has no end");
    let start = usize::from(raw);
    let quote = text.chars().nth(start).ok_or_else(open)?;
    let mut value = String::new();
    let mut signs = text.char_indices().skip(start + 1);
    while let Some((at, c)) = signs.next() {
        match c {
            c if c == quote => return Ok((value, at + c.len_utf8())),
            '\\' if !raw => {
                let (_, escaped) = signs.next().ok_or_else(open)?;
                match escaped {
                    '\\' | '\'' | '"' | '`' | '?' => value.push(escaped),
                    'n' => value.push('\n'),
                    't' => value.push('\t'),
                    other => return Err(form(format!("`\\{other}` is not a known escape"))),
                }
            }
            c => value.push(c),
        }
    }
    Err(open())
}

/// Reads tokens one after the other.
pub(super) struct Cursor {
    tokens: Vec<Token>,
    at: usize,
}

impl Cursor {
    pub(super) fn new(text: &str) -> Result<Self, ForeignError> {
        Ok(Self {
            tokens: tokens(text)?,
            at: 0,
        })
    }

    pub(super) fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    pub(super) fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += usize::from(token.is_some());
        token
    }

    pub(super) fn take(&mut self, sign: &str) -> bool {
        let is_next = matches!(self.peek(), Some(Token::Sign(s)) if *s == sign);
        self.at += usize::from(is_next);
        is_next
    }

    pub(super) fn take_name(&mut self, name: &str) -> bool {
        let is_next = matches!(self.peek(), Some(Token::Name(n)) if n == name);
        self.at += usize::from(is_next);
        is_next
    }

    pub(super) fn require(&mut self, sign: &str) -> Result<(), ForeignError> {
        if self.take(sign) {
            return Ok(());
        }
        Err(form(format!("`{sign}` is expected in the expression")))
    }
}
