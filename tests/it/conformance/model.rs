//! Random lives of a queue, each command checked against a model on one page, with a clock that the test owns.
//!
//! A life is a seed: what is asked, in which order and all at once, when the clock jumps forth and back, when the process ends
//! and when it is killed. No job is lost, none ends twice, lines keep their order, no tenant waits for two jobs of another, no
//! limit is passed, nobody who waits for work sleeps on. `CHAINHOST_LONG=1` runs thousands; `CHAINHOST_SEED=n` runs one again.

mod reference;

use std::sync::Arc;

use chainhost::{
    base::{
        clock::{Clock, Hands},
        ids::{Id, Ids},
    },
    domain::{
        Result,
        job::{BUILD, JobId, NewJob, Queue, State},
        tenant::TenantId,
    },
    ports::queue::{Command, Finish, JobFilter, Jobs, Lease, Outcome, QueueEngine},
};
use tokio::{sync::oneshot, time::timeout};

use self::reference::{Answer, DAY_MS, Model};
use super::{
    Place,
    queue::{DEADLINE, START_MS},
};
use crate::queue_redb::Dice;

const ACTS: u64 = 45;
const MINUTE_MS: i64 = 60_000;
/// The model does not follow a clock that goes back further.
const BACK_MS_MAX: i64 = 2 * MINUTE_MS;

/// One life.
struct Life<'p> {
    place: &'p dyn Place,
    dice: Dice,
    clock: Clock,
    hands: Hands,
    ids: Ids,
    engine: Option<Arc<dyn QueueEngine>>,
    model: Model,
    /// Every id that was ever asked with.
    asked: Vec<NewJob>,
    leases: Vec<Lease>,
    drains: Vec<(Queue, oneshot::Receiver<Result<()>>)>,
}

/// The codes of errors, as the model says them.
fn said<T>(result: Result<T>) -> Answer<T> {
    result.map_err(|error| error.code)
}

fn tenant(number: u64) -> Option<TenantId> {
    let number = u8::try_from(number).unwrap();
    (number > 0).then_some(TenantId(Id::from_bytes([number; 16])))
}

impl<'p> Life<'p> {
    fn new(place: &'p dyn Place, seed: u64) -> Self {
        let (clock, hands) = Clock::manual(START_MS);
        let engine = Some(place.open(clock.clone(), 1_000_000));
        let mut model = Model::default();
        model.tick(START_MS);
        Self {
            place,
            dice: Dice::new(seed),
            ids: Ids::new(clock.clone()),
            clock,
            hands,
            engine,
            model,
            asked: Vec::new(),
            leases: Vec::new(),
            drains: Vec::new(),
        }
    }

    fn jobs(&self) -> Jobs {
        Jobs::new(Arc::clone(self.engine.as_ref().unwrap()))
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.dice.below(100) < percent
    }

    fn queue(&mut self) -> Queue {
        match self.dice.below(10) {
            0..=5 => Queue::Deploy,
            6 | 7 => Queue::Backup,
            8 => Queue::Email,
            _ => Queue::Blockchain,
        }
    }

    fn one_of<T: Clone>(&mut self, all: &[T]) -> Option<T> {
        let bound = u64::try_from(all.len()).unwrap();
        (bound > 0).then(|| all[usize::try_from(self.dice.below(bound)).unwrap()].clone())
    }

    /// An id that is known, was known, or never was.
    fn id(&mut self) -> JobId {
        let known: Vec<JobId> = self.model.jobs.keys().copied().collect();
        let asked: Vec<JobId> = self.asked.iter().map(|it| it.id).collect();
        let found = if self.chance(80) { self.one_of(&known) } else { self.one_of(&asked) };
        found.unwrap_or_else(|| JobId(self.ids.next()))
    }

