//! How far the log of a database has come, and what each tenant has to find there: the ground on which reads may go to replicas.
//!
//! Guarantees: once a write of this process was answered, or a client has shown a position, no later read of that tenant here goes to
//! a replica that has not come as far. What is remembered is bounded: what is forgotten raises the floor for all.
//! It knows nothing of replicas.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::base::ids::Id;

/// A place in the log of a database, in bytes from its beginning. Zero: an engine without such a log, or nothing written yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(pub u64);

/// A replica that lags further behind than this is not read from, so that a position need not be remembered for longer.
pub const LAG_MAX: Duration = Duration::from_secs(5);
/// How long a position is remembered: far longer than [`LAG_MAX`].
const REMEMBERED: Duration = Duration::from_mins(1);
/// Tenants remembered at once.
const TENANTS_MAX: usize = 10_000;

/// What each tenant has to find.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    of: HashMap<Id, (Position, Instant)>,
    /// What everybody has to find.
    floor: Position,
    /// The furthest that this process has written.
    latest: Position,
}

impl Seen {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a write of this process for the tenants that it touched.
    pub(super) fn wrote(&self, tenants: &[Id], position: Position) {
        if position == Position::default() {
            return;
        }
        let mut inner = self.lock();
        inner.latest = inner.latest.max(position);
        for tenant in tenants {
            inner.raise(*tenant, position);
        }
    }

    /// Remembers what a client of a tenant has shown; whether it is news.
    pub(super) fn shown(&self, tenant: Id, position: Position) -> bool {
        position != Position::default() && self.lock().raise(tenant, position)
    }

    /// What a tenant has to find.
    pub(super) fn of(&self, tenant: Id) -> Position {
        let inner = self.lock();
        inner.of.get(&tenant).map_or(inner.floor, |(it, _)| (*it).max(inner.floor))
    }

    /// The furthest that this process has written.
    pub(super) fn latest(&self) -> Position {
        self.lock().latest
    }
}

impl Inner {
    fn raise(&mut self, tenant: Id, position: Position) -> bool {
        let now = Instant::now();
        if self.of.len() >= TENANTS_MAX && !self.of.contains_key(&tenant) {
            self.of.retain(|_, (_, since)| since.elapsed() < REMEMBERED);
            if self.of.len() >= TENANTS_MAX {
                // Better a while without replicas than somebody who misses their own write. What a client has shown cannot
                // raise it further than what was written here.
                self.floor = self.latest;
                self.of.clear();
            }
        }
        let known = self.of.entry(tenant).or_insert((Position::default(), now));
        let is_news = position > known.0;
        if is_news {
            *known = (position, now);
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(number: u32) -> Id {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        Id::from_bytes(bytes)
    }

    #[test]
    fn each_tenant_has_to_find_its_own() {
        let seen = Seen::default();
        seen.wrote(&[tenant(1)], Position(10));
        seen.wrote(&[tenant(1), tenant(2)], Position(7));
        assert!(!seen.shown(tenant(1), Position(9)) && seen.shown(tenant(3), Position(9)));
        let of = |it| seen.of(tenant(it)).0;
        assert_eq!((of(1), of(2), of(3), of(4), seen.latest().0), (10, 7, 9, 0, 10));
        seen.wrote(&[tenant(5)], Position(0));
        assert_eq!(of(5), 0);
    }

    #[test]
    fn what_is_forgotten_raises_the_floor_for_all() {
        let seen = Seen::default();
        let many = u32::try_from(TENANTS_MAX).unwrap();
        for number in 0..many {
            seen.wrote(&[tenant(number)], Position(u64::from(number) + 1));
        }
        assert_eq!(seen.of(tenant(many + 1)).0, 0);
        seen.wrote(&[tenant(many)], Position(50_000));
        assert!((0..=many + 1).all(|it| seen.of(tenant(it)).0 == 50_000));
        assert!(seen.lock().of.len() < TENANTS_MAX);
    }
}
