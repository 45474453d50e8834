//! The queue's contract (CONTRACTS §1), clause by clause, against the port alone.
//!
//! An engine joins by being a [`Place`] and a line at the end of this file.

use std::{collections::HashSet, sync::Arc, time::Duration};

use chainhost::{
    base::{
        clock::{Clock, Hands},
        ids::{Id, Ids},
        limits,
    },
    domain::{
        error::Kind,
        job::{JobId, NewJob, Queue, State},
        tenant::TenantId,
    },
    ports::queue::{Command, Finish, JobFilter, Jobs, Lease, Outcome, QueueEngine},
};
use tokio::{sync::oneshot, time::timeout};

/// Where an engine keeps its jobs. Opening it again, after what was opened before is dropped, is what a process
/// does that starts after another has died.
pub(crate) trait Place {
    /// Opens the queue with at most `waiting_max` waiting jobs of one tenant.
    fn open(&self, clock: Clock, waiting_max: u64) -> Arc<dyn QueueEngine>;
}

/// When the manual clock starts.
pub(crate) const START_MS: i64 = 1_790_000_000_000;
const DAY_MS: i64 = 24 * 3_600_000;
/// No wait of these tests takes so long unless something is wrong.
const DEADLINE: Duration = Duration::from_secs(20);

/// A queue with its clock.
struct Rig<'p> {
    place: &'p dyn Place,
    clock: Clock,
    hands: Hands,
    ids: Ids,
    engine: Option<Arc<dyn QueueEngine>>,
}

impl<'p> Rig<'p> {
    fn new(place: &'p dyn Place) -> Self {
        Self::with(place, limits::JOBS_WAITING_MAX)
    }

    fn with(place: &'p dyn Place, waiting_max: u64) -> Self {
        let (clock, hands) = Clock::manual(START_MS);
        let engine = Some(place.open(clock.clone(), waiting_max));
        Self { place, ids: Ids::new(clock.clone()), clock, hands, engine }
    }

    fn jobs(&self) -> Jobs {
        Jobs::new(Arc::clone(self.engine.as_ref().unwrap()))
    }

    /// The process dies and starts again.
    fn restart(&mut self) {
        self.engine = None;
        self.engine = Some(self.place.open(self.clock.clone(), limits::JOBS_WAITING_MAX));
    }

    fn job(&self, queue: Queue) -> NewJob {
        NewJob {
            id: JobId(self.ids.next()),
            queue,
            kind: String::from("test"),
            tenant: None,
            payload: String::from(r#"{"n":1}"#),
            priority: 0,
            run_at_ms: 0,
            title: String::from("A test"),
            created_ms: self.clock.now_ms(),
        }
    }

    /// Enqueues so many jobs of a tenant and gives their ids.
    async fn fill(&self, queue: Queue, tenant: Option<TenantId>, priority: i8, count: usize) -> Vec<JobId> {
        let jobs: Vec<NewJob> = (0..count).map(|_| NewJob { tenant, priority, ..self.job(queue) }).collect();
        let ids = jobs.iter().map(|it| it.id).collect();
        let taken = self.jobs().enqueue(jobs).await.unwrap();
        assert_eq!(usize::try_from(taken).unwrap(), count);
        ids
    }

    async fn claim(&self, queue: Queue, take: usize) -> Vec<Lease> {
        self.jobs().next(queue, take, Vec::new()).await.unwrap().1
    }

    async fn claim_ids(&self, queue: Queue, take: usize) -> Vec<JobId> {
        self.claim(queue, take).await.into_iter().map(|it| it.job.id).collect()
    }

    async fn finish(&self, lease: &Lease, outcome: Outcome) -> chainhost::domain::Result<()> {
        let finished = vec![Finish { id: lease.job.id, attempt: lease.attempt, outcome }];
        let (mut answers, leases) = self.jobs().next(lease.job.queue, 0, finished).await.unwrap();
        assert!(leases.is_empty());
        answers.remove(0)
    }

    async fn state(&self, id: JobId) -> Option<State> {
        self.jobs().get(id).await.unwrap().map(|it| it.state)
    }

    /// Takes what wake-ups are left; then whether there is another.
    async fn is_ready(&self, queue: Queue) -> bool {
        let jobs = self.jobs();
        tokio::select! {
            biased;
            () = jobs.ready(queue) => true,
            () = std::future::ready(()) => false,
        }
    }

    async fn settle(&self, queue: Queue) {
        while self.is_ready(queue).await {}
    }

    async fn woken(&self, queue: Queue) {
        timeout(DEADLINE, self.jobs().ready(queue)).await.expect("a wake-up");
    }
}

#[expect(clippy::unnecessary_wraps, reason = "jobs name their tenant like this")]
fn tenant(number: u8) -> Option<TenantId> {
    Some(TenantId(Id::from_bytes([number; 16])))
}

fn retry(after_ms: Option<u64>) -> Outcome {
    Outcome::Retry { error: String::from("it rained"), after_ms }
}

fn code<T: std::fmt::Debug>(result: chainhost::domain::Result<T>) -> &'static str {
    result.unwrap_err().code
}

