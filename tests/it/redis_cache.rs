//! The second layer of the cache, several processes on one Redis, and a Redis that fails.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use chainhost::{
    base::{clock::Clock, ids::Id, random, secret::Secret},
    domain::tenant::TenantId,
    engines::{
        cache_moka::CacheMoka,
        redis::{CacheRedis, Patience},
    },
    ports::{
        cache::{Cache, Key, Shared, SharedCache as _, Tag},
        counts::Counts,
    },
    services::windows::Windows,
};
use rustix::process::Signal;
use tokio::time::Instant;

use crate::support::{
    redis::{self, Server},
    redis_ha::{Nodes, PATIENT, ask, until},
};

const LONG: Duration = Duration::from_mins(5);
/// How long what must come may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// What one process has.
pub(crate) struct Process {
    pub(crate) cache: Cache,
    pub(crate) engine: Arc<CacheRedis>,
}

impl Process {
    fn open(url: &str, instance: Id, patience: Patience) -> Self {
        let first = CacheMoka::new(1 << 20);
        let url = Secret::new(url.to_owned());
        let engine = CacheRedis::open_with(&url, instance, Arc::<CacheMoka>::clone(&first), patience).unwrap();
        let cache = Cache::with_shared(first, Arc::<CacheRedis>::clone(&engine));
        Self { cache, engine }
    }

    /// Opened, and connected.
    pub(crate) fn start(url: &str, instance: Id) -> Self {
        let process = Self::open(url, instance, PATIENT);
        process.until_up();
        process
    }

    pub(crate) fn until_up(&self) {
        until("the second layer", || self.engine.figures().up);
    }

    /// What the cache gives when the database has `value`.
    async fn load(&self, which: &str, value: u64) -> u64 {
        *self.cache.get_or(key(which), tag(), LONG, async || Ok((value, 8))).await.unwrap()
    }

    /// Waits until the second layer has a value.
    async fn until_kept(&self, which: &str) {
        let start = Instant::now();
        while !matches!(self.engine.find(&key(which), &tag()).await, Shared::Value { .. }) {
            assert!(start.elapsed() < DEADLINE, "{which} is not kept");
            tokio::task::yield_now().await;
        }
    }
}

pub(crate) fn tenant(number: u8) -> TenantId {
    TenantId(Id::from_bytes([number; 16]))
}

fn tag() -> Tag {
    Tag::Sites(tenant(1))
}

fn key(which: &str) -> Key {
    Key { what: "test", tenant: Some(tenant(1)), which: which.to_owned() }
}

pub(crate) fn instance() -> Id {
    Id::from_bytes(random::bytes())
}

#[tokio::test]
async fn a_change_in_one_process_is_seen_in_the_others() {
    let (url, instance) = (redis::shared().url(), instance());
    let (one, other) = (Process::start(&url, instance), Process::start(&url, instance));
    let stranger = Process::start(&url, self::instance());
    assert_eq!(stranger.load("a", 999).await, 999);
    let heard = || other.engine.figures().heard;
    let before = heard();
    let mut longest = Duration::ZERO;
    for round in 0..20 {
        one.load("a", round).await;
        assert!(other.load("a", round).await <= round);
        one.cache.drop_tag(&tag());
        let start = Instant::now();
        while other.load("a", round + 1).await != round + 1 {
            assert!(start.elapsed() < DEADLINE, "the change was not heard");
            tokio::task::yield_now().await;
        }
        longest = longest.max(start.elapsed());
        assert_eq!(one.load("a", round + 1).await, round + 1);
    }
    println!("a change was seen after {} ms at the latest", longest.as_millis());
    // Values live for far longer than this test: nothing but the channel can have brought the changes.
    until("the last change to be counted", || heard() >= before + 20);
    assert_eq!(stranger.load("a", 0).await, 999, "another installation");
}

