//! `chainhost move` and `chainhost db shell`: nothing that was acknowledged is lost, whenever what dies, and nobody waits for it.

#![expect(clippy::indexing_slicing, reason = "a test that panics says what went wrong")]

use std::{
    collections::BTreeSet,
    process::{Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use chainhost::{
    base::{
        clock::Clock,
        ids::{Id, Ids},
        secret::Secret,
    },
    engines::{
        migrations::Migration,
        postgres::{Postgres, Wish},
        schema,
        sqlite::Sqlite,
    },
    params,
    ports::db::{Database as _, Db},
    store::copy,
};
use serde_json::Value;

use crate::support::{
    Host, PROGRAM,
    postgres::{Database, Way},
    write_files,
};

/// The program beside a server, with what the server will have in its environment.
pub(crate) fn command(host: &Host, arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).arg("--data").arg(host.data()).envs(host.environment());
    command
}

pub(crate) fn run(host: &Host, arguments: &[&str]) -> Output {
    command(host, arguments).output().unwrap()
}

pub(crate) fn said(out: &Output) -> String {
    String::from_utf8_lossy(&out.stderr).into_owned()
}

/// A move that must succeed; its report.
pub(crate) fn moved(host: &Host, to: &str, more: &[&str]) -> Value {
    moved_with(host, &[&["--to", to], more].concat())
}

/// A move with these arguments that must succeed; its report.
pub(crate) fn moved_with(host: &Host, arguments: &[&str]) -> Value {
    let out = run(host, &[&["move", "--json"], arguments].concat());
    assert!(out.status.success(), "{}\n{}", said(&out), host.log());
    serde_json::from_slice(&out.stdout).unwrap()
}

fn refused(host: &Host, to: &str, code: i32, word: &str) {
    let out = run(host, &["move", "--to", to]);
    assert_eq!(out.status.code(), Some(code), "{}", said(&out));
    assert!(said(&out).contains(word), "{}", said(&out));
}

pub(crate) fn deploy(host: &Host, key: &str, site: &str, text: &str) {
    let folder = host.beside(site);
    write_files(&folder, &[("index.html", text.as_bytes()), ("a/b.txt", b"the same")]);
    let out = host.cli(key, &["deploy", folder.to_str().unwrap(), "--site", site, "--create"]);
    assert!(out.status.success(), "{}\n{}", said(&out), host.log());
}

/// The answer of one question, a row a line.
pub(crate) fn ask(host: &Host, sql: &str) -> Vec<Value> {
    let out = run(host, &["db", "shell", "--json", "-c", sql]);
    assert!(out.status.success(), "{}", said(&out));
    String::from_utf8(out.stdout).unwrap().lines().map(|it| serde_json::from_str(it).unwrap()).collect()
}

/// Opens the engine as the server does: not on a thread of a runtime.
pub(crate) fn open_postgres(url: &str) -> Db {
    let url = Secret::new(url.to_owned());
    let opened = thread::spawn(move || {
        Postgres::open(
            &Wish { url: &url, direct_url: None, replica_urls: &[], pool: 2, known: false },
            schema::POSTGRES,
        )
    });
    Db::new(opened.join().unwrap().unwrap())
}

/// Writes events as if much had happened.
pub(crate) async fn add_events(host: &Host, count: u64) {
    let engine = Sqlite::open(&host.data().join("chainhost.db"), schema::SQLITE).unwrap();
    let ids = Ids::new(Clock::system());
    let db = Db::new(Arc::<Sqlite>::clone(&engine));
    db.write(move |tx| {
        let tenant: Id = tx.one("SELECT id FROM tenant ORDER BY id LIMIT 1", &[])?.id(0)?;
        for number in 0..count {
            tx.execute(
                "INSERT INTO audit_log (tenant_id, created_ms, id, actor, address, kind, entity, entity_id, text)
                 VALUES ($1, $2, $3, 'a', '', 'test', 'site', '1', $4)",
                params![tenant, 1_700_000_000_000_i64, ids.next(), format!("event {number} – ünïcode")],
            )?;
        }
        Ok(())
    })
    .await
    .unwrap();
    engine.close();
}

fn wait_for_seals(host: &Host) {
    host.until("all events are sealed", || {
        let open = ask(host, "SELECT COUNT(*) AS n FROM audit_log WHERE seq IS NULL");
        (open[0]["n"] == 0).then_some(())
    });
}

/// The hash of a table in a report.
fn hash(report: &Value, table: &str) -> String {
    let tables = report["tables"].as_array().unwrap();
    let it = tables.iter().find(|it| it["table"] == table).unwrap_or_else(|| panic!("{table} in {report}"));
    it["sha256"].as_str().unwrap().to_owned()
}

struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A visitor who looks at a site all the time while `work` runs, and must always see this.
fn visited<T>(host: &Host, site: &str, text: &str, work: impl FnOnce() -> T) -> T {
    let (stop, seen, failed) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let out = thread::scope(|scope| {
        let stopping = Stopping(&stop);
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                let answer = host.get(site, "/");
                seen.fetch_add(1, Ordering::SeqCst);
                if answer.status != 200 || answer.text() != text {
                    failed.fetch_add(1, Ordering::SeqCst);
                }
                thread::sleep(Duration::from_millis(5));
            }
        });
        let out = work();
        drop(stopping);
        out
    });
    assert!(seen.load(Ordering::SeqCst) > 0);
    assert_eq!(failed.load(Ordering::SeqCst), 0, "visitors do not notice");
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn data_moves_to_postgresql_and_back_with_equal_hashes() {
    let database = Database::new(Way::Direct);
    let mut host = Host::start_embedded();
    let key = host.key("owner@example.org", "super-admin");
    deploy(&host, &key, "one", "<p>one</p>");
    deploy(&host, &key, "two", "<p>two</p>");
    deploy(&host, &key, "two", "<p>two, again</p>");
    add_events(&host, 3_000).await;
    // The seal looks on a signal.
    host.api_json(&key, "POST /api/v1/sites", "{\"name\":\"three\"}", 201);
    wait_for_seals(&host);
    let url = database.url();
    let there = visited(&host, "one.localhost", "<p>one</p>", || {
        let rehearsed = moved(&host, &url, &["--rehearse"]);
        assert!(rehearsed["rehearsal"]["rows"].as_u64().unwrap() > 3_000, "{rehearsed}");
        moved(&host, &url, &[])
    });
    assert_eq!(there["restart"], true);
    // It has looked at what came, and by no look of its own, which comes a minute later.
    let unseen = "SELECT relname FROM pg_stat_user_tables WHERE last_analyze IS NULL
         AND relname IN ('site', 'deployment', 'audit_log', 'user', 'outbox')";
    host.until("the new database to have looked at its tables", || database.ask(unseen).is_empty().then_some(()));
    // The old database takes nothing any more, also from who has not heard of it.
    let old = Sqlite::open(&host.data().join("chainhost.db"), schema::SQLITE).unwrap();
    for sql in [
        "INSERT INTO setting (name, value) VALUES ('a', 'b') ON CONFLICT (name) DO NOTHING",
        "UPDATE site SET name = 'x' WHERE name = 'one'",
        "DELETE FROM audit_log",
    ] {
        let refused = Db::new(Arc::<Sqlite>::clone(&old)).write(move |tx| tx.execute(sql, &[])).await;
        assert_eq!(refused.unwrap_err().code, "database_moved", "{sql}");
    }
    old.close();
    let answer = host.api(&key, "POST /api/v1/sites", b"{\"name\":\"late\"}");
    assert!(answer.status == 503 && answer.text().contains("database_moved"), "{}", answer.text());
    assert_eq!(host.api(&key, "GET /api/v1/sites", b"").status, 200, "reads go on");
    assert_eq!(host.stop(), Some(0));
    host.restart();
    assert_eq!(host.get("two.localhost", "/").text(), "<p>two, again</p>");
    assert_eq!(host.get("two.localhost", "/a/b.txt").text(), "the same");
    host.api_json(&key, "POST /api/v1/sites", "{\"name\":\"four\"}", 201);
    assert_eq!(ask(&host, "SELECT name FROM site ORDER BY name").len(), 4);
    // Nothing of the rehearsal is left, and the password would be in the file of the owner only.
    let left = ask(&host, "SELECT CAST(nspname AS TEXT) AS name FROM pg_namespace WHERE nspname LIKE 'chainhost%'");
    assert_eq!(left, Vec::<Value>::new());
    let file = std::fs::metadata(host.data().join("database-url")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&file.permissions()) & 0o777, 0o600);

    let back = visited(&host, "one.localhost", "<p>one</p>", || moved(&host, "sqlite", &[]));
    for table in ["deployment", "publication", "user", "membership", "tenant", "hostname", "deployment_log"] {
        assert_eq!(hash(&there, table), hash(&back, table), "{table}");
    }
    let old = open_postgres(&url);
    for sql in ["UPDATE site SET name = 'x' WHERE name = 'one'", "DELETE FROM audit_log"] {
        let refused = old.write(move |tx| tx.execute(sql, &[])).await;
        assert_eq!(refused.unwrap_err().code, "database_moved", "{sql}");
    }
    drop(old);
    assert_eq!(host.stop(), Some(0));
    host.restart();
    assert!(!host.data().join("database-url").exists() && !host.data().join("chainhost.db.rehearsal").exists());
    assert_eq!(ask(&host, "SELECT name FROM site ORDER BY name").len(), 4);
    host.api_json(&key, "POST /api/v1/sites", "{\"name\":\"five\"}", 201);
    // And there once more, over what was left behind; without a server this time.
    assert_eq!(host.stop(), Some(0));
    let again = moved(&host, &url, &["--skip-rehearsal"]);
    assert_eq!(again["restart"], false);
    host.restart();
    assert_eq!(ask(&host, "SELECT name FROM site ORDER BY name").len(), 5);
    host.api_json(&key, "POST /api/v1/sites", "{\"name\":\"six\"}", 201);
    assert_eq!(host.stop(), Some(0));
}

