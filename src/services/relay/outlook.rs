//! Where the relay's looks at the outbox begin.
//!
//! Rows come with growing ids, as a rule, and go as soon as they are handed over. A database that has to keep what was removed, since
//! somebody holds an old snapshot, walks over all of it in a look from the beginning. So a look begins where a row can be:
//!
//! - before every row that this process has asked for since the last look, whatever its id: a schedule that makes up for what it missed
//!   asks for jobs whose ids are as old as their times;
//! - before every row that was left, since its tenant has too many jobs waiting;
//! - [`AGO_MS`] before the last look: rows of other processes, whose clocks and transactions are a little late.
//!
//! Guarantees: what a look that did not end well has not seen, the next one sees. No row is passed over for ever: ids are made by the
//! clocks of several nodes, and an older one can come later than any time that one could think of; so every look that begins
//! [`WHOLE_EVERY`] after the last whole one is whole, by a clock that does not go back, and so is the first. Only a row that another
//! process has asked for, which then died before its own look, waits for that.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{base::ids::Id, domain::job::JobId};

/// How long before the last look a look begins, in milliseconds of the ids' time. Under a held snapshot it is what removed rows cost.
const AGO_MS: i64 = 10_000;
/// How long it may be until a look begins at the beginning again.
const WHOLE_EVERY: Duration = Duration::from_mins(1);

/// What is known of where rows can be.
#[derive(Debug)]
pub(in crate::services) struct Outlook(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    /// Rows that were there at the last look have greater ids.
    floor: Id,
    /// Rows that were asked for since then have greater ids, or there are none.
    told: Id,
    whole_at: Option<Instant>,
}

/// A look that has begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    /// Only rows with greater ids are looked at.
    pub(super) from: JobId,
    began: Instant,
}

impl Look {
    pub(super) fn is_whole(&self) -> bool {
        self.from.0 == Id::NIL
    }
}

impl Default for Outlook {
    fn default() -> Self {
        Self(Mutex::new(Inner { floor: Id::NIL, told: Id::LAST, whole_at: None }))
    }
}

impl Outlook {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A row with this id is in the outbox.
    pub(super) fn tell(&self, id: JobId) {
        let mut inner = self.lock();
        inner.told = inner.told.min(Id::before(id.0.millis()));
    }

    /// Begins a look. Until it has ended well, the next one begins no later than it.
    pub(super) fn begin(&self) -> Look {
        self.begin_at(Instant::now())
    }

    fn begin_at(&self, began: Instant) -> Look {
        let mut inner = self.lock();
        let is_due = inner.whole_at.is_none_or(|at| began.duration_since(at) >= WHOLE_EVERY);
        inner.floor = if is_due { Id::NIL } else { inner.floor.min(inner.told) };
        inner.told = Id::LAST;
        Look { from: JobId(inner.floor), began }
    }

    /// Begins a whole look instead.
    pub(super) fn begin_whole(&self) -> Look {
        self.tell(JobId(Id::NIL));
        self.begin()
    }

    /// A look has seen all rows from where it began, and left those from `left` on.
    pub(super) fn end(&self, look: Look, left: Option<JobId>, now_ms: i64) {
        let mut inner = self.lock();
        if look.is_whole() {
            inner.whole_at = Some(look.began);
        }
        let ago = Id::before(now_ms.saturating_sub(AGO_MS));
        inner.floor = left.map_or(ago, |it| ago.min(Id::before(it.0.millis())));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: i64 = 1_800_000_000_000;

    fn job(ms: i64) -> JobId {
        JobId(Id::derived(ms, [0; 32]))
    }

    /// Whether a look would see a row.
    fn sees(look: Look, ms: i64) -> bool {
        job(ms) > look.from
    }

    /// After a look that has seen everything.
    fn seen() -> Outlook {
        let outlook = Outlook::default();
        outlook.end(outlook.begin(), None, NOW_MS);
        outlook
    }

    #[test]
    fn looks_are_short_and_every_minute_one_is_whole() {
        let (outlook, start) = (Outlook::default(), Instant::now());
        let at = |seconds: u64| outlook.begin_at(start + Duration::from_secs(seconds));
        assert!(at(0).is_whole(), "the first one");
        assert!(at(0).is_whole(), "it did not end well");
        outlook.end(at(0), None, NOW_MS);
        for second in 1..60 {
            let look = at(second);
            assert!(!look.is_whole() && sees(look, NOW_MS - AGO_MS) && !sees(look, NOW_MS - AGO_MS - 1));
            outlook.end(look, None, NOW_MS);
        }
        let look = at(60);
        assert!(look.is_whole());
        assert!(at(60).is_whole(), "the other has not ended");
        outlook.end(look, None, NOW_MS);
        assert!(!at(119).is_whole() && at(120).is_whole());
    }

    #[test]
    fn what_is_told_is_seen_whatever_its_id() {
        let outlook = seen();
        let look = outlook.begin();
        // While a look runs, which may have passed by already.
        outlook.tell(job(1_000));
        outlook.tell(job(NOW_MS));
        outlook.end(look, None, NOW_MS);
        let look = outlook.begin();
        assert!(sees(look, 1_000) && !look.is_whole());
        // It did not end well.
        let look = outlook.begin();
        assert!(sees(look, 1_000));
        outlook.end(look, None, NOW_MS);
        assert!(!sees(outlook.begin(), 1_000));
    }

    #[test]
    fn what_is_left_is_seen_again_however_old_it_grows() {
        let outlook = seen();
        let left_ms = NOW_MS - 3_600_000;
        outlook.end(outlook.begin_whole(), Some(job(left_ms)), NOW_MS);
        for _ in 0..3 {
            let look = outlook.begin();
            assert!(sees(look, left_ms) && !look.is_whole());
            outlook.end(look, Some(job(left_ms)), NOW_MS);
        }
        outlook.end(outlook.begin(), None, NOW_MS);
        assert!(!sees(outlook.begin(), left_ms));
    }

    #[test]
    fn a_clock_that_goes_back_takes_the_looks_back_with_it() {
        let outlook = seen();
        outlook.end(outlook.begin(), None, NOW_MS - 3_600_000);
        assert!(sees(outlook.begin(), NOW_MS - 3_600_000));
        outlook.end(outlook.begin(), None, -5);
        assert!(outlook.begin().is_whole(), "before all times that ids know");
    }
}
