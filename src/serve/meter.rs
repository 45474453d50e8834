//! Counters of what visitors got, for the whole process. Reading them stops nobody.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use hyper::StatusCode;

use crate::http::watched::Watch;

/// Counts since the start of the process.
#[derive(Debug, Default)]
pub struct Meter {
    requests: AtomicU64,
    classes: [AtomicU64; 5],
    bytes: AtomicU64,
}

/// The counters at one moment; each is exact, together they may be a request apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Answers in all.
    pub requests: u64,
    /// Answers by class: 1xx, 2xx, 3xx, 4xx, 5xx.
    pub classes: [u64; 5],
    /// Bytes of their bodies, as announced: a client that went away got fewer. Of those without a length, and of WebSockets, what was handed to a connection.
    pub bytes: u64,
}

/// Counts an answer whose length nobody knows.
struct Counting(Arc<Meter>);

impl Watch for Counting {
    fn sent(&mut self, bytes: u64) {
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Meter {
    /// Counts the bytes of an answer as they are sent.
    pub(super) fn counting(self: &Arc<Self>) -> impl Watch + use<> {
        Counting(Arc::clone(self))
    }

    /// Counts an answer.
    pub(super) fn count(&self, status: StatusCode, bytes: u64) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        let class = usize::from(status.as_u16() / 100).wrapping_sub(1);
        if let Some(class) = self.classes.get(class) {
            class.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What was counted so far.
    pub fn read(&self) -> Counts {
        let of = |it: &AtomicU64| it.load(Ordering::Relaxed);
        Counts { requests: of(&self.requests), classes: self.classes.each_ref().map(of), bytes: of(&self.bytes) }
    }
}
