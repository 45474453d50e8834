//! How often something happens: a generic cell rate algorithm over keys, in bounded memory.
//!
//! Each key has one number, the time at which it will have nothing left to wait for. So what a key has done is forgotten by
//! itself, and the oldest of those who wait is the first to be let in again. Where there is no room, the site that has the most keys loses some
//! of them: one that is attacked from everywhere has no others forgotten.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, Hash, RandomState},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::domain::site::SiteId;

/// Locks are apart for most keys.
const SHARDS: usize = 32;
/// Keys of a shard. With three numbers each, all take about 12 MB at most.
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
    shards: [Mutex<HashMap<u64, Key>>; SHARDS],
}

/// What is known of a key.
#[derive(Clone, Copy, Debug)]
struct Key {
    /// When it has nothing left to wait for.
    free: u64,
    /// Of which site, by its hash.
    site: u64,
}

impl Rates {
    pub(super) fn new() -> Self {
        Self { hasher: RandomState::new(), began: Instant::now(), shards: std::array::from_fn(|_| Mutex::default()) }
    }

    /// Counts one more for `key` of a site; or, where that is one too many, gives the time after which it is not.
    pub(super) fn take(&self, site: SiteId, key: impl Hash, pace: Pace) -> Result<(), Duration> {
        self.take_at(Instant::now(), site, key, pace)
    }

    fn take_at(&self, now: Instant, site: SiteId, key: impl Hash, pace: Pace) -> Result<(), Duration> {
        let (site, key) = (self.hasher.hash_one(site), self.hasher.hash_one((site, key)));
        let now = nanos(now.saturating_duration_since(self.began));
        let every = nanos(pace.every);
        let step = every / u64::from(pace.times.max(1));
        let shard = usize::try_from(key).unwrap_or_default() % SHARDS;
        let Some(shard) = self.shards.get(shard) else { return Ok(()) };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let free = shard.get(&key).map_or(0, |it| it.free).max(now);
        let ahead = free - now;
        if ahead > every.saturating_sub(step) {
            return Err(Duration::from_nanos(ahead - every.saturating_sub(step)));
        }
        if shard.len() >= KEYS_MAX && !shard.contains_key(&key) {
            make_room(&mut shard, now);
        }
        shard.insert(key, Key { free: free.saturating_add(step), site });
        Ok(())
    }
}

/// Forgets what is over; and where all are under way, as in a flood from everywhere, half of those of the site that has the most: that many of
/// its addresses are no longer told apart then, and memory stays what it is.
fn make_room(shard: &mut HashMap<u64, Key>, now: u64) {
    shard.retain(|_, it| it.free > now);
    if shard.len() < KEYS_MAX {
        return;
    }
    let mut of_sites: HashMap<u64, usize> = HashMap::new();
    for it in shard.values() {
        *of_sites.entry(it.site).or_default() += 1;
    }
    let most = of_sites.into_iter().max_by_key(|it| it.1).map(|it| it.0);
    let mut odd = true;
    shard.retain(|_, it| {
        if Some(it.site) == most {
            odd = !odd;
        }
        Some(it.site) != most || odd
    });
}

fn nanos(of: Duration) -> u64 {
    u64::try_from(of.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::ids::Id;

    const SHOP: SiteId = SiteId(Id::from_bytes([1; 16]));
    const THREE: Pace = Pace { times: 3, every: Duration::from_mins(1) };

    #[test]
    fn so_many_at_once_and_then_one_after_the_other() {
        let rates = Rates::new();
        let take = |key: &str, after_s| rates.take_at(rates.began + Duration::from_secs(after_s), SHOP, key, THREE);
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
            assert_eq!(rates.take_at(rates.began, SHOP, key, THREE), Ok(()));
        }
        let kept: usize = rates.shards.iter().map(|it| it.lock().unwrap().len()).sum();
        assert!(kept <= SHARDS * KEYS_MAX, "{kept}");
        // Who came last is still known.
        for _ in 0..2 {
            assert_eq!(rates.take_at(rates.began, SHOP, 999_999_u32, THREE), Ok(()));
        }
        assert!(rates.take_at(rates.began, SHOP, 999_999_u32, THREE).is_err());
    }

    #[test]
    fn a_flood_of_one_site_has_nothing_of_others_forgotten() {
        let (rates, blog) = (Rates::new(), SiteId(Id::from_bytes([2; 16])));
        let take = |site, key: u32| rates.take_at(rates.began, site, key, THREE);
        for key in 0..1_000 {
            for _ in 0..3 {
                assert_eq!(take(blog, key), Ok(()));
            }
        }
        for key in 0..1_000_000 {
            assert_eq!(take(SHOP, key), Ok(()));
        }
        assert!((0..1_000).all(|key| take(blog, key).is_err()), "who was refused is refused");
    }
}
