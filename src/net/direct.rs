//! The short way of HTTP/1.1: a request that has no body, and whose answer is there at once and whole in memory, is read, answered and
//! written here, with one read and one write. Of many bytes that are in a file too the system takes them from there, where it can.
//!
//! Everything else is hyper's: another method or version, a body, a switch of protocols, an answer that is waited for or that streams.
//! It gets the bytes of the request again, the answer if that was begun, and the rest of the connection. So this knows neither codings
//! nor upgrades nor errors: what it does not take for sure it passes on, and one request is answered once.
//!
//! Bytes come through the same [`Watched`] for both, which has refused what RFC 9112 gives two readings. Nothing is kept for a connection
//! that is idle.

use std::{
    cell::Cell,
    io::{self, IoSlice},
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
    time::{Duration, UNIX_EPOCH},
};

use bytes::{Buf as _, Bytes};
use hyper::{
    HeaderMap, Method, Request, StatusCode, Uri,
    header::{CONNECTION, CONTENT_LENGTH, DATE, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{activity::Watched, arriving::Arriving, stream::SendFile};
use crate::{
    base::clock::Clock,
    http::{
        respond::{Response, Watching},
        stored::Part,
    },
};

/// Bytes that are read at once, and of a head that is answered here.
const HEAD_MAX: usize = 8 * 1024;
/// Fields of a head, as many as hyper takes.
const FIELDS_MAX: usize = 100;
/// So often something is read that comes behind the last request.
const UNREAD_MAX: usize = 8;
/// A body of so many bytes is copied behind its head: one piece costs the system less than two.
const COPIED_MAX: usize = 4 * 1024;
/// Bytes of a file that the system sends at once, and after which others have their turn.
const SENT_MAX: usize = 1024 * 1024;
/// Steps of a connection, of which a request takes one or two, until others have their turn.
const TURNS_MAX: usize = 32;
/// What a thread keeps of the room for a head.
const ROOM_MAX: usize = 16 * 1024;
/// Bytes of a date (RFC 9110, 5.6.7).
const DATE_BYTES: usize = 29;

thread_local! {
    /// Room for the head of an answer, and for the fields of a request.
    static ROOM: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
    static FIELDS: Cell<Option<HeaderMap>> = const { Cell::new(None) };
    /// The time of day as answers say it, and its second.
    static NOW: Cell<(u64, [u8; DATE_BYTES])> = const { Cell::new((u64::MAX, [0; DATE_BYTES])) };
}

/// A connection of which requests are answered here, until one cannot be.
pub(super) struct Direct<S, F, A> {
    stream: Watched<S>,
    answer: F,
    /// What has come of requests that are not answered.
    kept: Bytes,
    /// It may hold a whole request.
    has_more: bool,
    /// What is on its way out.
    out: Option<Out>,
    is_closing: bool,
    /// What had come before it was to close is read.
    has_looked: bool,
    begun: Option<Begun<A>>,
    end: End,
}

/// How it goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It does.
    None,
    /// The client wants no more than the answer that is on its way out.
    Last,
    /// The client has gone, or is to go: the stream is shut down.
    Closed,
    /// Hyper goes on.
    PassedOn,
}

/// What is done of the request that hyper reads once more.
pub(super) enum Begun<A> {
    /// It is being answered.
    Answering(A),
    /// It was.
    Answered(Response),
}

/// A connection that hyper goes on with.
pub(super) struct Rest<S, A> {
    pub(super) stream: Rewound<Watched<S>>,
    pub(super) begun: Option<Begun<A>>,
}

/// An answer that is being written.
struct Out {
    head: Vec<u8>,
    at: usize,
    /// Where the bytes of the body are in a file that the system sends. Let go of before them, as in `Stored`.
    file: Option<Part>,
    body: Bytes,
    watching: Watching,
}

/// What a reading has brought.
#[expect(clippy::large_enum_variant, reason = "taken apart where it is made")]
enum Read {
    /// A part of a head.
    Part,
    /// A request without a body, the last one or not, whose head has so many bytes.
    Plain(Request<Arriving>, bool, usize),
    /// Anything else.
    Other,
}

impl<S, F, A> Direct<S, F, A>
where
    S: AsyncRead + AsyncWrite + SendFile + Unpin,
    F: Fn(Request<Arriving>) -> A,
    A: Future<Output = Response> + Unpin,
{
    /// Of a connection that begins with HTTP/1.
    pub(super) const fn new(stream: Watched<S>, answer: F) -> Self {
        Self {
            stream,
            answer,
            kept: Bytes::new(),
            has_more: false,
            out: None,
            is_closing: false,
            has_looked: false,
            begun: None,
            end: End::None,
        }
    }

    /// Takes no more requests than have begun to come.
    pub(super) const fn close(&mut self) {
        self.is_closing = true;
    }

    /// What hyper goes on with, if it does.
    pub(super) fn rest(self) -> Option<Rest<S, A>> {
        let stream = Rewound { first: self.kept, stream: self.stream };
        (self.end == End::PassedOn).then_some(Rest { stream, begun: self.begun })
    }

    /// Reads what has come, and begins to answer it.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.end == End::Last {
            // What lies there unread would have the system take back what is on its way to the client.
            let mut room = [MaybeUninit::uninit(); HEAD_MAX];
            for _ in 0..UNREAD_MAX {
                let mut read = ReadBuf::uninit(&mut room);
                let polled = Pin::new(&mut self.stream).poll_read(context, &mut read)?;
                if polled.is_pending() || read.filled().is_empty() {
                    break;
                }
            }
            self.end = End::Closed;
            return Poll::Ready(Ok(()));
        }
        if self.has_more {
            self.has_more = false;
            let text = std::mem::take(&mut self.kept);
            self.take_in(text, context);
            return Poll::Ready(Ok(()));
        }
        // Empty lines are no beginning of a request.
        let is_between = self.kept.iter().all(|it| matches!(it, b'\r' | b'\n'));
        if self.is_closing && (self.has_looked || !is_between) {
            self.end = if is_between { End::Closed } else { End::PassedOn };
            return Poll::Ready(Ok(()));
        }
        let mut room = [MaybeUninit::uninit(); HEAD_MAX];
        let mut read = ReadBuf::uninit(&mut room);
        let polled = Pin::new(&mut self.stream).poll_read(context, &mut read);
        // A request that lies there would be cut off, and with it the answer that is on its way.
        self.has_looked = self.is_closing;
        if polled.is_pending() && self.is_closing {
            return Poll::Ready(Ok(()));
        }
        ready!(polled)?;
        let new = read.filled();
        if new.is_empty() {
            self.end = End::Closed;
        } else if self.kept.is_empty() {
            self.take_in(Bytes::copy_from_slice(new), context);
        } else {
            let text = Bytes::from([&std::mem::take(&mut self.kept), new].concat());
            // Only with a line, or with the sign of a wrong one, there is more to see than before.
            let may_be_whole = text.len() >= HEAD_MAX || new.iter().any(|it| matches!(it, b'\n' | 0));
            if may_be_whole {
                self.take_in(text, context);
            } else {
                self.kept = text;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Bytes from the beginning of a request on.
    fn take_in(&mut self, text: Bytes, context: &mut Context<'_>) {
        match read(&text) {
            Read::Part if text.len() < HEAD_MAX => self.kept = text,
            Read::Plain(request, is_last, length) => {
                // Nothing that comes behind it is a request (RFC 9112, 9.6).
                self.begin(request, text, length, is_last, context);
            }
            Read::Part | Read::Other => self.pass_on(text, None),
        }
    }

    fn begin(
        &mut self,
        request: Request<Arriving>,
        text: Bytes,
        length: usize,
        is_last: bool,
        context: &mut Context<'_>,
    ) {
        let how = How {
            is_head: *request.method() == Method::HEAD,
            is_last: is_last || (self.is_closing && text.len() == length),
        };
        let mut answer = (self.answer)(request);
        let Poll::Ready(mut response) = Pin::new(&mut answer).poll(context) else {
            self.pass_on(text, Some(Begun::Answering(answer)));
            return;
        };
        let mut head = ROOM.take();
        head.clear();
        let whole = match response.body_mut().take_whole() {
            Some(whole) if write_head(&mut head, &response, whole.stored.len(), how) => whole,
            whole => {
                ROOM.set(head);
                if let Some(whole) = whole {
                    *response.body_mut() = whole.into();
                }
                self.pass_on(text, Some(Begun::Answered(response)));
                return;
            }
        };
        // Parts may be of a mapped file, whose pages are the system's alone to touch: it says so if one is bad.
        let may_copy = response.status() != StatusCode::PARTIAL_CONTENT;
        give_back(std::mem::take(response.headers_mut()));
        let (mut body, file) = whole.stored.into_parts();
        let (file, mut watching) = (file.filter(|_| self.stream.sends_files()), whole.watching);
        if may_copy && body.len() <= COPIED_MAX {
            head.extend_from_slice(&body);
            watching.sent(body.len());
            body = Bytes::new();
        }
        self.out = Some(Out { head, at: 0, body, file, watching });
        if is_last {
            self.end = End::Last;
        }
        if text.len() > length {
            self.kept = text.slice(length..);
            self.has_more = true;
        }
    }

    fn pass_on(&mut self, text: Bytes, begun: Option<Begun<A>>) {
        (self.kept, self.begun, self.end) = (text, begun, End::PassedOn);
    }

    /// Writes what is on its way out.
    fn poll_write(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(out) = &mut self.out else { return Poll::Ready(Ok(())) };
        let mut left = SENT_MAX;
        loop {
            let head = out.head.get(out.at..).unwrap_or_default();
            if head.is_empty() && out.body.is_empty() {
                break;
            }
            if left == 0 {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let stream = &mut self.stream;
            let polled = match &out.file {
                Some(_) if !head.is_empty() => stream.poll_write_more(context, head),
                Some(part) => stream.poll_send_file(context, part, left.min(out.body.len())),
                None if out.body.is_empty() => Pin::new(stream).poll_write(context, head),
                None => Pin::new(stream).poll_write_vectored(context, &[IoSlice::new(head), IoSlice::new(&out.body)]),
            };
            let written = match ready!(polled) {
                // Not of every file system.
                Err(error) if head.is_empty() && out.file.is_some() && is_no_way(&error) => {
                    out.file = None;
                    continue;
                }
                written => written?,
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_head = written.min(head.len());
            out.at += of_head;
            let of_body = written - of_head;
            out.has_sent(of_body);
            left = left.saturating_sub(of_body);
        }
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        if let Some(out) = self.out.take().filter(|it| it.head.capacity() <= ROOM_MAX) {
            ROOM.set(out.head);
        }
        Poll::Ready(Ok(()))
    }
}

impl Out {
    /// So many more bytes of the body have left.
    fn has_sent(&mut self, bytes: usize) {
        self.body.advance(bytes.min(self.body.len()));
        if let Some(part) = &mut self.file {
            part.at = part.at.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        }
        if bytes > 0 {
            self.watching.sent(bytes);
        }
    }
}

/// Whether the system cannot send a file by itself.
fn is_no_way(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}

impl<S, F, A> Future for Direct<S, F, A>
where
    S: AsyncRead + AsyncWrite + SendFile + Unpin,
    F: Fn(Request<Arriving>) -> A + Unpin,
    A: Future<Output = Response> + Unpin,
{
    type Output = ();

    /// Until the connection is over, or the rest of it is hyper's.
    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        for _ in 0..TURNS_MAX {
            match this.end {
                End::None | End::Last => {}
                End::Closed => return Pin::new(&mut this.stream).poll_shutdown(context).map(drop),
                End::PassedOn => return Poll::Ready(()),
            }
            let done = match ready!(this.poll_write(context)) {
                Ok(()) => ready!(this.poll_next(context)),
                failed => failed,
            };
            if done.is_err() {
                return Poll::Ready(());
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// The request that these bytes begin with.
fn read(text: &Bytes) -> Read {
    let mut fields = [MaybeUninit::uninit(); FIELDS_MAX];
    let mut found = httparse::Request::new(&mut []);
    let length = match found.parse_with_uninit_headers(text, &mut fields) {
        Ok(httparse::Status::Complete(length)) if length <= HEAD_MAX => length,
        Ok(httparse::Status::Partial) => return Read::Part,
        _ => return Read::Other,
    };
    plain(&found, text).map_or(Read::Other, |(request, is_last)| Read::Plain(request, is_last, length))
}

/// The same for a head that is whole, and whether the client wants nothing behind it. `None` where it is not one of those that are answered here.
fn plain(found: &httparse::Request<'_, '_>, text: &Bytes) -> Option<(Request<Arriving>, bool)> {
    let method = match found.method? {
        "GET" => Method::GET,
        "HEAD" => Method::HEAD,
        _ => return None,
    };
    let target = found.path.filter(|it| found.version == Some(1) && it.starts_with('/'))?;
    let mut request = Request::new(Arriving::Nothing);
    *request.uri_mut() = Uri::from_maybe_shared(text.slice_ref(target.as_bytes())).ok()?;
    *request.method_mut() = method;
    let (mut headers, mut is_last) = (FIELDS.take().unwrap_or_default(), false);
    for field in &*found.headers {
        if is_about_the_connection(field) {
            return None;
        }
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        is_last |= name == CONNECTION && says_close(field);
        // An empty value may stand nowhere in the text.
        let value = if field.value.is_empty() {
            HeaderValue::from_static("")
        } else {
            HeaderValue::from_maybe_shared(text.slice_ref(field.value)).ok()?
        };
        headers.try_append(name, value).ok()?;
    }
    *request.headers_mut() = headers;
    Some((request, is_last))
}

const fn says_close(field: &httparse::Header<'_>) -> bool {
    field.value.eq_ignore_ascii_case(b"close")
}

/// Whether a field says where the message ends, or what becomes of the connection behind it, other than that it goes on or ends.
fn is_about_the_connection(field: &httparse::Header<'_>) -> bool {
    let is = |name: &str| field.name.eq_ignore_ascii_case(name);
    match field.name.len() {
        2 => is("te"),
        6 => is("expect"),
        7 => is("upgrade") || is("trailer"),
        10 => is("connection") && !field.value.eq_ignore_ascii_case(b"keep-alive") && !says_close(field),
        14 => is("content-length") || is("http2-settings"),
        16 => is("proxy-connection"),
        17 => is("transfer-encoding"),
        _ => false,
    }
}

/// How a request wants its answer.
#[derive(Clone, Copy, Debug)]
struct How {
    /// It asks for the head alone.
    is_head: bool,
    /// Nothing is answered behind it.
    is_last: bool,
}

/// Writes the head of an answer with a body of `bytes`. `false` where it says something of the connection, or another length.
fn write_head(head: &mut Vec<u8>, response: &Response, bytes: usize, how: How) -> bool {
    let status = response.status();
    if status.is_informational() {
        return false;
    }
    let is_empty = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let bodiless = how.is_head || is_empty;
    if bodiless && bytes > 0 {
        return false;
    }
    head.extend_from_slice(b"HTTP/1.1 ");
    head.extend_from_slice(status.as_str().as_bytes());
    head.push(b' ');
    // A status without words is hyper's to name.
    let Some(reason) = status.canonical_reason() else { return false };
    head.extend_from_slice(reason.as_bytes());
    head.extend_from_slice(b"\r\n");
    let (mut has_length, mut has_date) = (false, false);
    for (name, value) in response.headers() {
        if *name == CONTENT_LENGTH {
            let told = std::str::from_utf8(value.as_bytes()).ok().and_then(|it| it.parse().ok());
            if has_length || (!bodiless && told != Some(bytes)) || is_empty {
                return false;
            }
            has_length = true;
        } else if *name == DATE {
            has_date = true;
        } else if *name == CONNECTION || *name == TRANSFER_ENCODING || *name == UPGRADE {
            return false;
        }
        field(head, name.as_str().as_bytes(), value.as_bytes());
    }
    if !has_length && !bodiless {
        field(head, CONTENT_LENGTH.as_str().as_bytes(), bytes.to_string().as_bytes());
    }
    if how.is_last {
        field(head, CONNECTION.as_str().as_bytes(), b"close");
    }
    if !has_date {
        field(head, DATE.as_str().as_bytes(), &now());
    }
    head.extend_from_slice(b"\r\n");
    true
}

fn field(head: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    head.reserve(name.len() + value.len() + 4);
    head.extend_from_slice(name);
    head.extend_from_slice(b": ");
    head.extend_from_slice(value);
    head.extend_from_slice(b"\r\n");
}

/// Room that the fields of the next request may have.
fn give_back(mut headers: HeaderMap) {
    headers.clear();
    FIELDS.set(Some(headers));
}

/// The time of day, which is written anew once a second.
fn now() -> [u8; DATE_BYTES] {
    let second = u64::try_from(Clock::system().about_ms() / 1_000).unwrap_or(0);
    let (known, mut text) = NOW.get();
    if known != second {
        let written = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second));
        text.iter_mut().zip(written.bytes()).for_each(|(to, from)| *to = from);
        NOW.set((second, text));
    }
    text
}

/// A stream that begins with bytes which were read of it before.
#[derive(Debug)]
pub(super) struct Rewound<S> {
    first: Bytes,
    stream: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Rewound<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let now = self.first.len().min(buffer.remaining());
        buffer.put_slice(&self.first.split_to(now));
        if self.first.is_empty() {
            self.first = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Rewound<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

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

#[cfg(test)]
mod tests;
