//! The stream of a connection: in clear, or with TLS that this server ends. One type, so that all behind it is compiled once.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use rustix::net::SendFlags;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use crate::http::stored::Part;

/// A connection's bytes.
#[derive(Debug)]
pub(super) enum Stream {
    Clear(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A stream to which the system may send files by itself.
pub(super) trait SendFile {
    /// Whether it does.
    fn sends_files(&self) -> bool;

    /// Writes bytes behind which more come at once.
    fn poll_write_more(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>>;

    /// Sends bytes of a file, from where the part begins and `most` of them; 0 where the file has none there.
    fn poll_send_file(&mut self, context: &mut Context<'_>, part: &Part, most: usize) -> Poll<io::Result<usize>>;
}

impl SendFile for Stream {
    fn sends_files(&self) -> bool {
        matches!(self, Self::Clear(_))
    }

    fn poll_write_more(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self::Clear(stream) = self else { return Pin::new(self).poll_write(context, bytes) };
        poll_io(stream, context, |it| {
            rustix::net::send(it, bytes, SendFlags::MORE | SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
        })
    }

    fn poll_send_file(&mut self, context: &mut Context<'_>, part: &Part, most: usize) -> Poll<io::Result<usize>> {
        let Self::Clear(stream) = self else { return Poll::Ready(Err(io::ErrorKind::Unsupported.into())) };
        poll_io(stream, context, |it| rustix::fs::sendfile(it, &part.file, Some(&mut { part.at }), most))
    }
}

/// Does what may have to wait until the stream takes more.
fn poll_io(
    stream: &TcpStream,
    context: &mut Context<'_>,
    act: impl Fn(&TcpStream) -> rustix::io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_write_ready(context))?;
        match stream.try_io(Interest::WRITABLE, || act(stream).map_err(io::Error::from)) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return Poll::Ready(done),
        }
    }
}

/// Does the same with either.
macro_rules! either {
    ($stream:expr, $it:ident => $done:expr) => {
        match $stream {
            Stream::Clear($it) => $done,
            Stream::Tls($it) => $done,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), it => Pin::new(it).poll_read(context, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        either!(self.get_mut(), it => Pin::new(it).poll_write(context, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self.get_mut(), it => Pin::new(it).poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        either!(self, it => it.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), it => Pin::new(it).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), it => Pin::new(it).poll_shutdown(context))
    }
}