/// Clause 1: what is acknowledged is there after a restart, as it was.
async fn enqueue_is_durable(place: &dyn Place) {
    let mut rig = Rig::new(place);
    let job = NewJob { tenant: tenant(3), priority: -7, title: String::from("Grüße"), ..rig.job(Queue::Deploy) };
    rig.jobs().enqueue(vec![job.clone()]).await.unwrap();
    rig.restart();
    let lease = rig.claim(Queue::Deploy, 5).await.remove(0);
    assert_eq!((lease.job, lease.attempt), (job, 1));
}

/// Clause 2: an id is taken once, and known for a day after the job has gone.
async fn an_id_is_taken_once(place: &dyn Place) {
    let mut rig = Rig::new(place);
    let jobs = rig.jobs();
    let job = rig.job(Queue::Deploy);
    assert_eq!(jobs.enqueue(vec![job.clone(), job.clone()]).await.unwrap(), 1);
    assert_eq!(jobs.enqueue(vec![job.clone()]).await.unwrap(), 0);
    let lease = rig.claim(Queue::Deploy, 9).await.remove(0);
    assert_eq!(jobs.enqueue(vec![job.clone()]).await.unwrap(), 0);
    rig.finish(&lease, Outcome::Done).await.unwrap();
    assert_eq!(jobs.enqueue(vec![job.clone()]).await.unwrap(), 0);
    jobs.dismiss(job.id).await.unwrap();
    drop(jobs);
    rig.restart();
    rig.hands.advance(DAY_MS - 1);
    assert_eq!(rig.jobs().enqueue(vec![job.clone()]).await.unwrap(), 0);
    rig.hands.advance(2);
    assert_eq!(rig.jobs().enqueue(vec![job]).await.unwrap(), 1);
}

/// Clause 2, too: ids of finished jobs are known however few finished jobs are kept.
async fn ids_are_known_beyond_what_is_kept(place: &dyn Place) {
    let rig = Rig::new(place);
    let first = rig.job(Queue::Deploy);
    rig.jobs().enqueue(vec![first.clone()]).await.unwrap();
    rig.fill(Queue::Deploy, None, 0, 150).await;
    for lease in rig.claim(Queue::Deploy, 200).await {
        rig.finish(&lease, Outcome::Done).await.unwrap();
    }
    assert_eq!(rig.state(first.id).await, None);
    assert_eq!(rig.jobs().enqueue(vec![first]).await.unwrap(), 0);
}

/// Clause 3: what an old attempt says is refused.
async fn old_attempts_are_fenced_off(place: &dyn Place) {
    let rig = Rig::new(place);
    let ids = rig.fill(Queue::Deploy, None, 0, 1).await;
    let first = rig.claim(Queue::Deploy, 1).await.remove(0);
    rig.finish(&first, Outcome::Release).await.unwrap();
    let second = rig.claim(Queue::Deploy, 1).await.remove(0);
    assert_eq!((first.job.id, second.job.id), (ids[0], ids[0]));
    assert!(second.attempt > first.attempt, "a released attempt has a fence of its own");
    assert_eq!(code(rig.finish(&first, Outcome::Done).await), "stale_lease");
    assert_eq!(rig.finish(&first, Outcome::Done).await.unwrap_err().kind, Kind::Conflict);
    assert_eq!(code(rig.jobs().progress(first.job.id, first.attempt, 5).await), "stale_lease");
    rig.jobs().progress(second.job.id, second.attempt, 50).await.unwrap();
    assert_eq!(rig.jobs().get(ids[0]).await.unwrap().unwrap().progress, 50);
    rig.finish(&second, Outcome::Done).await.unwrap();
    assert_eq!(code(rig.finish(&second, Outcome::Done).await), "stale_lease");
    let job = rig.jobs().get(ids[0]).await.unwrap().unwrap();
    assert_eq!((job.state, job.progress, job.finished_ms), (State::Done, 100, Some(START_MS)));
}

/// Clause 3, with a restart between: the late worker of the old process is refused.
async fn a_worker_of_before_is_fenced_off(place: &dyn Place) {
    let mut rig = Rig::new(place);
    rig.fill(Queue::Deploy, None, 0, 1).await;
    let before = rig.claim(Queue::Deploy, 1).await.remove(0);
    rig.restart();
    assert_eq!(code(rig.finish(&before, Outcome::Done).await), "stale_lease");
    let after = rig.claim(Queue::Deploy, 1).await.remove(0);
    assert_eq!(code(rig.finish(&before, Outcome::Done).await), "stale_lease");
    rig.finish(&after, Outcome::Done).await.unwrap();
}

