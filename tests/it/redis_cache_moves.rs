//! The second layer of the cache while its keys move: slots of a cluster go to another node, a master dies behind Sentinels and in a
//! cluster. No caller sees an error or what was before its own change, and afterwards all is kept and heard again.

#![expect(clippy::indexing_slicing, reason = "a test that panics says what went wrong")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use chainhost::ports::cache::{Key, Shared, SharedCache as _, Tag};
use tokio::{
    task::{JoinSet, spawn_blocking},
    time::{Instant, sleep},
};

use crate::{
    redis_cache::{Process, instance, tenant},
    support::redis_ha::{Nodes, Watched, ask},
};

const LONG: Duration = Duration::from_mins(5);
/// How long servers may take to agree and what must come may take.
const PATIENCE: Duration = Duration::from_mins(2);
/// Tenants of the tests: their keys are on all nodes of a cluster.
const TENANTS: u8 = 24;

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !is_so().await {
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

fn tag(number: u8) -> Tag {
    Tag::Sites(tenant(number))
}

fn key(number: u8) -> Key {
    Key { what: "test", tenant: Some(tenant(number)), which: String::from("a") }
}

/// What the tenants have in the database, and who reads and changes it in two processes.
struct Churn {
    processes: [Process; 2],
    truth: Vec<AtomicU64>,
    over: AtomicBool,
    reads: AtomicU64,
}

impl Churn {
    /// Begins to read and to change.
    fn begin(url: &str) -> (Arc<Self>, JoinSet<()>) {
        let instance = instance();
        let churn = Arc::new(Self {
            processes: [Process::start(url, instance), Process::start(url, instance)],
            truth: (0..TENANTS).map(|_| AtomicU64::new(0)).collect(),
            over: AtomicBool::new(false),
            reads: AtomicU64::new(0),
        });
        let mut tasks = JoinSet::new();
        for number in 0..4 {
            let it = Arc::clone(&churn);
            tasks.spawn(async move { it.work(number).await });
        }
        (churn, tasks)
    }

    /// What a process gives when the database has this value.
    async fn load(&self, process: &Process, number: u8) -> u64 {
        let truth = &self.truth[usize::from(number)];
        let load = async || {
            let value = truth.load(Ordering::SeqCst);
            tokio::task::yield_now().await;
            Ok((value, 8))
        };
        // Nobody ever sees an error.
        *process.cache.get_or(key(number), tag(number), LONG, load).await.unwrap()
    }

    async fn work(&self, worker: usize) {
        let process = &self.processes[worker % 2];
        for round in 0_u64.. {
            if self.over.load(Ordering::SeqCst) {
                break;
            }
            for number in 0..TENANTS {
                let least = if (round + u64::from(number)).is_multiple_of(5) {
                    let changed = self.truth[usize::from(number)].fetch_add(1, Ordering::SeqCst) + 1;
                    process.cache.drop_tag(&tag(number));
                    changed
                } else {
                    0
                };
                let got = self.load(process, number).await;
                assert!(got >= least, "{got} after the change to {least} of {number}");
                self.reads.fetch_add(1, Ordering::SeqCst);
            }
            sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits until some more was read.
    async fn more(&self) {
        let before = self.reads.load(Ordering::SeqCst);
        until("reads", async || self.reads.load(Ordering::SeqCst) > before + 200).await;
    }

    /// Ends the load: all sees what is true, is kept for both, and a change is heard.
    async fn end(&self, tasks: JoinSet<()>) {
        self.more().await;
        self.over.store(true, Ordering::SeqCst);
        tasks.join_all().await;
        println!("{} reads", self.reads.load(Ordering::SeqCst));
        for number in 0..TENANTS {
            let truth = self.truth[usize::from(number)].load(Ordering::SeqCst);
            for process in &self.processes {
                until("what is true", async || self.load(process, number).await == truth).await;
            }
        }
        for process in &self.processes {
            until("the second layer", async || process.engine.figures().up).await;
        }
        let [one, other] = &self.processes;
        for number in 0..TENANTS {
            let changed = self.truth[usize::from(number)].fetch_add(1, Ordering::SeqCst) + 1;
            one.cache.drop_tag(&tag(number));
            until("a value to be kept for others", async || {
                assert_eq!(self.load(one, number).await, changed);
                // What was only loaded while the second layer was away is not in it.
                let found = other.engine.find(&key(number), &tag(number)).await;
                if !matches!(found, Shared::Value { .. }) {
                    one.cache.drop_tag(&tag(number));
                }
                matches!(found, Shared::Value { .. })
            })
            .await;
            until("a change to be heard", async || self.load(other, number).await == changed).await;
        }
    }
}

/// The slot of a tenant's keys.
fn slot(port: u16, tag: &str) -> u16 {
    ask(port, &["cluster", "keyslot", &format!("{{{tag}}}")]).parse().unwrap()
}

/// The node that has a slot.
fn owner(nodes: &Nodes, slot: u16) -> usize {
    let thirds = [5_460, 10_922];
    thirds.iter().filter(|it| slot > **it).count().min(nodes.servers.len() - 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn slots_that_move_cost_nobody_an_error() {
    let nodes = spawn_blocking(Nodes::steady).await.unwrap();
    let (churn, tasks) = Churn::begin(&nodes.url(&[2]));
    let port = nodes.servers[0].port;
    // That of what all need, with the channel's name, and those of some tenants.
    let mut slots = vec![slot(port, "chainhost")];
    slots.extend((0..6).map(|it| slot(port, &format!("t:{}", tenant(it)))));
    slots.sort_unstable();
    slots.dedup();
    for slot in slots {
        let from = owner(&nodes, slot);
        let to = (from + 1) % 3;
        churn.more().await;
        nodes.begin_move(slot, from, to);
        // Some keys are here and some there for a while; new ones come.
        churn.more().await;
        nodes.move_keys(slot, from, to, 1);
        churn.more().await;
        while nodes.move_keys(slot, from, to, 5) > 0 {}
        nodes.end_move(slot, from, to);
    }
    churn.end(tasks).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_of_a_cluster_that_dies_costs_nobody_an_error() {
    let start = || {
        let mut nodes = Nodes::start();
        // Of the node that has what all need.
        let replica = nodes.add_replica(0);
        (nodes, replica)
    };
    let (mut nodes, replica) = spawn_blocking(start).await.unwrap();
    let (churn, tasks) = Churn::begin(&nodes.url(&[1, 2]));
    churn.more().await;
    nodes.servers[0].kill();
    until("the replica to be the master", async || nodes.is_master(replica)).await;
    churn.end(tasks).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_behind_sentinels_that_dies_costs_nobody_an_error() {
    let mut watched = spawn_blocking(Watched::start).await.unwrap();
    let (churn, tasks) = Churn::begin(&watched.url());
    churn.more().await;
    let master = watched.master();
    watched.servers[master].kill();
    until("another master", async || watched.master() != master).await;
    // It comes back and is a replica by and by.
    watched.servers[master].go();
    churn.end(tasks).await;
}
