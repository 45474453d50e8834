//! A whole installation on several nodes: web nodes and workers on one PostgreSQL, a Redis for jobs and one for what is cached, and
//! one folder of bytes.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering},
    },
    thread,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

#[cfg(feature = "s3")]
use crate::support::s3::{self, Bucket};
use crate::support::{
    Host, PROGRAM, free_port, http,
    postgres::{Database, Way},
    redis::Server,
    write_files,
};

/// What all nodes share.
pub(crate) struct Shared {
    pub(crate) redis: Server,
    cache: Server,
    pub(crate) database: Database,
    folder: tempfile::TempDir,
    /// Has the bytes instead of the folder.
    #[cfg(feature = "s3")]
    pub(crate) bucket: Option<Bucket>,
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self {
            redis: Server::start(&["--appendonly", "yes"]),
            cache: Server::start(&["--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"]),
            database: Database::new(Way::Direct),
            folder: tempfile::tempdir().unwrap(),
            #[cfg(feature = "s3")]
            bucket: None,
        }
    }

    /// With a pooler before the database, and a bucket instead of the folder.
    #[cfg(feature = "s3")]
    pub(crate) fn far() -> Self {
        Self { database: Database::new(Way::Pooled), bucket: Some(Bucket::new()), ..Self::new() }
    }

    /// The variables that name it.
    #[cfg(feature = "s3")]
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let mut all = self.in_folder();
        if let Some(bucket) = &self.bucket {
            all.retain(|it| it.0 != "CHAINHOST_CONFIG");
            all.push(("CHAINHOST_DATABASE_DIRECT_URL", self.database.direct_url()));
            all.push(("CHAINHOST_BLOBS_URL", bucket.url()));
            all.extend(s3::KEYS.map(|(name, value)| (name, value.to_owned())));
        }
        all
    }

    /// The variables that name it.
    #[cfg(not(feature = "s3"))]
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        self.in_folder()
    }

    fn in_folder(&self) -> Vec<(&'static str, String)> {
        let config = self.folder.path().join("chainhost.toml");
        let blobs = self.folder.path().join("blobs");
        std::fs::create_dir_all(&blobs).unwrap();
        let text = format!("[blobs]\nfolder = '{}'\n", blobs.display());
        write_files(self.folder.path(), &[("chainhost.toml", text.as_bytes())]);
        vec![
            ("CHAINHOST_DATABASE_URL", self.database.url()),
            ("CHAINHOST_REDIS_QUEUE_URL", self.redis.url()),
            ("CHAINHOST_REDIS_CACHE_URL", self.cache.url()),
            ("CHAINHOST_CONFIG", config.to_str().unwrap().to_owned()),
        ]
    }

    pub(crate) fn web(&self) -> Host {
        Host::start_as(&self.environment(), &["--role", "web"])
    }

    pub(crate) fn worker(&self) -> Worker {
        self.worker_for("deploy")
    }

    /// A worker for some queues.
    pub(crate) fn worker_for(&self, queues: &str) -> Worker {
        let folder = tempfile::tempdir().unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(PROGRAM);
        let port = free_port();
        command.args(["worker", "--queues", queues, "--labels", "type=worker"]);
        command
            .args(["--listen", &format!("127.0.0.1:{port}"), "--data"])
            .arg(folder.path().join("data"))
            .envs(self.environment());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let worker = Worker { child, folder, port };
        assert_eq!(line, format!("ready worker for {queues}\n"), "{}", worker.log());
        worker
    }
}

/// A process that runs jobs. Dropped, it is killed.
pub(crate) struct Worker {
    child: Child,
    folder: tempfile::TempDir,
    port: u16,
}

