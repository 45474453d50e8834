//! Who is next among those that are due.
//!
//! Guarantees: orders that wait for the provider of one zone never have all places: one that stands still holds up its own names, and no others.
//! Nor do those of one tenant, while others have some that may begin: hostnames that nobody answers for take minutes each. Whoever comes when
//! all places are taken has one more, if not enough of the same tenant are under way.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Mutex,
};

use super::{AT_ONCE, Acme, lock, names::Wanted};
use crate::domain::{certificate::kept::Order, tenant::TenantId};

/// Orders of one zone at a time.
const ZONE_AT_ONCE: usize = AT_ONCE / 2;
/// Orders of one tenant at a time, while others wait.
const TENANT_AT_ONCE: usize = AT_ONCE / 2;

/// What is due, and what is under way.
pub(super) struct Line<'a> {
    acme: &'a Acme,
    inner: Mutex<Inner>,
}

struct Inner {
    due: VecDeque<(Wanted, Option<Order>)>,
    /// What is under way.
    begun: HashSet<(TenantId, String)>,
    zones: HashMap<String, usize>,
    tenants: HashMap<TenantId, usize>,
}

/// One that is under way, until it is dropped.
pub(super) struct Turn<'a> {
    line: &'a Line<'a>,
    zone: Option<String>,
    tenant: TenantId,
    name: String,
}

impl<'a> Line<'a> {
    pub(super) fn new(acme: &'a Acme, due: Vec<(Wanted, Option<Order>)>) -> Self {
        let inner = Inner { due: due.into(), begun: HashSet::new(), zones: HashMap::new(), tenants: HashMap::new() };
        Self { acme, inner: Mutex::new(inner) }
    }

    /// The zone whose provider a name waits for.
    fn zone(&self, wanted: &Wanted) -> Option<String> {
        let zone = self.acme.zone(&wanted.name).filter(|it| it.access.is_some() && self.acme.sets_records(wanted))?;
        Some(zone.zone.clone())
    }

    /// Adds what is due by now, but for what is here and what is under way.
    pub(super) fn add(&self, due: Vec<(Wanted, Option<Order>)>) {
        let mut inner = lock(&self.inner);
        for (wanted, before) in due {
            let is_here = inner.begun.contains(&(wanted.tenant, wanted.name.clone()))
                || inner.due.iter().any(|it| it.0.tenant == wanted.tenant && it.0.name == wanted.name);
            if !is_here {
                inner.due.push_back((wanted, before));
            }
        }
    }

    /// Whether somebody waits.
    pub(super) fn has_more(&self) -> bool {
        !lock(&self.inner).due.is_empty()
    }

    /// The next one that may begin. Those that may not are left to who has a turn of their zone.
    pub(super) fn next(&'a self) -> Option<(Wanted, Option<Order>, Turn<'a>)> {
        // Where nobody else may begin, no place stays empty.
        self.next_of(true).or_else(|| self.next_of(false))
    }

    /// The next one that may begin of tenants that have not enough under way.
    pub(super) fn next_fair(&'a self) -> Option<(Wanted, Option<Order>, Turn<'a>)> {
        self.next_of(true)
    }

    fn next_of(&'a self, is_fair: bool) -> Option<(Wanted, Option<Order>, Turn<'a>)> {
        let mut inner = lock(&self.inner);
        let at = inner.first(|it| self.zone(it), is_fair)?;
        let (wanted, before) = inner.due.remove(at)?;
        let (zone, tenant) = (self.zone(&wanted), wanted.tenant);
        if let Some(zone) = &zone {
            *inner.zones.entry(zone.clone()).or_default() += 1;
        }
        *inner.tenants.entry(tenant).or_default() += 1;
        inner.begun.insert((tenant, wanted.name.clone()));
        drop(inner);
        let name = wanted.name.clone();
        Some((wanted, before, Turn { line: self, zone, tenant, name }))
    }
}

impl Inner {
    /// Where the first one is that may begin; `is_fair`: of tenants that have not enough under way.
    fn first(&self, zone: impl Fn(&Wanted) -> Option<String>, is_fair: bool) -> Option<usize> {
        let has_room = |of: Option<&usize>, max| of.is_none_or(|count| *count < max);
        self.due.iter().position(|(it, _)| {
            (!is_fair || has_room(self.tenants.get(&it.tenant), TENANT_AT_ONCE))
                && zone(it).is_none_or(|zone| has_room(self.zones.get(&zone), ZONE_AT_ONCE))
        })
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
        inner.begun.remove(&(self.tenant, std::mem::take(&mut self.name)));
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

    fn due(tenant: u8, name: String) -> (Wanted, Option<Order>) {
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
        let names: Vec<&str> = turns.iter().map(|it| it.0.name.as_str()).collect();
        assert_eq!(names, ["a0.org", "a1.org", "a2.org", "a3.org", "b0.org", "b1.org", "b2.org", "b3.org"]);
        // A place that one of the first leaves is its tenant's again, and one of the others theirs.
        drop(turns.remove(0));
        turns.push(line.next().unwrap());
        drop(turns.remove(3));
        turns.push(line.next().unwrap());
        let names: Vec<&str> = turns.iter().map(|it| it.0.name.as_str()).collect();
        assert_eq!(names, ["a1.org", "a2.org", "a3.org", "b1.org", "b2.org", "b3.org", "a4.org", "b4.org"]);
        // Once no others wait, all places are for who does.
        turns.clear();
        let mut turns: Vec<_> = (0..AT_ONCE).map(|_| line.next().unwrap()).collect();
        assert!(turns.iter().all(|it| it.0.name.starts_with('a')));
        // Who comes then has one more, and what is here or under way does not come again.
        assert!(line.next_fair().is_none());
        let again = due(1, turns[0].0.name.clone());
        line.add(vec![again, due(1, String::from("a99.org")), due(2, String::from("late.org"))]);
        let late = line.next_fair().unwrap();
        assert_eq!(late.0.name, "late.org");
        line.add(vec![due(2, String::from("late.org"))]);
        assert!(line.next_fair().is_none());
        drop(late);
        line.add(vec![due(2, String::from("late.org"))]);
        turns.push(line.next_fair().unwrap());
        let left: Vec<_> = std::iter::from_fn(|| line.next()).map(|it| it.0.name).collect();
        assert!(!line.has_more());
        let mut all: Vec<&str> = left.iter().map(String::as_str).collect();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), left.len(), "nothing is there twice: {left:?}");
    }
}
