//! How many places one has at once of something that all use, so that nobody has all of them.

use std::{
    collections::HashMap,
    hash::Hash,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{base::network, domain::site::SiteId, http::peer::Client};

/// For whom a place is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) site: SiteId,
    /// As it is counted; `None` for who speaks for many.
    client: Option<IpAddr>,
}

impl Owner {
    pub(super) fn new(site: SiteId, client: Client) -> Self {
        Self { site, client: (!client.is_many).then(|| network::counted(client.address)) }
    }

    pub(super) const fn client(&self) -> Option<IpAddr> {
        self.client
    }
}

/// The places of each.
#[derive(Debug)]
pub(super) struct Shares<K> {
    most: usize,
    taken: Mutex<HashMap<K, usize>>,
}

impl<K: Copy + Eq + Hash> Shares<K> {
    /// `most` for each.
    pub(super) fn new(most: usize) -> Arc<Self> {
        Arc::new(Self { most, taken: Mutex::default() })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<K, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it has all that it may have.
    pub(super) fn is_out(&self, key: K) -> bool {
        self.taken().get(&key).is_some_and(|it| *it >= self.most)
    }

    /// One more place, if it may have one.
    pub(super) fn take(self: &Arc<Self>, key: K) -> Option<Share<K>> {
        let mut taken = self.taken();
        let count = taken.entry(key).or_default();
        if *count >= self.most {
            return None;
        }
        *count += 1;
        drop(taken);
        Some(Share { of: Arc::clone(self), key })
    }
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Share<K: Copy + Eq + Hash> {
    of: Arc<Shares<K>>,
    key: K,
}

impl<K: Copy + Eq + Hash> Drop for Share<K> {
    fn drop(&mut self) {
        let mut taken = self.of.taken();
        if let Some(count) = taken.get_mut(&self.key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                taken.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_places_and_leaves_nothing_behind() {
        let shares = Shares::new(2);
        let first = shares.take('a').unwrap();
        let second = shares.take('a').unwrap();
        assert!(shares.is_out('a') && shares.take('a').is_none());
        assert!(!shares.is_out('b') && shares.take('b').is_some());
        drop(first);
        assert!(!shares.is_out('a') && shares.take('a').is_some());
        drop(second);
        assert!(shares.taken().is_empty());
    }
}