/// Clauses 4 and 5: an attempt is durable before it starts; a job goes back at once when its worker died, to
/// its place; after three deaths it is dead.
async fn a_job_that_kills_its_workers_dies(place: &dyn Place) {
    let mut rig = Rig::new(place);
    let ids = rig.fill(Queue::Backup, tenant(1), 0, 2).await;
    for death in 1..=3 {
        assert_eq!(rig.claim_ids(Queue::Backup, 1).await, ids[..1]);
        rig.restart();
        let job = rig.jobs().get(ids[0]).await.unwrap().unwrap();
        assert_eq!((job.attempt, job.deaths), (death, death));
        assert_eq!(job.state, if death < 3 { State::Waiting } else { State::Failed });
        assert_eq!(job.error.as_deref(), (death == 3).then_some("worker died"));
    }
    assert_eq!(rig.claim_ids(Queue::Backup, 1).await, ids[1..]);
    let depth = rig.jobs().depths(tenant(1)).await.unwrap()[3];
    assert_eq!((depth.waiting, depth.running, depth.failed), (0, 1, 1));
}

/// A death is not an attempt: it has a limit of its own.
async fn deaths_do_not_use_up_attempts(place: &dyn Place) {
    let mut rig = Rig::new(place);
    rig.fill(Queue::Backup, None, 0, 1).await;
    rig.claim(Queue::Backup, 1).await;
    rig.restart();
    let lease = rig.claim(Queue::Backup, 1).await.remove(0);
    rig.finish(&lease, retry(Some(0))).await.unwrap();
    assert_eq!(rig.state(lease.job.id).await, Some(State::Waiting));
    let lease = rig.claim(Queue::Backup, 1).await.remove(0);
    rig.finish(&lease, retry(Some(0))).await.unwrap();
    assert_eq!(rig.state(lease.job.id).await, Some(State::Failed));
}

/// Clause 6: first in, first out within a tenant; tenants take turns.
async fn tenants_take_turns(place: &dyn Place) {
    let mut rig = Rig::new(place);
    let many = rig.fill(Queue::Deploy, tenant(1), 0, 1_000).await;
    assert_eq!(rig.claim_ids(Queue::Deploy, 3).await, many[..3]);
    let few = rig.fill(Queue::Deploy, tenant(2), 0, 2).await;
    let host = rig.fill(Queue::Deploy, None, 0, 1).await;
    let next: Vec<JobId> = rig.claim_ids(Queue::Deploy, 5).await;
    assert_eq!(next, [many[3], few[0], host[0], many[4], few[1]]);
    assert_eq!(rig.claim_ids(Queue::Deploy, 300).await, many[5..305]);
    rig.restart();
    // What ran is at the front again, in its order.
    let host_again = rig.claim_ids(Queue::Deploy, 400).await;
    let mine: Vec<JobId> = host_again.into_iter().filter(|it| many.contains(it)).collect();
    assert_eq!(mine, many[..397]);
}

/// Clause 6: a tenant that comes in late waits for at most one job of each other.
async fn ten_thousand_jobs_delay_another_by_one(place: &dyn Place) {
    let rig = Rig::new(place);
    rig.fill(Queue::Email, tenant(1), 0, 10_000).await;
    rig.claim(Queue::Email, 7).await;
    let late = rig.fill(Queue::Email, tenant(2), 0, 1).await;
    let next = rig.claim_ids(Queue::Email, 2).await;
    assert!(next.contains(&late[0]));
}

/// Higher priority first, but what has waited five minutes is not starved by it.
async fn priority_goes_first_and_age_is_not_starved(place: &dyn Place) {
    let rig = Rig::new(place);
    let low = rig.fill(Queue::Deploy, tenant(1), 0, 3).await;
    let high = rig.fill(Queue::Deploy, tenant(2), 10, 200).await;
    assert_eq!(rig.claim_ids(Queue::Deploy, 3).await, high[..3]);
    rig.hands.advance(5 * 60_000);
    // The flood goes on to be fresh.
    let fresh = rig.fill(Queue::Deploy, tenant(3), 10, 200).await;
    let served = rig.claim_ids(Queue::Deploy, 9).await;
    let of = |ids: &[JobId]| served.iter().filter(|it| ids.contains(it)).count();
    assert_eq!((of(&low), of(&high), of(&fresh)), (3, 3, 3), "each takes its turn");
}

/// Within one tenant, too.
async fn age_is_not_starved_by_ones_own_flood(place: &dyn Place) {
    let rig = Rig::new(place);
    let low = rig.fill(Queue::Deploy, tenant(1), -5, 2).await;
    rig.hands.advance(5 * 60_000);
    let high = rig.fill(Queue::Deploy, tenant(1), 5, 100).await;
    let served = rig.claim_ids(Queue::Deploy, 4).await;
    assert_eq!(served.iter().filter(|it| low.contains(it)).count(), 2);
    assert_eq!(served.iter().filter(|it| high.contains(it)).count(), 2);
}

