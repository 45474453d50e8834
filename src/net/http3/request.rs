//! One request of a connection, from the first byte of its stream until its answer has arrived.
//!
//! An answer that breaks off resets its stream: it never ends as if it were whole. Who stops a stream has its request dropped at once,
//! wherever it is.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::{
    HeaderMap, Method, Request, StatusCode,
    body::{Body as _, Frame},
    header::{CONTENT_LENGTH, DATE, EXPECT, HeaderValue},
    http::request::Parts,
};
use quinn::{RecvStream, SendStream, VarInt};
use tokio::{sync::oneshot, time};

use super::{
    body::Body,
    connection::Line,
    frames::{self, Fault, Frames, code},
    head::{self, Head, Refused},
};
use crate::{
    http::{
        peer::Peer,
        respond::{self, BodyError, Response},
    },
    net::activity::Working,
};

/// How long the end of an answer may be on its way: as much as quinn keeps of one, over a line that is hardly any.
const ARRIVES_WITHIN: Duration = Duration::from_mins(10);

/// How long the rest of a body that nobody wants is taken, and how many bytes: as much as a part of an upload may have.
const DISCARDED_FOR: Duration = Duration::from_secs(30);
const DISCARDED_MAX: usize = 64 << 20;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Its answer was sent.
    Answered,
    /// The client took it back, or sent what is none.
    Spoilt,
    /// The connection is over, or we could not answer.
    Broken,
}

/// The way of an answer. What is dropped before its end is reset.
struct Answer {
    stream: SendStream,
    /// The client has the time to take something of it.
    patience: Duration,
    /// What it is reset with; `None`: it has ended.
    broken: Option<VarInt>,
}

impl Drop for Answer {
    fn drop(&mut self) {
        if let Some(code) = self.broken {
            // A stream that the client has stopped already is one less.
            drop(self.stream.reset(code));
        }
    }
}

/// Reads a request and answers it.
pub(super) async fn serve<H, A>(line: &Arc<Line<H>>, sender: SendStream, receiver: RecvStream) -> End
where
    H: Fn(Request<Body>, Peer) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response> + Send + 'static,
{
    let stopped = sender.stopped();
    tokio::pin!(stopped);
    let broken = Some(code::REQUEST_CANCELLED);
    let mut answer = Answer { stream: sender, patience: line.limits.idle, broken };
    let mut has_arrived = false;
    // SECURITY: `stopped` is not polled before there is a whole head, since quinn keeps a note of who waits for a stream until the client
    // has stopped it or has all of it: of one that we reset, for as long as the connection lives.
    let served = match ask(line, &mut answer, receiver).await {
        Ok(Some(asked)) => {
            let exchange = exchange(line, &mut answer, asked);
            tokio::pin!(exchange);
            loop {
                tokio::select! {
                    biased;
                    served = &mut exchange => break served.map(Some),
                    stopped = &mut stopped, if !has_arrived => match stopped {
                        // The answer, before the client has sent all that nobody wants.
                        Ok(None) => has_arrived = true,
                        Ok(Some(_)) => return End::Spoilt,
                        Err(_) => return End::Broken,
                    }
                }
            }
        }
        Ok(None) => Ok(None),
        Err(fault) => Err(fault),
    };
    match served {
        // What was sent is on its way: until it is there, this request is under way, and a shutdown waits for it.
        Ok(working) => {
            if !has_arrived {
                drop(time::timeout(ARRIVES_WITHIN, stopped).await);
            }
            drop(working);
            End::Answered
        }
        // A head, a body or the way of an answer that was reset; unless all of the connection is.
        Err(Fault::Gone) if line.connection.close_reason().is_none() => End::Spoilt,
        Err(Fault::Gone) => End::Broken,
        Err(Fault::Stream(code)) => {
            answer.broken = Some(code);
            // What we could not answer is no fault of the client's.
            if code == code::INTERNAL_ERROR { End::Broken } else { End::Spoilt }
        }
        Err(Fault::Connection(code)) => {
            line.connection.close(code, b"");
            End::Broken
        }
    }
}

/// A request, and where what is left of its body goes.
struct Asked {
    parts: Parts,
    body: Body,
    rest: oneshot::Receiver<Frames>,
}