    fn new_job(&mut self) -> NewJob {
        let queue = self.queue();
        let build = self.chance(30);
        let whose = tenant(self.dice.below(4));
        let mut job = NewJob {
            id: JobId(self.ids.next()),
            queue,
            kind: String::from(if build { BUILD } else { "test" }),
            tenant: whose,
            payload: String::from("{}"),
            priority: 0,
            run_at_ms: 0,
            title: String::new(),
            created_ms: self.model.now_ms,
            unique: None,
            after: Vec::new(),
        };
        if self.chance(25) {
            job.priority = if self.chance(50) { 7 } else { -7 };
        }
        if self.chance(15) {
            job.run_at_ms = self.model.now_ms + i64::try_from(self.dice.below(200_000)).unwrap();
            if self.chance(20) {
                // At once, by a clock that is ahead.
                job.created_ms = job.run_at_ms;
            }
        }
        if self.chance(15) {
            job.unique = Some(format!("key {}", self.dice.below(2)));
        }
        if self.chance(25) {
            // Mostly their own; who asks for another tenant's is refused.
            let mine: Vec<JobId> =
                self.asked.iter().rev().take(12).filter(|it| it.tenant == whose).map(|it| it.id).collect();
            let awaited = if self.chance(3) { Some(self.id()) } else { self.one_of(&mine) };
            job.after = awaited.into_iter().chain(self.one_of(&mine)).collect();
        }
        job
    }

    fn new_jobs(&mut self) -> Vec<NewJob> {
        let mut jobs = Vec::new();
        for _ in 0..=self.dice.below(5) {
            let again = if self.chance(10) { self.one_of(&self.asked.clone()) } else { None };
            let job = again.filter(|it| !self.is_unclear(it.id)).unwrap_or_else(|| self.new_job());
            self.asked.push(job.clone());
            jobs.push(job);
        }
        jobs
    }

    /// An id that a clock between now and the furthest way back may or may not know.
    fn is_unclear(&self, id: JobId) -> bool {
        let age_ms = self.model.gone.get(&id).map_or(0, |at| self.model.now_ms - at);
        (DAY_MS - 2 * BACK_MS_MAX..DAY_MS + 4 * BACK_MS_MAX).contains(&age_ms)
    }

    fn finishes(&mut self) -> Vec<Finish> {
        let mut finished = Vec::new();
        for _ in 0..self.dice.below(4) {
            let Some(lease) = self.one_of(&self.leases.clone()) else { break };
            let error = String::from("it rained");
            let after_ms = [0, 0, 5_000, 400_000][usize::try_from(self.dice.below(4)).unwrap()];
            let outcome = match self.dice.below(10) {
                0..=4 => Outcome::Done,
                5 => Outcome::Release,
                6 => Outcome::Snooze { after_ms },
                7 => Outcome::Cancel { error },
                _ => Outcome::Retry { error, after_ms: Some(after_ms) },
            };
            // Leases stay on the list: what was told is told again, and refused.
            finished.push(Finish { id: lease.job.id, attempt: lease.attempt, outcome });
        }
        finished
    }

    fn check_next(&mut self, queue: Queue, take: usize, finished: &[Finish], next: (Vec<Result<()>>, Vec<Lease>)) {
        let (answers, leases) = next;
        assert_eq!(answers.len(), finished.len());
        for (finish, answer) in finished.iter().zip(answers) {
            assert_eq!(said(answer), self.model.finish(finish.id, finish.attempt, &finish.outcome), "{finish:?}");
        }
        assert_eq!(leases.len(), self.model.startable(queue, take), "leases of {queue:?}");
        for lease in leases {
            self.model.lease(queue, &lease);
            self.leases.push(lease);
        }
    }

    /// Several commands on their way at once; the engine takes them in the order in which they were sent.
    async fn burst(&mut self) {
        let jobs = self.jobs();
        let (first, second, queue, id) = (self.new_jobs(), self.new_jobs(), self.queue(), self.id());
        let (finished, take) = (self.finishes(), 3);
        let (one, next, cancelled, two, again) = tokio::join!(
            jobs.enqueue(first.clone()),
            jobs.next(queue, take, finished.clone()),
            jobs.cancel(id),
            jobs.enqueue(second.clone()),
            jobs.next(queue, take, finished.clone()),
        );
        assert_eq!(said(one), self.model.enqueue(&first));
        self.check_next(queue, take, &finished, next.unwrap());
        assert_eq!(said(cancelled), self.model.cancel(id));
        self.model.forget_turns();
        assert_eq!(said(two), self.model.enqueue(&second));
        self.check_next(queue, take, &finished, again.unwrap());
    }

