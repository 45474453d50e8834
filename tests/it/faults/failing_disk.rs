//! A disk that fails: a sync of received files that is refused, and a file system that the kernel has made read-only. Sites answer,
//! and after a restart all is there that was acknowledged. What fails under the database and the queue is in `sync`.
//!
//! Single calls are made to fail by `strace`, and the file system by ext4's own way of giving up.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::process::{Pid, Signal, geteuid, kill_process};
use serde_json::json;
use tempfile::TempDir;

use super::{
    api::{Api, Wish},
    check_stores, version, whole_site,
};
use crate::support::Host;

/// Calls of a running server that fail as told, until dropped.
struct Failing {
    strace: Child,
    trace: PathBuf,
}

impl Failing {
    /// Makes `calls` on these files of the data folder fail; `how` is strace's: `error=EIO:when=5`.
    fn begin(host: &Host, files: &[&str], calls: &str, how: &str) -> Self {
        assert!(
            geteuid().is_root(),
            "This test looks into a running server, which only root may do everywhere: run the tests as root, or skip it with \
             `--skip failing_disk`."
        );
        let (trace, log) = (host.beside("trace"), host.beside("strace.log"));
        let mut command = Command::new("strace");
        command.args(["-f", "-p", &host.pid().to_string(), "-o"]).arg(&trace);
        command.args(["-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:{how}")]);
        for file in files {
            command.arg("-P").arg(host.data().join(file));
        }
        let out = File::create(&log).unwrap();
        let strace = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(out).spawn();
        let mut failing =
            Self { strace: strace.expect("strace is missing. Install it with: apt-get install strace"), trace };
        let said = || fs::read_to_string(&log).unwrap_or_default();
        host.until("strace to be there", || {
            if let Some(ended) = failing.strace.try_wait().unwrap() {
                panic!("strace ended with {ended}: {}", said());
            }
            said().contains("attached").then_some(())
        });
        failing
    }

    /// Whether a call has failed.
    fn has_failed(&self) -> bool {
        fs::read_to_string(&self.trace).unwrap_or_default().contains("INJECTED")
    }
}

impl Drop for Failing {
    fn drop(&mut self) {
        // Asked to end it lets the server go on. It may have ended with the server.
        let _ = kill_process(Pid::from_child(&self.strace), Signal::TERM);
        drop(self.strace.wait());
    }
}

/// A server with one site, on the embedded database.
fn start() -> (Host, Api) {
    let host = Host::start_embedded();
    let api = Api::new(&host, &host.key("owner@example.org", "super-admin"));
    api.must("POST /api/v1/sites", &json!({ "name": "hello" }), 201);
    api.deploy_version("hello", 1);
    (host, api)
}

/// All that was acknowledged is there after a restart, and all goes on.
fn check_after(mut host: Host, api: &Api, made: &[String]) {
    api.moved(&host);
    let there = api.list("/api/v1/sites");
    for name in made {
        assert!(there.iter().any(|it| it["name"] == *name), "{name} was acknowledged and is gone");
    }
    api.deploy_version("hello", 2);
    assert_eq!(whole_site(host.port, "hello"), 2);
    check_stores(&mut host);
}

#[test]
fn a_sync_of_received_files_that_fails_is_not_acknowledged_and_may_be_asked_again() {
    let (mut host, api) = start();
    let failing = Failing::begin(&host, &["blobs"], "syncfs", "error=EIO");
    let files = version(2);
    let refused = api.deploy("hello", &files, &Wish::default()).expect_err("it was acknowledged");
    assert!(refused.status >= 500, "{}", refused.text());
    assert!(failing.has_failed());
    assert_eq!(whole_site(host.port, "hello"), 1);
    drop(failing);
    api.deploy_version("hello", 2);
    // As if the power was cut: what was acknowledged does not depend on an end in order.
    host.kill();
    host.restart();
    api.moved(&host);
    assert_eq!(whole_site(host.port, "hello"), 2);
    check_stores(&mut host);
}

/// A file system of the test's own, in a file. Unmounted when dropped.
struct OwnDisk {
    images: TempDir,
    at: PathBuf,
}

impl OwnDisk {
    /// Makes one; or `None`, said on standard output, where none can be had: not as root, or without loop devices.
    fn make(folder: &Path) -> Option<Self> {
        let disk = Self { images: TempDir::new().unwrap(), at: folder.join("data") };
        fs::create_dir(&disk.at).unwrap();
        File::create(disk.image()).unwrap().set_len(256 * 1024 * 1024).unwrap();
        let made = Command::new("mkfs.ext4").arg("-q").arg(disk.image()).output();
        let made = made.expect("mkfs.ext4 is missing. Install it with: apt-get install e2fsprogs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        if let Err(error) = disk.mount("loop") {
            println!("SKIPPED: no file system of its own can be mounted here: {error}");
            return None;
        }
        Some(disk)
    }

    fn image(&self) -> PathBuf {
        self.images.path().join("disk")
    }

    fn mount(&self, options: &str) -> Result<(), String> {
        let done = Command::new("mount").args(["-o", options]).arg(self.image()).arg(&self.at).output().unwrap();
        if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stderr).into_owned()) }
    }

    /// What the kernel does when the disk below fails: what is not on it now never comes to it.
    fn give_up(&self) {
        let done = Command::new("mount").args(["-o", "remount,abort"]).arg(&self.at).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        assert!(File::create(self.at.join("probe")).is_err(), "the file system takes changes");
    }

    /// Mounts it anew, as a restart of the machine does. Nobody may use it.
    fn come_back(&self) {
        let done = Command::new("umount").arg(&self.at).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        self.mount("loop").unwrap();
    }
}

impl Drop for OwnDisk {
    fn drop(&mut self) {
        // Lazily: the server may still be ending.
        drop(Command::new("umount").arg("--lazy").arg(&self.at).output());
        // Could not be removed while something was mounted in it.
        drop(self.at.parent().map(fs::remove_dir_all));
    }
}

/// The server ends, since its disk has failed; started again it serves what is there, and says what is wrong.
#[test]
fn a_file_system_that_becomes_read_only_keeps_what_was_acknowledged() {
    let folder = TempDir::new().unwrap();
    let Some(disk) = OwnDisk::make(folder.path()) else { return };
    let mut host = Host::start_embedded_in(folder);
    let api = Api::new(&host, &host.key("owner@example.org", "super-admin"));
    api.must("POST /api/v1/sites", &json!({ "name": "hello" }), 201);
    api.deploy_version("hello", 1);
    let made: Vec<String> = (0..20).map(|it| format!("s{it}")).collect();
    for name in &made {
        api.must("POST /api/v1/sites", &json!({ "name": name }), 201);
    }
    disk.give_up();
    let refused = api.call("POST /api/v1/sites", br#"{"name":"late"}"#);
    // Nobody answers once it has ended.
    assert!(matches!(refused.status, 0 | 503), "{}", refused.text());
    assert_eq!(host.ended(), Some(1), "{}", host.log());
    host.restart();
    api.moved(&host);
    assert_eq!(whole_site(host.port, "hello"), 1);
    let health = host.get("localhost", "/healthz");
    assert_eq!(health.json()["sites"], "ok", "{}", health.text());
    assert_eq!(health.json()["control"], "disk_read_only", "{}", health.text());
    let refused = api.call("POST /api/v1/sites", br#"{"name":"late"}"#);
    assert_eq!(refused.status, 503, "{}", refused.text());
    host.kill();
    disk.come_back();
    host.restart();
    check_after(host, &api, &made);
}
