//! What visitors have open for long: WebSockets, and answers of upstreams that go on and on.
//!
//! Guarantees: each ends when the site's state, its settings or a ban no longer let its visitor in. They are looked at when one of these changes,
//! and at no other time; a request that is none of them pays nothing.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::{
    Request,
    body::{Body as HttpBody, Frame, SizeHint},
    http::request::Parts,
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::Asked;
use crate::{
    domain::site::SiteId,
    http::{
        peer::{Peer, Trust},
        respond::{Body, BodyError},
    },
};

/// All that is open. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Opens(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    all: Mutex<HashMap<u64, Weak<Open>>>,
    next: AtomicU64,
}

/// A name, and the version of the password that it was let in by.
pub(super) type Known = (String, [u8; 32]);

/// Something that is open, and who has it.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) site: SiteId,
    host: String,
    /// The request that has opened it, without what was attached to it.
    parts: Parts,
    peer: Peer,
    trust: Trust,
    /// By whose password it was let in, where it came with one.
    pub(super) known: Option<Known>,
    ended: CancellationToken,
    id: u64,
    opens: Opens,
}

impl Opens {
    fn all(&self) -> MutexGuard<'_, HashMap<u64, Weak<Open>>> {
        self.0.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that a request opens something.
    pub(super) fn note(&self, site: SiteId, asked: Asked<'_>, known: Option<Known>) -> Arc<Open> {
        let (mut parts, ()) = Request::new(()).into_parts();
        parts.method = asked.parts.method.clone();
        parts.uri = asked.parts.uri.clone();
        parts.version = asked.parts.version;
        parts.headers = asked.parts.headers.clone();
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let open = Arc::new(Open {
            site,
            host: asked.host.to_owned(),
            parts,
            peer: asked.peer,
            trust: asked.trust.clone(),
            known,
            ended: CancellationToken::new(),
            id,
            opens: self.clone(),
        });
        self.all().insert(id, Arc::downgrade(&open));
        open
    }

    /// All that is open now.
    pub(super) fn list(&self) -> Vec<Arc<Open>> {
        // Outside the lock, as the last of one takes itself out of the list.
        let all: Vec<Weak<Open>> = self.all().values().cloned().collect();
        all.iter().filter_map(Weak::upgrade).collect()
    }
}

impl Open {
    /// The request that has opened it.
    pub(super) fn asked(&self) -> Asked<'_> {
        Asked { host: &self.host, parts: &self.parts, peer: self.peer, trust: &self.trust }
    }

    /// Ends it.
    pub(super) fn end(&self) {
        self.ended.cancel();
    }

    /// Resolves when it is to end.
    pub(super) fn ends(&self) -> WaitForCancellationFutureOwned {
        self.ended.clone().cancelled_owned()
    }

    /// A body that ends with it.
    pub(super) fn around(self: &Arc<Self>, body: Body) -> Body {
        Body::boxed(Ending { body, ends: Box::pin(self.ends()), _open: Arc::clone(self) })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.opens.all().remove(&self.id);
    }
}

/// A body that may be ended before it does.
struct Ending {
    body: Body,
    ends: Pin<Box<WaitForCancellationFutureOwned>>,
    _open: Arc<Open>,
}

impl HttpBody for Ending {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.ends.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err("its visitor is not let in any more".into())));
        }
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
