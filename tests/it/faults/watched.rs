//! Watched folders that never rest, are too large, or were rolled back: others and the user's wishes come first.

use std::{
    fs::{self, File},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use super::{api::Api, check_stores};
use crate::support::{Host, read_files, write_files};

fn start() -> (Host, Api) {
    let host = Host::start();
    let api = Api::new(&host, &host.key("owner@example.org", "super-admin"));
    (host, api)
}

/// Makes a site that is deployed from a folder of its name with these files.
fn watch(host: &Host, api: &Api, name: &str, files: &[(&str, &[u8])]) {
    write_files(&host.beside(name), files);
    api.must("POST /api/v1/sites", &json!({ "name": name }), 201);
    let folder = json!({ "watch_folder": host.beside(name).to_str().unwrap() });
    api.must(&format!("PATCH /api/v1/sites/{name}"), &folder, 200);
}

fn until_shown(host: &Host, name: &str, text: &str) {
    let site = format!("{name}.localhost");
    host.until(text, || (host.get(&site, "/").text() == text).then_some(()));
}

fn numbers(api: &Api, name: &str) -> Vec<i64> {
    api.list(&format!("/api/v1/sites/{name}/deployments")).iter().map(|it| it["number"].as_i64().unwrap()).collect()
}

/// Writes into a folder until dropped.
struct Restless {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Restless {
    fn begin(host: &Host, name: &str) -> Self {
        let (stop, folder) = (Arc::new(AtomicBool::new(false)), host.beside(name));
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            for number in 0_u64.. {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                write_files(&folder, &[("log.txt", number.to_string().as_bytes())]);
                // The pace of what is tested, not a wait for something.
                thread::sleep(Duration::from_millis(50));
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Restless {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

#[test]
fn a_folder_that_never_rests_holds_up_no_other() {
    let (mut host, api) = start();
    fs::create_dir(host.beside("restless")).unwrap();
    let restless = Restless::begin(&host, "restless");
    watch(&host, &api, "restless", &[("index.html", b"restless")]);
    watch(&host, &api, "quiet", &[("index.html", b"quiet")]);
    until_shown(&host, "quiet", "quiet");
    write_files(&host.beside("quiet"), &[("index.html", b"changed")]);
    until_shown(&host, "quiet", "changed");
    assert!(numbers(&api, "restless").is_empty(), "a folder was deployed while it changed");
    drop(restless);
    until_shown(&host, "restless", "restless");
    check_stores(&mut host);
}

#[test]
fn a_restart_does_not_deploy_a_folder_over_a_rollback() {
    let (mut host, api) = start();
    watch(&host, &api, "hello", &[("index.html", b"one")]);
    watch(&host, &api, "other", &[("index.html", b"other one")]);
    until_shown(&host, "hello", "one");
    until_shown(&host, "other", "other one");
    write_files(&host.beside("hello"), &[("index.html", b"two")]);
    until_shown(&host, "hello", "two");
    api.must("POST /api/v1/sites/hello/rollback", &Value::Null, 200);
    until_shown(&host, "hello", "one");
    // What the folder holds was remembered with its deploy or right after it.
    assert_eq!(host.stop(), Some(0), "{}", host.log());
    write_files(&host.beside("other"), &[("index.html", b"other two")]);
    host.restart();
    api.moved(&host);
    // Both folders are looked at from the start on; this one has changed.
    until_shown(&host, "other", "other two");
    assert_eq!(host.get("hello.localhost", "/").text(), "one");
    // A change is deployed, as the next one after those of before.
    write_files(&host.beside("hello"), &[("index.html", b"three")]);
    until_shown(&host, "hello", "three");
    assert_eq!(numbers(&api, "hello"), [3, 2, 1]);
    check_stores(&mut host);
}

#[test]
fn a_folder_that_is_too_large_is_refused_before_it_is_copied() {
    let (mut host, api) = start();
    let folder = host.beside("large");
    write_files(&folder, &[("a.txt", "a".repeat(100_000).as_bytes())]);
    // A hole: it takes no space here.
    File::create(folder.join("hole.bin")).unwrap().set_len(600 * 1024 * 1024).unwrap();
    watch(&host, &api, "large", &[("index.html", b"large")]);
    host.until("the refusal", || host.log().contains("a watched folder was not deployed").then_some(()));
    let bytes: usize = read_files(&host.data().join("blobs")).iter().map(|(_, bytes)| bytes.len()).sum();
    assert!(bytes < 100_000, "{bytes} bytes were copied");
    assert!(host.log().contains("has more than 536870912 bytes"), "{}", host.log());
    fs::remove_file(folder.join("hole.bin")).unwrap();
    until_shown(&host, "large", "large");
    check_stores(&mut host);
}
