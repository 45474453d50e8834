//! The database taken away, replaced, emptied, cut off; snapshots torn. Sites answer on, nothing acknowledged is lost, and
//! nothing is made that would hide the right files when they come back.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use serde_json::{Value, json};

use chainhost::serve::snapshot_file;

use super::{
    api::{Api, Wish},
    change, check_stores, version, version_of, whole_site,
};
use crate::support::{
    Host,
    http::{Fate, Kept},
};

const PARTS: [&str; 3] = ["chainhost.db", "chainhost.db-wal", "chainhost.db-shm"];
const SNAPSHOTS: [&str; 3] = ["snapshot", "snapshot.1", "snapshot.2"];

/// Moves the files that are there from one folder to another.
fn relocate(names: &[&str], from: &Path, to: &Path) {
    for name in names {
        drop(fs::remove_file(to.join(name)));
        if from.join(name).exists() {
            fs::rename(from.join(name), to.join(name)).unwrap();
        }
    }
}

fn control(host: &Host) -> String {
    host.get("localhost", "/healthz").json()["control"].as_str().unwrap().to_owned()
}

/// Makes sites until refused; the names that were acknowledged.
fn make_sites(api: &Api, prefix: &str, made: &AtomicU64) -> Vec<String> {
    let mut acknowledged = Vec::new();
    for number in 0..900 {
        let name = format!("{prefix}{number}");
        let answer = api.call("POST /api/v1/sites", json!({ "name": name }).to_string().as_bytes());
        if answer.status != 201 {
            assert_eq!(
                (answer.status, answer.json()["code"].as_str()),
                (503, Some("database_gone")),
                "{}",
                answer.text()
            );
            break;
        }
        acknowledged.push(name);
        made.fetch_add(1, Ordering::Relaxed);
    }
    acknowledged
}

