//! Who is next among those that are due.
//!
//! Guarantees: orders that wait for the provider of one zone never have all places: one that stands still holds up its own names, and no others.

use std::{
    collections::{HashMap, VecDeque},
    sync::Mutex,
};

use super::{AT_ONCE, Acme, lock, names::Wanted};
use crate::domain::certificate::kept::Order;

/// Orders of one zone at a time.
const ZONE_AT_ONCE: usize = AT_ONCE / 2;

/// What is due, and what is under way.
pub(super) struct Line<'a> {
    acme: &'a Acme,
    inner: Mutex<Inner>,
}

struct Inner {
    due: VecDeque<(Wanted, Option<Order>)>,
    /// By zone.
    under_way: HashMap<String, usize>,
}

/// One that is under way, until it is dropped.
pub(super) struct Turn<'a> {
    line: &'a Line<'a>,
    zone: Option<String>,
}

impl<'a> Line<'a> {
    pub(super) fn new(acme: &'a Acme, due: Vec<(Wanted, Option<Order>)>) -> Self {
        Self { acme, inner: Mutex::new(Inner { due: due.into(), under_way: HashMap::new() }) }
    }

    /// The zone whose provider a name waits for.
    fn zone(&self, wanted: &Wanted) -> Option<String> {
        let zone = self.acme.zone(&wanted.name).filter(|it| it.access.is_some() && self.acme.sets_records(wanted))?;
        Some(zone.zone.clone())
    }

    /// The next one that may begin. Those that may not are left to who has a turn of their zone.
    pub(super) fn next(&'a self) -> Option<(Wanted, Option<Order>, Turn<'a>)> {
        let mut inner = lock(&self.inner);
        let may = |inner: &Inner, zone: &Option<String>| {
            zone.as_ref().is_none_or(|it| inner.under_way.get(it).is_none_or(|count| *count < ZONE_AT_ONCE))
        };
        let at = inner.due.iter().position(|it| may(&inner, &self.zone(&it.0)))?;
        let (wanted, before) = inner.due.remove(at)?;
        let zone = self.zone(&wanted);
        if let Some(zone) = &zone {
            *inner.under_way.entry(zone.clone()).or_default() += 1;
        }
        drop(inner);
        Some((wanted, before, Turn { line: self, zone }))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut inner = lock(&self.line.inner);
        if let Some(count) = self.zone.as_ref().and_then(|it| inner.under_way.get_mut(it)) {
            *count = count.saturating_sub(1);
        }
    }
}
