//! How often something happens: a generic cell rate algorithm over keys, in bounded memory.
//!
//! Each key has one number, the time at which it will have nothing left to wait for. So what a key has done is forgotten by
//! itself, and the oldest of those who wait is the first to be let in again.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, Hash, RandomState},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Locks are apart for most keys.
const SHARDS: usize = 32;
/// Keys of a shard. With two numbers each, all take about 10 MB at most.
const KEYS_MAX: usize = 8_192;

/// So many times in such a time, at once or spread.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) times: u32,
    pub(super) every: Duration,
}

/// Keys and their times.
#[derive(Debug)]
pub(super) struct Rates {
    /// Keys are hashed by a secret: nobody can choose two that are taken for one.
    hasher: RandomState,
    began: Instant,
    shards: [Mutex<HashMap<u64, u64>>; SHARDS],
}

impl Rates {
    pub(super) fn new() -> Self {
        Self { hasher: RandomState::new(), began: Instant::now(), shards: std::array::from_fn(|_| Mutex::default()) }
    }

    /// Counts one more for `key`; or, where that is one too many, gives the time after which it is not.
    pub(super) fn take(&self, key: impl Hash, pace: Pace) -> Result<(), Duration> {
        self.take_at(Instant::now(), key, pace)
    }

    fn take_at(&self, now: Instant, key: impl Hash, pace: Pace) -> Result<(), Duration> {
        let key = self.hasher.hash_one(key);
        let now = nanos(now.saturating_duration_since(self.began));
        let every = nanos(pace.every);
        let step = every / u64::from(pace.times.max(1));
        let shard = usize::try_from(key).unwrap_or_default() % SHARDS;
        let Some(shard) = self.shards.get(shard) else { return Ok(()) };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let free = shard.get(&key).copied().unwrap_or(0).max(now);
        let ahead = free - now;
        if ahead > every.saturating_sub(step) {
            return Err(Duration::from_nanos(ahead - every.saturating_sub(step)));
        }
        if shard.len() >= KEYS_MAX && !shard.contains_key(&key) {
            make_room(&mut shard, now);
        }
        shard.insert(key, free.saturating_add(step));
        Ok(())
    }
}

/// Forgets what is over; and where all are under way, as in a flood from everywhere, half of them: that many addresses are no
/// longer told apart then, and memory stays what it is.
fn make_room(shard: &mut HashMap<u64, u64>, now: u64) {
    shard.retain(|_, free| *free > now);
    if shard.len() >= KEYS_MAX {
        let mut odd = false;
        shard.retain(|_, _| {
            odd = !odd;
            odd
        });
    }
}

fn nanos(of: Duration) -> u64 {
    u64::try_from(of.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: Pace = Pace { times: 3, every: Duration::from_mins(1) };

    #[test]
    fn so_many_at_once_and_then_one_after_the_other() {
        let rates = Rates::new();
        let take = |key: &str, after_s| rates.take_at(rates.began + Duration::from_secs(after_s), key, THREE);
        for _ in 0..3 {
            assert_eq!(take("a", 0), Ok(()));
        }
        assert_eq!(take("a", 0), Err(Duration::from_secs(20)));
        assert_eq!(take("b", 0), Ok(()), "another key");
        assert_eq!(take("a", 19), Err(Duration::from_secs(1)), "what was refused does not count");
        assert_eq!(take("a", 20), Ok(()));
        assert_eq!(take("a", 20), Err(Duration::from_secs(20)));
        for _ in 0..3 {
            assert_eq!(take("a", 80), Ok(()));
        }
        assert!(take("a", 80).is_err());
    }

    #[test]
    fn a_flood_from_everywhere_takes_no_more_memory() {
        let rates = Rates::new();
        for key in 0..1_000_000_u32 {
            assert_eq!(rates.take_at(rates.began, key, THREE), Ok(()));
        }
        let kept: usize = rates.shards.iter().map(|it| it.lock().unwrap().len()).sum();
        assert!(kept <= SHARDS * KEYS_MAX, "{kept}");
        // Who came last is still known.
        for _ in 0..2 {
            assert_eq!(rates.take_at(rates.began, 999_999_u32, THREE), Ok(()));
        }
        assert!(rates.take_at(rates.began, 999_999_u32, THREE).is_err());
    }
}