    async fn act(&mut self) {
        let jobs = self.jobs();
        match self.dice.below(100) {
            0..=17 => {
                let new = self.new_jobs();
                assert_eq!(said(jobs.enqueue(new.clone()).await), self.model.enqueue(&new));
            }
            18..=47 => {
                let (queue, finished) = (self.queue(), self.finishes());
                let take = usize::try_from(self.dice.below(6)).unwrap();
                let next = jobs.next(queue, take, finished.clone()).await.unwrap();
                self.check_next(queue, take, &finished, next);
            }
            48..=57 => self.burst().await,
            58..=62 => {
                let id = self.id();
                assert_eq!(said(jobs.cancel(id).await), self.model.cancel(id), "cancel {id}");
            }
            63..=67 => {
                let id = self.id();
                assert_eq!(said(jobs.rerun(id).await), self.model.rerun(id), "rerun {id}");
            }
            68..=70 => {
                let id = self.id();
                assert_eq!(said(jobs.dismiss(id).await), self.model.dismiss(id), "dismiss {id}");
            }
            71..=73 => self.progress().await,
            74..=81 => self.pauses().await,
            82..=92 => self.jump().await,
            _ => {
                drop(jobs);
                self.restart().await;
            }
        }
    }

    async fn progress(&mut self) {
        let Some(lease) = self.one_of(&self.leases.clone()) else { return };
        let percent = u8::try_from(self.dice.below(101)).unwrap();
        let (id, attempt) = (lease.job.id, lease.attempt);
        let expected = if self.model.is_current(id, attempt) { Ok(()) } else { Err("stale_lease") };
        assert_eq!(said(self.jobs().progress(id, attempt, percent).await), expected);
        if let Some(job) = self.model.jobs.get_mut(&id).filter(|_| expected.is_ok()) {
            job.progress = percent;
        }
    }

    async fn pauses(&mut self) {
        let queue = self.queue();
        match self.dice.below(8) {
            0 => {
                self.jobs().pause(queue, true).await.unwrap();
                self.model.paused.insert(queue.number());
            }
            1..=3 => {
                for queue in Queue::ALL {
                    self.jobs().pause(queue, false).await.unwrap();
                }
                self.model.paused.clear();
            }
            4 => {
                let whose = tenant(1 + self.dice.below(3)).unwrap();
                self.jobs().pause_tenant(whose, true).await.unwrap();
                self.model.paused_tenants.insert(whose);
            }
            5 | 6 => {
                for whose in std::mem::take(&mut self.model.paused_tenants) {
                    self.jobs().pause_tenant(whose, false).await.unwrap();
                }
            }
            _ => {
                let (answer, answered) = oneshot::channel();
                self.engine.as_ref().unwrap().submit(Command::Drain(queue, answer));
                self.model.paused.insert(queue.number());
                self.drains.push((queue, answered));
                self.jobs().depths(None).await.unwrap();
            }
        }
    }

    async fn jump(&mut self) {
        let by_ms = match self.dice.below(20) {
            0..=7 => i64::try_from(self.dice.below(10_000)).unwrap(),
            8..=13 => i64::try_from(self.dice.below(400_000)).unwrap(),
            14..=16 => -i64::try_from(self.dice.below(u64::try_from(BACK_MS_MAX).unwrap())).unwrap(),
            17 | 18 => DAY_MS + 10 * MINUTE_MS,
            _ => 31 * DAY_MS,
        };
        self.hands.advance(by_ms);
        self.model.tick(self.clock.now_ms());
        // Ended jobs go after 30 days, when the engine next looks for them.
        if by_ms > MINUTE_MS {
            let before_ms = self.model.now_ms - 30 * DAY_MS;
            let old = self.model.jobs.values().filter(|it| it.finished_ms.is_some_and(|at| at < before_ms));
            for id in old.map(|it| it.new.id).collect::<Vec<_>>() {
                self.model.forget(id);
            }
        }
        self.jobs().depths(None).await.unwrap();
    }

