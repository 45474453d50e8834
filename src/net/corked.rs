//! A stream whose small writes are gathered for as long as its connection has its turn.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are gathered at most: two records of TLS.
const GATHERED_MAX: usize = 32 * 1024;
/// What is written by so many bytes at once goes out as it is.
const LARGE: usize = 16 * 1024;

/// A stream that h2 writes to. It sends each frame of data by itself, and flushes behind it: each answer of a hundred would be one call of
/// the system and one record of TLS. Here a flush does nothing; who drives the connection calls [`Corked::poll_uncork`] at the end of each turn.
#[derive(Debug)]
pub(super) struct Corked<S>(Arc<Mutex<Cork<S>>>);

#[derive(Debug)]
struct Cork<S> {
    stream: S,
    /// Has no room of its own between turns.
    gathered: BytesMut,
}

impl<S: AsyncWrite + Unpin> Corked<S> {
    pub(super) fn new(stream: S) -> Self {
        Self(Arc::new(Mutex::new(Cork { stream, gathered: BytesMut::new() })))
    }

    /// For who drives the connection.
    pub(super) fn again(&self) -> Self {
        Self(Arc::clone(&self.0))
    }

    /// Sends what is gathered.
    pub(super) fn poll_uncork(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut cork = self.lock();
        ready!(cork.poll_send(context))?;
        Pin::new(&mut cork.stream).poll_flush(context)
    }

    fn lock(&self) -> MutexGuard<'_, Cork<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: AsyncWrite + Unpin> Cork<S> {
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.gathered.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !self.gathered.is_empty() {
            let sent = ready!(Pin::new(&mut self.stream).poll_write(context, &self.gathered))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.gathered.advance(sent);
        }
        self.gathered = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    /// Takes so many bytes of `slices`, or all by `write` where there are many.
    fn poll_take(
        &mut self,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
        write: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let bytes = slices.iter().map(|it| it.len()).sum::<usize>();
        if bytes == 0 {
            return Poll::Ready(Ok(0));
        }
        if self.gathered.len() + bytes > GATHERED_MAX {
            ready!(self.poll_send(context))?;
        }
        if bytes >= LARGE {
            ready!(self.poll_send(context))?;
            return write(Pin::new(&mut self.stream), context);
        }
        if self.gathered.capacity() == 0 {
            self.gathered.reserve(GATHERED_MAX);
        }
        for slice in slices {
            self.gathered.extend_from_slice(slice);
        }
        Poll::Ready(Ok(bytes))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Corked<S> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.lock().stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Corked<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.lock().poll_take(context, &[io::IoSlice::new(bytes)], |it, context| it.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.lock().poll_take(context, slices, |it, context| it.poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.lock().stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut cork = self.lock();
        ready!(cork.poll_send(context))?;
        Pin::new(&mut cork.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    async fn uncork<S: AsyncWrite + Unpin>(corked: &Corked<S>) -> io::Result<()> {
        poll_fn(|context| corked.poll_uncork(context)).await
    }

    #[tokio::test]
    async fn small_writes_leave_together_and_in_their_order() {
        let (here, mut there) = tokio::io::duplex(64 * 1024);
        let mut corked = Corked::new(here);
        corked.write_all(b"one ").await.unwrap();
        let slices = [io::IoSlice::new(b"two "), io::IoSlice::new(b""), io::IoSlice::new(b"three")];
        assert_eq!(corked.write_vectored(&slices).await.unwrap(), 9);
        corked.flush().await.unwrap();
        let mut read = [0; 64];
        assert!(
            poll_fn(|it| Poll::Ready(Pin::new(&mut there).poll_read(it, &mut ReadBuf::new(&mut read)).is_pending()))
                .await
        );
        uncork(&corked.again()).await.unwrap();
        assert_eq!(there.read(&mut read).await.unwrap(), 13);
        assert_eq!(&read[..13], b"one two three");
        assert_eq!(corked.lock().gathered.capacity(), 0, "a connection that is idle holds no room");

        // A large one goes by itself, behind what was there before it.
        corked.write_all(b"head").await.unwrap();
        let large = vec![b'x'; LARGE];
        corked.write_all(&large).await.unwrap();
        let mut all = vec![0; 4 + LARGE];
        there.read_exact(&mut all).await.unwrap();
        assert_eq!(all, [b"head", &large[..]].concat());

        corked.write_all(b"last").await.unwrap();
        corked.shutdown().await.unwrap();
        let mut last = Vec::new();
        there.read_to_end(&mut last).await.unwrap();
        assert_eq!(last, b"last");
    }

    #[tokio::test]
    async fn a_reader_who_does_not_read_has_no_more_gathered_than_that() {
        let (here, mut there) = tokio::io::duplex(1_000);
        let corked = Corked::new(here);
        let (mut writer, mut taken) = (corked.again(), 0);
        let piece = [7; 1_000];
        // What does not fit any more waits, whole.
        loop {
            let polled = poll_fn(|it| Poll::Ready(Pin::new(&mut writer).poll_write(it, &piece))).await;
            let Poll::Ready(count) = polled else { break };
            assert_eq!(count.unwrap(), 1_000);
            taken += 1_000;
        }
        assert!((GATHERED_MAX - 1_000..=GATHERED_MAX + 1_000).contains(&taken), "{taken}");
        let reads = async {
            let mut read = vec![0; taken];
            there.read_exact(&mut read).await.unwrap();
            assert!(read.iter().all(|it| *it == 7));
            drop(there);
        };
        let (sent, ()) = tokio::join!(uncork(&corked), reads);
        sent.unwrap();
        writer.write_all(&piece).await.unwrap();
        assert_eq!(uncork(&corked).await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
