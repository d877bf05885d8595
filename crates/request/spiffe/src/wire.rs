//! What clients of others write on a Unix socket, as an HTTP/2 server takes it.
//!
//! The C core of gRPC, and with it its libraries for Python and others, names the path of the socket, escaped, as
//! the `:authority` of each request (grpc/grpc#38142). That is no authority, and HTTP/2 servers refuse it with a
//! protocol error before a request is seen (hyperium/h2#487). Nothing here depends on it: whatever stands there is
//! `localhost` from here on. Every other frame passes as it is.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, BufMut as _, BytesMut};
use fluke_hpack::Decoder;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;

const PREFACE_LEN: usize = 24;
const HEAD_LEN: usize = 9;
/// RFC 9113 §6.5.2: what a frame holds at most unless more was offered, which it is not.
const FRAME_MAX: usize = 16_384;
/// Bytes of the headers of one request, packed and unpacked.
const HEADERS_MAX: usize = 16_000;
/// RFC 9113 §6.5.2: the size of the table of headers unless another was offered.
const TABLE_MAX: usize = 4_096;
const HEADERS: u8 = 0x1;
const CONTINUATION: u8 = 0x9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// RFC 7541 §6.2.3: a literal with its name, never indexed.
const NEVER_INDEXED: u8 = 0x10;

/// Headers of a request that have not ended yet.
struct Block {
    stream: u32,
    ends: bool,
    packed: BytesMut,
}

/// Reads frames, and gives them on.
pub(crate) struct Frames {
    taken: BytesMut,
    given: BytesMut,
    begun: bool,
    block: Option<Block>,
    table: Decoder<'static>,
}

fn broken(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl Frames {
    pub(crate) fn new() -> Self {
        let mut table = Decoder::new();
        table.set_max_allowed_table_size(TABLE_MAX);
        Self {
            taken: BytesMut::new(),
            given: BytesMut::new(),
            begun: false,
            block: None,
            table,
        }
    }

    /// Takes what arrived; whole frames are given on.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.taken.extend_from_slice(bytes);
        if !self.begun {
            if self.taken.len() < PREFACE_LEN {
                return Ok(());
            }
            self.given.put(self.taken.split_to(PREFACE_LEN));
            self.begun = true;
        }
        while let Some(frame) = self.frame()? {
            self.pass(frame)?;
        }
        Ok(())
    }

    /// What is ready.
    pub(crate) fn given(&mut self) -> &mut BytesMut {
        &mut self.given
    }

    fn frame(&mut self) -> io::Result<Option<BytesMut>> {
        let mut head: &[u8] = &self.taken;
        if head.len() < HEAD_LEN {
            return Ok(None);
        }
        let length = usize::try_from(head.get_uint(3)).unwrap_or(usize::MAX);
        if length > FRAME_MAX {
            return Err(broken("a frame is too long"));
        }
        let whole = HEAD_LEN + length;
        Ok((self.taken.len() >= whole).then(|| self.taken.split_to(whole)))
    }

    fn pass(&mut self, frame: BytesMut) -> io::Result<()> {
        let mut rest = frame.clone();
        rest.advance(3);
        let (kind, flags, stream) = (rest.get_u8(), rest.get_u8(), rest.get_u32());
        let mut block = match (kind, self.block.take()) {
            (CONTINUATION, Some(mut block)) if block.stream == stream => {
                block.packed.put(rest);
                block
            }
            (_, Some(_)) => return Err(broken("headers are interrupted")),
            (HEADERS, None) => Block {
                stream,
                ends: flags & END_STREAM != 0,
                packed: unpadded(rest, flags).ok_or_else(|| broken("headers are malformed"))?,
            },
            (_, None) => {
                self.given.put(frame);
                return Ok(());
            }
        };
        if block.packed.len() > HEADERS_MAX {
            return Err(broken("headers are too long"));
        }
        if flags & END_HEADERS == 0 {
            self.block = Some(block);
            return Ok(());
        }
        let packed = block.packed.split();
        self.give_headers(&block, &packed)
    }

    fn give_headers(&mut self, block: &Block, packed: &[u8]) -> io::Result<()> {
        let mut out = BytesMut::new();
        let mut fits = true;
        let read = self.table.decode_with_cb(packed, |name, value| {
            // What does not fit is read on, for the table, and not kept.
            fits &= out.len() + name.len() + value.len() < HEADERS_MAX;
            if fits {
                let value: &[u8] = if *name == *b":authority" {
                    b"localhost"
                } else {
                    &value
                };
                out.put_u8(NEVER_INDEXED);
                text(&mut out, &name);
                text(&mut out, value);
            }
        });
        if read.is_err() || !fits {
            return Err(broken("headers cannot be read, or are too long"));
        }
        self.given.put_uint(out.len() as u64, 3);
        self.given.put_u8(HEADERS);
        let end = if block.ends { END_STREAM } else { 0 };
        self.given.put_u8(END_HEADERS | end);
        self.given.put_u32(block.stream);
        self.given.put(out);
        Ok(())
    }
}

/// The block of a frame of headers, without padding and priority (RFC 9113 §6.2).
fn unpadded(mut rest: BytesMut, flags: u8) -> Option<BytesMut> {
    let padding = if flags & PADDED == 0 {
        0
    } else {
        usize::from(rest.try_get_u8().ok()?)
    };
    if flags & PRIORITY != 0 {
        (rest.len() >= 5).then(|| rest.advance(5))?;
    }
    let kept = rest.len().checked_sub(padding)?;
    rest.truncate(kept);
    Some(rest)
}

