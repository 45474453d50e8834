//! A request body that must keep coming: who sends too slowly is told so, and holds nothing any longer.
//!
//! Only the time is counted in which we wait for the client. What we take to write its bytes to the disk is not its fault.

use std::{
    error::Error,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::respond::BodyError;
use crate::base::limits;

/// The body came more slowly than [`limits::BODY_BYTES_PER_SECOND_MIN`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooSlow;

impl fmt::Display for TooSlow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body came too slowly")
    }
}

impl Error for TooSlow {}

/// Whether `error`, or what it came from, is [`TooSlow`].
pub fn is_too_slow(error: &(dyn Error + 'static)) -> bool {
    let mut at = Some(error);
    while let Some(error) = at {
        if error.is::<TooSlow>() {
            return true;
        }
        at = error.source();
    }
    false
}

/// A body whose pace is watched.
#[derive(Debug)]
pub struct Paced<B> {
    body: B,
    /// The time over which the rate is averaged.
    window: Duration,
    /// Bytes that must have come in it.
    bytes_min: u64,
    /// Since when we wait for the next bytes.
    waiting: Option<Instant>,
    /// How long we have waited in this window before.
    waited: Duration,
    /// What has come in it.
    bytes: u64,
    timer: Option<Pin<Box<Sleep>>>,
}

impl<B> Paced<B> {
    /// Watches `body` from its first read on.
    pub const fn new(body: B) -> Self {
        let window = Duration::from_millis(limits::BODY_WINDOW_MS);
        let bytes_min = limits::BODY_BYTES_PER_SECOND_MIN * limits::BODY_WINDOW_MS / 1000;
        Self { body, window, bytes_min, waiting: None, waited: Duration::ZERO, bytes: 0, timer: None }
    }

    /// Waits for the end of a window in which too little has come.
    fn poll_too_slow(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let since = *self.waiting.get_or_insert_with(Instant::now);
            let ends = since + self.window.saturating_sub(self.waited);
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(ends)));
            if timer.deadline() != ends {
                timer.as_mut().reset(ends);
            }
            ready!(timer.as_mut().poll(context));
            if self.bytes < self.bytes_min {
                return Poll::Ready(());
            }
            (self.waiting, self.waited, self.bytes) = (None, Duration::ZERO, 0);
        }
    }
}

impl<B> Body for Paced<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BodyError>,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
            return self.poll_too_slow(context).map(|()| Some(Err(TooSlow.into())));
        };
        if let Some(since) = self.waiting.take() {
            self.waited += since.elapsed();
        }
        let came = frame.as_ref().and_then(|it| it.as_ref().ok()).and_then(Frame::data_ref);
        let came = came.map_or(0, |it| u64::try_from(it.remaining()).unwrap_or(u64::MAX));
        self.bytes = self.bytes.saturating_add(came);
        Poll::Ready(frame.map(|it| it.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::{BodyExt as _, StreamBody};
    use tokio::{sync::mpsc, time};
    use tokio_stream::wrappers::ReceiverStream;

    use super::*;

    const SHORT: Duration = Duration::from_millis(40);

    /// Reads a body that must bring `bytes` in a short window from `sender`, resting after each frame: how much came, and
    /// whether it was too slow.
    async fn read<F: Future<Output = ()>>(
        bytes: u64,
        rest: Duration,
        sender: impl FnOnce(mpsc::Sender<Result<Frame<Bytes>, Infallible>>) -> F,
    ) -> (usize, bool) {
        let (pieces, came) = mpsc::channel(16);
        let reader = async move {
            let stream = StreamBody::new(ReceiverStream::new(came));
            let mut body = Paced { window: SHORT, bytes_min: bytes, ..Paced::new(stream) };
            let mut total = 0;
            while let Some(frame) = body.frame().await {
                match frame {
                    Ok(frame) => total += frame.into_data().unwrap().len(),
                    Err(error) => return (total, is_too_slow(&*error)),
                }
                time::sleep(rest).await;
            }
            (total, false)
        };
        tokio::join!(sender(pieces), reader).1
    }

    fn frame(size: usize) -> Frame<Bytes> {
        Frame::data(vec![0; size].into())
    }

    #[tokio::test]
    async fn a_body_that_stands_still_or_drips_is_ended() {
        let stalled = async |pieces: mpsc::Sender<_>| {
            pieces.send(Ok(frame(5))).await.unwrap();
            pieces.closed().await;
        };
        assert_eq!(read(6, Duration::ZERO, stalled).await, (5, true));
        let dripping = async |pieces: mpsc::Sender<_>| {
            while pieces.send(Ok(frame(1))).await.is_ok() {
                time::sleep(Duration::from_millis(3)).await;
            }
        };
        assert!(read(1_000_000, Duration::ZERO, dripping).await.1);
    }

    #[tokio::test]
    async fn only_waiting_for_the_client_counts_and_each_window_begins_anew() {
        let ready = async |pieces: mpsc::Sender<_>| {
            for _ in 0..5 {
                pieces.send(Ok(frame(1))).await.unwrap();
            }
        };
        assert_eq!(read(1_000_000, SHORT * 2, ready).await, (5, false));
        let late = async |pieces: mpsc::Sender<_>| {
            time::sleep(SHORT * 3).await;
            pieces.send(Ok(frame(7))).await.unwrap();
        };
        assert_eq!(read(0, Duration::ZERO, late).await, (7, false));
    }
}
