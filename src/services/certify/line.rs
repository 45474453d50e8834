//! Who is next among those that are due.
//!
//! Guarantees: orders that wait for the provider of one zone never have all places: one that stands still holds up its own names, and no others.
//! Nor do those of one tenant, while others have some that may begin: hostnames that nobody answers for take minutes each. Those that come
//! while a pass goes on have one place more for themselves, but for tenants who have enough under way.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Mutex,
};

use tokio::sync::{Notify, futures::Notified};

use super::{Acme, lock, names::Wanted, pass::AT_ONCE};
use crate::domain::{certificate::kept::Order, tenant::TenantId};

/// Orders of one zone at a time.
const ZONE_AT_ONCE: usize = AT_ONCE / 2;
/// Orders of one tenant at a time, while others wait.
const TENANT_AT_ONCE: usize = AT_ONCE / 2;

/// One that is due, with its order before.
pub(super) type Due = (Wanted, Option<Order>);

/// What is due, and what is under way.
pub(super) struct Line<'a> {
    acme: &'a Acme,
    inner: Mutex<Inner>,
    changed: Notify,
}

struct Inner {
    /// What was due when the pass began, and what has come since.
    due: [VecDeque<Due>; 2],
    /// All names that were ever here. Whose they are may change while they are under way: those of the server are nobody's at first.
    known: HashSet<String>,
    under_way: usize,
    zones: HashMap<String, usize>,
    tenants: HashMap<TenantId, usize>,
}

/// Where in [`Inner::due`].
const FIRST: usize = 0;
const LATE: usize = 1;

/// One that is under way, until it is dropped.
pub(super) struct Turn<'a> {
    line: &'a Line<'a>,
    zone: Option<String>,
    tenant: TenantId,
}

impl<'a> Line<'a> {
    pub(super) fn new(acme: &'a Acme, due: Vec<Due>) -> Self {
        let known = due.iter().map(|(it, _)| it.name.clone()).collect();
        let (zones, tenants) = (HashMap::new(), HashMap::new());
        let inner = Inner { due: [due.into(), VecDeque::new()], known, under_way: 0, zones, tenants };
        Self { acme, inner: Mutex::new(inner), changed: Notify::new() }
    }

    /// The zone whose provider a name waits for.
    fn zone(&self, wanted: &Wanted) -> Option<String> {
        let zone = self.acme.zone(&wanted.name).filter(|it| it.access.is_some() && self.acme.sets_records(wanted))?;
        Some(zone.zone.clone())
    }

    /// Adds what is due by now, but for what was here already.
    pub(super) fn add(&self, due: Vec<Due>) {
        let mut inner = lock(&self.inner);
        for it in due {
            if inner.known.insert(it.0.name.clone()) {
                inner.due[LATE].push_back(it);
            }
        }
        drop(inner);
        self.changed.notify_waiters();
    }

