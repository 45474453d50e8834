//! A Redis whose log was cut off in the middle of what it wrote last: what is gone from it comes back from the outbox.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    sync::Arc,
};

use chainhost::{
    base::clock::Clock,
    domain::job::{JobId, Queue, State},
    engines::{redis::QueueRedis, schema, sqlite::Sqlite},
    params,
    ports::{
        db::Db,
        queue::{Finish, Jobs, Lease, Outcome},
    },
    services::Services,
    store,
};

use super::{Rig, tenant, until};
use crate::support::{
    ground::ground,
    redis::{self, Server},
};

/// Jobs of a round.
const NEW: usize = 40;

/// An outbox, the queue that it is handed to, and the Redis of that.
struct Work {
    server: Server,
    rig: Rig,
    jobs: Jobs,
    services: Services,
    _folder: tempfile::TempDir,
}

impl Work {
    fn start() -> Self {
        let always = ["--appendonly", "yes", "--appendfsync", "always", "--aof-load-truncated", "yes"];
        let server = Server::start(&always);
        let rig = Rig::on(&server);
        let folder = tempfile::tempdir().unwrap();
        let db = Db::new(Sqlite::open(&folder.path().join("db"), schema::SQLITE).unwrap());
        let jobs = Jobs::new(Arc::<QueueRedis>::clone(&rig.open("one").0));
        let services = Services::new(ground(folder.path(), db, jobs.clone(), Clock::system()));
        Self { server, rig, jobs, services, _folder: folder }
    }

    /// Asks for some jobs and hands them over; they are acknowledged.
    async fn ask(&self) -> Vec<JobId> {
        let mut ids = Vec::new();
        for number in 0..NEW {
            let job = self.rig.job(Queue::Email, tenant(1 + u8::try_from(number % 3).unwrap()));
            ids.push(job.id);
            self.services.db.write(move |tx| store::outbox::enqueue(tx, &job)).await.unwrap();
        }
        assert_eq!(self.services.relay_outbox().await.unwrap(), NEW);
        ids
    }

    async fn lease(&self, most: usize) -> Vec<Lease> {
        self.jobs.next(Queue::Email, most, Vec::new()).await.unwrap().1
    }

    /// Ends attempts; those whose end counted.
    async fn finish(&self, leases: &[Lease]) -> Vec<JobId> {
        let end = |it: &Lease| Finish { id: it.job.id, attempt: it.attempt, outcome: Outcome::Done };
        let (ended, _) = self.jobs.next(Queue::Email, 0, leases.iter().map(end).collect()).await.unwrap();
        for it in &ended {
            assert!(it.as_ref().err().is_none_or(|error| error.code == "stale_lease"), "{it:?}");
        }
        leases.iter().zip(ended).filter(|(_, it)| it.is_ok()).map(|(lease, _)| lease.job.id).collect()
    }

    async fn rows(&self) -> i64 {
        let count = self.services.db.read(|tx| tx.one("SELECT COUNT(*) FROM outbox", params![])?.int(0));
        count.await.unwrap()
    }

    /// Kills the Redis, takes what `left` leaves of the last log, and starts it again.
    async fn tear(&mut self, left: impl Fn(u64) -> u64) {
        self.server.kill();
        let path = redis::find(&self.server.folder.join("appendonlydir"), ".incr.aof").unwrap();
        let log = File::options().write(true).open(path).unwrap();
        let length = log.metadata().unwrap().len();
        log.set_len(left(length)).unwrap();
        println!("{} of {length} bytes are left", left(length));
        drop(log);
        self.server.go();
        until("it answers again", async || self.jobs.depths(None).await.is_ok()).await;
    }

    /// Does all that is to be done until the outbox is empty; how often the end of each job counted.
    async fn do_all(&self, held: &[Lease]) -> HashMap<JobId, u32> {
        let mut done: HashMap<JobId, u32> = HashMap::new();
        for id in self.finish(held).await {
            *done.entry(id).or_default() += 1;
        }
        until("the outbox to be empty", async || {
            self.services.reconcile_outbox().await.unwrap();
            self.services.relay_outbox().await.unwrap();
            let leases = self.lease(16).await;
            for id in self.finish(&leases).await {
                *done.entry(id).or_default() += 1;
            }
            leases.is_empty() && self.rows().await == 0
        })
        .await;
        done
    }
}

/// Work of which some was done, some settled and some begun when the Redis died with a torn log: how many acknowledged jobs that took.
/// All of them are there again, in the queue or from the outbox, and end once.
async fn torn(left: fn(u64) -> u64, settled: bool) -> usize {
    let mut work = Work::start();
    let mut ids = work.ask().await;
    let first = work.lease(10).await;
    let ended: HashSet<JobId> = work.finish(&first).await.into_iter().collect();
    assert_eq!(ended.len(), 10);
    if settled {
        assert_eq!((work.services.reconcile_outbox().await.unwrap(), work.rows().await), (0, 30));
    }
    ids.extend(work.ask().await);
    let held = work.lease(5).await;
    assert_eq!(held.len(), 5);
    work.tear(left).await;
    let mut lost = 0;
    for id in &ids {
        lost += usize::from(work.jobs.get(*id).await.unwrap().is_none());
    }
    let done = work.do_all(&held).await;
    for id in ids.iter().filter(|it| !ended.contains(it)) {
        assert_eq!(done.get(id), Some(&1), "{id} was acknowledged");
    }
    assert!(done.values().all(|it| *it == 1), "ended twice: {done:?}");
    let depth = work.jobs.depths(None).await.unwrap()[1];
    assert_eq!((depth.waiting, depth.running, depth.delayed, depth.failed), (0, 0, 0, 0));
    println!("{lost} of {} jobs were lost", ids.len());
    lost
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_torn_log_has_lost_is_there_again_once() {
    // The end of the last transaction; a part of it; most of what came last; nearly all that there ever was.
    assert_eq!(torn(|it| it - 1, true).await, 0);
    assert_eq!(torn(|it| it - 700, false).await, 0);
    assert!(torn(|it| it - it / 3, true).await > 20);
    assert!(torn(|it| it / 10, false).await > 40);
}

/// A log that was torn in the middle of a transaction and grew afterwards is read, at the next start, as one transaction that was never
/// begun: a job may have ended and still stand among those that run.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_ended_does_not_stay_among_what_runs() {
    let work = Work::start();
    let ids = work.ask().await;
    let leases = work.lease(4).await;
    assert_eq!(work.finish(&leases).await.len(), 4);
    let held = work.lease(1).await;
    let active = format!("{}:email:active", work.rig.prefix);
    let gone = work.rig.job(Queue::Email, None).id;
    for id in [leases[0].job.id, leases[1].job.id, gone] {
        work.server.ask(&["LPUSH", &active, &id.to_string()]);
    }
    let whose = leases[0].job.tenant;
    let counts = format!("{}:host:counts:{}", work.rig.prefix, whose.unwrap());
    work.server.ask(&["HINCRBY", &counts, "2r", "7"]);
    let counted = async || work.jobs.depths(whose).await.unwrap()[1].running;
    assert!(counted().await >= 7);
    let running = async || work.server.ask(&["LRANGE", &active, "0", "-1"]);
    until("only the held one to run", async || running().await.trim() == held[0].job.id.to_string()).await;
    assert_eq!(work.jobs.get(leases[0].job.id).await.unwrap().unwrap().state, State::Done);
    assert_eq!(counted().await, u64::from(held[0].job.tenant == whose));
    let done = work.do_all(&held).await;
    assert_eq!((done.len(), done.values().all(|it| *it == 1)), (ids.len() - 4, true));
}
