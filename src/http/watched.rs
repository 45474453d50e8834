//! Who wants to know how much of an answer has left: told of each piece on its way to the connection.
//!
//! The connection takes the next piece when the one before is nearly out, so that the count tells how far somebody came who went away.

use std::{
    fmt, mem,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::{
    respond::{Body, BodyError, Response},
    stored::Stored,
};

/// Bytes of an answer that are handed to the connection at once while somebody watches.
pub const PIECE: usize = 256 * 1024;

/// Somebody who is told of the bytes of an answer. Dropped when the last one has left, or when the answer broke off.
pub trait Watch: Send {
    /// So many more were handed to the connection.
    fn sent(&mut self, bytes: u64);
}

/// An extension of an answer behind which its connection, or its stream, is a tunnel: who wants to know of the bytes that go through it
/// to the visitor. They are told every few seconds, and let go when it has ended.
#[derive(Clone, Default)]
pub struct Tunnel(Arc<Mutex<Vec<Box<dyn Watch>>>>);

impl Tunnel {
    fn watching(&self) -> MutexGuard<'_, Vec<Box<dyn Watch>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One more watches.
    pub fn watch(&self, watch: impl Watch + 'static) {
        self.watching().push(Box::new(watch));
    }

    /// Tells all who watch.
    pub fn sent(&self, bytes: u64) {
        self.watching().iter_mut().for_each(|it| it.sent(bytes));
    }

    /// It has ended, whoever still has the answer that has opened it.
    pub fn end(&self) {
        let all = mem::take(&mut *self.watching());
        drop(all);
    }
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel").finish_non_exhaustive()
    }
}

/// An answer whose bytes `watch` is told of on their way: those of its body, or of the tunnel that it opens.
#[must_use]
pub fn watched(response: Response, watch: impl Watch + 'static) -> Response {
    if let Some(tunnel) = response.extensions().get::<Tunnel>() {
        tunnel.watch(watch);
        return response;
    }
    response.map(|body| body.watched(watch))
}

/// A body in pieces, and all who watch it.
pub(super) struct Watched {
    body: Body,
    /// What is left of a frame.
    rest: Bytes,
    first: Box<dyn Watch>,
    others: Vec<Box<dyn Watch>>,
}

impl Watched {
    pub(super) fn new(body: Body, first: Box<dyn Watch>) -> Self {
        Self { body, rest: Bytes::new(), first, others: Vec::new() }
    }

    /// One more watches, from the next piece on.
    pub(super) fn add(&mut self, watch: Box<dyn Watch>) {
        self.others.push(watch);
    }

    /// Tells all who watch.
    pub(super) fn sent(&mut self, bytes: u64) {
        self.first.sent(bytes);
        self.others.iter_mut().for_each(|it| it.sent(bytes));
    }

    /// All of the body, for somebody who tells of it what leaves; `None` where a part has left, or it is not in memory.
    pub(super) fn take(&mut self) -> Option<Stored> {
        let whole = self.rest.is_empty().then(|| self.body.take_whole()).flatten()?;
        Some(whole.stored)
    }

    /// Gives the body back.
    pub(super) fn put(&mut self, body: Body) {
        self.body = body;
    }

    fn piece(&mut self) -> Frame<Bytes> {
        let piece = self.rest.split_to(self.rest.len().min(PIECE));
        self.sent(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        Frame::data(piece)
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.rest.is_empty() {
            let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
            match frame.map(|it| it.map(Frame::into_data)) {
                Some(Ok(Ok(bytes))) => self.rest = bytes,
                Some(Ok(Err(other))) => return Poll::Ready(Some(Ok(other))),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
        Poll::Ready(Some(Ok(self.piece())))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (inner, rest) = (self.body.size_hint(), u64::try_from(self.rest.len()).unwrap_or(u64::MAX));
        let mut hint = SizeHint::new();
        hint.set_lower(inner.lower().saturating_add(rest));
        if let Some(upper) = inner.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("body", &self.body).field("rest", &self.rest.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;

    /// What it was told, and whether it was let go.
    #[derive(Clone, Default)]
    struct Ear(Arc<Mutex<(Vec<u64>, bool)>>);

    struct Listening(Ear);

    impl Watch for Listening {
        fn sent(&mut self, bytes: u64) {
            self.0.0.lock().unwrap().0.push(bytes);
        }
    }

    impl Drop for Listening {
        fn drop(&mut self) {
            self.0.0.lock().unwrap().1 = true;
        }
    }

    #[tokio::test]
    async fn all_are_told_of_each_piece_and_one_body_does_it() {
        let ears = [Ear::default(), Ear::default(), Ear::default()];
        let mut body = Body::from(vec![7; PIECE * 2 + 5]);
        for ear in &ears {
            body = body.watched(Listening(ear.clone()));
        }
        assert_eq!(body.size_hint().exact(), Some(u64::try_from(PIECE * 2 + 5).unwrap()));
        assert!(body.in_memory().is_none() && !body.is_end_stream());
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!((first.len(), body.size_hint().exact()), (PIECE, Some(u64::try_from(PIECE + 5).unwrap())));
        assert!(ears.iter().all(|it| *it.0.lock().unwrap() == (vec![262_144], false)));
        // Somebody goes away here, and all hear how far it came.
        let second = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(second.iter().all(|it| *it == 7));
        drop(body);
        assert!(ears.iter().all(|it| *it.0.lock().unwrap() == (vec![262_144, 262_144], true)));
    }

    #[tokio::test]
    async fn what_is_not_bytes_passes_and_errors_stay_errors() {
        let ear = Ear::default();
        let mut trailers = hyper::HeaderMap::new();
        trailers.insert("a", hyper::header::HeaderValue::from_static("b"));
        let frames = vec![Ok(Frame::data(Bytes::from_static(b"abc"))), Ok(Frame::trailers(trailers)), Err("broken")];
        let mut body = Body::boxed(StreamBody::new(tokio_stream::iter(frames))).watched(Listening(ear.clone()));
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "abc");
        assert_eq!(body.frame().await.unwrap().unwrap().into_trailers().unwrap()["a"], "b");
        assert_eq!(body.frame().await.unwrap().unwrap_err().to_string(), "broken");
        assert!(body.frame().await.is_none());
        assert_eq!(*ear.0.lock().unwrap(), (vec![3], false));
    }
}
