//! The body of a request, as its frames come: read when somebody wants it, so that a client sends no faster than it is taken.
//!
//! Never ends as if it were whole when it is not, and never brings more than the request has announced. Trailers mean nothing here and are
//! passed over. Who drops it before its end leaves the rest to whoever answers.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::oneshot;

use super::frames::{self, Fault, Frames, code};
use crate::http::respond::BodyError;

/// A request's body.
#[derive(Debug)]
pub struct Body {
    /// `None`: it has ended.
    frames: Option<Frames>,
    connection: quinn::Connection,
    /// Bytes that are still to come, where the request says so.
    left: Option<u64>,
    /// The trailers have begun: no more of the body comes.
    in_trailers: bool,
    /// The present frame means nothing.
    is_idle: bool,
    /// It broke off.
    broken: Option<Fault>,
    /// Where what is left goes.
    rest: Option<oneshot::Sender<Frames>>,
}

/// Why a body broke off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Broken(Fault);

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Fault::Gone => f.write_str("the client has gone"),
            Fault::Stream(code) | Fault::Connection(code) => {
                write!(f, "the client has sent a body that HTTP/3 has not (error {:#x})", code.into_inner())
            }
        }
    }
}

impl std::error::Error for Broken {}

impl Body {
    /// Of a stream whose head was read, and which says how long it is, if it does; and what is left of it when it is dropped.
    pub(super) fn new(
        frames: Frames,
        connection: quinn::Connection,
        left: Option<u64>,
    ) -> (Self, oneshot::Receiver<Frames>) {
        let (rest, left_over) = oneshot::channel();
        let (frames, rest) = (Some(frames), Some(rest));
        (Self { frames, connection, left, in_trailers: false, is_idle: false, broken: None, rest }, left_over)
    }

    /// Looks at what has come without waiting for more: most bodies have ended already, and some are wrong from the start.
    pub(super) fn look(&mut self, context: &mut Context<'_>) -> Result<(), Fault> {
        while let Some(frames) = self.frames.as_mut().filter(|it| it.left() == 0) {
            match frames.poll_next(context) {
                Poll::Pending => return Ok(()),
                Poll::Ready(found) => self.found(found?)?,
            }
        }
        Ok(())
    }

    /// The next frame, or the end.
    fn found(&mut self, next: Option<(u64, u64)>) -> Result<(), Fault> {
        let Some(frames) = &mut self.frames else { return Ok(()) };
        self.is_idle = false;
        match next {
            None if self.left.is_some_and(|it| it > 0) => return Err(Fault::Stream(code::MESSAGE_ERROR)),
            None => self.frames = None,
            Some((frames::DATA, 0)) if !self.in_trailers => frames.pass_over(0)?,
            Some((frames::DATA, length)) if !self.in_trailers => {
                if let Some(left) = &mut self.left {
                    *left = left.checked_sub(length).ok_or(Fault::Stream(code::MESSAGE_ERROR))?;
                }
            }
            Some((frames::HEADERS, length)) if !self.in_trailers => {
                frames.pass_over(length)?;
                self.in_trailers = true;
            }
            Some((kind, _)) if frames::has_meaning(kind) => return Err(Fault::Connection(code::FRAME_UNEXPECTED)),
            Some((_, length)) => {
                frames.pass_over(length)?;
                self.is_idle = true;
            }
        }
        Ok(())
    }

    fn poll_data(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Fault>> {
        loop {
            let Some(frames) = &mut self.frames else { return Poll::Ready(self.broken.map_or(Ok(None), Err)) };
            if frames.left() == 0 {
                let next = ready!(frames.poll_next(context))?;
                self.found(next)?;
            } else if let Some(piece) = ready!(frames.poll_piece(context))?
                && !self.in_trailers
                && !self.is_idle
            {
                return Poll::Ready(Ok(Some(piece)));
            }
        }
    }

    /// Ends the stream, or the connection, as what came asks for.
    fn give_up(&mut self, fault: Fault) {
        match fault {
            Fault::Gone => {}
            Fault::Stream(code) => {
                if let Some(frames) = &mut self.frames {
                    frames.stop(code);
                }
            }
            Fault::Connection(code) => self.connection.close(code, b""),
        }
        (self.frames, self.broken) = (None, Some(fault));
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(match ready!(self.poll_data(context)) {
            Ok(Some(piece)) => Some(Ok(Frame::data(piece))),
            Ok(None) => None,
            Err(fault) => {
                self.give_up(fault);
                Some(Err(Broken(fault).into()))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_none() && self.broken.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.is_end_stream() {
            return SizeHint::with_exact(0);
        }
        let mut hint = SizeHint::new();
        if let Some(left) = self.left {
            // Beside what is left of the frame that is being read.
            let frame = self.frames.as_ref().filter(|_| !self.in_trailers && !self.is_idle).map_or(0, Frames::left);
            hint.set_exact(left.saturating_add(frame));
        }
        hint
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if let (Some(frames), Some(rest)) = (self.frames.take(), self.rest.take()) {
            // Nobody is there any more where the connection has ended.
            drop(rest.send(frames));
        }
    }
}
