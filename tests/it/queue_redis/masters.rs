//! The master of the queue changes while it is worked with: a failover, a slot of a cluster that moves.

#![expect(clippy::indexing_slicing, reason = "a test that panics says what went wrong")]

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use chainhost::{
    base::{
        clock::{Clock, Hands},
        secret::Secret,
    },
    domain::job::{JobId, NewJob, Queue},
    engines::{
        redis::{Limits, QueueRedis, Wish},
        schema,
        sqlite::Sqlite,
    },
    params,
    ports::{
        db::Db,
        queue::{Finish, Jobs, Outcome},
    },
    services::Services,
    store,
};
use rustix::process::Signal;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep},
};

use super::{Rig, tenant};
use crate::{
    faults::rounds,
    support::{
        ground::ground,
        redis_ha::{Nodes, Watched, ask},
    },
};

/// How long servers that belong together may take to agree, and the work to come to its end.
const PATIENCE: Duration = Duration::from_mins(3);
/// Jobs that a master has which no replica has.
const ALONE: u64 = 40;
/// From the kill of a master to a job that is taken, as operators are told.
const BACK_MAX: Duration = Duration::from_secs(10);
/// The slot of the product's keys: of the first node of a cluster.
const SLOT: u16 = 1_188;

/// Waits until something is so.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !is_so().await {
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// A server's outbox, relay and worker.
struct Work {
    rig: Rig,
    services: Services,
    jobs: Jobs,
    /// Jobs that were acknowledged, in their order.
    asked: Mutex<Vec<JobId>>,
    /// How often each was done.
    done: Mutex<HashMap<JobId, u32>>,
    /// Jobs that the queue had lost.
    lost: AtomicUsize,
    no_more: AtomicBool,
    /// Nothing is claimed.
    resting: AtomicBool,
    over: AtomicBool,
}

impl Work {
    /// Begins to ask for jobs, to hand them over and to do them.
    fn begin(url: String, folder: &tempfile::TempDir) -> (Arc<Self>, JoinSet<()>) {
        let rig = Rig::at(url);
        let db = Db::new(Sqlite::open(&folder.path().join("db"), schema::SQLITE).unwrap());
        let jobs = Jobs::new(rig.open("one").0);
        let services = Services::new(ground(folder.path(), db, jobs.clone(), Clock::system()));
        let work = Arc::new(Self {
            rig,
            services,
            jobs,
            asked: Mutex::default(),
            done: Mutex::default(),
            lost: AtomicUsize::new(0),
            no_more: AtomicBool::new(false),
            resting: AtomicBool::new(false),
            over: AtomicBool::new(false),
        });
        let mut tasks = JoinSet::new();
        let it = Arc::clone(&work);
        tasks.spawn(async move { it.ask().await });
        let it = Arc::clone(&work);
        tasks.spawn(async move { it.hand_over().await });
        let it = Arc::clone(&work);
        tasks.spawn(async move { it.work().await });
        (work, tasks)
    }

    async fn ask(&self) {
        let mut number = 0_u8;
        while !self.no_more.load(Ordering::SeqCst) {
            number = number % 5 + 1;
            let later = if number == 5 { self.rig.clock.now_ms() + 300 } else { 0 };
            let job = NewJob { run_at_ms: later, ..self.rig.job(Queue::Email, tenant(number)) };
            let id = job.id;
            self.services.db.write(move |tx| store::outbox::enqueue(tx, &job)).await.unwrap();
            self.asked.lock().unwrap().push(id);
            sleep(Duration::from_millis(4)).await;
        }
    }

