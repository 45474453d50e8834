//! The body of a request: bytes that are there, or pieces that arrive while they are sent.
//!
//! Its length is always known before, so that a server can refuse by the header alone.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

/// What a request carries.
pub(in crate::cli) struct Payload {
    source: Source,
    left: u64,
    gate: Option<Gate>,
    /// Counts pieces taken by the connection, from which a standstill is seen.
    moved: Arc<AtomicU64>,
}

enum Source {
    Whole(Bytes),
    Pieces(mpsc::Receiver<io::Result<Bytes>>),
}

/// Until it opens, nothing is sent.
type Gate = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Payload {
    /// Bytes that are there; none: no body.
    pub(super) fn whole(bytes: Bytes, moved: Arc<AtomicU64>) -> Self {
        Self { left: length(&bytes), source: Source::Whole(bytes), gate: None, moved }
    }

    /// `length` bytes in pieces. An error among them breaks the connection off.
    pub(super) fn pieces(pieces: mpsc::Receiver<io::Result<Bytes>>, length: u64, moved: Arc<AtomicU64>) -> Self {
        Self { source: Source::Pieces(pieces), left: length, gate: None, moved }
    }

    /// Is sent only once `gate` is done.
    pub(super) fn wait_for(&mut self, gate: impl Future<Output = ()> + Send + 'static) {
        self.gate = Some(Box::pin(gate));
    }
}

fn length(bytes: &Bytes) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

impl Body for Payload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        if let Some(gate) = &mut self.gate {
            ready!(gate.as_mut().poll(context));
            self.gate = None;
        }
        let piece = match &mut self.source {
            Source::Whole(bytes) => Some(Ok(std::mem::take(bytes))),
            Source::Pieces(pieces) => ready!(pieces.poll_recv(context)),
        };
        self.moved.fetch_add(1, Ordering::Relaxed);
        Poll::Ready(Some(match piece {
            Some(Ok(bytes)) => {
                self.left = self.left.saturating_sub(length(&bytes));
                Ok(Frame::data(bytes))
            }
            Some(Err(error)) => Err(error),
            // A short body must never look complete.
            None => Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
