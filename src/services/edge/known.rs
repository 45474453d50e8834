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

/// The whole of it.
#[derive(Debug, Default)]
pub(super) struct Known {
    done: Mutex<HashMap<SiteId, Done>>,
    /// Purges of whole sites that have not begun, by site and all that they say.
    gathering: Mutex<HashMap<(SiteId, String), (Id, Instant)>>,
    leads: Mutex<HashMap<String, (Leads, Instant)>>,
}

/// What was purged of a site.
#[derive(Clone, Debug, Default)]
struct Done {
    hosts: Vec<String>,
    /// Publications, up to this one.
    through: i64,
    /// Everything, and when that was begun.
    all: Option<Begun>,
}

/// When a purge was begun.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    /// Greater than all ids that this process had made.
    pub(super) mark: JobId,
    /// Before which jobs of others had been asked for, by their clocks.
    pub(super) settled_ms: i64,
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
    /// Whether what a job wants was done since it was asked for.
    pub(super) fn has_done(&self, run: &Run<'_>) -> bool {
        let all = lock(&self.done);
        let Some(done) = all.get(&run.purge.site) else { return false };
        if !run.purge.hosts.iter().all(|it| done.hosts.contains(it)) {
            return false;
        }
        let published = matches!(run.purge.what, What::Changed { to, .. } if done.through >= to);
        published || done.all.is_some_and(|it| it.is_behind(run))
    }

    /// Publications of a site were purged up to `through`, or with `all` everything.
    pub(super) fn did(&self, site: SiteId, hosts: &[String], through: Option<i64>, all: Option<Begun>) {
        let mut known = lock(&self.done);
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        let done = known.entry(site).or_default();
        if done.hosts != hosts {
            *done = Done { hosts: hosts.to_vec(), ..Done::default() };
        }
        done.through = done.through.max(through.unwrap_or(0));
        done.all = all.or(done.all);
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
            known.has_done(&Run { id: id.into(), tenant: Id::NIL.into(), created_ms, purge })
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
        known.did(all.site, &all.hosts, Some(7), None);
        assert!(has(behind, 99, &changed(7)) && !has(behind, 99, &changed(8)));
        assert!(has(behind, 50, &changed(8)), "all of it was");
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
