//! The bodies that pass: counted, limited and timed, and never kept.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
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
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{
    gather,
    server::Lease,
    shared::{Held, Place, Shared},
};
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
    /// All of it was handed on.
    has_ended: AtomicBool,
    /// It is the visitor's turn to send more.
    is_awaited: AtomicBool,
    /// Nobody needs more of it.
    stop: CancellationToken,
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
    /// What this server had kept of it cannot be read back.
    Lost,
}

impl Progress {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            begun: Instant::now(),
            last_ms: AtomicU64::new(0),
            fault: AtomicU8::new(0),
            has_ended: AtomicBool::new(false),
            is_awaited: AtomicBool::new(false),
            stop: CancellationToken::new(),
        })
    }

    fn moved(&self) {
        let ms = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_ms.store(ms, Ordering::Relaxed);
    }

    /// Something was sent just now, or is about to be.
    pub(super) fn touch(&self) {
        self.moved();
    }

    /// There is nothing more of it.
    pub(super) fn end(&self) {
        self.has_ended.store(true, Ordering::Relaxed);
    }

    /// Whether all of it was handed on: from then on it is the upstream's turn, and not before.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Relaxed)
    }

    /// Whether the visitor is waited for.
    pub(super) fn is_awaited(&self) -> bool {
        self.is_awaited.load(Ordering::Relaxed)
    }

    /// Nobody needs more of it.
    pub(super) fn stop(&self) {
        self.stop.cancel();
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
            Fault::Lost => 4,
        };
        self.fault.store(number, Ordering::Relaxed);
    }

    /// Why it broke off, if it did.
    pub(super) fn fault(&self) -> Option<Fault> {
        match self.fault.load(Ordering::Relaxed) {
            1 => Some(Fault::TooLarge),
            2 => Some(Fault::TooSlow),
            3 => Some(Fault::Broken),
            4 => Some(Fault::Lost),
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
    stopped: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl Sending {
    pub(super) fn new(body: Body, bytes_max: u64, progress: Arc<Progress>) -> Self {
        let stopped = Box::pin(progress.stop.clone().cancelled_owned());
        Self { body, left: bytes_max, progress, stopped }
    }
}

impl HttpBody for Sending {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.stopped.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err("the answer is over".into())));
        }
        let Poll::Ready(next) = Pin::new(&mut self.body).poll_frame(context) else {
            self.progress.is_awaited.store(true, Ordering::Relaxed);
            return Poll::Pending;
        };
        self.progress.moved();
        self.progress.is_awaited.store(false, Ordering::Relaxed);
        match next {
            None => {
                self.progress.end();
                Poll::Ready(None)
            }
            Some(Ok(frame)) => {
                // Trailers mean something to one connection alone.
                let Ok(bytes) = frame.into_data() else {
                    self.progress.end();
                    return Poll::Ready(None);
                };
                let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
                let Some(left) = self.left.checked_sub(length) else {
                    self.progress.breaks(Fault::TooLarge);
                    return Poll::Ready(Some(Err("the body is larger than its route takes".into())));
                };
                self.left = left;
                // Where its length is known, nobody asks for more behind the last byte.
                if self.body.is_end_stream() || self.body.size_hint().exact() == Some(0) {
                    self.progress.end();
                }
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Some(Err(error)) => {
                self.progress.breaks(match &*error {
                    it if is_too_slow(it) => Fault::TooSlow,
                    it if it.is::<gather::Lost>() => Fault::Lost,
                    _ => Fault::Broken,
                });
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

/// A body whose first bytes were read already.
#[derive(Debug)]
pub(super) struct Begun<B> {
    first: Option<Bytes>,
    rest: B,
}

impl<B> Begun<B> {
    pub(super) fn new(first: Bytes, rest: B) -> Self {
        Self { first: Some(first).filter(|it| !it.is_empty()), rest }
    }
}

/// A body that has a place among what all upstreams work on.
pub(super) struct Placed {
    pub(super) body: Body,
    pub(super) _place: Place,
}

impl HttpBody for Placed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(context).map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A body that does not say its size.
pub(super) struct Unsaid<B>(pub(super) B);

impl<B: HttpBody<Data = Bytes, Error = BodyError> + Unpin> HttpBody for Unsaid<B> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.0).poll_frame(context)
    }
}