#[tokio::test]
async fn a_new_process_finds_what_an_earlier_one_kept() {
    let (url, instance) = (redis::shared().url(), instance());
    let one = Process::start(&url, instance);
    assert_eq!(one.load("a", 1).await, 1);
    one.until_kept("a").await;
    one.engine.close();
    let two = Process::start(&url, instance);
    assert_eq!(two.load("a", 2).await, 1);
    assert_eq!(two.engine.figures().hits, 1);
    // What is dropped just before the end is told all the same.
    two.cache.drop_tag(&tag());
    two.engine.close();
    assert_eq!(Process::start(&url, instance).load("a", 3).await, 3);
}

/// Whoever has dropped a tag never gets a value of before, while others load and drop the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn never_a_value_of_before_a_drop() {
    let (url, instance) = (redis::shared().url(), instance());
    let processes = Arc::new([Process::start(&url, instance), Process::start(&url, instance)]);
    let truth = Arc::new(AtomicU64::new(0));
    let mut workers = tokio::task::JoinSet::new();
    for number in 0..6_usize {
        let (processes, truth) = (Arc::clone(&processes), Arc::clone(&truth));
        workers.spawn(async move {
            let process = &processes[number % 2];
            for round in 0..150 {
                let least = if round % 3 == 0 {
                    let changed = truth.fetch_add(1, Ordering::SeqCst) + 1;
                    process.cache.drop_tag(&tag());
                    changed
                } else {
                    0
                };
                let load = async || {
                    let value = truth.load(Ordering::SeqCst);
                    tokio::task::yield_now().await;
                    Ok((value, 8))
                };
                let got = *process.cache.get_or(key("a"), tag(), LONG, load).await.unwrap();
                assert!(got >= least, "{got} after the change to {least}");
            }
        });
    }
    while let Some(done) = workers.join_next().await {
        done.unwrap();
    }
    let last = truth.load(Ordering::SeqCst);
    let start = Instant::now();
    for process in processes.iter() {
        while process.load("a", last).await != last {
            assert!(start.elapsed() < DEADLINE, "an old value stays");
            tokio::task::yield_now().await;
        }
    }
}

/// A Redis that was killed, and comes back with all it had, or with what it had earlier.
#[tokio::test]
async fn a_redis_that_comes_back_has_nothing_old() {
    let (mut server, instance) = (Server::start(&["--appendonly", "yes", "--appendfsync", "always"]), instance());
    let one = Process::start(&server.url(), instance);
    one.load("a", 1).await;
    one.until_kept("a").await;
    server.kill();
    until("the loss to be seen", || !one.engine.figures().up);
    // Nobody sees an error, and a change holds.
    one.cache.drop_tag(&tag());
    assert_eq!(one.load("a", 2).await, 2);
    server.go();
    let fresh = Process::start(&server.url(), instance);
    assert_eq!(fresh.load("a", 3).await, 3, "a value of before the change");
    one.until_up();
    assert!(one.engine.figures().errors > 0);
}

#[tokio::test]
async fn a_redis_that_forgot_the_newest_drops() {
    let (mut server, instance) = (Server::start(&[]), instance());
    let one = Process::start(&server.url(), instance);
    one.load("a", 1).await;
    one.until_kept("a").await;
    assert_eq!(ask(server.port, &["save"]), "OK");
    assert!(redis::find(&server.folder, "dump.rdb").is_some());
    one.cache.drop_tag(&tag());
    one.load("a", 2).await;
    one.engine.close();
    server.kill();
    server.go();
    assert!(ask(server.port, &["keys", "*value*"]).contains("test=a"), "the old value did not come back");
    assert_eq!(Process::start(&server.url(), instance).load("a", 3).await, 3, "a value of before the change");
}

