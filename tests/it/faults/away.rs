//! The databases of the control plane are killed, one after the other and all of them: visitors notice nothing.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use serde_json::json;

use super::{api::Api, version, version_of, whole_site};
use crate::support::{
    Host, PATIENCE,
    http::{Fate, Kept},
    postgres, redis,
};

/// Visits that each state of the servers must see.
const VISITS: u64 = 200;

/// A key may make so many calls only.
const SELDOM: Duration = Duration::from_millis(200);

/// A server and all that it needs. Fields drop in order: first the server.
struct Rig {
    host: Host,
    api: Api,
    database: postgres::Server,
    queue: redis::Server,
    cache: redis::Server,
}

impl Rig {
    fn start() -> Self {
        let database = postgres::Server::start(&["fsync=off"]);
        let queue = redis::Server::start(&["--appendonly", "yes", "--appendfsync", "always"]);
        let cache = redis::Server::start(&["--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"]);
        let environment = [
            ("CHAINHOST_DATABASE_URL", database.url("")),
            ("CHAINHOST_REDIS_QUEUE_URL", queue.url()),
            ("CHAINHOST_REDIS_CACHE_URL", cache.url()),
        ];
        let host = Host::start_as(&environment, &[]);
        let api = Api::new(&host, &host.key("owner@example.org", "super-admin"));
        api.must("POST /api/v1/sites", &json!({ "name": "hello" }), 201);
        api.deploy_version("hello", 1);
        Self { host, api, database, queue, cache }
    }

    /// What `/healthz` says of a part.
    fn health(&self, part: &str) -> String {
        self.host.get("localhost", "/healthz").json()[part].as_str().unwrap_or_default().to_owned()
    }

    fn until_health(&self, part: &str, is_well: bool) {
        self.host.until(part, || ((self.health(part) == "ok") == is_well).then_some(()));
    }

    fn until_cache(&self, is_up: bool) {
        let line = format!("chainhost_cache_shared_up {}", u32::from(is_up));
        self.host.until(&line, || {
            let text = self.host.get("localhost", "/metrics").text();
            text.lines().any(|it| it == line).then_some(())
        });
    }

    /// Whether the jobs of these versions are done, each once.
    fn all_done(&self, last: u64) {
        let mut wanted: Vec<String> = (1..=last).map(|it| format!("Compress hello {it}")).collect();
        wanted.sort_unstable();
        self.host.until_within(PATIENCE, SELDOM, "all jobs to be done, once each", || self.api.are_done(&wanted));
    }
}

/// What visitors have met.
#[derive(Default)]
struct Visits {
    stop: AtomicBool,
    count: AtomicU64,
}

impl Visits {
    /// Reads the site file by file until told to stop; what failed. The first of two visitors keeps its connection, the other makes a
    /// new one each time.
    fn go(&self, port: u16, keeps: bool) -> Vec<String> {
        let (mut failed, mut kept) = (Vec::new(), None);
        for (path, _) in version(0).iter().cycle() {
            if self.stop.load(Ordering::SeqCst) {
                break;
            }
            let mut connection = kept.take().unwrap_or_else(|| Kept::open(port).unwrap());
            match connection.get("hello.localhost", &format!("/{path}"), "") {
                Fate::Whole(answer) if answer.status == 200 => drop(version_of(path, &answer.body)),
                other => failed.push(format!("{path}: {other:?}")),
            }
            kept = keeps.then_some(connection);
            self.count.fetch_add(1, Ordering::SeqCst);
        }
        failed
    }

    /// Waits until there were some more.
    fn more(&self, host: &Host) {
        let before = self.count.load(Ordering::SeqCst);
        host.until("visits", || (self.count.load(Ordering::SeqCst) >= before + VISITS).then_some(()));
    }
}

/// Tells visitors to stop, also when the test fails.
struct Stopping<'v>(&'v Visits);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::SeqCst);
    }
}

#[test]
fn no_visitor_notices_that_the_databases_of_the_control_plane_are_away() {
    let mut rig = Rig::start();
    let (port, visits) = (rig.host.port, Visits::default());
    let failed: Vec<String> = thread::scope(|scope| {
        let stopping = Stopping(&visits);
        let seen = &visits;
        let visitors: Vec<_> = [true, false].map(|keeps| scope.spawn(move || seen.go(port, keeps))).into();
        visits.more(&rig.host);
        rig.queue.kill();
        rig.until_health("queue", false);
        visits.more(&rig.host);
        // What is deployed meanwhile is served all the same; its job waits.
        rig.api.deploy_version("hello", 2);
        assert_eq!(whole_site(port, "hello"), 2);
        rig.cache.kill();
        rig.until_cache(false);
        visits.more(&rig.host);
        rig.api.deploy_version("hello", 3);
        rig.database.crash();
        rig.until_health("control", false);
        let refused = rig.api.call("POST /api/v1/sites", br#"{"name":"late"}"#);
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")), "{}", refused.text());
        visits.more(&rig.host);
        assert_eq!(rig.health("sites"), "ok");
        // Back in another order.
        rig.database.go();
        rig.until_health("control", true);
        visits.more(&rig.host);
        rig.cache.go();
        rig.queue.go();
        rig.until_health("queue", true);
        rig.until_cache(true);
        visits.more(&rig.host);
        drop(stopping);
        visitors.into_iter().flat_map(|it| it.join().unwrap()).collect()
    });
    println!("{} visits", visits.count.load(Ordering::SeqCst));
    assert_eq!(failed, Vec::<String>::new());
    rig.host.until_within(PATIENCE, SELDOM, "the site", || {
        let there = rig.api.call("GET /api/v1/sites/hello", b"");
        (there.status == 200).then_some(())
    });
    rig.all_done(3);
    // What a start finds when all of them are away is served too.
    rig.queue.kill();
    rig.cache.kill();
    rig.database.crash();
    rig.host.kill();
    rig.host.restart();
    assert_eq!((whole_site(rig.host.port, "hello"), rig.health("sites").as_str()), (3, "ok"));
    assert_ne!(rig.health("control"), "ok");
    rig.database.go();
    rig.cache.go();
    rig.queue.go();
    rig.api.moved(&rig.host);
    rig.until_health("control", true);
    rig.until_health("queue", true);
    rig.host.until_within(PATIENCE, SELDOM, "the list of sites", || {
        let there = rig.api.call("GET /api/v1/sites", b"");
        (there.status == 200 && there.json()["items"].as_array().map(Vec::len) == Some(1)).then_some(())
    });
}
