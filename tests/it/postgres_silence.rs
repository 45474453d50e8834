//! A PostgreSQL that says nothing on connections that are open: the network is cut without a word, or the machine stands still.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use chainhost::{
    base::secret::Secret,
    domain::{Error, Result},
    engines::postgres::{Limits, Postgres, Wish},
    params,
    ports::db::Db,
};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::support::{
    Host, PATIENCE,
    line::{Line, State},
    postgres::Server,
};

const COUNTER: &[(u32, &str, &str)] = &[(
    1,
    "counter",
    "CREATE TABLE counter (id BIGINT PRIMARY KEY, value BIGINT NOT NULL); INSERT INTO counter VALUES (1, 0);",
)];
/// A crash of the machine is not what these tests are about.
const FAST: &[&str] = &["fsync=off"];
/// Long enough for a busy machine, and short enough for a test.
const LIMITS: Limits = Limits {
    connect: Duration::from_secs(3),
    read: Duration::from_secs(3),
    write: Duration::from_secs(4),
    fate: Duration::from_secs(6),
};
/// By when a call must have ended: the longest way (a commit whose fate is asked for, behind another one) and a lot for a busy machine.
const BOUND: Duration = Duration::from_mins(2);

fn url_of(port: u16) -> String {
    format!("postgres://postgres@127.0.0.1:{port}/postgres")
}

/// Opens the engine as the server does: not on a thread of a runtime.
fn open(url: String, replica: Option<String>) -> Result<Db> {
    open_within(url, replica, LIMITS)
}

fn open_within(url: String, replica: Option<String>, limits: Limits) -> Result<Db> {
    let open = move || {
        let (url, replicas) = (Secret::new(url), replica.map(|it| Arc::new(Secret::new(it))));
        let wish = Wish { url: &url, direct_url: None, replica_urls: replicas.as_slice(), pool: 6, known: false };
        Postgres::open_within(&wish, COUNTER, limits)
    };
    thread::spawn(open).join().unwrap().map(|it| Db::new(it))
}

async fn count(db: &Db) -> Result<i64> {
    db.write(|tx| {
        let sql = "UPDATE counter SET value = value + 1 WHERE id = $1 RETURNING value";
        tx.one(sql, params![1_i64])?.int(0)
    })
    .await
}

