//! A stream to an agent, which ends when the agent takes nothing for long.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// A stream that breaks when what is written finds no room for `max`. HTTP libraries wait for ever there, and look at
/// nothing else meanwhile.
pub struct Patient<S> {
    stream: S,
    max: Duration,
    /// Present while something waits for room.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> Patient<S> {
    /// `stream`, whose peer may take nothing for `max` at most.
    pub fn new(stream: S, max: Duration) -> Self {
        Self {
            stream,
            max,
            waiting: None,
        }
    }

    /// What a write came to: anything but waiting for too long is as it is.
    fn within<T>(&mut self, written: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let max = self.max;
        #[expect(
            clippy::disallowed_methods,
            reason = "it is polled beside a write, where a timeout cannot be wrapped around"
        )]
        let timer = self
            .waiting
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(max)));
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.within(written, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.within(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Of TCP it is at once; it says nothing of room.
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_given_up_and_who_takes_a_little_is_not() {
        let (mut reader, near) = tokio::io::duplex(4);
        let mut writer = Patient::new(near, Duration::from_secs(60));
        let reads = async {
            for _ in 0..10 {
                let _paused =
                    tokio::time::timeout(Duration::from_secs(50), std::future::pending::<()>()).await;
                reader.read_u8().await.unwrap();
            }
        };
        let (_, written) = tokio::join!(reads, writer.write_all(&[0; 14]));
        written.unwrap();
        let broken = writer.write_all(&[0; 1]).await.unwrap_err();
        assert_eq!(broken.kind(), io::ErrorKind::TimedOut);
    }
}
