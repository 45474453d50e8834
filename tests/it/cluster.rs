//! A whole installation on several nodes: web nodes and workers on one PostgreSQL, one Redis and one folder of bytes.

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

use crate::{
    moving::{self, ask},
    support::{
        Host, PROGRAM, http,
        postgres::{Database, Way},
        redis::Server,
        write_files,
    },
};

/// What all nodes share.
pub(crate) struct Shared {
    redis: Server,
    database: Database,
    folder: tempfile::TempDir,
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self {
            redis: Server::start(&["--appendonly", "yes"]),
            database: Database::new(Way::Direct),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// The variables that name it.
    fn environment(&self) -> Vec<(&'static str, String)> {
        let config = self.folder.path().join("chainhost.toml");
        let blobs = self.folder.path().join("blobs");
        std::fs::create_dir_all(&blobs).unwrap();
        let text = format!("[blobs]\nfolder = '{}'\n", blobs.display());
        write_files(self.folder.path(), &[("chainhost.toml", text.as_bytes())]);
        vec![
            ("CHAINHOST_DATABASE_URL", self.database.url()),
            ("CHAINHOST_REDIS_QUEUE_URL", self.redis.url()),
            ("CHAINHOST_CONFIG", config.to_str().unwrap().to_owned()),
        ]
    }

    pub(crate) fn web(&self) -> Host {
        Host::start_as(&self.environment(), &["--role", "web"])
    }

    pub(crate) fn worker(&self) -> Worker {
        let folder = tempfile::tempdir().unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let mut command = Command::new(PROGRAM);
        command.args(["worker", "--queues", "deploy", "--labels", "type=worker", "--data"]);
        command.arg(folder.path().join("data")).envs(self.environment());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let worker = Worker { child, folder };
        assert_eq!(line, "ready worker for deploy\n", "{}", worker.log());
        worker
    }
}

/// A process that runs jobs. Dropped, it is killed.
pub(crate) struct Worker {
    child: Child,
    folder: tempfile::TempDir,
}

impl Worker {
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Sends it a signal: STOP and CONT hold it still for a while.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to stop; how it ended.
    fn stop(mut self) -> Option<i32> {
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
fn jobs(host: &Host, key: &str) -> Vec<String> {
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

/// What must be the same before and after a step: all rows that people made.
fn state(host: &Host) -> Vec<Vec<Value>> {
    [
        "SELECT name, live, taken_down FROM site ORDER BY name",
        "SELECT number, state, files, bytes, manifest, root FROM deployment ORDER BY id",
        "SELECT seq, kind, manifest, root, actor FROM publication ORDER BY site_id, seq",
        "SELECT email, password_hash FROM \"user\" ORDER BY email",
        "SELECT id, token_hash FROM api_key ORDER BY id",
    ]
    .map(|sql| ask(host, sql))
    .to_vec()
}

/// Visitors of the story, all the time and at all nodes, but for those whose port is 0: they restart.
struct Visitors {
    ports: Arc<Vec<AtomicU16>>,
    /// Rounds over all ports that are behind them.
    rounds: Arc<AtomicU64>,
    asked: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<Vec<String>>>,
}

impl Visitors {
    fn new(nodes: usize) -> Self {
        let ports: Arc<Vec<AtomicU16>> = Arc::new((0..nodes).map(|_| AtomicU16::new(0)).collect());
        let (rounds, asked, stop) = (Arc::default(), Arc::default(), Arc::default());
        let mut visitors = Self { ports, rounds, asked, stop, thread: None };
        let (ports, rounds) = (Arc::clone(&visitors.ports), Arc::clone(&visitors.rounds));
        let (asked, stop) = (Arc::clone(&visitors.asked), Arc::clone(&visitors.stop));
        visitors.thread = Some(thread::spawn(move || {
            let mut failed = Vec::new();
            while !stop.load(Ordering::Acquire) {
                for port in ports.iter().map(|it| it.load(Ordering::Acquire)).filter(|it| *it > 0) {
                    let head = format!("GET / HTTP/1.1\r\nHost: story.localhost:{port}\r\n");
                    let answer = http::ask(port, &head, b"");
                    if answer.status != 200 || !answer.text().starts_with("<p>chapter ") {
                        failed.push(format!("{port}: {} {}", answer.status, answer.text()));
                    }
                    asked.fetch_add(1, Ordering::Relaxed);
                }
                rounds.fetch_add(1, Ordering::Release);
                // Others need the machine too.
                thread::sleep(std::time::Duration::from_millis(2));
            }
            failed
        }));
        visitors
    }

    fn come(&self, node: usize, host: &Host) {
        self.ports.get(node).unwrap().store(host.port, Ordering::Release);
    }

    /// No visitor asks this node any more when this returns.
    fn go(&self, node: usize, host: &Host) {
        self.ports.get(node).unwrap().store(0, Ordering::Release);
        let before = self.rounds.load(Ordering::Acquire);
        host.until("visitors are elsewhere", || (self.rounds.load(Ordering::Acquire) > before + 1).then_some(()));
    }

    /// How many there were; none of them may have failed.
    fn end(mut self) -> u64 {
        self.stop.store(true, Ordering::Release);
        assert_eq!(self.thread.take().unwrap().join().unwrap(), Vec::<String>::new());
        self.asked.load(Ordering::Relaxed)
    }
}

impl Drop for Visitors {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// Stops a server and starts it again as `change` says; what people made is the same afterwards.
fn step(host: &mut Host, visitors: &Visitors, change: impl FnOnce(&mut Host)) {
    let before = state(host);
    visitors.go(0, host);
    assert_eq!(host.stop(), Some(0), "{}", host.log());
    change(host);
    host.restart();
    visitors.come(0, host);
    assert_eq!(state(host), before);
    assert!(before.iter().all(|it| !it.is_empty()), "{before:?}");
}

fn no_jobs_left(host: &Host, key: &str) {
    host.until("the queue is empty", || jobs(host, key).iter().all(|it| it == "done").then_some(()));
}

/// Sees that a node tells this chapter.
fn told(host: &Host, chapter: u32) {
    host.until("the chapter is served", || {
        (host.get("story.localhost", "/").text() == format!("<p>chapter {chapter}</p>")).then_some(())
    });
    assert_eq!(host.get("story.localhost", "/a/b.txt").text(), "the same");
}

fn publish(host: &Host, key: &str, chapter: u32) {
    moving::deploy(host, key, "story", &format!("<p>chapter {chapter}</p>"));
    told(host, chapter);
}

#[test]
fn an_installation_grows_from_one_process_to_five_and_goes_back() {
    let shared = Shared::new();
    let all = shared.environment();
    // One process, all in its folder but the bytes, which have a place of their own from the beginning.
    let bytes = &all[2..];
    let mut host = Host::start_embedded();
    step_from_nothing(&mut host, bytes);
    let key = host.key("owner@example.org", "super-admin");
    publish(&host, &key, 1);
    let visitors = Visitors::new(3);
    visitors.come(0, &host);

    // To PostgreSQL: the data folder remembers where it went.
    let there = moving::moved(&host, &shared.database.url(), &[]);
    assert_eq!(there["restart"], true);
    step(&mut host, &visitors, |_| {});
    told(&host, 1);
    publish(&host, &key, 2);

    // To Redis: what waits goes along.
    moving::moved_with(&host, &["--redis", &shared.redis.url()]);
    publish(&host, &key, 3);
    step(&mut host, &visitors, |_| {});
    told(&host, 3);
    no_jobs_left(&host, &key);

    // To three webs and two workers.
    step(&mut host, &visitors, |host| host.become_as(&all, &["--role", "web"]));
    let others = [shared.web(), shared.web()];
    let workers = [shared.worker(), shared.worker()];
    for (node, web) in others.iter().enumerate() {
        told(web, 3);
        visitors.come(node + 1, web);
    }
    publish(&others[0], &key, 4);
    for web in others.iter().chain([&host]) {
        told(web, 4);
    }
    no_jobs_left(&host, &key);

    // And back: first the others leave, then the queue and the database.
    for worker in workers {
        assert_eq!(worker.stop(), Some(0));
    }
    for (node, mut web) in others.into_iter().enumerate() {
        visitors.go(node + 1, &web);
        assert_eq!(web.stop(), Some(0));
    }
    host.until("it is alone", || {
        let nodes = host.cli_json(&key, &["nodes", "--json"]);
        (nodes.as_array().unwrap().len() == 1).then_some(())
    });
    // Nobody works on this one: it comes back with the queue.
    publish(&host, &key, 5);
    moving::moved_with(&host, &["--redis", "none"]);
    step(&mut host, &visitors, |host| host.become_as(bytes, &[]));
    told(&host, 5);
    no_jobs_left(&host, &key);
    moving::moved(&host, "sqlite", &[]);
    step(&mut host, &visitors, |_| {});
    told(&host, 5);
    publish(&host, &key, 6);
    assert!(!host.data().join("database-url").exists() && !host.data().join("queue-url").exists());
    let rolled = host.cli(&key, &["rollback", "--site", "story"]);
    assert!(rolled.status.success());
    told(&host, 5);
    let asked = visitors.end();
    assert!(asked > 100, "only {asked} visitors");
    println!("{asked} visitors, none of whom failed");
}

/// Gives an embedded server that has nothing yet the place of its bytes.
fn step_from_nothing(host: &mut Host, bytes: &[(&str, String)]) {
    assert_eq!(host.stop(), Some(0), "{}", host.log());
    host.become_as(bytes, &[]);
    host.restart();
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
