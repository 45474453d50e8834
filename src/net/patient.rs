//! Answers that may take long between two bytes: their connection is not idle while their body is waited for.
//!
//! It is as soon as there is something that the client does not take. How long the body is waited for is the body's to limit.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::activity::{Activity, Working};
use crate::http::respond::{Body, BodyError, Patient, Response};

/// A body that is waited for.
struct Watched {
    body: Body,
    activity: Arc<Activity>,
    /// Nothing has come when it was asked last.
    waiting: Option<Working>,
}

/// An answer whose body counts as work while it is waited for, if it limits that itself.
pub(super) fn watched(response: Response, activity: &Arc<Activity>) -> Response {
    if response.extensions().get::<Patient>().is_none() {
        return response;
    }
    response.map(|body| Body::boxed(Watched { body, activity: Arc::clone(activity), waiting: None }))
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.body).poll_frame(context);
        if polled.is_ready() {
            this.waiting = None;
        } else if this.waiting.is_none() {
            this.waiting = Some(this.activity.begin());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
