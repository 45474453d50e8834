//! How many connections there are, in all and of each client address.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::base::network::{self, Network};

/// The seats of one listening server. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Seats {
    all: Arc<Semaphore>,
    taken: Arc<Mutex<HashMap<IpAddr, usize>>>,
    each_max: usize,
    /// Proxies bring everybody: for them only the limit on all connections holds.
    proxies: Arc<[Network]>,
}

/// A seat; given back when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Seats,
    address: Option<IpAddr>,
    _one_of_all: OwnedSemaphorePermit,
}

impl Seats {
    pub(super) fn new(all_max: usize, each_max: usize) -> Self {
        let all = Arc::new(Semaphore::new(all_max.min(Semaphore::MAX_PERMITS)));
        Self { all, taken: Arc::default(), each_max, proxies: Arc::default() }
    }

    /// With proxies that have no share of their own to keep to.
    pub(super) fn with_proxies(self, proxies: &[Network]) -> Self {
        Self { proxies: proxies.into(), ..self }
    }

    /// By what a client is counted; `None` for a proxy, and for this machine itself, where one may stand.
    fn counted(&self, client: IpAddr) -> Option<IpAddr> {
        let is_free = client.to_canonical().is_loopback() || self.proxies.iter().any(|it| it.contains(client));
        (!is_free).then(|| network::counted(client))
    }

    /// Waits until one connection more may be there.
    pub(super) async fn free(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.all).acquire_owned().await.ok()
    }

    /// Leave for one connection more, if there may be one now.
    pub(super) fn free_now(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.all).try_acquire_owned().ok()
    }

    /// A seat for a client, unless its address has its share.
    pub(super) fn take(&self, one_of_all: OwnedSemaphorePermit, client: IpAddr) -> Option<Seat> {
        let address = self.counted(client);
        if let Some(address) = address {
            let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
            let count = taken.entry(address).or_insert(0);
            if *count >= self.each_max {
                return None;
            }
            *count += 1;
        }
        Some(Seat { seats: self.clone(), address, _one_of_all: one_of_all })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut taken = self.seats.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                taken.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_has_its_share_and_gets_seats_back() {
        let seats = Seats::new(10, 2);
        let client: IpAddr = "2001:db8::1".parse().unwrap();
        let neighbour: IpAddr = "2001:db8::ffff:2".parse().unwrap();
        let first = seats.take(seats.free().await.unwrap(), client).unwrap();
        let _second = seats.take(seats.free().await.unwrap(), neighbour).unwrap();
        assert!(seats.take(seats.free().await.unwrap(), client).is_none());
        let _other = seats.take(seats.free().await.unwrap(), "192.0.2.1".parse().unwrap()).unwrap();
        drop(first);
        let _again = seats.take(seats.free().await.unwrap(), client).unwrap();
        assert_eq!(seats.all.available_permits(), 7);
        for _ in 0..3 {
            drop(seats.take(seats.free().await.unwrap(), "::ffff:127.0.0.1".parse().unwrap()).unwrap());
        }
        assert_eq!(seats.taken.lock().unwrap().len(), 2);
        let behind = seats.with_proxies(&["2001:db8::/32".parse().unwrap()]);
        drop(behind.take(behind.free().await.unwrap(), client).unwrap());
        assert!(behind.take(behind.free().await.unwrap(), "192.0.2.1".parse().unwrap()).is_some());
    }
}