    /// Whether nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        lock(&self.inner).under_way == 0
    }

    /// Waits until a turn ends, or something is added; from the call on.
    pub(super) fn changed(&self) -> Notified<'_> {
        self.changed.notified()
    }

    /// The next one that may begin. Those that may not are left to who has a turn of their zone.
    pub(super) fn next(&'a self) -> Option<(Due, Turn<'a>)> {
        // Where nobody else may begin, no place stays empty.
        [(FIRST, true), (LATE, true), (FIRST, false), (LATE, false)].into_iter().find_map(|it| self.next_of(it))
    }

    /// The next one that may begin of those that have come since.
    pub(super) fn next_late(&'a self) -> Option<(Due, Turn<'a>)> {
        self.next_of((LATE, true))
    }

    /// `is_fair`: of tenants that have not enough under way.
    fn next_of(&'a self, (which, is_fair): (usize, bool)) -> Option<(Due, Turn<'a>)> {
        let mut inner = lock(&self.inner);
        let Inner { due, zones, tenants, under_way, .. } = &mut *inner;
        let due = due.get_mut(which)?;
        let has_room = |of: Option<&usize>, max| of.is_none_or(|count| *count < max);
        let at = due.iter().position(|(it, _)| {
            (!is_fair || has_room(tenants.get(&it.tenant), TENANT_AT_ONCE))
                && self.zone(it).is_none_or(|zone| has_room(zones.get(&zone), ZONE_AT_ONCE))
        })?;
        let it = due.remove(at)?;
        let (zone, tenant) = (self.zone(&it.0), it.0.tenant);
        if let Some(zone) = &zone {
            *zones.entry(zone.clone()).or_default() += 1;
        }
        *tenants.entry(tenant).or_default() += 1;
        *under_way += 1;
        drop(inner);
        Some((it, Turn { line: self, zone, tenant }))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut inner = lock(&self.line.inner);
        if let Some(count) = self.zone.as_ref().and_then(|it| inner.zones.get_mut(it)) {
            *count = count.saturating_sub(1);
        }
        if let Some(count) = inner.tenants.get_mut(&self.tenant) {
            *count = count.saturating_sub(1);
        }
        inner.under_way = inner.under_way.saturating_sub(1);
        drop(inner);
        self.line.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use zeroize::Zeroizing;

    use super::*;
    use crate::{
        base::ids::Id,
        domain::acme::Refusal,
        ports::acme::{Authorities, Directory, Failure, Issued, Later, Stage, Window, Wish},
    };

    /// Is asked for nothing.
    struct Nobody;

    impl Authorities for Nobody {
        fn register<'a>(
            &'a self,
            _directory: &'a Directory,
            _email: Option<&'a str>,
        ) -> Later<'a, Result<Zeroizing<String>, Refusal>> {
            unreachable!()
        }

        fn issue<'a>(
            &'a self,
            _directory: &'a Directory,
            _credentials: &'a str,
            _wish: &'a Wish,
            _stage: Arc<dyn Stage>,
        ) -> Later<'a, Result<Issued, Failure>> {
            unreachable!()
        }

        fn renewal<'a>(
            &'a self,
            _directory: &'a Directory,
            _id: &'a str,
        ) -> Later<'a, Result<Option<Window>, Refusal>> {
            unreachable!()
        }
    }

    fn due(tenant: u8, name: String) -> Due {
        let tenant = format!("{tenant:032x}").parse::<Id>().unwrap().into();
        (Wanted { tenant, name, for_server: false, stands_in: false }, None)
    }

    #[test]
    fn one_tenant_has_half_of_the_places_while_others_wait() {
        let acme = Acme::new(Arc::new(Nobody), Vec::new(), None);
        let mut all: Vec<_> = (0..100).map(|at| due(1, format!("a{at}.org"))).collect();
        all.extend((0..5).map(|at| due(2, format!("b{at}.org"))));
        let line = Line::new(&acme, all);
        let mut turns: Vec<_> = (0..AT_ONCE).map(|_| line.next().unwrap()).collect();
        let names: Vec<&str> = turns.iter().map(|it| it.0.0.name.as_str()).collect();
        assert_eq!(names, ["a0.org", "a1.org", "a2.org", "a3.org", "b0.org", "b1.org", "b2.org", "b3.org"]);
        // A place that one of the first leaves is its tenant's again, and one of the others theirs.
        drop(turns.remove(0));
        turns.push(line.next().unwrap());
        drop(turns.remove(3));
        turns.push(line.next().unwrap());
        let names: Vec<&str> = turns.iter().map(|it| it.0.0.name.as_str()).collect();
        assert_eq!(names, ["a1.org", "a2.org", "a3.org", "b1.org", "b2.org", "b3.org", "a4.org", "b4.org"]);
        // Once no others wait, all places are for who does.
        turns.clear();
        let mut turns: Vec<_> = (0..AT_ONCE).map(|_| line.next().unwrap()).collect();
        assert!(turns.iter().all(|it| it.0.0.name.starts_with('a')));
        // Who comes then has one more, though others wait as well; what was here does not come again.
        let again = due(3, turns[0].0.0.name.clone());
        let late = ["b9.org", "b8.org"].map(|name| due(2, name.to_owned()));
        line.add(
            [again, due(1, String::from("a99.org")), due(1, String::from("a100.org"))]
                .into_iter()
                .chain(late)
                .collect(),
        );
        let first = line.next_late().unwrap();
        assert_eq!(first.0.0.name, "b9.org");
        drop(first);
        turns.push(line.next_late().unwrap());
        assert!(line.next_late().is_none() && !line.is_idle());
        // Each is here once.
        let rest: Vec<_> = std::iter::from_fn(|| line.next()).map(|it| it.0.0.name).collect();
        let mut names: Vec<&String> = rest.iter().chain(turns.iter().map(|it| &it.0.0.name)).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), rest.len() + turns.len());
        assert!(rest.iter().any(|it| it == "a100.org") && turns.iter().any(|it| it.0.0.name == "b8.org"));
        turns.clear();
        assert!(line.is_idle());
    }
}
