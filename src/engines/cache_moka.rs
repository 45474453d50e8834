//! The cache port on moka: bounded by weight, each entry with its own time to live.
//!
//! Guarantees: a value is never given after its time, nor after its tag was dropped; memory is bounded, also
//! that of tags and flights. No thread of its own: moka cleans up inside the calls.
//! SECURITY: two keys never share a value or a flight; only generations of tags may be shared, and a shared one
//! drops more than it had to, never less.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use moka::{Expiry, sync::Cache};

use crate::ports::cache::{CacheEngine, Cached, Key, Tag};

/// Generations that all tags share: 32 KiB, whatever the number of tenants.
const GENERATIONS: usize = 4_096;
/// What an entry costs besides its value and the text of its key, about.
const ENTRY_BYTES: u32 = 200;
/// Flights are swept when there are so many, or twice as many as were in the air at the last sweep.
const FLIGHTS_SWEPT: usize = 64;

/// The cache engine.
pub struct CacheMoka {
    entries: Cache<Key, Entry>,
    weight_max: u64,
    generations: Vec<AtomicU64>,
    flights: Mutex<Flights>,
}

#[derive(Clone)]
struct Entry {
    value: Cached,
    weight: u32,
    ttl: Duration,
    slot: usize,
    generation: u64,
}

struct Flights {
    by_key: HashMap<Key, Weak<tokio::sync::Mutex<()>>>,
    sweep_at: usize,
}

/// Each entry brings its own time to live.
struct OwnTime;

impl Expiry<Key, Entry> for OwnTime {
    fn expire_after_create(&self, _: &Key, entry: &Entry, _: Instant) -> Option<Duration> {
        Some(entry.ttl)
    }

    fn expire_after_update(&self, _: &Key, entry: &Entry, _: Instant, _: Option<Duration>) -> Option<Duration> {
        Some(entry.ttl)
    }
}

impl std::fmt::Debug for CacheMoka {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CacheMoka")
    }
}

impl CacheMoka {
    /// A cache of at most `max_bytes` by the weights of its values, and what their keys take.
    pub fn new(max_bytes: u64) -> Arc<Self> {
        let entries = Cache::builder()
            .max_capacity(max_bytes)
            .weigher(|_: &Key, entry: &Entry| entry.weight)
            .expire_after(OwnTime)
            .build();
        let generations = (0..GENERATIONS).map(|_| AtomicU64::new(0)).collect();
        let flights = Mutex::new(Flights { by_key: HashMap::new(), sweep_at: FLIGHTS_SWEPT });
        Arc::new(Self { entries, weight_max: max_bytes, generations, flights })
    }

    fn generation_at(&self, slot: usize) -> u64 {
        self.generations.get(slot).map_or(0, |it| it.load(Ordering::SeqCst))
    }
}

/// Which generation a tag has.
fn slot(tag: &Tag) -> usize {
    let mut hasher = DefaultHasher::new();
    tag.hash(&mut hasher);
    let [low, high, ..] = hasher.finish().to_le_bytes();
    usize::from(u16::from_le_bytes([low, high])) % GENERATIONS
}

impl CacheEngine for CacheMoka {
    fn get(&self, key: &Key) -> Option<Cached> {
        let entry = self.entries.get(key)?;
        if self.generation_at(entry.slot) == entry.generation {
            return Some(entry.value);
        }
        self.entries.invalidate(key);
        None
    }

    fn put(&self, key: Key, tag: &Tag, generation: u64, value: Cached, weight: u32, ttl: Duration) {
        let slot = slot(tag);
        let text = u32::try_from(key.which.len()).unwrap_or(u32::MAX);
        let weight = weight.saturating_add(text).saturating_add(ENTRY_BYTES);
        // What would not fit is not put in, so that it does not push others out.
        if self.generation_at(slot) != generation || u64::from(weight) > self.weight_max || ttl.is_zero() {
            return;
        }
        // A drop of the tag from here on is seen by `get`: the entry says which generation it is of.
        self.entries.insert(key, Entry { value, weight, ttl, slot, generation });
    }

    fn generation(&self, tag: &Tag) -> u64 {
        self.generation_at(slot(tag))
    }

    fn drop_tag(&self, tag: &Tag) {
        if let Some(generation) = self.generations.get(slot(tag)) {
            generation.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn drop_all(&self) {
        for generation in &self.generations {
            generation.fetch_add(1, Ordering::SeqCst);
        }
        self.entries.invalidate_all();
    }

    fn flight(&self, key: &Key) -> Arc<tokio::sync::Mutex<()>> {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.by_key.get(key).and_then(Weak::upgrade) {
            return flight;
        }
        if flights.by_key.len() >= flights.sweep_at {
            flights.by_key.retain(|_, it| it.strong_count() > 0);
            flights.sweep_at = FLIGHTS_SWEPT.max(flights.by_key.len().saturating_mul(2));
        }
        let flight = Arc::new(tokio::sync::Mutex::new(()));
        flights.by_key.insert(key.clone(), Arc::downgrade(&flight));
        flight
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flights_do_not_pile_up() {
        let cache = CacheMoka::new(1_000);
        for number in 0..10_000 {
            let key = Key { what: "test", tenant: None, which: format!("{number}") };
            drop(cache.flight(&key));
        }
        assert!(cache.flights.lock().unwrap().by_key.len() <= FLIGHTS_SWEPT);
    }
}
