//! What this process remembers of purges: what it has done, what it gathers, and which hostnames it has seen to lead here. All of it may be
//! forgotten: then something is purged once more, or looked at again.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{GATHER, Run};
use crate::{
    base::ids::Id,
    domain::{doctor::leads::Leads, edge::What, job::JobId, site::SiteId},
};

/// For how long it is believed that a hostname leads here, that it does not, and that it cannot be found out: the last is less than a job
/// waits until it looks again.
const LEADS_FOR: Duration = Duration::from_hours(1);
const LEADS_NOT_FOR: Duration = Duration::from_mins(1);
const UNKNOWN_FOR: Duration = Duration::from_secs(3);
/// More is not remembered of hostnames and of sites.
const KNOWN_MAX: usize = 10_000;
/// The same, for hostnames of one site.
const HOSTS_MAX: usize = 1_000;

/// The whole of it.
#[derive(Debug, Default)]
pub(super) struct Known {
    done: Mutex<HashMap<SiteId, HashMap<String, Done>>>,
    /// Purges of whole sites that have not begun, by site and all that they say.
    gathering: Mutex<HashMap<(SiteId, String), (Id, Instant)>>,
    leads: Mutex<HashMap<String, (Leads, Instant)>>,
}

/// What was purged of a hostname of a site.
#[derive(Clone, Copy, Debug, Default)]
struct Done {
    /// What publications have changed.
    steps: Publications,
    /// Everything, and when that was begun.
    all: Option<Begun>,
}

/// Publications in a row, by what they have changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Publications {
    /// The last one of before; 0: none.
    pub(super) from: i64,
    /// The last one of them.
    pub(super) through: i64,
}

impl Publications {
    /// These and others, as far as there is no gap between them: those behind it, where there is one.
    fn with(self, other: Self) -> Self {
        let (first, last) = if self.from <= other.from { (self, other) } else { (other, self) };
        if last.from <= first.through {
            return Self { from: first.from, through: first.through.max(last.through) };
        }
        last
    }
}

/// When a purge was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Begun {
    /// Before which jobs of others had been asked for, by their clocks.
    pub(super) settled_ms: i64,
    /// Greater than all ids that this process had made.
    pub(super) mark: JobId,
    /// Whether there can be others.
    pub(super) shares: bool,
}

impl Begun {
    /// Whether a job was asked for before.
    fn is_behind(&self, run: &Run<'_>) -> bool {
        if self.shares { run.created_ms <= self.settled_ms } else { run.id < self.mark }
    }
}

