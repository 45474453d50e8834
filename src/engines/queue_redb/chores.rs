//! What time alone brings: delayed jobs become due, old ended jobs and old ids are forgotten, a rate allows a start again.
//!
//! Done inside the transactions that commands cause, a bounded part at a time. Only a due job wakes the thread.

use redb::ReadableTable as _;

use crate::domain::job::{JobId, Queue, State};

use super::{
    fault::Step,
    record::{NEVER_MS, Owner, read_time_key, time_key},
    work::Work,
};

/// Ids of removed jobs are remembered for a day: an outbox hands rows over again within minutes.
pub(super) const REMEMBERED_MS: i64 = 24 * 3_600_000;
/// Ended jobs are kept for 30 days at most.
const ENDED_KEPT_MS: i64 = 30 * 24 * 3_600_000;
/// How often old things are looked for: nobody waits for it.
const CHORES_EVERY_MS: i64 = 60_000;
/// How much of each chore one transaction does, so that no command waits long behind it.
const AT_ONCE: usize = 1_024;

impl Work<'_, '_> {
    /// Does what is due.
    pub(super) fn chores(&mut self) -> Step<()> {
        if self.book.due_ms.is_some_and(|due_ms| due_ms <= self.now_ms) {
            self.wake_due()?;
        }
        self.pull_starts()?;
        // A time far away means that the clock was set back.
        if self.book.chores_ms <= self.now_ms || self.book.chores_ms > self.now_ms.saturating_add(CHORES_EVERY_MS) {
            self.drop_old()?;
            let unfinished = self.forget_ids()?;
            self.book.chores_ms = if unfinished { self.now_ms } else { self.now_ms.saturating_add(CHORES_EVERY_MS) };
        }
        Ok(())
    }

    fn wake_due(&mut self) -> Step<()> {
        let last = time_key(self.now_ms.saturating_add(1), JobId(crate::base::ids::Id::NIL));
        let mut due: Vec<(i64, JobId, Owner)> = Vec::new();
        for row in self.tables.due.range::<&_>(..&last)?.take(AT_ONCE) {
            let (key, owner) = row?;
            let (due_ms, id) = read_time_key(key.value())?;
            due.push((due_ms, id, *owner.value()));
        }
        for (due_ms, id, owner) in due {
            self.tables.due.remove(&time_key(due_ms, id))?;
            let mut standing = self.standing(owner, id)?;
            let created_ms = self.body(id)?.created_ms;
            self.wait_last(owner, id, Some(State::Delayed), &mut standing, created_ms)?;
        }
        self.next_due()
    }

    /// Notes when the first delayed job is due.
    pub(super) fn next_due(&mut self) -> Step<()> {
        let first = self.tables.due.first()?.map(|(key, _)| read_time_key(key.value())).transpose()?;
        self.book.due_ms = first.map(|(due_ms, _)| due_ms).filter(|it| *it != NEVER_MS);
        Ok(())
    }

    /// At most as many as the queues keep.
    fn drop_old(&mut self) -> Step<()> {
        let before_ms = self.now_ms.saturating_sub(ENDED_KEPT_MS);
        for (state, queue) in
            [State::Failed, State::Done].into_iter().flat_map(|it| Queue::ALL.map(|queue| (it, queue)))
        {
            while let Some((id, owner)) = self.oldest_ended(state, queue, before_ms)? {
                let standing = self.standing(owner, id)?;
                self.forget(owner, id, &standing)?;
            }
        }
        Ok(())
    }

    /// `true`: there is more to do.
    fn forget_ids(&mut self) -> Step<bool> {
        let before_ms = self.now_ms.saturating_sub(REMEMBERED_MS);
        let last = time_key(before_ms, JobId(crate::base::ids::Id::NIL));
        let mut old = Vec::new();
        for row in self.tables.forget.range::<&_>(..&last)?.take(AT_ONCE) {
            old.push(read_time_key(row?.0.value())?);
        }
        for (at_ms, id) in &old {
            self.tables.forget.remove(&time_key(*at_ms, *id))?;
            // The id may have been taken and removed again since.
            let gone = self.tables.gone.get(id.0.as_bytes())?.map(|it| i64::from_be_bytes(*it.value()));
            if gone == Some(*at_ms) {
                self.tables.gone.remove(id.0.as_bytes())?;
            }
            self.book.changed = true;
        }
        Ok(old.len() == AT_ONCE)
    }
}
