//! A schedule: a job that is asked for again and again, at times that an expression names in a time zone.
//!
//! Guarantees: the next time comes from the expression and the time of day, never from when the last job ran or how long it
//! took; one due time is one job, since the job's id is made of the schedule and the due time.

use crate::{
    base::{hash::Hasher, ids::Id, limits::SCHEDULE_MISSED_MAX},
    domain::{
        Error, Result,
        cron::Cron,
        job::{JobId, NewJob, Queue},
        tenant::TenantId,
        zone::Zone,
    },
    id_type,
};

id_type!(
    /// The id of a schedule.
    ScheduleId
);

/// A run that is asked for within a minute of its time was not missed.
pub const LATE_MS: i64 = 60_000;

/// What becomes of runs that came due while nobody looked: the server was down, or the database was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missed {
    /// They are left out.
    Skip,
    /// One run stands for all of them.
    Once,
    /// Each is made up for, the oldest first, at most [`SCHEDULE_MISSED_MAX`] of them.
    All,
}

impl Missed {
    /// The stored and shown word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::Once => "once",
            Self::All => "all",
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Result<Self> {
        [Self::Skip, Self::Once, Self::All].into_iter().find(|it| it.word() == word).ok_or_else(|| {
            Error::invalid("missed", format!("`{word}` is not what to do with missed runs: skip, once or all."))
                .on("missed")
        })
    }
}

/// Times of day that come again and again: an expression, read in a time zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Times {
    /// When.
    pub cron: Cron,
    /// Where.
    pub zone: Zone,
}

impl Times {
    /// The first of them after `after_ms`; `None` when none comes any more.
    pub fn next_after(&self, after_ms: i64) -> Option<i64> {
        self.cron.next_ms(&self.zone, after_ms)
    }

    /// Up to `count` of them after `after_ms`.
    pub fn upcoming(&self, after_ms: i64, count: usize) -> Vec<i64> {
        std::iter::successors(self.next_after(after_ms), |it| self.next_after(*it)).take(count).collect()
    }
}

/// What people may have done again and again. This is all of it: a queue takes jobs of any kind, and a schedule of one that no
/// handler knows would fail each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chore {
    /// Reads every file that visitors are served, and says which of them are damaged or gone.
    CheckFiles,
}

impl Chore {
    /// All of them.
    pub const ALL: [Self; 1] = [Self::CheckFiles];

    /// The kind of its jobs: the stored and shown word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::CheckFiles => "check_files",
        }
    }

    /// What it does, as a sentence.
    pub const fn text(self) -> &'static str {
        match self {
            Self::CheckFiles => "Reads every file of what is live, and says which of them are damaged or gone.",
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|it| it.word() == word).ok_or_else(|| {
            let known = Self::ALL.map(Self::word).join(", ");
            Error::invalid("schedule_kind", format!("`{word}` cannot be asked for again and again. What can: {known}."))
                .on("kind")
        })
    }
}

/// What a schedule asks for each time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Its queue.
    pub queue: Queue,
    /// Which handler.
    pub kind: String,
    /// JSON, at most 64 KiB.
    pub payload: String,
    /// Higher first; 0 is usual.
    pub priority: i8,
    /// One line for people.
    pub title: String,
}

/// A schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Its id.
    pub id: ScheduleId,
    /// Whose.
    pub tenant: TenantId,
    /// Its name, one in the tenant.
    pub name: String,
    /// When.
    pub cron: Cron,
    /// In which zone the expression is read.
    pub zone: Zone,
    /// What becomes of missed runs.
    pub missed: Missed,
    /// What it asks for.
    pub template: Template,
    /// Nothing is asked for.
    pub paused: bool,
    /// When it is due next; `None` while it is paused, and when no time comes any more.
    pub next_ms: Option<i64>,
    /// When it was made.
    pub created_ms: i64,
}

/// What a look at a schedule finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firing {
    /// The due times to ask for jobs for, oldest first.
    pub due_ms: Vec<i64>,
    /// When it is due next.
    pub next_ms: Option<i64>,
    /// More runs were missed than are made up for.
    pub cut: bool,
}

impl Schedule {
    /// What is due at `now_ms`; `None` when nothing is.
    pub fn fire(&self, now_ms: i64) -> Option<Firing> {
        let first_ms = self.next_ms.filter(|it| *it <= now_ms && !self.paused)?;
        let next_ms = self.next_after(now_ms);
        let mut cut = false;
        let due_ms = match self.missed {
            Missed::Once => vec![first_ms],
            Missed::Skip => {
                let late_ms = now_ms.saturating_sub(LATE_MS);
                let fresh_ms = if first_ms > late_ms { Some(first_ms) } else { self.next_after(late_ms) };
                fresh_ms.into_iter().filter(|it| *it <= now_ms).collect()
            }
            Missed::All => {
                let all = std::iter::successors(Some(first_ms), |it| self.next_after(*it));
                let mut due: Vec<i64> = all.take_while(|it| *it <= now_ms).take(SCHEDULE_MISSED_MAX + 1).collect();
                cut = due.len() > SCHEDULE_MISSED_MAX;
                due.truncate(SCHEDULE_MISSED_MAX);
                due
            }
        };
        Some(Firing { due_ms, next_ms, cut })
    }

    /// Up to `count` due times, from the next one on; none while it is paused.
    pub fn upcoming(&self, count: usize) -> Vec<i64> {
        std::iter::successors(self.next_ms, |it| self.next_after(*it)).take(count).collect()
    }

