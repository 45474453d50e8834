//! Answers: one body type for visitors, panel and API, and short ways to make the common ones.
//!
//! A body in memory costs no allocation beside its bytes; anything else (a stream of events, the body of
//! another framework) is boxed.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, combinators::UnsyncBoxBody};
use hyper::{
    StatusCode,
    body::{Body as HttpBody, Frame, SizeHint},
    header::{CONTENT_TYPE, HeaderValue, LOCATION},
};
use serde::Serialize;

use super::{
    stored::Stored,
    watched::{Watch, Watched},
};

/// Why a body broke off.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The body of every answer.
#[derive(Debug)]
pub struct Body(Inner);

#[derive(Debug)]
enum Inner {
    Memory(Option<Stored>),
    Boxed(UnsyncBoxBody<Bytes, BodyError>),
    Watched(Box<Watched>),
}

/// All of a body that is in memory or mapped, and who watches its bytes leave.
#[derive(Debug)]
pub struct Whole {
    /// The bytes.
    pub stored: Stored,
    /// Those who watch them.
    pub watching: Watching,
}

/// Those who watch the bytes of a body leave that somebody has taken. They are to be told, and let go behind the last byte.
#[derive(Debug, Default)]
pub struct Watching(Option<Box<Watched>>);

impl Watching {
    /// So many more bytes have left.
    pub fn sent(&mut self, bytes: usize) {
        if let Some(watched) = &mut self.0 {
            watched.sent(u64::try_from(bytes).unwrap_or(u64::MAX));
        }
    }
}

impl From<Whole> for Body {
    fn from(Whole { stored, watching }: Whole) -> Self {
        let body = Self::stored(stored);
        match watching.0 {
            Some(mut watched) => {
                watched.put(body);
                Self(Inner::Watched(watched))
            }
            None => body,
        }
    }
}

/// An extension of an answer whose body says by itself when it was waited for it long enough: a connection is not idle meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct Patient;

/// An answer.
pub type Response = hyper::Response<Body>;

impl Body {
    /// No bytes.
    pub const fn empty() -> Self {
        Self(Inner::Memory(None))
    }

    /// Bytes in memory, or mapped.
    pub fn full(bytes: Bytes) -> Self {
        Self::stored(bytes.into())
    }

    /// The same, which may be in a file too.
    pub const fn stored(stored: Stored) -> Self {
        Self(Inner::Memory(Some(stored)))
    }

    /// Its size, when all of it is in memory or mapped.
    pub fn in_memory(&self) -> Option<usize> {
        match &self.0 {
            Inner::Memory(bytes) => Some(bytes.as_ref().map_or(0, Stored::len)),
            Inner::Boxed(_) | Inner::Watched(_) => None,
        }
    }

    /// All of it, when it is in memory or mapped; the body is empty then.
    pub fn take_whole(&mut self) -> Option<Whole> {
        match &mut self.0 {
            Inner::Memory(stored) => {
                Some(Whole { stored: stored.take().unwrap_or_default(), watching: Watching(None) })
            }
            Inner::Boxed(_) => None,
            Inner::Watched(watched) => {
                let stored = watched.take()?;
                let Inner::Watched(watched) = std::mem::replace(&mut self.0, Inner::Memory(None)) else { return None };
                Some(Whole { stored, watching: Watching(Some(watched)) })
            }
        }
    }

    /// Any other body.
    pub fn boxed<B>(body: B) -> Self
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BodyError>,
    {
        Self(Inner::Boxed(body.map_err(Into::into).boxed_unsync()))
    }

    /// The same, whose bytes `watch` is told of on their way.
    #[must_use]
    pub fn watched(self, watch: impl Watch + 'static) -> Self {
        let watch = Box::new(watch);
        if let Inner::Watched(mut it) = self.0 {
            it.add(watch);
            return Self(Inner::Watched(it));
        }
        Self(Inner::Watched(Box::new(Watched::new(self, watch))))
    }
}

impl<T: Into<Bytes>> From<T> for Body {
    fn from(bytes: T) -> Self {
        Self::full(bytes.into())
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.0 {
            Inner::Memory(bytes) => {
                let next = bytes.take().filter(|it| !it.is_empty());
                Poll::Ready(next.map(|it| Ok(Frame::data(it.into_parts().0))))
            }
            Inner::Boxed(body) => Pin::new(body).poll_frame(context),
            Inner::Watched(body) => Pin::new(body).poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Memory(bytes) => bytes.as_ref().is_none_or(Stored::is_empty),
            Inner::Boxed(body) => body.is_end_stream(),
            Inner::Watched(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Memory(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |it| u64::try_from(it.len()).unwrap_or(u64::MAX)))
            }
            Inner::Boxed(body) => body.size_hint(),
            Inner::Watched(body) => body.size_hint(),
        }
    }
}

/// An answer without a body.
pub fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// An answer of bytes with their media type.
pub fn content(status: StatusCode, media_type: &'static str, bytes: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::full(bytes.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

/// Plain text.
pub fn text(status: StatusCode, text: impl Into<Bytes>) -> Response {
    content(status, "text/plain; charset=utf-8", text)
}

/// A page.
pub fn html(status: StatusCode, page: impl Into<Bytes>) -> Response {
    content(status, "text/html; charset=utf-8", page)
}

/// JSON of `value`; 500 without a body when it cannot be written as JSON.
pub fn json<T: Serialize + ?Sized>(status: StatusCode, value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => content(status, "application/json", bytes),
        Err(error) => {
            tracing::error!(%error, "an answer could not be written as JSON");
            empty(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}

/// A redirect. A target that cannot be in a header (control characters) gives 500.
pub fn redirect(status: StatusCode, to: &str) -> Response {
    match HeaderValue::from_str(to) {
        Ok(to) => {
            let mut response = empty(status);
            response.headers_mut().insert(LOCATION, to);
            response
        }
        Err(_) => empty(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_known_and_ends_are_seen() {
        assert!(Body::empty().is_end_stream());
        assert!(Body::from("").is_end_stream());
        assert_eq!(Body::from("abc").size_hint().exact(), Some(3));
        assert_eq!(Body::boxed(http_body_util::Full::new(Bytes::from("abcd"))).size_hint().exact(), Some(4));
        assert_eq!(redirect(StatusCode::FOUND, "/a\r\nb").status(), 500);
        assert_eq!(redirect(StatusCode::FOUND, "/a").headers()["location"], "/a");
    }
}
