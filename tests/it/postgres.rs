//! What is special about PostgreSQL: it is somewhere else, it goes away and comes back, and others use it too.

#![expect(clippy::indexing_slicing, reason = "a test that panics says what went wrong")]

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use chainhost::{
    base::secret::Secret,
    domain::Result,
    engines::postgres::{Limits, Postgres, Wish},
    params,
    ports::db::{Database as _, Db},
};

use crate::support::{
    Host,
    postgres::{Database, Server, Way},
};

const COUNTER: &[(u32, &str, &str)] = &[(
    1,
    "counter",
    "CREATE TABLE counter (id BIGINT PRIMARY KEY, value BIGINT NOT NULL); INSERT INTO counter VALUES (1, 0);",
)];

/// Opens the engine as the server does: not on a thread of a runtime.
fn open(url: &str, known: bool, migrations: &'static [(u32, &str, &str)]) -> Result<Arc<Postgres>> {
    let url = Secret::new(url.to_owned());
    let work =
        move || Postgres::open(&Wish { url: &url, direct_url: None, replica_urls: &[], pool: 8, known }, migrations);
    thread::spawn(work).join().unwrap()
}

fn db(url: &str) -> Db {
    Db::new(open(url, false, COUNTER).unwrap())
}

/// Reads, and writes one more: wrong as soon as two do it at once.
async fn count(db: &Db) -> Result<()> {
    db.write(|tx| {
        let value = tx.one("SELECT value FROM counter WHERE id = $1", params![1_i64])?.int(0)?;
        tx.execute("UPDATE counter SET value = $2 WHERE id = $1", params![1_i64, value + 1]).map(|_| ())
    })
    .await
}

async fn value(db: &Db) -> i64 {
    db.read(|tx| tx.one("SELECT value FROM counter WHERE id = $1", params![1_i64])?.int(0)).await.unwrap()
}