/// RFC 7541 §5.1 and §5.2: the length in seven bits and what follows, then the text as it is.
fn text(out: &mut BytesMut, bytes: &[u8]) {
    const FIRST: usize = 127;
    if bytes.len() < FIRST {
        out.put_u8(u8::try_from(bytes.len()).unwrap_or(0));
    } else {
        out.put_u8(0x7f);
        let mut rest = bytes.len() - FIRST;
        while rest >= 128 {
            out.put_u8(u8::try_from(rest % 128).unwrap_or(0) | 0x80);
            rest /= 128;
        }
        out.put_u8(u8::try_from(rest).unwrap_or(0));
    }
    out.extend_from_slice(bytes);
}

/// A connection whose requests all name `localhost`.
pub(crate) struct Tamed {
    stream: UnixStream,
    frames: Frames,
}

impl Tamed {
    pub(crate) fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            frames: Frames::new(),
        }
    }
}

impl AsyncRead for Tamed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let this = &mut *self;
            let ready = this.frames.given();
            if !ready.is_empty() {
                let some = ready.len().min(into.remaining());
                into.put_slice(&ready.split_to(some));
                return Poll::Ready(Ok(()));
            }
            let mut room = [0_u8; 4_096];
            let mut read = ReadBuf::new(&mut room);
            ready!(Pin::new(&mut this.stream).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.frames.take(read.filled())?;
        }
    }
}

impl AsyncWrite for Tamed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::{END_HEADERS, END_STREAM, Frames, HEADERS, PADDED, PREFACE_LEN, PRIORITY};

    fn frame(kind: u8, flags: u8, stream: u32, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len()).unwrap_or_default().to_be_bytes();
        let mut out = length.iter().skip(1).copied().collect::<Vec<_>>();
        out.extend([kind, flags]);
        out.extend(stream.to_be_bytes());
        out.extend(body);
        out
    }

    /// `:method: POST` by index, and a literal `:authority` that is a path.
    fn packed() -> Vec<u8> {
        let mut out = vec![0x83, 0x41, 11];
        out.extend(b"%2Ftmp%2Fso");
        out
    }

    fn passed(bytes: &[u8], step: usize) -> Option<Vec<u8>> {
        let mut frames = Frames::new();
        let mut out = Vec::new();
        let mut whole = vec![b'P'; PREFACE_LEN];
        whole.extend(bytes);
        for part in whole.chunks(step) {
            frames.take(part).ok()?;
            out.extend(frames.given().split());
        }
        Some(out.split_off(PREFACE_LEN))
    }

    fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
        bytes.windows(wanted.len()).any(|part| part == wanted)
    }

    #[test]
    fn the_authority_is_localhost_however_it_arrives() {
        let plain = frame(HEADERS, END_HEADERS | END_STREAM, 1, &packed());
        let mut padded = vec![2, 0, 0, 0, 0, 7];
        padded.extend(packed());
        padded.extend([0, 0]);
        let padded = frame(HEADERS, END_HEADERS | END_STREAM | PADDED | PRIORITY, 1, &padded);
        let packed = packed();
        let (first, second) = packed.split_at(5);
        let mut cut = frame(HEADERS, END_STREAM, 1, first);
        cut.extend(frame(9, END_HEADERS, 1, second));
        let expected = passed(&plain, 1_000);
        for (bytes, step) in [
            (&plain, 1),
            (&padded, 1_000),
            (&padded, 3),
            (&cut, 1_000),
            (&cut, 1),
        ] {
            assert_eq!(passed(bytes, step), expected);
        }
        let expected = expected.unwrap_or_default();
        assert!(holds(&expected, b":authority\x09localhost") && holds(&expected, b":method\x04POST"));
        assert!(!holds(&expected, b"%2F"));
    }

    #[test]
    fn the_table_is_kept_over_requests_and_other_frames_pass_as_they_are() {
        let ping = frame(6, 0, 0, b"12345678");
        let mut bytes = frame(HEADERS, END_HEADERS, 1, &packed());
        bytes.extend(&ping);
        // The authority of before, by its place in the table.
        bytes.extend(frame(HEADERS, END_HEADERS, 3, &[0x83, 0xbe]));
        let out = passed(&bytes, 7).unwrap_or_default();
        assert!(holds(&out, &ping));
        let count = out.windows(9).filter(|part| part == b"localhost").count();
        assert_eq!(count, 2);
    }

    #[test]
    fn what_is_malformed_or_too_much_ends_the_connection() {
        let mut interrupted = frame(HEADERS, 0, 1, &packed());
        interrupted.extend(frame(6, 0, 0, b"12345678"));
        // One large entry in the table, then many references to it.
        let mut bomb = vec![0x40, 1, b'a', 0x7f, 0x81, 0x17];
        bomb.extend(vec![b'x'; 3_072]);
        bomb.extend(vec![0xbe; 4_000]);
        for bytes in [
            frame(HEADERS, END_HEADERS, 1, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            frame(HEADERS, END_HEADERS | PADDED, 1, &[200, 0x83]),
            frame(HEADERS, END_HEADERS, 1, &bomb),
            vec![0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0],
            interrupted,
        ] {
            assert_eq!(passed(&bytes, 100), None);
        }
    }
}
