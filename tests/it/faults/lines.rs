//! The line to PostgreSQL is reset or slow, and that to the Redis of the queue also stands still. Visitors notice nothing; what was
//! acknowledged is there once, who wrote reads it back, and all goes on by itself when the line is good again.

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use serde_json::json;

use super::{api::Api, whole_site};
use crate::support::{
    Host,
    line::{Line, State},
    postgres::{Database, Way},
    redis::Server,
};

/// A server whose database and queue are behind lines. Fields drop in order: first the server.
struct Rig {
    host: Host,
    api: Api,
    database: Line,
    queue: Line,
    _redis: Server,
    _database: Database,
}

impl Rig {
    fn start() -> Self {
        let (redis, database) = (Server::start(&["--appendonly", "yes"]), Database::new(Way::Direct));
        let url = database.url();
        let port = url.rsplit(':').next().unwrap().split('/').next().unwrap();
        let line = Line::to(port.parse().unwrap());
        let queue = Line::to(redis.port);
        let environment = [
            ("CHAINHOST_DATABASE_URL", url.replace(port, &line.port.to_string())),
            ("CHAINHOST_REDIS_QUEUE_URL", format!("redis://127.0.0.1:{}", queue.port)),
        ];
        let host = Host::start_as(&environment, &[]);
        let api = Api::new(&host, &host.key("owner@example.org", "super-admin"));
        api.must("POST /api/v1/sites", &json!({ "name": "hello" }), 201);
        api.deploy_version("hello", 1);
        Self { host, api, database: line, queue, _redis: redis, _database: database }
    }

    /// All of these sites are there, each once.
    fn has(&self, made: &[String]) {
        let there = self.api.list("/api/v1/sites");
        for name in made {
            let found = there.iter().filter(|it| it["name"] == **name).count();
            assert_eq!(found, 1, "{name} was acknowledged");
        }
    }

    /// The jobs of these versions of the site are done, each once.
    fn all_done(&self, last: u64) {
        let mut wanted: Vec<String> = (1..=last).map(|it| format!("Compress hello {it}")).collect();
        wanted.sort_unstable();
        self.host.until("all jobs to be done, once each", || self.api.are_done(&wanted));
    }
}

/// Makes sites until told to stop; those that were acknowledged. Who was told so reads it back at once, or hears that it cannot be read now.
fn make_sites(api: &Api, prefix: &str, stop: &AtomicBool, made: &AtomicU64) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for number in 0..400 {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let name = format!("{prefix}{number}");
        let answer = api.call("POST /api/v1/sites", json!({ "name": name }).to_string().as_bytes());
        match answer.status {
            201 => {
                let read = api.call(&format!("GET /api/v1/sites/{name}"), b"");
                assert!([200, 503].contains(&read.status), "{name} was saved: {} {}", read.status, read.text());
                acknowledged.push(name);
                made.fetch_add(1, Ordering::SeqCst);
            }
            // A key may make so many calls only.
            503 => thread::sleep(Duration::from_millis(50)),
            status => panic!("{status} {}", answer.text()),
        }
    }
    acknowledged
}

/// Tells the others to stop, also when the test fails.
struct Stopping<'s>(&'s AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Runs `act` while somebody reads the site and others make sites; those that were acknowledged.
fn under_load(rig: &Rig, prefix: &str, act: impl FnOnce(&AtomicU64)) -> Vec<String> {
    let (stop, made) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let stopping = Stopping(&stop);
        let writers: Vec<_> = (0..2)
            .map(|at| {
                let api = rig.api.with_key(&rig.host.key(&format!("{prefix}{at}@example.org"), "admin"));
                let (prefix, stop, made) = (format!("{prefix}{at}-"), &stop, &made);
                scope.spawn(move || make_sites(&api, &prefix, stop, made))
            })
            .collect();
        let visitor = scope.spawn(|| {
            let mut asked = 0_u64;
            while !stop.load(Ordering::SeqCst) {
                assert_eq!(rig.host.get("hello.localhost", "/").status, 200);
                asked += 1;
            }
            asked
        });
        rig.host.until("the load", || (made.load(Ordering::SeqCst) > 5).then_some(()));
        act(&made);
        drop(stopping);
        assert!(visitor.join().unwrap() > 0);
        writers.into_iter().flat_map(|it| it.join().unwrap()).collect()
    })
}

#[test]
fn a_line_to_the_database_that_is_reset_loses_nothing() {
    let rig = Rig::start();
    let made = under_load(&rig, "r", |made| {
        for _ in 0..5 {
            let before = made.load(Ordering::SeqCst);
            rig.database.set(State::Cut);
            rig.host.until("it is said", || {
                let answer = rig.api.call("GET /api/v1/sites", b"");
                (answer.status == 503).then_some(())
            });
            rig.database.set(State::Open);
            rig.host.until("sites are made again", || (made.load(Ordering::SeqCst) > before + 2).then_some(()));
        }
    });
    rig.has(&made);
    rig.api.deploy_version("hello", 2);
    assert_eq!(whole_site(rig.host.port, "hello"), 2);
    rig.all_done(2);
}

#[test]
fn a_slow_line_to_the_database_is_only_slow() {
    let rig = Rig::start();
    let made = under_load(&rig, "s", |made| {
        rig.database.set(State::Slow(Duration::from_millis(20)));
        let before = made.load(Ordering::SeqCst);
        rig.host.until("sites are made", || (made.load(Ordering::SeqCst) > before + 5).then_some(()));
        rig.database.set(State::Open);
    });
    rig.has(&made);
}

#[test]
fn a_line_to_the_queue_that_is_reset_still_or_slow_loses_no_job() {
    let rig = Rig::start();
    let mut version = 1;
    for state in [State::Cut, State::Still, State::Slow(Duration::from_millis(20))] {
        rig.queue.set(state);
        for _ in 0..3 {
            version += 1;
            rig.api.deploy_version("hello", version);
            assert_eq!(whole_site(rig.host.port, "hello"), version);
        }
        rig.queue.set(State::Open);
        rig.all_done(version);
    }
}