async fn several_processes_write_in_turns(way: Way) {
    let database = Database::new(way);
    let engines: Vec<Db> = (0..3).map(|_| db(&database.url())).collect();
    let mut asked = tokio::task::JoinSet::new();
    for number in 0..300 {
        let db = engines[number % 3].clone();
        asked.spawn(async move { count(&db).await });
    }
    for done in asked.join_all().await {
        done.unwrap();
    }
    for db in &engines {
        assert_eq!(value(db).await, 300);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_processes_write_in_turns_on_a_server() {
    several_processes_write_in_turns(Way::Direct).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_processes_write_in_turns_behind_a_pooler() {
    several_processes_write_in_turns(Way::Pooled).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_callers_share_two_connections() {
    let database = Database::new(Way::Pooled);
    let db = db(&database.url());
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let db = db.clone();
        asked.spawn(async move {
            for _ in 0..10 {
                count(&db).await.unwrap();
                assert!(value(&db).await > 0, "one reads what one has written");
            }
        });
    }
    asked.join_all().await;
    assert_eq!(value(&db).await, 640);
}

/// The session that a write has.
async fn session(db: &Db) -> i64 {
    db.write(|tx| tx.one("SELECT CAST(pg_backend_pid() AS BIGINT)", &[])?.int(0)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_was_quiet_is_tried_and_used_on() {
    for way in [Way::Direct, Way::Pooled, Way::Ignoring] {
        let database = Database::new(way);
        let db = db(&database.url());
        let before = session(&db).await;
        // Longer than a connection is trusted without a word from it.
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        let after = session(&db).await;
        assert!(way != Way::Direct || after == before, "the connection was given up");
        count(&db).await.unwrap();
        assert_eq!(value(&db).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_database_is_refused_where_there_was_one_and_a_newer_one_always() {
    let database = Database::new(Way::Direct);
    assert_eq!(open(&database.url(), true, COUNTER).unwrap_err().code, "database_missing");
    // Two at once: one takes the step, the other finds it taken.
    let both: Vec<_> = (0..2)
        .map(|_| {
            let url = database.url();
            thread::spawn(move || open(&url, false, COUNTER).map(|_| ()))
        })
        .collect();
    for it in both {
        it.join().unwrap().unwrap();
    }
    open(&database.url(), true, COUNTER).unwrap();
    assert_eq!(open(&database.url(), false, &[]).unwrap_err().code, "database_newer");
    assert_eq!(open(&database.url(), false, &[(1, "other", "SELECT 1")]).unwrap_err().code, "database_foreign");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tables_are_copied_before_a_step_and_a_failed_step_changes_nothing() {
    const NEXT: &[(u32, &str, &str)] = &[COUNTER[0], (2, "more", "ALTER TABLE counter ADD COLUMN more BIGINT;")];
    const WRONG: &[(u32, &str, &str)] = &[COUNTER[0], NEXT[1], (3, "wrong", "CREATE TABLE a (b BIGINT); NONSENSE;")];
    let database = Database::new(Way::Direct);
    let engine = db(&database.url());
    count(&engine).await.unwrap();
    let next = Db::new(open(&database.url(), false, NEXT).unwrap());
    let before = "SELECT value FROM chainhost_before_2.counter";
    assert_eq!(next.read(move |tx| tx.one(before, &[])?.int(0)).await.unwrap(), 1);
    assert_eq!(open(&database.url(), false, WRONG).unwrap_err().kind, chainhost::domain::Kind::Internal);
    let tables = "SELECT COUNT(*) FROM pg_tables WHERE tablename = 'a' OR schemaname = 'chainhost_before_3'";
    assert_eq!(next.read(move |tx| tx.one(tables, &[])?.int(0)).await.unwrap(), 0);
    assert_eq!(open(&database.url(), false, NEXT).map(|_| ()).map_err(|it| it.code), Ok(()));
}

/// Where the connection is cut, seen from the server.
#[derive(Clone, Copy)]
enum Cut {
    Before,
    After,
    /// As above, but nobody is told: the connection stays open, and nothing comes any more.
    SilentBefore,
    SilentAfter,
}

/// Passes everything on to the server until a COMMIT comes by, and then cuts the connection: before the server has it, or after.
fn proxy(server: u16, cut: Cut, armed: Arc<AtomicBool>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let Ok(mut there) = TcpStream::connect(("127.0.0.1", server)) else { continue };
            let (mut back, mut answers) = (client.try_clone().unwrap(), there.try_clone().unwrap());
            let armed = Arc::clone(&armed);
            let cutting = Arc::new(AtomicBool::new(false));
            let cuts = Arc::clone(&cutting);
            thread::spawn(move || {
                let mut bytes = [0; 8192];
                while let Ok(read @ 1..) = answers.read(&mut bytes) {
                    // The end of the server itself is heard.
                    if cuts.load(Ordering::SeqCst) && matches!(cut, Cut::SilentBefore | Cut::SilentAfter) {
                        continue;
                    }
                    if cuts.load(Ordering::SeqCst) || back.write_all(&bytes[..read]).is_err() {
                        break;
                    }
                }
                drop(back.shutdown(std::net::Shutdown::Both));
            });
            thread::spawn(move || {
                let mut bytes = [0; 8192];
                while let Ok(read @ 1..) = client.read(&mut bytes) {
                    let seen = &bytes[..read];
                    if seen.windows(7).any(|it| it == b"COMMIT\0") && armed.swap(false, Ordering::SeqCst) {
                        cutting.store(true, Ordering::SeqCst);
                        if matches!(cut, Cut::Before) {
                            drop(client.shutdown(std::net::Shutdown::Both));
                        }
                        if matches!(cut, Cut::Before | Cut::SilentBefore) {
                            // The server still believes in the session, as when a network is cut.
                            loop {
                                thread::park();
                            }
                        }
                    }
                    if there.write_all(seen).is_err() {
                        break;
                    }
                }
                drop(there.shutdown(std::net::Shutdown::Both));
            });
        }
    });
    port
}

async fn a_commit_is_told_as_it_was(cut: Cut, kept: bool) {
    let database = Database::new(Way::Direct);
    let direct = db(&database.url());
    let port: u16 = database.url().rsplit_once(':').unwrap().1.split('/').next().unwrap().parse().unwrap();
    let armed = Arc::new(AtomicBool::new(false));
    let through = proxy(port, cut, Arc::clone(&armed));
    let url = Secret::new(database.url().replace(&port.to_string(), &through.to_string()));
    let opened = thread::spawn(move || {
        let wish = Wish { url: &url, direct_url: None, replica_urls: &[], pool: 8, known: false };
        // Long enough for what is not cut, and not half a minute.
        let limits = Limits { write: Duration::from_secs(5), ..Limits::default() };
        Postgres::open_within(&wish, COUNTER, limits)
    });
    let db = Db::new(opened.join().unwrap().unwrap());
    count(&db).await.unwrap();
    armed.store(true, Ordering::SeqCst);
    let told = count(&db).await;
    assert!(!armed.load(Ordering::SeqCst), "no COMMIT came by");
    assert_eq!(told.map_err(|it| it.code), if kept { Ok(()) } else { Err("database_lost") });
    assert_eq!(value(&direct).await, if kept { 2 } else { 1 });
    // Nobody holds the lock of the writers any more.
    count(&direct).await.unwrap();
    count(&db).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_the_server_had_is_told_as_kept() {
    a_commit_is_told_as_it_was(Cut::After, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_never_came_is_told_as_lost() {
    a_commit_is_told_as_it_was(Cut::Before, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_the_server_had_before_it_fell_silent_is_told_as_kept() {
    a_commit_is_told_as_it_was(Cut::SilentAfter, true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_never_came_to_a_server_that_fell_silent_is_told_as_lost() {
    a_commit_is_told_as_it_was(Cut::SilentBefore, false).await;
}

/// No standby has it, so that a failover would lose it: that the server itself has it is not enough.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_no_standby_has_is_not_told_as_saved() {
    let server = Server::start(&["fsync=off"]);
    let url = Secret::new(server.url(""));
    let opened = thread::spawn(move || {
        let wish = Wish { url: &url, direct_url: None, replica_urls: &[], pool: 4, known: false };
        // What waits for a standby that never comes need not wait half a minute here.
        let limits = Limits { write: Duration::from_secs(3), ..Limits::default() };
        Postgres::open_within(&wish, COUNTER, limits)
    });
    let db = Db::new(opened.join().unwrap().unwrap());
    count(&db).await.unwrap();
    server.run("ALTER SYSTEM SET synchronous_standby_names = 'nobody'");
    server.run("SELECT pg_reload_conf()");
    // The server takes the setting when it comes to it.
    let start = tokio::time::Instant::now();
    let told = loop {
        assert!(start.elapsed() < crate::support::PATIENCE, "what no standby has is told as saved");
        if let Err(error) = count(&db).await {
            break error;
        }
    };
    assert_eq!(told.code, "database_unsure");
    server.run("ALTER SYSTEM RESET synchronous_standby_names");
    server.run("SELECT pg_reload_conf()");
    let start = tokio::time::Instant::now();
    while count(&db).await.is_err() {
        assert!(start.elapsed() < crate::support::PATIENCE, "nothing is saved any more");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A trigger that runs in the COMMIT itself sees the limit that it has.
async fn a_commit_has_no_limit_of_the_servers(way: Way) {
    const SEEN: &[(u32, &str, &str)] = &[(
        1,
        "seen",
        "CREATE TABLE seen (id BIGINT PRIMARY KEY, before TEXT NOT NULL, at_commit TEXT);
         CREATE FUNCTION look() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
            UPDATE seen SET at_commit = current_setting('statement_timeout'); RETURN NULL;
         END $$;
         CREATE CONSTRAINT TRIGGER looks AFTER INSERT ON seen DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION look();",
    )];
    let database = Database::new(way);
    let db = Db::new(open(&database.url(), false, SEEN).unwrap());
    let add = "INSERT INTO seen VALUES ($1, current_setting('statement_timeout'), NULL)";
    db.write(move |tx| tx.execute(add, params![1_i64]).map(|_| ())).await.unwrap();
    let seen = db.read(|tx| {
        let row = tx.one("SELECT before, at_commit FROM seen WHERE id = $1", params![1_i64])?;
        Ok((row.text(0)?.to_owned(), row.text(1)?.to_owned()))
    });
    assert_eq!(seen.await.unwrap(), (String::from("30s"), String::from("0")));
    // Only that transaction is without it.
    let now = db.write(|tx| tx.one("SELECT current_setting('statement_timeout')", &[])?.text(0).map(str::to_owned));
    assert_eq!(now.await.unwrap(), "30s");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_is_not_ended_by_the_servers_limit_on_statements() {
    a_commit_has_no_limit_of_the_servers(Way::Direct).await;
    a_commit_has_no_limit_of_the_servers(Way::Pooled).await;
}

/// The standby was away when the transaction began, and gives its number to another one after it has become the primary.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_lost_in_a_failover_is_not_taken_for_another_ones() {
    let mut primary = Server::start(&["fsync=off"]);
    let mut standby = primary.standby(&["fsync=off"]);
    let armed = Arc::new(AtomicBool::new(false));
    let through = proxy(primary.port, Cut::SilentBefore, Arc::clone(&armed));
    let hosts = format!("127.0.0.1:{through},127.0.0.1:{}", standby.port);
    let url = Secret::new(format!("postgres://postgres@{hosts}/postgres?target_session_attrs=read-write"));
    let opened = thread::spawn(move || {
        let wish = Wish { url: &url, direct_url: None, replica_urls: &[], pool: 4, known: false };
        // Nothing here waits for them: the answer comes as soon as the other server tells who it is.
        let limits = Limits { write: Duration::from_mins(1), fate: Duration::from_mins(2), ..Limits::default() };
        Postgres::open_within(&wish, COUNTER, limits)
    });
    let db = Db::new(opened.join().unwrap().unwrap());
    count(&db).await.unwrap();
    let there = "DO $$ BEGIN FOR n IN 1..600 LOOP IF pg_last_wal_replay_lsn() >= CAST('LSN' AS pg_lsn) THEN RETURN; END IF; \
                 PERFORM pg_sleep(0.1); END LOOP; RAISE EXCEPTION 'the standby does not follow'; END $$";
    standby.run(&there.replace("LSN", &primary.ask("SELECT CAST(pg_current_wal_insert_lsn() AS TEXT)")));
    standby.crash();
    armed.store(true, Ordering::SeqCst);
    let mut asked = tokio::task::JoinSet::new();
    asked.spawn({
        let db = db.clone();
        async move { count(&db).await }
    });
    let start = tokio::time::Instant::now();
    while armed.load(Ordering::SeqCst) {
        assert!(start.elapsed() < crate::support::PATIENCE, "no COMMIT came by");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let last: u64 = primary.ask("SELECT CAST(pg_snapshot_xmax(pg_current_snapshot()) AS TEXT)").parse().unwrap();
    primary.crash();
    standby.go();
    standby.run("SELECT pg_promote()");
    while standby.ask("SELECT CAST(pg_current_xact_id() AS TEXT)").parse::<u64>().unwrap() < last {}
    let told = tokio::time::timeout(Duration::from_mins(4), asked.join_next()).await.expect("a write hangs").unwrap();
    let told = told.unwrap();
    assert_eq!(told.map_err(|it| it.code), Err("database_unsure"));
    assert_eq!(value(&db).await, 1);
    count(&db).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_and_passwords_are_as_the_url_says() {
    let keys = tempfile::tempdir().unwrap();
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"])
        .args([
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
            "-keyout",
            "server.key",
            "-out",
            "server.crt",
        ])
        .current_dir(keys.path())
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut server = Server::start(&["fsync=off", "password_encryption=scram-sha-256"]);
    server.run("CREATE ROLE app LOGIN PASSWORD 'right p@ss'");
    server.run("CREATE DATABASE app OWNER app");
    server.crash();
    server.give(&keys.path().join("server.key"));
    server.give(&keys.path().join("server.crt"));
    let folder = server.folder.display().to_string();
    server.set(&[
        "ssl=on",
        &format!("ssl_key_file={folder}/server.key"),
        &format!("ssl_cert_file={folder}/server.crt"),
    ]);
    server.rules("hostssl all app 127.0.0.1/32 scram-sha-256\nhost all postgres 127.0.0.1/32 trust\n");
    server.go();
    let root = keys.path().join("server.crt").display().to_string();
    let url =
        |host: &str, password: &str, more: &str| format!("postgres://app:{password}@{host}:{}/app?{more}", server.port);
    let verified = format!("sslmode=verify-full&sslrootcert={root}");
    for (url, outcome) in [
        (url("localhost", "right%20p%40ss", &verified), Ok(())),
        (url("localhost", "right%20p%40ss", "sslmode=require"), Ok(())),
        (url("localhost", "right%20p%40ss", "sslmode=prefer&channel_binding=require"), Ok(())),
        // The certificate is of another name, and of nobody whom the system knows.
        (url("127.0.0.1", "right%20p%40ss", &verified), Err("database_unreachable")),
        (url("localhost", "right%20p%40ss", "sslmode=verify-full"), Err("database_unreachable")),
        (url("localhost", "wrong", &verified), Err("database_refused")),
        (url("localhost", "right%20p%40ss", "sslmode=disable"), Err("database_refused")),
    ] {
        let opened = open(&url, false, COUNTER).map(|it| it.close()).map_err(|it| it.code);
        assert_eq!(opened, outcome, "{url}");
    }
}

#[test]
fn who_does_not_own_the_database_hears_what_to_do() {
    let server = Server::start(&["fsync=off"]);
    server.run("CREATE ROLE guest LOGIN");
    server.run("CREATE DATABASE others");
    let url = format!("postgres://guest@127.0.0.1:{}/others", server.port);
    let out = Command::new(crate::support::PROGRAM)
        .args(["serve", "--listen", "127.0.0.1:0", "--data"])
        .arg(tempfile::tempdir().unwrap().path().join("data"))
        .env("CHAINHOST_DATABASE_URL", url)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.code() == Some(1) && said.contains("ALTER DATABASE"), "{said}");
}

/// Ends the threads of a test also when it fails: a scope waits for them.
struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Waits, asking seldom: a key may make 1,000 calls in 15 minutes.
fn until(host: &Host, what: &str, mut is_so: impl FnMut() -> bool) {
    let period = Duration::from_millis(250);
    host.until_within(crate::support::PATIENCE, period, what, || is_so().then_some(()));
}

/// Calls of one writer: a key may make 1,000 in 15 minutes.
const CALLS_MAX: u32 = 900;

/// A site with one page.
fn deploy_page(host: &Host, key: &str, site: &str) {
    let folder = host.beside("page");
    crate::support::write_files(&folder, &[("index.html", b"<h1>seen</h1>")]);
    let out = host.cli(key, &["deploy", folder.to_str().unwrap(), "--site", site, "--create"]);
    assert!(out.status.success(), "{}\n{}", String::from_utf8_lossy(&out.stderr), host.log());
}

/// Makes sites until told to stop; the names of those that were acknowledged.
fn make_sites(host: &Host, key: &str, label: &str, stop: &AtomicBool) -> Vec<String> {
    let mut made = Vec::new();
    for number in 0..CALLS_MAX {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let name = format!("{label}-{number}");
        let answer = host.api(key, "POST /api/v1/sites", format!("{{\"name\":\"{name}\"}}").as_bytes());
        match answer.status {
            // The second: it was saved while its answer was lost, and asking again says so.
            201 | 409 => made.push(name),
            // It may make so many calls only.
            503 => thread::sleep(Duration::from_millis(100)),
            status => panic!("{status}: {}\n{}", answer.text(), host.log()),
        }
    }
    made
}

fn sites_of(host: &Host, key: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut after = String::new();
    loop {
        let page = host.api_json(key, &format!("GET /api/v1/sites?limit=200{after}"), "", 200);
        names.extend(page["items"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return names,
        }
    }
}

#[test]
fn a_database_that_crashes_comes_back_without_a_restart_of_ours() {
    let mut server = Server::start(&[]);
    let host = Host::start_on(&server.url(""));
    let key = host.key("owner@example.org", "super-admin");
    deploy_page(&host, &key, "seen");
    let stop = AtomicBool::new(false);
    let failed = std::sync::atomic::AtomicU64::new(0);
    let made = thread::scope(|scope| {
        let stopping = Stopping(&stop);
        let writers: Vec<_> = (0..2)
            .map(|n| {
                let (host, stop, key) = (&host, &stop, host.key(&format!("w{n}@example.org"), "admin"));
                scope.spawn(move || make_sites(host, &key, &format!("w{n}"), stop))
            })
            .collect();
        let visitor = scope.spawn(|| {
            let mut asked = 0_u64;
            while !stop.load(Ordering::SeqCst) {
                asked += 1;
                if host.get("seen.localhost", "/").status != 200 {
                    failed.fetch_add(1, Ordering::SeqCst);
                }
            }
            asked
        });
        for _ in 0..2 {
            let before = sites_of(&host, &key).len();
            until(&host, "sites are made", || sites_of(&host, &key).len() > before);
            server.crash();
            until(&host, "it is said that the database is gone", || {
                let answer = host.api(&key, "GET /api/v1/sites", b"");
                answer.status == 503 && answer.text().contains("database_unreachable")
            });
            assert_eq!(host.get("seen.localhost", "/").status, 200);
            server.go();
            until(&host, "the control plane is back", || host.api(&key, "GET /api/v1/sites", b"").status == 200);
        }
        drop(stopping);
        assert!(visitor.join().unwrap() > 0);
        writers.into_iter().flat_map(|it| it.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(failed.load(Ordering::SeqCst), 0, "visitors do not notice");
    let there = sites_of(&host, &key);
    assert!(!made.is_empty());
    for name in &made {
        assert_eq!(there.iter().filter(|it| *it == name).count(), 1, "{name} was acknowledged");
    }
}

#[test]
fn sessions_that_are_killed_lose_nothing_that_was_acknowledged() {
    let server = Server::start(&[]);
    let host = Host::start_on(&server.url(""));
    let key = host.key("owner@example.org", "super-admin");
    let stop = AtomicBool::new(false);
    let made = thread::scope(|scope| {
        let stopping = Stopping(&stop);
        let writers: Vec<_> = (0..3)
            .map(|n| {
                let (host, stop, key) = (&host, &stop, host.key(&format!("k{n}@example.org"), "admin"));
                scope.spawn(move || make_sites(host, &key, &format!("k{n}"), stop))
            })
            .collect();
        for _ in 0..20 {
            server.run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'chainhost'");
            thread::sleep(Duration::from_millis(50));
        }
        drop(stopping);
        writers.into_iter().flat_map(|it| it.join().unwrap()).collect::<Vec<_>>()
    });
    // A connection that was killed while it was made counts as a database that is gone, for a moment.
    until(&host, "the control plane is back", || host.api(&key, "GET /api/v1/sites", b"").status == 200);
    let there = sites_of(&host, &key);
    assert!(!made.is_empty());
    for name in &made {
        assert_eq!(there.iter().filter(|it| *it == name).count(), 1, "{name} was acknowledged");
    }
    assert_eq!(host.api(&key, "POST /api/v1/sites", b"{\"name\":\"after\"}").status, 201);
}

#[test]
fn a_start_without_the_database_serves_sites_and_the_control_plane_follows() {
    let mut server = Server::start(&[]);
    let mut host = Host::start_on(&server.url(""));
    let key = host.key("owner@example.org", "super-admin");
    deploy_page(&host, &key, "seen");
    assert_eq!(host.stop(), Some(0));
    server.crash();
    host.restart();
    assert_eq!(host.get("seen.localhost", "/").status, 200);
    assert_eq!(host.api(&key, "GET /api/v1/sites", b"").status, 503);
    assert!(host.log().contains("the control plane is down"), "{}", host.log());
    server.go();
    until(&host, "the control plane is there", || host.api(&key, "GET /api/v1/sites", b"").status == 200);
    assert_eq!(host.stop(), Some(0));
}