    async fn restart(&mut self) {
        let engine = self.engine.take().unwrap();
        if self.chance(50) {
            self.place.kill(engine);
        } else {
            drop(engine);
        }
        for (_, answered) in self.drains.drain(..) {
            assert!(answered.await.is_err(), "a drain of before has no answer");
        }
        self.engine = Some(self.place.open(self.clock.clone(), 1_000_000));
        self.model.restart();
        // What was told to end has nobody left to tell.
        self.leases.retain(|it| self.model.jobs.contains_key(&it.job.id));
    }

    /// Looks at everything that can be looked at.
    async fn check(&mut self) {
        let jobs = self.jobs();
        let whose = if self.chance(50) { None } else { tenant(1 + self.dice.below(3)) };
        let states = [State::Waiting, State::Delayed, State::Running, State::Done, State::Failed];
        let state = if self.chance(20) { None } else { self.one_of(&states) };
        let queue = if self.chance(50) { None } else { Some(self.queue()) };
        let after = if self.chance(30) { Some(self.id()) } else { None };
        let limit = u32::try_from(self.dice.below(40)).unwrap();
        let filter = JobFilter { queue, state, tenant: whose, after, limit };
        let id = self.id();
        let (depths, listed, found) = tokio::join!(jobs.depths(whose), jobs.list(filter.clone()), jobs.get(id));
        for (queue, depth) in Queue::ALL.into_iter().zip(depths.unwrap()) {
            let found = [depth.waiting, depth.delayed, depth.running, depth.done, depth.failed];
            assert_eq!(found, states.map(|it| self.model.count(queue, whose, it)), "{queue:?} of {whose:?}");
            let tenant_paused = whose.is_some_and(|it| self.model.paused_tenants.contains(&it));
            let paused = self.model.paused.contains(&queue.number());
            assert_eq!((depth.paused, depth.tenant_paused), (paused, tenant_paused));
        }
        let listed: Vec<JobId> = listed.unwrap().into_iter().map(|it| it.new.id).collect();
        assert_eq!(listed, self.model.list(&filter), "{filter:?}");
        let found = found.unwrap();
        let expected = self.model.jobs.get(&id);
        assert_eq!(found.is_some(), expected.is_some(), "{id}");
        if let (Some(found), Some(expected)) = (found, expected) {
            assert_eq!(found.new, expected.new);
            assert_eq!((found.state, found.attempt, found.deaths), (expected.state, expected.attempt, expected.deaths));
            assert_eq!((found.finished_ms, found.progress), (expected.finished_ms, expected.progress));
            // How the death of another is worded is the engine's own.
            let error = expected.error.clone().filter(|it| !it.contains("waits for"));
            assert!(error.is_none() || found.error == error, "{:?} {error:?}", found.error);
            assert_eq!(found.error.is_some(), expected.error.is_some());
        }
        for lease in &self.leases {
            if self.model.is_current(lease.job.id, lease.attempt) {
                let cancelling = self.model.jobs[&lease.job.id].cancelling;
                assert_eq!(lease.cancelled.is_cancelled(), cancelling, "{}", lease.job.id);
            }
        }
    }

    /// Commands are answered in their order: by now each drain has its answer, if it is to have one.
    fn check_drains(&mut self) {
        let model = &self.model;
        self.drains.retain_mut(|(queue, answered)| {
            let resumed = !model.paused.contains(&queue.number());
            match answered.try_recv() {
                Ok(answer) if resumed => assert_eq!(said(answer), Err("queue_resumed")),
                Ok(answer) => assert_eq!((said(answer), model.running(*queue)), (Ok(()), 0)),
                Err(error) => {
                    assert_eq!(error, oneshot::error::TryRecvError::Empty);
                    assert!(!resumed && model.running(*queue) > 0, "a drain without its answer");
                    return true;
                }
            }
            false
        });
    }

