//! What ties jobs to one another: keys that only one may have, jobs that wait for others, and rates.
//!
//! Guarantees: a key is held from the enqueue until the end of its job; a job that waits for others is in no line; what dies
//! takes with it all that waits for it, in the same transaction.

use redb::{ReadableTable as _, ReadableTableMetadata as _};

use crate::domain::job::{JobId, NewJob, Queue, State};

use super::{
    fault::{Step, not_unique},
    lanes::Open,
    record::{NEVER_MS, Owner, Standing, after_key, encode_starts, read_after_key, unique_key},
    work::Work,
};

/// How those stand that a job waits for.
pub(super) enum Awaited {
    /// All have ended well, or are not known.
    Ended,
    /// So many have not ended.
    Open(u16),
    /// One is dead; what that job's error says.
    Dead(String),
}

impl Work<'_, '_> {
    /// Refuses a job whose key another one has.
    pub(super) fn check_key(&self, owner: Owner, job: &NewJob) -> Step<()> {
        let Some(words) = &job.unique else { return Ok(()) };
        match self.tables.unique.get(unique_key(job.queue, owner, words).as_slice())? {
            Some(holder) if holder.value() != job.id.0.as_bytes() => Err(not_unique().into()),
            _ => Ok(()),
        }
    }

    /// Gives a job its key.
    pub(super) fn hold_key(&mut self, owner: Owner, job: &NewJob) -> Step<()> {
        if let Some(words) = &job.unique {
            self.tables.unique.insert(unique_key(job.queue, owner, words).as_slice(), job.id.0.as_bytes())?;
        }
        Ok(())
    }

    /// A job ends, or is removed before it began: gives its key back and settles those that wait for it.
    pub(super) fn close(&mut self, owner: Owner, id: JobId, standing: &Standing, well: bool) -> Step<()> {
        if standing.unique
            && let Some(words) = self.body(id)?.unique
        {
            self.tables.unique.remove(unique_key(standing.queue, owner, &words).as_slice())?;
        }
        if self.tables.after.is_empty()? {
            return Ok(());
        }
        // A chain of any length, without recursion.
        let mut ended = vec![(id, well)];
        while let Some((id, well)) = ended.pop() {
            for waits in self.leave_awaited(id)? {
                if well {
                    self.came_closer(owner, waits)?;
                } else if self.die_with(owner, id, waits)? {
                    ended.push((waits, false));
                }
            }
        }
        Ok(())
    }

    /// The jobs that wait for this one; they no longer do.
    fn leave_awaited(&mut self, id: JobId) -> Step<Vec<JobId>> {
        let (first, last) =
            (after_key(id, JobId(crate::base::ids::Id::NIL)), after_key(id, JobId(crate::base::ids::Id::LAST)));
        let mut waiting = Vec::new();
        for row in self.tables.after.range::<&_>(&first..=&last)? {
            waiting.push(read_after_key(row?.0.value())?);
        }
        for waits in &waiting {
            self.tables.after.remove(&after_key(id, *waits))?;
        }
        Ok(waiting)
    }

    /// One of those that a job waits for has ended well.
    fn came_closer(&mut self, owner: Owner, id: JobId) -> Step<()> {
        let mut standing = self.standing(owner, id)?;
        standing.awaits = standing.awaits.saturating_sub(1);
        if standing.awaits > 0 {
            return self.stand(owner, id, Some(State::Delayed), &standing);
        }
        self.leave_due(id, NEVER_MS)?;
        let job = self.body(id)?;
        self.begin_waiting(owner, &job, Some(State::Delayed), &mut standing)
    }

    /// One of those that a job waits for is dead.
    fn die_with(&mut self, owner: Owner, awaited: JobId, id: JobId) -> Step<bool> {
        let mut standing = self.standing(owner, id)?;
        self.leave_due(id, NEVER_MS)?;
        self.stop_awaiting(id, &standing)?;
        standing.awaits = 0;
        standing.error = Some(died(awaited));
        if standing.unique
            && let Some(words) = self.body(id)?.unique
        {
            self.tables.unique.remove(unique_key(standing.queue, owner, &words).as_slice())?;
        }
        self.end_alone(owner, id, standing, State::Failed)?;
        Ok(true)
    }

    /// Takes a job off the lists of those that it waits for.
    pub(super) fn stop_awaiting(&mut self, id: JobId, standing: &Standing) -> Step<()> {
        if standing.awaits > 0 {
            for awaited in self.body(id)?.after {
                self.tables.after.remove(&after_key(awaited, id))?;
            }
        }
        Ok(())
    }

