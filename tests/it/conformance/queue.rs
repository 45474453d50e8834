//! The queue's contract (CONTRACTS §1), clause by clause, against the port alone.
//!
//! An engine joins by being a [`Place`] and a line at the end of this file.

mod bonds;
mod leases;
mod order;
mod panel;

use std::{collections::HashSet, sync::Arc, time::Duration};

use chainhost::{
    base::{
        clock::{Clock, Hands},
        ids::{Id, Ids},
        limits,
    },
    domain::{
        error::Kind,
        job::{BUILD, JobId, NewJob, Queue, State},
        tenant::TenantId,
    },
    ports::queue::{Command, Finish, JobFilter, Jobs, Lease, Outcome, QueueEngine},
};
use tokio::{sync::oneshot, time::timeout};

use self::{bonds::*, leases::*, order::*, panel::*};

/// Where an engine keeps its jobs. Opening it again, after what was opened before is dropped, is what a process
/// does that starts after another has died.
pub(crate) trait Place {
    /// Opens the queue with at most `waiting_max` waiting jobs of one tenant.
    fn open(&self, clock: Clock, waiting_max: u64) -> Arc<dyn QueueEngine>;

    /// Lets the process die: nothing that the engine does from here on reaches the disk.
    fn kill(&self, engine: Arc<dyn QueueEngine>) {
        drop(engine);
    }
}

/// When the manual clock starts.
pub(crate) const START_MS: i64 = 1_790_000_000_000;
const DAY_MS: i64 = 24 * 3_600_000;
/// No wait of these tests takes so long unless something is wrong.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

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
            unique: None,
            after: Vec::new(),
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

/// The suite, on a place of its own for each clause, with more of them where they are named.
macro_rules! suite {
    ($engine:ident, $place:expr $(, $more:ident)*) => {
        tests! {
            $engine, $place,
            a_claim_that_is_given_up_goes_back
            a_dead_job_is_brought
            a_drain_waits_for_what_runs
            a_due_job_wakes_its_queue
            a_job_that_kills_its_workers_dies
            a_job_waits_for_others
            a_key_comes_back
            a_key_is_taken_once
            a_paused_tenant_starts_nothing
            a_rate_wakes_its_queue
            a_running_job_is_told_of_its_cancel
            a_worker_of_before_is_fenced_off
            age_is_not_starved_by_ones_own_flood
            an_id_is_taken_once
            builds_start_at_a_rate
            cancel_removes_what_has_not_started
            deaths_do_not_use_up_attempts
            delayed_jobs_survive
            depths_count
            dismiss_removes_what_has_ended
            ended_jobs_are_kept_by_the_rules
            enqueue_is_durable
            every_ended_job_goes_after_thirty_days
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
            tenants_take_turns
            tenants_do_not_wait_for_one_another
            the_cluster_limit_holds
            those_that_wait_die_with_it
            wakes_a_waiter
            wakes_when_there_is_work
            $($more)*
        }
    };
}

suite!(
    redb,
    crate::queue_redb::FilePlace::new(),
    ten_thousand_jobs_delay_another_by_one,
    ten_thousand_tenants_each_get_their_turn
);
#[cfg(feature = "redis")]
suite!(
    redis,
    crate::queue_redis::PrefixPlace::new(),
    ten_thousand_jobs_delay_another_by_one,
    ten_thousand_tenants_each_get_their_turn
);
#[cfg(feature = "redis")]
suite!(redis_sentinel, crate::queue_redis::PrefixPlace::watched());
#[cfg(feature = "redis")]
suite!(redis_cluster, crate::queue_redis::PrefixPlace::clustered());
