//! Behind a PgBouncer whose sessions somebody else uses up: it takes connections all the same, and says nothing on them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use chainhost::{
    base::secret::Secret,
    domain::Result,
    engines::postgres::{Limits, Postgres, Wish},
    params,
    ports::db::Db,
};
use postgres::{Client, NoTls};
use tokio::time::{Instant, sleep, timeout};

use crate::support::{
    Host, PATIENCE,
    postgres::{Database, Way},
};

const COUNTER: &[(u32, &str, &str)] = &[(
    1,
    "counter",
    "CREATE TABLE counter (id BIGINT PRIMARY KEY, value BIGINT NOT NULL); INSERT INTO counter VALUES (1, 0);",
)];
/// Long enough for a busy machine, and short enough for a test.
const LIMITS: Limits = Limits {
    connect: Duration::from_secs(3),
    read: Duration::from_secs(6),
    write: Duration::from_secs(8),
    fate: Duration::from_secs(6),
};
/// What two tries to be given a session take, and as much again of one for a busy machine.
const WITHIN: Duration = Duration::from_secs(9);
/// Sessions that the pooler has for each database.
const SESSIONS: usize = 2;

/// Transactions that have all sessions of a pooler. Dropped, they end.
struct Held(Vec<Client>);

impl Held {
    /// Waits for its turn at the pooler.
    fn take(url: &str) -> Self {
        let url = url.to_owned();
        let take = move || {
            let one = |_| {
                let mut client = Client::connect(&url, NoTls).unwrap();
                client.batch_execute("BEGIN; SELECT 1").unwrap();
                client
            };
            Self((0..SESSIONS).map(one).collect())
        };
        // The client must not run on a thread of an async runtime.
        thread::spawn(take).join().unwrap()
    }

    fn end(mut self) {
        let clients = std::mem::take(&mut self.0);
        thread::spawn(move || drop(clients)).join().unwrap();
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let clients = std::mem::take(&mut self.0);
        drop(thread::spawn(move || drop(clients)).join());
    }
}

async fn count(db: &Db) -> Result<i64> {
    let sql = "UPDATE counter SET value = value + 1 WHERE id = $1 RETURNING value";
    timeout(PATIENCE, db.write(move |tx| tx.one(sql, params![1_i64])?.int(0))).await.expect("a write hangs")
}

async fn value(db: &Db) -> Result<i64> {
    let sql = "SELECT value FROM counter WHERE id = $1";
    timeout(PATIENCE, db.read(move |tx| tx.one(sql, params![1_i64])?.int(0))).await.expect("a read hangs")
}

