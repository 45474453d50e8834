//! What a connection is doing, seen from its bytes and its requests, and until when it may go on like that.
//!
//! Two limits: a request's head must be whole in time, from the accept or from its first byte on; and a connection
//! on which no byte moves and no request is worked on is idle, and ends. On one of HTTP/2, where a ping would move bytes for ever, more have to
//! leave than come: an answer does that. What may come in, and whether it is HTTP/2, is for `framing` to say.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use super::{framing::Framing, seats::Seat, stream::SendFile};
use crate::{base::clock::ticks_ms, http::stored::Part};

/// The state that connection, bytes and requests share. Times are milliseconds since the accept.
#[derive(Debug)]
pub(super) struct Activity {
    accepted: Instant,
    /// The same by [`ticks_ms`].
    accepted_ms: u64,
    /// Since when a head is incomplete, plus one; 0: none is.
    head_since: AtomicU64,
    last_byte: AtomicU64,
    working: AtomicU32,
    /// How many bytes more have left than come since the last time that counted, on a connection of HTTP/2 on which no request is worked on.
    ahead: AtomicI64,
    /// HTTP/2 frames are not requests: after the first head only idleness counts.
    streams: AtomicBool,
    /// A first request has begun.
    asked: AtomicBool,
    /// The connection has another protocol now.
    switched: AtomicBool,
}

impl Activity {
    /// Of a connection that was just accepted.
    pub(super) fn new() -> Self {
        Self {
            accepted: Instant::now(),
            accepted_ms: ticks_ms(),
            head_since: AtomicU64::new(1),
            last_byte: AtomicU64::new(0),
            working: AtomicU32::new(0),
            ahead: AtomicI64::new(0),
            streams: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            switched: AtomicBool::new(false),
        }
    }

    fn now(&self) -> u64 {
        ticks_ms().saturating_sub(self.accepted_ms)
    }

    /// The connection is one of HTTP/2, as TLS has agreed or its first bytes say.
    pub(super) fn speaks_two(&self) {
        self.streams.store(true, Ordering::Relaxed);
    }

    /// A request's head is whole. Its work lasts until the guard is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Working {
        self.start();
        Working(Arc::clone(self))
    }

    fn start(&self) {
        self.working.fetch_add(1, Ordering::Relaxed);
        self.asked.store(true, Ordering::Relaxed);
        self.head_since.store(0, Ordering::Relaxed);
    }

    fn end(&self, now: u64) {
        self.ahead.store(0, Ordering::Relaxed);
        self.moved(now);
        self.working.fetch_sub(1, Ordering::Relaxed);
    }

    /// Frames between requests, or behind the last one.
    fn is_between_frames(&self) -> bool {
        self.streams.load(Ordering::Relaxed) && self.working.load(Ordering::Relaxed) == 0
    }

    fn read(&self, now: u64, bytes: usize) {
        if self.is_between_frames() {
            self.ahead.fetch_sub(i64::try_from(bytes).unwrap_or(i64::MAX), Ordering::Relaxed);
            return;
        }
        self.last_byte.store(now, Ordering::Relaxed);
        let between = self.working.load(Ordering::Relaxed) == 0;
        if between && self.head_since.load(Ordering::Relaxed) == 0 {
            self.head_since.store(now.saturating_add(1), Ordering::Relaxed);
        }
    }

    fn wrote(&self, now: u64, bytes: usize) {
        if self.is_between_frames() {
            let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
            // What acknowledges frames is no longer than they are.
            if self.ahead.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) <= 0 {
                return;
            }
            self.ahead.store(0, Ordering::Relaxed);
        }
        self.moved(now);
    }

    fn moved(&self, now: u64) {
        self.last_byte.store(now, Ordering::Relaxed);
        // The next head may have come early, while an answer is on its way: its time begins when that is out.
        if self.head_since.load(Ordering::Relaxed) != 0 && !self.streams.load(Ordering::Relaxed) {
            self.head_since.store(now.saturating_add(1), Ordering::Relaxed);
        }
    }

    /// Something has come that is no request yet.
    #[cfg(feature = "h3")]
    pub(super) fn touch(&self) {
        self.last_byte.store(self.now(), Ordering::Relaxed);
    }

    /// Whether anything was asked on the connection yet.
    pub(super) fn has_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// A request was answered by a switch to another protocol.
    pub(super) fn switch(&self) {
        self.switched.store(true, Ordering::Relaxed);
    }

    /// Until when the connection may go on as it does.
    pub(super) fn deadline(&self, head: Duration, idle: Duration) -> Instant {
        self.accepted + self.time_limit(self.now(), head, idle)
    }

    /// The same, since the accept.
    fn time_limit(&self, now: u64, head: Duration, idle: Duration) -> Duration {
        match self.head_since.load(Ordering::Relaxed).checked_sub(1) {
            Some(since) => Duration::from_millis(since) + head,
            // A request that is worked on is the handler's to limit.
            None if self.working.load(Ordering::Relaxed) > 0 => Duration::from_millis(now) + idle,
            None => Duration::from_millis(self.last_byte.load(Ordering::Relaxed)) + idle,
        }
    }
}

