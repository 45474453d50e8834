//! The second layer of the cache on Redis, what processes tell one another, and the counts they share.
//!
//! | File | Holds |
//! |---|---|
//! | `wire` | keys, values, messages: what stands in Redis |
//! | `links` | connections, one for each node, and questions to several of them |
//! | `worker` | the thread that asks: batches, drops, the beat |
//! | `listener` | the thread that hears what other processes dropped |
//! | `drops` | which drops are still to be told |
//!
//! Guarantees: what Redis cannot do is left, and is an error of no caller; a caller waits at most [`Patience::answer`], and
//! after a failure nobody waits for a second. A value is given only while its tag has the generation that it was loaded in, which is a
//! random word in Redis: one that is lost or thrown out makes its values worthless, never good again. The words and values of another run of the
//! Redis (a restart, a failover) are not seen, since such a Redis may have forgotten the newest drops. A process that cannot hear
//! the others keeps nothing.
//! It must never hold anything that exists only here.
//!
//! A process that dies between a commit and the drop that follows it leaves the others what they have, for its time to live.

mod drops;
mod links;
mod listener;
mod wire;
mod worker;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use redis::RedisError;
use tokio::{sync::oneshot, time::Instant};

use super::link::Address;
use crate::{
    base::{ids::Id, random, secret::Secret, tasks::join_thread},
    domain::Result,
    ports::{
        cache::{CacheEngine, Key, Later, Shared, SharedCache, SharedFigures, Stamp, Tag},
        counts::{SharedCounts, Taken},
    },
};

use self::{drops::Drops, wire::Names, worker::Worker};

/// Requests that may wait: far more than a batch, so that it is full only when Redis does not answer.
const REQUESTS_WAITING_MAX: usize = 1_024;
/// After a failure nobody waits for Redis again for this long.
const PAUSE: Duration = Duration::from_secs(1);
/// A value of more bytes is not kept: one that is so large would hold up the small ones behind it.
const VALUE_BYTES_MAX: usize = 1024 * 1024;
/// The longest time to live: the guide's 30 minutes. Drops that are older need not be told any more.
const TTL_MAX: Duration = Duration::from_mins(30);

/// How long Redis may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For an answer.
    pub answer: Duration,
    /// For any word on the channel, on which every process says something twice a second. A silence that lasts longer means
    /// that drops may have been missed.
    pub silence: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { answer: Duration::from_millis(250), silence: Duration::from_millis(1_500) }
    }
}

/// The engine. Dropping it tells the drops that still wait, if Redis is there.
pub struct CacheRedis {
    state: Arc<State>,
    requests: Mutex<Option<SyncSender<Request>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What the threads and the callers share.
struct State {
    address: Address,
    names: Names,
    patience: Patience,
    first: Arc<dyn CacheEngine>,
    drops: Mutex<Drops>,
    /// Whether callers may wait for Redis.
    up: AtomicBool,
    /// Whether other processes are heard.
    hears: AtomicBool,
    stopping: AtomicBool,
    /// When it failed last.
    failed: Mutex<Option<Instant>>,
    hits: AtomicU64,
    misses: AtomicU64,
    errors: AtomicU64,
    heard: AtomicU64,
}

/// What a caller asks for.
enum Request {
    Find {
        key: Key,
        tag: Tag,
        answer: oneshot::Sender<Shared>,
    },
    Keep {
        key: Key,
        stamp: Stamp,
        bytes: Vec<u8>,
        ttl: Duration,
    },
    Take {
        key: String,
        max: u32,
        window_ms: i64,
        answer: oneshot::Sender<Option<Taken>>,
    },
    Forget {
        key: String,
    },
    /// There are drops to be told.
    Drops,
}

impl std::fmt::Debug for CacheRedis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CacheRedis({})", self.state.address.name())
    }
}

impl CacheRedis {
    /// Begins to use the Redis at `url`, now or when it is there, for the installation `instance`. What other processes drop is
    /// dropped from `first`. An error says what is wrong with the URL.
    pub fn open(url: &Secret, instance: Id, first: Arc<dyn CacheEngine>) -> Result<Arc<Self>> {
        Self::open_with(url, instance, first, Patience::default())
    }

    /// As [`CacheRedis::open`], with other limits.
    pub fn open_with(url: &Secret, instance: Id, first: Arc<dyn CacheEngine>, patience: Patience) -> Result<Arc<Self>> {
        let state = Arc::new(State {
            address: Address::parse(url)?,
            names: Names::new(instance, Id::from_bytes(random::bytes())),
            patience,
            first,
            drops: Mutex::default(),
            up: AtomicBool::new(false),
            hears: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            failed: Mutex::default(),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            heard: AtomicU64::new(0),
        });
        let (requests, received) = sync_channel(REQUESTS_WAITING_MAX);
        let worker = Worker::new(Arc::clone(&state), received);
        let worker = thread::Builder::new().name(String::from("cache-ask")).spawn(move || worker.run())?;
        let hearing = Arc::clone(&state);
        let listener =
            thread::Builder::new().name(String::from("cache-hear")).spawn(move || listener::run(&hearing))?;
        let threads = Mutex::new(vec![worker, listener]);
        Ok(Arc::new(Self { state, requests: Mutex::new(Some(requests)), threads }))
    }

