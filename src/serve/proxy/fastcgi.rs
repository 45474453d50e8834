//! A client of `FastCGI` 1.0: one request of the role responder on one connection, its body sent as it comes and its answer given as it comes.
//!
//! Guarantees: an answer ends as if it were whole only when the program says that it is. Dropped, an exchange ends its connection,
//! which ends the program's work.

mod params;
pub(super) mod public;
mod records;
mod reply;
mod script;

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Limited};
use hyper::{
    body::{Body as HttpBody, Frame},
    http::request::Parts,
};
use tokio::{
    io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf, ReadHalf, WriteHalf, split},
    time::Instant,
};

use self::records::{Record, Records};
pub(super) use self::{
    reply::Head,
    script::{Script, script},
};
use super::{
    bodies::{Patience, Sending},
    connect::Stream,
    server::Lease,
};
use crate::http::{
    peer::Client,
    respond::{Body, BodyError},
};

/// A body whose length is not announced is kept up to this size, as programs are told the length before they get it.
const UNKNOWN_BYTES_MAX: usize = 1 << 20;
/// Bytes that are read at once.
const READ_BYTES: usize = 16 * 1024;
/// Complaints of the programs of one route that are logged in a minute, and as many requests for such that may not run.
const COMPLAINTS_MAX: u32 = 20;
/// Bytes of one that are logged.
const COMPLAINT_BYTES_MAX: usize = 1_024;