/// Clause 7: retries wait, up to the attempts of the queue.
async fn retries_back_off_and_end(place: &dyn Place) {
    let rig = Rig::new(place);
    let id = rig.fill(Queue::Backup, None, 0, 1).await[0];
    let lease = rig.claim(Queue::Backup, 1).await.remove(0);
    rig.finish(&lease, retry(None)).await.unwrap();
    assert_eq!(rig.state(id).await, Some(State::Delayed));
    rig.hands.advance(59_999);
    assert!(rig.claim(Queue::Backup, 1).await.is_empty(), "the backoff of backups is fixed: 60 s");
    rig.hands.advance(1);
    let lease = rig.claim(Queue::Backup, 1).await.remove(0);
    assert_eq!(lease.attempt, 2);
    rig.finish(&lease, retry(None)).await.unwrap();
    let job = rig.jobs().get(id).await.unwrap().unwrap();
    assert_eq!((job.state, job.error.as_deref()), (State::Failed, Some("it rained")));
}

/// Clause 7: full jitter never waits longer than the exponential bound, nor than an hour.
async fn jitter_stays_below_its_bound(place: &dyn Place) {
    let rig = Rig::new(place);
    rig.fill(Queue::Email, None, 0, 50).await;
    for bound_ms in [10_000, 20_000, 40_000] {
        for lease in rig.claim(Queue::Email, 50).await {
            rig.finish(&lease, retry(None)).await.unwrap();
        }
        rig.hands.advance(bound_ms);
        assert_eq!(rig.jobs().depths(None).await.unwrap()[1].waiting, 50);
    }
}

/// Clause 7: a handler may say when, and may say never.
async fn handlers_choose_when_and_whether(place: &dyn Place) {
    let rig = Rig::new(place);
    let ids = rig.fill(Queue::Deploy, None, 0, 2).await;
    let leases = rig.claim(Queue::Deploy, 2).await;
    rig.finish(&leases[0], retry(Some(7_000))).await.unwrap();
    rig.finish(&leases[1], Outcome::Cancel { error: String::from("no such site") }).await.unwrap();
    rig.hands.advance(6_999);
    assert_eq!(rig.state(ids[0]).await, Some(State::Delayed));
    rig.hands.advance(1);
    assert_eq!(rig.state(ids[0]).await, Some(State::Waiting));
    let job = rig.jobs().get(ids[1]).await.unwrap().unwrap();
    assert_eq!((job.state, job.error.as_deref()), (State::Failed, Some("no such site")));
}

/// Clauses 7 and 12: a snooze and a release are not attempts; a release goes to the front.
async fn snoozes_and_releases_do_not_count(place: &dyn Place) {
    let rig = Rig::new(place);
    let ids = rig.fill(Queue::Backup, None, 0, 3).await;
    for _ in 0..5 {
        let lease = rig.claim(Queue::Backup, 1).await.remove(0);
        assert_eq!(lease.job.id, ids[0], "released to the front");
        rig.finish(&lease, Outcome::Release).await.unwrap();
    }
    for _ in 0..5 {
        rig.hands.advance(60_000);
        let lease = rig.claim(Queue::Backup, 1).await.remove(0);
        rig.finish(&lease, Outcome::Snooze { after_ms: 60_000 }).await.unwrap();
        assert_eq!(rig.state(lease.job.id).await, Some(State::Delayed));
    }
    rig.hands.advance(60_000);
    // Both attempts of a backup are still there for each.
    for _ in 0..3 {
        let lease = rig.claim(Queue::Backup, 1).await.remove(0);
        rig.finish(&lease, retry(Some(0))).await.unwrap();
        assert_eq!(rig.state(lease.job.id).await, Some(State::Waiting));
    }
    for _ in 0..3 {
        let lease = rig.claim(Queue::Backup, 1).await.remove(0);
        rig.finish(&lease, retry(Some(0))).await.unwrap();
        assert_eq!(rig.state(lease.job.id).await, Some(State::Failed));
    }
}

/// Several released at once keep their order.
async fn released_jobs_keep_their_order(place: &dyn Place) {
    let rig = Rig::new(place);
    let ids = rig.fill(Queue::Deploy, tenant(1), 0, 400).await;
    let mut leases = rig.claim(Queue::Deploy, 300).await;
    leases.reverse();
    let finished =
        leases.iter().map(|it| Finish { id: it.job.id, attempt: it.attempt, outcome: Outcome::Release }).collect();
    let (answers, again) = rig.jobs().next(Queue::Deploy, 400, finished).await.unwrap();
    assert!(answers.iter().all(Result::is_ok));
    assert_eq!(again.into_iter().map(|it| it.job.id).collect::<Vec<_>>(), ids);
}

/// A delayed job wakes those who wait when it is due, without being asked.
async fn a_due_job_wakes_its_queue(place: &dyn Place) {
    let rig = Rig::new(place);
    let job = NewJob { run_at_ms: START_MS + 40, ..rig.job(Queue::Email) };
    rig.jobs().enqueue(vec![job.clone()]).await.unwrap();
    assert_eq!(rig.state(job.id).await, Some(State::Delayed));
    assert!(rig.claim(Queue::Email, 1).await.is_empty());
    rig.settle(Queue::Email).await;
    rig.hands.advance(40);
    rig.woken(Queue::Email).await;
    assert_eq!(rig.claim_ids(Queue::Email, 1).await, [job.id]);
}