    async fn hand_over(&self) {
        while !self.over.load(Ordering::SeqCst) {
            // A queue that is away is met again by the next pass.
            drop(self.services.relay_outbox().await);
            if let Ok(lost) = self.services.reconcile_outbox().await {
                self.lost.fetch_add(lost, Ordering::SeqCst);
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn work(&self) {
        let mut finished: Vec<Finish> = Vec::new();
        while !self.over.load(Ordering::SeqCst) {
            // What was not heard is said again.
            let take = if self.resting.load(Ordering::SeqCst) { 0 } else { 8 };
            let Ok((_, leases)) = self.jobs.next(Queue::Email, take, finished.clone()).await else {
                sleep(Duration::from_millis(20)).await;
                continue;
            };
            finished =
                leases.iter().map(|it| Finish { id: it.job.id, attempt: it.attempt, outcome: Outcome::Done }).collect();
            for lease in &leases {
                *self.done.lock().unwrap().entry(lease.job.id).or_default() += 1;
            }
            if leases.is_empty() {
                sleep(Duration::from_millis(10)).await;
            }
        }
    }

    fn count(&self) -> usize {
        self.done.lock().unwrap().len()
    }

    /// Waits until so many more are done.
    async fn more(&self, what: &str, more: usize) {
        let before = self.count();
        until(what, async || self.count() >= before + more).await;
    }

    /// Waits until all that was asked for is done and the outbox is empty.
    async fn end(&self, tasks: JoinSet<()>) {
        self.no_more.store(true, Ordering::SeqCst);
        until("the outbox to be empty", async || {
            let count = self.services.db.read(|tx| tx.one("SELECT COUNT(*) FROM outbox", params![])?.int(0));
            count.await.unwrap() == 0
        })
        .await;
        let asked: HashSet<JobId> = self.asked.lock().unwrap().iter().copied().collect();
        let missing = asked.iter().filter(|it| !self.done.lock().unwrap().contains_key(it)).count();
        assert_eq!(missing, 0, "of {} were never done", asked.len());
        self.over.store(true, Ordering::SeqCst);
        tasks.join_all().await;
        let twice = self.done.lock().unwrap().values().filter(|it| **it > 1).count();
        let lost = self.lost.load(Ordering::SeqCst);
        println!("{} jobs done, {twice} of them more than once; {lost} were handed over again", asked.len());
        assert_eq!(self.jobs.depths(None).await.unwrap()[1].running, 0);
    }
}

/// Each job whose request was acknowledged is done, also when the master is killed twice while jobs come, wait and run, and also
/// those that no replica has.
#[tokio::test(flavor = "multi_thread")]
async fn a_failover_loses_no_acknowledged_job() {
    let mut watched = tokio::task::spawn_blocking(Watched::start).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (work, tasks) = Work::begin(watched.url(), &folder);
    for round in 0.. {
        let (alone, before) = (round > 0, work.lost.load(Ordering::SeqCst));
        work.more("work before the kill", 60).await;
        let master = watched.master();
        let replicas: Vec<usize> = (0..3).filter(|it| *it != master).collect();
        if alone {
            // From here on the replicas get nothing: what the master acknowledges now dies with it.
            for it in &replicas {
                watched.servers[*it].signal(Signal::STOP);
            }
            watched.servers[master].ask(&["CLIENT", "KILL", "TYPE", "replica"]);
            work.resting.store(true, Ordering::SeqCst);
            let many = async || work.jobs.depths(None).await.is_ok_and(|it| it[1].waiting >= ALONE);
            until("the master to have some alone", many).await;
        }
        watched.servers[master].kill();
        if alone {
            for it in &replicas {
                watched.servers[*it].signal(Signal::CONT);
            }
        }
        work.resting.store(false, Ordering::SeqCst);
        // It comes back without its data, and takes itself for a master until the Sentinels have told it.
        until("another master", async || watched.master() != master).await;
        work.more("work after the failover", 60).await;
        watched = bring_back(watched, master).await;
        let lost = work.lost.load(Ordering::SeqCst) - before;
        println!("round {round}: {} done, {lost} were lost", work.count());
        if alone && lost >= 10 {
            break;
        }
        // On a busy machine the Sentinels may have taken another for the master in between.
        assert!(round < 5, "the replicas had what they should not have had");
    }
    work.end(tasks).await;
}

/// Starts a killed server again, and waits until it follows the master as the other one does.
async fn bring_back(mut watched: Watched, killed: usize) -> Watched {
    watched.servers[killed].go();
    let agree = move || {
        watched.until_agreed(2);
        watched
    };
    tokio::task::spawn_blocking(agree).await.unwrap()
}

/// After each kill of the master the queue takes jobs again soon after the Sentinels have another, and no job is lost.
#[tokio::test(flavor = "multi_thread")]
async fn the_queue_is_back_soon_after_each_kill_of_its_master() {
    let mut watched = tokio::task::spawn_blocking(Watched::start).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (work, tasks) = Work::begin(watched.url(), &folder);
    // As patient as a server is.
    let wish = Wish { limits: Limits::default(), ..work.rig.wish("asks") };
    let jobs = Jobs::new(QueueRedis::open(&Secret::new(watched.url()), &wish).unwrap());
    let mut all = Vec::new();
    for _ in 0..rounds(3, 20) {
        work.more("work before the kill", 60).await;
        let master = watched.master();
        watched.servers[master].kill();
        let killed = Instant::now();
        until("another master", async || watched.master() != master).await;
        let chosen = killed.elapsed();
        let job = work.rig.job(Queue::Email, tenant(9));
        until("the queue to take a job", async || jobs.enqueue(vec![job.clone()]).await.is_ok()).await;
        let back = killed.elapsed();
        all.push((chosen, back));
        // How long the Sentinels take is not the queue's doing, and on a busy machine long.
        assert!(back < chosen + Duration::from_secs(20), "master and queue were back after {all:?}");
        work.more("work after the failover", 60).await;
        watched = bring_back(watched, master).await;
    }
    work.end(tasks).await;
    all.sort_unstable_by_key(|it| it.1);
    println!("{} kills; another master and the queue were back after, by the latter: {all:?}", all.len());
    // With Sentinels that wait for a second, as an operator sets them who wants it, changes are taken again within ten: so it is after
    // the half of many kills at least, however busy the machine was after some.
    if all.len() >= 20 {
        assert!(all[all.len() / 2].1 < BACK_MAX, "back after {all:?}");
    }
}

/// The same in a cluster, whose nodes choose the new master by themselves.
#[tokio::test(flavor = "multi_thread")]
async fn a_failover_in_a_cluster_loses_no_acknowledged_job() {
    let start = || {
        let mut nodes = Nodes::start();
        let replica = nodes.add_replica(0);
        (nodes, replica)
    };
    let (mut nodes, replica) = tokio::task::spawn_blocking(start).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (work, tasks) = Work::begin(nodes.url(&[1, 2]), &folder);
    work.more("work before the kill", 60).await;
    nodes.servers[0].kill();
    until("the replica to be the master", async || nodes.is_master(replica)).await;
    work.more("work after the failover", 60).await;
    work.end(tasks).await;
}

/// While the slot of the queue goes from node to node, nothing is lost, and it goes on where it is then.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_moves_loses_nothing() {
    let nodes = tokio::task::spawn_blocking(Nodes::steady).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (work, tasks) = Work::begin(nodes.url(&[2]), &folder);
    for (from, to) in [(0, 1), (1, 2), (2, 0)] {
        work.more("work before the move", 60).await;
        nodes.begin_move(SLOT, from, to);
        let mut keys = 0;
        loop {
            let moved = nodes.move_keys(SLOT, from, to, 7);
            if moved == 0 {
                break;
            }
            keys += moved;
        }
        nodes.end_move(SLOT, from, to);
        println!("{keys} keys went from {from} to {to}");
        assert!(keys > 20, "the queue was there");
    }
    work.more("work after the moves", 60).await;
    work.end(tasks).await;
    assert_eq!(work.lost.load(Ordering::SeqCst), 0, "were lost by the queue");
}

/// What is asked of a queue whose slot is on its way changes nothing: no script ends halfway.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_half_done_while_the_slot_moves() {
    let nodes = tokio::task::spawn_blocking(Nodes::steady).await.unwrap();
    let rig = Rig::at(nodes.url(&[0]));
    let (clock, hands): (Clock, Hands) = Clock::manual(1_800_000_000_000);
    let wish = Wish { clock, ..rig.wish("one") };
    let jobs = Jobs::new(QueueRedis::open(&Secret::new(rig.url.clone()), &wish).unwrap());
    let job = |number, run_at_ms| NewJob { run_at_ms, ..rig.job(Queue::Deploy, tenant(number)) };
    // What a job that becomes due meets is there, but for the line of its tenant.
    let (well, badly) = (job(2, 0), job(2, 0));
    jobs.enqueue(vec![well.clone(), badly.clone()]).await.unwrap();
    let leases = jobs.next(Queue::Deploy, 2, Vec::new()).await.unwrap().1;
    let end = |at: usize, outcome| Finish { id: leases[at].job.id, attempt: leases[at].attempt, outcome };
    let ended = vec![end(0, Outcome::Done), end(1, Outcome::Cancel { error: String::from("it rained") })];
    jobs.next(Queue::Deploy, 0, ended).await.unwrap();
    let (waiting, due) = (job(2, 0), job(1, 1_800_000_060_000));
    jobs.enqueue(vec![waiting.clone(), due.clone()]).await.unwrap();
    for with_keys in [false, true] {
        nodes.begin_move(SLOT, 0, 1);
        if with_keys {
            assert_eq!(nodes.move_keys(SLOT, 0, 1, 5), 5);
        }
        hands.advance(if with_keys { 0 } else { 120_000 });
        let refused = jobs.enqueue(vec![job(3, 0)]).await.unwrap_err();
        assert_eq!(refused.code, "queue_unreachable", "{refused}");
        until("the queue to notice", async || !jobs.is_up()).await;
        assert_eq!(jobs.depths(None).await.unwrap_err().code, "queue_unreachable");
        if with_keys {
            while nodes.move_keys(SLOT, 0, 1, 50) > 0 {}
            nodes.end_move(SLOT, 0, 1);
        } else {
            nodes.give_move_up(SLOT, 0, 1);
        }
        until("the queue to come back", async || jobs.depths(None).await.is_ok()).await;
    }
    let port = nodes.servers[1].port;
    assert!(ask(port, &["keys", "*"]).lines().count() > 10, "it is on the other node");
    let depth = jobs.depths(None).await.unwrap()[0];
    assert_eq!((depth.waiting, depth.delayed, depth.done, depth.failed), (2, 0, 1, 1));
    let mut claimed: Vec<JobId> =
        jobs.next(Queue::Deploy, 9, Vec::new()).await.unwrap().1.into_iter().map(|it| it.job.id).collect();
    claimed.sort();
    let mut all = vec![waiting.id, due.id];
    all.sort();
    assert_eq!(claimed, all, "both can be claimed");
}
