//! Ways to write one character as several, undone with the place that each byte came from.

use std::ops::Range;

/// A way to write one character as several.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Coding {
    /// `\/`, `\"`, `\u0026` in a string of JSON.
    Json,
    /// `&amp;`, `&#38;`, `&#x26;` in HTML and XML.
    Markup,
    /// `%26` in an URL.
    Percent,
}

impl Coding {
    pub(crate) const ALL: [Self; 3] = [Self::Json, Self::Markup, Self::Percent];

    fn sign(self) -> u8 {
        match self {
            Self::Json => b'\\',
            Self::Markup => b'&',
            Self::Percent => b'%',
        }
    }

    fn begins(self, text: &[u8]) -> Begun {
        match self {
            Self::Json => json(text),
            Self::Markup => markup(text),
            Self::Percent => percent(text),
        }
    }
}

/// What stands at a sign.
enum Begun {
    /// So many bytes stand for this.
    Coded(usize, Coded),
    /// The text ends in the middle of it.
    Cut,
    /// A sign and nothing more.
    Plain,
}

enum Coded {
    Byte(u8),
    Char(char),
}

/// A text as it reads when a coding is undone.
pub(crate) struct Reading {
    pub(crate) text: Vec<u8>,
    /// Where each byte of it began in the source; at last where the source was left, which is its end, or the
    /// beginning of what is cut off.
    at: Vec<usize>,
}

impl Reading {
    /// The source as it is.
    pub(crate) fn of(source: &[u8]) -> Self {
        Self {
            text: source.to_vec(),
            at: (0..=source.len()).collect(),
        }
    }

    /// One coding undone; `None` when nothing in it is so written.
    pub(crate) fn without(&self, coding: Coding) -> Option<Self> {
        memchr::memchr(coding.sign(), &self.text)?;
        let (mut text, mut at) = (
            Vec::with_capacity(self.text.len()),
            Vec::with_capacity(self.at.len()),
        );
        let mut place = 0;
        let mut changed = false;
        while let Some(byte) = self.text.get(place).copied() {
            let begun = match byte == coding.sign() {
                true => coding.begins(self.text.get(place..).unwrap_or_default()),
                false => Begun::Plain,
            };
            let mut buffer = [byte, 0, 0, 0];
            let (taken, coded) = match begun {
                Begun::Plain => (1, 1),
                Begun::Coded(taken, Coded::Byte(coded)) => {
                    buffer = [coded, 0, 0, 0];
                    (taken, 1)
                }
                Begun::Coded(taken, Coded::Char(coded)) => (taken, coded.encode_utf8(&mut buffer).len()),
                Begun::Cut => {
                    changed = true;
                    break;
                }
            };
            changed |= taken > 1;
            text.extend(buffer.into_iter().take(coded));
            at.extend(std::iter::repeat_n(self.place(place), coded));
            place += taken;
        }
        at.push(self.place(place));
        changed.then_some(Self { text, at })
    }

    /// Where `range` of the text stands in the source.
    pub(crate) fn source(&self, range: Range<usize>) -> Range<usize> {
        self.place(range.start)..self.place(range.end)
    }

    /// Where the byte at `place` began in the source.
    pub(crate) fn place(&self, place: usize) -> usize {
        let last = || self.at.last().copied().unwrap_or_default();
        self.at.get(place).copied().unwrap_or_else(last)
    }
}

fn json(text: &[u8]) -> Begun {
    let byte = |coded| Begun::Coded(2, Coded::Byte(coded));
    match text.get(1) {
        None => Begun::Cut,
        Some(b'u') => unicode(text),
        Some(b'b') => byte(0x08),
        Some(b'f') => byte(0x0c),
        Some(b'n') => byte(b'\n'),
        Some(b'r') => byte(b'\r'),
        Some(b't') => byte(b'\t'),
        Some(c @ (b'"' | b'\\' | b'/' | b'\'')) => byte(*c),
        Some(_) => Begun::Plain,
    }
}

fn unicode(text: &[u8]) -> Begun {
    let high = match unit(text, 2) {
        Ok(high) => high,
        Err(begun) => return begun,
    };
    if let Some(c) = char::from_u32(high.into()) {
        return Begun::Coded(6, Coded::Char(c));
    }
    let rest = text
        .get(6..8)
        .unwrap_or_else(|| text.get(6..).unwrap_or_default());
    if rest.len() < 2 && b"\\u".starts_with(rest) {
        return Begun::Cut;
    }
    if rest != b"\\u" {
        return Begun::Plain;
    }
    match unit(text, 8) {
        Ok(low) => match char::decode_utf16([high, low]).next() {
            Some(Ok(c)) => Begun::Coded(12, Coded::Char(c)),
            _ => Begun::Plain,
        },
        Err(begun) => begun,
    }
}

