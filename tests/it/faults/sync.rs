//! A disk whose syncs and writes fail, or take long, under the real program.
//!
//! After a failed sync nobody knows what the disk holds: the process ends with a sentence and is started again (CONTRACTS §2).

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    api::{Api, Wish},
    check_stores, version, whole_site,
};
use crate::support::{Host, PATIENCE, strace::Strace};

/// What a client was told before its server ended.
struct Told {
    sites: Vec<String>,
    version: u64,
}

fn start() -> (Host, Api) {
    let host = Host::start_embedded();
    let api = Api::new(&host, &host.key("owner@example.org", "super-admin"));
    api.must("POST /api/v1/sites", &json!({ "name": "hello" }), 201);
    api.deploy_version("hello", 1);
    (host, api)
}

/// Changes something again and again until nobody answers. Each change may be refused, also some time long while the server comes to
/// its end; what was acknowledged counts, and may not be `changes_max`.
fn change_until_the_end(host: &Host, api: &Api, changes_max: usize) -> Told {
    let mut told = Told { sites: Vec::new(), version: 1 };
    let begun = Instant::now();
    for number in 2.. {
        let name = format!("s{number}");
        match api.call("POST /api/v1/sites", json!({ "name": name }).to_string().as_bytes()).status {
            0 => return told,
            201 => told.sites.push(name),
            _ => {}
        }
        if number % 4 == 0 && api.deploy("hello", &version(number), &Wish::default()).is_ok() {
            told.version = number;
        }
        let may_go_on = told.sites.len() < changes_max && begun.elapsed() < PATIENCE;
        assert!(may_go_on, "the server has not ended\n{}", host.log());
    }
    told
}

/// The server has ended with a sentence, and another has all that was acknowledged.
fn comes_back(host: &mut Host, api: &Api, told: &Told) {
    assert_eq!(host.ended(), Some(1), "{}", host.log());
    assert!(host.log().contains("chainhost serve: The disk failed under the"), "{}", host.log());
    host.restart();
    api.moved(host);
    let sites = api.list("/api/v1/sites");
    for name in &told.sites {
        assert!(sites.iter().any(|it| it["name"] == **name), "{name} was acknowledged and is gone\n{}", host.log());
    }
    assert!(whole_site(host.port, "hello") >= told.version);
    assert_eq!(host.get("localhost", "/healthz").json(), json!({ "sites": "ok", "control": "ok", "queue": "ok" }));
    api.deploy_version("hello", 1_000);
    assert_eq!(whole_site(host.port, "hello"), 1_000);
    check_stores(host);
}

#[test]
fn a_failed_sync_or_write_ends_the_server_and_nothing_acknowledged_is_lost() {
    for (file, injection) in [
        ("chainhost.db-wal", "fsync,fdatasync:error=EIO:when=1"),
        ("chainhost.db-wal", "fsync,fdatasync:error=EIO:when=14"),
        ("chainhost.db-wal", "pwrite64:error=EIO:when=9"),
        ("queue.redb", "fsync,fdatasync:error=EIO:when=2"),
        ("queue.redb", "pwrite64:error=EIO:when=5"),
    ] {
        println!("{file} {injection}");
        let (mut host, api) = start();
        let strace = Strace::attach(&host, &[injection], Some(file));
        let told = change_until_the_end(&host, &api, 200);
        drop(strace);
        comes_back(&mut host, &api, &told);
    }
}

/// The log is folded into the file once it is long. SQLite's own way of doing that hides a failed sync, and tries again.
#[test]
fn a_failed_sync_while_the_log_is_folded_in_ends_the_server() {
    let (mut host, api) = start();
    let strace = Strace::attach(&host, &["fsync,fdatasync:error=EIO:when=1"], Some("chainhost.db"));
    let told = change_until_the_end(&host, &api, 5_000);
    drop(strace);
    assert!(told.sites.len() > 20, "it ended before the log was long: {}", host.log());
    comes_back(&mut host, &api, &told);
}

/// A write waits for its sync, and meanwhile visitors and the API are answered: this compares what ends first. A key's last
/// use is noted with every call here, which the call does not wait for either.
#[test]
fn reads_do_not_wait_for_a_slow_sync() {
    let (mut host, api) = start();
    let database = rusqlite::Connection::open(host.data().join("chainhost.db")).unwrap();
    let age = "CREATE TRIGGER age AFTER UPDATE OF used_ms ON api_key BEGIN
                 UPDATE api_key SET used_ms = 1 WHERE id = NEW.id; END;
               UPDATE api_key SET used_ms = 1;";
    database.execute_batch(age).unwrap();
    drop(database);
    let strace = Strace::attach(&host, &["fsync,fdatasync:delay_exit=10000000"], Some("chainhost.db-wal"));
    let writer = {
        let api = api.clone();
        let body = json!({ "name": "slow" }).to_string();
        std::thread::spawn(move || api.call("POST /api/v1/sites", body.as_bytes()).status)
    };
    for _ in 0..20 {
        assert_eq!(host.get("hello.localhost", "/pages/1.html").status, 200);
        api.must("GET /api/v1/sites/hello", &Value::Null, 200);
    }
    assert!(!writer.is_finished(), "the reads have waited for a sync");
    drop(strace);
    assert_eq!(writer.join().unwrap(), 201);
    check_stores(&mut host);
}
