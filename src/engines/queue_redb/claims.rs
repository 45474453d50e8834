//! Taking jobs in, leasing them, ending attempts: the hot path of the queue.

use std::collections::{HashMap, HashSet};

use redb::ReadableTable as _;
use tokio_util::sync::CancellationToken;

use crate::{
    domain::{
        Error,
        job::{JobId, NewJob, Queue, State},
    },
    ports::queue::{Finish, Lease, Next, Outcome},
};

use super::{
    bonds::Awaited,
    book::{PerQueue, Running},
    chores::REMEMBERED_MS,
    fault::{Fault, Step, stale},
    lanes::Class,
    record::{NEVER_MS, Owner, Standing, decode_body, encode_body, owner, ready_key, unique_key},
    work::{Work, missing},
};

/// What a call brings, before anything is changed.
#[derive(Default)]
struct Batch<'j> {
    /// The new ids, and whose they are.
    owners: HashMap<JobId, Owner>,
    fresh: Vec<&'j NewJob>,
    /// Jobs whose key another one has.
    absorbed: Vec<JobId>,
    keys: HashSet<Vec<u8>>,
    /// How many of each tenant will wait.
    coming: HashMap<Owner, u64>,
}

impl Work<'_, '_> {
    /// Takes in the jobs that are new; all or none.
    pub(super) fn enqueue(&mut self, jobs: &[NewJob]) -> Step<u64> {
        let mut batch = Batch::default();
        for job in jobs {
            job.check()?;
            let owner = owner(job.tenant);
            if batch.owners.contains_key(&job.id) || self.knows(job.id)? {
                continue;
            }
            batch.owners.insert(job.id, owner);
            for awaited in &job.after {
                let whose =
                    batch.owners.get(awaited).copied().map_or_else(|| self.owner(*awaited), |it| Ok(Some(it)))?;
                if whose.is_some_and(|it| it != owner) {
                    return Err(foreign().into());
                }
            }
            if let Some(words) = &job.unique {
                let key = unique_key(job.queue, owner, words);
                if self.tables.unique.get(key.as_slice())?.is_some() || !batch.keys.insert(key) {
                    batch.absorbed.push(job.id);
                    continue;
                }
            }
            let waiting = batch.coming.entry(owner).or_insert_with_key(|it| self.book.waiting(*it));
            *waiting += 1;
            if *waiting > self.waiting_max {
                return Err(crowded(self.waiting_max).into());
            }
            batch.fresh.push(job);
        }
        for job in &batch.fresh {
            self.take_in(job)?;
        }
        for id in batch.absorbed {
            self.remember(id)?;
            self.book.changed = true;
        }
        Ok(u64::try_from(batch.fresh.len()).unwrap_or(u64::MAX))
    }

    /// Whether the id is one of a job that is kept, or that was here in the last day.
    pub(super) fn knows(&self, id: JobId) -> Step<bool> {
        if self.tables.jobs.get(id.0.as_bytes())?.is_some() {
            return Ok(true);
        }
        let gone = self.tables.gone.get(id.0.as_bytes())?.map(|it| i64::from_be_bytes(*it.value()));
        Ok(gone.is_some_and(|at| at > self.now_ms.saturating_sub(REMEMBERED_MS)))
    }

    fn take_in(&mut self, job: &NewJob) -> Step<()> {
        let owner = owner(job.tenant);
        self.tables.jobs.insert(job.id.0.as_bytes(), encode_body(job).as_slice())?;
        let mut standing = Standing {
            state: State::Waiting,
            queue: job.queue,
            priority: job.priority,
            attempt: 0,
            uncounted: 0,
            deaths: 0,
            seq: 0,
            since_ms: self.now_ms,
            due_ms: job.run_at_ms,
            started_ms: None,
            finished_ms: None,
            progress: 0,
            cancelling: false,
            unique: job.unique.is_some(),
            class: Class::of(job.queue, &job.kind),
            awaits: 0,
            error: None,
        };
        self.hold_key(owner, job)?;
        match self.await_others(job)? {
            Awaited::Ended => self.begin_waiting(owner, job, None, &mut standing),
            Awaited::Open(open) => {
                standing.awaits = open;
                self.delay(owner, job.id, None, &mut standing, NEVER_MS)
            }
            Awaited::Dead(error) => {
                // It is taken in and dies at once, so that who waits for it hears of it.
                self.wait_last(owner, job.id, None, &mut standing, job.created_ms)?;
                self.leave_line(owner, &standing)?;
                standing.error = Some(error);
                self.end(owner, job.id, standing, State::Failed)
            }
        }
    }

    /// Ends attempts, then leases up to `take` jobs.
    pub(super) fn next(&mut self, queue: Queue, take: usize, finished: Vec<Finish>) -> Step<Next> {
        let mut answers = Vec::with_capacity(finished.len());
        let mut ending = self.well_ended(&finished);
        for finish in finished {
            let queue = self.book.running.get(&finish.id).map(|it| it.queue);
            let later = match queue {
                Some(queue) if finish.outcome == Outcome::Done => {
                    let count = ending.of_mut(queue);
                    *count = count.saturating_sub(1);
                    *count
                }
                _ => 0,
            };
            answers.push(match self.finish(finish, later) {
                Ok(()) => Ok(()),
                Err(Fault::Refused(error)) => Err(error),
                Err(fault) => return Err(fault),
            });
        }
        let mut leases = Vec::new();
        if !*self.book.paused.of(queue) {
            let rules = queue.rules();
            let running = usize::try_from(self.book.counts(queue, None).running).unwrap_or(usize::MAX);
            let take = rules.cluster_limit.map_or(take, |limit| take.min(limit.saturating_sub(running)));
            while leases.len() < take
                && let Some(lease) = self.claim(queue)?
            {
                leases.push(lease);
            }
        }
        Ok((answers, leases))
    }

