//! The bodies that pass: counted, limited and timed, and never kept.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::{
    body::{Body as HttpBody, Frame, Incoming, SizeHint},
    client::conn::http1::SendRequest,
};
use tokio::time::{Instant, Sleep, sleep};

use super::server::Lease;
use crate::http::{
    pace::is_too_slow,
    respond::{Body, BodyError},
};

/// What became of a request's body, seen from beside it.
#[derive(Debug)]
pub(super) struct Progress {
    begun: Instant,
    /// Milliseconds from then to when something of it was last handed on.
    last_ms: AtomicU64,
    fault: AtomicU8,
}

/// Why a request's body broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// It is larger than the route takes.
    TooLarge,
    /// It came too slowly.
    TooSlow,
    /// The client has broken it off.
    Broken,
}

impl Progress {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { begun: Instant::now(), last_ms: AtomicU64::new(0), fault: AtomicU8::new(0) })
    }

    fn moved(&self) {
        let ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(ms, Ordering::Relaxed);
    }

    /// Something was sent just now, or is about to be.
    pub(super) fn touch(&self) {
        self.moved();
    }

    /// When something was last handed on.
    pub(super) fn last(&self) -> Instant {
        self.begun + Duration::from_millis(self.last_ms.load(Ordering::Relaxed))
    }

    fn breaks(&self, fault: Fault) {
        let number = match fault {
            Fault::TooLarge => 1,
            Fault::TooSlow => 2,
            Fault::Broken => 3,
        };
        self.fault.store(number, Ordering::Relaxed);
    }

    /// Why it broke off, if it did.
    pub(super) fn fault(&self) -> Option<Fault> {
        match self.fault.load(Ordering::Relaxed) {
            1 => Some(Fault::TooLarge),
            2 => Some(Fault::TooSlow),
            3 => Some(Fault::Broken),
            _ => None,
        }
    }
}

/// A request's body on its way to an upstream.
#[derive(Debug)]
pub(super) struct Sending {
    body: Body,
    left: u64,
    progress: Arc<Progress>,
}

impl Sending {
    pub(super) const fn new(body: Body, bytes_max: u64, progress: Arc<Progress>) -> Self {
        Self { body, left: bytes_max, progress }
    }
}

impl HttpBody for Sending {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Poll::Ready(next) = Pin::new(&mut self.body).poll_frame(context) else { return Poll::Pending };
        self.progress.moved();
        match next {
            None => Poll::Ready(None),
            Some(Ok(frame)) => {
                // Trailers mean something to one connection alone.
                let Ok(bytes) = frame.into_data() else { return Poll::Ready(None) };
                let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                let Some(left) = self.left.checked_sub(length) else {
                    self.progress.breaks(Fault::TooLarge);
                    return Poll::Ready(Some(Err("the body is larger than its route takes".into())));
                };
                self.left = left;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Some(Err(error)) => {
                self.progress.breaks(if is_too_slow(&*error) { Fault::TooSlow } else { Fault::Broken });
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// How long an answer may stand still, and how long it may last when its server was left.
pub(super) struct Patience {
    idle: Duration,
    drain: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    left: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Patience {
    pub(super) const fn new(idle: Duration, drain: Duration) -> Self {
        Self { idle, drain, timer: None, left: None }
    }

    /// Something came.
    pub(super) fn moved(&mut self) {
        // Looked at when there is something to wait for again.
        self.timer = None;
    }

    /// Why nothing is waited for any more. To be asked when nothing has come.
    pub(super) fn poll(&mut self, lease: &Lease, context: &mut Context<'_>) -> Poll<&'static str> {
        let idle = self.idle;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(idle)));
        if timer.as_mut().poll(context).is_ready() {
            return Poll::Ready("the upstream has stopped in the middle of its answer");
        }
        let drain = self.drain;
        let left = self.left.get_or_insert_with(|| {
            let left = lease.server.left();
            Box::pin(async move {
                left.await;
                sleep(drain).await;
            })
        });
        left.as_mut().poll(context).map(|()| "the upstream was taken away")
    }
}

/// An answer on its way from an upstream. Dropped before its end, it ends the connection.
pub(super) struct Answering {
    body: Incoming,
    lease: Lease,
    patience: Patience,
    /// The connection, to be kept when the answer is whole, and for how many seconds the upstream keeps it.
    sender: Option<(SendRequest<Body>, Option<u64>)>,
}

impl Answering {
    pub(super) fn new(
        body: Incoming,
        lease: Lease,
        patience: Patience,
        sender: Option<(SendRequest<Body>, Option<u64>)>,
    ) -> Self {
        let mut made = Self { body, lease, patience, sender };
        if made.body.is_end_stream() {
            made.finish();
        }
        made
    }

    fn finish(&mut self) {
        if let Some((sender, seconds)) = self.sender.take() {
            self.lease.server.keep(sender, seconds);
        }
    }
}

impl HttpBody for Answering {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        match Pin::new(&mut this.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                this.patience.moved();
                // Where its length is known, nobody asks for more behind the last byte.
                if this.body.is_end_stream() {
                    this.finish();
                }
                // Trailers are of one connection; the end comes behind them.
                Poll::Ready(Some(Ok(if frame.is_data() { frame } else { Frame::data(Bytes::new()) })))
            }
            Poll::Ready(Some(Err(error))) => {
                this.sender = None;
                tracing::debug!(upstream = this.lease.server.name, %error, "an answer broke off");
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(None) => {
                this.finish();
                Poll::Ready(None)
            }
            Poll::Pending => this.patience.poll(&this.lease, context).map(|why| {
                this.sender = None;
                tracing::debug!(upstream = this.lease.server.name, why, "an answer was broken off");
                Some(Err(why.into()))
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