/// A body that breaks off.
pub(super) struct Broken(pub(super) Option<BodyError>);

impl HttpBody for Broken {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(self.0.take().map(Err))
    }
}

impl<B: HttpBody<Data = Bytes, Error = BodyError> + Unpin> HttpBody for Begun<B> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(Ok(Frame::data(first)))),
            None => Pin::new(&mut self.rest).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let first = self.first.as_ref().map_or(0, |it| u64::try_from(it.len()).unwrap_or(u64::MAX));
        let rest = self.rest.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(first));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(first));
        }
        hint
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
    progress: Arc<Progress>,
    /// The connection, to be kept when the answer is whole, and for how many seconds the upstream keeps it.
    sender: Option<(SendRequest<Body>, Option<u64>)>,
}

impl Drop for Answering {
    fn drop(&mut self) {
        // Who has his answer needs to send nothing more, and no connection is to wait for it.
        self.progress.stop();
    }
}

impl Answering {
    pub(super) fn new(
        body: Incoming,
        lease: Lease,
        patience: Patience,
        progress: Arc<Progress>,
        sender: Option<(SendRequest<Body>, Option<u64>)>,
    ) -> Self {
        let mut made = Self { body, lease, patience, progress, sender };
        if made.body.is_end_stream() {
            made.finish();
        }
        made
    }

    fn finish(&mut self) {
        // SECURITY: a connection on which a body is still being sent would give the next request's answer to nobody, or its bytes to
        // another request.
        if let Some((sender, seconds)) = self.sender.take()
            && self.progress.has_ended()
        {
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

/// An answer for a visitor, which ends when he takes nothing of it for too long.
pub(super) struct Taken<B>(Held<B>);

impl<B: Send + 'static> Taken<B> {
    /// `idle`: how long it may stand still, as its route says.
    pub(super) fn new(shared: &Arc<Shared>, body: B, idle: Duration) -> Self {
        Self(Held::new(shared, body, idle))
    }
}

impl<B: HttpBody<Data = Bytes, Error = BodyError> + Unpin> HttpBody for Taken<B> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(polled) = self.0.with(|it| Pin::new(it).poll_frame(context)) else {
            return Poll::Ready(Some(Err("nobody took the answer".into())));
        };
        if polled.is_ready() {
            self.0.moved();
        } else {
            self.0.waits(context.waker());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.0.with(|it| it.is_end_stream()).unwrap_or_default()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.with(|it| it.size_hint()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use http_body_util::BodyExt as _;

    use super::*;

    /// Says one thing and then nothing.
    struct Stalls(Option<Bytes>);

    impl HttpBody for Stalls {
        type Data = Bytes;
        type Error = BodyError;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
            self.0.take().map_or(Poll::Pending, |it| Poll::Ready(Some(Ok(Frame::data(it)))))
        }
    }

    #[tokio::test]
    async fn a_body_has_ended_with_its_last_byte() {
        let progress = Progress::new();
        let mut body = Sending::new(Body::from("abc"), 3, Arc::clone(&progress));
        assert!(!progress.has_ended());
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "abc");
        assert!(progress.has_ended(), "nobody asks for more");
    }

    #[tokio::test]
    async fn a_body_that_stalls_is_the_visitors_turn_and_can_be_stopped() {
        let progress = Progress::new();
        let stalls = Body::boxed(Stalls(Some(Bytes::from_static(b"abc"))));
        let mut body = Sending::new(stalls, 100, Arc::clone(&progress));
        body.frame().await.unwrap().unwrap();
        assert!(!progress.has_ended() && !progress.is_awaited());
        let polled = poll_fn(|context| Poll::Ready(Pin::new(&mut body).poll_frame(context).is_pending())).await;
        assert!(polled && progress.is_awaited() && !progress.has_ended());
        progress.stop();
        assert!(body.frame().await.unwrap().is_err());
    }
}
