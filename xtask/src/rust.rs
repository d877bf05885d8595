//! A reader of Rust source that is just good enough for house rules: words, strings, items, tests.
//!
//! It does not parse. It splits source into tokens, so that a word in a comment or in a string is
//! never taken for a name, and then looks at short runs of tokens.

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    Other,
    Punctuation,
    Text,
    Word,
}

#[derive(Clone, Copy, Debug)]
pub struct Token<'a> {
    pub kind: Kind,
    /// For `Text` the literal with its quotes.
    pub text: &'a str,
    pub line: usize,
}

/// A named item and the line of its name.
#[derive(Debug, Eq, PartialEq)]
pub struct Item<'a> {
    pub keyword: &'a str,
    pub name: &'a str,
    pub line: usize,
}

struct Reader<'a> {
    source: &'a str,
    at: usize,
    line: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        self.source.get(self.at..).unwrap_or_default()
    }

    fn take(&mut self, length: usize) -> &'a str {
        let end = (self.at + length).min(self.source.len());
        let taken = self.source.get(self.at..end).unwrap_or_default();
        self.line += taken.matches('\n').count();
        self.at = end;
        taken
    }

    fn comment(&self) -> Option<usize> {
        let rest = self.rest();
        if rest.starts_with("//") {
            return Some(rest.find('\n').unwrap_or(rest.len()));
        }
        if !rest.starts_with("/*") {
            return None;
        }
        let (mut depth, mut at) = (0_usize, 0_usize);
        loop {
            let left = rest.get(at..).unwrap_or_default();
            if left.is_empty() {
                return Some(rest.len());
            } else if left.starts_with("/*") {
                depth += 1;
                at += 2;
            } else if left.starts_with("*/") {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return Some(at);
                }
            } else {
                at += left.chars().next().map_or(1, char::len_utf8);
            }
        }
    }

    fn raw_text(&self) -> Option<usize> {
        let rest = self.rest();
        let prefix = ["r", "br", "cr"].into_iter().find(|prefix| {
            let after = rest
                .strip_prefix(prefix)
                .map(|after| after.trim_start_matches('#'));
            after.is_some_and(|after| after.starts_with('"'))
        })?;
        let after = rest.strip_prefix(prefix)?;
        let hashes = after.len() - after.trim_start_matches('#').len();
        let open = prefix.len() + hashes + 1;
        let close = format!("\"{}", "#".repeat(hashes));
        let body = rest.get(open..)?;
        Some(
            body.find(&close)
                .map_or(rest.len(), |found| open + found + close.len()),
        )
    }

    fn text(&self) -> Option<usize> {
        let rest = self.rest();
        let open = ["\"", "b\"", "c\""]
            .into_iter()
            .find(|open| rest.starts_with(open))?
            .len();
        Some(quoted(rest, open, '"'))
    }

    /// A character literal, as against a lifetime.
    fn character(&self) -> Option<usize> {
        let rest = self.rest();
        let open = ["'", "b'"].into_iter().find(|open| rest.starts_with(open))?.len();
        let mut after = rest.get(open..)?.chars();
        let first = after.next()?;
        let closes = first == '\\' || after.next() == Some('\'');
        closes.then(|| quoted(rest, open, '\''))
    }

    fn word(&self) -> Option<usize> {
        let rest = self.rest();
        let first = rest.chars().next()?;
        if !(first.is_alphabetic() || first == '_') {
            return None;
        }
        Some(
            rest.find(|c: char| !(c.is_alphanumeric() || c == '_'))
                .unwrap_or(rest.len()),
        )
    }

    fn number(&self) -> Option<usize> {
        let rest = self.rest();
        rest.chars().next().filter(char::is_ascii_digit)?;
        Some(
            rest.find(|c: char| !(c.is_alphanumeric() || c == '_'))
                .unwrap_or(rest.len()),
        )
    }

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            let blank = self.rest().len() - self.rest().trim_start().len();
            self.take(blank);
            match self.comment() {
                Some(length) => self.take(length),
                None => break,
            };
        }
        let (line, first) = (self.line, self.rest().chars().next()?);
        let (kind, length) = if let Some(length) = self.raw_text().or_else(|| self.text()) {
            (Kind::Text, length)
        } else if let Some(length) = self.character() {
            (Kind::Other, length)
        } else if let Some(length) = self.word() {
            (Kind::Word, length)
        } else if let Some(length) = self.number() {
            (Kind::Other, length)
        } else {
            (Kind::Punctuation, first.len_utf8())
        };
        Some(Token {
            kind,
            text: self.take(length),
            line,
        })
    }
}

/// Length up to and including the closing quote, with escapes skipped.
fn quoted(rest: &str, open: usize, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip_while(|(at, _)| *at < open) {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == quote {
            return at + c.len_utf8();
        }
    }
    rest.len()
}

#[must_use]
pub fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut reader = Reader {
        source,
        at: 0,
        line: 1,
    };
    std::iter::from_fn(|| reader.next()).collect()
}

/// Everything declared with a keyword and a name, nested items too.
#[must_use]
pub fn items<'a>(tokens: &[Token<'a>]) -> Vec<Item<'a>> {
    const KEYWORDS: [&str; 8] = ["const", "enum", "fn", "mod", "static", "struct", "trait", "union"];
    let follows = tokens.windows(2).filter_map(|pair| match pair {
        [keyword, name] if keyword.kind == Kind::Word && name.kind == Kind::Word => Some((keyword, name)),
        _ => None,
    });
    follows
        .filter(|(keyword, name)| KEYWORDS.contains(&keyword.text) && !KEYWORDS.contains(&name.text))
        .filter(|(_, name)| !matches!(name.text, "unsafe" | "async" | "extern" | "mut"))
        .map(|(keyword, name)| Item {
            keyword: keyword.text,
            name: name.text,
            line: name.line,
        })
        .collect()
}

/// Names of functions that carry a `#[test]`, `#[tokio::test]` or similar attribute.
#[must_use]
pub fn tests<'a>(tokens: &[Token<'a>]) -> Vec<&'a str> {
    let mut found = Vec::new();
    let mut pending = false;
    let mut rest = tokens;
    while let Some((token, after)) = rest.split_first() {
        rest = after;
        match token.text {
            "#" => {
                let (attribute, after) = attribute(after);
                pending |= is_test(attribute);
                rest = after;
            }
            "fn" if pending => {
                found.extend(after.first().map(|name| name.text));
                pending = false;
            }
            ";" | "{" | "}" => pending = false,
            _ => {}
        }
    }
    found
}

/// The tokens between the brackets after `#`, and what follows them.
fn attribute<'t, 'a>(tokens: &'t [Token<'a>]) -> (&'t [Token<'a>], &'t [Token<'a>]) {
    let mut depth = 0_usize;
    for (at, token) in tokens.iter().enumerate() {
        match token.text {
            "[" => depth += 1,
            "]" => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return (
                        tokens.get(1..at).unwrap_or_default(),
                        tokens.get(at + 1..).unwrap_or_default(),
                    );
                }
            }
            _ if depth == 0 && token.text != "!" => break,
            _ => {}
        }
    }
    (&[], tokens)
}

fn is_test(attribute: &[Token<'_>]) -> bool {
    let path = attribute
        .iter()
        .take_while(|token| token.kind == Kind::Word || token.text == ":");
    path.last().is_some_and(|last| last.text == "test")
}
