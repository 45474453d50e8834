//! What was had of a cache a moment ago, before one asks the cache itself.
//!
//! To look something up in a cache that knows what to let go of takes it a clock, a hash of the whole key and a note of the use: ten
//! times the look at one place. So what is asked for again and again stands here too, in places that the key itself tells. The cache hears of
//! one use in [`TOLD`], which is enough for it to see what is used and what is not.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use arc_swap::ArcSwapOption;

/// So many places.
const PLACES: usize = 256;
/// Of so many uses the cache itself is asked once.
const TOLD: u32 = 16;

/// What tells its place by itself: a part of a sum, which is spread as evenly as chance would.
pub(super) trait Spread: Copy + Eq {
    fn spread(&self) -> u8;
}

/// Values by their keys, the last ones that were put at each place. Never larger, and never waited for.
#[derive(Debug)]
pub(super) struct Near<K, V>(Box<[ArcSwapOption<Held<K, V>>]>);

#[derive(Debug)]
struct Held<K, V> {
    key: K,
    value: V,
    /// Since it was put, or since another key wanted the place.
    uses: AtomicU32,
}

impl<K: Spread, V: Clone> Near<K, V> {
    pub(super) fn new() -> Self {
        Self((0..PLACES).map(|_| ArcSwapOption::empty()).collect())
    }

    fn place(&self, key: K) -> Option<&ArcSwapOption<Held<K, V>>> {
        self.0.get(usize::from(key.spread()))
    }

    /// What was put for this key. `None` also when the cache is to hear of it: ask there, and put again what it gives.
    pub(super) fn get(&self, key: K) -> Option<V> {
        let held = self.place(key)?.load();
        let held = held.as_ref().filter(|it| it.key == key)?;
        // Two threads may count one use for two: no bus is held up for an exact figure.
        let uses = held.uses.load(Ordering::Relaxed).wrapping_add(1);
        held.uses.store(uses, Ordering::Relaxed);
        (uses % TOLD != 0).then(|| held.value.clone())
    }

    /// Has it at hand, unless another key has the place, and was used since one last wanted it.
    pub(super) fn put(&self, key: K, value: V) {
        let Some(place) = self.place(key) else { return };
        let is_taken = |held: &Arc<Held<K, V>>| held.key != key && held.uses.swap(0, Ordering::Relaxed) > 0;
        if !place.load().as_ref().is_some_and(is_taken) {
            place.store(Some(Arc::new(Held { key, value, uses: AtomicU32::new(0) })));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A number whose place is its last byte.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Key(u32);

    impl Spread for Key {
        fn spread(&self) -> u8 {
            self.0.to_le_bytes()[0]
        }
    }

    #[test]
    fn the_cache_hears_of_one_use_in_sixteen() {
        let near = Near::new();
        assert_eq!(near.get(Key(1)), None);
        near.put(Key(1), "one");
        let had = (0..160).filter(|_| near.get(Key(1)) == Some("one")).count();
        assert_eq!(had, 150);
        near.put(Key(1), "other");
        assert_eq!(near.get(Key(1)), Some("other"));
        assert_eq!(near.get(Key(0x101)), None, "of the same place, and not the same");
    }

    #[test]
    fn what_is_used_keeps_its_place() {
        let near = Near::new();
        near.put(Key(1), "one");
        assert_eq!(near.get(Key(1)), Some("one"));
        near.put(Key(0x101), "other");
        assert_eq!((near.get(Key(1)), near.get(Key(0x101))), (Some("one"), None));
        near.put(Key(0x101), "other");
        assert_eq!(near.get(Key(1)), Some("one"), "it was used in between");
        for _ in 0..2 {
            near.put(Key(0x101), "other");
        }
        assert_eq!((near.get(Key(1)), near.get(Key(0x101))), (None, Some("other")), "nobody asked for it any more");
        assert_eq!(near.get(Key(2)), None);
    }
}
