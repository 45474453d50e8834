//! The steps that all commands are made of: where a job stands, and how it moves.
//!
//! Each step changes the file and the book together. It never commits.

use std::collections::VecDeque;

use redb::ReadableTable as _;

use crate::domain::job::{JobId, Queue, State};

use super::{
    book::Book,
    fault::{Fault, Step},
    lanes::{LineKey, WINDOW},
    record::{Entry, NEVER_MS, Owner, Standing, counts_key, ended_key, ready_key, standing_key, time_key},
    tables::Tables,
};

/// One transaction's work.
pub(super) struct Work<'w, 't> {
    pub(super) tables: &'w mut Tables<'t>,
    pub(super) book: &'w mut Book,
    pub(super) now_ms: i64,
    /// Jobs of one tenant that may wait.
    pub(super) waiting_max: u64,
}

impl Work<'_, '_> {
    /// Where a job stands.
    pub(super) fn standing(&self, owner: Owner, id: JobId) -> Step<Standing> {
        let stored = self.tables.standings.get(&standing_key(owner, id))?;
        Standing::decode(stored.ok_or_else(|| missing("the standing", id))?.value())
    }

    /// The owner of a job that is kept; `None` when there is no such job.
    pub(super) fn owner(&self, id: JobId) -> Step<Option<Owner>> {
        let stored = self.tables.jobs.get(id.0.as_bytes())?;
        stored.map(|it| super::record::body_owner(it.value())).transpose()
    }

    /// Writes where a job stands now, and counts the move.
    pub(super) fn stand(&mut self, owner: Owner, id: JobId, from: Option<State>, standing: &Standing) -> Step<()> {
        self.tables.standings.insert(&standing_key(owner, id), standing.encode().as_slice())?;
        self.book.moved(standing.queue, owner, from, Some(standing.state));
        Ok(())
    }

    /// Puts a job into its line at its `seq`. The standing is written too.
    pub(super) fn wait(
        &mut self,
        owner: Owner,
        id: JobId,
        from: Option<State>,
        standing: &mut Standing,
        created_ms: i64,
    ) -> Step<()> {
        standing.state = State::Waiting;
        let entry = Entry { seq: standing.seq, id, since_ms: standing.since_ms, created_ms };
        let key = ready_key(standing.queue, owner, standing.line(), standing.seq);
        self.tables.ready.insert(&key, entry.encode().as_slice())?;
        self.book.lanes.of_mut(standing.queue).insert(owner, standing.line(), entry);
        *self.book.woken.of_mut(standing.queue) = true;
        self.stand(owner, id, from, standing)
    }

    /// Puts a job at the end of its line.
    pub(super) fn wait_last(
        &mut self,
        owner: Owner,
        id: JobId,
        from: Option<State>,
        standing: &mut Standing,
        created_ms: i64,
    ) -> Step<()> {
        standing.seq = self.book.next_seq();
        standing.since_ms = self.now_ms;
        self.wait(owner, id, from, standing, created_ms)
    }

    /// Puts a job aside until `due_ms`.
    pub(super) fn delay(
        &mut self,
        owner: Owner,
        id: JobId,
        from: Option<State>,
        standing: &mut Standing,
        due_ms: i64,
    ) -> Step<()> {
        standing.state = State::Delayed;
        standing.due_ms = due_ms;
        self.tables.due.insert(&time_key(due_ms, id), &owner)?;
        if due_ms != NEVER_MS {
            self.book.due_ms = Some(self.book.due_ms.map_or(due_ms, |it| it.min(due_ms)));
        }
        self.stand(owner, id, from, standing)
    }

    /// Takes a waiting job out of its line, wherever it stands there.
    pub(super) fn leave_line(&mut self, owner: Owner, standing: &Standing) -> Step<()> {
        let (queue, line, seq) = (standing.queue, standing.line(), standing.seq);
        self.tables.ready.remove(&ready_key(queue, owner, line, seq))?;
        if self.book.lanes.of_mut(queue).remove(owner, line, seq) {
            self.refill(queue, owner, line)?;
        }
        Ok(())
    }