fn lock<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Known {
    /// Whether what a job wants on a hostname was done since it was asked for.
    pub(super) fn has_done(&self, run: &Run<'_>, host: &str) -> bool {
        let all = lock(&self.done);
        let Some(done) = all.get(&run.purge.site).and_then(|it| it.get(host)) else { return false };
        // A job that failed for a while comes behind those of publications after its own, which purged what these have changed.
        let published =
            matches!(run.purge.what, What::Changed { from, to } if done.steps.from <= from && done.steps.through >= to);
        published || done.all.is_some_and(|it| it.is_behind(run))
    }

    /// What these publications of a site have changed was purged on hostnames, or with `all` everything.
    pub(super) fn did(&self, site: SiteId, hosts: &[String], steps: Option<Publications>, all: Option<Begun>) {
        if steps.is_none() && all.is_none() {
            return;
        }
        let mut known = lock(&self.done);
        if known.len() >= KNOWN_MAX && !known.contains_key(&site) {
            known.clear();
        }
        let of_site = known.entry(site).or_default();
        for host in hosts {
            if of_site.len() >= HOSTS_MAX && !of_site.contains_key(host) {
                of_site.clear();
            }
            let done = of_site.entry(host.clone()).or_default();
            done.steps = steps.map_or(done.steps, |it| done.steps.with(it));
            done.all = done.all.max(all);
        }
    }

    /// By which key, and after which time, a purge of everything is made together with those that say the same.
    pub(super) fn gather(&self, site: SiteId, payload: &str, now: Instant, id: impl FnOnce() -> Id) -> (Id, Duration) {
        let mut all = lock(&self.gathering);
        all.retain(|_, (_, opened)| now.duration_since(*opened) < GATHER);
        let (key, opened) = *all.entry((site, payload.to_owned())).or_insert_with(|| (id(), now));
        drop(all);
        (key, GATHER.saturating_sub(now.duration_since(opened)))
    }

    /// A job of a site is about to plan: what is asked for from now on is for another one. None that was asked for before takes more, since this
    /// one may do what they were for, and would not do what they took afterwards.
    pub(super) fn begin(&self, site: SiteId) {
        lock(&self.gathering).retain(|(of, _), _| *of != site);
    }

    /// Where a hostname was seen to lead; `None`: it was not looked at, or that was long ago.
    pub(super) fn leads(&self, host: &str, now: Instant) -> Option<Leads> {
        let (leads, seen) = lock(&self.leads).get(host)?.clone();
        let counts = match leads {
            Leads::Here => LEADS_FOR,
            Leads::Elsewhere => LEADS_NOT_FOR,
            Leads::Unknown(_) => UNKNOWN_FOR,
        };
        (now.duration_since(seen) < counts).then_some(leads)
    }

    /// It was looked at.
    pub(super) fn saw(&self, host: &str, leads: Leads, now: Instant) {
        let mut known = lock(&self.leads);
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(host.to_owned(), (leads, now));
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Purge, *};
    use crate::base::{clock::Clock, ids::Ids};

    fn purge(what: What, hosts: &[&str]) -> Purge {
        let hosts = hosts.iter().map(|it| (*it).to_owned()).collect();
        Purge { site: SiteId(Id::from_bytes([1; 16])), name: String::from("shop"), hosts, what, by_operator: false }
    }

    #[test]
    fn purges_of_everything_are_gathered_until_one_begins() {
        let (known, ids, begin) = (Known::default(), Ids::new(Clock::system()), Instant::now());
        let (all, other) = (purge(What::All, &["a.test"]), purge(What::All, &["a.test", "b.test"]));
        let gather = |of: &Purge, ms: u64| {
            let payload = serde_json::to_string(of).unwrap();
            known.gather(of.site, &payload, begin + Duration::from_millis(ms), || ids.next())
        };
        let (first, wait) = gather(&all, 0);
        assert_eq!(wait, GATHER);
        let (second, wait) = gather(&all, 1_500);
        assert_eq!((second, wait), (first, Duration::from_millis(500)), "it ends when it was to end");
        let (more, _) = gather(&other, 1_500);
        assert_ne!(more, first);
        known.begin(all.site);
        assert_ne!(gather(&other, 1_600).0, more, "nor does another one of its site");
        let (third, wait) = gather(&all, 1_600);
        assert!(third != first && wait == GATHER, "a job that has begun takes no more");
        assert_eq!(gather(&all, 3_599).0, third);
        assert_ne!(gather(&all, 3_600).0, third);
    }

    #[test]
    fn what_was_asked_for_before_is_done_with_the_whole_site() {
        let (known, ids) = (Known::default(), Ids::new(Clock::system()));
        let (all, named) =
            (purge(What::All, &["a.test"]), purge(What::Named { urls: Vec::new(), tags: Vec::new() }, &["a.test"]));
        let has = |id: Id, created_ms, purge: &Purge| {
            let run = Run { id: id.into(), tenant: Id::NIL.into(), created_ms, purge };
            purge.hosts.iter().all(|it| known.has_done(&run, it))
        };
        let (before, mark, behind) = (ids.next(), ids.next(), ids.next());
        assert!(!has(before, 0, &all));
        known.did(all.site, &all.hosts, None, Some(Begun { mark: mark.into(), settled_ms: 50, shares: false }));
        assert!(has(before, 99, &all) && has(before, 99, &named));
        assert!(!has(behind, 0, &all), "what was asked for while it was made may not be in it");
        assert!(!has(before, 0, &purge(What::All, &["a.test", "b.test"])));
        // Other processes make ids by clocks of their own.
        known.did(all.site, &all.hosts, None, Some(Begun { mark: mark.into(), settled_ms: 50, shares: true }));
        assert!(has(behind, 50, &all) && !has(before, 51, &all));
        let changed = |to| purge(What::Changed { from: to - 1, to }, &["a.test"]);
        assert!(!has(behind, 99, &changed(7)));
        known.did(all.site, &all.hosts, Some(Publications { from: 6, through: 7 }), None);
        assert!(has(behind, 99, &changed(7)) && !has(behind, 99, &changed(8)));
        assert!(has(behind, 50, &changed(8)), "all of it was");
        assert!(!has(behind, 99, &changed(6)), "a job that failed before has its own to purge");
        let both = [String::from("a.test"), String::from("b.test")];
        known.did(all.site, &both, Some(Publications { from: 4, through: 6 }), None);
        assert!(has(behind, 99, &changed(6)) && has(behind, 99, &changed(7)));
        let on_b = |to| purge(What::Changed { from: to - 1, to }, &["b.test"]);
        assert!(has(behind, 99, &on_b(5)) && !has(behind, 99, &on_b(7)), "each hostname has its own");
    }

    #[test]
    fn publications_in_a_row_have_no_gap() {
        let steps = |from, through| Publications { from, through };
        for (one, other, both) in [
            (steps(0, 0), steps(3, 4), steps(3, 4)),
            (steps(3, 4), steps(4, 6), steps(3, 6)),
            (steps(3, 8), steps(4, 6), steps(3, 8)),
            (steps(3, 4), steps(5, 6), steps(5, 6)),
            (steps(3, 4), steps(0, 9), steps(0, 9)),
        ] {
            assert_eq!((one.with(other), other.with(one)), (both, both), "{one:?} {other:?}");
        }
    }

    #[test]
    fn where_a_hostname_leads_is_looked_at_again() {
        let (known, now) = (Known::default(), Instant::now());
        assert_eq!(known.leads("a.test", now), None);
        let unknown = Leads::Unknown(String::from("it was silent"));
        for (leads, counts) in [(Leads::Elsewhere, LEADS_NOT_FOR), (Leads::Here, LEADS_FOR), (unknown, UNKNOWN_FOR)] {
            known.saw("a.test", leads.clone(), now);
            assert_eq!(known.leads("a.test", now + counts - Duration::from_millis(1)), Some(leads));
            assert_eq!(known.leads("a.test", now + counts), None);
        }
    }
}
