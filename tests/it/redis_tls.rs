//! TLS all the way where a master moves: to Sentinels, to whom they name, to the nodes of a cluster. Each server is verified.

#![expect(clippy::indexing_slicing, reason = "a test that panics says what went wrong")]

use std::{
    fs::File,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use chainhost::{
    base::{clock::Clock, files::write_atomic, secret::Secret},
    domain::job::Queue,
    engines::redis::{Address, Limits, QueueRedis, Wish},
    ports::queue::{Finish, Jobs, Outcome, QueueEngine as _},
};
use tokio::task::spawn_blocking;

use crate::{
    redis_cache::{self, Process},
    redis_link::{address, certificates},
    support::{free_port, redis::Server, redis_ha::until},
};

/// An authority, and what servers that it has signed for are told.
struct Keys(tempfile::TempDir);

impl Keys {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        certificates(folder.path());
        Self(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    /// The settings of a server that takes TLS on this port and speaks it to others.
    fn settings(&self, port: u16) -> Vec<(&'static str, String)> {
        vec![
            ("tls-port", port.to_string()),
            ("tls-cert-file", self.path("server.crt")),
            ("tls-key-file", self.path("server.key")),
            ("tls-ca-cert-file", self.path("ca.crt")),
            ("tls-auth-clients", String::from("no")),
            ("tls-replication", String::from("yes")),
        ]
    }

    /// A server that takes TLS, and its port for that.
    fn server(&self, more: &[&str]) -> (Server, u16) {
        let port = free_port();
        let mut words = Vec::new();
        for (name, value) in self.settings(port) {
            words.extend([format!("--{name}"), value]);
        }
        words.extend(more.iter().map(|it| (*it).to_owned()));
        (Server::start(&words.iter().map(String::as_str).collect::<Vec<_>>()), port)
    }

    /// What `redis-cli` prints over TLS.
    fn ask(&self, port: u16, words: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        command.args(["--tls", "--cacert", &self.path("ca.crt"), "-h", "127.0.0.1", "-p", &port.to_string()]);
        let out = command.args(words).stdin(Stdio::null()).output().unwrap();
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    }

    /// The URL of nodes, verified with these.
    fn url(&self, scheme: &str, ports: &[u16], path: &str) -> String {
        let hosts: Vec<String> = ports.iter().map(|it| format!("127.0.0.1:{it}")).collect();
        format!("{scheme}://{}{path}?tls=yes&sslrootcert={}", hosts.join(","), self.path("ca.crt"))
    }
}

/// A Sentinel. Dropped, it is killed.
struct Sentinel(Child);

impl Drop for Sentinel {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A Sentinel that takes TLS alone, and watches this master, to which it speaks it.
fn sentinel(keys: &Keys, folder: &Path, master: u16) -> (Sentinel, u16) {
    let port = free_port();
    let settings: Vec<String> = keys.settings(port).iter().map(|(name, value)| format!("{name} {value}")).collect();
    let text = format!(
        "port 0\nbind 127.0.0.1\ndir {}\n{}\nsentinel monitor main 127.0.0.1 {master} 1\n\
         sentinel down-after-milliseconds main 60000\nsentinel failover-timeout main 3000\n",
        folder.display(),
        settings.join("\n")
    );
    let file = folder.join("sentinel.conf");
    write_atomic(&file, text.as_bytes(), 0o600).unwrap();
    let log = File::create(folder.join("sentinel.log")).unwrap();
    // It ends with the thread of its test.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig=KILL", "redis-sentinel"]).arg(&file);
    let started = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn();
    let child = started
        .expect("setpriv or redis-sentinel is missing. Install them with: apt-get install util-linux redis-sentinel");
    until("a Sentinel to answer", || keys.ask(port, &["ping"]) == "PONG");
    (Sentinel(child), port)
}

/// The port for TLS of the server that an address leads to, asked for on the connection.
fn leads_to(address: &Address) -> Option<u16> {
    let mut connection = address.connect().ok()?;
    let answer: redis::RedisResult<(String, u16)> =
        redis::cmd("CONFIG").arg("GET").arg("tls-port").query(&mut connection);
    answer.ok().map(|it| it.1)
}

/// Queue and cache work at this URL.
async fn both_work(url: String) {
    let asked = url.clone();
    let process = spawn_blocking(move || Process::start(&asked, redis_cache::instance())).await.unwrap();
    let patient = Limits { connect: Duration::from_mins(2), answer: Duration::from_mins(2) };
    let wish = Wish { prefix: String::from("{chainhost}:tls"), limits: patient, ..Wish::new("one", Clock::system()) };
    let open = move || {
        let mut engine = None;
        until("the queue", || {
            // One of before must be gone before there is another.
            drop(engine.take());
            let opened = QueueRedis::open(&Secret::new(url.clone()), &wish).unwrap();
            let is_up = opened.is_up();
            engine = Some(opened);
            is_up
        });
        engine.unwrap()
    };
    let jobs = Jobs::new(spawn_blocking(open).await.unwrap());
    let job = crate::queue_redis::sample(Queue::Email);
    assert_eq!(jobs.enqueue(vec![job.clone()]).await.unwrap(), 1);
    let lease = jobs.next(Queue::Email, 1, Vec::new()).await.unwrap().1.remove(0);
    assert_eq!(lease.job, job);
    let done = vec![Finish { id: job.id, attempt: lease.attempt, outcome: Outcome::Done }];
    assert!(jobs.next(Queue::Email, 0, done).await.unwrap().0[0].is_ok());
    process.engine.close();
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_lead_to_the_master_by_tls() {
    let keys = Keys::new();
    let quick = ["--repl-diskless-sync-delay", "0"];
    let (one, port) = keys.server(&quick);
    let (_two, other) = keys.server(&[&quick[..], &["--replicaof", "127.0.0.1", &port.to_string()]].concat());
    let (_sentinel, asked) = sentinel(&keys, &one.folder, port);
    let url = keys.url("redis+sentinel", &[asked], "/main");
    let address = address(&url);
    until("the master to be led to", || leads_to(&address) == Some(port));
    both_work(url.clone()).await;
    until("the Sentinel to know the replica", || {
        let known = keys.ask(asked, &["sentinel", "replicas", "main"]);
        known.contains(&format!("port\n{other}\n")) && known.contains("master-link-status\nok")
    });
    until("the other to be led to", || {
        let named = keys.ask(asked, &["sentinel", "get-master-addr-by-name", "main"]);
        if named.ends_with(&other.to_string()) {
            return leads_to(&address) == Some(other);
        }
        // One that was begun may have come to nothing.
        keys.ask(asked, &["sentinel", "failover", "main"]);
        false
    });
    both_work(url.clone()).await;
    // Neither is trusted with other authorities, nor spoken to without TLS.
    for wrong in [url.split('&').next().unwrap(), url.split('?').next().unwrap()] {
        let error = crate::redis_link::address(wrong).connect().err().unwrap_or_else(|| panic!("{wrong} was trusted"));
        println!("{wrong}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_is_spoken_to_by_tls() {
    let keys = Keys::new();
    let settings = ["--cluster-enabled", "yes", "--tls-cluster", "yes", "--cluster-node-timeout", "60000"];
    let (servers, ports): (Vec<Server>, Vec<u16>) = (0..3).map(|_| keys.server(&settings)).unzip();
    let mut command = Command::new("redis-cli");
    command.args(["--tls", "--cacert", &keys.path("ca.crt"), "--cluster", "create"]);
    command.args(ports.iter().map(|it| format!("127.0.0.1:{it}"))).arg("--cluster-yes");
    let out = command.stdin(Stdio::null()).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
    until("the nodes to be one cluster", || {
        ports.iter().all(|it| {
            keys.ask(*it, &["cluster", "info"]).contains("cluster_state:ok")
                && keys.ask(*it, &["cluster", "nodes"]).matches("connected ").count() == 3
        })
    });
    // The slot of the tag is of the first node.
    let url = keys.url("redis+cluster", &[ports[2]], "");
    let found = address(&url);
    until("the first node to be led to", || leads_to(&found) == Some(ports[0]));
    both_work(url.clone()).await;
    let wrong = url.split('&').next().unwrap();
    let error = address(wrong).connect().err().unwrap_or_else(|| panic!("{wrong} was trusted"));
    println!("{wrong}: {error}");
    // The slot goes elsewhere; it is found there by TLS as well.
    let ids: Vec<String> = ports.iter().map(|it| keys.ask(*it, &["cluster", "myid"])).collect();
    for (node, state, of) in [(1, "importing", 0), (0, "migrating", 1)] {
        assert_eq!(keys.ask(ports[node], &["cluster", "setslot", "1188", state, &ids[of]]), "OK");
    }
    loop {
        let keys_there = keys.ask(ports[0], &["cluster", "getkeysinslot", "1188", "50"]);
        let names: Vec<&str> = keys_there.lines().filter(|it| !it.is_empty()).collect();
        if names.is_empty() {
            break;
        }
        let to = ports[1].to_string();
        let said = keys.ask(ports[0], &[&["migrate", "127.0.0.1", &to, "", "0", "20000", "keys"], &names[..]].concat());
        assert!(said == "OK" || said == "NOKEY", "{said}");
    }
    for node in [1, 0, 2] {
        assert_eq!(keys.ask(ports[node], &["cluster", "setslot", "1188", "node", &ids[1]]), "OK");
    }
    until("the new node to be led to", || leads_to(&found) == Some(ports[1]));
    both_work(url).await;
    drop(servers);
}