/// Through the pooler; migrations go past it.
async fn open(database: &Database) -> Db {
    let (url, direct) = (Secret::new(database.url()), Secret::new(database.direct_url()));
    let open = move || {
        let wish = Wish { url: &url, direct_url: Some(&direct), replica_urls: &[], pool: 6, known: false };
        Postgres::open_within(&wish, COUNTER, LIMITS)
    };
    let db = Db::new(thread::spawn(open).join().unwrap().unwrap());
    until("it counts", async || count(&db).await.is_ok()).await;
    until("it reads", async || value(&db).await.is_ok()).await;
    db
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !is_so().await {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// A pooler without a session free is as good as a database that is gone: that is known after the first who asked in vain, and all
/// others hear it at once, until it has one again.
#[tokio::test(flavor = "multi_thread")]
async fn a_pooler_that_is_used_up_is_known_to_be_and_all_goes_on_behind_it() {
    for way in [Way::Pooled, Way::Ignoring] {
        let database = Database::new(way);
        let db = open(&database).await;
        let mut before = 0;
        until("it reads", async || value(&db).await.inspect(|it| before = *it).is_ok()).await;
        let held = Held::take(&database.url());
        let (read, written) = tokio::join!(value(&db), count(&db));
        for error in [read.unwrap_err(), written.unwrap_err()] {
            assert_eq!(error.code, "database_no_session", "{way:?}: {error:?}");
            assert_eq!(error.retry_after_s, Some(5));
        }
        // It is said and stays said, since nothing has changed; most hear it without asking the pooler.
        let begun = Instant::now();
        let mut told = 0;
        until("all hear of it", async || {
            assert_eq!(db.health().unwrap_err().code, "database_no_session", "{way:?}");
            assert!(value(&db).await.is_err() && count(&db).await.is_err());
            told += 1;
            told == 5
        })
        .await;
        println!("{way:?}: ten calls were told so within {:?}", begun.elapsed());
        held.end();
        until("it is there again", async || db.health().is_ok() && value(&db).await.is_ok()).await;
        // Each that was told of a failure has saved nothing.
        let (mut after, mut tries) = (0, 0);
        until("it counts again", async || {
            tries += 1;
            count(&db).await.inspect(|it| after = *it).is_ok()
        })
        .await;
        assert!(after > before && after <= before + tries, "{way:?}: {after} after {before} and {tries}");
    }
}

/// Who asks first waits for a session on the connection that there is, and then on a new one, but no longer than for one answer. The one
/// who writes has written just now, or so long ago that its connection is tried before it is used.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_who_ask_a_pooler_that_is_used_up_hear_it_within_one_limit() {
    for (way, quiet) in [(Way::Pooled, 0), (Way::Pooled, 3), (Way::Ignoring, 0), (Way::Impatient, 0)] {
        let database = Database::new(way);
        let db = open(&database).await;
        let held = Held::take(&database.url());
        sleep(Duration::from_secs(quiet)).await;
        let timed = async |asked| {
            let begun = Instant::now();
            let told = if asked { value(&db).await } else { count(&db).await };
            (told.unwrap_err(), begun.elapsed())
        };
        let told = tokio::join!(timed(true), timed(false));
        println!(
            "{way:?}, quiet for {quiet} s: the reader heard it after {:?}, the writer after {:?}",
            told.0.1, told.1.1
        );
        for (who, (error, waited)) in [("reader", told.0), ("writer", told.1)] {
            assert_eq!(
                (error.code, error.retry_after_s),
                ("database_no_session", Some(5)),
                "{way:?}, {who}: {error:?}"
            );
            assert!(waited < WITHIN, "{way:?}: the {who} waited for {waited:?}");
        }
        held.end();
        until("it reads again", async || value(&db).await.is_ok()).await;
        until("it writes again", async || count(&db).await.is_ok()).await;
    }
}

/// Also when the wait for it on the connection that there was has been given up.
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_becomes_free_in_time_serves_those_who_wait_for_it() {
    let turn = LIMITS.read / 2;
    for free_after in [turn / 2, turn + turn / 3] {
        let database = Database::new(Way::Pooled);
        let db = open(&database).await;
        let held = Held::take(&database.url());
        let frees = async {
            sleep(free_after).await;
            tokio::task::spawn_blocking(move || held.end()).await.unwrap();
        };
        let (read, written, ()) = tokio::join!(value(&db), count(&db), frees);
        assert!(read.is_ok() && written.is_ok(), "free after {free_after:?}: {read:?}, {written:?}");
        db.health().unwrap();
    }
}

/// A statement that is slow, and a writer that waits for another one: longer than for a session.
#[tokio::test(flavor = "multi_thread")]
async fn who_has_been_given_a_session_has_the_whole_time_for_an_answer() {
    let database = Arc::new(Database::new(Way::Pooled));
    let db = open(&database).await;
    let slow_s = (LIMITS.read / 2).as_secs() + 1;
    let other = Arc::clone(&database);
    let lock = "SELECT pg_advisory_xact_lock(7163082312784573300)";
    let sql = format!("BEGIN; {lock}; SELECT pg_sleep({slow_s}); COMMIT");
    let holds = tokio::task::spawn_blocking(move || other.ask(&sql));
    let held = "SELECT 'held' FROM pg_locks, pg_database WHERE locktype = 'advisory' AND granted \
                AND database = pg_database.oid AND datname = current_database()";
    until("another one writes", async || !database.ask(held).is_empty()).await;
    let slow = format!("SELECT CAST(7 AS BIGINT) FROM pg_sleep({slow_s})");
    let (read, written) = tokio::join!(db.read(move |tx| tx.one(&slow, &[])?.int(0)), count(&db));
    assert_eq!(read.unwrap(), 7);
    written.unwrap();
    holds.await.unwrap();
    db.health().unwrap();
}

#[test]
fn a_pooler_that_is_used_up_takes_no_site_down_and_calls_hear_of_it() {
    let database = Database::new(Way::Pooled);
    let environment =
        [("CHAINHOST_DATABASE_URL", database.url()), ("CHAINHOST_DATABASE_DIRECT_URL", database.direct_url())];
    let host = Host::start_as(&environment, &[]);
    let key = host.key("owner@example.org", "super-admin");
    let folder = host.beside("page");
    crate::support::write_files(&folder, &[("index.html", b"<h1>seen</h1>")]);
    let out = host.cli(&key, &["deploy", folder.to_str().unwrap(), "--site", "seen", "--create"]);
    assert!(out.status.success(), "{}\n{}", String::from_utf8_lossy(&out.stderr), host.log());
    let make = |name: &str| host.api(&key, "POST /api/v1/sites", format!("{{\"name\":\"{name}\"}}").as_bytes());
    let is_up = |wanted: bool| {
        let line = format!("chainhost_database_up {}", u32::from(wanted));
        host.get("localhost", "/metrics").text().lines().any(|it| it == line).then_some(())
    };
    host.until("the metrics to tell", || is_up(true));
    let (stop, visits) = (AtomicBool::new(false), AtomicU64::new(0));
    let held = Held::take(&database.url());
    let failed = thread::scope(|scope| {
        let visitor = scope.spawn(|| {
            let mut failed = 0;
            while !stop.load(Ordering::SeqCst) {
                failed += u64::from(host.get("seen.localhost", "/").status != 200);
                visits.fetch_add(1, Ordering::SeqCst);
            }
            failed
        });
        // A list that no cache answers, and what is to be saved.
        let asked = [
            scope.spawn(|| host.api(&key, "GET /api/v1/audit?limit=1", b"")),
            scope.spawn(|| make("during")),
            scope.spawn(|| host.api(&key, "GET /api/v1/audit?limit=2", b"")),
        ];
        let begun = Instant::now();
        let answers = asked.map(thread::ScopedJoinHandle::join);
        println!("three calls were refused within {:?}", begun.elapsed());
        stop.store(true, Ordering::SeqCst);
        for answer in answers {
            let answer = answer.unwrap();
            assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")), "{}", answer.text());
        }
        visitor.join().unwrap()
    });
    let visits = visits.load(Ordering::SeqCst);
    assert!(failed == 0 && visits > 20, "{failed} of {visits} visits failed");
    host.until("the metrics to tell", || is_up(false));
    held.end();
    host.until("the metrics to tell", || is_up(true));
    let period = Duration::from_millis(250);
    host.until_within(PATIENCE, period, "calls are served", || (make("after").status == 201).then_some(()));
    // Who tried while there was none free may count it as gone for another moment.
    let there = host.until_within(PATIENCE, period, "the list of sites", || {
        let answer = host.api(&key, "GET /api/v1/sites?limit=200", b"");
        (answer.status == 200).then(|| answer.json())
    });
    let names: Vec<_> = there["items"].as_array().unwrap().iter().filter_map(|it| it["name"].as_str()).collect();
    for (name, count) in [("seen", 1), ("after", 1), ("during", 0)] {
        assert_eq!(names.iter().filter(|it| **it == name).count(), count, "{names:?}");
    }
}
