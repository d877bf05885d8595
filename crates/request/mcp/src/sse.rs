//! Server-sent events: written to callers, read from upstream servers (WHATWG HTML, section 9.2).

use bytes::{BufMut, Bytes, BytesMut};

use crate::error::UpstreamError;

/// `text` as one event of type `message`. JSON has no raw line breaks, so one `data` line is enough; other
/// text is split.
pub(crate) fn event(text: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(text.len() + 24);
    out.put_slice(b"event: message\n");
    for line in text.split(|b| *b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        out.put_slice(b"data: ");
        // A carriage return inside a line would end it for the reader.
        out.extend(line.iter().map(|b| if *b == b'\r' { b' ' } else { *b }));
        out.put_slice(b"\n");
    }
    out.put_slice(b"\n");
    out.freeze()
}

/// A comment that keeps a connection open.
pub(crate) const KEEP_ALIVE: Bytes = Bytes::from_static(b": keep-alive\n\n");

/// Takes a stream of bytes apart into the `data` of its events.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    buffer: BytesMut,
    /// How much of `buffer` was searched for a line end.
    searched: usize,
    event: Vec<u8>,
    has_data: bool,
    max: usize,
    after_return: bool,
}

impl Decoder {
    /// A decoder that refuses lines and events longer than `max`.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max,
            ..Self::default()
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The data of the next whole event. Events without data (the priming event of some servers) are skipped.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, UpstreamError> {
        while let Some(line) = self.line()? {
            if line.is_empty() {
                let data = std::mem::take(&mut self.event);
                if std::mem::take(&mut self.has_data) && !data.is_empty() {
                    return Ok(Some(Bytes::from(data)));
                }
                continue;
            }
            self.field(&line)?;
        }
        Ok(None)
    }

    fn field(&mut self, line: &[u8]) -> Result<(), UpstreamError> {
        let Some(rest) = line.strip_prefix(b"data") else {
            return Ok(());
        };
        let value = match rest.split_first() {
            None => &[],
            Some((b':', value)) => value.strip_prefix(b" ").unwrap_or(value),
            Some(_) => return Ok(()),
        };
        if self.has_data {
            self.event.push(b'\n');
        }
        self.has_data = true;
        if self.event.len() + value.len() > self.max {
            return Err(UpstreamError::TooLong(self.max));
        }
        self.event.extend_from_slice(value);
        Ok(())
    }

    /// The next line without its end: LF, CR LF, or CR alone.
    fn line(&mut self) -> Result<Option<BytesMut>, UpstreamError> {
        if self.after_return && self.buffer.first() == Some(&b'\n') {
            let _ = self.buffer.split_to(1);
        }
        if !self.buffer.is_empty() {
            self.after_return = false;
        }
        let unsearched = self.buffer.get(self.searched..).unwrap_or_default();
        let Some(at) = unsearched.iter().position(|b| matches!(b, b'\n' | b'\r')) else {
            self.searched = self.buffer.len();
            if self.searched > self.max.saturating_add(16) {
                return Err(UpstreamError::TooLong(self.max));
            }
            return Ok(None);
        };
        let mut line = self.buffer.split_to(self.searched + at + 1);
        self.searched = 0;
        self.after_return = line.last() == Some(&b'\r');
        line.truncate(line.len().saturating_sub(1));
        Ok(Some(line))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Decoder, event};

    fn decoded(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut decoder = Decoder::new(1 << 20);
        let mut out = Vec::new();
        for piece in pieces {
            decoder.push(piece);
            while let Ok(Some(data)) = decoder.next() {
                out.push(data.to_vec());
            }
        }
        out
    }

    #[test]
    fn a_stream_of_every_line_end() {
        let stream = b": hello\n\nid: 7\ndata:\n\nevent: message\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\ndata:x\r\rdata\n\nretry: 1\n\ndata: y\n\n";
        assert_eq!(
            decoded(&[stream]),
            [b"{\"a\":\n1}".to_vec(), b"x".to_vec(), b"y".to_vec()]
        );
    }

    #[test]
    fn a_line_that_never_ends_is_refused() {
        let mut decoder = Decoder::new(100);
        decoder.push(&[b'x'; 200]);
        assert!(decoder.next().is_err());
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(text in "[^\r]{1,64}") {
            prop_assert_eq!(decoded(&[&event(text.as_bytes())]), vec![text.into_bytes()]);
        }

        #[test]
        fn where_it_is_cut_does_not_matter(
            bytes in proptest::collection::vec(proptest::sample::select(b"data: x\r\n:".to_vec()), 0..64),
            at in 0_usize..64,
        ) {
            let at = at.min(bytes.len());
            let (left, right) = bytes.split_at(at);
            prop_assert_eq!(decoded(&[&bytes]), decoded(&[left, right]));
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            prop_assert_eq!(decoded(&[&bytes]), decoded(&single));
        }

        #[test]
        fn any_bytes_are_taken(bytes in any::<Vec<u8>>()) {
            let _ = decoded(&[&bytes]);
        }
    }
}
