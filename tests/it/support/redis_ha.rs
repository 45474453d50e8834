//! Several Redis servers that belong together: a master with replicas that Sentinels watch, and a cluster.

#![expect(clippy::indexing_slicing, reason = "a test that panics says what went wrong")]

use std::{
    fs::File,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use chainhost::{base::files::write_atomic, engines::redis::Patience};
use tokio::time::Instant;

use super::{free_port, redis::Server};

/// How long they may take to agree.
const PATIENCE: Duration = Duration::from_mins(2);

/// For tests that are not about a Redis that is slow.
pub(crate) const PATIENT: Patience = Patience { answer: Duration::from_secs(20), silence: Duration::from_secs(30) };

/// Asks `redis-cli` on a port; what it prints.
pub(crate) fn ask(port: u16, words: &[&str]) -> String {
    let mut command = Command::new("redis-cli");
    command.args(["-h", "127.0.0.1", "-p", &port.to_string()]).args(words).stdin(Stdio::null());
    let out = command.output().expect("redis-cli is missing. Install it with: apt-get install redis-tools");
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

/// Waits until `done` is true.
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// One master and two replicas, watched by three Sentinels as `main`. A failover begins a second after the master is gone.
pub(crate) struct Watched {
    /// The servers; which one is the master changes.
    pub(crate) servers: Vec<Server>,
    sentinels: Vec<Sentinel>,
}

struct Sentinel {
    child: Child,
    port: u16,
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Watched {
    /// Starts all of it; the Sentinels know each other and the replicas when this returns.
    pub(crate) fn start() -> Self {
        let quick = ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"];
        let master = Server::start(&quick);
        let port = master.port.to_string();
        let follow = [&quick[..], &["--replicaof", "127.0.0.1", &port]].concat();
        let servers = vec![master, Server::start(&follow), Server::start(&follow)];
        let sentinels = (0..3).map(|number| sentinel(&servers[0], number)).collect();
        let watched = Self { servers, sentinels };
        watched.until_agreed(2);
        watched
    }

    /// `redis+sentinel://…/main`.
    pub(crate) fn url(&self) -> String {
        let hosts: Vec<String> = self.sentinels.iter().map(|it| format!("127.0.0.1:{}", it.port)).collect();
        format!("redis+sentinel://{}/main", hosts.join(","))
    }

    /// Waits until all Sentinels could do a failover to one of so many replicas.
    pub(crate) fn until_agreed(&self, replicas: usize) {
        until("the Sentinels to know each other and the replicas", || {
            self.sentinels.iter().all(|it| {
                let known = ask(it.port, &["sentinel", "replicas", "main"]);
                let good = known.split("name\n").filter(|of| {
                    let field = |name: &str, value: &str| of.contains(&format!("{name}\n{value}\n"));
                    field("flags", "slave") && field("master-link-status", "ok")
                });
                good.count() >= replicas && ask(it.port, &["sentinel", "ckquorum", "main"]).starts_with("OK 3 ")
            })
        });
    }

    /// The index of the server on a port.
    pub(crate) fn index(&self, port: u16) -> usize {
        self.servers.iter().position(|it| it.port == port).unwrap()
    }
}

fn sentinel(master: &Server, number: u32) -> Sentinel {
    let port = free_port();
    let file = master.folder.join(format!("sentinel-{number}.conf"));
    let text = format!(
        "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor main 127.0.0.1 {} 2\nsentinel down-after-milliseconds main 1000\n\
         sentinel failover-timeout main 3000\n",
        master.folder.display(),
        master.port
    );
    write_atomic(&file, text.as_bytes(), 0o600).unwrap();
    let log = File::create(file.with_extension("log")).unwrap();
    // It ends with the thread of its test.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig=KILL", "redis-sentinel"]).arg(&file);
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    let child = command
        .spawn()
        .expect("setpriv or redis-sentinel is missing. Install them with: apt-get install util-linux redis-sentinel");
    until("a Sentinel to answer", || {
        assert!(!ask(port, &["ping"]).is_empty() || file.exists(), "the Sentinel ended");
        ask(port, &["ping"]) == "PONG"
    });
    Sentinel { child, port }
}

/// Three masters with a third of the slots each.
pub(crate) struct Nodes {
    /// In the order of their slots.
    pub(crate) servers: Vec<Server>,
}

impl Nodes {
    /// Starts them and makes them a cluster; all know it when this returns.
    pub(crate) fn start() -> Self {
        let settings = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
        let servers: Vec<Server> = (0..3).map(|_| Server::start(&settings)).collect();
        let mut command = Command::new("redis-cli");
        command.args(["--cluster", "create"]);
        command.args(servers.iter().map(|it| format!("127.0.0.1:{}", it.port)));
        let out = command.arg("--cluster-yes").stdin(Stdio::null()).output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
        let nodes = Self { servers };
        nodes.until_well();
        nodes
    }

    /// Waits until every node knows who has which slots, and that all are there.
    pub(crate) fn until_well(&self) {
        until("the nodes to be one cluster", || {
            let ok = |it: &Server| ask(it.port, &["cluster", "info"]).contains("cluster_state:ok");
            self.servers
                .iter()
                .all(|it| ok(it) && ask(it.port, &["cluster", "nodes"]).matches("connected ").count() == 3)
        });
    }

    /// `redis+cluster://…`, with these nodes in it.
    pub(crate) fn url(&self, nodes: &[usize]) -> String {
        let hosts: Vec<String> = nodes.iter().map(|it| format!("127.0.0.1:{}", self.servers[*it].port)).collect();
        format!("redis+cluster://{}", hosts.join(","))
    }

    /// The node's name for itself.
    pub(crate) fn id(&self, node: usize) -> String {
        ask(self.servers[node].port, &["cluster", "myid"])
    }

    /// Moves so many slots from one node to another, the lowest first, while the cluster works. The process that does it.
    pub(crate) fn reshard(&self, from: usize, to: usize, slots: u32) -> Child {
        let log = File::create(self.servers[0].folder.join("reshard.log")).unwrap();
        let mut command = Command::new("redis-cli");
        command.args(["--cluster", "reshard"]).arg(format!("127.0.0.1:{}", self.servers[0].port));
        command.args(["--cluster-from", &self.id(from), "--cluster-to", &self.id(to)]);
        command.args(["--cluster-slots", &slots.to_string(), "--cluster-yes"]);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
    }
}