/// Delayed jobs survive a restart, also one that slept through their time.
async fn delayed_jobs_survive(place: &dyn Place) {
    let mut rig = Rig::new(place);
    let jobs: Vec<NewJob> =
        [50_000, 40_000].map(|after| NewJob { run_at_ms: START_MS + after, ..rig.job(Queue::Email) }).into();
    rig.jobs().enqueue(jobs.clone()).await.unwrap();
    rig.restart();
    assert!(rig.claim(Queue::Email, 2).await.is_empty());
    rig.engine = None;
    rig.hands.advance(60_000);
    rig.restart();
    rig.woken(Queue::Email).await;
    assert_eq!(rig.claim_ids(Queue::Email, 2).await, [jobs[1].id, jobs[0].id], "in the order of their times");
}

/// Waiting for work: woken by what makes a job claimable, and by nothing else.
async fn wakes_when_there_is_work(place: &dyn Place) {
    let mut rig = Rig::new(place);
    rig.settle(Queue::Deploy).await;
    rig.jobs().depths(None).await.unwrap();
    rig.fill(Queue::Email, None, 0, 1).await;
    assert!(!rig.is_ready(Queue::Deploy).await, "nothing of this queue");
    rig.fill(Queue::Deploy, None, 0, 1).await;
    rig.woken(Queue::Deploy).await;
    let lease = rig.claim(Queue::Deploy, 1).await.remove(0);
    rig.settle(Queue::Deploy).await;
    rig.finish(&lease, Outcome::Cancel { error: String::new() }).await.unwrap();
    assert!(!rig.is_ready(Queue::Deploy).await);
    rig.jobs().rerun(lease.job.id).await.unwrap();
    rig.woken(Queue::Deploy).await;
    rig.jobs().pause(Queue::Deploy, true).await.unwrap();
    rig.settle(Queue::Deploy).await;
    rig.fill(Queue::Deploy, None, 0, 1).await;
    assert!(!rig.is_ready(Queue::Deploy).await, "paused");
    rig.jobs().pause(Queue::Deploy, false).await.unwrap();
    rig.woken(Queue::Deploy).await;
    rig.restart();
    rig.woken(Queue::Deploy).await;
    assert!(!rig.is_ready(Queue::Backup).await);
}

/// One that waits before the job comes is woken, not only one that asks later.
async fn wakes_a_waiter(place: &dyn Place) {
    let rig = Rig::new(place);
    rig.settle(Queue::Deploy).await;
    let jobs = rig.jobs();
    let waits = timeout(DEADLINE, jobs.ready(Queue::Deploy));
    let (woken, _) = tokio::join!(waits, rig.fill(Queue::Deploy, None, 0, 1));
    woken.expect("a wake-up");
}

/// Clause 9: what has not started is removed; what runs is for its runner to end.
async fn cancel_removes_what_has_not_started(place: &dyn Place) {
    let rig = Rig::new(place);
    let jobs = rig.jobs();
    let ids = rig.fill(Queue::Deploy, tenant(1), 0, 300).await;
    let later = NewJob { run_at_ms: START_MS + 9_000, ..rig.job(Queue::Deploy) };
    jobs.enqueue(vec![later.clone()]).await.unwrap();
    assert!(jobs.cancel(later.id).await.unwrap());
    for id in &ids[..250] {
        assert!(jobs.cancel(*id).await.unwrap());
        assert_eq!(rig.state(*id).await, None);
    }
    rig.hands.advance(9_000);
    let lease = rig.claim(Queue::Deploy, 1).await.remove(0);
    assert_eq!(lease.job.id, ids[250]);
    assert!(!jobs.cancel(lease.job.id).await.unwrap());
    rig.finish(&lease, Outcome::Done).await.unwrap();
    assert_eq!(code(jobs.cancel(lease.job.id).await), "job_state");
    assert_eq!(code(jobs.cancel(ids[0]).await), "not_found");
    assert_eq!(rig.claim_ids(Queue::Deploy, 100).await, ids[251..]);
    // A cancelled job does not come back from the outbox.
    assert_eq!(jobs.enqueue(vec![later]).await.unwrap(), 0);
}

/// Clause 10: how many ended jobs are kept, for each queue, the last ones.
async fn ended_jobs_are_kept_by_the_rules(place: &dyn Place) {
    let rig = Rig::new(place);
    let ids = rig.fill(Queue::Backup, None, 0, 50).await;
    for number in 0..50 {
        rig.hands.advance(1);
        let lease = rig.claim(Queue::Backup, 1).await.remove(0);
        let outcome = if number % 2 == 0 { Outcome::Done } else { Outcome::Cancel { error: String::new() } };
        rig.finish(&lease, outcome).await.unwrap();
    }
    let depth = rig.jobs().depths(None).await.unwrap()[3];
    assert_eq!((depth.done, depth.failed), (25, 10));
    let failed = JobFilter { state: Some(State::Failed), limit: 200, ..JobFilter::default() };
    let kept: Vec<JobId> = rig.jobs().list(failed).await.unwrap().into_iter().map(|it| it.new.id).collect();
    let last: Vec<JobId> = ids.iter().copied().skip(1).step_by(2).skip(15).rev().collect();
    assert_eq!(kept, last);
}

