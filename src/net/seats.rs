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
    own: Arc<[IpAddr]>,
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
        Self { all, taken: Arc::default(), each_max, proxies: Arc::default(), own: Arc::default() }
    }

    /// With proxies that have no share of their own to keep to.
    pub(super) fn with_proxies(self, proxies: &[Network]) -> Self {
        Self { proxies: proxies.into(), ..self }
    }

    /// With these addresses of this machine: a site that passes requests on to another one here asks from there.
    pub(super) fn with_own(self, own: &[IpAddr]) -> Self {
        Self { own: own.into(), ..self }
    }

    /// By what a client is counted; `None` for a proxy, and for this machine itself, where one may stand.
    fn counted(&self, client: IpAddr) -> Option<IpAddr> {
        let address = client.to_canonical();
        let is_free = address.is_loopback() || self.own.contains(&address) || self.is_proxy(client);
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
        self.count(address).then(|| Seat { seats: self.clone(), address, _one_of_all: one_of_all })
    }

    /// Counts one more for an address, unless it has its share.
    fn count(&self, address: Option<IpAddr>) -> bool {
        let Some(address) = address else { return true };
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(address).or_insert(0);
        let has_room = *count < self.each_max;
        *count += usize::from(has_room);
        has_room
    }

    /// Whether the settings trust this proxy.
    pub(super) fn is_proxy(&self, address: IpAddr) -> bool {
        self.proxies.iter().any(|it| it.contains(address))
    }
}

impl Seat {
    /// Counts the seat as that of this client, which a proxy has named. Whether its address had not its share already.
    pub(super) fn pass_to(&mut self, client: IpAddr) -> bool {
        self.give_back();
        let address = self.seats.counted(client);
        let has_room = self.seats.count(address);
        self.address = address.filter(|_| has_room);
        has_room
    }

    fn give_back(&mut self) {
        let Some(address) = self.address.take() else { return };
        let mut taken = self.seats.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&address) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                taken.remove(&address);
            }
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.give_back();
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
        // This machine, from which its sites ask one another.
        let seats = seats.with_own(&["198.51.100.7".parse().unwrap()]);
        let own = "::ffff:198.51.100.7".parse().unwrap();
        let _all: Vec<_> = (0..3).map(|_| seats.take(seats.free_now().unwrap(), own).unwrap()).collect();
        let behind = seats.with_proxies(&["2001:db8::/32".parse().unwrap()]);
        drop(behind.take(behind.free().await.unwrap(), client).unwrap());
        let mut through = behind.take(behind.free().await.unwrap(), client).unwrap();
        assert!(through.pass_to("192.0.2.1".parse().unwrap()), "its second");
        let mut next = behind.take(behind.free().await.unwrap(), client).unwrap();
        assert!(!next.pass_to("192.0.2.1".parse().unwrap()));
        drop(through);
        assert!(next.pass_to("192.0.2.1".parse().unwrap()));
    }
}
