//! What people ask of single jobs and of queues: look, list, rerun, cancel, dismiss, pause.

use std::cmp::Reverse;

use redb::ReadableTable as _;

use crate::{
    base::ids::Id,
    domain::{
        Error,
        job::{Job, JobId, Queue, State},
    },
    ports::queue::{Depth, Fate, JobFilter, LISTED_MAX},
};

use super::{
    bonds::Awaited,
    fault::{Step, stale, unknown, waits},
    record::{
        NEVER_MS, Owner, Standing, body_owner, ended_key, owner, read_ended_key, read_time_key, standing_key, time_key,
    },
    work::Work,
};

/// Jobs that one list looks at, so that no command waits long behind it. Reached only when more than so many
/// newer jobs of the tenant (or of all) do not fit the filter.
const LOOKS_MAX: usize = 100_000;

impl Work<'_, '_> {
    /// Notes how far an attempt is. Only in memory: an attempt does not survive a restart either.
    pub(super) fn progress(&mut self, id: JobId, attempt: u32, percent: u8) -> Step<()> {
        let running = self.book.running.get_mut(&id).filter(|it| it.attempt == attempt).ok_or_else(stale)?;
        running.progress = percent.min(100);
        Ok(())
    }

    /// One job.
    pub(super) fn get(&self, id: JobId) -> Step<Option<Job>> {
        let Some(owner) = self.owner(id)? else { return Ok(None) };
        self.job(owner, id).map(Some)
    }

    fn job(&self, owner: Owner, id: JobId) -> Step<Job> {
        let standing = self.standing(owner, id)?;
        Ok(Job {
            new: self.body(id)?,
            state: standing.state,
            attempt: standing.attempt,
            deaths: standing.deaths,
            error: standing.error,
            started_ms: standing.started_ms,
            finished_ms: standing.finished_ms,
            progress: self.book.running.get(&id).map_or(standing.progress, |it| it.progress),
        })
    }

    /// What is known of these ids.
    pub(super) fn fates(&self, ids: &[JobId]) -> Step<Vec<Fate>> {
        let fate = |id: &JobId| {
            let Some(owner) = self.owner(*id)? else {
                return Ok(if self.knows(*id)? { Fate::Ended } else { Fate::Unknown });
            };
            let ended = matches!(self.standing(owner, *id)?.state, State::Done | State::Failed);
            Ok(if ended { Fate::Ended } else { Fate::Open })
        };
        ids.iter().map(fate).collect()
    }

