//! A full disk, which is a small one of the test's own: deploys are refused in clear words, sites answer, nothing is half
//! published, and when there is space again all goes on without a restart.

use std::{
    fs::{self, File},
    io::{ErrorKind, Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    process::Command,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    api::{Api, Wish, frame},
    change, check_stores, version, whole_site,
};
use crate::support::{Answer, Host};

/// Room for the 64 MiB that one framed upload may bring, and for the reserve.
const SIZE: &str = "size=112m";

/// A small disk, unmounted when dropped.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    pub(crate) fn mount(at: PathBuf) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "This test mounts a small tmpfs, which only root may do: run it as root, or as root of a namespace of its own: \
             `unshare -Urm cargo test --features full --test it -- faults::disk`."
        );
        fs::create_dir(&at).unwrap();
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", SIZE, "chainhost-test"]).arg(&at).output().unwrap();
        assert!(done.status.success(), "no tmpfs can be mounted here: {}", String::from_utf8_lossy(&done.stderr));
        Self(at)
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }

    /// Leaves only so many bytes free.
    pub(super) fn fill_to(&self, free: u64) {
        let now = chainhost::base::files::space(&self.0).unwrap().free;
        let mut file = File::options().create(true).append(true).open(self.ballast()).unwrap();
        let mut left = now.saturating_sub(free);
        let block = vec![b'.'; 4096];
        while left >= 4096 {
            match file.write_all(&block) {
                Ok(()) => left -= 4096,
                Err(error) if error.kind() == ErrorKind::StorageFull => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Leaves nothing free.
    pub(crate) fn fill(&self) {
        self.fill_to(0);
        assert!(chainhost::base::files::space(&self.0).unwrap().free < 4096);
    }

    pub(crate) fn free(&self) {
        fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the server may still be ending.
        drop(Command::new("umount").arg("--lazy").arg(&self.0).status());
    }
}

/// The server's data folder is a small disk; its log is not on it. Fields drop in order: first the server.
struct Cramped {
    host: Host,
    api: Api,
    disk: SmallDisk,
}

fn start() -> Cramped {
    start_as(|folder| Host::start_in(folder, &[]))
}

fn start_as(start: fn(TempDir) -> Host) -> Cramped {
    let folder = TempDir::new().unwrap();
    let disk = SmallDisk::mount(folder.path().join("data"));
    let host = start(folder);
    let api = Api::new(&host, &host.key("owner@example.org", "super-admin"));
    api.must("POST /api/v1/sites", &json!({ "name": "hello" }), 201);
    api.deploy_version("hello", 1);
    Cramped { host, api, disk }
}

fn refused(answer: &Answer, codes: &[&str]) {
    let problem = answer.json();
    assert_eq!(answer.status, 503, "{problem}");
    assert!(codes.contains(&problem["code"].as_str().unwrap()), "{problem}");
    assert!(problem["detail"].as_str().unwrap().contains("isk"), "{problem}");
    assert!(answer.header("retry-after").is_some());
}

fn states(api: &Api) -> Vec<String> {
    let list = api.list("/api/v1/sites/hello/deployments");
    list.iter().map(|it| it["state"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn below_the_reserve_deploys_are_refused_and_go_on_when_there_is_space() {
    let Cramped { mut host, api, disk } = start();
    disk.fill_to(8 * 1024 * 1024);
    let before = states(&api);
    refused(&api.begin("hello", &version(2), &Wish::default()), &["disk_reserve"]);
    refused(&api.call("PUT /api/v1/sites/hello/deployments", b"an archive"), &["disk_reserve"]);
    assert_eq!(states(&api), before, "a refused deploy left something behind");
    assert_eq!(whole_site(host.port, "hello"), 1);
    // What frees space still works: names, rollback, deleting, collecting.
    api.must("POST /api/v1/sites", &json!({ "name": "other" }), 201);
    api.must("DELETE /api/v1/sites/other", &Value::Null, 204);
    api.must("POST /api/v1/gc", &json!({}), 200);
    disk.free();
    api.deploy_version("hello", 2);
    assert_eq!(whole_site(host.port, "hello"), 2);
    check_stores(&mut host);
}

#[test]
fn on_a_full_disk_sites_answer_and_an_upload_goes_on_when_there_is_space() {
    let Cramped { mut host, api, disk } = start();
    let files = version(2);
    let begun = api.begin("hello", &files, &Wish { message: String::from("version 2"), ..Wish::default() }).json();
    let id = begun["id"].as_str().unwrap().to_owned();

    // The disk fills while the bytes come: after the server has looked, and taken the first file.
    let mut stream = TcpStream::connect(("127.0.0.1", host.port)).unwrap();
    let body: Vec<u8> = files.iter().flat_map(|(_, bytes)| frame(bytes)).collect();
    let (first, rest) = body.split_at(frame(&files[0].1).len() + 20);
    let key = host.admin(&["create-key", "--email", "owner@example.org"], "");
    let head = format!(
        "POST /api/v1/sites/hello/deployments/{id}/blobs HTTP/1.1\r\nHost: localhost:{}\r\nAuthorization: Bearer {}\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        host.port,
        String::from_utf8(key.stdout).unwrap().trim(),
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(first).unwrap();
    let incoming = host.data().join("incoming");
    host.until("the first file", || (fs::read_dir(&incoming).unwrap().count() > 0).then_some(()));
    disk.fill();
    drop(stream.write_all(rest));
    let mut answer = String::new();
    drop(stream.read_to_string(&mut answer));
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("\"disk_full\""), "{answer}");
    assert_eq!(whole_site(host.port, "hello"), 1);
    assert_eq!(api.finish("hello", &id).json()["code"], "blobs_missing");

    // Writes of the database are refused in the same words, at the latest when its log must grow. One on a server has its own disk.
    let mut refusal = None;
    let embedded = host.database_settings().is_none();
    for number in 0..if embedded { 300 } else { 0 } {
        let answer = api.call("POST /api/v1/sites", json!({ "name": format!("s{number}") }).to_string().as_bytes());
        if answer.status != 201 {
            refusal = Some(answer);
            break;
        }
        disk.fill();
    }
    if embedded {
        refused(&refusal.expect("the log grows for ever on a full disk"), &["disk_full"]);
    }
    assert_eq!(whole_site(host.port, "hello"), 1);

    disk.free();
    let again = api.begin("hello", &version(3), &Wish { message: String::from("version 3"), ..Wish::default() });
    assert_eq!(again.status, 201, "{}", again.text());
    assert_eq!(api.send("hello", &id, &files, &begun["missing"]).status, 200);
    let done = api.finish("hello", &id);
    assert_eq!((done.status, whole_site(host.port, "hello")), (200, 2), "{}", done.text());
    api.deploy_version("hello", 3);
    assert_eq!(whole_site(host.port, "hello"), 3);
    jobs_end(&host, &api);
    check_stores(&mut host);
}

/// The queue works again: the compressed forms of all versions are made.
fn jobs_end(host: &Host, api: &Api) {
    host.until("the jobs", || {
        let jobs = api.must("GET /api/v1/jobs", &Value::Null, 200);
        let jobs = jobs["items"].as_array().unwrap();
        (jobs.len() == 3 && jobs.iter().all(|it| it["state"] == "done")).then_some(())
    });
}

#[test]
fn a_finish_on_a_full_disk_publishes_nothing_and_may_be_asked_again() {
    let Cramped { mut host, api, disk } = start();
    let files = version(2);
    let begun = api.begin("hello", &files, &Wish::default()).json();
    let id = begun["id"].as_str().unwrap();
    assert_eq!(api.send("hello", id, &files, &begun["missing"]).status, 200);
    disk.fill();
    for _ in 0..3 {
        refused(&api.finish("hello", id), &["disk_full"]);
        assert_eq!(whole_site(host.port, "hello"), 1);
    }
    assert_eq!(states(&api), ["uploading", "live"]);
    disk.free();
    let done = api.finish("hello", id);
    assert_eq!((done.status, whole_site(host.port, "hello")), (200, 2), "{}", done.text());
    check_stores(&mut host);
}

#[test]
fn on_a_full_disk_people_get_in_also_when_their_last_use_cannot_be_noted() {
    let Cramped { mut host, api, disk } = start_as(Host::start_embedded_in);
    // As if a minute had passed since the last use, always: each call tries to note it.
    let database = rusqlite::Connection::open(host.data().join("chainhost.db")).unwrap();
    let age = "CREATE TRIGGER age AFTER UPDATE OF used_ms ON api_key BEGIN
                 UPDATE api_key SET used_ms = 1 WHERE id = NEW.id; END;
               UPDATE api_key SET used_ms = 1;";
    database.execute_batch(age).unwrap();
    drop(database);
    disk.fill();
    // Until the log of the database must grow, and cannot.
    let full = (0..300).find_map(|number| {
        let answer = api.call("POST /api/v1/sites", json!({ "name": format!("s{number}") }).to_string().as_bytes());
        disk.fill();
        (answer.status != 201).then_some(answer)
    });
    refused(&full.expect("the log grows for ever on a full disk"), &["disk_full"]);
    for path in ["/api/v1/me", "/api/v1/sites", "/api/v1/sites/hello/deployments", "/api/v1/audit"] {
        api.must(&format!("GET {path}"), &Value::Null, 200);
    }
    host.until("the warning", || host.log().contains("a last use could not be noted").then_some(()));
    disk.free();
    api.deploy_version("hello", 2);
    assert_eq!(whole_site(host.port, "hello"), 2);
    check_stores(&mut host);
}

#[test]
fn a_restart_on_a_full_disk_serves_the_sites() {
    let Cramped { mut host, api, disk } = start();
    let wish = Wish { publish: Some(false), ..Wish::default() };
    assert_eq!(api.deploy("hello", &version(7), &wish).unwrap()["number"], 2);
    disk.fill();
    for is_killed in [true, false, true] {
        if is_killed {
            host.kill();
        } else {
            assert_eq!(host.stop(), Some(0), "{}", host.log());
            // As if it had been killed while it unpacks: the start has something to write, and cannot.
            disk.free();
            change(&host, "UPDATE deployment SET state = 'checking' WHERE number = 2", Vec::new());
        }
        disk.fill();
        host.restart();
        api.moved(&host);
        assert_eq!(whole_site(host.port, "hello"), 1);
        assert_eq!(host.get("localhost", "/healthz").status, 200);
    }
    disk.free();
    host.kill();
    host.restart();
    api.moved(&host);
    host.until("the end of what was interrupted", || states(&api).contains(&String::from("failed")).then_some(()));
    api.deploy_version("hello", 2);
    assert_eq!(whole_site(host.port, "hello"), 2);
    check_stores(&mut host);
}