/// Clause 10: dead letters are kept for 30 days.
async fn dead_letters_go_after_thirty_days(place: &dyn Place) {
    let rig = Rig::new(place);
    let id = rig.fill(Queue::Deploy, None, 0, 1).await[0];
    let lease = rig.claim(Queue::Deploy, 1).await.remove(0);
    rig.finish(&lease, Outcome::Cancel { error: String::new() }).await.unwrap();
    rig.hands.advance(30 * DAY_MS);
    assert_eq!(rig.state(id).await, Some(State::Failed));
    rig.hands.advance(60_001);
    assert_eq!(rig.state(id).await, None);
    assert_eq!(rig.jobs().depths(None).await.unwrap()[0].failed, 0);
}

/// Clause 10: dead → waiting with fresh attempts and deaths; delayed → waiting now.
async fn rerun_starts_afresh(place: &dyn Place) {
    let rig = Rig::new(place);
    let jobs = rig.jobs();
    let id = rig.fill(Queue::Backup, None, 0, 1).await[0];
    let first = rig.claim(Queue::Backup, 1).await.remove(0);
    rig.finish(&first, Outcome::Cancel { error: String::from("why") }).await.unwrap();
    jobs.rerun(id).await.unwrap();
    assert_eq!(code(jobs.rerun(id).await), "job_state");
    let second = rig.claim(Queue::Backup, 1).await.remove(0);
    assert!(second.attempt > first.attempt);
    rig.finish(&second, retry(Some(60_000))).await.unwrap();
    assert_eq!(rig.state(id).await, Some(State::Delayed));
    jobs.rerun(id).await.unwrap();
    let third = rig.claim(Queue::Backup, 1).await.remove(0);
    rig.finish(&third, Outcome::Done).await.unwrap();
    assert_eq!(code(jobs.rerun(id).await), "job_state");
    assert_eq!(code(jobs.rerun(JobId(rig.ids.next())).await), "not_found");
    // The time it was to wait until passes without effect.
    rig.hands.advance(60_000);
    assert!(rig.claim(Queue::Backup, 1).await.is_empty());
}

async fn dismiss_removes_what_has_ended(place: &dyn Place) {
    let rig = Rig::new(place);
    let jobs = rig.jobs();
    let ids = rig.fill(Queue::Deploy, None, 0, 2).await;
    assert_eq!(code(jobs.dismiss(ids[0]).await), "job_state");
    let leases = rig.claim(Queue::Deploy, 2).await;
    assert_eq!(code(jobs.dismiss(ids[0]).await), "job_state");
    rig.finish(&leases[0], Outcome::Done).await.unwrap();
    rig.finish(&leases[1], Outcome::Cancel { error: String::new() }).await.unwrap();
    for id in ids {
        jobs.dismiss(id).await.unwrap();
        assert_eq!(rig.state(id).await, None);
        assert_eq!(code(jobs.dismiss(id).await), "not_found");
    }
}

/// Clause 11: a paused queue gives nothing, also after a restart; what runs may end.
async fn pause_is_durable(place: &dyn Place) {
    let mut rig = Rig::new(place);
    rig.fill(Queue::Deploy, None, 0, 2).await;
    let lease = rig.claim(Queue::Deploy, 1).await.remove(0);
    rig.jobs().pause(Queue::Deploy, true).await.unwrap();
    assert!(rig.claim(Queue::Deploy, 1).await.is_empty());
    rig.finish(&lease, Outcome::Done).await.unwrap();
    rig.restart();
    assert!(rig.claim(Queue::Deploy, 1).await.is_empty());
    assert_eq!(rig.jobs().depths(None).await.unwrap().map(|it| it.paused), [true, false, false, false]);
    rig.jobs().pause(Queue::Deploy, false).await.unwrap();
    assert_eq!(rig.claim(Queue::Deploy, 1).await.len(), 1);
}