#[test]
fn what_was_acknowledged_during_a_move_is_there_afterwards() {
    let database = Database::new(Way::Direct);
    let mut host = Host::start_embedded();
    let key = host.key("owner@example.org", "super-admin");
    deploy(&host, &key, "seen", "<p>seen</p>");
    let url = database.url();
    let counted = &AtomicU64::new(0);
    let made = thread::scope(|scope| {
        let (host, key) = (&host, &key);
        let writer = scope.spawn(move || {
            let mut made = Vec::new();
            // A key may make 1,000 calls in 15 minutes.
            for number in 0..900 {
                let name = format!("w-{number}");
                let answer = host.api(key, "POST /api/v1/sites", format!("{{\"name\":\"{name}\"}}").as_bytes());
                match answer.status {
                    201 => made.push(name),
                    503 if answer.text().contains("database_moved") => break,
                    503 if answer.text().contains("moving") => thread::sleep(Duration::from_millis(50)),
                    status => panic!("{status}: {}\n{}", answer.text(), host.log()),
                }
                counted.fetch_add(1, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(5));
            }
            made
        });
        host.until("something is written", || (counted.load(Ordering::SeqCst) > 5).then_some(()));
        moved(host, &url, &[]);
        writer.join().unwrap()
    });
    assert_eq!(host.stop(), Some(0));
    host.restart();
    let there: BTreeSet<String> =
        ask(&host, "SELECT name FROM site").iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect();
    assert!(made.len() > 5);
    for name in made {
        assert!(there.contains(&name), "{name} was acknowledged");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_is_killed_at_any_moment_is_ended_by_the_next() {
    let database = Database::new(Way::Direct);
    let mut host = Host::start_embedded();
    let key = host.key("owner@example.org", "super-admin");
    deploy(&host, &key, "seen", "<p>seen</p>");
    add_events(&host, 2_000).await;
    let mut acknowledged = BTreeSet::from([String::from("seen")]);
    let url = database.url();
    let mut ends = 0;
    for round in 0_u64..40 {
        let to = if ends % 2 == 0 { url.as_str() } else { "sqlite" };
        let mut child = command(&host, &["move", "--skip-rehearsal", "--to", to])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        thread::sleep(Duration::from_millis(40 + round * 37 % 700));
        drop(child.kill());
        child.wait().unwrap();
        // The server goes on, or says that its data is elsewhere.
        let name = format!("r-{round}");
        let moved = host.until("the server takes a change or has moved", || {
            let answer = host.api(&key, "POST /api/v1/sites", format!("{{\"name\":\"{name}\"}}").as_bytes());
            match answer.status {
                201 => Some(false),
                503 if answer.text().contains("database_moved") => Some(true),
                503 => {
                    // It may take none for 15 seconds, and a key may make 1,000 calls in 15 minutes.
                    thread::sleep(Duration::from_secs(1));
                    None
                }
                status => panic!("{status}: {}\n{}", answer.text(), host.log()),
            }
        });
        if !moved {
            acknowledged.insert(name);
            continue;
        }
        // Whatever was left to do is done now.
        let out = run(&host, &["move", "--skip-rehearsal", "--to", to]);
        assert!(out.status.success() || said(&out).contains("already"), "{}", said(&out));
        ends += 1;
        assert_eq!(host.stop(), Some(0));
        host.restart();
        assert_eq!(host.get("seen.localhost", "/").text(), "<p>seen</p>");
        if ends == 3 {
            break;
        }
    }
    println!("{ends} of the moves came to their end");
    if ends == 0 {
        moved(&host, &url, &[]);
        assert_eq!(host.stop(), Some(0));
        host.restart();
    }
    let there: BTreeSet<String> =
        ask(&host, "SELECT name FROM site").iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(there, acknowledged);
    let events = ask(&host, "SELECT COUNT(*) AS n FROM audit_log WHERE kind = 'test'");
    assert_eq!(events[0]["n"], 2_000);
}

#[test]
fn places_that_are_not_free_are_refused_and_left_as_they_are() {
    let (strange, other, free) = (Database::new(Way::Direct), Database::new(Way::Direct), Database::new(Way::Direct));
    let url = strange.url();
    let (asked, sql) = (url.clone(), "CREATE TABLE somebody (id BIGINT)");
    thread::spawn(move || postgres::Client::connect(&asked, postgres::NoTls).unwrap().batch_execute(sql).unwrap())
        .join()
        .unwrap();
    let mut theirs = Host::start_on(&other.url());
    assert_eq!(theirs.stop(), Some(0));
    let mut host = Host::start_embedded();
    let key = host.key("owner@example.org", "super-admin");
    refused(&host, &url, 1, "somebody");
    refused(&host, &other.url(), 1, "another installation");
    refused(&host, "sqlite", 1, "already");
    refused(&host, "mysql://x", 2, "postgres://");
    let place = format!("127.0.0.1:{}/x", crate::support::free_port());
    let out = run(&host, &["move", "--to", &format!("postgres://postgres:secret@{place}")]);
    let told = said(&out);
    assert!(out.status.code() == Some(1) && told.contains(&format!("postgres://{place} cannot be reached")), "{told}");
    assert!(told.contains("stays where it is") && !told.contains("nothing can be changed"), "{told}");
    assert!(!told.contains("secret"), "{told}");
    for way in [Way::Pooled, Way::Ignoring] {
        let pooled = Database::new(way);
        for more in [&["--rehearse"][..], &["--skip-rehearsal"], &[]] {
            let out = run(&host, &[&["move", "--to", &pooled.url()], more].concat());
            assert!(out.status.code() == Some(2) && said(&out).contains("not of a pooler"), "{way:?}: {}", said(&out));
        }
        let tables =
            pooled.ask("SELECT CAST(relname AS TEXT) FROM pg_class WHERE relnamespace = 'public'::regnamespace");
        assert_eq!(tables, Vec::<String>::new(), "{way:?}");
    }
    host.api_json(&key, "POST /api/v1/sites", "{\"name\":\"still\"}", 201);

    // A database that was left says where its data is, and a setting that names another one is an error.
    moved(&host, &free.url(), &[]);
    assert_eq!(host.stop(), Some(0));
    let file = host.data().join("database-url");
    let out = command(&host, &["move", "--to", "sqlite"]).env("CHAINHOST_DATABASE_URL", other.url()).output().unwrap();
    assert!(out.status.code() == Some(2) && said(&out).contains("was moved to"), "{}", said(&out));
    let kept = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    host.restart();
    let answer = host.api(&key, "GET /api/v1/sites", b"");
    assert!(answer.status == 503 && answer.text().contains("database_moved"), "{}", answer.text());
    // The move that had not come to its last step is ended although that server stands there.
    moved(&host, &free.url(), &[]);
    assert_eq!(std::fs::read(&file).unwrap(), kept);
    assert_eq!(host.stop(), Some(0));
    host.restart();
    host.api_json(&key, "POST /api/v1/sites", "{\"name\":\"more\"}", 201);
}

#[test]
fn the_shell_reads_and_cannot_write() {
    let database = Database::new(Way::Direct);
    for host in [Host::start_embedded(), Host::start_on(&database.url())] {
        let key = host.key("owner@example.org", "super-admin");
        host.api_json(&key, "POST /api/v1/sites", "{\"name\":\"one\"}", 201);
        let environment = if host.data().join("chainhost.db").exists() { None } else { Some(database.url()) };
        let shell = |arguments: &[&str]| {
            let mut command = command(&host, &[&["db", "shell"], arguments].concat());
            if let Some(url) = &environment {
                command.env("CHAINHOST_DATABASE_URL", url);
            }
            command.stdin(Stdio::null()).output().unwrap()
        };
        let out = shell(&["-c", "SELECT id, name, NULL AS empty FROM site"]);
        let row: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("{}", said(&out)));
        assert!(row["name"] == "one" && row["empty"].is_null() && row["id"].as_str().unwrap().len() == 32, "{row}");
        let out = shell(&["--limit", "2", "-c", "VALUES (1), (2), (3)"]);
        assert_eq!(String::from_utf8_lossy(&out.stdout).lines().count(), 2);
        assert!(said(&out).contains("more"), "{}", said(&out));
        for sql in [
            "DELETE FROM site",
            "SELECT 1; DELETE FROM site",
            "WITH gone AS (DELETE FROM site RETURNING 1) SELECT * FROM gone",
            "SELECT 1; COMMIT; DELETE FROM site",
            "COMMIT",
            "EXPLAIN ANALYZE DELETE FROM site",
            "SELECT nonsense",
        ] {
            assert_eq!(shell(&["-c", sql]).status.code(), Some(2), "{sql}");
        }
        assert_eq!(host.api_json(&key, "GET /api/v1/sites", "", 200)["items"].as_array().unwrap().len(), 1);
    }
}

/// The tables that the steps of a schema make, without the parts of others.
fn made(steps: &[Migration<'_>]) -> BTreeSet<String> {
    let words = |sql: &str| sql.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let all = steps.iter().flat_map(|(.., sql)| {
        let words = words(sql);
        let named = words.windows(4).filter(|it| it[0] == "CREATE" && it[1] == "TABLE" && it[3] != "PARTITION");
        named.map(|it| it[2].trim_matches('"').to_owned()).collect::<Vec<_>>()
    });
    all.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_table_of_the_schema_is_copied() {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = Db::new(Sqlite::open(&folder.path().join("db"), schema::SQLITE).unwrap());
    let database = Database::new(Way::Direct);
    let postgres = open_postgres(&database.url());
    let (ours, theirs) = (sqlite.read(copy::tables).await.unwrap(), postgres.read(copy::tables).await.unwrap());
    let names = |tables: &[copy::Table]| tables.iter().map(|it| it.name.clone()).collect::<BTreeSet<_>>();
    assert_eq!(names(&copy::agree(&ours, &theirs).unwrap()), made(schema::SQLITE));
    assert_eq!(names(&theirs), made(schema::POSTGRES));
    assert!(copy::agree(&ours[1..], &theirs).is_err(), "a table that only one has is not passed over");
}
