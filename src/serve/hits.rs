//! How many requests have fitted each rule of a site's firewall that refuses or tells, and which the last one was: counted by this process, and
//! kept nowhere.
//!
//! Only a request that fits pays for it. There is one entry for each rule and set that a request has fitted, of those that the sites have now: what
//! a publish takes away, or makes another rule, begins anew.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::snapshot::{Settings, Snapshot};
use crate::domain::{
    site::SiteId,
    site_settings::firewall::{Action, Firewall, Rule},
};

/// Bytes of a path that are kept.
const PATH_BYTES_MAX: usize = 200;
/// So many rows of sites, each with a lock: a site that is flooded holds up few others.
const SHARDS: usize = 16;

/// What requests have fitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The name of the rule, or of the set.
    pub name: String,
    /// Whether it is a set of known attacks.
    pub is_set: bool,
    /// Requests.
    pub requests: u64,
    /// When the first of them came.
    pub first_ms: i64,
    /// When the last one came.
    pub last_ms: i64,
    /// For which path that was.
    pub path: String,
}

/// What a rule or set was when a request fitted it.
#[derive(Debug, PartialEq, Eq)]
enum Meant {
    Rule(Box<Rule>),
    Set(Action),
}

impl Meant {
    fn of(firewall: &Firewall, name: &str, is_set: bool) -> Option<Self> {
        if is_set {
            return firewall.sets.iter().any(|it| it.word() == name).then_some(Self::Set(firewall.sets_do));
        }
        firewall.rules.iter().find(|it| it.name == name).map(|it| Self::Rule(Box::new(it.clone())))
    }
}

type OfSite = Vec<(Meant, Hit)>;

/// The hits of all sites.
#[derive(Debug)]
pub struct Hits {
    since_ms: i64,
    shards: [Mutex<HashMap<SiteId, OfSite>>; SHARDS],
}

/// A request that fits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fit<'a> {
    pub(super) name: &'a str,
    pub(super) is_set: bool,
    pub(super) now_ms: i64,
    /// Its path, without what is secret in it.
    pub(super) path: &'a str,
}

impl Hits {
    pub(super) fn new(since_ms: i64) -> Self {
        Self { since_ms, shards: std::array::from_fn(|_| Mutex::default()) }
    }

    /// Since when is counted.
    pub const fn since_ms(&self) -> i64 {
        self.since_ms
    }

    /// Counts a request that fits a rule or set of a firewall.
    pub(super) fn count(&self, site: SiteId, firewall: &Firewall, fit: Fit<'_>) {
        let mut sites = self.shard(site);
        let all = sites.entry(site).or_default();
        let known = all.iter_mut().map(|it| &mut it.1).find(|it| it.name == fit.name && it.is_set == fit.is_set);
        if let Some(hit) = known {
            hit.requests = hit.requests.saturating_add(1);
            hit.last_ms = fit.now_ms;
            hit.path.clear();
            hit.path.push_str(short(fit.path));
            return;
        }
        let Some(meant) = Meant::of(firewall, fit.name, fit.is_set) else { return };
        let hit = Hit {
            name: fit.name.to_owned(),
            is_set: fit.is_set,
            requests: 1,
            first_ms: fit.now_ms,
            last_ms: fit.now_ms,
            path: short(fit.path).to_owned(),
        };
        all.push((meant, hit));
    }

    /// What requests to a site have fitted.
    pub fn of(&self, site: SiteId) -> Vec<Hit> {
        self.shard(site).get(&site).map(|all| all.iter().map(|it| it.1.clone()).collect()).unwrap_or_default()
    }

    /// Forgets what sites do not have any more.
    pub(super) fn follow(&self, snapshot: &Snapshot) {
        if self.shards.iter().all(|it| lock(it).is_empty()) {
            return;
        }
        let given = snapshot.hosts().filter_map(|(_, target)| match &target.settings {
            Settings::Given(it) => Some((target.site, &it.firewall)),
            Settings::Plain | Settings::Unreadable => None,
        });
        self.keep(&given.collect());
    }

    fn keep(&self, firewalls: &HashMap<SiteId, &Firewall>) {
        for shard in &self.shards {
            lock(shard).retain(|site, all| {
                let Some(firewall) = firewalls.get(site) else { return false };
                all.retain(|(meant, hit)| Meant::of(firewall, &hit.name, hit.is_set).as_ref() == Some(meant));
                !all.is_empty()
            });
        }
    }

    fn shard(&self, site: SiteId) -> MutexGuard<'_, HashMap<SiteId, OfSite>> {
        let mut hasher = DefaultHasher::new();
        site.hash(&mut hasher);
        let [first, ..] = &self.shards;
        let at = usize::try_from(hasher.finish()).unwrap_or(usize::MAX) % SHARDS;
        lock(self.shards.get(at).unwrap_or(first))
    }
}

fn lock<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As much of a path as is kept.
fn short(path: &str) -> &str {
    path.get(..path.floor_char_boundary(PATH_BYTES_MAX)).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::Id;

    fn firewall(text: &str) -> Firewall {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn each_rule_has_one_count_and_another_rule_begins_anew() {
        let (one, other) = (SiteId(Id::derived(1, [1; 32])), SiteId(Id::derived(1, [2; 32])));
        let hits = Hits::new(5);
        let before =
            firewall(r#"{"sets":["probes"],"rules":[{"name":"probes","path":"/a"},{"name":"b","path":"/b"}]}"#);
        let fit = |name, is_set, now_ms, path| Fit { name, is_set, now_ms, path };
        let long = format!("/{}\u{e9}", "a".repeat(198));
        hits.count(one, &before, fit("probes", true, 10, "/x"));
        hits.count(one, &before, fit("probes", false, 11, "/a"));
        hits.count(one, &before, fit("probes", true, 12, &long));
        hits.count(one, &before, fit("b", false, 13, "/b"));
        hits.count(other, &before, fit("b", false, 14, "/b"));
        hits.count(one, &before, fit("gone", false, 15, "/c"));
        let of = |site| hits.of(site).into_iter().map(|it| (it.name, it.is_set, it.requests)).collect::<Vec<_>>();
        let all = |name: &str, is_set, requests| (name.to_owned(), is_set, requests);
        assert_eq!(of(one), [all("probes", true, 2), all("probes", false, 1), all("b", false, 1)]);
        let first = hits.of(one).remove(0);
        assert_eq!((first.first_ms, first.last_ms, first.path.len()), (10, 12, 199), "cut between letters");

        let after =
            firewall(r#"{"sets":["probes"],"rules":[{"name":"probes","path":"/a"},{"name":"b","path":"/other"}]}"#);
        hits.keep(&HashMap::from([(one, &after)]));
        assert_eq!(of(one), [all("probes", true, 2), all("probes", false, 1)]);
        assert_eq!(of(other), []);
        let told = firewall(r#"{"sets":["probes"],"sets_do":"log"}"#);
        hits.keep(&HashMap::from([(one, &told)]));
        assert_eq!(of(one), [], "what it does is another thing now");
        assert!(hits.shards.iter().all(|it| lock(it).is_empty()));
    }
}
