//! What was had of a cache a moment ago, before one asks the cache itself.
//!
//! To look something up in a cache that knows what to let go of takes it a clock, a hash of the whole key and a note of the use: ten
//! times the look at one place. So what is asked for again and again stands here too, in places that the key itself tells. The cache is to
//! hear of a use now and then, or it would let go of what is used most.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use arc_swap::ArcSwapOption;

use crate::base::clock;

/// So many places.
const PLACES: u64 = 256;
/// Milliseconds in which the cache hears of one use at most: uses that lie closer are one to it.
const TOLD_MS: u64 = 100;

/// What tells its place by itself.
pub(super) trait Spread: Copy + Eq {
    /// A part of a sum or of chance, which few other keys have.
    fn spread(&self) -> u64;
}

/// Values by their keys, one at each place. Never larger, and never waited for.
#[derive(Debug)]
pub(super) struct Near<K, V>(Box<[Place<K, V>]>);

#[derive(Debug)]
struct Place<K, V> {
    held: ArcSwapOption<Held<K, V>>,
    /// Who last wanted the place in vain, by [`Spread`].
    wanted: AtomicU64,
}

#[derive(Debug)]
struct Held<K, V> {
    key: K,
    value: V,
    /// Since another key wanted the place.
    is_used: AtomicBool,
    /// When the cache last heard of a use.
    told_ms: AtomicU64,
}

/// What was put for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found<V> {
    pub(super) value: V,
    /// The cache is to hear of this use.
    pub(super) is_due: bool,
}

impl<K: Spread, V: Clone> Near<K, V> {
    pub(super) fn new() -> Self {
        let place = |_| Place { held: ArcSwapOption::empty(), wanted: AtomicU64::new(0) };
        Self((0..PLACES).map(place).collect())
    }

    fn place(&self, key: K) -> Option<&Place<K, V>> {
        self.0.get(usize::try_from(key.spread() % PLACES).ok()?)
    }

    /// What was put for this key.
    pub(super) fn get(&self, key: K) -> Option<Found<V>> {
        self.get_at(key, clock::ticks_ms())
    }

    fn get_at(&self, key: K, now_ms: u64) -> Option<Found<V>> {
        let held = self.place(key)?.held.load();
        let held = held.as_ref().filter(|it| it.key == key)?;
        // Written where it changes alone: a line that all threads read stays with each of them.
        if !held.is_used.load(Ordering::Relaxed) {
            held.is_used.store(true, Ordering::Relaxed);
        }
        let is_due = now_ms.saturating_sub(held.told_ms.load(Ordering::Relaxed)) >= TOLD_MS;
        if is_due {
            held.told_ms.store(now_ms, Ordering::Relaxed);
        }
        Some(Found { value: held.value.clone(), is_due })
    }

    /// Has at hand what the cache has just given. Another key keeps the place while it is used; one that is not leaves it to who wants it
    /// twice with nobody in between, since to put something here takes longer than to ask the cache.
    pub(super) fn put(&self, key: K, value: V) {
        self.put_at(key, value, clock::ticks_ms());
    }

    fn put_at(&self, key: K, value: V, now_ms: u64) {
        let Some(place) = self.place(key) else { return };
        let is_taken = place.held.load().as_ref().is_some_and(|held| {
            held.key != key && {
                let is_used = held.is_used.swap(false, Ordering::Relaxed);
                is_used | (place.wanted.swap(key.spread(), Ordering::Relaxed) != key.spread())
            }
        });
        if !is_taken {
            let held = Held { key, value, is_used: AtomicBool::new(false), told_ms: AtomicU64::new(now_ms) };
            place.held.store(Some(Arc::new(held)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A number whose place is its last byte.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Key(u64);

    impl Spread for Key {
        fn spread(&self) -> u64 {
            self.0
        }
    }

    /// Two of one place.
    const ONE: Key = Key(1);
    const OTHER: Key = Key(0x101);

    fn had(near: &Near<Key, &'static str>, key: Key) -> Option<&'static str> {
        near.get_at(key, 0).map(|it| it.value)
    }

    #[test]
    fn the_cache_hears_of_a_use_once_in_its_time() {
        let near = Near::new();
        assert_eq!(near.get_at(ONE, 1_000), None);
        near.put_at(ONE, "one", 1_000);
        let due = |ms: u64| near.get_at(ONE, ms).unwrap().is_due;
        let found: Vec<bool> = [1_000, 1_099, 1_100, 1_101, 1_199, 1_200, 9_000, 8_000].map(due).to_vec();
        assert_eq!(found, [false, false, true, false, false, true, true, false]);
        near.put_at(OTHER, "other", 9_000);
        assert!(due(9_100), "who wants the place changes nothing");
        near.put_at(ONE, "new", 9_000);
        assert_eq!((had(&near, ONE), had(&near, OTHER)), (Some("new"), None), "of the same place, and not the same");
    }

    #[test]
    fn what_is_used_keeps_its_place() {
        let near = Near::new();
        near.put_at(ONE, "one", 0);
        assert_eq!(had(&near, ONE), Some("one"));
        for _ in 0..3 {
            near.put_at(OTHER, "other", 0);
            assert_eq!((had(&near, ONE), had(&near, OTHER)), (Some("one"), None), "it was used in between");
        }
        near.put_at(OTHER, "other", 0);
        near.put_at(OTHER, "other", 0);
        assert_eq!((had(&near, ONE), had(&near, OTHER)), (None, Some("other")), "nobody asked for it any more");
        assert_eq!(had(&near, Key(2)), None);
    }

    #[test]
    fn keys_that_take_turns_do_not_drive_each_other_out() {
        let near = Near::new();
        near.put_at(ONE, "one", 0);
        // Of three that nobody asks for twice, none gets the place.
        for key in [OTHER, Key(0x201), Key(0x301)].iter().cycle().take(30) {
            assert_eq!(had(&near, *key), None);
            near.put_at(*key, "a passer-by", 0);
        }
        assert_eq!(had(&near, ONE), Some("one"));
        let mut kept = 0;
        for (key, value) in [(ONE, "one"), (OTHER, "other")].into_iter().cycle().take(100) {
            match had(&near, key) {
                Some(found) => kept += u32::from(found == value),
                None => near.put_at(key, value, 0),
            }
        }
        assert_eq!(kept, 50, "one of the two is at hand");
    }
}