/// Reads the head of a request; `None` where it was too large, and its refusal is to arrive.
async fn ask<H>(line: &Line<H>, answer: &mut Answer, receiver: RecvStream) -> Result<Option<Asked>, Fault> {
    let mut frames = Frames::new(receiver);
    let read = time::timeout(line.limits.head, head(&mut frames, line.limits.head_bytes)).await;
    let head = match read {
        Ok(Ok(head)) => head,
        Ok(Err(Unanswered::Fault(fault))) => {
            frames.stop(code::NO_ERROR);
            return Err(fault);
        }
        Ok(Err(Unanswered::TooLarge)) => {
            frames.stop(code::NO_ERROR);
            line.spoil();
            let refusal = respond::empty(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
            answer.write_all(line, refusal, false).await?;
            return Ok(None);
        }
        Err(_) => {
            frames.stop(code::REQUEST_INCOMPLETE);
            return Err(Fault::Stream(code::REQUEST_INCOMPLETE));
        }
    };
    let (mut body, rest) = Body::new(frames, line.connection.clone(), head.length);
    poll_fn(|context| Poll::Ready(body.look(context))).await?;
    Ok(Some(Asked { parts: head.parts, body, rest }))
}

/// Asks the handler, and hands on what it answers, which is then to arrive.
async fn exchange<H, A>(line: &Arc<Line<H>>, answer: &mut Answer, asked: Asked) -> Result<Working, Fault>
where
    H: Fn(Request<Body>, Peer) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response> + Send + 'static,
{
    let Asked { parts, body, rest } = asked;
    let is_head = parts.method == Method::HEAD;
    if wants_leave(&parts, &body) {
        answer.write(&mut [head::write(StatusCode::CONTINUE, &HeaderMap::new())]).await?;
    }
    let working = line.activity.begin();
    let response = (line.handler)(Request::from_parts(parts, body), line.peer).await;
    tokio::try_join!(answer.write_all(line, response, is_head), discard(line, rest))?;
    Ok(working)
}

/// Takes for a while what is left of a body that nobody wants, as its client may look at the answer only when it is rid of all
/// of it: Chromium waits for ever when it is told to stop. Then it is told.
async fn discard<H>(line: &Line<H>, rest: oneshot::Receiver<Frames>) -> Result<(), Fault> {
    let Ok(mut frames) = rest.await else { return Ok(()) };
    tokio::select! {
        biased;
        () = line.tasks.stopping() => {}
        // How it ends is nothing to the answer.
        _ = time::timeout(DISCARDED_FOR, frames.drain(DISCARDED_MAX)) => {}
    }
    frames.stop(code::NO_ERROR);
    Ok(())
}

/// Why a request has no head.
enum Unanswered {
    Fault(Fault),
    TooLarge,
}

impl From<Fault> for Unanswered {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

async fn head(frames: &mut Frames, bytes_max: usize) -> Result<Head, Unanswered> {
    let section = match frames.next().await? {
        // Packed, it has hardly ever more bytes than unpacked.
        Some((frames::HEADERS, length)) if usize::try_from(length).is_ok_and(|it| it <= bytes_max) => {
            frames.whole().await?
        }
        Some((frames::HEADERS, _)) => return Err(Unanswered::TooLarge),
        Some(_) => return Err(Fault::Connection(code::FRAME_UNEXPECTED).into()),
        None => return Err(Fault::Stream(code::REQUEST_INCOMPLETE).into()),
    };
    head::read(section, bytes_max).map_err(|why| match why {
        Refused::TooLarge => Unanswered::TooLarge,
        Refused::Broken => Fault::Connection(code::DECOMPRESSION_FAILED).into(),
        Refused::Malformed(why) => {
            tracing::debug!(why, "a request by HTTP/3 was refused");
            Fault::Stream(code::MESSAGE_ERROR).into()
        }
    })
}

/// Whether the client waits to be told that it may send the body.
fn wants_leave(parts: &Parts, body: &Body) -> bool {
    let wants = parts.headers.get(EXPECT).is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    wants && !body.is_end_stream()
}

impl Answer {
    /// Sends an answer to its end.
    async fn write_all<H>(&mut self, line: &Line<H>, response: Response, is_head: bool) -> Result<(), Fault> {
        let (mut parts, mut body) = response.into_parts();
        let bodiless = is_head || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if let (false, Some(length)) = (bodiless, body.size_hint().exact()) {
            parts.headers.entry(CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
        }
        parts.headers.entry(DATE).or_insert_with(|| line.date());
        let start = head::write(parts.status, &parts.headers);
        // No slot of a map is kept while a client takes its time.
        drop(parts);
        if bodiless || body.is_end_stream() {
            self.write(&mut [start]).await?;
            return self.finish();
        }
        // What there is of the body goes out with the head; what is still made is waited for behind it.
        let first = poll_fn(|context: &mut Context<'_>| Poll::Ready(Pin::new(&mut body).poll_frame(context))).await;
        let mut start = Some(start);
        let mut next = match first {
            Poll::Ready(first) => first,
            Poll::Pending => {
                self.write(start.take().as_mut_slice()).await?;
                body.frame().await
            }
        };
        while let Some(bytes) = data(next)? {
            match start.take() {
                Some(start) => self.write(&mut [start, head::data(bytes.len()), bytes]).await?,
                None if bytes.is_empty() => {}
                None => self.write(&mut [head::data(bytes.len()), bytes]).await?,
            }
            next = body.frame().await;
        }
        self.write(start.as_mut_slice()).await?;
        self.finish()
    }

    /// Hands on some bytes as fast as the client takes them; who takes none for long has gone.
    async fn write(&mut self, mut chunks: &mut [Bytes]) -> Result<(), Fault> {
        while !chunks.is_empty() {
            let written = time::timeout(self.patience, self.stream.write_chunks(chunks)).await;
            let written = written.map_err(|_| Fault::Stream(code::REQUEST_CANCELLED))?.map_err(|_| Fault::Gone)?;
            chunks = chunks.get_mut(written.chunks..).unwrap_or_default();
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Fault> {
        self.stream.finish().map_err(|_| Fault::Gone)?;
        self.broken = None;
        Ok(())
    }
}

/// The bytes of a frame of an answer: trailers there are none. `None` at the end.
fn data(frame: Option<Result<Frame<Bytes>, BodyError>>) -> Result<Option<Bytes>, Fault> {
    match frame {
        None => Ok(None),
        Some(Ok(frame)) => Ok(Some(frame.into_data().unwrap_or_default())),
        Some(Err(error)) => {
            tracing::debug!(%error, "an answer by HTTP/3 broke off");
            Err(Fault::Stream(code::INTERNAL_ERROR))
        }
    }
}