/// Clause 11: depths, of all and of one tenant.
async fn depths_count(place: &dyn Place) {
    let mut rig = Rig::new(place);
    rig.fill(Queue::Deploy, tenant(1), 0, 4).await;
    rig.hands.advance(1_000);
    rig.fill(Queue::Deploy, tenant(2), 0, 2).await;
    let later = NewJob { tenant: tenant(2), run_at_ms: START_MS + DAY_MS, ..rig.job(Queue::Deploy) };
    rig.jobs().enqueue(vec![later]).await.unwrap();
    let leases = rig.claim(Queue::Deploy, 3).await;
    rig.finish(&leases[0], Outcome::Done).await.unwrap();
    rig.finish(&leases[1], Outcome::Cancel { error: String::new() }).await.unwrap();
    let numbers = |it: chainhost::ports::queue::Depth| (it.waiting, it.delayed, it.running, it.done, it.failed);
    for restarted in [false, true] {
        let all = rig.jobs().depths(None).await.unwrap();
        let running = u64::from(!restarted);
        assert_eq!(numbers(all[0]), (4 - running, 1, running, 1, 1));
        assert_eq!(all[0].oldest_ms, Some(START_MS));
        assert_eq!(numbers(all[1]), (0, 0, 0, 0, 0));
        let one = rig.jobs().depths(tenant(2)).await.unwrap()[0];
        assert_eq!(numbers(one), (1, 1, 0, 0, 1));
        assert_eq!(one.oldest_ms, Some(START_MS + 1_000));
        assert_eq!(rig.jobs().depths(tenant(9)).await.unwrap()[0].oldest_ms, None);
        rig.restart();
    }
}

/// Lists: newest first, filtered, page by page.
async fn lists_are_filtered_and_paged(place: &dyn Place) {
    let rig = Rig::new(place);
    let mine = rig.fill(Queue::Deploy, tenant(1), 0, 30).await;
    let theirs = rig.fill(Queue::Email, tenant(2), 0, 30).await;
    let host = rig.fill(Queue::Deploy, None, 0, 3).await;
    let lease = rig.claim(Queue::Email, 1).await.remove(0);
    rig.finish(&lease, Outcome::Done).await.unwrap();
    let running = rig.claim_ids(Queue::Email, 2).await;
    let list = async |filter: JobFilter| -> Vec<JobId> {
        let limit = if filter.limit == 0 { 200 } else { filter.limit };
        rig.jobs().list(JobFilter { limit, ..filter }).await.unwrap().into_iter().map(|it| it.new.id).collect()
    };
    let newest_first = |ids: &[&[JobId]]| {
        let mut all = ids.concat();
        all.sort_unstable();
        all.reverse();
        all
    };
    assert_eq!(list(JobFilter::default()).await, newest_first(&[&mine, &theirs, &host]));
    let of_tenant = |number| JobFilter { tenant: tenant(number), ..JobFilter::default() };
    assert_eq!(list(of_tenant(1)).await, newest_first(&[&mine]));
    assert_eq!(list(JobFilter { queue: Some(Queue::Email), ..of_tenant(1) }).await, []);
    assert_eq!(list(JobFilter { state: Some(State::Done), ..of_tenant(1) }).await, []);
    assert_eq!(list(JobFilter { state: Some(State::Done), ..of_tenant(2) }).await, [lease.job.id]);
    let runs = JobFilter { state: Some(State::Running), ..JobFilter::default() };
    assert_eq!(list(runs).await, newest_first(&[&running]));
    let waits = JobFilter { state: Some(State::Waiting), queue: Some(Queue::Email), ..JobFilter::default() };
    assert_eq!(list(waits).await, newest_first(&[&theirs[3..]]));
    let mut paged = Vec::new();
    loop {
        let filter =
            JobFilter { queue: Some(Queue::Deploy), limit: 7, after: paged.last().copied(), ..JobFilter::default() };
        let page = list(filter).await;
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, newest_first(&[&mine, &host]));
}

/// Limits are errors that say what to do, and nothing of the call is taken.
async fn limits_are_told(place: &dyn Place) {
    let rig = Rig::with(place, 5);
    let jobs = rig.jobs();
    let payload = "x".repeat(limits::JOB_PAYLOAD_BYTES_MAX);
    let fits = NewJob { payload: payload.clone(), ..rig.job(Queue::Deploy) };
    let too_large = NewJob { payload: payload + "x", ..rig.job(Queue::Deploy) };
    assert_eq!(code(jobs.enqueue(vec![fits.clone(), too_large]).await), "job_payload_too_large");
    assert_eq!(jobs.enqueue(vec![fits]).await.unwrap(), 1);
    assert_eq!(code(jobs.enqueue(vec![NewJob { priority: 101, ..rig.job(Queue::Deploy) }]).await), "job_priority");
    assert_eq!(code(jobs.enqueue(vec![NewJob { kind: String::new(), ..rig.job(Queue::Deploy) }]).await), "job_kind");
    let mine = |queue| NewJob { tenant: tenant(1), ..rig.job(queue) };
    let five: Vec<NewJob> = (0..5).map(|_| mine(Queue::Email)).collect();
    jobs.enqueue(five.clone()).await.unwrap();
    assert_eq!(code(jobs.enqueue(vec![mine(Queue::Deploy)]).await), "jobs_waiting_max");
    assert_eq!(jobs.enqueue(five).await.unwrap(), 0, "known ones are no more");
    rig.fill(Queue::Deploy, tenant(2), 0, 4).await;
    rig.claim(Queue::Email, 1).await;
    assert_eq!(jobs.enqueue(vec![mine(Queue::Deploy)]).await.unwrap(), 1);
}