impl Worker {
    /// How many jobs of deploys it has run.
    pub(crate) fn ran(&self) -> u64 {
        let name = "chainhost_job_run_seconds_count{queue=\"deploy\"} ";
        let answer = http::ask(self.port, &format!("GET /metrics HTTP/1.1\r\nHost: localhost:{}\r\n", self.port), b"");
        answer.text().lines().find_map(|it| it.strip_prefix(name)?.parse().ok()).unwrap_or(0)
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Sends it a signal: STOP and CONT hold it still for a while.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Ends it at once, as a crash would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop; how it ended.
    pub(crate) fn stop(mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        self.child.wait().unwrap().code()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if thread::panicking() {
            println!("worker: {}", self.log());
        }
    }
}

/// Deploys a version of a site by the command line.
fn deploy(host: &Host, key: &str, version: u32) {
    let folder = tempfile::tempdir().unwrap();
    let page = format!("<h1>{version}</h1>{}", "<p>Something that is worth compressing.</p>".repeat(200));
    write_files(folder.path(), &[("index.html", page.as_bytes())]);
    host.cli_json(key, &["deploy", folder.path().to_str().unwrap(), "--site", "blog", "--create", "--json"]);
}

/// The version that a node serves.
fn served(host: &Host) -> Option<u32> {
    let answer = host.get("blog.localhost", "/");
    (answer.status == 200).then(|| answer.text().strip_prefix("<h1>")?.split('<').next()?.parse().ok()).flatten()
}

/// The states of all jobs.
pub(crate) fn jobs(host: &Host, key: &str) -> Vec<String> {
    let jobs = host.cli_json(key, &["jobs", "--json"]);
    jobs.as_array().unwrap().iter().map(|it| it["state"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn webs_serve_and_workers_work() {
    let shared = Shared::new();
    let (one, other) = (shared.web(), shared.web());
    let key = one.key("a@example.com", "super-admin");
    deploy(&one, &key, 1);
    assert_eq!(served(&one), Some(1));
    other.until("the other web serves it", || (served(&other) == Some(1)).then_some(()));
    // What is cached for all: a list that one has made new, the other does not keep.
    let names = || {
        let sites = other.api_json(&key, "GET /api/v1/sites", "", 200);
        sites["items"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(), ["blog"]);
    one.api_json(&key, "POST /api/v1/sites", r#"{"name":"added"}"#, 201);
    other.until("the other web lists it", || (names().len() == 2).then_some(()));
    // Nobody works yet: webs leave jobs alone.
    assert_eq!(jobs(&other, &key), ["waiting"]);
    let worker = shared.worker();
    other.until("the job is done", || (jobs(&other, &key) == ["done"]).then_some(()));
    // What the worker made, both webs serve.
    for host in [&one, &other] {
        let coded = || {
            let head = format!("GET / HTTP/1.1\r\nHost: blog.localhost:{}\r\nAccept-Encoding: zstd\r\n", host.port);
            let answer = http::ask(host.port, &head, b"");
            (answer.header("content-encoding") == Some("zstd")).then_some(())
        };
        host.until("the compressed form", coded);
    }
    let nodes = one.cli_json(&key, &["nodes", "--json"]);
    let worker_node = nodes.as_array().unwrap().iter().find(|it| it["role"] == "worker").unwrap();
    assert_eq!(worker_node["labels"], Value::from(vec!["type=worker"]));
    assert_eq!(worker.stop(), Some(0));
    one.until("the worker has left", || {
        let nodes = one.cli_json(&key, &["nodes", "--json"]);
        (nodes.as_array().unwrap().len() == 2).then_some(())
    });
}

#[test]
fn visitors_notice_nothing_while_nodes_come_and_go() {
    let shared = Shared::new();
    let mut webs = [shared.web(), shared.web(), shared.web()];
    let key = webs[0].key("a@example.com", "super-admin");
    let mut workers = vec![shared.worker(), shared.worker()];
    deploy(&webs[0], &key, 1);
    for web in &webs {
        web.until("all serve it", || (served(web) == Some(1)).then_some(()));
    }
    // A load as from a balancer, which asks none that is about to stop: its port is 0.
    let ports: Arc<Vec<AtomicU16>> = Arc::new(webs.iter().map(|it| AtomicU16::new(it.port)).collect());
    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let load = {
        let (ports, stop, asked) = (Arc::clone(&ports), Arc::clone(&stop), Arc::clone(&asked));
        thread::spawn(move || ask_all(&ports, &stop, &asked))
    };
    for version in 2..5_u32 {
        let turn = usize::try_from(version).unwrap() % 3;
        ports[turn].store(0, Ordering::Release);
        let before = asked.load(Ordering::Relaxed);
        webs[turn].until("others are asked", || (asked.load(Ordering::Relaxed) > before + 50).then_some(()));
        let stopped = webs[turn].stop();
        assert_eq!(stopped, Some(0), "{}", webs[turn].log());
        // Meanwhile another publishes, and a worker dies.
        deploy(&webs[(turn + 1) % 3], &key, version);
        workers.remove(0).kill();
        workers.push(shared.worker());
        webs[turn].restart();
        for web in &webs {
            web.until("all serve the new one", || (served(web) == Some(version)).then_some(()));
        }
        ports[turn].store(webs[turn].port, Ordering::Release);
    }
    stop.store(true, Ordering::Release);
    assert_eq!(load.join().unwrap(), []);
    println!("{} requests, none failed", asked.load(Ordering::Relaxed));
    // What workers had begun when they died, others have done.
    webs[0].until("all jobs are done", || jobs(&webs[0], &key).iter().all(|it| it == "done").then_some(()));
}

/// Asks one after the other until told to stop; which failed.
fn ask_all(ports: &[AtomicU16], stop: &AtomicBool, asked: &AtomicU64) -> Vec<(u16, u16)> {
    let mut failed = Vec::new();
    for port in ports.iter().cycle() {
        if stop.load(Ordering::Acquire) {
            break;
        }
        let port = port.load(Ordering::Acquire);
        if port == 0 {
            continue;
        }
        let answer = http::ask(port, &format!("GET / HTTP/1.1\r\nHost: blog.localhost:{port}\r\n"), b"");
        if answer.status != 200 {
            failed.push((port, answer.status));
        }
        asked.fetch_add(1, Ordering::Relaxed);
    }
    failed
}
