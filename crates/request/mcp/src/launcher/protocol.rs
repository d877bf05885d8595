//! The frames between server and launcher: length, kind, program number, payload.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes of one frame.
pub(super) const FRAME_MAX: usize = 1024 * 1024;
const HEAD: usize = 9;

/// What a frame is. The numbers are the wire form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// To the launcher: start this program (JSON).
    Start = 1,
    /// To the launcher: bytes for its standard input.
    Input = 2,
    /// To the launcher: end it.
    Stop = 3,
    /// From the launcher: it runs.
    Started = 4,
    /// From the launcher: it was not started (text).
    Refused = 5,
    /// From the launcher: bytes of its standard output.
    Output = 6,
    /// From the launcher: it ended (text).
    Ended = 7,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        [
            Self::Start,
            Self::Input,
            Self::Stop,
            Self::Started,
            Self::Refused,
            Self::Output,
            Self::Ended,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == byte)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) program: u64,
    pub(super) payload: Bytes,
}

impl Frame {
    pub(super) fn new(kind: Kind, program: u64, payload: impl Into<Bytes>) -> Self {
        Self {
            kind,
            program,
            payload: payload.into(),
        }
    }

    pub(super) fn write(&self, out: &mut BytesMut) {
        let length = u32::try_from(self.payload.len() + HEAD).unwrap_or(u32::MAX);
        out.reserve(4 + HEAD + self.payload.len());
        out.put_u32(length);
        out.put_u8(self.kind as u8);
        out.put_u64(self.program);
        out.put_slice(&self.payload);
    }
}

/// Reads frames from a byte stream.
pub(super) struct Reader<R> {
    stream: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    pub(super) fn new(stream: R) -> Self {
        Self {
            stream,
            buffer: BytesMut::with_capacity(16 * 1024),
        }
    }

    /// The next frame; `None` at the end of the stream.
    pub(super) async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = take(&mut self.buffer)? {
                return Ok(Some(frame));
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }
}

fn take(buffer: &mut BytesMut) -> io::Result<Option<Frame>> {
    let malformed = || io::Error::new(io::ErrorKind::InvalidData, "malformed frame");
    let Some(length) = buffer.first_chunk::<4>().map(|b| u32::from_be_bytes(*b) as usize) else {
        return Ok(None);
    };
    if !(HEAD..=FRAME_MAX + HEAD).contains(&length) {
        return Err(malformed());
    }
    if buffer.len() < 4 + length {
        buffer.reserve(4 + length - buffer.len());
        return Ok(None);
    }
    buffer.advance(4);
    let mut frame = buffer.split_to(length).freeze();
    let kind = Kind::from_byte(frame.get_u8()).ok_or_else(malformed)?;
    let program = frame.get_u64();
    Ok(Some(Frame {
        kind,
        program,
        payload: frame,
    }))
}
