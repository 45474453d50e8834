//! Single flight: many who ask for the same thing at once wait for one load of it.
//!
//! A load whose asker went away is taken over by the next one who waits; nothing stays behind for a key that
//! nobody asks for.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::OnceCell;

/// The loads under way.
#[derive(Debug)]
pub struct Flight<K, V> {
    cells: Mutex<HashMap<K, Arc<OnceCell<V>>>>,
}

impl<K: Clone + Eq + Hash, V: Clone> Default for Flight<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Flight<K, V> {
    /// No load yet.
    pub fn new() -> Self {
        Self { cells: Mutex::new(HashMap::new()) }
    }

    /// Gives what `load` gives, or what the load of another asker for `key` gives.
    pub async fn join(&self, key: K, load: impl Future<Output = V>) -> V {
        let seat = self.seat(key);
        seat.cell.get_or_init(|| load).await.clone()
    }

    fn seat(&self, key: K) -> Seat<'_, K, V> {
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let cell = Arc::clone(cells.entry(key.clone()).or_default());
        Seat { flight: self, key, cell }
    }
}

/// A place in a load; the last to leave closes the door.
struct Seat<'a, K: Clone + Eq + Hash, V> {
    flight: &'a Flight<K, V>,
    key: K,
    cell: Arc<OnceCell<V>>,
}

impl<K: Clone + Eq + Hash, V> Drop for Seat<'_, K, V> {
    fn drop(&mut self) {
        let mut cells = self.flight.cells.lock().unwrap_or_else(PoisonError::into_inner);
        // Loaded: later askers find the result in the cache, or load anew. Alone: nobody else waits.
        let ours = cells.get(&self.key).is_some_and(|it| Arc::ptr_eq(it, &self.cell));
        if ours && (self.cell.initialized() || Arc::strong_count(&self.cell) == 2) {
            cells.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn one_load_serves_all_and_leaves_nothing_behind() {
        let flight: Flight<u8, u32> = Flight::new();
        let loads = AtomicU32::new(0);
        let load = || async {
            tokio::task::yield_now().await;
            loads.fetch_add(1, Ordering::Relaxed) + 40
        };
        let (a, b, other) = tokio::join!(flight.join(1, load()), flight.join(1, load()), flight.join(2, load()));
        assert_eq!((a, b, loads.load(Ordering::Relaxed)), (b, a, 2));
        assert_ne!(a, other);
        assert!(flight.cells.lock().unwrap().is_empty());
        drop(flight.join(3, load()));
        assert!(flight.cells.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn the_next_takes_over_from_one_who_left() {
        let flight: Flight<u8, u32> = Flight::new();
        let mut first = Box::pin(flight.join(1, std::future::pending()));
        let mut second = Box::pin(flight.join(1, async { 5 }));
        std::future::poll_fn(|context| {
            assert!(first.as_mut().poll(context).is_pending());
            assert!(second.as_mut().poll(context).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
        drop(first);
        assert_eq!(flight.cells.lock().unwrap().len(), 1);
        assert_eq!(second.await, 5);
        assert!(flight.cells.lock().unwrap().is_empty());
    }
}
