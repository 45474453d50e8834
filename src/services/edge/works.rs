//! What this process remembers of jobs that go on, from one attempt to the next. All of it may be forgotten: such a job begins anew.

use std::{
    collections::HashMap,
    mem,
    sync::{Mutex, PoisonError},
};

use super::{
    known::Begun,
    proof::Proved,
    run::{Failed, Plan},
    served::Awaited,
};
use crate::domain::job::JobId;

/// More jobs are not remembered.
const WORKS_MAX: usize = 10_000;
/// The longest time between two attempts for which a job counts as tried: its longest pause, and some time to wait for its turn. A queue
/// that stood still tries nothing.
const PAUSE_MAX_MS: i64 = 6 * 60_000;
/// The longest time between two attempts here in which no other node has had a job: it comes again sooner where nobody can do it.
const ALONE_MAX_MS: i64 = 30_000;
/// What nobody has gone on with for so long is forgotten first.
const FORGOTTEN_MS: i64 = 15 * 60_000;

/// The jobs.
#[derive(Debug, Default)]
pub struct Works(Mutex<HashMap<JobId, Work>>);

/// How far a job is.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// When its last attempt began.
    seen_ms: Option<i64>,
    /// For how long it is tried: since its first attempt here, without the time for which its queue stood still.
    pub(super) tried_ms: i64,
    /// The same, without the time in which another node may have had it.
    pub(super) alone_ms: i64,
    /// Hostnames that are to be purged.
    pub(super) found: Vec<String>,
    /// Those that are.
    pub(super) purged: Vec<String>,
    /// Those that lead elsewhere.
    pub(super) elsewhere: Vec<String>,
    /// Those of which that could not be found out, with why.
    unknown: Vec<(String, String)>,
    /// What a provider has refused in a way that does not pass.
    pub(super) refused: Option<Failed>,
    /// What waits until visitors are served by it.
    pub(super) ready: Option<Ready>,
    /// There are hostnames left to look at.
    pub(super) has_more: bool,
}

/// A plan that was made, for when visitors are served by it.
#[derive(Debug)]
pub(super) struct Ready {
    /// What is purged.
    pub(super) plan: Plan,
    /// On these hostnames.
    pub(super) hosts: Vec<String>,
    /// What visitors are to be served first.
    pub(super) awaited: Awaited,
    /// When it was made.
    pub(super) begun: Begun,
    pub(super) made_ms: i64,
}

impl Works {
    /// What is known of a job, which nobody else has now, and of which an attempt begins.
    pub(super) fn take(&self, id: JobId, now_ms: i64) -> Work {
        let mut work = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id).unwrap_or_default();
        let since_ms = now_ms.saturating_sub(work.seen_ms.unwrap_or(now_ms));
        work.tried_ms = work.tried_ms.saturating_add(since_ms.clamp(0, PAUSE_MAX_MS));
        work.alone_ms = work.alone_ms.saturating_add(since_ms.clamp(0, ALONE_MAX_MS));
        if since_ms > PAUSE_MAX_MS {
            // They may lead elsewhere by now.
            work.found.clear();
        }
        work.seen_ms = Some(now_ms);
        work
    }

    /// It goes on.
    pub(super) fn keep(&self, id: JobId, work: Work) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= WORKS_MAX {
            let oldest_ms = work.seen_ms.map(|it| it.saturating_sub(FORGOTTEN_MS));
            all.retain(|_, it| it.seen_ms >= oldest_ms);
            if all.len() >= WORKS_MAX {
                all.clear();
            }
        }
        all.insert(id, work);
    }
}

impl Work {
    /// Those of the hostnames of which nothing was found out yet.
    pub(super) fn open(&self, hosts: &[String]) -> Vec<String> {
        let is_known = |host: &String| {
            [&self.found, &self.purged, &self.elsewhere].iter().any(|it| it.contains(host))
                || self.unknown.iter().any(|it| it.0 == *host)
        };
        hosts.iter().filter(|it| !is_known(it)).cloned().collect()
    }

    /// Goes on with `hosts` alone, which are those of the `kept` ones that no other job has done. A plan that waits goes on without the others,
    /// but not where one of its hostnames is another site's by now.
    pub(super) fn leave(&mut self, kept: &[String], hosts: &[String]) {
        self.ready =
            self.ready.take().filter(|it| it.hosts.iter().all(|host| kept.contains(host))).and_then(|mut it| {
                it.hosts.retain(|host| hosts.contains(host));
                (!it.hosts.is_empty()).then_some(it)
            });
        self.found.retain(|it| hosts.contains(it));
        self.elsewhere.retain(|it| hosts.contains(it));
        self.unknown.retain(|it| hosts.contains(&it.0));
    }

    /// A plan that waits, is no older, and is for nothing but what is still to be purged.
    pub(super) fn take_ready(&mut self, oldest_ms: i64) -> Option<Ready> {
        let ready = self.ready.take()?;
        (ready.made_ms > oldest_ms && ready.hosts.iter().all(|it| self.found.contains(it))).then_some(ready)
    }

    /// Takes in what was found out.
    pub(super) fn learn(&mut self, proved: Proved) {
        self.has_more = !proved.left.is_empty();
        self.found.extend(proved.hosts);
        self.elsewhere.extend(proved.elsewhere);
        self.unknown.extend(proved.unknown);
    }

    /// Those of which nothing could be found out: the next attempt looks again.
    pub(super) fn take_unknown(&mut self) -> Vec<(String, String)> {
        mem::take(&mut self.unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::Id;

    #[test]
    fn a_queue_that_stands_still_tries_nothing() {
        let (works, id) = (Works::default(), JobId(Id::from_bytes([3; 16])));
        let tried = |now_ms| {
            let work = works.take(id, now_ms);
            let tried_ms = work.tried_ms;
            works.keep(id, work);
            tried_ms
        };
        let hour_ms = 3_600_000;
        assert_eq!(tried(hour_ms), 0, "whenever it was asked for");
        assert_eq!([tried(hour_ms + 5_000), tried(hour_ms + 65_000)], [5_000, 65_000]);
        assert_eq!(tried(9 * hour_ms), 65_000 + PAUSE_MAX_MS);
        assert_eq!(tried(0), 65_000 + PAUSE_MAX_MS, "a clock that goes back");
        assert_eq!(works.take(JobId(Id::from_bytes([4; 16])), hour_ms).tried_ms, 0);
    }
}
