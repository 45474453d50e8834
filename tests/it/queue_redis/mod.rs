//! The queue on Redis: where the suites run it, and what only it can meet: other processes, other programs, a Redis that dies.

mod faults;
mod interop;
mod masters;
mod skew;
mod together;
mod torn;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use chainhost::{
    base::{
        clock::Clock,
        ids::{Id, Ids},
        secret::Secret,
    },
    domain::{
        job::{JobId, NewJob, Queue},
        tenant::TenantId,
    },
    engines::redis::{Limits, QueueRedis, Wish},
    ports::queue::QueueEngine,
};
use tokio::time::{Instant, sleep};

use crate::{
    conformance::Place,
    support::{redis, redis_ha},
};

/// No wait of these tests takes so long unless something is wrong.
const DEADLINE: Duration = Duration::from_secs(30);
/// For a Redis that is not slow because of what is tested, but since the machine is busy.
const PATIENT: Limits = Limits { connect: Duration::from_mins(2), answer: Duration::from_mins(2) };
/// The lease of tests in which workers die: longer than a busy machine keeps a thread from running.
const SHORT: Duration = Duration::from_secs(8);

/// Keys of its own on servers that tests share.
pub(crate) struct PrefixPlace {
    url: String,
    prefix: String,
}

impl PrefixPlace {
    /// No keys yet.
    pub(crate) fn new() -> Self {
        Self { url: redis::shared().url(), prefix: prefix() }
    }

    /// The same behind Sentinels.
    pub(crate) fn watched() -> Self {
        Self { url: redis_ha::shared_watched().to_owned(), prefix: prefix() }
    }

    /// The same on the node of a cluster that has the slot of the product's keys.
    pub(crate) fn clustered() -> Self {
        Self { url: redis_ha::shared_nodes().to_owned(), prefix: slot_prefix() }
    }
}

impl Place for PrefixPlace {
    fn open(&self, clock: Clock, waiting_max: u64) -> Arc<dyn QueueEngine> {
        let wish = Wish {
            prefix: self.prefix.clone(),
            node: String::from("one"),
            lease: PATIENT.answer,
            waiting_max,
            owner: String::new(),
            place: String::new(),
            limits: PATIENT,
            clock,
        };
        let start = Instant::now();
        loop {
            let engine = QueueRedis::open(&Secret::new(self.url.clone()), &wish).unwrap();
            // On a busy machine one that belongs to others may not be found at once.
            if engine.is_up() {
                return engine;
            }
            assert!(start.elapsed() < PATIENT.connect, "no Redis at {}", self.url);
        }
    }
}

fn prefix() -> String {
    format!("{{{}}}", place())
}

/// Keys of their own in the slot of the product's.
fn slot_prefix() -> String {
    format!("{{chainhost}}:{}", place())
}

fn place() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("place{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

#[expect(clippy::unnecessary_wraps, reason = "jobs name their tenant like this")]
fn tenant(number: u8) -> Option<TenantId> {
    Some(TenantId(Id::from_bytes([number; 16])))
}

/// A job that nobody else asks for.
pub(crate) fn sample(queue: Queue) -> NewJob {
    Rig::at(String::new()).job(queue, None)
}

/// Waits until something is so.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !is_so().await {
        assert!(start.elapsed() < DEADLINE, "waited in vain for {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Queues with the clock of the machine, which others have too.
struct Rig {
    url: String,
    prefix: String,
    clock: Clock,
    ids: Ids,
}

impl Rig {
    fn new() -> Self {
        Self::on(redis::shared())
    }

    fn on(server: &redis::Server) -> Self {
        Self::at(server.url())
    }

    fn at(url: String) -> Self {
        let clock = Clock::system();
        Self { url, prefix: slot_prefix(), ids: Ids::new(clock.clone()), clock }
    }

    fn wish(&self, node: &str) -> Wish {
        Wish { prefix: self.prefix.clone(), lease: SHORT, limits: PATIENT, ..Wish::new(node, self.clock.clone()) }
    }

    /// A process with this name, and what time it is.
    fn open(&self, node: &str) -> (Arc<QueueRedis>, i64) {
        let engine = QueueRedis::open(&Secret::new(self.url.clone()), &self.wish(node)).unwrap();
        (engine, self.clock.now_ms())
    }

    fn job(&self, queue: Queue, tenant: Option<TenantId>) -> NewJob {
        NewJob {
            id: JobId(self.ids.next()),
            queue,
            kind: String::from("test"),
            tenant,
            payload: String::from(r#"{"n":1}"#),
            priority: 0,
            run_at_ms: 0,
            title: String::from("A test"),
            created_ms: self.clock.now_ms(),
            unique: None,
            after: Vec::new(),
        }
    }
}
