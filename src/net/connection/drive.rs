//! Drives a connection of whatever version until it ends, one of its limits does, or the grace time of a shutdown.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    task::Poll,
};

use hyper::{Request, body::Incoming, server::conn::http1};
use hyper_util::{rt::TokioIo, server::conn::auto};
use tokio::time::{self, Instant};

use super::{
    super::{
        activity::{Activity, Watched},
        arriving::Arriving,
        corked::Corked,
        direct::{Direct, Rewound},
        executor::Executor,
        stream::Stream,
    },
    FIRST_REQUEST, Server,
};
use crate::http::respond::Response;

/// What [`Server::watch`] needs of a connection, whose type names every type of the service.
pub(super) trait Connection: Future {
    /// Ends it behind the requests that have begun.
    fn graceful_shutdown(self: Pin<&mut Self>);
}

impl<F, A> Connection for Direct<Stream, F, A>
where
    F: Fn(Request<Arriving>) -> A + Unpin,
    A: Future<Output = Response> + Unpin,
{
    fn graceful_shutdown(self: Pin<&mut Self>) {
        self.get_mut().close();
    }
}

impl<S, B> Connection for http1::UpgradeableConnection<TokioIo<Rewound<Watched<Stream>>>, S>
where
    S: hyper::service::HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: hyper::body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn graceful_shutdown(self: Pin<&mut Self>) {
        http1::UpgradeableConnection::graceful_shutdown(self);
    }
}

impl<S, B> Connection for auto::Connection<'_, TokioIo<Corked<Watched<Stream>>>, S, Executor>
where
    S: hyper::service::Service<Request<Incoming>, Response = hyper::Response<B>>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    S::Future: 'static,
    B: hyper::body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    Executor: hyper::rt::bounds::Http2ServerConnExec<S::Future, B>,
{
    fn graceful_shutdown(self: Pin<&mut Self>) {
        auto::Connection::graceful_shutdown(self);
    }
}

impl Server {
    /// Drives the connection until it ends, or one of its limits or the grace time does; what is left is cut off.
    /// `until` is set when the grace time begins, and is what is left of it where it has begun.
    pub(super) async fn watch<C: Connection>(
        &self,
        mut connection: Pin<&mut C>,
        activity: &Activity,
        until: &mut Option<Instant>,
    ) {
        if until.is_none() {
            tokio::select! {
                () = self.in_time(connection.as_mut(), activity) => return,
                () = self.tasks.stopping() => {}
            }
            // The first request may be on its way, and a shutdown now would close the connection before it is read.
            if !activity.has_asked() && self.first_asked(connection.as_mut(), activity).await {
                return;
            }
        }
        let until = *until.get_or_insert_with(|| Instant::now() + self.limits.grace);
        connection.as_mut().graceful_shutdown();
        drop(time::timeout_at(until, self.in_time(connection, activity)).await);
    }

    /// Drives the connection until its first request has begun, or for a moment; whether it has ended.
    async fn first_asked<C: Connection>(&self, mut connection: Pin<&mut C>, activity: &Activity) -> bool {
        let mut timer = pin!(time::sleep(FIRST_REQUEST.min(self.limits.grace)));
        poll_fn(|context| {
            if connection.as_mut().poll(context).is_ready() {
                return Poll::Ready(true);
            }
            if activity.has_asked() || timer.as_mut().poll(context).is_ready() {
                return Poll::Ready(false);
            }
            Poll::Pending
        })
        .await
    }

    /// Drives the connection until it ends, or its time for a head or for being idle.
    async fn in_time<C: Connection>(&self, mut connection: Pin<&mut C>, activity: &Activity) {
        let (head, idle) = (self.limits.head, self.limits.idle);
        let mut timer = pin!(time::sleep_until(activity.deadline(head, idle)));
        poll_fn(|context| {
            if connection.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
            loop {
                let deadline = activity.deadline(head, idle);
                // An earlier deadline must be set; a later one is seen when the timer fires.
                if deadline < timer.deadline() {
                    timer.as_mut().reset(deadline);
                }
                if timer.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                if deadline <= Instant::now() {
                    return Poll::Ready(());
                }
                timer.as_mut().reset(deadline);
            }
        })
        .await;
    }
}