    fn claim(&mut self, queue: Queue) -> Step<Option<Lease>> {
        let open = self.open(queue);
        let lane = self.book.lanes.of_mut(queue);
        let Some((owner, key)) = lane.choose(self.now_ms, open) else { return Ok(None) };
        let (entry, refill) =
            lane.take(owner, key).ok_or_else(|| Fault::Broken(String::from("a line of the job queue has no head")))?;
        let id = entry.id;
        self.tables.ready.remove(&ready_key(queue, owner, key, entry.seq))?;
        if refill {
            self.refill(queue, owner, key)?;
        }
        if key.1 == Class::Limited {
            self.note_start(queue)?;
        }
        let mut standing = self.standing(owner, id)?;
        standing.state = State::Running;
        standing.attempt = standing.attempt.saturating_add(1);
        standing.started_ms = Some(self.now_ms);
        standing.progress = 0;
        self.stand(owner, id, Some(State::Waiting), &standing)?;
        self.tables.running.insert(id.0.as_bytes(), &owner)?;
        let attempt = standing.attempt;
        let cancelled = CancellationToken::new();
        let running = Running { owner, queue, attempt, progress: 0, cancelled: cancelled.clone() };
        self.book.running.insert(id, running);
        self.book.leased_now.push(id);
        Ok(Some(Lease { job: self.body(id)?, attempt, cancelled }))
    }

    /// What was enqueued under this id.
    pub(super) fn body(&self, id: JobId) -> Step<NewJob> {
        let stored = self.tables.jobs.get(id.0.as_bytes())?;
        decode_body(id, stored.ok_or_else(|| missing("the body", id))?.value())
    }

    /// How many of these attempts end well, by queue.
    fn well_ended(&self, finished: &[Finish]) -> PerQueue<usize> {
        let mut ending = PerQueue::default();
        for finish in finished.iter().filter(|it| it.outcome == Outcome::Done) {
            if let Some(running) = self.book.running.get(&finish.id).filter(|it| it.attempt == finish.attempt) {
                *ending.of_mut(running.queue) += 1;
            }
        }
        ending
    }

    /// Ends an attempt. So many of the same queue end well after it in the same transaction.
    pub(super) fn finish(&mut self, finish: Finish, later: usize) -> Step<()> {
        let Finish { id, attempt, outcome } = finish;
        let running = self.book.running.get(&id).filter(|it| it.attempt == attempt).cloned().ok_or_else(stale)?;
        let owner = running.owner;
        let mut standing = self.standing(owner, id)?;
        self.book.running.remove(&id);
        self.book.ended_now.push((id, running.clone()));
        self.tables.running.remove(id.0.as_bytes())?;
        standing.progress = running.progress;
        // A queue that allows so many at once may go on.
        *self.book.woken.of_mut(running.queue) |= running.queue.rules().cluster_limit.is_some();
        match outcome {
            // Those to come would push it out at once.
            Outcome::Done if later >= running.queue.rules().kept_done => {
                self.close(owner, id, &standing, true)?;
                self.forget(owner, id, &standing)
            }
            Outcome::Done => {
                standing.progress = 100;
                self.end(owner, id, standing, State::Done)
            }
            _ if standing.cancelling => {
                standing.error = Some(String::from(CANCELLED));
                self.end(owner, id, standing, State::Failed)
            }
            Outcome::Cancel { error } => {
                standing.error = Some(error);
                self.end(owner, id, standing, State::Failed)
            }
            Outcome::Retry { error, after_ms } => {
                standing.error = Some(error);
                let rules = running.queue.rules();
                if standing.counted() >= rules.attempts {
                    return self.end(owner, id, standing, State::Failed);
                }
                let backoff = || u64::try_from(rules.backoff.wait(standing.counted()).as_millis()).unwrap_or(u64::MAX);
                let wait = after_ms.unwrap_or_else(backoff);
                self.again(id, &running, standing, wait)
            }
            Outcome::Snooze { after_ms } => {
                standing.uncounted = standing.uncounted.saturating_add(1);
                self.again(id, &running, standing, after_ms)
            }
            Outcome::Release => self.release(id, owner, standing),
        }
    }

    /// Puts a job that ran aside for a while.
    fn again(&mut self, id: JobId, running: &Running, mut standing: Standing, after_ms: u64) -> Step<()> {
        let from = Some(State::Running);
        let due_ms = self.now_ms.saturating_add(i64::try_from(after_ms).unwrap_or(i64::MAX));
        if due_ms > self.now_ms {
            return self.delay(running.owner, id, from, &mut standing, due_ms);
        }
        let created_ms = self.body(id)?.created_ms;
        self.wait_last(running.owner, id, from, &mut standing, created_ms)
    }

    /// Puts a job that ran back to its old place, which is the front. The claim does not count.
    pub(super) fn release(&mut self, id: JobId, owner: Owner, mut standing: Standing) -> Step<()> {
        standing.uncounted = standing.uncounted.saturating_add(1);
        let created_ms = self.body(id)?.created_ms;
        self.wait(owner, id, Some(State::Running), &mut standing, created_ms)
    }
}

/// The error of a job that was cancelled while it ran.
pub(super) const CANCELLED: &str = "cancelled";

fn foreign() -> Error {
    Error::invalid("job_after", "A job can only wait for jobs of its own tenant.").on("after")
}

fn crowded(max: u64) -> Error {
    Error::too_many(
        "jobs_waiting_max",
        format!("{max} jobs of this tenant wait already, and no more may. Try again when some have ended."),
        60,
    )
}