#[test]
fn the_database_is_taken_away_under_load_and_put_back() {
    let mut host = Host::start_embedded();
    let api = Api::new(&host, &host.key("owner@example.org", "super-admin"));
    api.must("POST /api/v1/sites", &json!({ "name": "hello" }), 201);
    api.deploy_version("hello", 1);
    let (stop, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let visitors: Vec<_> = (0..2)
        .map(|_| {
            let (port, stop) = (host.port, Arc::clone(&stop));
            thread::spawn(move || {
                let mut connection = Kept::open(port).unwrap();
                for (path, _) in version(0).iter().cycle().take_while(|_| !stop.load(Ordering::Relaxed)) {
                    match connection.get("hello.localhost", &format!("/{path}"), "") {
                        Fate::Whole(answer) if answer.status == 200 => drop(version_of(path, &answer.body)),
                        other => panic!("{path}: {other:?}"),
                    }
                }
            })
        })
        .collect();
    let writers: Vec<_> = ["a", "b"]
        .into_iter()
        .map(|prefix| {
            let made = Arc::clone(&made);
            let api = api.with_key(&host.key(&format!("{prefix}@example.org"), "user"));
            thread::spawn(move || make_sites(&api, prefix, &made))
        })
        .collect();
    host.until("the load", || (made.load(Ordering::Relaxed) > 50).then_some(()));
    let kept = host.beside("kept");
    fs::create_dir(&kept).unwrap();
    relocate(&PARTS, &host.data(), &kept);
    let acknowledged: Vec<String> = writers.into_iter().flat_map(|it| it.join().unwrap()).collect();
    assert_eq!(control(&host), "database_gone");
    stop.store(true, Ordering::Relaxed);
    for it in visitors {
        it.join().unwrap();
    }

    host.kill();
    host.restart();
    assert_eq!((control(&host).as_str(), whole_site(host.port, "hello")), ("database_missing", 1));
    assert_eq!(host.stop(), Some(0));
    relocate(&PARTS, &kept, &host.data());
    host.restart();
    api.moved(&host);
    let there: Vec<Value> = api.list("/api/v1/sites");
    for name in &acknowledged {
        assert!(there.iter().any(|it| it["name"] == *name), "{name} was acknowledged and is gone");
    }
    api.deploy_version("hello", 2);
    check_stores(&mut host);
}

/// A server that has shown two versions and is stopped, with its database put aside.
struct Stopped {
    host: Host,
    api: Api,
    kept: PathBuf,
}

impl Stopped {
    fn new() -> Self {
        let mut host = Host::start_embedded();
        let api = Api::new(&host, &host.key("owner@example.org", "super-admin"));
        api.must("POST /api/v1/sites", &json!({ "name": "hello" }), 201);
        api.deploy_version("hello", 1);
        api.deploy_version("hello", 2);
        assert_eq!(host.stop(), Some(0));
        let kept = host.beside("kept");
        fs::create_dir(&kept).unwrap();
        relocate(&PARTS, &host.data(), &kept);
        Self { host, api, kept }
    }

    /// Starts: the control plane is down with this code, sites are as they were, or `None`: not known.
    fn starts_with(&mut self, code: &str, shows: Option<u64>) {
        self.host.restart();
        assert_eq!(control(&self.host), code, "{}", self.host.log());
        match shows {
            Some(number) => assert_eq!(whole_site(self.host.port, "hello"), number),
            None => assert_eq!(self.host.get("hello.localhost", "/").status, 421, "an unknown host"),
        }
        let refused = self.host.api("", "GET /api/v1/me", b"");
        assert_eq!((refused.status, refused.json()["code"].as_str()), (503, Some(code)));
        assert_eq!(self.host.stop(), Some(0));
    }

    /// With the right database back everything is as before, and goes on.
    fn recovers(&mut self) {
        relocate(&PARTS, &self.kept, &self.host.data());
        self.host.restart();
        self.api.moved(&self.host);
        assert_eq!(
            (control(&self.host).as_str(), whole_site(self.host.port, "hello")),
            ("ok", 2),
            "{}",
            self.host.log()
        );
        self.api.must("POST /api/v1/sites/hello/rollback", &Value::Null, 200);
        assert_eq!(whole_site(self.host.port, "hello"), 1);
        check_stores(&mut self.host);
    }

    fn database(&self) -> PathBuf {
        self.host.data().join("chainhost.db")
    }

    fn cut(&self, name: &str, length: impl Fn(u64) -> u64) {
        let file = File::options().write(true).open(self.host.data().join(name)).unwrap();
        file.set_len(length(file.metadata().unwrap().len())).unwrap();
    }
}

#[test]
fn a_database_of_another_installation_is_not_published() {
    let mut it = Stopped::new();
    let mut other = Host::start_embedded();
    other.key("thief@example.org", "super-admin");
    assert_eq!(other.stop(), Some(0));
    fs::copy(other.data().join("chainhost.db"), it.database()).unwrap();
    it.starts_with("database_foreign", Some(2));
    it.recovers();
}

#[test]
fn an_empty_file_is_no_database() {
    let mut it = Stopped::new();
    drop(File::create(it.database()).unwrap());
    it.starts_with("database_foreign", Some(2));
    it.recovers();
}

#[test]
fn an_empty_file_is_no_database_either_where_only_the_snapshot_knows_the_installation() {
    let mut it = Stopped::new();
    fs::remove_file(it.host.data().join("instance")).unwrap();
    drop(File::create(it.database()).unwrap());
    it.starts_with("database_foreign", Some(2));
    it.recovers();
}

#[test]
fn a_database_that_is_cut_off_is_not_used() {
    let mut it = Stopped::new();
    fs::copy(it.kept.join("chainhost.db"), it.database()).unwrap();
    it.cut("chainhost.db", |length| length / 2 / 4096 * 4096);
    it.starts_with("database_broken", Some(2));
    it.recovers();
}

#[test]
fn a_file_that_is_no_database_is_not_used() {
    let mut it = Stopped::new();
    crate::support::write_files(&it.host.data(), &[("chainhost.db", &[b'?'; 10_000])]);
    it.starts_with("database_broken", Some(2));
    it.recovers();
}

#[test]
fn a_torn_snapshot_gives_way_to_an_earlier_one() {
    let mut it = Stopped::new();
    let generation = |it: &Stopped| snapshot_file::load(&it.host.data()).unwrap().unwrap().snapshot.generation;
    let before = generation(&it);
    it.cut("snapshot", |length| length / 2);
    assert!(generation(&it) < before);
    it.host.restart();
    assert_eq!(control(&it.host), "database_missing");
    assert!([1, 2].contains(&whole_site(it.host.port, "hello")));
    assert_eq!(it.host.stop(), Some(0));
    let said = it.host.log().matches("a damaged snapshot was passed over").count();
    assert_eq!(said, 1, "{}", it.host.log());
    it.recovers();
    assert!(generation(&it) > before, "a generation came back");
}

#[test]
fn without_any_whole_snapshot_the_database_brings_the_sites_back() {
    let mut it = Stopped::new();
    for name in SNAPSHOTS {
        if it.host.data().join(name).exists() {
            it.cut(name, |length| length - 1);
        }
    }
    it.starts_with("database_missing", None);
    assert!(!it.database().exists());
    it.recovers();
}

#[test]
fn without_snapshot_and_database_nothing_new_is_begun() {
    let mut it = Stopped::new();
    let gone = it.host.beside("gone");
    fs::create_dir(&gone).unwrap();
    relocate(&SNAPSHOTS, &it.host.data(), &gone);
    it.starts_with("database_missing", None);
    assert!(!it.database().exists());
    it.recovers();
}

#[test]
fn what_was_being_unpacked_is_given_up_also_when_the_clock_was_set_back() {
    let mut host = Host::start();
    let api = Api::new(&host, &host.key("owner@example.org", "super-admin"));
    api.must("POST /api/v1/sites", &json!({ "name": "hello" }), 201);
    api.deploy_version("hello", 1);
    api.deploy("hello", &version(2), &Wish { publish: Some(false), ..Wish::default() }).unwrap();
    assert_eq!(host.stop(), Some(0), "{}", host.log());
    // As if it had ended while it unpacked, and the clock had been a day ahead.
    change(
        &host,
        "UPDATE deployment SET state = 'checking', created_ms = created_ms + 86400000 WHERE number = 2",
        Vec::new(),
    );
    host.restart();
    api.moved(&host);
    assert_eq!(api.must("GET /api/v1/sites/hello/deployments/2", &Value::Null, 200)["state"], "failed");
    assert_eq!(whole_site(host.port, "hello"), 1);
    check_stores(&mut host);
}