fn unit(text: &[u8], at: usize) -> Result<u16, Begun> {
    let digits: Vec<u8> = text.iter().skip(at).take(4).copied().collect();
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(Begun::Plain);
    }
    if digits.len() < 4 {
        return Err(Begun::Cut);
    }
    let digits = std::str::from_utf8(&digits).map_err(|_| Begun::Plain)?;
    u16::from_str_radix(digits, 16).map_err(|_| Begun::Plain)
}

fn percent(text: &[u8]) -> Begun {
    let digits: Vec<u8> = text.iter().skip(1).take(2).copied().collect();
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return Begun::Plain;
    }
    if digits.len() < 2 {
        return Begun::Cut;
    }
    let coded = std::str::from_utf8(&digits).ok();
    match coded.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
        Some(byte) => Begun::Coded(3, Coded::Byte(byte)),
        None => Begun::Plain,
    }
}

/// The longest that is read, `&#x0010FFFF;`.
const ENTITY_MAX: usize = 12;

fn markup(text: &[u8]) -> Begun {
    let inner = text.iter().skip(1).take(ENTITY_MAX);
    let name: Vec<u8> = inner
        .copied()
        .take_while(|b| b.is_ascii_alphanumeric() || *b == b'#')
        .collect();
    if name.len() >= ENTITY_MAX {
        return Begun::Plain;
    }
    match text.get(1 + name.len()) {
        None => return Begun::Cut,
        Some(b';') => {}
        Some(_) => return Begun::Plain,
    }
    let coded = match name.as_slice() {
        b"amp" => Some('&'),
        b"apos" => Some('\''),
        b"gt" => Some('>'),
        b"lt" => Some('<'),
        b"quot" => Some('"'),
        [b'#', b'x' | b'X', digits @ ..] => number(digits, 16),
        [b'#', digits @ ..] => number(digits, 10),
        _ => None,
    };
    match coded {
        Some(c) => Begun::Coded(name.len() + 2, Coded::Char(c)),
        None => Begun::Plain,
    }
}

fn number(digits: &[u8], radix: u32) -> Option<char> {
    let digits = std::str::from_utf8(digits).ok()?;
    char::from_u32(u32::from_str_radix(digits, radix).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(coding: Coding, text: &str) -> Option<(String, usize)> {
        let read = Reading::of(text.as_bytes()).without(coding)?;
        let left = read.place(usize::MAX);
        Some((String::from_utf8(read.text).unwrap(), left))
    }

    #[test]
    fn what_is_coded_is_read_and_what_is_cut_waits() {
        for (coding, text, plain, left) in [
            (Coding::Json, r"a\/b\u0026\u003Cc\\", r"a/b&<c\", 19),
            (Coding::Json, r"\ud83e\udd80", "\u{1f980}", 12),
            (Coding::Json, r"a\u00", "a", 1),
            (Coding::Json, r"a\ud83e\u", "a", 1),
            (Coding::Markup, "a&amp;&#38;&#x26;&quot;b & c", "a&&&\"b & c", 28),
            (Coding::Markup, "a&am", "a", 1),
            (Coding::Percent, "%2F%2fa%", "//a", 7),
        ] {
            assert_eq!(read(coding, text), Some((plain.to_owned(), left)), "{text}");
        }
        for (coding, text) in [
            (Coding::Json, r"\x \uZZ"),
            (Coding::Markup, "a & b &nothing; c"),
            (Coding::Percent, "100% of %zz"),
        ] {
            assert_eq!(read(coding, text), None, "{text}");
        }
    }

    #[test]
    fn a_place_is_that_of_the_source_through_every_layer() {
        let source = br"xx%5Cu0026y";
        let read = Reading::of(source).without(Coding::Percent).unwrap();
        let read = read.without(Coding::Json).unwrap();
        assert_eq!(read.text, b"xx&y");
        assert_eq!(read.source(2..3), 2..10);
        assert_eq!(read.source(0..4), 0..source.len());
    }
}
