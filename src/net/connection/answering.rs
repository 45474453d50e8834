//! An answer of any version on its way from the handler to its connection.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use hyper::{StatusCode, header::ALT_SVC};

use super::{
    super::{
        activity::{Activity, Working},
        patient,
    },
    Elsewhere,
};
use crate::http::{
    connect::{self, Asks},
    respond::Response,
};

/// An answer that is being made: the connection works until it is.
pub(super) struct Answering<A> {
    pub(super) answer: A,
    pub(super) asks: Asks,
    pub(super) working: Option<Working>,
    pub(super) activity: Arc<Activity>,
    pub(super) elsewhere: Option<Elsewhere>,
}

impl<A: Future<Output = Response> + Unpin> Future for Answering<A> {
    type Output = Response;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Response> {
        let response = ready!(Pin::new(&mut self.answer).poll(context));
        let mut response = connect::answer(self.asks, response);
        if let Some(elsewhere) = &self.elsewhere {
            response.headers_mut().entry(ALT_SVC).or_insert_with(|| elsewhere.told());
        }
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            self.activity.switch();
        }
        self.working = None;
        Poll::Ready(patient::watched(response, &self.activity))
    }
}