#[tokio::test]
async fn a_redis_that_answers_nothing_holds_nobody_up() {
    let (server, instance) = (Server::start(&[]), instance());
    let process = Process::open(&server.url(), instance, Patience::default());
    process.until_up();
    server.signal(Signal::STOP);
    let start = Instant::now();
    for number in 0..200 {
        assert_eq!(process.load(&number.to_string(), number).await, number);
    }
    println!("200 values without an answer took {} ms", start.elapsed().as_millis());
    assert!(start.elapsed() < DEADLINE);
    until("the silence to be seen", || !process.engine.figures().up);
    process.cache.drop_tag(&tag());
    assert_eq!(process.load("1", 1_000).await, 1_000);
    server.signal(Signal::CONT);
    process.until_up();
    assert_eq!(process.load("new", 1).await, 1);
}

#[tokio::test]
async fn a_redis_that_is_not_there_yet_is_no_error() {
    let mut server = Server::start(&[]);
    server.kill();
    let process = Process::open(&server.url(), instance(), Patience::default());
    assert_eq!(process.load("a", 1).await, 1);
    server.go();
    process.until_up();
}

#[tokio::test]
async fn a_cluster_spreads_tenants() {
    let nodes = Nodes::start();
    let (url, instance) = (nodes.url(&[0]), instance());
    let (one, other) = (Process::start(&url, instance), Process::start(&url, instance));
    let key_of = |number: u8| Key { what: "test", tenant: Some(tenant(number)), which: String::from("a") };
    for number in 0..20 {
        let tag = Tag::Sites(tenant(number));
        let value = one.cache.get_or(key_of(number), tag.clone(), LONG, async || Ok((u64::from(number), 8)));
        assert_eq!(*value.await.unwrap(), u64::from(number));
        let start = Instant::now();
        while !matches!(other.engine.find(&key_of(number), &tag).await, Shared::Value { .. }) {
            assert!(start.elapsed() < DEADLINE, "not kept");
            tokio::task::yield_now().await;
        }
    }
    let sizes: Vec<String> = nodes.servers.iter().map(|it| ask(it.port, &["dbsize"])).collect();
    assert!(sizes.iter().filter(|it| *it != "0").count() >= 2, "{sizes:?}");
    one.cache.drop_tag(&Tag::Sites(tenant(7)));
    let start = Instant::now();
    loop {
        let load = async || Ok((99_u64, 8));
        if *other.cache.get_or(key_of(7), Tag::Sites(tenant(7)), LONG, load).await.unwrap() == 99 {
            break;
        }
        assert!(start.elapsed() < DEADLINE, "the change was not heard");
        tokio::task::yield_now().await;
    }
}

/// Three processes allow together what one allows.
#[tokio::test]
async fn limits_are_counted_together() {
    let (mut server, instance) = (Server::start(&[]), instance());
    let processes: Vec<Process> = (0..3).map(|_| Process::start(&server.url(), instance)).collect();
    let counts = |it: &Process| Counts::shared(Arc::<CacheRedis>::clone(&it.engine));
    let windows: Vec<Windows> = processes.iter().map(|it| Windows::new(Clock::system(), counts(it))).collect();
    let take = async |number: usize, key: &str| windows[number % 3].take(key, 5, 900_000, "tries", "Too many.").await;
    let mut allowed = 0;
    for number in 0..15 {
        match take(number, "sign-in of a@b.example").await {
            Ok(()) => allowed += 1,
            Err(error) => assert!(error.code == "tries" && error.retry_after_s.is_some_and(|it| it <= 900), "{error}"),
        }
    }
    assert_eq!(allowed, 5);
    assert!(!ask(server.port, &["keys", "*"]).contains("a@b"));
    // The right password, in the first: it counts from zero, and so do all together.
    windows[0].forget("sign-in of a@b.example");
    assert!(take(0, "sign-in of a@b.example").await.is_ok());
    // Without the Redis, each counts for itself.
    server.kill();
    for process in &processes {
        until("the loss to be seen", || !process.engine.figures().up);
    }
    let mut allowed = 0;
    for number in 0..30 {
        allowed += u32::from(take(number, "other").await.is_ok());
    }
    assert_eq!(allowed, 15);
}
