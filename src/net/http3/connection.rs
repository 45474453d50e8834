//! One connection: its streams, its limits, and its end.
//!
//! Whatever a client does, it costs no more than a seat, quinn's windows and its time limits. Who opens streams and takes them back, or
//! sends on them what is no request, may do so a number of times and then is sent away (CVE-2023-44487).

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, UNIX_EPOCH},
};

use hyper::{Request, header::HeaderValue};
use quinn::{Connection, RecvStream, SendStream, VarInt};
use tokio::time::{self, Instant};
use tokio_util::task::TaskTracker;

use super::{
    body::Body,
    frames::{self, Fault, Frames, code},
    request::{self, End},
    too_late,
};
use crate::{
    base::{clock::Clock, tasks::Tasks},
    http::{peer::Peer, respond::Response},
    net::{
        activity::Activity,
        connection::{FIRST_REQUEST, Limits},
    },
};

/// Streams that a client may spoil at once: twice what it may have open, as who leaves a page takes back all it has asked for …
const SPOILT_MAX: u32 = 256;
/// … how long it takes until it may spoil one more …
const SPOILT_BACK: Duration = Duration::from_millis(100);
/// … and how many in all: what quinn may keep of a stream that was broken off ends with its connection only.
const SPOILT_EVER_MAX: u32 = 10_000;

/// Kinds of streams of one direction (RFC 9114, 6.2; RFC 9204, 4.2).
const CONTROL: u64 = 0x0;
const PUSH: u64 = 0x1;
const ENCODER: u64 = 0x2;
const DECODER: u64 = 0x3;

/// The one setting that is said: how many bytes a head may have (RFC 9114, 7.2.4.1). All others are as the standard has them:
/// no dynamic table above all.
const SETTING_SECTION_BYTES: u64 = 0x6;
/// Bytes of a frame on the control stream.
const CONTROL_FRAME_MAX: u64 = 4 * 1024;

/// The first sign of the end names no stream, so that what is on its way is answered (RFC 9114, 5.2).
const ALL_STREAMS: u64 = (1 << 62) - 4;
/// How long requests may still come behind that sign, at least and at most: a way there and back, twice.
const LAST_REQUESTS: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// How long a sign may take to be written: it has a few bytes.
const SIGN: Duration = Duration::from_secs(1);

/// What a connection's streams share.
#[derive(Debug)]
pub(super) struct Line<H> {
    pub(super) connection: Connection,
    /// Who has shown with the handshake that he is there. A connection may move, and whoever writes its packets names any address: no
    /// limit, no log and no trust may follow that.
    pub(super) peer: Peer,
    pub(super) handler: H,
    pub(super) limits: Limits,
    pub(super) activity: Arc<Activity>,
    pub(super) tasks: Tasks,
    clock: Clock,
    /// Streams that have not ended.
    streams: TaskTracker,
    spoilt: Mutex<Spoilt>,
    kinds: Mutex<Kinds>,
}

/// How many streams were spoilt, less those that were long ago.
#[derive(Debug)]
struct Spoilt {
    count: u32,
    since: Instant,
    /// All of them.
    ever: u32,
}

/// Which streams of one direction are there.
#[derive(Debug, Default)]
struct Kinds {
    control: bool,
    encoder: bool,
    decoder: bool,
}

