//! Taking jobs in, leasing them, ending attempts: the hot path of the queue.

use std::collections::{HashMap, HashSet};

use redb::ReadableTable as _;

use crate::{
    base::limits,
    domain::{
        Error,
        job::{JobId, NewJob, Queue, State},
    },
    ports::queue::{Finish, Lease, Next, Outcome},
};

use super::{
    book::{PerQueue, Running},
    chores::REMEMBERED_MS,
    fault::{Fault, Step, stale},
    record::{Standing, decode_body, encode_body, owner, ready_key},
    work::{Work, missing},
};

impl Work<'_, '_> {
    /// Takes in the jobs that are new; all or none.
    pub(super) fn enqueue(&mut self, jobs: &[NewJob]) -> Step<u64> {
        let mut ids = HashSet::with_capacity(jobs.len());
        let mut fresh = Vec::with_capacity(jobs.len());
        let mut coming = HashMap::new();
        for job in jobs {
            check(job)?;
            if ids.insert(job.id) && !self.knows(job.id)? {
                let waiting = coming.entry(owner(job.tenant)).or_insert_with_key(|it| self.book.waiting(*it));
                *waiting += 1;
                if *waiting > self.waiting_max {
                    return Err(crowded(self.waiting_max).into());
                }
                fresh.push(job);
            }
        }
        for job in &fresh {
            self.take_in(job)?;
        }
        Ok(u64::try_from(fresh.len()).unwrap_or(u64::MAX))
    }

    /// Whether the id is one of a job that is kept, or that was here in the last day.
    fn knows(&self, id: JobId) -> Step<bool> {
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
            error: None,
        };
        if job.run_at_ms > self.now_ms {
            self.delay(owner, job.id, None, &mut standing, job.run_at_ms)
        } else {
            self.wait_last(owner, job.id, None, &mut standing, job.created_ms)
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
        let lane = self.book.lanes.of_mut(queue);
        let Some((owner, priority)) = lane.choose(self.now_ms) else { return Ok(None) };
        let (entry, refill) = lane
            .take(owner, priority)
            .ok_or_else(|| Fault::Broken(String::from("a line of the job queue has no head")))?;
        let id = entry.id;
        self.tables.ready.remove(&ready_key(queue, owner, priority, entry.seq))?;
        if refill {
            self.refill(queue, owner, priority)?;
        }
        let mut standing = self.standing(owner, id)?;
        standing.state = State::Running;
        standing.attempt = standing.attempt.saturating_add(1);
        standing.started_ms = Some(self.now_ms);
        standing.progress = 0;
        self.stand(owner, id, Some(State::Waiting), &standing)?;
        self.tables.running.insert(id.0.as_bytes(), &owner)?;
        let attempt = standing.attempt;
        self.book.running.insert(id, Running { owner, queue, attempt, progress: 0 });
        self.book.leased_now.push(id);
        Ok(Some(Lease { job: self.body(id)?, attempt }))
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
        let running = self.book.running.get(&id).copied().filter(|it| it.attempt == attempt).ok_or_else(stale)?;
        let owner = running.owner;
        let mut standing = self.standing(owner, id)?;
        self.book.running.remove(&id);
        self.book.ended_now.push((id, running));
        self.tables.running.remove(id.0.as_bytes())?;
        standing.progress = running.progress;
        // A queue that allows so many at once may go on.
        *self.book.woken.of_mut(running.queue) |= running.queue.rules().cluster_limit.is_some();
        match outcome {
            // Those to come would push it out at once.
            Outcome::Done if later >= running.queue.rules().kept_done => self.forget(owner, id, &standing),
            Outcome::Done => {
                standing.progress = 100;
                self.end(owner, id, standing, State::Done)
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
    pub(super) fn release(&mut self, id: JobId, owner: super::record::Owner, mut standing: Standing) -> Step<()> {
        standing.uncounted = standing.uncounted.saturating_add(1);
        let created_ms = self.body(id)?.created_ms;
        self.wait(owner, id, Some(State::Running), &mut standing, created_ms)
    }
}

fn check(job: &NewJob) -> Result<(), Error> {
    if job.payload.len() > limits::JOB_PAYLOAD_BYTES_MAX {
        return Err(Error::too_large(
            "job_payload_too_large",
            format!(
                "The input of a job may have {} KiB; this one has {} bytes. Pass ids, and leave the bytes where they are.",
                limits::JOB_PAYLOAD_BYTES_MAX / 1024,
                job.payload.len()
            ),
        )
        .on("payload"));
    }
    if !(-100..=100).contains(&job.priority) {
        return Err(Error::invalid("job_priority", "The priority of a job is between -100 and 100.").on("priority"));
    }
    if job.kind.is_empty() || job.kind.len() > 100 {
        return Err(Error::invalid("job_kind", "The kind of a job has 1 to 100 bytes.").on("kind"));
    }
    Ok(())
}

fn crowded(max: u64) -> Error {
    Error::too_many(
        "jobs_waiting_max",
        format!("{max} jobs of this tenant wait already, and no more may. Try again when some have ended."),
        60,
    )
}
