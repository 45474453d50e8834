//! Replicas: who reads from them, and that nobody notices but the primary.

use std::{
    collections::HashMap,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use chainhost::{
    base::{ids::Id, secret::Secret},
    domain::{Result, access::TenantScope, tenant::TenantId},
    engines::postgres::{Postgres, Wish},
    params,
    ports::db::Db,
};
use tokio::time::{Instant, sleep};

use crate::support::{Host, PATIENCE, http, postgres::Server};

const COUNTER: &[(u32, &str, &str)] =
    &[(1, "counter", "CREATE TABLE counter (tenant_id BYTEA PRIMARY KEY, value BIGINT NOT NULL);")];
/// Durability is not what these tests are about.
const FAST: &[&str] = &["fsync=off"];

fn open(primary: &Server, replicas: &[&Server]) -> Db {
    open_urls(primary, replicas.iter().map(|it| it.url("")).collect())
}

fn open_urls(primary: &Server, replicas: Vec<String>) -> Db {
    let url = Secret::new(primary.url(""));
    let replicas: Vec<Arc<Secret>> = replicas.into_iter().map(|it| Arc::new(Secret::new(it))).collect();
    let open = move || {
        let wish = Wish { url: &url, direct_url: None, replica_urls: &replicas, pool: 4, known: false };
        Postgres::open(&wish, COUNTER)
    };
    Db::new(thread::spawn(open).join().unwrap().unwrap())
}

fn scope(number: u8) -> TenantScope {
    TenantScope::grant(TenantId(Id::from_bytes([number; 16])))
}

async fn add(db: &Db, scope: TenantScope) -> i64 {
    let sql = "INSERT INTO counter (tenant_id, value) VALUES ($1, 1)
               ON CONFLICT (tenant_id) DO UPDATE SET value = counter.value + 1 RETURNING value";
    let added = db.write(move |tx| {
        let tenant = tx.tenant(scope)?;
        tx.one(sql, params![tenant])?.int(0)
    });
    added.await.unwrap()
}

async fn read(db: &Db, scope: TenantScope) -> Result<i64> {
    db.read_near(scope, move |tx| {
        let tenant = tx.tenant(scope)?;
        tx.find("SELECT value FROM counter WHERE tenant_id = $1", params![tenant])?.map_or(Ok(0), |row| row.int(0))
    })
    .await
}

fn reads(db: &Db) -> u64 {
    db.replicas().iter().map(|it| it.reads).sum()
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "waited in vain until {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn until_in_use(db: &Db, wanted: &[bool]) {
    until(&format!("in use: {wanted:?}"), || db.replicas().iter().map(|it| it.in_use).eq(wanted.iter().copied())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_misses_their_own_write() {
    let primary = Server::start(FAST);
    let slow = primary.standby(&["fsync=off", "recovery_min_apply_delay=10s"]);
    let late = primary.standby(&["fsync=off", "recovery_min_apply_delay=700ms"]);
    let db = open(&primary, &[&slow, &late]);
    // The table has to come to the replicas before anything is read there.
    let mut written: HashMap<u8, i64> = HashMap::new();
    let mut dice = 88_172_645_463_325_252_u64;
    for _ in 0..1_000 {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        let tenant = u8::try_from(dice % 40).unwrap();
        if dice & (1 << 20) == 0 {
            written.insert(tenant, add(&db, scope(tenant)).await);
        }
        let known = written.get(&tenant).copied().unwrap_or(0);
        assert_eq!(read(&db, scope(tenant)).await.unwrap(), known, "the tenant {tenant} misses a write");
    }
    assert!(written.len() > 30);
    // Replicas are read from, as soon as one has come as far, and all of it is there.
    let before = reads(&db);
    let start = Instant::now();
    while reads(&db) < before + 20 {
        assert!(start.elapsed() < PATIENCE, "no replica is read from");
        for (tenant, value) in &written {
            assert_eq!(read(&db, scope(*tenant)).await.unwrap(), *value);
        }
    }
    until_in_use(&db, &[true, true]).await;
    // The one that is ten seconds behind is no longer read from once there is something that it has not got for so long.
    let start = Instant::now();
    while db.replicas()[0].in_use {
        assert!(start.elapsed() < PATIENCE, "a replica that is far behind is read from");
        let value = add(&db, scope(1)).await;
        assert_eq!(read(&db, scope(1)).await.unwrap(), value);
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_dies_costs_nobody_an_error() {
    let primary = Server::start(FAST);
    let mut first = primary.standby(FAST);
    let second = primary.standby(FAST);
    let db = open(&primary, &[&first, &second]);
    add(&db, scope(1)).await;
    until_in_use(&db, &[true, true]).await;
    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (db, stop, asked) = (db.clone(), Arc::clone(&stop), Arc::clone(&asked));
        readers.spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                assert_eq!(read(&db, scope(1)).await.unwrap(), 1);
                asked.fetch_add(1, Ordering::SeqCst);
            }
        });
    }
    let some_more = async || {
        let before = asked.load(Ordering::SeqCst);
        until("more is read", || asked.load(Ordering::SeqCst) > before + 50).await;
    };
    for _ in 0..3 {
        some_more().await;
        first.crash();
        some_more().await;
        until_in_use(&db, &[false, true]).await;
        first.go();
        until_in_use(&db, &[true, true]).await;
    }
    // One that became a primary of its own has another history.
    second.run("SELECT pg_promote()");
    until_in_use(&db, &[true, false]).await;
    some_more().await;
    stop.store(true, Ordering::SeqCst);
    while let Some(ended) = readers.join_next().await {
        ended.unwrap();
    }
    assert!(reads(&db) > 100);
}

/// Passes everything on to a server, until it stands still as a cut network does.
fn proxy(server: u16, still: &Arc<AtomicBool>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let still = Arc::clone(still);
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let there = TcpStream::connect(("127.0.0.1", server)).unwrap();
            let ways = [(client.try_clone(), there.try_clone()), (Ok(there), Ok(client))];
            for (from, to) in ways {
                let (mut from, mut to, still) = (from.unwrap(), to.unwrap(), Arc::clone(&still));
                thread::spawn(move || {
                    let mut bytes = [0; 8192];
                    while let Ok(read @ 1..) = from.read(&mut bytes) {
                        if still.load(Ordering::SeqCst) {
                            // Neither an answer nor an end comes through any more.
                            loop {
                                thread::park();
                            }
                        }
                        if to.write_all(bytes.get(..read).unwrap()).is_err() {
                            break;
                        }
                    }
                    drop(to.shutdown(std::net::Shutdown::Both));
                });
            }
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_hangs_is_left_out_and_holds_up_nobody() {
    let primary = Server::start(FAST);
    let standby = primary.standby(FAST);
    let still = Arc::new(AtomicBool::new(false));
    let through = standby.url("").replace(&standby.port.to_string(), &proxy(standby.port, &still).to_string());
    let db = open_urls(&primary, vec![through]);
    add(&db, scope(1)).await;
    until_in_use(&db, &[true]).await;
    let before = reads(&db);
    let start = Instant::now();
    while reads(&db) == before {
        assert!(start.elapsed() < PATIENCE, "the replica is not read from");
        assert_eq!(read(&db, scope(1)).await.unwrap(), 1);
    }
    still.store(true, Ordering::SeqCst);
    let start = Instant::now();
    while db.replicas().iter().any(|it| it.in_use) {
        assert!(start.elapsed() < PATIENCE, "a replica that hangs is read from");
        assert_eq!(read(&db, scope(1)).await.unwrap(), 1);
    }
    let left = reads(&db);
    assert_eq!(read(&db, scope(1)).await.unwrap(), 1);
    assert_eq!(reads(&db), left);
    // Nor does it hold up the end.
    let ended = tokio::task::spawn_blocking(move || drop(db));
    tokio::time::timeout(PATIENCE, ended).await.expect("the end waits for a replica that hangs").unwrap();
}

#[test]
fn what_was_written_through_one_server_is_found_through_another() {
    let primary = Server::start(FAST);
    let standby = primary.standby(FAST);
    let first = Host::start_with_replica(&primary.url(""), &standby.url(""));
    let key = first.key("owner@example.org", "super-admin");
    let second = Host::start_with_replica(&primary.url(""), &standby.url(""));
    let metric = |host: &Host, name: &str| -> u64 {
        let text =
            http::ask(host.port, &format!("GET /metrics HTTP/1.1\r\nHost: localhost:{}\r\n", host.port), b"").text();
        let line = text.lines().find(|it| it.starts_with(name)).map(str::to_owned);
        line.and_then(|it| it.rsplit(' ').next()?.parse().ok()).unwrap_or(0)
    };
    // A list that no cache answers, and asked for seldom: a key may make 1,000 calls in 15 minutes.
    second.until_within(PATIENCE, Duration::from_millis(250), "the replica is read from", || {
        second.api_json(&key, "GET /api/v1/audit?limit=1", "", 200);
        (metric(&second, "chainhost_database_replica_reads_total") > 0).then_some(())
    });
    second.api_json(&key, "GET /api/v1/sites", "", 200);
    // From now on the replica stands still, while it is not known yet to be behind.
    standby.run("SELECT pg_wal_replay_pause()");
    for number in 0..10 {
        let name = format!("site-{number}");
        let made = first.api(&key, "POST /api/v1/sites", format!("{{\"name\":\"{name}\"}}").as_bytes());
        assert_eq!(made.status, 201, "{}", made.text());
        let seen = made.header("chainhost-seen").expect("the position of the write").to_owned();
        let head = format!(
            "GET /api/v1/sites HTTP/1.1\r\nHost: localhost:{}\r\nAuthorization: Bearer {key}\r\nChainhost-Seen: {seen}\r\n",
            second.port
        );
        let listed = http::ask(second.port, &head, b"");
        assert!(listed.text().contains(&format!("\"{name}\"")), "{name} is missing: {}", listed.text());
        // The server that wrote needs no reminder.
        let own = first.api(&key, "GET /api/v1/sites", b"").text();
        assert!(own.contains(&format!("\"{name}\"")), "{name} is missing: {own}");
    }
    standby.run("SELECT pg_wal_replay_resume()");
}