impl<H> Line<H> {
    /// The time of day as answers have it.
    pub(super) fn date(&self) -> HeaderValue {
        let since = Duration::from_millis(u64::try_from(self.clock.now_ms()).unwrap_or_default());
        let date = httpdate::fmt_http_date(UNIX_EPOCH + since);
        HeaderValue::from_str(&date).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// Counts a stream that was for nothing, and sends away who has spoilt too many.
    pub(super) fn spoil(&self) {
        let mut spoilt = self.spoilt.lock().unwrap_or_else(PoisonError::into_inner);
        if spoilt.one_more(Instant::now()) {
            return;
        }
        drop(spoilt);
        tracing::debug!(address = %self.peer.address, "a client took back too many requests by HTTP/3");
        self.connection.close(code::EXCESSIVE_LOAD, b"too many streams were for nothing");
    }
}

impl Spoilt {
    /// Whether one more may be.
    fn one_more(&mut self, now: Instant) -> bool {
        let back = now.saturating_duration_since(self.since).as_millis() / SPOILT_BACK.as_millis();
        if back > 0 {
            self.count = self.count.saturating_sub(u32::try_from(back).unwrap_or(u32::MAX));
            self.since = now;
        }
        self.count = self.count.saturating_add(1);
        self.ever = self.ever.saturating_add(1);
        self.count <= SPOILT_MAX && self.ever <= SPOILT_EVER_MAX
    }
}

impl<H, A> Line<H>
where
    H: Fn(Request<Body>, Peer) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response> + Send + 'static,
{
    pub(super) fn new(
        (connection, peer): (Connection, Peer),
        handler: H,
        (tasks, limits): (Tasks, Limits),
        clock: Clock,
    ) -> Arc<Self> {
        let activity = Arc::new(Activity::new());
        // Frames are not requests: a head has its time with its own stream.
        activity.speaks_two();
        let spoilt = Mutex::new(Spoilt { count: 0, since: Instant::now(), ever: 0 });
        let (streams, kinds) = (TaskTracker::new(), Mutex::default());
        Arc::new(Self { connection, peer, handler, limits, activity, tasks, clock, streams, spoilt, kinds })
    }

    /// From the end of the handshake to the end of the connection.
    pub(super) async fn attend(self: &Arc<Self>) {
        // Who lets us open no stream is not waited for.
        let began = tokio::select! {
            () = too_late(&self.tasks, &self.limits) => None,
            began = time::timeout(self.limits.head, self.begin()) => began.ok().flatten(),
        };
        let Some(mut control) = began else { return self.connection.close(code::NO_ERROR, b"") };
        let mut next_id = 0;
        loop {
            let deadline = self.activity.deadline(self.limits.head, self.limits.idle);
            tokio::select! {
                biased;
                () = self.tasks.stopping() => break,
                stream = self.connection.accept_bi() => match stream {
                    Ok(stream) => next_id = self.take(stream),
                    Err(_) => return,
                },
                stream = self.connection.accept_uni() => match stream {
                    Ok(stream) => self.take_one_way(stream),
                    Err(_) => return,
                },
                () = time::sleep_until(deadline) => {
                    if self.activity.deadline(self.limits.head, self.limits.idle) <= Instant::now() {
                        return self.connection.close(code::NO_ERROR, b"");
                    }
                }
            }
        }
        drop(time::timeout(self.limits.grace, self.end(&mut control, next_id)).await);
        self.connection.close(code::NO_ERROR, b"");
    }

    /// Says how this side speaks.
    async fn begin(&self) -> Option<SendStream> {
        let mut control = self.connection.open_uni().await.ok()?;
        let (mut settings, mut words) = (Vec::new(), Vec::new());
        frames::put_number(&mut settings, SETTING_SECTION_BYTES);
        frames::put_number(&mut settings, u64::try_from(self.limits.head_bytes).unwrap_or(u64::MAX));
        frames::put_number(&mut words, CONTROL);
        put_frame(&mut words, frames::SETTINGS, &settings);
        control.write_all(&words).await.ok()?;
        Some(control)
    }

    /// Answers a request; the id behind it.
    fn take(self: &Arc<Self>, (sender, receiver): (SendStream, RecvStream)) -> u64 {
        let next_id = VarInt::from(sender.id()).into_inner().saturating_add(4);
        // Its head has its own time, from now on.
        self.activity.touch();
        let (line, under_way) = (Arc::clone(self), self.streams.token());
        self.tasks.spawn(async move {
            if request::serve(&line, sender, receiver).await == End::Spoilt {
                line.spoil();
            }
            drop(under_way);
        });
        next_id
    }

    fn take_one_way(self: &Arc<Self>, receiver: RecvStream) {
        let line = Arc::clone(self);
        self.tasks.spawn(async move {
            if let Err(Fault::Connection(code)) = line.hear(Frames::lasting(receiver)).await {
                line.connection.close(code, b"");
            }
        });
    }

    /// Reads a stream of one direction for as long as it is there.
    async fn hear(&self, mut frames: Frames) -> Result<(), Fault> {
        // One that ends before its kind, or does not say it in time, is none.
        let kind = time::timeout(self.limits.head, frames.number()).await.ok().and_then(Result::ok).flatten();
        let place = |of: fn(&mut Kinds) -> &mut bool| {
            let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
            let was_there = std::mem::replace(of(&mut kinds), true);
            if was_there { Err(Fault::Connection(code::STREAM_CREATION_ERROR)) } else { Ok(()) }
        };
        let read = match kind {
            Some(CONTROL) => {
                place(|it| &mut it.control)?;
                control(&mut frames).await
            }
            Some(ENCODER) => {
                place(|it| &mut it.encoder)?;
                encoder(&mut frames).await
            }
            // What it acknowledges was never sent.
            Some(DECODER) => {
                place(|it| &mut it.decoder)?;
                frames.drain(usize::MAX).await
            }
            // Clients push nothing.
            Some(PUSH) => return Err(Fault::Connection(code::STREAM_CREATION_ERROR)),
            _ => {
                frames.stop(code::STREAM_CREATION_ERROR);
                self.spoil();
                return Ok(());
            }
        };
        // These may not end before their connection does, which nobody minds then.
        match read {
            Ok(()) | Err(Fault::Gone) => Err(Fault::Connection(code::CLOSED_CRITICAL_STREAM)),
            other => other,
        }
    }

    /// Lets requests end that are under way or on their way, and takes no other.
    async fn end(self: &Arc<Self>, control: &mut SendStream, mut next_id: u64) {
        // The first request may be on its way, and a shutdown now would close the connection before it is read.
        if next_id == 0 {
            let first = time::timeout(FIRST_REQUEST.min(self.limits.grace), self.connection.accept_bi()).await;
            match first {
                Ok(Ok(stream)) => next_id = self.take(stream),
                Ok(Err(_)) => return,
                Err(_) => {}
            }
        }
        sign(control, ALL_STREAMS).await;
        let (least, most) = LAST_REQUESTS;
        let until = Instant::now() + (self.connection.rtt() * 2).clamp(least, most);
        while let Ok(stream) = time::timeout_at(until, self.connection.accept_bi()).await {
            let Ok(stream) = stream else { return };
            next_id = self.take(stream);
        }
        sign(control, next_id).await;
        self.streams.close();
        loop {
            tokio::select! {
                () = self.streams.wait() => return,
                late = self.connection.accept_bi() => match late {
                    // Its client may ask again elsewhere: nothing of it was looked at.
                    Ok((mut sender, mut receiver)) => {
                        drop((sender.reset(code::REQUEST_REJECTED), receiver.stop(code::REQUEST_REJECTED)));
                    }
                    Err(_) => return,
                }
            }
        }
    }
}

/// Tells which requests are answered still: those below that id.
async fn sign(control: &mut SendStream, id: u64) {
    let (mut number, mut frame) = (Vec::new(), Vec::new());
    frames::put_number(&mut number, id);
    put_frame(&mut frame, frames::GOAWAY, &number);
    // Who does not take it finds out by the end of the connection.
    drop(time::timeout(SIGN, control.write_all(&frame)).await);
}

fn put_frame(to: &mut Vec<u8>, kind: u64, content: &[u8]) {
    frames::put_number(to, kind);
    frames::put_number(to, u64::try_from(content.len()).unwrap_or(u64::MAX));
    to.extend_from_slice(content);
}

/// Reads what a client says of itself. Nothing of it changes what is sent: an answer's head is as large as it is.
async fn control(frames: &mut Frames) -> Result<(), Fault> {
    let mut is_first = true;
    while let Some((kind, length)) = frames.next().await? {
        match (kind, is_first) {
            (frames::SETTINGS, true) | (frames::GOAWAY | frames::CANCEL_PUSH | frames::MAX_PUSH_ID, false) => {}
            (_, true) => return Err(Fault::Connection(code::MISSING_SETTINGS)),
            (_, false) => return Err(Fault::Connection(code::FRAME_UNEXPECTED)),
        }
        if length > CONTROL_FRAME_MAX {
            return Err(Fault::Connection(code::EXCESSIVE_LOAD));
        }
        let content = frames.whole().await?;
        if is_first && !are_settings(&content) {
            return Err(Fault::Connection(code::SETTINGS_ERROR));
        }
        is_first = false;
    }
    Ok(())
}

/// Pairs of numbers, none of them for a setting that HTTP/2 had alone (RFC 9114, 7.2.4.1).
fn are_settings(mut content: &[u8]) -> bool {
    while !content.is_empty() {
        let Some((name, behind)) = frames::number(content) else { return false };
        let rest = content.get(behind..).unwrap_or_default();
        let Some((_, more)) = frames::number(rest) else { return false };
        if matches!(name, 0x2..=0x5) {
            return false;
        }
        content = rest.get(more..).unwrap_or_default();
    }
    true
}

/// A client that was given no table can say one thing of it: that it has no bytes (RFC 9204, 4.3.1).
async fn encoder(frames: &mut Frames) -> Result<(), Fault> {
    while let Some(bytes) = frames.bytes().await? {
        if bytes.iter().any(|it| *it != 0x20) {
            return Err(Fault::Connection(code::ENCODER_STREAM_ERROR));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_spoils_streams_slowly_may_go_on_for_long() {
        let begun = Instant::now();
        let mut spoilt = Spoilt { count: 0, since: begun, ever: 0 };
        assert!((0..SPOILT_MAX).all(|_| spoilt.one_more(begun)));
        assert!(!spoilt.one_more(begun));
        let mut slow = Spoilt { count: SPOILT_MAX, since: begun, ever: 0 };
        assert!((1..=SPOILT_EVER_MAX).all(|nth| slow.one_more(begun + SPOILT_BACK * nth)));
        assert!(!slow.one_more(begun + SPOILT_BACK * (2 * SPOILT_EVER_MAX)), "but not for ever");
    }

    #[test]
    fn settings_are_pairs_and_none_of_http_2() {
        for (content, well) in [
            (&b""[..], true),
            (b"\x01\x00\x07\x00\x06\x44\x00", true),
            (b"\x40\x21\x05", true),
            (b"\x02\x00", false),
            (b"\x05\x00", false),
            (b"\x06", false),
            (b"\x06\x44", false),
        ] {
            assert_eq!(are_settings(content), well, "{content:x?}");
        }
    }
}