    /// Tells the drops that still wait, if Redis is there, and ends. Blocks until done, for about two seconds at most.
    pub fn close(&self) {
        self.state.stopping.store(true, Ordering::SeqCst);
        self.state.up.store(false, Ordering::SeqCst);
        drop(self.requests.lock().unwrap_or_else(PoisonError::into_inner).take());
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            thread.thread().unpark();
            join_thread(thread);
        }
    }

    /// Hands a request to the worker; `false` when it has too many.
    fn send(&self, request: Request) -> bool {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
        requests.is_some_and(|it| it.try_send(request).is_ok())
    }

    /// What the worker answers, in time.
    async fn answer<T>(&self, request: Request, answered: oneshot::Receiver<T>) -> Option<T> {
        if self.send(request) {
            if let Ok(Ok(answer)) = tokio::time::timeout(self.state.patience.answer, answered).await {
                return Some(answer);
            }
            // The worker still waits itself, or there is more to do than Redis does. Others need not learn it the same way.
            self.state.fails(None);
        }
        self.state.errors.fetch_add(1, Ordering::Relaxed);
        None
    }
}

impl Drop for CacheRedis {
    fn drop(&mut self) {
        self.close();
    }
}

impl State {
    fn is_up(&self) -> bool {
        self.up.load(Ordering::SeqCst)
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    fn drops(&self) -> std::sync::MutexGuard<'_, Drops> {
        self.drops.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It failed: nobody waits for it for a while.
    fn fails(&self, error: Option<&RedisError>) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = self.up.swap(false, Ordering::SeqCst) || failed.is_none();
        *failed = Some(Instant::now());
        drop(failed);
        if !is_news || self.is_stopping() {
            return;
        }
        if let Some(error) = error.map(|it| self.address.explain(it)) {
            tracing::warn!(%error, "the cache goes on without its second layer");
        } else {
            let redis = self.address.name();
            tracing::warn!(redis, "the cache goes on without its second layer: the Redis answers too late");
        }
    }

    /// It answered: callers may wait for it again, unless it failed a moment ago.
    fn answers(&self) {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if failed.is_some_and(|it| it.elapsed() < PAUSE) || self.is_stopping() {
            return;
        }
        if !self.up.swap(true, Ordering::SeqCst) {
            tracing::info!(redis = self.address.name(), "the second layer of the cache is there");
        }
    }
}

impl SharedCache for CacheRedis {
    fn find<'a>(&'a self, key: &'a Key, tag: &'a Tag) -> Later<'a, Shared> {
        Box::pin(async move {
            // A tag whose drop is still to be told has values of before in Redis.
            if !self.state.is_up() || self.state.drops().is_waiting(tag) {
                return Shared::Away;
            }
            let (answer, answered) = oneshot::channel();
            let request = Request::Find { key: key.clone(), tag: tag.clone(), answer };
            let found = self.answer(request, answered).await.unwrap_or(Shared::Away);
            match &found {
                Shared::Value { .. } => self.state.hits.fetch_add(1, Ordering::Relaxed),
                Shared::Nothing(_) => self.state.misses.fetch_add(1, Ordering::Relaxed),
                Shared::Away => 0,
            };
            found
        })
    }

    fn keep(&self, key: &Key, stamp: Stamp, bytes: Vec<u8>, ttl: Duration) {
        let ttl = ttl.min(TTL_MAX);
        if self.state.is_up() && bytes.len() <= VALUE_BYTES_MAX && ttl.as_millis() > 0 {
            // What cannot be handed over is loaded again by whoever needs it next.
            let _ = self.send(Request::Keep { key: key.clone(), stamp, bytes, ttl });
        }
    }

    fn drop_tag(&self, tag: &Tag) {
        self.state.drops().add(tag.clone(), Instant::now());
        // With many requests before it, the worker looks for drops by itself soon.
        let _ = self.send(Request::Drops);
    }

    fn figures(&self) -> SharedFigures {
        let count = |it: &AtomicU64| it.load(Ordering::Relaxed);
        SharedFigures {
            up: self.state.is_up() && self.state.hears.load(Ordering::SeqCst),
            hits: count(&self.state.hits),
            misses: count(&self.state.misses),
            errors: count(&self.state.errors),
            heard: count(&self.state.heard),
        }
    }
}

impl SharedCounts for CacheRedis {
    fn take<'a>(&'a self, key: &'a str, max: u32, window_ms: i64) -> Later<'a, Option<Taken>> {
        Box::pin(async move {
            if !self.state.is_up() {
                return None;
            }
            let (answer, answered) = oneshot::channel();
            let request = Request::Take { key: key.to_owned(), max, window_ms, answer };
            self.answer(request, answered).await.flatten()
        })
    }

    fn forget(&self, key: &str) {
        if self.state.is_up() {
            // What cannot be handed over ends with its window.
            let _ = self.send(Request::Forget { key: key.to_owned() });
        }
    }
}