    /// Reads the first jobs of a line.
    pub(super) fn refill(&mut self, queue: Queue, owner: Owner, line: LineKey) -> Step<()> {
        let (first, last) = (ready_key(queue, owner, line, 0), ready_key(queue, owner, line, u64::MAX));
        let mut window = VecDeque::with_capacity(WINDOW);
        let mut more = false;
        for row in self.tables.ready.range::<&_>(&first..=&last)? {
            if window.len() == WINDOW {
                more = true;
                break;
            }
            let (key, value) = row?;
            let (_, _, _, seq) = super::record::read_ready_key(key.value())?;
            window.push_back(Entry::decode(seq, value.value())?);
        }
        self.book.lanes.of_mut(queue).refill(owner, line, window, more);
        Ok(())
    }

    /// Ends a job, for good or as failed, with all that depends on it, and lets the oldest go that the queue no longer keeps.
    pub(super) fn end(&mut self, owner: Owner, id: JobId, standing: Standing, to: State) -> Step<()> {
        self.close(owner, id, &standing, to == State::Done)?;
        self.end_alone(owner, id, standing, to)
    }

    /// The same without what depends on it.
    pub(super) fn end_alone(&mut self, owner: Owner, id: JobId, mut standing: Standing, to: State) -> Step<()> {
        let (queue, from) = (standing.queue, standing.state);
        standing.state = to;
        standing.cancelling = false;
        standing.finished_ms = Some(self.now_ms);
        self.tables.ended.insert(&ended_key(to, queue, self.now_ms, id), &owner)?;
        self.stand(owner, id, Some(from), &standing)?;
        let rules = queue.rules();
        let kept = if to == State::Done { rules.kept_done } else { rules.kept_failed };
        while usize::try_from(*self.book.counts(queue, None).of(to)).is_ok_and(|count| count > kept) {
            let Some((id, owner)) = self.oldest_ended(to, queue, i64::MAX)? else { break };
            let standing = self.standing(owner, id)?;
            self.forget(owner, id, &standing)?;
        }
        Ok(())
    }

    /// The ended job of a queue that ended first, if that was before `before_ms`.
    pub(super) fn oldest_ended(&self, state: State, queue: Queue, before_ms: i64) -> Step<Option<(JobId, Owner)>> {
        let nil = JobId(crate::base::ids::Id::NIL);
        let (first, last) = (ended_key(state, queue, 0, nil), ended_key(state, queue, before_ms, nil));
        let Some(row) = self.tables.ended.range::<&_>(&first..&last)?.next() else { return Ok(None) };
        let (key, owner) = row?;
        Ok(Some((super::record::read_ended_key(key.value())?.1, *owner.value())))
    }

    /// Removes a job that is in no line, but remembers its id for a day.
    pub(super) fn forget(&mut self, owner: Owner, id: JobId, standing: &Standing) -> Step<()> {
        if let Some(finished_ms) = standing.finished_ms {
            self.tables.ended.remove(&ended_key(standing.state, standing.queue, finished_ms, id))?;
        }
        self.tables.standings.remove(&standing_key(owner, id))?;
        self.tables.jobs.remove(id.0.as_bytes())?;
        self.remember(id)?;
        self.book.moved(standing.queue, owner, Some(standing.state), None);
        Ok(())
    }

    /// Remembers for a day that this id was taken.
    pub(super) fn remember(&mut self, id: JobId) -> Step<()> {
        self.tables.gone.insert(id.0.as_bytes(), &self.now_ms.to_be_bytes())?;
        self.tables.forget.insert(&time_key(self.now_ms, id), &[])?;
        Ok(())
    }

    /// Writes the counts that changed. Called once, before the commit.
    pub(super) fn write_counts(&mut self) -> Step<()> {
        for (queue, owner, counts) in self.book.changed_counts() {
            let key = counts_key(queue, owner);
            if counts.is_empty() {
                self.tables.counts.remove(&key)?;
            } else {
                self.tables.counts.insert(&key, counts.encode().as_slice())?;
            }
        }
        Ok(())
    }
}

/// The file contradicts itself.
pub(super) fn missing(what: &str, id: JobId) -> Fault {
    Fault::Broken(format!("the file of the job queue lacks {what} of job {id}"))
}