/// A request that is worked on.
#[derive(Debug)]
pub(super) struct Working(Arc<Activity>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.end(self.0.now());
    }
}

/// A stream whose bytes are seen.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    activity: Arc<Activity>,
    /// What may come in, unless that is for HTTP/2.
    framing: Option<Framing>,
    /// Its place among the connections, for as long as there are bytes: also when they are those of another protocol by now.
    _seat: Option<Seat>,
}

impl<S> Watched<S> {
    pub(super) const fn new(stream: S, activity: Arc<Activity>, framing: Option<Framing>) -> Self {
        Self { stream, activity, framing, _seat: None }
    }

    /// With its place, which it gives back at its end.
    pub(super) fn holding(self, seat: Seat) -> Self {
        Self { _seat: Some(seat), ..self }
    }

    fn wrote(&mut self, write: impl FnOnce(&mut S) -> Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let polled = write(&mut self.stream);
        if let Poll::Ready(Ok(bytes)) = polled {
            self.activity.wrote(self.activity.now(), bytes);
        }
        polled
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let this = &mut *self;
        if this.framing.as_ref().is_some_and(Framing::is_broken) {
            return Poll::Ready(Ok(()));
        }
        let polled = Pin::new(&mut this.stream).poll_read(context, buffer);
        let new = buffer.filled_mut().get_mut(before..).unwrap_or_default();
        if new.is_empty() {
            return polled;
        }
        this.activity.read(this.activity.now(), new.len());
        if let Some(framing) = &mut this.framing {
            if this.activity.switched.load(Ordering::Relaxed) {
                framing.switch();
            }
            let passed = framing.pass(new);
            if framing.is_two() {
                this.activity.speaks_two();
            }
            buffer.set_filled(before + passed);
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.wrote(|it| Pin::new(it).poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.wrote(|it| Pin::new(it).poll_write_vectored(context, slices))
    }

    // hyper copies bodies for a stream that says no here.
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S: SendFile> SendFile for Watched<S> {
    fn sends_files(&self) -> bool {
        self.stream.sends_files()
    }

    fn poll_write_more(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.wrote(|it| it.poll_write_more(context, bytes))
    }

    fn poll_send_file(&mut self, context: &mut Context<'_>, part: &Part, most: usize) -> Poll<io::Result<usize>> {
        self.wrote(|it| it.poll_send_file(context, part, most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Duration = Duration::from_secs(10);
    const IDLE: Duration = Duration::from_secs(75);

    #[test]
    fn a_head_has_its_time_and_an_idle_connection_its_own() {
        let activity = Activity::new();
        let limit = |now| activity.time_limit(now, HEAD, IDLE).as_millis();
        assert_eq!(limit(0), 10_000);
        activity.read(4_000, 1);
        assert_eq!(limit(4_000), 10_000, "bytes that trickle win no time");
        activity.start();
        assert_eq!(limit(104_000), 179_000, "a request that is worked on is not idle");
        activity.end(104_000);
        assert_eq!(limit(150_000), 179_000);
        activity.read(154_000, 1);
        assert_eq!(limit(154_000), 164_000, "the next head has its time from its first byte on");
        activity.wrote(163_000, 1);
        assert_eq!(limit(163_000), 173_000, "or from the last byte of the answer before it");
    }

    #[test]
    fn frames_of_http_2_are_no_heads() {
        let activity = Activity::new();
        activity.speaks_two();
        activity.read(5, 17);
        activity.wrote(6, 17);
        assert_eq!(activity.time_limit(7, HEAD, IDLE).as_millis(), 10_000);
        activity.start();
        activity.end(8);
        assert_eq!(activity.time_limit(10, HEAD, IDLE).as_millis(), 75_008);
    }

    #[test]
    fn an_answer_keeps_a_connection_of_http_2_and_pings_do_not() {
        let activity = Activity::new();
        let limit = |now| activity.time_limit(now, HEAD, IDLE).as_millis();
        activity.speaks_two();
        activity.start();
        activity.end(0);
        for now in 1..1_000 {
            activity.read(now, 17);
            activity.wrote(now, 17);
        }
        assert_eq!(limit(1_000), 75_000);
        // Room for a byte costs more than the byte.
        activity.read(2_000, 26);
        activity.wrote(2_000, 10);
        assert_eq!(limit(2_000), 75_000);
        activity.wrote(3_000, 1_024);
        assert_eq!(limit(3_000), 78_000);
        // Who has sent much, with a request, has begun one.
        activity.read(4_000, 60_000);
        activity.start();
        activity.read(5_000, 1_000_000);
        activity.end(6_000);
        activity.wrote(7_000, 1);
        assert_eq!(limit(7_000), 82_000);
    }
}