    /// How those stand that a job waits for.
    pub(super) fn awaited(&self, job: &NewJob) -> Step<Awaited> {
        let mut open = 0;
        for (number, awaited) in job.after.iter().enumerate() {
            let seen = job.after.iter().take(number).any(|it| it == awaited);
            let Some(owner) = self.owner(*awaited)?.filter(|_| !seen && *awaited != job.id) else { continue };
            match self.standing(owner, *awaited)?.state {
                State::Done => {}
                State::Failed => return Ok(Awaited::Dead(died(*awaited))),
                State::Waiting | State::Delayed | State::Running => open += 1,
            }
        }
        Ok(if open == 0 { Awaited::Ended } else { Awaited::Open(open) })
    }

    /// The same, and puts the job on the lists of those that have not ended.
    pub(super) fn await_others(&mut self, job: &NewJob) -> Step<Awaited> {
        let found = self.awaited(job)?;
        if matches!(found, Awaited::Open(_)) {
            let owner = super::record::owner(job.tenant);
            for awaited in &job.after {
                let open = match self.owner(*awaited)?.filter(|_| *awaited != job.id) {
                    Some(whose) => self.standing(whose, *awaited)?.state != State::Done,
                    None => false,
                };
                if open {
                    self.tables.after.insert(&after_key(*awaited, job.id), &owner)?;
                }
            }
        }
        Ok(found)
    }

    /// Lets a job wait for its turn, or for its time.
    pub(super) fn begin_waiting(
        &mut self,
        owner: Owner,
        job: &NewJob,
        from: Option<State>,
        standing: &mut Standing,
    ) -> Step<()> {
        match job.put_off_until() {
            Some(due_ms) if due_ms > self.now_ms => self.delay(owner, job.id, from, standing, due_ms),
            _ => self.wait_last(owner, job.id, from, standing, job.created_ms),
        }
    }

    /// Which jobs of a queue may start now.
    pub(super) fn open(&self, queue: Queue) -> Open {
        if self.room_ms(queue) <= self.now_ms { Open::All } else { Open::FreeOnly }
    }

    /// Notes a start under the rate of a queue. Durable, so that a restart does not give more of them.
    pub(super) fn note_start(&mut self, queue: Queue) -> Step<()> {
        let starts = self.book.starts.of_mut(queue);
        starts.push_back(self.now_ms);
        // Only the last ones matter; which of them still count is seen when they are looked at.
        while starts.len() > queue.limited_rate().map_or(0, |it| it.starts) {
            starts.pop_front();
        }
        self.write_starts(queue)
    }

    fn write_starts(&mut self, queue: Queue) -> Step<()> {
        let starts = encode_starts(self.book.starts.of(queue));
        self.tables.about.insert(starts_word(queue).as_str(), starts.as_slice())?;
        self.book.changed = true;
        Ok(())
    }

    /// From when on the rate of a queue allows a start.
    fn room_ms(&self, queue: Queue) -> i64 {
        let Some(rate) = queue.limited_rate() else { return i64::MIN };
        let starts = self.book.starts.of(queue);
        match starts.front() {
            Some(first) if starts.len() >= rate.starts => first.saturating_add(rate.window_ms),
            _ => i64::MIN,
        }
    }

    /// After the clock was set back, starts that are still to come count as now.
    pub(super) fn pull_starts(&mut self) -> Step<()> {
        for queue in Queue::ALL {
            let now_ms = self.now_ms;
            let starts = self.book.starts.of_mut(queue);
            if starts.back().is_some_and(|it| *it > now_ms) {
                for start in starts.iter_mut() {
                    *start = (*start).min(now_ms);
                }
                self.write_starts(queue)?;
            }
        }
        Ok(())
    }

    /// Notes when a rate that is used up allows a start again, and wakes its queue when it does.
    pub(super) fn watch_rates(&mut self) {
        let mut first_ms: Option<i64> = None;
        for queue in Queue::ALL.into_iter().filter(|it| self.book.lanes.of(*it).has_limited()) {
            let room_ms = self.room_ms(queue);
            if room_ms > self.now_ms {
                first_ms = Some(first_ms.map_or(room_ms, |it| it.min(room_ms)));
            } else if self.book.rate_ms.is_some() {
                *self.book.woken.of_mut(queue) = true;
            }
        }
        self.book.rate_ms = first_ms;
    }
}

/// The word in `about` under which the last starts of a queue stand.
pub(super) fn starts_word(queue: Queue) -> String {
    format!("starts {}", queue.word())
}

fn died(awaited: JobId) -> String {
    format!("the job {awaited} that it waits for has failed or was cancelled")
}