    /// Takes what wake-ups are left.
    async fn settle(&self) {
        let jobs = self.jobs();
        for queue in Queue::ALL {
            loop {
                tokio::select! {
                    biased;
                    () = jobs.ready(queue) => {}
                    () = std::future::ready(()) => break,
                }
            }
        }
    }

    fn may_start(&self) -> [bool; 4] {
        Queue::ALL.map(|it| self.model.startable(it, 1) > 0)
    }

    async fn live(&mut self) {
        for _ in 0..ACTS {
            self.settle().await;
            let before = self.may_start();
            self.act().await;
            self.model.forget_turns();
            self.check_drains();
            if self.chance(40) {
                self.check().await;
            }
            for ((queue, before), after) in Queue::ALL.into_iter().zip(before).zip(self.may_start()) {
                if after && !before {
                    timeout(DEADLINE, self.jobs().ready(queue)).await.expect("a wake-up");
                }
            }
        }
        self.wind_up().await;
    }

    /// Ends all that is left: nothing is stuck, and nothing is lost.
    async fn wind_up(&mut self) {
        for queue in Queue::ALL {
            self.jobs().pause(queue, false).await.unwrap();
        }
        self.model.paused.clear();
        for whose in std::mem::take(&mut self.model.paused_tenants) {
            self.jobs().pause_tenant(whose, false).await.unwrap();
        }
        let open = |life: &Self| {
            let mut jobs = life.model.jobs.values();
            jobs.any(|it| matches!(it.state, State::Waiting | State::Delayed | State::Running))
        };
        for round in 0.. {
            if !open(self) {
                break;
            }
            assert!(round < 2_000, "jobs are stuck");
            self.hands.advance(MINUTE_MS);
            self.model.tick(self.clock.now_ms());
            let mut ended = Vec::new();
            for queue in Queue::ALL {
                let of_queue = self.leases.iter().filter(|it| it.job.queue == queue);
                let held = of_queue.filter(|it| self.model.is_current(it.job.id, it.attempt));
                let done = |it: &Lease| Finish { id: it.job.id, attempt: it.attempt, outcome: Outcome::Done };
                ended.push((queue, held.map(done).collect::<Vec<_>>()));
            }
            let jobs = self.jobs();
            let [one, two, three, four] = [0, 1, 2, 3].map(|it: usize| jobs.next(ended[it].0, 50, ended[it].1.clone()));
            let (one, two, three, four) = tokio::join!(one, two, three, four);
            for ((queue, finished), next) in ended.iter().zip([one, two, three, four]) {
                self.check_next(*queue, 50, finished, next.unwrap());
            }
            self.leases.retain(|it| self.model.is_current(it.job.id, it.attempt));
            self.model.forget_turns();
        }
        self.check().await;
    }
}

/// Says which life failed.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("this life has the seed {0}: CHAINHOST_SEED={0} runs it again", self.0);
        }
    }
}

/// Runs so many lives, each in a place of its own.
fn random_lives<P: Place>(usually: u64, long: u64, place: impl Fn(u64) -> P) {
    let number = |name| std::env::var_os(name).and_then(|it| it.to_str()?.parse::<u64>().ok());
    let seeds = match number("CHAINHOST_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=if number("CHAINHOST_LONG") == Some(1) { long } else { usually },
    };
    for seed in seeds {
        let named = Named(seed);
        let place = place(seed);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(Life::new(&place, seed).live());
        drop(named);
    }
}

#[test]
fn random_lives_follow_the_model() {
    random_lives(200, 5_000, crate::queue_redb::MemoryPlace::new);
}

#[cfg(feature = "redis")]
#[test]
fn random_lives_on_redis_follow_the_model() {
    random_lives(60, 1_500, |_| crate::queue_redis::PrefixPlace::new());
}

#[cfg(feature = "redis")]
#[test]
fn random_lives_on_a_cluster_follow_the_model() {
    random_lives(10, 200, |_| crate::queue_redis::PrefixPlace::clustered());
}
