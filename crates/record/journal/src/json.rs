//! Canonical JSON (RFC 8785) written directly, for the hot path. Callers give members in order; a test holds
//! the result against `base::canonical`.

/// Writes one object into a buffer.
pub(crate) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
    #[cfg(debug_assertions)]
    last: &'static str,
}

impl<'a> Writer<'a> {
    pub(crate) fn object(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self {
            out,
            first: true,
            #[cfg(debug_assertions)]
            last: "",
        }
    }

    /// Begins a member. Names are ASCII, so their byte order is the UTF-16 order that RFC 8785 asks for.
    fn member(&mut self, name: &'static str) -> &mut Vec<u8> {
        #[cfg(debug_assertions)]
        {
            debug_assert!(self.first || self.last < name, "`{name}` after `{}`", self.last);
            self.last = name;
        }
        if !self.first {
            self.out.push(b',');
        }
        self.first = false;
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    pub(crate) fn text(&mut self, name: &'static str, value: &str) {
        push_text(self.member(name), value);
    }

    /// Text that cannot need an escape, from its `Display`: ids, digests, names of ours.
    pub(crate) fn shown(&mut self, name: &'static str, value: &dyn std::fmt::Display) {
        push_shown(self.member(name), value);
    }

    pub(crate) fn number(&mut self, name: &'static str, value: impl Into<i128>) {
        push_number(self.member(name), value.into());
    }

    /// A value that is canonical already.
    pub(crate) fn raw(&mut self, name: &'static str, value: &[u8]) {
        self.member(name).extend_from_slice(value);
    }

    /// A list of values, each pushed by `push`.
    pub(crate) fn list<T>(
        &mut self,
        name: &'static str,
        values: impl IntoIterator<Item = T>,
        push: impl Fn(&mut Vec<u8>, T),
    ) {
        let out = self.member(name);
        out.push(b'[');
        for (position, value) in values.into_iter().enumerate() {
            if position > 0 {
                out.push(b',');
            }
            push(out, value);
        }
        out.push(b']');
    }

    /// An object inside.
    pub(crate) fn nested(&mut self, name: &'static str, fill: impl FnOnce(&mut Writer<'_>)) {
        let out = self.member(name);
        let mut inner = Writer::object(out);
        fill(&mut inner);
        inner.end();
    }

    pub(crate) fn end(self) {
        self.out.push(b'}');
    }
}

/// Text as RFC 8785 §3.2.2.2 writes it.
pub(crate) fn push_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let plain = |byte: &u8| *byte >= 0x20 && *byte != b'"' && *byte != b'\\';
    if bytes.iter().all(plain) {
        out.extend_from_slice(bytes);
    } else {
        for byte in bytes {
            push_escaped(out, *byte);
        }
    }
    out.push(b'"');
}

fn push_escaped(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        0x08 => out.extend_from_slice(b"\\b"),
        0x09 => out.extend_from_slice(b"\\t"),
        0x0a => out.extend_from_slice(b"\\n"),
        0x0c => out.extend_from_slice(b"\\f"),
        0x0d => out.extend_from_slice(b"\\r"),
        0x00..0x20 => {
            const DIGITS: [u8; 16] = *b"0123456789abcdef";
            out.extend_from_slice(b"\\u00");
            out.push(if byte < 0x10 { b'0' } else { b'1' });
            out.push(DIGITS.get(usize::from(byte & 0x0f)).copied().unwrap_or(b'0'));
        }
        _ => out.push(byte),
    }
}

/// `Display` text that needs no escape.
pub(crate) fn push_shown(out: &mut Vec<u8>, value: &dyn std::fmt::Display) {
    use std::io::Write as _;
    out.push(b'"');
    // Writing to a vector cannot fail; a `Display` that fails leaves the text short, never the JSON broken.
    let _infallible = write!(out, "{value}");
    out.push(b'"');
}

fn push_number(out: &mut Vec<u8>, value: i128) {
    use std::io::Write as _;
    let _infallible = write!(out, "{value}");
}