/// What programs are told of a request.
#[derive(Clone, Copy)]
pub(super) struct About<'a> {
    pub(super) parts: &'a Parts,
    pub(super) client: Client,
    /// What was taken from the front of the path.
    pub(super) prefix: &'a str,
    /// Whether a name and a password of this server's have let it in.
    pub(super) past_basic: bool,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The client sends a large body and does not say how large.
    NoLength,
    /// Its body broke off.
    Body,
    /// The program has ended before it had answered.
    Ended,
    /// What came is no answer.
    Nonsense(&'static str),
    /// Nothing came in time.
    Late,
    /// The connection broke.
    Lost(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoLength => f.write_str("the length of the request's body is not known"),
            Self::Body => f.write_str("the request's body broke off"),
            Self::Ended => f.write_str("the program ended before its answer was whole"),
            Self::Nonsense(why) => f.write_str(why),
            Self::Late => f.write_str("it did not answer in time"),
            Self::Lost(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Fault {}

/// What is told of the programs of a route, each a few times a minute: one that complains of all that it does hides nothing else.
#[derive(Clone, Debug, Default)]
pub(super) struct Stderr(Arc<Told>);

#[derive(Debug, Default)]
struct Told {
    complaints: Budget,
    denied: Budget,
}

/// Since when, and how many.
#[derive(Debug, Default)]
struct Budget(Mutex<Option<(Instant, u32)>>);

impl Budget {
    /// Whether one more is logged, and whether it is the last of this minute.
    fn may_log(&self) -> Option<bool> {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let (since, count) = counted.filter(|it| now - it.0 < Duration::from_mins(1)).unwrap_or((now, 0));
        *counted = Some((since, count.saturating_add(1)));
        (count < COMPLAINTS_MAX).then_some(count + 1 == COMPLAINTS_MAX)
    }
}

impl Stderr {
    /// A program was asked for that may not run.
    fn may_not_run(&self, name: &str) {
        if self.0.denied.may_log().is_some() {
            tracing::warn!(
                name,
                "a program was asked for that may not run: `deny` and `scripts` of the route say which may. If visitors can send such files, look whether they are theirs"
            );
        }
    }

    fn tell(&self, bytes: &[u8]) {
        let shown = bytes.get(..COMPLAINT_BYTES_MAX).unwrap_or(bytes);
        let text = String::from_utf8_lossy(shown);
        let text = text.trim();
        if text.is_empty() {
            return;
        }
        match self.0.complaints.may_log() {
            Some(false) => tracing::warn!(text, "a program of FastCGI complains"),
            Some(true) => {
                tracing::warn!(text, "a program of FastCGI complains; more is logged as `debug` for a minute");
            }
            None => tracing::debug!(text, "a program of FastCGI complains"),
        }
    }
}

/// A request on its way.
type Writing = Pin<Box<dyn Future<Output = Result<(), Fault>> + Send>>;

/// One request and its answer.
pub(super) struct Exchange {
    reader: ReadHalf<Stream>,
    /// Sends the request; `None`: all is sent.
    writing: Option<Writing>,
    records: Records,
    stderr: Stderr,
}

impl Exchange {
    /// Nothing is sent before the answer is waited for.
    pub(super) fn new(stream: Stream, body: Sending, about: &About<'_>, script: &Script, stderr: &Stderr) -> Self {
        let (reader, writer) = split(stream);
        let params = params::of(about, script);
        let writing: Writing = Box::pin(write(writer, params, body));
        Self { reader, writing: Some(writing), records: Records::default(), stderr: stderr.clone() }
    }

    /// The next bytes that the program says; `None` at the end.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Fault>> {
        if let Some(writing) = &mut self.writing
            && let Poll::Ready(written) = writing.as_mut().poll(context)
        {
            self.writing = None;
            written?;
        }
        loop {
            match self.records.next()? {
                Some(Record::Stdout(bytes)) if bytes.is_empty() => {}
                Some(Record::Stdout(bytes)) => return Poll::Ready(Ok(Some(bytes))),
                Some(Record::Stderr(bytes)) => self.stderr.tell(&bytes),
                Some(Record::End) => return Poll::Ready(Ok(None)),
                None => {
                    let mut piece = [0; READ_BYTES];
                    let mut piece = ReadBuf::new(&mut piece);
                    let read = ready!(Pin::new(&mut self.reader).poll_read(context, &mut piece));
                    read.map_err(|error| Fault::Lost(error.to_string()))?;
                    if piece.filled().is_empty() {
                        return Poll::Ready(Err(Fault::Ended));
                    }
                    self.records.put(piece.filled());
                }
            }
        }
    }

    /// Sends the request and waits for the head of the answer.
    pub(super) async fn head(&mut self) -> Result<Head, Fault> {
        let mut said = BytesMut::new();
        loop {
            let Some(bytes) = poll_fn(|context| self.poll(context)).await? else { return Err(Fault::Ended) };
            said.extend_from_slice(&bytes);
            if let Some(head) = reply::read(&mut said)? {
                return Ok(head);
            }
        }
    }

    /// The body of the answer that begins so.
    pub(super) fn body(self, first: Bytes, lease: Lease, patience: Patience) -> Answering {
        let first = Some(first).filter(|it| !it.is_empty());
        Answering { exchange: self, first, lease, patience, has_ended: false }
    }
}

/// Sends a request to its end. That the program does not take it is no fault: it may have answered without it.
async fn write(mut to: WriteHalf<Stream>, mut params: params::Params, body: Sending) -> Result<(), Fault> {
    let mut body = if let Some(length) = body.size_hint().exact() {
        params.length(length);
        Body::boxed(body)
    } else {
        let whole = Limited::new(body, UNKNOWN_BYTES_MAX).collect().await.map_err(|error| {
            if error.is::<http_body_util::LengthLimitError>() { Fault::NoLength } else { Fault::Body }
        })?;
        let whole = whole.to_bytes();
        params.length(u64::try_from(whole.len()).unwrap_or(u64::MAX));
        Body::full(whole)
    };
    if to.write_all(&records::begin(&params.encoded())).await.is_err() {
        return Ok(());
    }
    while let Some(frame) = body.frame().await {
        let Ok(bytes) = frame.map_err(|_| Fault::Body)?.into_data() else { break };
        for piece in bytes.chunks(records::CONTENT_MAX) {
            if to.write_all(&records::head(records::STDIN, piece.len())).await.is_err()
                || to.write_all(piece).await.is_err()
            {
                return Ok(());
            }
        }
    }
    // What it says then, the answer tells.
    drop(to.write_all(&records::head(records::STDIN, 0)).await);
    drop(to.flush().await);
    Ok(())
}

/// The body of an answer.
pub(super) struct Answering {
    exchange: Exchange,
    first: Option<Bytes>,
    lease: Lease,
    patience: Patience,
    has_ended: bool,
}

impl HttpBody for Answering {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if self.has_ended {
            return Poll::Ready(None);
        }
        match self.exchange.poll(context) {
            Poll::Ready(Ok(Some(bytes))) => {
                self.patience.moved();
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Poll::Ready(Ok(None)) => {
                self.has_ended = true;
                Poll::Ready(None)
            }
            Poll::Ready(Err(fault)) => {
                tracing::debug!(upstream = self.lease.server.name, %fault, "an answer broke off");
                Poll::Ready(Some(Err(fault.into())))
            }
            Poll::Pending => {
                let this = &mut *self;
                this.patience.poll(&this.lease, context).map(|why| Some(Err(why.into())))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever asks for what was uploaded is told of, however much a program has to say.
    #[test]
    fn a_program_that_complains_of_everything_hides_nothing_else() {
        let stderr = Stderr::default();
        (0..COMPLAINTS_MAX * 2).for_each(|_| stderr.tell(b"PHP Notice: of everything"));
        assert_eq!(stderr.0.complaints.may_log(), None);
        assert_eq!(stderr.0.denied.may_log(), Some(false));
        (0..COMPLAINTS_MAX).for_each(|_| stderr.may_not_run("/uploads/a.php"));
        assert_eq!(stderr.0.denied.may_log(), None);
    }
}