async fn value(db: &Db) -> Result<i64> {
    db.read(|tx| tx.one("SELECT value FROM counter WHERE id = $1", params![1_i64])?.int(0)).await
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !is_so().await {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

fn is_told(error: &Error) -> bool {
    ["database_lost", "database_unreachable", "database_unsure"].contains(&error.code)
}

/// What calls have heard.
#[derive(Default)]
struct Heard {
    asked: AtomicU64,
    kept: AtomicI64,
    unsure: AtomicI64,
    failed: AtomicU64,
}

/// Asks again and again until told to stop. No call may hang, and none may fail with anything but a clear word.
fn callers(db: &Db, heard: &Arc<Heard>, stop: &Arc<AtomicBool>) -> JoinSet<()> {
    let mut asking = JoinSet::new();
    for number in 0..12 {
        let (db, heard, stop) = (db.clone(), Arc::clone(heard), Arc::clone(stop));
        asking.spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                let writes = number % 3 == 0;
                let told = async { if writes { count(&db).await } else { value(&db).await } };
                let told = timeout(BOUND, told).await.expect("a call hangs");
                heard.asked.fetch_add(1, Ordering::SeqCst);
                match told {
                    Ok(_) if writes => drop(heard.kept.fetch_add(1, Ordering::SeqCst)),
                    Ok(_) => {}
                    Err(error) => {
                        assert!(is_told(&error), "{error:?}");
                        heard.failed.fetch_add(1, Ordering::SeqCst);
                        if writes && error.code == "database_unsure" {
                            heard.unsure.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                }
            }
        });
    }
    asking
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_falls_silent_ends_calls_with_a_word_and_all_is_well_behind_it() {
    let server = Server::start(FAST);
    let line = Line::to(server.port);
    let db = open(url_of(line.port), None).unwrap();
    // It waits for the lock of the writers as long as the server keeps it for a session that is cut off.
    let direct = open_within(url_of(server.port), None, Limits::default()).unwrap();
    let (heard, stop) = (Arc::new(Heard::default()), Arc::new(AtomicBool::new(false)));
    let asking = callers(&db, &heard, &stop);
    let kept = || heard.kept.load(Ordering::SeqCst);
    for _ in 0..2 {
        let before = kept();
        until("calls are answered", async || kept() > before).await;
        line.set(State::Still);
        until("the database is said to be gone", async || {
            db.health().is_err_and(|it| it.code == "database_unreachable")
        })
        .await;
        // All who ask are told soon, and nobody waits for long.
        let failed = heard.failed.load(Ordering::SeqCst);
        until("calls end", async || heard.failed.load(Ordering::SeqCst) > failed + 100).await;
        // Others are not held up by what is left of the transactions.
        timeout(BOUND, count(&direct)).await.expect("another server hangs").unwrap();
        line.set(State::Open);
        until("the database is there again", async || db.health().is_ok()).await;
    }
    let before = kept();
    until("calls are answered again", async || kept() > before).await;
    stop.store(true, Ordering::SeqCst);
    timeout(BOUND, asking.join_all()).await.expect("calls do not end");
    let (kept, unsure, others) = (kept(), heard.unsure.load(Ordering::SeqCst), 2);
    let there = value(&direct).await.unwrap() - others;
    assert!(there >= kept && there <= kept + unsure, "{kept} were acknowledged, {unsure} perhaps: {there} are there");
    // It ends also when the line is still.
    line.set(State::Still);
    let ended = tokio::task::spawn_blocking(move || drop(db));
    timeout(BOUND, ended).await.expect("the end waits for a server that says nothing").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_connections_that_went_dead_while_nobody_used_them() {
    let server = Server::start(FAST);
    let line = Line::to(server.port);
    let db = open(url_of(line.port), None).unwrap();
    count(&db).await.unwrap();
    value(&db).await.unwrap();
    // As where something in between has forgotten the connections: new ones work, and what is sent on the old ones goes nowhere.
    line.forget();
    assert_eq!(timeout(BOUND, value(&db)).await.expect("a read hangs").unwrap(), 1);
    assert_eq!(timeout(BOUND, count(&db)).await.expect("a write hangs").unwrap(), 2);
    assert!(db.health().is_ok());
}

#[test]
fn a_start_on_a_server_that_says_nothing_ends_with_a_word() {
    // It takes connections, since the system does, and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let told = open(url_of(port), None).map(drop).unwrap_err();
    assert_eq!(told.code, "database_unreachable", "{told:?}");
    // The next host is asked all the same.
    let server = Server::start(FAST);
    open(format!("postgres://postgres@127.0.0.1:{port},127.0.0.1:{}/postgres", server.port), None).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_silent_is_read_from_again() {
    let primary = Server::start(FAST);
    let standby = primary.standby(FAST);
    let line = Line::to(standby.port);
    let db = open(url_of(primary.port), Some(url_of(line.port))).unwrap();
    let is_used = |wanted: bool| db.replicas().iter().all(|it| it.in_use == wanted);
    count(&db).await.unwrap();
    for _ in 0..2 {
        until("the replica is read from", async || is_used(true)).await;
        line.set(State::Still);
        until("it is left out", async || is_used(false)).await;
        assert_eq!(timeout(BOUND, value(&db)).await.expect("a read hangs").unwrap(), 1);
        line.set(State::Open);
    }
    until("the replica is read from", async || is_used(true)).await;
}

/// Passes everything on, but ends the next so many connections in the middle of being made, as a server does that is told to.
fn ending(server: u16, left: Arc<AtomicUsize>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |it| it.checked_sub(1)).is_ok() {
                // No TLS here; then comes who connects.
                drop(client.read(&mut [0; 4096]));
                drop(client.write_all(b"N"));
                drop(client.read(&mut [0; 4096]));
                let fields = b"SFATAL\0VFATAL\0C57P01\0Mterminating connection due to administrator command\0\0";
                let length = u32::try_from(fields.len() + 4).unwrap().to_be_bytes();
                drop(client.write_all(&[b"E", &length[..], fields].concat()));
                continue;
            }
            let there = TcpStream::connect(("127.0.0.1", server)).unwrap();
            let ways = [(client.try_clone().unwrap(), there.try_clone().unwrap()), (there, client)];
            for (mut from, mut to) in ways {
                thread::spawn(move || {
                    drop(std::io::copy(&mut from, &mut to));
                    drop(to.shutdown(std::net::Shutdown::Both));
                });
            }
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_ended_while_it_is_made_costs_nobody_an_error() {
    let server = Server::start(FAST);
    let left = Arc::new(AtomicUsize::new(0));
    let db = open(url_of(ending(server.port, Arc::clone(&left))), None).unwrap();
    for round in 1..=5 {
        server
            .run("SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity WHERE application_name = 'chainhost'");
        left.store(1, Ordering::SeqCst);
        assert_eq!(count(&db).await.unwrap(), round);
        assert_eq!(left.load(Ordering::SeqCst), 0);
        server
            .run("SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity WHERE application_name = 'chainhost'");
        left.store(1, Ordering::SeqCst);
        assert_eq!(value(&db).await.unwrap(), round);
        assert!(db.health().is_ok());
    }
    // One that ends every connection is down.
    left.store(usize::MAX, Ordering::SeqCst);
    server.run("SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity WHERE application_name = 'chainhost'");
    assert_eq!(value(&db).await.unwrap_err().code, "database_lost");
    assert!(db.health().is_err());
    left.store(0, Ordering::SeqCst);
    until("it is there again", async || value(&db).await.is_ok()).await;
}

#[test]
fn a_database_server_that_stands_still_takes_no_site_down_and_loses_nothing() {
    let server = Server::start(FAST);
    let host = Host::start_on(&server.url(""));
    let key = host.key("owner@example.org", "super-admin");
    let folder = host.beside("page");
    crate::support::write_files(&folder, &[("index.html", b"<h1>seen</h1>")]);
    let out = host.cli(&key, &["deploy", folder.to_str().unwrap(), "--site", "seen", "--create"]);
    assert!(out.status.success(), "{}\n{}", String::from_utf8_lossy(&out.stderr), host.log());
    let make = |name: &str| host.api(&key, "POST /api/v1/sites", format!("{{\"name\":\"{name}\"}}").as_bytes());
    assert_eq!(make("before").status, 201);
    let ask = |number: u32| match number % 2 {
        0 => make(&format!("during-{number}")),
        // A list that no cache answers.
        _ => host.api(&key, "GET /api/v1/audit?limit=1", b""),
    };
    let frozen = server.freeze();
    thread::scope(|scope| {
        let calls: Vec<_> = (0..4)
            .map(|number| {
                let ask = &ask;
                scope.spawn(move || ask(number))
            })
            .collect();
        while calls.iter().any(|it| !it.is_finished()) {
            assert_eq!(host.get("seen.localhost", "/").status, 200, "visitors do not notice");
            thread::sleep(Duration::from_millis(20));
        }
        for it in calls {
            let answer = it.join().unwrap();
            assert_eq!(answer.status, 503, "{}\n{}", answer.text(), host.log());
            assert!(answer.text().contains("database_"), "{}", answer.text());
        }
    });
    drop(frozen);
    let period = Duration::from_millis(250);
    host.until_within(PATIENCE, period, "the control plane is back", || (make("after").status == 201).then_some(()));
    // Who tried to connect while it stood still may count it as gone for another moment.
    let there = host.until_within(PATIENCE, period, "the list of sites", || {
        let answer = host.api(&key, "GET /api/v1/sites?limit=200", b"");
        (answer.status == 200).then(|| answer.json())
    });
    let names: Vec<_> = there["items"].as_array().unwrap().iter().filter_map(|it| it["name"].as_str()).collect();
    for name in ["seen", "before", "after"] {
        assert_eq!(names.iter().filter(|it| **it == name).count(), 1, "{names:?}");
    }
}