    /// The first due time after `after_ms`.
    pub fn next_after(&self, after_ms: i64) -> Option<i64> {
        self.cron.next_ms(&self.zone, after_ms)
    }

    /// The job for one due time. The same due time always gives the same id.
    pub fn job(&self, due_ms: i64, now_ms: i64) -> NewJob {
        let Template { queue, kind, payload, priority, title } = self.template.clone();
        NewJob {
            id: self.job_id(due_ms),
            queue,
            kind,
            tenant: Some(self.tenant),
            payload,
            priority,
            run_at_ms: due_ms,
            title,
            created_ms: now_ms,
            unique: None,
            after: Vec::new(),
        }
    }

    /// Whether this schedule has asked for that job.
    pub fn asked_for(&self, job: &NewJob) -> bool {
        job.kind == self.template.kind && job.id == self.job_id(job.run_at_ms)
    }

    /// A UUIDv7 of the due time whose random bits are a hash of schedule and due time.
    fn job_id(&self, due_ms: i64) -> JobId {
        let mut hasher = Hasher::new();
        hasher.update(b"chainhost schedule v1");
        hasher.update(self.id.0.as_bytes());
        hasher.update(&due_ms.to_be_bytes());
        JobId(Id::derived(due_ms, hasher.finish().0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: i64 = 60_000;
    /// A whole hour.
    const NINE_MS: i64 = 497_236 * 3_600_000;

    fn schedule(cron: &str, missed: Missed) -> Schedule {
        Schedule {
            id: ScheduleId(Id::from_bytes([7; 16])),
            tenant: TenantId(Id::from_bytes([1; 16])),
            name: String::from("nightly"),
            cron: Cron::parse(cron).unwrap(),
            zone: Zone::UTC,
            missed,
            template: Template {
                queue: Queue::Backup,
                kind: String::from("backup"),
                payload: String::from("{}"),
                priority: 3,
                title: String::from("Back up"),
            },
            paused: false,
            next_ms: Some(NINE_MS),
            created_ms: 0,
        }
    }

    fn hours(all: &[i64]) -> Vec<i64> {
        all.iter().map(|it| NINE_MS + it * 60 * MINUTE_MS).collect()
    }

    #[test]
    fn nothing_is_due_before_its_time_or_while_paused() {
        let it = schedule("@hourly", Missed::All);
        assert_eq!(it.fire(NINE_MS - 1), None);
        assert_eq!(Schedule { paused: true, ..it.clone() }.fire(NINE_MS), None);
        assert_eq!(Schedule { next_ms: None, ..it }.fire(NINE_MS), None);
    }

    /// On time all three do the same, and the next time comes from the expression, not from when this was looked at.
    #[test]
    fn what_is_on_time_is_asked_for_once() {
        for missed in [Missed::Skip, Missed::Once, Missed::All] {
            let firing = schedule("@hourly", missed).fire(NINE_MS + LATE_MS - 1).unwrap();
            assert_eq!(firing, Firing { due_ms: hours(&[0]), next_ms: Some(hours(&[1])[0]), cut: false });
        }
    }

    #[test]
    fn missed_runs_are_left_out_stood_for_or_made_up_for() {
        let late_ms = NINE_MS + 150 * MINUTE_MS;
        let fire = |missed| schedule("@hourly", missed).fire(late_ms).unwrap();
        let next_ms = Some(hours(&[3])[0]);
        assert_eq!(fire(Missed::Skip), Firing { due_ms: Vec::new(), next_ms, cut: false });
        assert_eq!(fire(Missed::Once), Firing { due_ms: hours(&[0]), next_ms, cut: false });
        assert_eq!(fire(Missed::All), Firing { due_ms: hours(&[0, 1, 2]), next_ms, cut: false });
        // Back within a minute of the last of them: that one was not missed.
        let back = schedule("@hourly", Missed::Skip).fire(NINE_MS + 120 * MINUTE_MS + 5_000).unwrap();
        assert_eq!(back, Firing { due_ms: hours(&[2]), next_ms, cut: false });
    }

    #[test]
    fn what_is_made_up_for_has_a_bound() {
        let firing = schedule("* * * * *", Missed::All).fire(NINE_MS + 500 * MINUTE_MS).unwrap();
        assert_eq!((firing.due_ms.len(), firing.cut), (SCHEDULE_MISSED_MAX, true));
        assert_eq!(firing.due_ms[99], NINE_MS + 99 * MINUTE_MS);
        assert_eq!(firing.next_ms, Some(NINE_MS + 501 * MINUTE_MS));
        let exactly = schedule("* * * * *", Missed::All).fire(NINE_MS + 99 * MINUTE_MS).unwrap();
        assert_eq!((exactly.due_ms.len(), exactly.cut), (SCHEDULE_MISSED_MAX, false));
    }

    #[test]
    fn one_due_time_is_one_id() {
        let it = schedule("@hourly", Missed::Once);
        let job = it.job(NINE_MS, NINE_MS + 5);
        assert_eq!((job.id.0.millis(), job.tenant, job.priority), (NINE_MS, Some(it.tenant), 3));
        assert_eq!(job.id, it.job(NINE_MS, NINE_MS + 900).id);
        assert!(it.asked_for(&job) && !it.asked_for(&NewJob { run_at_ms: NINE_MS + 1, ..job.clone() }));
        assert_ne!(job.id, it.job(NINE_MS + 1, NINE_MS).id);
        let other = Schedule { id: ScheduleId(Id::from_bytes([8; 16])), ..it };
        assert_ne!(job.id, other.job(NINE_MS, NINE_MS).id);
    }
}