/// A queue that runs one job in the whole cluster gives one lease.
async fn the_cluster_limit_holds(place: &dyn Place) {
    let rig = Rig::new(place);
    rig.fill(Queue::Blockchain, None, 0, 3).await;
    let lease = rig.claim(Queue::Blockchain, 3).await;
    assert_eq!(lease.len(), 1);
    assert!(rig.claim(Queue::Blockchain, 3).await.is_empty());
    rig.settle(Queue::Blockchain).await;
    rig.finish(&lease[0], Outcome::Done).await.unwrap();
    rig.woken(Queue::Blockchain).await;
    assert_eq!(rig.claim(Queue::Blockchain, 3).await.len(), 1);
}

/// Leases whose taker is gone before they are given go back, and are not attempts.
async fn leases_that_nobody_takes_go_back(place: &dyn Place) {
    let rig = Rig::new(place);
    let ids = rig.fill(Queue::Deploy, None, 0, 2).await;
    rig.settle(Queue::Deploy).await;
    let (answer, gone) = oneshot::channel();
    drop(gone);
    let claim = Command::Next { queue: Queue::Deploy, take: 2, finished: Vec::new(), answer };
    rig.engine.as_ref().unwrap().submit(claim);
    rig.woken(Queue::Deploy).await;
    let leases = rig.claim(Queue::Deploy, 2).await;
    assert_eq!(leases.iter().map(|it| it.job.id).collect::<Vec<_>>(), ids);
    assert_eq!(leases[0].attempt, 2);
    assert_eq!(rig.jobs().get(ids[0]).await.unwrap().unwrap().deaths, 0);
}

/// So do those whose taker gives up when they were given already.
async fn a_claim_that_is_given_up_goes_back(place: &dyn Place) {
    let rig = Rig::new(place);
    let ids = rig.fill(Queue::Deploy, None, 0, 2).await;
    let jobs = rig.jobs();
    let mut claim = Box::pin(jobs.next(Queue::Deploy, 2, Vec::new()));
    tokio::select! {
        biased;
        // The engine was faster than our first look: there is nothing to give up.
        _ = &mut claim => return,
        () = std::future::ready(()) => {}
    }
    // Commands are answered in their order, so the leases have been given.
    assert_eq!(rig.jobs().depths(None).await.unwrap()[0].running, 2);
    rig.settle(Queue::Deploy).await;
    drop(claim);
    rig.woken(Queue::Deploy).await;
    assert_eq!(rig.claim_ids(Queue::Deploy, 2).await, ids);
}

/// Finishes and claims of one call are one step: a worker goes from job to job with one round.
async fn finish_and_claim_in_one(place: &dyn Place) {
    let rig = Rig::new(place);
    let ids = rig.fill(Queue::Deploy, None, 0, 40).await;
    let mut seen = HashSet::new();
    let mut finished = Vec::new();
    loop {
        let (answers, leases) = rig.jobs().next(Queue::Deploy, 8, std::mem::take(&mut finished)).await.unwrap();
        assert!(answers.iter().all(Result::is_ok));
        if leases.is_empty() {
            break;
        }
        for lease in leases {
            assert!(seen.insert(lease.job.id), "leased twice");
            finished.push(Finish { id: lease.job.id, attempt: lease.attempt, outcome: Outcome::Done });
        }
    }
    assert_eq!(seen.len(), ids.len());
    assert_eq!(rig.jobs().depths(None).await.unwrap()[0].done, 40);
}

macro_rules! tests {
    ($engine:ident, $place:expr, $($clause:ident)*) => {
        mod $engine {
            $(#[tokio::test]
            async fn $clause() {
                super::$clause(&$place).await;
            })*
        }
    };
}

/// The whole suite, on a place of its own for each clause.
macro_rules! suite {
    ($engine:ident, $place:expr) => {
        tests! {
            $engine, $place,
            a_claim_that_is_given_up_goes_back
            a_due_job_wakes_its_queue
            a_job_that_kills_its_workers_dies
            a_worker_of_before_is_fenced_off
            age_is_not_starved_by_ones_own_flood
            an_id_is_taken_once
            cancel_removes_what_has_not_started
            dead_letters_go_after_thirty_days
            deaths_do_not_use_up_attempts
            delayed_jobs_survive
            depths_count
            dismiss_removes_what_has_ended
            ended_jobs_are_kept_by_the_rules
            enqueue_is_durable
            finish_and_claim_in_one
            handlers_choose_when_and_whether
            ids_are_known_beyond_what_is_kept
            jitter_stays_below_its_bound
            leases_that_nobody_takes_go_back
            limits_are_told
            lists_are_filtered_and_paged
            old_attempts_are_fenced_off
            pause_is_durable
            priority_goes_first_and_age_is_not_starved
            released_jobs_keep_their_order
            rerun_starts_afresh
            retries_back_off_and_end
            snoozes_and_releases_do_not_count
            ten_thousand_jobs_delay_another_by_one
            tenants_take_turns
            the_cluster_limit_holds
            wakes_a_waiter
            wakes_when_there_is_work
        }
    };
}

suite!(redb, crate::queue_redb::FilePlace::new());
