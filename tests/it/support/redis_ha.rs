//! Several Redis servers that belong together: a master with replicas that Sentinels watch, and a cluster.

#![expect(clippy::indexing_slicing, reason = "a test that panics says what went wrong")]

use std::{
    fs::File,
    process::{Child, Command, Stdio},
    sync::{OnceLock, mpsc},
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
        Self::patient(Duration::from_secs(1))
    }

    /// The same, where a master that is silent for less than `down_after` is not down.
    fn patient(down_after: Duration) -> Self {
        let quick = ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"];
        let master = Server::start(&quick);
        let port = master.port.to_string();
        let follow = [&quick[..], &["--replicaof", "127.0.0.1", &port]].concat();
        let servers = vec![master, Server::start(&follow), Server::start(&follow)];
        let sentinels = (0..3).map(|number| sentinel(&servers[0], number, down_after)).collect();
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

    /// The index of the server that is the master now, as the Sentinels have it.
    pub(crate) fn master(&self) -> usize {
        let named = ask(self.sentinels[0].port, &["sentinel", "get-master-addr-by-name", "main"]);
        self.index(named.lines().nth(1).unwrap().parse().unwrap())
    }

    /// The index of the server on a port.
    pub(crate) fn index(&self, port: u16) -> usize {
        self.servers.iter().position(|it| it.port == port).unwrap()
    }
}

fn sentinel(master: &Server, number: u32, down_after: Duration) -> Sentinel {
    let port = free_port();
    let file = master.folder.join(format!("sentinel-{number}.conf"));
    let text = format!(
        "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor main 127.0.0.1 {} 2\nsentinel down-after-milliseconds main {}\n\
         sentinel failover-timeout main 3000\n",
        master.folder.display(),
        master.port,
        down_after.as_millis()
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

/// A node of a cluster that is silent for longer is gone.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Three masters with a third of the slots each.
pub(crate) struct Nodes {
    /// In the order of their slots.
    pub(crate) servers: Vec<Server>,
}

impl Nodes {
    /// Starts them and makes them a cluster; all know it when this returns.
    pub(crate) fn start() -> Self {
        Self::patient(TIMEOUT)
    }

    /// The same for tests in which no node goes: on a busy machine none is taken for gone.
    pub(crate) fn steady() -> Self {
        Self::patient(STEADY)
    }

    /// The same, where a node that is silent for less than `timeout` is not gone.
    fn patient(timeout: Duration) -> Self {
        let timeout = timeout.as_millis().to_string();
        let settings = ["--cluster-enabled", "yes", "--cluster-node-timeout", &timeout];
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

    /// Starts a replica of a node; its index. It has all that the node has when this returns.
    pub(crate) fn add_replica(&mut self, of: usize) -> usize {
        let timeout = TIMEOUT.as_millis().to_string();
        let replica = Server::start(&["--cluster-enabled", "yes", "--cluster-node-timeout", &timeout]);
        let (id, port) = (self.id(of), self.servers[of].port.to_string());
        assert_eq!(ask(replica.port, &["cluster", "meet", "127.0.0.1", &port]), "OK");
        until("a node to know the others", || ask(replica.port, &["cluster", "nodes"]).contains(&id));
        until("a replica to follow", || ask(replica.port, &["cluster", "replicate", &id]) == "OK");
        until("a replica to have all", || {
            ask(replica.port, &["info", "replication"]).contains("master_link_status:up")
        });
        self.servers.push(replica);
        let added = self.servers.len() - 1;
        let name = self.id(added);
        // Those who would elect it know it.
        until("all to know a replica", || {
            let known = |it: &Server| {
                let nodes = ask(it.port, &["cluster", "nodes"]);
                nodes.lines().any(|it| it.starts_with(&name) && it.contains("slave") && it.contains(&id))
            };
            self.servers.iter().all(known)
        });
        added
    }

    /// Whether a node is a master, as it says itself.
    pub(crate) fn is_master(&self, node: usize) -> bool {
        ask(self.servers[node].port, &["role"]).starts_with("master")
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

    /// Begins to move a slot: from here on a node has only what is still there.
    pub(crate) fn begin_move(&self, slot: u16, from: usize, to: usize) {
        let (from_id, to_id, slot) = (self.id(from), self.id(to), slot.to_string());
        self.must(to, &["cluster", "setslot", &slot, "importing", &from_id]);
        self.must(from, &["cluster", "setslot", &slot, "migrating", &to_id]);
    }

    /// Moves up to `most` keys of a slot that is being moved; how many.
    pub(crate) fn move_keys(&self, slot: u16, from: usize, to: usize, most: usize) -> usize {
        let (port, slot, most) = (self.servers[to].port.to_string(), slot.to_string(), most.to_string());
        let keys = ask(self.servers[from].port, &["cluster", "getkeysinslot", &slot, &most]);
        let keys: Vec<&str> = keys.lines().filter(|it| !it.is_empty()).collect();
        if !keys.is_empty() {
            let migrate = [&["migrate", "127.0.0.1", &port, "", "0", "20000", "keys"], &keys[..]].concat();
            let said = ask(self.servers[from].port, &migrate);
            assert!(said == "OK" || said == "NOKEY", "{said}");
        }
        keys.len()
    }

    /// Ends a move: all nodes know who has the slot.
    pub(crate) fn end_move(&self, slot: u16, from: usize, to: usize) {
        let (id, slot) = (self.id(to), slot.to_string());
        let rest = (0..self.servers.len()).filter(|it| *it != from && *it != to);
        for node in [to, from].into_iter().chain(rest) {
            self.must(node, &["cluster", "setslot", &slot, "node", &id]);
        }
    }

    /// Gives a move up that has not moved anything yet.
    pub(crate) fn give_move_up(&self, slot: u16, from: usize, to: usize) {
        for node in [from, to] {
            self.must(node, &["cluster", "setslot", &slot.to_string(), "stable"]);
        }
    }

    fn must(&self, node: usize, words: &[&str]) {
        assert_eq!(ask(self.servers[node].port, words), "OK", "{words:?}");
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

/// Longer than anything keeps a server of a busy machine from answering: for tests that are not about a master that changes.
const STEADY: Duration = Duration::from_mins(5);

/// The URL of servers that Sentinels watch, for all tests of this process that leave the master where it is.
pub(crate) fn shared_watched() -> &'static str {
    static URL: OnceLock<String> = OnceLock::new();
    URL.get_or_init(|| for_good(|| Watched::patient(STEADY), Watched::url))
}

/// The URL of a cluster, for all tests of this process that leave the slots where they are.
pub(crate) fn shared_nodes() -> &'static str {
    static URL: OnceLock<String> = OnceLock::new();
    URL.get_or_init(|| for_good(Nodes::steady, |it| it.url(&[2])))
}

/// Starts servers on a thread that lives as long as this process, since they end with it; their URL.
fn for_good<T>(start: impl FnOnce() -> T + Send + 'static, url: impl FnOnce(&T) -> String + Send + 'static) -> String {
    let (started, is_started) = mpsc::channel();
    thread::spawn(move || {
        let servers = start();
        started.send(url(&servers)).unwrap();
        loop {
            thread::park();
        }
    });
    is_started.recv().expect("the servers were not started")
}
