//! The queue on Redis: where the suites run it, and what only it can meet: other processes, other programs, a Redis that dies.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use chainhost::{
    base::{clock::Clock, secret::Secret},
    engines::redis::{QueueRedis, Wish},
    ports::queue::QueueEngine,
};

use crate::{conformance::Place, support::redis};

/// Keys of its own on the server that all tests share.
pub(crate) struct PrefixPlace {
    prefix: String,
}

impl PrefixPlace {
    /// No keys yet.
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        Self { prefix: format!("{{place{}}}", NEXT.fetch_add(1, Ordering::Relaxed)) }
    }
}

impl Place for PrefixPlace {
    fn open(&self, clock: Clock, waiting_max: u64) -> Arc<dyn QueueEngine> {
        let wish = Wish {
            prefix: self.prefix.clone(),
            node: String::from("one"),
            lease: Duration::from_secs(30),
            waiting_max,
            clock,
        };
        QueueRedis::open(&Secret::new(redis::shared().url()), wish).unwrap()
    }
}
