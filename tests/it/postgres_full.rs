//! A PostgreSQL that has no connection free: what is connected goes on, and nobody says that the database is gone.

use std::{
    collections::VecDeque,
    fs,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use chainhost::{
    base::secret::Secret,
    domain::Result,
    engines::postgres::{Postgres, Wish},
    params,
    ports::db::{Db, ReadTx},
};
use postgres::{Client, NoTls};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use crate::support::{PATIENCE, postgres::Server};

const COUNTER: &[(u32, &str, &str)] = &[(
    1,
    "counter",
    "CREATE TABLE counter (id BIGINT PRIMARY KEY, value BIGINT NOT NULL); INSERT INTO counter VALUES (1, 0);",
)];
/// As many connections as one server may have, and none more for its administrator.
const SMALL: &[&str] = &["fsync=off", "max_connections=12", "superuser_reserved_connections=0"];
/// By when a read must have been answered.
const BOUND: Duration = Duration::from_mins(2);

/// Opens the engine as the server does: not on a thread of a runtime.
fn open(server: &Server) -> Db {
    let url = Secret::new(server.url(""));
    let work = move || {
        let wish = Wish { url: &url, direct_url: None, replica_urls: &[], pool: 25, known: false };
        Postgres::open(&wish, COUNTER)
    };
    Db::new(thread::spawn(work).join().unwrap().unwrap())
}

async fn count(db: &Db) -> Result<()> {
    let sql = "UPDATE counter SET value = value + 1 WHERE id = $1";
    db.write(move |tx| tx.execute(sql, params![1_i64]).map(|_| ())).await
}

async fn value(db: &Db) -> Result<i64> {
    timeout(BOUND, db.read(|tx| tx.one("SELECT value FROM counter WHERE id = $1", params![1_i64])?.int(0)))
        .await
        .expect("a read hangs")
}

/// The session that a write has.
async fn session(db: &Db) -> i64 {
    db.write(|tx| tx.one("SELECT CAST(pg_backend_pid() AS BIGINT)", &[])?.int(0)).await.unwrap()
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !is_so().await {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// How often the server has refused a connection since it has none free.
fn refusals(server: &Server) -> usize {
    fs::read_to_string(server.folder.join("log")).unwrap().matches("too many clients already").count()
}

/// The connections of somebody else. Used on threads of their own, as their client wants it.
#[derive(Clone, Default)]
struct Others(Arc<Mutex<VecDeque<Client>>>);

impl Others {
    fn with<T: Send + 'static>(&self, work: impl FnOnce(&mut VecDeque<Client>) -> T + Send + 'static) -> T {
        let all = Arc::clone(&self.0);
        thread::spawn(move || work(&mut all.lock().unwrap_or_else(PoisonError::into_inner))).join().unwrap()
    }

    /// Takes what is free; whether that is all but what the engine has.
    fn take(&self, server: &Server, engine: usize) -> bool {
        let url = server.url("");
        self.with(move |all| {
            while let Ok(client) = Client::connect(&url, NoTls) {
                all.push_back(client);
            }
            all.len() + engine == 12
        })
    }

    /// Gives so many back.
    fn give(&self, count: usize) {
        self.with(move |all| drop(all.drain(..count.min(all.len())).collect::<Vec<_>>()));
    }
}

impl Drop for Others {
    fn drop(&mut self) {
        if Arc::strong_count(&self.0) == 1 {
            self.give(usize::MAX);
        }
    }
}

/// A server, an engine with one connection that reads and one that writes, those who have all others, and the session of the writes.
async fn full() -> (Server, Db, Others, i64) {
    let server = Server::start(SMALL);
    let db = open(&server);
    count(&db).await.unwrap();
    assert_eq!(value(&db).await.unwrap(), 1);
    let writes = session(&db).await;
    let others = Others::default();
    until("all connections are taken", async || others.take(&server, 2)).await;
    (server, db, others, writes)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_a_free_connection_is_not_taken_for_gone() {
    let (server, db, others, writes) = full().await;
    // One read holds the connection that reads; the next one finds no other.
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let (holds, is_held) = mpsc::channel();
    let mut reads = JoinSet::new();
    let reader = db.clone();
    reads.spawn(async move {
        let slow = move |tx: &mut ReadTx<'_>| {
            let value = tx.one("SELECT value FROM counter WHERE id = $1", params![1_i64])?.int(0);
            holds.send(()).unwrap();
            may_go_on.recv_timeout(BOUND).unwrap();
            value
        };
        reader.read(slow).await
    });
    tokio::task::spawn_blocking(move || is_held.recv_timeout(BOUND).unwrap()).await.unwrap();
    let before = refusals(&server);
    let reader = db.clone();
    reads.spawn(async move { value(&reader).await });
    until("a connection is refused", async || refusals(&server) > before).await;
    db.health().unwrap();
    assert_eq!(session(&db).await, writes, "the writer gave up a good connection");
    go_on.send(()).unwrap();
    for read in reads.join_all().await {
        assert_eq!(read.unwrap(), 1);
    }
    db.health().unwrap();
    // Who writes has none and gets none: that is said, and nothing but that.
    others.with(move |all| {
        let pid = i32::try_from(writes).unwrap();
        all[0].execute("SELECT pg_terminate_backend($1)", &[&pid]).unwrap();
    });
    until("the place of the writer is taken", async || others.take(&server, 1)).await;
    until("it is told that nothing can be written", async || {
        count(&db).await.is_err_and(|it| it.code == "database_busy") && db.health().is_err()
    })
    .await;
    assert_eq!(value(&db).await.unwrap(), 1);
    others.give(2);
    until("the writer has a connection again", async || db.health().is_ok()).await;
    until("it writes", async || count(&db).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_reads_share_the_few_connections_that_a_server_has_free() {
    let (server, db, others, writes) = full().await;
    // One reads already.
    others.give(2);
    let before = refusals(&server);
    let mut reads = JoinSet::new();
    for _ in 0..64 {
        let db = db.clone();
        reads.spawn(async move {
            for _ in 0..20 {
                assert_eq!(value(&db).await.unwrap(), 1);
            }
        });
    }
    reads.join_all().await;
    assert!(refusals(&server) > before, "all had a connection, so that nothing was shown");
    db.health().unwrap();
    assert_eq!(session(&db).await, writes, "the writer gave up a good connection");
}

/// A read that has begun, and whose connection ends before its first statement, cannot be left to another reader. It waits for the
/// connection of one.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_loses_its_connection_gets_that_of_another() {
    let server = Arc::new(Server::start(SMALL));
    let (db, others) = (open(&server), Others::default());
    count(&db).await.unwrap();
    // Two that read have a connection each, and tell which.
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let (holds, is_held) = mpsc::channel();
    let (is_full, may_lose) = mpsc::channel();
    let own = |tx: &mut ReadTx<'_>| tx.one("SELECT CAST(pg_backend_pid() AS BIGINT)", &[])?.int(0);
    let reader = db.clone();
    let (mut first, mut second) = (JoinSet::new(), JoinSet::new());
    first.spawn(async move {
        let slow = move |tx: &mut ReadTx<'_>| {
            holds.send(own(tx)?).unwrap();
            may_go_on.recv_timeout(BOUND).unwrap();
            own(tx)
        };
        reader.read(slow).await
    });
    let held = tokio::task::spawn_blocking(move || is_held.recv_timeout(BOUND).unwrap()).await.unwrap();
    let mut lost = held;
    until("another one reader", async || {
        timeout(BOUND, db.read(own)).await.unwrap().is_ok_and(|it| {
            lost = it;
            it != held
        })
    })
    .await;
    until("all connections are taken", async || others.take(&server, 3)).await;
    let (reader, asked, takers) = (db.clone(), Arc::clone(&server), others.clone());
    second.spawn(async move {
        let begun_on_it = move |tx: &mut ReadTx<'_>| {
            takers.with(move |all| {
                let pid = i32::try_from(lost).unwrap();
                all[0].execute("SELECT pg_terminate_backend($1, 20000)", &[&pid]).unwrap();
            });
            let begun = Instant::now();
            while !takers.take(&asked, 2) {
                assert!(begun.elapsed() < BOUND, "the place was not taken");
                thread::sleep(Duration::from_millis(20));
            }
            is_full.send(refusals(&asked)).unwrap();
            own(tx)
        };
        reader.read(begun_on_it).await
    });
    let before = tokio::task::spawn_blocking(move || may_lose.recv_timeout(BOUND).unwrap()).await.unwrap();
    // It finds none before that of the other is free.
    until("a connection is refused", async || refusals(&server) > before).await;
    go_on.send(()).unwrap();
    for reads in [first, second] {
        let found = timeout(BOUND, reads.join_all()).await.expect("a read hangs");
        assert_eq!(found.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [held]);
    }
    assert_eq!(value(&db).await.unwrap(), 1);
    db.health().unwrap();
}