    /// A list, newest first.
    pub(super) fn list(&self, filter: &JobFilter) -> Step<Vec<Job>> {
        let limit = usize::try_from(filter.limit.min(LISTED_MAX)).unwrap_or(0);
        let queues = || Queue::ALL.into_iter().filter(|it| filter.queue.is_none_or(|wanted| wanted == *it));
        if let Some(state) = filter.state {
            let whose = filter.tenant.map(|it| owner(Some(it)));
            let count: u64 = queues().map(|queue| *self.book.counts(queue, whose).of(state)).sum();
            if count == 0 {
                return Ok(Vec::new());
            }
        }
        let mut jobs = Vec::new();
        let found: Box<dyn Iterator<Item = Step<(JobId, Owner)>> + '_> = match (filter.state, filter.tenant) {
            (Some(State::Running), _) => few(self.book.running.iter().map(|(id, it)| (*id, it.owner)).collect()),
            (Some(state @ (State::Done | State::Failed)), _) => few(self.ended(state, queues())?),
            (Some(State::Delayed), _) => few(self.delayed()?),
            (_, Some(tenant)) => self.of_tenant(owner(Some(tenant)), filter.after)?,
            (_, None) => self.of_all(filter.after)?,
        };
        for row in found.take(LOOKS_MAX) {
            if jobs.len() == limit {
                break;
            }
            let (id, whose) = row?;
            let fits =
                filter.after.is_none_or(|after| id < after) && filter.tenant.is_none_or(|it| owner(Some(it)) == whose);
            if !fits {
                continue;
            }
            if filter.queue.is_some() || filter.state.is_some() {
                let standing = self.standing(whose, id)?;
                let fits = filter.queue.is_none_or(|it| it == standing.queue);
                if !fits || filter.state.is_some_and(|it| it != standing.state) {
                    continue;
                }
            }
            jobs.push(self.job(whose, id)?);
        }
        Ok(jobs)
    }

    fn ended(&self, state: State, queues: impl Iterator<Item = Queue>) -> Step<Vec<(JobId, Owner)>> {
        let mut found = Vec::new();
        let (nil, last) = (JobId(Id::NIL), JobId(Id::from_bytes([0xff; 16])));
        for queue in queues {
            let range = (ended_key(state, queue, 0, nil), ended_key(state, queue, i64::MAX, last));
            for row in self.tables.ended.range::<&_>(&range.0..=&range.1)? {
                let (key, owner) = row?;
                found.push((read_ended_key(key.value())?.1, *owner.value()));
            }
        }
        Ok(found)
    }

    fn delayed(&self) -> Step<Vec<(JobId, Owner)>> {
        let mut found = Vec::new();
        for row in self.tables.due.iter()?.take(LOOKS_MAX) {
            let (key, owner) = row?;
            found.push((read_time_key(key.value())?.1, *owner.value()));
        }
        Ok(found)
    }

    fn of_tenant(&self, owner: Owner, after: Option<JobId>) -> Step<Rows<'_>> {
        let first = standing_key(owner, JobId(Id::NIL));
        let last = standing_key(owner, after.unwrap_or(JobId(Id::from_bytes([0xff; 16]))));
        let rows = self.tables.standings.range::<&_>(&first..=&last)?.rev();
        Ok(Box::new(rows.map(move |row| {
            let (key, _) = row?;
            let id = key.value().last_chunk().copied().unwrap_or_default();
            Ok((JobId(Id::from_bytes(id)), owner))
        })))
    }

    fn of_all(&self, after: Option<JobId>) -> Step<Rows<'_>> {
        let last = after.map_or([0xff; 16], |it| *it.0.as_bytes());
        let rows = self.tables.jobs.range::<&_>(..=&last)?.rev();
        Ok(Box::new(rows.map(|row| {
            let (key, value) = row?;
            Ok((JobId(Id::from_bytes(*key.value())), body_owner(value.value())?))
        })))
    }

    /// Counts of all queues.
    pub(super) fn depths(&self, whose: Option<Owner>) -> [Depth; 4] {
        Queue::ALL.map(|queue| {
            let counts = self.book.counts(queue, whose);
            Depth {
                waiting: counts.waiting,
                delayed: counts.delayed,
                running: counts.running,
                done: counts.done,
                failed: counts.failed,
                oldest_ms: self.book.lanes.of(queue).oldest_ms(whose),
                paused: *self.book.paused.of(queue),
                tenant_paused: whose.is_some_and(|it| self.book.lanes.of(queue).is_paused(it)),
            }
        })
    }

    /// Dead or delayed → waiting now, or delayed while others that it waits for have not ended.
    pub(super) fn rerun(&mut self, id: JobId) -> Step<()> {
        let owner = self.owner(id)?.ok_or_else(unknown)?;
        let mut standing = self.standing(owner, id)?;
        let from = standing.state;
        let job = self.body(id)?;
        match from {
            State::Failed => {
                self.check_key(owner, &job)?;
                let awaits = match self.awaited(&job)? {
                    Awaited::Ended => 0,
                    Awaited::Open(open) => open,
                    Awaited::Dead(_) => return Err(waits().into()),
                };
                let ended_ms = standing.finished_ms.take().unwrap_or(0);
                self.tables.ended.remove(&ended_key(from, standing.queue, ended_ms, id))?;
                standing.uncounted = standing.attempt;
                standing.deaths = 0;
                standing.progress = 0;
                standing.awaits = awaits;
                self.hold_key(owner, &job)?;
                self.await_others(&job)?;
            }
            State::Delayed if standing.awaits > 0 => return Err(waits().into()),
            State::Delayed => self.leave_due(id, standing.due_ms)?,
            State::Waiting | State::Running | State::Done => {
                return Err(Error::conflict(
                    "job_state",
                    format!("This job is {}; only failed and delayed jobs can be started again.", from.word()),
                )
                .into());
            }
        }
        if standing.awaits > 0 {
            return self.delay(owner, id, Some(from), &mut standing, NEVER_MS);
        }
        self.wait_last(owner, id, Some(from), &mut standing, job.created_ms)
    }

    pub(super) fn leave_due(&mut self, id: JobId, due_ms: i64) -> Step<()> {
        self.tables.due.remove(&time_key(due_ms, id))?;
        if self.book.due_ms == Some(due_ms) {
            self.next_due()?;
        }
        Ok(())
    }

    /// Waiting or delayed → removed; `false` when it runs.
    pub(super) fn cancel(&mut self, id: JobId) -> Step<bool> {
        let owner = self.owner(id)?.ok_or_else(unknown)?;
        let standing = self.standing(owner, id)?;
        match standing.state {
            State::Running => return self.ask_to_end(owner, id, standing),
            State::Waiting => self.leave_line(owner, &standing)?,
            State::Delayed => self.leave_due(id, standing.due_ms)?,
            State::Done | State::Failed => {
                return Err(Error::conflict("job_state", "This job has ended; it can be dismissed.").into());
            }
        }
        self.stop_awaiting(id, &standing)?;
        self.close(owner, id, &standing, false)?;
        self.forget(owner, id, &standing)?;
        Ok(true)
    }

    /// Waiting or delayed → dead.
    pub(super) fn bury(&mut self, id: JobId, error: String) -> Step<()> {
        let owner = self.owner(id)?.ok_or_else(unknown)?;
        let mut standing = self.standing(owner, id)?;
        match standing.state {
            State::Waiting => self.leave_line(owner, &standing)?,
            State::Delayed => self.leave_due(id, standing.due_ms)?,
            State::Running | State::Done | State::Failed => {
                return Err(Error::conflict("job_state", "This job has started, or has ended.").into());
            }
        }
        self.stop_awaiting(id, &standing)?;
        standing.awaits = 0;
        standing.error = Some(error);
        self.end(owner, id, standing, State::Failed)
    }

    /// Notes durably that this attempt is the last, and tells its worker after the commit.
    fn ask_to_end(&mut self, owner: Owner, id: JobId, mut standing: Standing) -> Step<bool> {
        standing.cancelling = true;
        self.stand(owner, id, Some(State::Running), &standing)?;
        if let Some(running) = self.book.running.get(&id) {
            self.book.cancelled_now.push(running.cancelled.clone());
        }
        Ok(false)
    }

    /// Removes an ended job.
    pub(super) fn dismiss(&mut self, id: JobId) -> Step<()> {
        let owner = self.owner(id)?.ok_or_else(unknown)?;
        let standing = self.standing(owner, id)?;
        if !matches!(standing.state, State::Done | State::Failed) {
            return Err(Error::conflict("job_state", "This job has not ended; it can be cancelled.").into());
        }
        self.forget(owner, id, &standing)
    }

    /// Stops or starts claims of a tenant's jobs.
    pub(super) fn pause_tenant(&mut self, owner: Owner, paused: bool) -> Step<()> {
        if paused {
            self.tables.paused.insert(&owner, &[])?;
        } else {
            self.tables.paused.remove(&owner)?;
        }
        for queue in Queue::ALL {
            self.book.lanes.of_mut(queue).pause(owner, paused);
            *self.book.woken.of_mut(queue) |= !paused;
        }
        self.book.changed = true;
        Ok(())
    }

    /// Stops or starts claims.
    pub(super) fn pause(&mut self, queue: Queue, paused: bool) -> Step<()> {
        *self.book.paused.of_mut(queue) = paused;
        *self.book.woken.of_mut(queue) |= !paused;
        let words = Queue::ALL.map(|it| u8::from(*self.book.paused.of(it)));
        self.tables.about.insert("paused", words.as_slice())?;
        self.book.changed = true;
        Ok(())
    }
}

type Rows<'a> = Box<dyn Iterator<Item = Step<(JobId, Owner)>> + 'a>;

/// A few jobs, newest first.
fn few<'a>(mut found: Vec<(JobId, Owner)>) -> Rows<'a> {
    found.sort_unstable_by_key(|(id, _)| Reverse(*id));
    Box::new(found.into_iter().map(Ok))
}
